import { describe, expect, it } from 'vitest'
import { Still } from './still'

describe('a camera', () => {
  it('stands still when no frame came for two and a half seconds', () => {
    const still = new Still()
    expect(still.look(7, 0)).toBe(false)
    expect(still.look(7, 2_400)).toBe(false)
    expect(still.look(8, 2_500)).toBe(false)
    expect(still.look(8, 4_900)).toBe(false)
    expect(still.look(8, 5_000)).toBe(true)
  })

  it('is not taken anew again and again', () => {
    const still = new Still()
    still.look(7, 0)
    expect(still.look(7, 3_000)).toBe(true)
    expect(still.look(7, 22_900)).toBe(false)
    expect(still.look(7, 23_000)).toBe(true)
  })

  it('does not stand still while none of its frames are due', () => {
    const still = new Still()
    still.look(7, 0)
    expect(still.look(null, 9_000)).toBe(false)
    expect(still.look(7, 9_400)).toBe(false)
    expect(still.look(7, 11_800)).toBe(false)
  })
})
