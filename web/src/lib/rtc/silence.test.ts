import { describe, expect, it } from 'vitest'
import { Silence } from './silence'

describe('silence', () => {
  it('is of whom no packet came for four seconds', () => {
    const silence = new Silence()
    const at = (now: number, a: number, b: number) => [...silence.look(new Map([['a', a], ['b', b]]), now)]
    expect(at(0, 1, 1)).toEqual([])
    expect(at(3_900, 1, 2)).toEqual([])
    expect(at(4_000, 1, 3)).toEqual(['a'])
    expect(at(5_000, 2, 4)).toEqual([])
    expect(at(8_900, 2, 4)).toEqual([])
    expect(at(9_000, 2, 4)).toEqual(['a', 'b'])
  })

  it('is not of who was muted, nor of one in another slot', () => {
    const silence = new Silence()
    silence.look(new Map([['a', 9]]), 0)
    silence.look(new Map(), 1_000)
    expect(silence.look(new Map([['a', 9]]), 5_000).size).toBe(0)
    expect(silence.look(new Map([['a', 3]]), 9_500).size).toBe(0)
  })

  it('begins anew when one was away oneself', () => {
    const silence = new Silence()
    silence.look(new Map([['a', 9]]), 0)
    silence.restart()
    expect(silence.look(new Map([['a', 9]]), 60_000).size).toBe(0)
  })
})
