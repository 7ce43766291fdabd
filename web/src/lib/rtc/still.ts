// One's own camera standing still. Browsers tell when a camera is pulled out, but not when it hangs: the track lives on and
// gives no frames, and the others look at the last one, or at nothing.

/** A slow camera in the dark gives a frame a second. */
const STILL_AFTER_MS = 2_500
/** Taking a camera anew that is broken would ask for it again and again. */
const AGAIN_AFTER_MS = 20_000

export class Still {
  #frames: number | null = null
  #since = 0
  #told = Number.NEGATIVE_INFINITY

  /** Takes how many frames the camera gave so far, `null` while none are due, at `now` (ms). Whether it stands still and
   * is to be taken anew. */
  look(frames: number | null, now: number): boolean {
    if (frames === null || frames !== this.#frames) {
      this.#frames = frames
      this.#since = now
      return false
    }
    if (now - this.#since < STILL_AFTER_MS || now - this.#told < AGAIN_AFTER_MS) return false
    this.#told = now
    return true
  }
}
