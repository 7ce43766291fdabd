// A dispatch wall as one operator sees it.

import type { CameraStatus, EndReason, Problem, ServerMessage, WallTile } from '../api/types'
import { expose } from './debug'
import { Media, type SourceTracks } from './media'
import { Signal } from './signal'

export class WallView {
  phase = $state<'connecting' | 'open' | 'ended' | 'refused'>('connecting')
  lostSince = $state<number | null>(null)
  name = $state('')
  tiles = $state.raw<WallTile[]>([])
  tracks = $state.raw<Map<string, SourceTracks>>(new Map())
  expiresAt = $state('')
  ended = $state<EndReason | null>(null)
  refused = $state.raw<Problem | null>(null)
  notice = $state.raw<Problem | null>(null)

  readonly #signal: Signal
  #media: Media | null = null
  #old: Media | null = null
  #welcomed = false
  #slots = { audio: 0, video: 0 }

  constructor(token: string, wallId: string, purposeId: string) {
    this.#signal = new Signal({
      hello: () => ({ type: 'hello', token, open: { kind: 'wall', wall_id: wallId, purpose_id: purposeId } }),
      message: (message) => this.#on(message),
      lost: () => {
        this.#welcomed = false
        if (this.phase === 'open') this.lostSince ??= Date.now()
      },
    })
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
      participants: () => [],
    })
  }

  leave(): void {
    this.#signal.send({ type: 'leave' })
    this.dispose()
  }

  dispose(): void {
    this.#signal.close()
    this.#media?.close()
    this.#old?.close()
  }

  #on(message: ServerMessage): void {
    switch (message.type) {
      case 'welcome_wall':
        this.#welcomed = true
        this.#signal.established()
        this.name = message.wall_name
        this.tiles = message.tiles
        this.expiresAt = message.purpose_expires_at
        this.notice = null
        this.#slots = message.slots
        this.phase = 'open'
        this.#connect()
        break
      case 'answer':
        void this.#media?.answer(message.offer_id, message.sdp)
        break
      case 'slots':
        this.#media?.setPlan(message.slots)
        break
      case 'need_slots':
        this.#media?.offer(message.slots)
        break
      case 'camera_changed':
        this.#setStatus(message.camera_id, message.status)
        break
      case 'ended':
        if (message.reason === 'server_stopping') this.#signal.restart()
        else {
          this.ended = message.reason
          this.phase = 'ended'
          this.dispose()
        }
        break
      case 'error':
        if (!this.#welcomed && message.problem.status < 500 && message.problem.status !== 429) {
          this.refused = message.problem
          this.phase = 'refused'
          this.dispose()
        } else this.notice = message.problem
        break
    }
  }

  #setStatus(cameraId: string, status: CameraStatus): void {
    this.tiles = this.tiles.map((tile) => (tile.camera_id === cameraId ? { ...tile, status } : tile))
  }

  #connect(): void {
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
        this.lostSince ??= Date.now()
        this.#signal.restart()
      },
      changed: () => {
        if (this.#media !== media) return
        const tracks = media.tracks()
        if (tracks.size > 0 || this.#old === null) this.tracks = tracks
      },
    })
    this.#media = media
    media.offer(this.#slots)
  }
}
