// The order of offers. Never two in flight; what is wanted meanwhile is one more offer afterwards.

export class OfferQueue {
  #lastId = 0
  #inFlight: number | null = null
  #wanted = false

  /** Asks for an offer. The number to send it under, or `null` when one is under way: then another follows it. */
  want(): number | null {
    if (this.#inFlight !== null) {
      this.#wanted = true
      return null
    }
    this.#lastId += 1
    this.#inFlight = this.#lastId
    return this.#inFlight
  }

  /** Whether this is the answer that is waited for. Any other is to be dropped. */
  expects(offerId: number): boolean {
    return this.#inFlight === offerId
  }

  /** The way to the server broke: what was in flight is not waited for. */
  forget(): void {
    this.#inFlight = null
    this.#wanted = false
  }

  /** The offer in flight is settled. The number of the offer to send next, or `null` for none. */
  settled(): number | null {
    this.#inFlight = null
    if (!this.#wanted) return null
    this.#wanted = false
    return this.want()
  }
}
