import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { onNetworkChange } from './network'

let connection: EventTarget & { type?: string }
let changes = 0
let end: () => void

beforeEach(() => {
  connection = Object.assign(new EventTarget(), { type: 'wifi' })
  vi.stubGlobal('window', new EventTarget())
  vi.stubGlobal('navigator', { connection })
  changes = 0
  end = onNetworkChange(() => (changes += 1))
})

afterEach(() => vi.unstubAllGlobals())

function becomes(type: string) {
  connection.type = type
  connection.dispatchEvent(new Event('change'))
}

it('tells of another network, and not of another guess of its speed', () => {
  becomes('wifi')
  expect(changes).toBe(0)
  becomes('cellular')
  expect(changes).toBe(1)
})

it('waits for a network to be there', () => {
  becomes('none')
  expect(changes).toBe(0)
  becomes('wifi')
  window.dispatchEvent(new Event('online'))
  expect(changes).toBe(2)
})

it('tells nothing after its end', () => {
  end()
  becomes('cellular')
  window.dispatchEvent(new Event('online'))
  expect(changes).toBe(0)
})
