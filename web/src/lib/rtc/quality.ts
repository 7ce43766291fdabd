// One's own line in a word. It changes only when several looks in a row say so: words that flicker help nobody.

import type { Line } from './line'

export type Quality = 'good' | 'fair' | 'poor' | 'sound_only'

/** How often to look. The numbers below are of looks so far apart. */
export const LOOK_EVERY_MS = 2_000
const WORSE_AFTER = 2
const BETTER_AFTER = 4
/** With fewer packets a single one that is lost would say too much. */
const PACKETS_MIN = 25

/** From here on it is no longer good, and from there on it is poor. Sound is hidden well up to some 2 % of loss, and people
 * talk over each other from some 300 ms there and back on. */
const LOSS = { fair: 0.025, poor: 0.08 }
const ROUND_TRIP_MS = { fair: 300, poor: 600 }

const RANK: readonly Quality[] = ['good', 'fair', 'poor', 'sound_only']

/** What one look says by itself. `expected` are the slots whose pictures should move; when all of them stand still while
 * sound comes, there is sound alone. */
export function judge(before: Line, now: Line, expected: Iterable<string>): Quality {
  const pictures = [...expected].filter((mid) => before.frames.has(mid) && now.frames.has(mid))
  const still = pictures.every((mid) => now.frames.get(mid) === before.frames.get(mid))
  if (pictures.length > 0 && still && now.sound > before.sound) return 'sound_only'
  const lost = Math.max(0, now.lost - before.lost)
  const all = lost + Math.max(0, now.received - before.received)
  const loss = Math.max(all >= PACKETS_MIN ? lost / all : 0, now.lossOut ?? 0)
  const roundTrip = now.roundTripMs ?? 0
  if (loss >= LOSS.poor || roundTrip >= ROUND_TRIP_MS.poor) return 'poor'
  return loss >= LOSS.fair || roundTrip >= ROUND_TRIP_MS.fair || now.limited ? 'fair' : 'good'
}

export class QualityMeter {
  #quality: Quality = 'good'
  #before: Line | null = null
  /** What the last looks said that differ to the same side. */
  #other: Quality[] = []

  get quality(): Quality {
    return this.#quality
  }

  /** Another connection counts from the start; the word stays. */
  restart(): void {
    this.#before = null
    this.#other = []
  }

  look(now: Line, expected: Iterable<string>): Quality {
    const before = this.#before
    this.#before = now
    return before === null ? this.#quality : this.#take(judge(before, now, expected))
  }

  #take(said: Quality): Quality {
    const side = (quality: Quality) => Math.sign(RANK.indexOf(quality) - RANK.indexOf(this.#quality))
    // Whoever sees a picture is not told that there is none.
    if (this.#quality === 'sound_only' && said !== 'sound_only') {
      this.#other = []
      return (this.#quality = 'poor')
    }
    if (side(said) === 0) this.#other = []
    else if (this.#other.some((quality) => side(quality) !== side(said))) this.#other = [said]
    else this.#other.push(said)
    if (this.#other.length < (side(said) > 0 ? WORSE_AFTER : BETTER_AFTER)) return this.#quality
    // The nearest of them is what all of them say at least.
    const nearest = this.#other.reduce((a, b) => (distance(a, this.#quality) <= distance(b, this.#quality) ? a : b))
    this.#other = []
    return (this.#quality = nearest)
  }
}

function distance(a: Quality, b: Quality): number {
  return Math.abs(RANK.indexOf(a) - RANK.indexOf(b))
}
