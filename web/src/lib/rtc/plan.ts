// What plays where: the server's plan, read by person or camera.

import type { MediaKindName, Slot, SlotCount } from '../api/types'

/** Whose slot it is: a participant's or a camera's id. */
export function ownerOf(slot: Slot): string | null {
  return slot.participant_id ?? slot.camera_id ?? null
}

/** The `mid` of each source, by owner and kind. A source in two slots keeps the first. */
export function midsByOwner(slots: readonly Slot[]): Map<string, Partial<Record<MediaKindName, string>>> {
  const owners = new Map<string, Partial<Record<MediaKindName, string>>>()
  for (const slot of slots) {
    const owner = ownerOf(slot)
    if (owner === null) continue
    const mids = owners.get(owner) ?? {}
    mids[slot.kind] ??= slot.mid
    owners.set(owner, mids)
  }
  return owners
}

/** Whose pictures the server holds back, because this browser's line is too narrow for them. */
export function heldOwners(slots: readonly Slot[]): Set<string> {
  return new Set(slots.filter((slot) => slot.held && slot.kind === 'video').flatMap((slot) => ownerOf(slot) ?? []))
}

/** At most this many slots of a kind, whatever a server asks for. */
export const SLOTS_MAX = 64

/** How many transceivers to add so that there are at least `wanted` in all. */
export function missing(present: SlotCount, wanted: SlotCount): SlotCount {
  const lack = (kind: 'audio' | 'video') =>
    Math.max(0, Math.min(SLOTS_MAX, Math.floor(wanted[kind]) || 0) - present[kind])
  return { audio: lack('audio'), video: lack('video') }
}
