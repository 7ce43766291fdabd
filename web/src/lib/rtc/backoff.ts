// How long to wait before the next try.

const FIRST_MS = 250
/** A server that is being restarted is back within half a minute, and people must be back in the call soon after. */
const SOON_MS = 30_000
const SOON_CAP_MS = 1_000
const LATER_CAP_MS = 5_000

/** The wait before try number `attempt` when nothing worked for `outMs`: the first (0) is at once, then the wait
 * doubles up to a second, and to five after half a minute. Spread by `random` in 0..1, so that a restarted server
 * isn't met by everybody in the same moment. */
export function waitMs(attempt: number, outMs: number, random: number): number {
  if (attempt === 0) return 0
  const full = Math.min(outMs < SOON_MS ? SOON_CAP_MS : LATER_CAP_MS, FIRST_MS * 2 ** Math.min(attempt - 1, 10))
  return Math.round(full * (0.5 + 0.5 * random))
}
