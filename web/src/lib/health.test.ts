import { describe, expect, it } from 'vitest'
import { bytes, diskTone } from './health'

const NOW = Date.parse('2026-11-24T00:00:00Z')
const inDays = (days: number) => new Date(NOW + days * 86_400_000).toISOString()

function disk(free: number, lasts_until: string | null = null, may_record = true) {
  return {
    total_bytes: 1000,
    free_bytes: free,
    reserve_bytes: 0,
    may_record,
    bytes_per_hour: 1,
    measured: true,
    hours_left: free,
    hours_recorded: 1,
    lasts_until,
  }
}

describe('space for recordings', () => {
  it.each([
    [disk(500), 'calm'],
    [disk(100), 'calm'],
    [disk(99), 'attention'],
    [disk(20), 'attention'],
    [disk(19), 'urgent'],
    [disk(500, inDays(8)), 'calm'],
    [disk(500, inDays(6.9)), 'attention'],
    [disk(500, inDays(0.9)), 'urgent'],
    [disk(500, inDays(-1)), 'urgent'],
    [disk(500, null, false), 'urgent'],
  ] as const)('%# is %s', (found, tone) => {
    expect(diskTone(found, NOW)).toBe(tone)
  })

  it('is written as disks are sold', () => {
    expect([640e6, 1.24e9, 18.4e9, 1.2e12, 24e12].map(bytes)).toEqual(['640 MB', '1.2 GB', '18 GB', '1.2 TB', '24 TB'])
  })
})
