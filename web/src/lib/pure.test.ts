import { describe, expect, it } from 'vitest'
import { en } from './i18n/en'
import { zh } from './i18n/zh'
import { readInvitation, writeInvitation } from './invitation'
import { clock, dateTime, duration } from './time'
import { lines } from './tree'
import { columnsFor, step } from './wall'

describe('invitation links', () => {
  it('keeps code and name', () => {
    const link = writeInvitation('https://10.0.0.1:8443', '/join#aB-9_x', '张三 & 李四')
    expect(readInvitation(new URL(link).hash)).toEqual({ code: 'aB-9_x', name: '张三 & 李四' })
  })

  it('reads a link without a name, and none at all', () => {
    expect(readInvitation('#abc')).toEqual({ code: 'abc', name: '' })
    expect(readInvitation('')).toEqual({ code: '', name: '' })
  })
})

describe('times', () => {
  it('are Beijing time', () => {
    expect(clock('2026-11-23T16:05:09Z')).toBe('00:05:09')
    expect(dateTime('2026-11-23T16:05:09Z')).toBe('2026-11-24 00:05:09')
    expect(dateTime('nonsense')).toBe('')
  })

  it('last', () => {
    expect(duration(0)).toBe('0:00')
    expect(duration(65_900)).toBe('1:05')
    expect(duration(3_723_000)).toBe('1:02:03')
    expect(duration(-5)).toBe('0:00')
  })
})

describe('the wall', () => {
  it('has 1, 4, 9, 16 or 25 places', () => {
    expect([1, 2, 4, 5, 9, 10, 16, 25].map(columnsFor)).toEqual([1, 2, 2, 3, 3, 4, 4, 5])
  })

  it('moves with the arrows and stops at the edges', () => {
    expect(step(0, 'ArrowRight', 4)).toBe(1)
    expect(step(1, 'ArrowRight', 4)).toBe(1)
    expect(step(1, 'ArrowDown', 4)).toBe(3)
    expect(step(1, 'ArrowDown', 3)).toBe(1)
    expect(step(2, 'ArrowLeft', 4)).toBe(2)
    expect(step(2, 'ArrowUp', 4)).toBe(0)
  })
})

describe('the region tree', () => {
  it('is printed depth first, of any depth', () => {
    const found = lines([
      { id: 'village', parent_id: 'town', name: 'V' },
      { id: 'root', parent_id: null, name: 'R' },
      { id: 'town', parent_id: 'root', name: 'T' },
    ])
    expect(found.map((line) => [line.region.id, line.depth])).toEqual([
      ['root', 0],
      ['town', 1],
      ['village', 2],
    ])
  })

  it('loses no region to a missing parent or a circle', () => {
    const found = lines([
      { id: 'a', parent_id: 'b', name: 'A' },
      { id: 'b', parent_id: 'a', name: 'B' },
      { id: 'c', parent_id: 'gone', name: 'C' },
    ])
    expect(found.map((line) => line.region.id).sort()).toEqual(['a', 'b', 'c'])
  })
})

describe('the two languages', () => {
  it('have the same keys and the same places to fill', () => {
    const places = (text: string) => (text.match(/\{\w+\}/g) ?? []).sort()
    expect(Object.keys(en).sort()).toEqual(Object.keys(zh).sort())
    for (const key of Object.keys(zh) as (keyof typeof zh)[]) expect(places(en[key]), key).toEqual(places(zh[key]))
  })
})
