// A mediation room as one person sees it: the state of the room page, and what can be done in it.

import type { EndReason, MediaKindName, Participant, Problem, ServerMessage } from '../api/types'
import { Connection } from './connection.svelte'
import { local } from './local.svelte'
import type { SourceTracks } from './media'
import { Speaking } from './speaking'

const LEVELS_EVERY_MS = 400

export type Phase = 'connecting' | 'lobby' | 'in' | 'ended' | 'refused'

export interface RoomOptions {
  roomId: string
  /** Asked for at each connection: a token may have been renewed since the last, or has to be now. */
  token: () => string | Promise<string>
  record: boolean
  audioMuted: boolean
  videoMuted: boolean
}

export class RoomCall {
  phase = $state<Phase>('connecting')
  /** Let in once and in the lobby again: the session ended while one was away, or the mediator had one wait. */
  outAgain = $state(false)
  meId = $state('')
  roomName = $state('')
  caseTitle = $state('')
  caseId = $state('')
  participants = $state.raw<Participant[]>([])
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

  /** What the server knows this page by. */
  readonly #page = crypto.getRandomValues(new Uint32Array(4)).join('-').padStart(16, '0')
  readonly #connection: Connection
  readonly #speaking = new Speaking()
  readonly #levels: ReturnType<typeof setInterval>

  constructor(options: RoomOptions) {
    this.record = options.record
    this.muted = { audio: options.audioMuted, video: options.videoMuted }
    this.#connection = new Connection({
      hello: async () => {
        const token = await options.token()
        const connection = this.#connection
        const keeps_media = connection.media?.lives ?? false
        const page = { id: this.#page, returns: connection.held, keeps_media }
        return { type: 'hello', token, open: { kind: 'room', room_id: options.roomId, record: this.record, page } }
      },
      message: (message) => this.#on(message),
      refused: (problem) => {
        this.refused = problem
        this.phase = 'refused'
        this.dispose()
      },
      notice: (problem) => (this.notice = problem),
      publish: () => ({ audio: local.audio, video: local.video }),
    })
    this.#connection.expose(() => this.participants)
    this.#levels = setInterval(() => void this.#readLevels(), LEVELS_EVERY_MS)
  }

  /** Since when the connection is lost; `null` while it holds. */
  get lostSince(): number | null {
    return this.#connection.lostSince
  }

  /** It is lost because the server restarts. */
  get restarting(): boolean {
    return this.#connection.restarting
  }

  get tracks(): Map<string, SourceTracks> {
    return this.#connection.tracks
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
      void this.#connection.media?.replace(kind, null)
    }
  }

  /** Consent was withdrawn here and the server has not confirmed that it records no more. */
  get withdrawing(): boolean {
    return !this.record && this.me?.record === true
  }

  setRecord(record: boolean): void {
    this.record = record
    this.#connection.send({ type: 'set_consent', record })
    this.#applyMutes()
  }

  /** Publishes the devices as they are now, after one came, went or was changed. */
  async devicesChanged(): Promise<void> {
    for (const kind of ['audio', 'video'] as const) {
      this.#applyMute(kind)
      await this.#connection.media?.replace(kind, local[kind])
      this.#sayMuted(kind)
    }
  }

  admit(id: string): void {
    this.#connection.send({ type: 'admit', participant_id: id })
  }

  remove(id: string): void {
    this.#connection.send({ type: 'remove', participant_id: id })
  }

  endSession(): void {
    this.#connection.send({ type: 'end_session' })
  }

  leave(): void {
    this.#connection.send({ type: 'leave' })
    this.#finish({ reason: 'left', recordingId: null })
  }

  /** Leaves the page, not by choice of the person: the seat is kept for a while. */
  dispose(): void {
    clearInterval(this.#levels)
    this.#connection.close()
  }

  #on(message: ServerMessage): void {
    switch (message.type) {
      case 'welcome_room':
        this.meId = message.participant_id
        this.roomName = message.room_name
        this.caseTitle = message.case_title
        this.caseId = message.case_id
        this.notice = null
        this.#slots = message.slots
        if (message.lobby) {
          this.outAgain ||= this.phase === 'in'
          this.phase = 'lobby'
          this.#connection.welcomed(null)
        } else {
          this.#connection.welcomed(message.slots, message.resumed)
          this.#enter()
        }
        break
      case 'admitted':
        if (this.phase === 'in') break
        this.#connection.connect(this.#slots)
        this.#enter()
        break
      case 'participants':
        this.participants = message.participants
        this.#applyMutes()
        break
      case 'recording_changed':
        this.recording = {
          on: message.recording,
          since: message.since ?? null,
          fault: message.fault ?? null,
        }
        break
      case 'ended':
        this.#finish({ reason: message.reason, recordingId: message.recording_id ?? null })
        break
    }
  }

  #slots = { audio: 0, video: 0 }

  #enter(): void {
    this.phase = 'in'
    this.outAgain = false
    for (const kind of ['audio', 'video'] as const) {
      this.#applyMute(kind)
      this.#sayMuted(kind)
    }
  }

  #finish(ended: { reason: EndReason | 'left'; recordingId: string | null }): void {
    this.ended = ended
    this.phase = 'ended'
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
    this.#connection.send({ type: 'set_muted', kind, muted: this.muted[kind] || local[kind] === null })
  }

  async #readLevels(): Promise<void> {
    const media = this.#connection.media
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
