import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { Tile } from '../api/types'
import { View } from './view'

describe('view', () => {
  beforeEach(() => void vi.useFakeTimers())
  afterEach(() => void vi.useRealTimers())

  it('tells the whole list once after many changes, and nothing when nothing changed', () => {
    const told: Tile[][] = []
    const view = new View((tiles) => told.push(tiles))
    for (let height = 100; height <= 200; height += 1) view.set('a', height)
    view.set('b', 90.4)
    vi.advanceTimersByTime(1_000)
    const both = [{ participant_id: 'a', height: 200 }, { participant_id: 'b', height: 90 }]
    expect(told).toEqual([both])
    view.set('b', 90)
    vi.advanceTimersByTime(1_000)
    expect(told.length).toBe(1)
    view.tell()
    expect(told[1]).toEqual(both)
    view.set('b', null)
    view.close()
    vi.advanceTimersByTime(1_000)
    expect(told.length).toBe(2)
  })
})
