// A mediation room as one person sees it: the state of the room page, and what can be done in it.

import type { EndReason, MediaKindName, Participant, Problem, ServerMessage } from '../api/types'
import { expose } from './debug'
import { local } from './local.svelte'
import { Media, type SourceTracks } from './media'
import { preferredCodec } from './options'
import { Signal } from './signal'
import { Speaking } from './speaking'

const LEVELS_EVERY_MS = 400

export type Phase = 'connecting' | 'lobby' | 'in' | 'ended' | 'refused'

export interface RoomOptions {
  roomId: string
  token: string
  record: boolean
  audioMuted: boolean
  videoMuted: boolean
}

export class RoomCall {
  phase = $state<Phase>('connecting')
  /** Since when the connection is lost; `null` while it holds. */
  lostSince = $state<number | null>(null)
  meId = $state('')
  roomName = $state('')
  caseTitle = $state('')
  caseId = $state('')
  participants = $state.raw<Participant[]>([])
  tracks = $state.raw<Map<string, SourceTracks>>(new Map())
  speaking = $state.raw<Set<string>>(new Set())
  recording = $state.raw<{ on: boolean; since: string | null; fault: string | null }>({
    on: false,
    since: null,
    fault: null,
  })
  ended = $state.raw<{ reason: EndReason | 'left'; recordingId: string | null } | null>(null)
  refused = $state.raw<Problem | null>(null)
  /** The last thing that could not be done. */
  notice = $state.raw<Problem | null>(null)
  muted = $state<Record<MediaKindName, boolean>>({ audio: false, video: false })
  record = $state(false)
  audioBlocked = $state(false)

  readonly #options: RoomOptions
  readonly #signal: Signal
  readonly #speaking = new Speaking()
  #media: Media | null = null
  /** The connection before, kept until the new one shows pictures, so that the last picture stays. */
  #old: Media | null = null
  #welcomed = false
  readonly #levels: ReturnType<typeof setInterval>

  constructor(options: RoomOptions) {
    this.#options = options
    this.record = options.record
    this.muted = { audio: options.audioMuted, video: options.videoMuted }
    this.#signal = new Signal({
      hello: () => ({
        type: 'hello',
        token: this.#options.token,
        open: { kind: 'room', room_id: this.#options.roomId, record: this.record },
      }),
      message: (message) => this.#on(message),
      lost: () => this.#onLost(),
    })
    this.#levels = setInterval(() => void this.#readLevels(), LEVELS_EVERY_MS)
    const signal = this.#signal
    const media = () => this.#media
    const people = () => this.participants
    expose({
      get pc() {
        return media()?.pc ?? null
      },
      get ws() {
        return signal.socket
      },
      slots: () => media()?.plan ?? [],
      participants: people,
    })
  }

  get me(): Participant | undefined {
    return this.participants.find((person) => person.id === this.meId)
  }

  /** Those in the room, in the order of their seats. */
  get seated(): Participant[] {
    return this.participants.filter((person) => !person.lobby)
  }

  get waiting(): Participant[] {
    return this.participants.filter((person) => person.lobby && person.id !== this.meId)
  }

  setMuted(kind: MediaKindName, muted: boolean): void {
    this.muted[kind] = muted
    this.#applyMute(kind)
    this.#sayMuted(kind)
    if (kind === 'video' && muted && local.video) {
      local.restCamera()
      void this.#media?.replace(kind, null)
    }
  }

  /** Consent was withdrawn here and the server has not confirmed that it records no more. */
  get withdrawing(): boolean {
    return !this.record && this.me?.record === true
  }

  setRecord(record: boolean): void {
    this.record = record
    this.#signal.send({ type: 'set_consent', record })
    this.#applyMutes()
  }

  /** Publishes the devices as they are now, after one came, went or was changed. */
  async devicesChanged(): Promise<void> {
    for (const kind of ['audio', 'video'] as const) {
      this.#applyMute(kind)
      await this.#media?.replace(kind, local[kind])
      this.#sayMuted(kind)
    }
  }

  admit(id: string): void {
    this.#signal.send({ type: 'admit', participant_id: id })
  }

  remove(id: string): void {
    this.#signal.send({ type: 'remove', participant_id: id })
  }

  endSession(): void {
    this.#signal.send({ type: 'end_session' })
  }

  leave(): void {
    this.#signal.send({ type: 'leave' })
    this.#finish({ reason: 'left', recordingId: null })
  }

  /** Leaves the page, not by choice of the person: the seat is kept for a while. */
  dispose(): void {
    clearInterval(this.#levels)
    this.#signal.close()
    this.#media?.close()
    this.#old?.close()
  }

  #on(message: ServerMessage): void {
    switch (message.type) {
      case 'welcome_room':
        this.#welcomed = true
        this.#signal.established()
        this.meId = message.participant_id
        this.roomName = message.room_name
        this.caseTitle = message.case_title
        this.caseId = message.case_id
        this.notice = null
        this.#slots = message.slots
        if (message.lobby) {
          this.phase = 'lobby'
          this.lostSince = null
        } else this.#enter()
        break
      case 'admitted':
        if (this.phase !== 'in' || !this.#media) this.#enter()
        break
      case 'answer':
        void this.#media?.answer(message.offer_id, message.sdp)
        break
      case 'participants':
        this.participants = message.participants
        this.#applyMutes()
        break
      case 'slots':
        this.#media?.setPlan(message.slots)
        break
      case 'need_slots':
        this.#media?.offer(message.slots)
        break
      case 'recording_changed':
        this.recording = {
          on: message.recording,
          since: message.since ?? null,
          fault: message.fault ?? null,
        }
        break
      case 'ended':
        // A restarting server takes us back.
        if (message.reason === 'server_stopping') this.#signal.restart()
        else this.#finish({ reason: message.reason, recordingId: message.recording_id ?? null })
        break
      case 'error':
        this.#onError(message.problem)
        break
    }
  }

  #slots = { audio: 0, video: 0 }

  #enter(): void {
    this.phase = 'in'
    this.#old?.close()
    this.#old = this.#media
    const media: Media = new Media({
      send: (message) => this.#media === media && this.#signal.send(message),
      connected: () => {
        if (this.#media !== media) return
        this.lostSince = null
        this.#old?.close()
        this.#old = null
      },
      lost: (why) => {
        if (this.#media !== media) return
        console.warn('media connection lost:', why)
        this.#signal.restart()
      },
      changed: () => {
        if (this.#media !== media) return
        const tracks = media.tracks()
        // Until the new connection has its plan, the last pictures stay.
        if (tracks.size > 0 || this.#old === null) this.tracks = tracks
      },
      publish: { audio: local.audio, video: local.video },
      codec: preferredCodec(),
    })
    this.#media = media
    media.offer(this.#slots)
    for (const kind of ['audio', 'video'] as const) {
      this.#applyMute(kind)
      this.#sayMuted(kind)
    }
  }

  #onLost(): void {
    this.#welcomed = false
    if (this.phase === 'in' || this.phase === 'lobby') this.lostSince ??= Date.now()
    // Both are kept open: the last picture stays, and media may still flow until the server takes us back.
  }

  #onError(problem: Problem): void {
    // Before the welcome an error is the server's refusal, unless it is its own trouble: then we try again.
    if (!this.#welcomed && problem.status < 500 && problem.status !== 429) {
      this.refused = problem
      this.phase = 'refused'
      this.dispose()
      return
    }
    this.notice = problem
  }

  #finish(ended: { reason: EndReason | 'left'; recordingId: string | null }): void {
    this.ended = ended
    this.phase = 'ended'
    this.lostSince = null
    this.dispose()
    local.close()
  }

  #applyMutes(): void {
    this.#applyMute('audio')
    this.#applyMute('video')
  }

  /** While a withdrawal is on its way nothing is sent: what does not leave cannot be recorded. */
  #applyMute(kind: MediaKindName): void {
    const track = local[kind]
    if (track) track.enabled = !this.muted[kind] && !this.withdrawing
  }

  #sayMuted(kind: MediaKindName): void {
    if (this.phase !== 'in') return
    this.#signal.send({ type: 'set_muted', kind, muted: this.muted[kind] || local[kind] === null })
  }

  async #readLevels(): Promise<void> {
    const media = this.#media
    if (!media || this.phase !== 'in') return
    const levels = await media.levels().catch(() => new Map<string | null, number>())
    const now = performance.now()
    for (const [owner, level] of levels) {
      if (owner === null && this.muted.audio) continue
      this.#speaking.heard(owner ?? this.meId, level, now)
    }
    const speaking = this.#speaking.at(now)
    if (speaking.size !== this.speaking.size || [...speaking].some((id) => !this.speaking.has(id))) {
      this.speaking = speaking
    }
  }
}
