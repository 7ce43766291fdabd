// Who is speaking, from sound levels. A ring that flickers with every syllable tires the eye, so it stays a moment.

/** Of full scale, linear. Above the hiss of a quiet room. */
const LOUD = 0.015
const HOLD_MS = 900

export class Speaking {
  readonly #loudAt = new Map<string, number>()

  /** A level of 0..1 heard from `id` at `now` (ms). */
  heard(id: string, level: number, now: number): void {
    if (level >= LOUD) this.#loudAt.set(id, now)
  }

  /** Everybody who spoke within the last moment. */
  at(now: number): Set<string> {
    const speaking = new Set<string>()
    for (const [id, at] of this.#loudAt) {
      if (now - at <= HOLD_MS) speaking.add(id)
      else this.#loudAt.delete(id)
    }
    return speaking
  }
}
