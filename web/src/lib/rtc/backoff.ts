// How long to wait before the next try.

const FIRST_MS = 500
const CAP_MS = 10_000

/** The wait before try number `attempt` (0 is the first retry): doubling, capped, and spread by `random` in 0..1 so
 * that a restarted server isn't met by everybody at once. */
export function backoffMs(attempt: number, random: number): number {
  const full = Math.min(CAP_MS, FIRST_MS * 2 ** Math.min(attempt, 10))
  return Math.round(full * (0.5 + 0.5 * random))
}
