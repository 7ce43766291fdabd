// How large the others' pictures are drawn, told to the server so that it sends none larger than needed.

import type { Tile } from '../api/types'

/** A window that is being resized changes every frame. */
const QUIET_MS = 300
const TILES_MAX = 64
const HEIGHT_MAX = 65_535

export class View {
  readonly #tiles = new Map<string, number>()
  readonly #tell: (tiles: Tile[]) => void
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor(tell: (tiles: Tile[]) => void) {
    this.#tell = tell
  }

  /** A picture is drawn so high, in pixels of the screen; `null` when it is gone. */
  set(owner: string, height: number | null): void {
    const pixels = height === null ? undefined : Math.min(HEIGHT_MAX, Math.max(0, Math.round(height)))
    if (this.#tiles.get(owner) === pixels) return
    if (pixels === undefined) this.#tiles.delete(owner)
    else this.#tiles.set(owner, pixels)
    this.#timer ??= setTimeout(() => this.tell(), QUIET_MS)
  }

  /** Tells all of it now: the server knows nothing of it on a new connection, or not the newest. */
  tell(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    const tiles = [...this.#tiles].slice(0, TILES_MAX)
    if (tiles.length > 0) this.#tell(tiles.map(([participant_id, height]) => ({ participant_id, height })))
  }

  close(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }
}
