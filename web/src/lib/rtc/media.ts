// One RTCPeerConnection towards the server, for a room or a wall. We always offer, the server only answers; each of our
// `recvonly` transceivers is a slot, and the server says by `slots` what plays in it.

import type { ClientMessage, IceServer, MediaKindName, Slot, SlotCount } from '../api/types'
import { chooseCodecs, type PreferredCodec } from './codecs'
import { OfferQueue } from './offers'
import { midsByOwner, missing } from './plan'

const CONNECT_TIMEOUT_MS = 15_000
/** A short loss heals by itself; after this long we come back on a new connection. */
const DISCONNECTED_MAX_MS = 4_000
const VIDEO_BITRATE_MAX = 900_000

export interface MediaOptions {
  send(message: ClientMessage): boolean
  /** The connection will not come back by itself. It stays open for its last pictures until it is closed. */
  lost(why: string): void
  connected(): void
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
}

export class Media {
  readonly pc: RTCPeerConnection
  readonly #options: MediaOptions
  readonly #offers = new OfferQueue()
  readonly #senders: Partial<Record<MediaKindName, RTCRtpTransceiver>> = {}
  readonly #slots: Record<MediaKindName, RTCRtpTransceiver[]> = { audio: [], video: [] }
  #plan: Slot[] = []
  #closed = false
  #disconnected: ReturnType<typeof setTimeout> | undefined
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
    const result = new Map<string, SourceTracks>()
    for (const [owner, mids] of midsByOwner(this.#plan)) {
      result.set(owner, {
        audio: (mids.audio !== undefined && byMid.get(mids.audio)) || null,
        video: (mids.video !== undefined && byMid.get(mids.video)) || null,
      })
    }
    return result
  }

  /** Publishes another device, or none, in place of the present one. */
  async replace(kind: MediaKindName, track: MediaStreamTrack | null): Promise<void> {
    await this.#senders[kind]?.sender.replaceTrack(track)
  }

  /** Sound levels of 0..1: of each owner in the plan, and one's own under `null`. */
  async levels(): Promise<Map<string | null, number>> {
    const owners = new Map<string, string>()
    for (const [owner, mids] of midsByOwner(this.#plan)) if (mids.audio !== undefined) owners.set(mids.audio, owner)
    const levels = new Map<string | null, number>()
    if (this.#closed) return levels
    for (const report of (await this.pc.getStats()).values() as Iterable<Record<string, unknown>>) {
      const level = report.audioLevel
      if (report.kind !== 'audio' || typeof level !== 'number') continue
      if (report.type === 'media-source') levels.set(null, level)
      else if (report.type === 'inbound-rtp' && typeof report.mid === 'string') {
        const owner = owners.get(report.mid)
        if (owner !== undefined) levels.set(owner, level)
      }
    }
    return levels
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
    const init: RTCRtpTransceiverInit = { direction: 'sendonly' }
    if (kind === 'video') init.sendEncodings = [{ maxBitrate: VIDEO_BITRATE_MAX }]
    const transceiver = this.pc.addTransceiver(track ?? kind, init)
    this.#senders[kind] = transceiver
    const codecs = RTCRtpSender.getCapabilities(kind)?.codecs ?? []
    transceiver.setCodecPreferences(chooseCodecs(codecs, this.#options.codec))
  }

  async #sendOffer(id: number): Promise<void> {
    try {
      await this.pc.setLocalDescription()
    } catch (error) {
      this.#lose(`no offer: ${String(error)}`)
      return
    }
    const sdp = this.pc.localDescription?.sdp
    if (this.#closed || sdp === undefined) return
    // `send` fails only when the socket is gone; then a new connection begins anew.
    this.#options.send({ type: 'offer', offer_id: id, sdp })
    this.#options.changed()
  }

  #onState(): void {
    clearTimeout(this.#disconnected)
    switch (this.pc.connectionState) {
      case 'connected':
        clearTimeout(this.#deadline)
        this.#options.connected()
        break
      case 'disconnected':
        this.#disconnected = setTimeout(() => this.#lose('disconnected'), DISCONNECTED_MAX_MS)
        break
      case 'failed':
        this.#lose('failed')
        break
    }
  }

  #lose(why: string): void {
    if (this.#closed) return
    this.#stopWaiting()
    this.#options.lost(why)
  }

  #stopWaiting(): void {
    clearTimeout(this.#deadline)
    clearTimeout(this.#disconnected)
    this.pc.onconnectionstatechange = null
  }
}
