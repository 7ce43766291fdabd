// What of the server's health needs somebody to act, and how urgent it is. Words are the page's.

import type { Health } from './api/types'

export type Tone = 'calm' | 'attention' | 'urgent'

const DAY_MS = 86_400_000

/** How urgent the space for recordings is: by how long it lasts, and by how much of the disk is free. */
export function diskTone(disk: NonNullable<Health['disk']>, now: number): Tone {
  const share = disk.total_bytes > 0 ? disk.free_bytes / disk.total_bytes : 1
  const left = disk.lasts_until ? Date.parse(disk.lasts_until) - now : Number.POSITIVE_INFINITY
  if (!disk.may_record || share < 0.02 || left < DAY_MS) return 'urgent'
  if (share < 0.1 || left < 7 * DAY_MS) return 'attention'
  return 'calm'
}

/** `1.2 TB`, `18 GB`, `640 MB`: as disks are sold, in powers of ten. */
export function bytes(count: number): string {
  for (const [unit, size] of [['TB', 1e12], ['GB', 1e9]] as const) {
    if (count >= size) return `${count >= size * 10 ? Math.round(count / size) : (count / size).toFixed(1)} ${unit}`
  }
  return `${Math.round(count / 1e6)} MB`
}
