// Something that is fetched: its value, that it is under way, or why it failed.

export class Load<T> {
  value = $state.raw<T | null>(null)
  failure = $state.raw<unknown>(null)
  busy = $state(false)
  #run = 0

  constructor(readonly fetch: () => Promise<T>) {}

  /** Fetches again. The old value stays until the new one is there; a later call wins over an earlier one. */
  async run(): Promise<void> {
    const run = ++this.#run
    this.busy = true
    try {
      const value = await this.fetch()
      if (run !== this.#run) return
      this.value = value
      this.failure = null
    } catch (error) {
      if (run === this.#run) this.failure = error
    } finally {
      if (run === this.#run) this.busy = false
    }
  }
}
