// One RTCPeerConnection towards the server, for a room or a wall. We always offer, the server only answers; each of our
// `recvonly` transceivers is a slot, and the server says by `slots` what plays in it.

import type { ClientMessage, IceServer, MediaKindName, Slot, SlotCount } from '../api/types'
import { chooseCodecs, type PreferredCodec } from './codecs'
import { activate, encodingsFor } from './encodings'
import { OfferQueue } from './offers'
import { heldOwners, midsByOwner, missing } from './plan'

const CONNECT_TIMEOUT_MS = 15_000
/** After a loss the same connection looks for another path; if it has none after this long, a new one is made. */
const RESTART_MAX_MS = 5_000
/** The server answers an offer at once, or by an error that names no offer. */
const ANSWER_MAX_MS = 7_000

const SENDONLY: RTCRtpTransceiverInit = { direction: 'sendonly' }

export interface MediaOptions {
  send(message: ClientMessage): boolean
  /** The connection will not come back by itself. It stays open for its last pictures until it is closed. */
  lost(why: string): void
  connected(): void
  /** Nothing comes any more. Another path is looked for; `connected` or `lost` follows while the server can be asked. */
  interrupted(): void
  /** The transceivers or the plan changed: read `tracks()` again. */
  changed(): void
  /** Own tracks to publish; absent on a wall. An absent microphone still gets its m-line, so that one plugged in later
   * needs no renegotiation. */
  publish?: Record<MediaKindName, MediaStreamTrack | null>
  /** Ways through a firewall. */
  iceServers: IceServer[]
  /** The only video codec to publish in. */
  codec?: PreferredCodec | null
}

export interface SourceTracks {
  audio: MediaStreamTrack | null
  video: MediaStreamTrack | null
  /** The picture is held back: the line is too narrow for it. */
  held: boolean
}

export interface Sound {
  /** 0..1, linear. */
  readonly level: number
  /** Packets since the slot began. */
  readonly packets: number
}

export class Media {
  readonly pc: RTCPeerConnection
  readonly #options: MediaOptions
  readonly #offers = new OfferQueue()
  readonly #senders: Partial<Record<MediaKindName, RTCRtpTransceiver>> = {}
  readonly #slots: Record<MediaKindName, RTCRtpTransceiver[]> = { audio: [], video: [] }
  #plan: Slot[] = []
  #closed = false
  /** It was connected once. */
  #established = false
  /** There is no way to the server: nothing is given up until there is one. */
  #held = false
  #restarting: ReturnType<typeof setTimeout> | undefined
  #unanswered: ReturnType<typeof setTimeout> | undefined
  readonly #deadline: ReturnType<typeof setTimeout>

  constructor(options: MediaOptions) {
    this.#options = options
    const { iceServers } = options
    this.pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle', rtcpMuxPolicy: 'require', iceServers })
    this.pc.onconnectionstatechange = () => this.#onState()
    this.#deadline = setTimeout(() => {
      if (this.pc.connectionState !== 'connected') this.#lose('no connection in time')
    }, CONNECT_TIMEOUT_MS)
    if (options.publish) {
      this.#publish('audio', options.publish.audio)
      this.#publish('video', options.publish.video)
    }
  }

  get plan(): readonly Slot[] {
    return this.#plan
  }

  /** Whether it may go on when there is a way to the server again. */
  get lives(): boolean {
    return this.#established && !this.#closed && this.pc.onconnectionstatechange !== null
  }

  /** Looks for another path (an ICE restart); until it is found the present one stays. */
  restart(): void {
    if (!this.lives) return
    this.pc.restartIce()
    this.offer({ audio: 0, video: 0 })
  }

  /** The way to the server is lost. */
  hold(): void {
    this.#held = true
    this.#stopTimers()
    clearTimeout(this.#unanswered)
  }

  /** There is a way to the server again, and it kept this connection. The ways through a firewall are those it gave now:
   * what it gave before holds for some hours only. */
  resume(slots: SlotCount, iceServers: IceServer[]): void {
    this.#held = false
    this.pc.setConfiguration({ ...this.pc.getConfiguration(), iceServers })
    // The answer may have been lost with the way it was on.
    this.#offers.forget()
    this.pc.restartIce()
    this.offer(slots)
    if (this.pc.connectionState !== 'connected') this.#awaitPath()
  }

  /** Offers with at least this many slots in all. */
  offer(slots: SlotCount): void {
    const lack = missing({ audio: this.#slots.audio.length, video: this.#slots.video.length }, slots)
    for (const kind of ['audio', 'video'] as const) {
      for (let n = 0; n < lack[kind]; n += 1) {
        const transceiver = this.pc.addTransceiver(kind, { direction: 'recvonly' })
        transceiver.setCodecPreferences(chooseCodecs(RTCRtpReceiver.getCapabilities(kind)?.codecs ?? []))
        this.#slots[kind].push(transceiver)
      }
    }
    const id = this.#offers.want()
    if (id !== null) void this.#sendOffer(id)
  }

  /** The server's answer. */
  async answer(offerId: number, sdp: string): Promise<void> {
    if (this.#closed || !this.#offers.expects(offerId)) return
    clearTimeout(this.#unanswered)
    try {
      await this.pc.setRemoteDescription({ type: 'answer', sdp })
    } catch (error) {
      this.#lose(`answer refused: ${String(error)}`)
      return
    }
    if (this.#closed) return
    this.#options.changed()
    const next = this.#offers.settled()
    if (next !== null) void this.#sendOffer(next)
  }

  /** The server's plan, whole each time. */
  setPlan(slots: Slot[]): void {
    this.#plan = slots
    this.#options.changed()
  }

  /** What plays now, by participant or camera. */
  tracks(): Map<string, SourceTracks> {
    const byMid = new Map<string, MediaStreamTrack>()
    for (const transceiver of [...this.#slots.audio, ...this.#slots.video]) {
      if (transceiver.mid !== null) byMid.set(transceiver.mid, transceiver.receiver.track)
    }
    const held = heldOwners(this.#plan)
    const result = new Map<string, SourceTracks>()
    for (const [owner, mids] of midsByOwner(this.#plan)) {
      result.set(owner, {
        audio: (mids.audio !== undefined && byMid.get(mids.audio)) || null,
        video: (mids.video !== undefined && byMid.get(mids.video)) || null,
        held: held.has(owner),
      })
    }
    return result
  }

  /** Publishes another device, or none, in place of the present one. */
  async replace(kind: MediaKindName, track: MediaStreamTrack | null): Promise<void> {
    await this.#senders[kind]?.sender.replaceTrack(track)
  }

  /** The layers of our picture that somebody takes: the others are not sent. */
  async setLayers(taken: readonly string[]): Promise<void> {
    const sender = this.#senders.video?.sender
    if (!sender || this.#closed) return
    const parameters = sender.getParameters()
    if (activate(parameters.encodings, taken)) await sender.setParameters(parameters)
  }

  /** What comes of each owner's sound in the plan; and of one's own, under `null`, how loud it is. */
  async sounds(): Promise<Map<string | null, Sound>> {
    const owners = new Map<string, string>()
    for (const [owner, mids] of midsByOwner(this.#plan)) if (mids.audio !== undefined) owners.set(mids.audio, owner)
    const sounds = new Map<string | null, Sound>()
    if (this.#closed) return sounds
    for (const report of (await this.pc.getStats()).values() as Iterable<Record<string, unknown>>) {
      if (report.kind !== 'audio') continue
      const level = typeof report.audioLevel === 'number' ? report.audioLevel : 0
      if (report.type === 'media-source') sounds.set(null, { level, packets: 0 })
      else if (report.type === 'inbound-rtp' && typeof report.mid === 'string') {
        const owner = owners.get(report.mid)
        const packets = typeof report.packetsReceived === 'number' ? report.packetsReceived : 0
        if (owner !== undefined) sounds.set(owner, { level, packets })
      }
    }
    return sounds
  }

  /** How many frames one's own camera gave so far; `null` where it gives none or the browser does not count them. */
  async cameraFrames(): Promise<number | null> {
    const report = await this.#senders.video?.sender.getStats()
    for (const stat of (report?.values() ?? []) as Iterable<Record<string, unknown>>) {
      if (stat.type === 'media-source' && typeof stat.frames === 'number') return stat.frames
    }
    return null
  }

  /** Another connection takes over: nothing more is sent and nothing awaited, but the last pictures stay. */
  rest(): void {
    this.#stopWaiting()
    for (const kind of ['audio', 'video'] as const) void this.replace(kind, null).catch(() => undefined)
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#stopWaiting()
    this.pc.close()
  }

  #publish(kind: MediaKindName, track: MediaStreamTrack | null): void {
    const transceiver = kind === 'video' ? this.#sendVideo(track) : this.pc.addTransceiver(track ?? kind, SENDONLY)
    this.#senders[kind] = transceiver
    const codecs = RTCRtpSender.getCapabilities(kind)?.codecs ?? []
    transceiver.setCodecPreferences(chooseCodecs(codecs, this.#options.codec))
  }

  #sendVideo(track: MediaStreamTrack | null): RTCRtpTransceiver {
    const sendEncodings = encodingsFor(track?.getSettings() ?? {})
    try {
      return this.pc.addTransceiver(track ?? 'video', { ...SENDONLY, sendEncodings })
    } catch {
      // A browser that knows no simulcast takes the largest alone.
      const { maxBitrate } = sendEncodings[sendEncodings.length - 1] ?? {}
      return this.pc.addTransceiver(track ?? 'video', { ...SENDONLY, sendEncodings: [{ maxBitrate }] })
    }
  }

  async #sendOffer(id: number): Promise<void> {
    try {
      await this.pc.setLocalDescription()
    } catch (error) {
      this.#lose(`no offer: ${String(error)}`)
      return
    }
    const sdp = this.pc.localDescription?.sdp
    // The way to the server may have gone and come back meanwhile: then another offer is on it.
    if (this.#closed || sdp === undefined || !this.#offers.expects(id)) return
    // `send` fails only when the socket is gone; then a resumed connection offers again.
    if (this.#options.send({ type: 'offer', offer_id: id, sdp })) {
      clearTimeout(this.#unanswered)
      this.#unanswered = setTimeout(() => this.#lose('no answer'), ANSWER_MAX_MS)
    }
    this.#options.changed()
  }

  #onState(): void {
    switch (this.pc.connectionState) {
      case 'connected':
        this.#established = true
        this.#stopTimers()
        this.#options.connected()
        break
      case 'disconnected':
      case 'failed':
        if (!this.#established) this.#lose('failed')
        // One that fails while it looks for another path may still find it.
        else if (this.#restarting === undefined) {
          this.#options.interrupted()
          if (this.#held) break
          this.restart()
          this.#awaitPath()
        }
        break
    }
  }

  #awaitPath(): void {
    clearTimeout(this.#restarting)
    this.#restarting = setTimeout(() => this.#lose('no other path'), RESTART_MAX_MS)
  }

  #lose(why: string): void {
    if (this.#closed) return
    this.#stopWaiting()
    this.#options.lost(why)
  }

  #stopTimers(): void {
    clearTimeout(this.#deadline)
    clearTimeout(this.#restarting)
    this.#restarting = undefined
  }

  #stopWaiting(): void {
    this.#stopTimers()
    clearTimeout(this.#unanswered)
    this.pc.onconnectionstatechange = null
  }
}
