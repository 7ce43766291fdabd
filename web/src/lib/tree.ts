// The region tree, of any depth, as lines to print.

import type { Region } from './api/types'

export interface Line {
  region: Region
  depth: number
}

/** Each region after the one above it. A region whose parent is missing, or that is its own ancestor, stands at the
 * top, so that nothing is lost from the list. */
export function lines(regions: readonly Region[]): Line[] {
  const known = new Set(regions.map((region) => region.id))
  const children = new Map<string | null, Region[]>()
  for (const region of regions) {
    const parent = region.parent_id && known.has(region.parent_id) ? region.parent_id : null
    children.set(parent, [...(children.get(parent) ?? []), region])
  }
  const result: Line[] = []
  const seen = new Set<string>()
  const walk = (region: Region, depth: number): void => {
    if (seen.has(region.id)) return
    seen.add(region.id)
    result.push({ region, depth })
    for (const child of children.get(region.id) ?? []) walk(child, depth + 1)
  }
  for (const root of children.get(null) ?? []) walk(root, 0)
  for (const region of regions) walk(region, 0)
  return result
}
