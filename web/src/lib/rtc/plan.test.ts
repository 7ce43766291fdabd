import { describe, expect, it } from 'vitest'
import type { Slot } from '../api/types'
import { heldOwners, midsByOwner, missing, SLOTS_MAX } from './plan'

describe('plan', () => {
  it('gathers the slots of a participant and of a camera', () => {
    const slots: Slot[] = [
      { mid: '2', kind: 'audio', participant_id: 'a', held: false },
      { mid: '4', kind: 'video', participant_id: 'a', held: false },
      { mid: '5', kind: 'video', camera_id: 'c', participant_id: null, held: true },
    ]
    expect(Object.fromEntries(midsByOwner(slots))).toEqual({ a: { audio: '2', video: '4' }, c: { video: '5' } })
    expect([...heldOwners(slots)]).toEqual(['c'])
  })

  it('leaves out a slot that plays nothing and keeps the first of two', () => {
    const slots: Slot[] = [
      { mid: '1', kind: 'audio', held: false },
      { mid: '2', kind: 'audio', participant_id: 'a', held: false },
      { mid: '3', kind: 'audio', participant_id: 'a', held: false },
    ]
    expect(Object.fromEntries(midsByOwner(slots))).toEqual({ a: { audio: '2' } })
  })

  it('adds only what is missing', () => {
    expect(missing({ audio: 2, video: 0 }, { audio: 4, video: 3 })).toEqual({ audio: 2, video: 3 })
    expect(missing({ audio: 4, video: 3 }, { audio: 2, video: 3 })).toEqual({ audio: 0, video: 0 })
  })

  it('does not open any number of slots because a server says so', () => {
    expect(missing({ audio: 0, video: 0 }, { audio: 1e9, video: Number.NaN })).toEqual({ audio: SLOTS_MAX, video: 0 })
  })
})
