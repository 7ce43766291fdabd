// A dispatch wall as one operator sees it.

import type { CameraStatus, EndReason, Problem, ServerMessage, WallTile } from '../api/types'
import { Connection, type ConnectionState } from './connection'

export class WallView {
  phase = $state<'connecting' | 'open' | 'ended' | 'refused'>('connecting')
  name = $state('')
  tiles = $state.raw<WallTile[]>([])
  expiresAt = $state('')
  ended = $state<EndReason | null>(null)
  refused = $state.raw<Problem | null>(null)
  notice = $state.raw<Problem | null>(null)

  readonly #connection: Connection
  #state: ConnectionState = $state.raw() as ConnectionState
  /** Since when the connection is lost; `null` while it holds. */
  readonly lostSince = $derived(this.#state.lostSince)
  /** It is lost because the server restarts. */
  readonly restarting = $derived(this.#state.restarting)
  readonly tracks = $derived(this.#state.tracks)

  /** `token` is asked for at each connection: it may have been renewed since the last, or has to be now. */
  constructor(token: () => string | Promise<string>, wallId: string, purposeId: string) {
    this.#connection = new Connection({
      hello: async () => ({
        type: 'hello',
        token: await token(),
        open: { kind: 'wall', wall_id: wallId, purpose_id: purposeId },
      }),
      message: (message) => this.#on(message),
      refused: (problem) => {
        this.refused = problem
        this.phase = 'refused'
        this.dispose()
      },
      notice: (problem) => (this.notice = problem),
      changed: (state) => (this.#state = state),
    })
    this.#state = this.#connection.state
    this.#connection.expose(() => [])
  }

  leave(): void {
    this.#connection.send({ type: 'leave' })
    this.dispose()
  }

  dispose(): void {
    this.#connection.close()
  }

  #on(message: ServerMessage): void {
    switch (message.type) {
      case 'welcome_wall':
        this.name = message.wall_name
        this.tiles = message.tiles
        this.expiresAt = message.purpose_expires_at
        this.notice = null
        this.phase = 'open'
        this.#connection.welcomed(message.slots)
        break
      case 'camera_changed':
        this.#setStatus(message.camera_id, message.status)
        break
      case 'ended':
        this.ended = message.reason
        this.phase = 'ended'
        this.dispose()
        break
    }
  }

  #setStatus(cameraId: string, status: CameraStatus): void {
    this.tiles = this.tiles.map((tile) => (tile.camera_id === cameraId ? { ...tile, status } : tile))
  }
}
