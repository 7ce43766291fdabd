import { describe, expect, it } from 'vitest'
import { activate, encodingsFor } from './encodings'

describe('encodings', () => {
  it('has as many layers as the capture allows, the whole picture last', () => {
    const rids = (width: number, height: number) => encodingsFor({ width, height }).map(({ rid }) => rid)
    expect(rids(1280, 720)).toEqual(['q', 'h', 'f'])
    expect(rids(640, 360)).toEqual(['h', 'f'])
    expect(rids(640, 480)).toEqual(['h', 'f'])
    expect(rids(320, 240)).toEqual([undefined])
    expect(encodingsFor({}).map(({ rid }) => rid)).toEqual(['h', 'f'])
    for (const size of [1280, 640, 320]) {
      const last = encodingsFor({ width: size, height: (size * 9) / 16 }).at(-1)
      expect(last?.maxBitrate).toBe(900_000)
      expect(last?.scaleResolutionDownBy ?? 1).toBe(1)
    }
  })

  it('switches off what nobody takes and says whether that is new', () => {
    const layers = [{ rid: 'h', active: true }, { rid: 'f', active: true }]
    expect(activate(layers, ['h'])).toBe(true)
    expect(layers).toEqual([{ rid: 'h', active: true }, { rid: 'f', active: false }])
    expect(activate(layers, ['h'])).toBe(false)
    expect(activate(layers, ['h', 'f'])).toBe(true)
    expect(layers.every(({ active }) => active)).toBe(true)
  })

  it('does nothing at the word of a server that knows none of them', () => {
    const layers = [{ rid: 'h', active: true }, { rid: 'f', active: true }]
    expect(activate(layers, [])).toBe(false)
    expect(activate(layers, ['x'])).toBe(false)
    const alone = [{ active: true }]
    expect(activate(alone, ['f'])).toBe(false)
    expect(alone).toEqual([{ active: true }])
  })
})
