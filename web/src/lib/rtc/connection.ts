// The connection of a room or wall to the server: one socket and one media connection, and coming back when either is
// lost. Media outlive their socket if the server kept them, and look for another path. Where a new media connection is
// needed, the last pictures of the old one stay until the new one shows some.

import type { ClientMessage, IceServer, MediaKindName, Participant, Problem, ServerMessage, SlotCount } from '../api/types'
import { expose } from './debug'
import { Media, type SourceTracks } from './media'
import { preferredCodec } from './options'
import { Signal } from './signal'

/** Last pictures of a connection that is gone are dropped so long after the next one holds, though nothing plays on it:
 * whoever was seen in them is no longer there. */
const LAST_PICTURES_MAX_MS = 5_000

export interface ConnectionOptions {
  /** Called for each connection, so that it can say the newest choice. */
  hello(): ClientMessage | Promise<ClientMessage>
  /** What is not about the connection itself. */
  message(message: ServerMessage): void
  /** The server does not take us in, and will not: there are no more tries. */
  refused(problem: Problem): void
  /** Something could not be done. */
  notice(problem: Problem): void
  /** The state is another one: read `state`. */
  changed(state: ConnectionState): void
  /** Media are connected, for the first time or again. */
  connected?(): void
  /** Own tracks, asked for at each new media connection; absent where nothing is published. */
  publish?(): Record<MediaKindName, MediaStreamTrack | null>
}

/** Never changed: another state is another object. */
export interface ConnectionState {
  /** Since when it is lost; `null` while it holds, and before it held for the first time. */
  readonly lostSince: number | null
  /** The server said that it restarts. */
  readonly restarting: boolean
  /** What plays now, by participant or camera. */
  readonly tracks: ReadonlyMap<string, SourceTracks>
}

export class Connection {
  #state: ConnectionState = { lostSince: null, restarting: false, tracks: new Map() }
  readonly #options: ConnectionOptions
  readonly #signal: Signal
  #media: Media | null = null
  /** The connection before, kept for its last pictures. */
  #old: Media | null = null
  #dropping: ReturnType<typeof setTimeout> | undefined
  /** The server took this socket in. */
  #welcomed = false
  /** It took one in before. */
  #held = false

  constructor(options: ConnectionOptions) {
    this.#options = options
    this.#signal = new Signal({
      hello: () => options.hello(),
      message: (message) => this.#on(message),
      lost: () => this.#onLost(),
      networkChanged: () => {
        if (this.#welcomed) this.#media?.restart()
      },
    })
  }

  get state(): ConnectionState {
    return this.#state
  }

  get media(): Media | null {
    return this.#media
  }

  /** The server took us in before. */
  get held(): boolean {
    return this.#held
  }

  send(message: ClientMessage): boolean {
    return this.#signal.send(message)
  }

  /** The server took us in. With slots media follow, on the connection of before if it is `resumed`; without, as in the
   * lobby, that was all. */
  welcomed(slots: SlotCount | null, resumed = false): void {
    this.#welcomed = this.#held = true
    if (slots && resumed && this.#media) {
      this.#media.resume(slots, this.#iceServers)
      if (this.#media.pc.connectionState === 'connected') this.#back()
      return
    }
    if (slots) return this.connect(slots)
    this.#closeMedia()
    this.#back()
  }

  /** A new media connection, with at least so many slots. */
  connect(slots: SlotCount): void {
    const before = this.#media
    // One that never showed anything does not take the place of the last pictures.
    if (before && before.tracks().size > 0) {
      this.#old?.close()
      this.#old = before
      before.rest()
    } else before?.close()
    const media: Media = new Media({
      send: (message) => this.#media === media && this.#signal.send(message),
      connected: () => {
        if (this.#media !== media) return
        this.#back()
        this.#dropOld()
        clearTimeout(this.#dropping)
        if (this.#old) this.#dropping = setTimeout(() => this.#dropOld({ anyway: true }), LAST_PICTURES_MAX_MS)
        this.#options.connected?.()
      },
      interrupted: () => {
        if (this.#media !== media) return
        this.#lose()
        if (this.#welcomed) this.#signal.doubt()
      },
      lost: (why) => {
        // Without a socket we are on the way back already, and the last pictures stay.
        if (this.#media !== media || !this.#welcomed) return
        console.warn('media connection lost:', why)
        this.#signal.restart()
      },
      changed: () => {
        if (this.#media !== media) return
        const tracks = media.tracks()
        if (tracks.size > 0 || this.#old === null) this.#set({ tracks })
        this.#dropOld()
      },
      iceServers: this.#iceServers,
      publish: this.#options.publish?.(),
      codec: preferredCodec(),
    })
    this.#media = media
    media.offer(slots)
  }

  close(): void {
    this.#signal.close()
    this.#closeMedia()
  }

  /** For browser tests. */
  expose(participants: () => readonly Participant[]): void {
    const signal = this.#signal
    const media = () => this.#media
    expose({
      get pc() {
        return media()?.pc ?? null
      },
      get ws() {
        return signal.socket
      },
      slots: () => media()?.plan ?? [],
      participants,
    })
  }

  #iceServers: IceServer[] = []

  #on(message: ServerMessage): void {
    if (message.type === 'welcome_room' || message.type === 'welcome_wall') this.#iceServers = message.ice_servers
    switch (message.type) {
      case 'answer':
        void this.#media?.answer(message.offer_id, message.sdp)
        break
      case 'slots':
        this.#media?.setPlan(message.slots)
        break
      case 'layers':
        // What the browser does not take it goes on sending, as before.
        void this.#media?.setLayers(message.taken).catch((error: unknown) => console.warn('layers:', error))
        break
      case 'need_slots':
        this.#media?.offer(message.slots)
        break
      case 'ended':
        if (message.reason !== 'server_stopping') this.#options.message(message)
        else {
          // The next one takes us back.
          this.#set({ restarting: true })
          this.#signal.restart({ stops: true })
        }
        break
      case 'error':
        // Before the welcome an error is a refusal, unless it is the server's own trouble: then we try again.
        if (!this.#welcomed && message.problem.status < 500 && message.problem.status !== 429) {
          this.#options.refused(message.problem)
        } else if (this.#welcomed) this.#options.notice(message.problem)
        break
      default:
        this.#options.message(message)
    }
  }

  #onLost(): void {
    this.#welcomed = false
    this.#media?.hold()
    if (this.#held) this.#lose()
  }

  #lose(): void {
    if (this.#state.lostSince === null) this.#set({ lostSince: Date.now() })
  }

  /** All holds that there is to hold. A welcome alone is not it: media that fail at once would come back as often as the
   * line can carry. */
  #back(): void {
    this.#signal.established()
    if (this.#state.lostSince !== null || this.#state.restarting) this.#set({ lostSince: null, restarting: false })
  }

  #set(change: Partial<ConnectionState>): void {
    this.#state = { ...this.#state, ...change }
    this.#options.changed(this.#state)
  }

  #dropOld({ anyway = false } = {}): void {
    if (this.#old === null || this.#media?.pc.connectionState !== 'connected') return
    const tracks = this.#media.tracks()
    if (tracks.size === 0 && !anyway) return
    this.#old.close()
    this.#old = null
    this.#set({ tracks })
  }

  #closeMedia(): void {
    clearTimeout(this.#dropping)
    this.#media?.close()
    this.#old?.close()
    this.#media = this.#old = null
    this.#set({ tracks: new Map() })
  }
}
