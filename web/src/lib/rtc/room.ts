// A mediation room as one person is in it: what there is to see, and what can be done. Knows nothing of pages.

import type { ClientMessage, EndReason, MediaKindName, Participant, Problem, ServerMessage } from '../api/types'
import { Connection, type ConnectionState } from './connection'
import { readLine } from './line'
import type { Media, Sound, SourceTracks } from './media'
import { LOOK_EVERY_MS, QualityMeter, type Quality } from './quality'
import { Silence } from './silence'
import { Speaking } from './speaking'
import { Still } from './still'
import { View } from './view'

const SOUNDS_EVERY_MS = 400

export type Phase = 'connecting' | 'lobby' | 'in' | 'ended' | 'refused'

/** One's own tracks. One that is absent may come later. */
export type OwnTracks = Record<MediaKindName, MediaStreamTrack | null>

export interface RoomOptions {
  roomId: string
  /** Asked for at each connection: a token may have been renewed since the last, or has to be now. */
  token: () => string | Promise<string>
  /** Consent to being recorded. */
  record: boolean
  muted: Record<MediaKindName, boolean>
  tracks: OwnTracks
  /** One's own camera gives no frames any more though it is on: the caller takes it anew and publishes it. */
  cameraStill?(): void
}

/** Never changed: another state is another object, and so is each part of it that changed. */
export interface RoomState extends ConnectionState {
  readonly phase: Phase
  /** Let in once and in the lobby again: the session ended while one was away, or the mediator had one wait. */
  readonly outAgain: boolean
  readonly meId: string
  readonly roomName: string
  readonly caseTitle: string
  readonly caseId: string
  readonly participants: readonly Participant[]
  /** Ids of who speaks. */
  readonly speaking: ReadonlySet<string>
  /** Ids of whom nothing comes any more though it should: they are being waited for. */
  readonly silent: ReadonlySet<string>
  readonly recording: { readonly on: boolean; readonly since: string | null; readonly fault: string | null }
  /** Why it is over, for good on this page. */
  readonly ended: { readonly reason: EndReason | 'left'; readonly recordingId: string | null } | null
  /** Why the server does not let one in. */
  readonly refused: Problem | null
  /** The last thing that could not be done. */
  readonly notice: Problem | null
  readonly muted: Readonly<Record<MediaKindName, boolean>>
  /** What was last said about being recorded, which the server may not have heard yet. */
  readonly record: boolean
  /** One's own line; `null` outside of the room. */
  readonly quality: Quality | null
}

export class Room {
  #state: RoomState
  readonly #listeners = new Set<(state: RoomState) => void>()
  #tracks: OwnTracks
  #slots = { audio: 0, video: 0 }
  /** What the server knows this page by. */
  readonly #page = crypto.getRandomValues(new Uint32Array(4)).join('-').padStart(16, '0')
  readonly #connection: Connection
  readonly #speaking = new Speaking()
  readonly #silence = new Silence()
  readonly #still = new Still()
  readonly #meter = new QualityMeter()
  readonly #view = new View((tiles) => {
    if (this.#state.phase === 'in') this.#say({ type: 'view', tiles })
  })
  #measured: Media | null = null
  readonly #cameraStill: RoomOptions['cameraStill']
  readonly #timers: ReturnType<typeof setInterval>[]

  constructor(options: RoomOptions) {
    this.#tracks = { ...options.tracks }
    this.#cameraStill = options.cameraStill
    this.#connection = new Connection({
      hello: async () => {
        const token = await options.token()
        const connection = this.#connection
        const keeps_media = connection.media?.lives ?? false
        const page = { id: this.#page, returns: connection.held, keeps_media }
        const { record } = this.#state
        return { type: 'hello', token, open: { kind: 'room', room_id: options.roomId, record, page } }
      },
      message: (message) => this.#on(message),
      refused: (refused) => {
        this.#set({ refused, phase: 'refused' })
        this.dispose()
      },
      notice: (notice) => this.#set({ notice }),
      changed: (state) => this.#set(state),
      // Before its first offer the server knows of nobody to whom pictures go, and drops what is told about them.
      connected: () => this.#view.tell(),
      publish: () => ({ ...this.#tracks }),
    })
    this.#state = {
      ...this.#connection.state,
      phase: 'connecting',
      outAgain: false,
      meId: '',
      roomName: '',
      caseTitle: '',
      caseId: '',
      participants: [],
      speaking: new Set(),
      silent: new Set(),
      recording: { on: false, since: null, fault: null },
      ended: null,
      refused: null,
      notice: null,
      muted: { ...options.muted },
      record: options.record,
      quality: null,
    }
    this.#connection.expose(() => this.#state.participants)
    this.#timers = [
      setInterval(() => void this.#readSounds(), SOUNDS_EVERY_MS),
      setInterval(() => void this.#watchCamera(), SOUNDS_EVERY_MS),
      setInterval(() => void this.#readQuality(), LOOK_EVERY_MS),
    ]
  }

  get state(): RoomState {
    return this.#state
  }

  /** Calls `listener` with the state now and whenever it is another. The function returned ends that. */
  subscribe(listener: (state: RoomState) => void): () => void {
    this.#listeners.add(listener)
    listener(this.#state)
    return () => this.#listeners.delete(listener)
  }

  /** What plays of this person; their picture and sound are to be shown and played by the caller. */
  tracksOf(participantId: string): SourceTracks | undefined {
    return this.#state.tracks.get(participantId)
  }

  /** Publishes these tracks in place of those of before, and says to the others which there are. */
  async publish(tracks: OwnTracks): Promise<void> {
    this.#tracks = { ...tracks }
    for (const kind of ['audio', 'video'] as const) {
      this.#applyMute(kind)
      await this.#connection.media?.replace(kind, tracks[kind])
      this.#sayMuted(kind)
    }
  }

  setMuted(kind: MediaKindName, muted: boolean): void {
    this.#set({ muted: { ...this.#state.muted, [kind]: muted } })
    this.#applyMute(kind)
    this.#sayMuted(kind)
  }

  /** Gives or withdraws the consent to being recorded. Until the server confirms a withdrawal nothing is sent. */
  setRecord(record: boolean): void {
    this.#set({ record })
    this.#say({ type: 'set_consent', record })
    this.#applyMutes()
  }

  /** Somebody's picture is drawn so high, in pixels of the screen; `null` when it is gone. */
  setHeight(id: string, height: number | null): void {
    if (id !== this.#state.meId) this.#view.set(id, height)
  }

  /** Mediator: lets somebody in from the lobby. */
  admit(id: string): void {
    this.#say({ type: 'admit', participant_id: id })
  }

  /** Mediator: sends somebody out. */
  remove(id: string): void {
    this.#say({ type: 'remove', participant_id: id })
  }

  /** Mediator: ends the session for all. */
  endSession(): void {
    this.#say({ type: 'end_session' })
  }

  dismissNotice(): void {
    this.#set({ notice: null })
  }

  /** The browser's own counters, or `null` without a media connection. */
  async stats(): Promise<RTCStatsReport | null> {
    return (await this.#connection.media?.pc.getStats()) ?? null
  }

  /** Leaves for good: the seat is given up. */
  leave(): void {
    this.#say({ type: 'leave' })
    this.#finish({ reason: 'left', recordingId: null })
  }

  /** Ends here, not by choice of the person: the seat is kept for a while. */
  dispose(): void {
    for (const timer of this.#timers) clearInterval(timer)
    this.#view.close()
    this.#connection.close()
  }

  #on(message: ServerMessage): void {
    switch (message.type) {
      case 'welcome_room':
        this.#set({
          meId: message.participant_id,
          roomName: message.room_name,
          caseTitle: message.case_title,
          caseId: message.case_id,
          notice: null,
        })
        this.#slots = message.slots
        if (message.lobby) {
          this.#set({ outAgain: this.#state.outAgain || this.#state.phase === 'in', phase: 'lobby', quality: null })
          this.#connection.welcomed(null)
        } else {
          this.#connection.welcomed(message.slots, message.resumed)
          this.#enter()
        }
        break
      case 'admitted':
        if (this.#state.phase === 'in') break
        this.#connection.connect(this.#slots)
        this.#enter()
        break
      case 'participants':
        this.#set({ participants: message.participants })
        this.#applyMutes()
        break
      case 'recording_changed':
        this.#set({
          recording: { on: message.recording, since: message.since ?? null, fault: message.fault ?? null },
        })
        break
      case 'ended':
        this.#finish({ reason: message.reason, recordingId: message.recording_id ?? null })
        break
    }
  }

  #enter(): void {
    this.#set({ phase: 'in', outAgain: false })
    this.#view.tell()
    for (const kind of ['audio', 'video'] as const) {
      this.#applyMute(kind)
      this.#sayMuted(kind)
    }
  }

  #finish(ended: RoomState['ended']): void {
    this.#set({ ended, phase: 'ended' })
    this.dispose()
  }

  #set(change: Partial<RoomState>): void {
    this.#state = { ...this.#state, ...change }
    for (const listener of this.#listeners) listener(this.#state)
  }

  #say(message: ClientMessage): void {
    this.#connection.send(message)
  }

  #applyMutes(): void {
    this.#applyMute('audio')
    this.#applyMute('video')
  }

  /** While a withdrawal is on its way nothing is sent: what does not leave cannot be recorded. */
  #applyMute(kind: MediaKindName): void {
    const track = this.#tracks[kind]
    if (track) track.enabled = !this.#state.muted[kind] && !withdrawing(this.#state)
  }

  #sayMuted(kind: MediaKindName): void {
    if (this.#state.phase !== 'in') return
    this.#say({ type: 'set_muted', kind, muted: this.#state.muted[kind] || this.#tracks[kind] === null })
  }

  async #readSounds(): Promise<void> {
    const media = this.#connection.media
    if (!media || this.#state.phase !== 'in') return
    const sounds = await media.sounds().catch(() => new Map<string | null, Sound>())
    const now = performance.now()
    const { meId, muted, participants, lostSince } = this.#state
    for (const [owner, { level }] of sounds) {
      if (owner !== null || !muted.audio) this.#speaking.heard(owner ?? meId, level, now)
    }
    this.#setIds('speaking', this.#speaking.at(now))
    if (lostSince !== null || media.pc.connectionState !== 'connected') this.#silence.restart()
    const expected = participants.filter((one) => one.connected && !one.audio_muted && sounds.has(one.id))
    const packets = new Map(expected.map(({ id }) => [id, sounds.get(id)?.packets ?? 0]))
    this.#setIds('silent', this.#silence.look(packets, now))
  }

  #setIds(what: 'speaking' | 'silent', ids: Set<string>): void {
    const before = this.#state[what]
    if (ids.size !== before.size || [...ids].some((id) => !before.has(id))) this.#set({ [what]: ids })
  }

  async #watchCamera(): Promise<void> {
    const media = this.#connection.media
    const { video } = this.#tracks
    // On a phone the camera rests while nobody looks at the page.
    const due = () =>
      this.#state.phase === 'in' &&
      media?.pc.connectionState === 'connected' &&
      video?.readyState === 'live' &&
      video.enabled &&
      document.visibilityState === 'visible'
    const frames = media && due() ? await media.cameraFrames().catch(() => null) : null
    if (this.#still.look(due() ? frames : null, performance.now())) this.#cameraStill?.()
  }

  async #readQuality(): Promise<void> {
    const media = this.#connection.media
    if (!media || this.#state.phase !== 'in' || media.pc.connectionState !== 'connected') return
    if (this.#measured !== media) this.#meter.restart()
    this.#measured = media
    const report = await media.pc.getStats().catch(() => null)
    if (report === null || this.#measured !== media) return
    const sends = new Set(this.#state.participants.filter((one) => one.connected && !one.video_muted).map(({ id }) => id))
    const expected = media.plan.filter(
      ({ kind, participant_id }) => kind === 'video' && participant_id != null && sends.has(participant_id),
    )
    const quality = this.#meter.look(
      readLine(report.values()),
      expected.map(({ mid }) => mid),
    )
    if (quality !== this.#state.quality) this.#set({ quality })
  }
}

/** Consent was withdrawn here and the server has not confirmed that it records no more. */
export function withdrawing({ record, participants, meId }: RoomState): boolean {
  return !record && participants.find(({ id }) => id === meId)?.record === true
}
