import { describe, expect, it } from 'vitest'
import { scale } from './meter'
import { Speaking } from './speaking'

describe('speaking', () => {
  it('stays through the pause between two words and then goes', () => {
    const speaking = new Speaking()
    speaking.heard('a', 0.2, 1000)
    speaking.heard('a', 0.001, 1400)
    expect([...speaking.at(1800)]).toEqual(['a'])
    expect([...speaking.at(2000)]).toEqual([])
  })

  it('does not take the hiss of a room for speech', () => {
    const speaking = new Speaking()
    speaking.heard('a', 0.005, 0)
    expect(speaking.at(0).size).toBe(0)
  })
})

describe('the meter', () => {
  it('is empty in silence and full at -10 dBFS', () => {
    expect(scale(0)).toBe(0)
    expect(scale(10 ** (-60 / 20))).toBe(0)
    expect(scale(10 ** (-30 / 20))).toBeCloseTo(0.5)
    expect(scale(10 ** (-10 / 20))).toBeCloseTo(1)
    expect(scale(1)).toBe(1)
  })
})
