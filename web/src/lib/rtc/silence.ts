// Of whom nothing comes any more. The server learns of a phone without a network half a minute later only; whoever listens
// knows sooner, since a microphone that is on sends packets all the time, however quiet the room is.

/** With every pause of the encoder, and one retransmission, packets are not as far apart. */
const SILENT_AFTER_MS = 4_000

export class Silence {
  readonly #last = new Map<string, { packets: number; at: number }>()

  /** Takes how many packets came of each whose microphone is on, at `now` (ms). Gives those of whom none came for a while. */
  look(packets: ReadonlyMap<string, number>, now: number): Set<string> {
    const silent = new Set<string>()
    for (const id of this.#last.keys()) if (!packets.has(id)) this.#last.delete(id)
    for (const [id, count] of packets) {
      const last = this.#last.get(id)
      // Fewer is another slot.
      if (last === undefined || last.packets !== count) this.#last.set(id, { packets: count, at: now })
      else if (now - last.at >= SILENT_AFTER_MS) silent.add(id)
    }
    return silent
  }

  /** One's own line was away: what did not come then is nobody's silence. */
  restart(): void {
    this.#last.clear()
  }
}
