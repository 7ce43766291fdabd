// What the browser counted of one's own line, read from `getStats`.

/** One entry of a report of `getStats`. */
export type Stat = Readonly<Record<string, unknown>>

/** Counters at one moment. */
export interface Line {
  /** Packets that came, sound and picture, since the connection began. */
  readonly received: number
  /** Packets that did not come, and were not sent again in time. */
  readonly lost: number
  /** Packets of sound that came. */
  readonly sound: number
  /** Frames shown, by `mid`. */
  readonly frames: ReadonlyMap<string, number>
  /** The share of what we sent that the server did not get lately, 0..1. */
  readonly lossOut: number | null
  /** There and back. */
  readonly roundTripMs: number | null
  /** The line is too narrow for the picture we send. */
  readonly limited: boolean
}

export function readLine(report: Iterable<Stat>): Line {
  let received = 0
  let lost = 0
  let sound = 0
  let lossOut: number | null = null
  let limited = false
  let pair: unknown = null
  const frames = new Map<string, number>()
  const roundTrips = new Map<unknown, number>()
  for (const stat of report) {
    switch (stat.type) {
      case 'inbound-rtp': {
        const packets = number(stat.packetsReceived) ?? 0
        received += packets
        lost += number(stat.packetsLost) ?? 0
        if (stat.kind === 'audio') sound += packets
        else if (typeof stat.mid === 'string') frames.set(stat.mid, number(stat.framesDecoded) ?? 0)
        break
      }
      case 'remote-inbound-rtp': {
        const share = number(stat.fractionLost)
        if (share !== null) lossOut = Math.max(lossOut ?? 0, share)
        break
      }
      case 'outbound-rtp':
        limited ||= stat.qualityLimitationReason === 'bandwidth'
        break
      case 'candidate-pair': {
        const seconds = number(stat.currentRoundTripTime)
        if (seconds !== null) roundTrips.set(stat.id, seconds * 1_000)
        break
      }
      case 'transport':
        pair = stat.selectedCandidatePairId
        break
    }
  }
  return { received, lost, sound, frames, lossOut, roundTripMs: roundTrips.get(pair) ?? null, limited }
}

function number(value: unknown): number | null {
  return typeof value === 'number' && Number.isFinite(value) ? value : null
}
