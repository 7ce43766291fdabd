import { describe, expect, it } from 'vitest'
import { backoffMs } from './backoff'
import { parseMessage } from './signal'

describe('back-off', () => {
  it('doubles up to ten seconds', () => {
    expect([0, 1, 2, 3, 4, 5, 1000].map((attempt) => backoffMs(attempt, 1))).toEqual([
      500, 1000, 2000, 4000, 8000, 10_000, 10_000,
    ])
  })

  it('is spread over the upper half', () => {
    expect(backoffMs(2, 0)).toBe(1000)
    expect(backoffMs(2, 0.5)).toBe(1500)
  })
})

describe('messages of the server', () => {
  it('reads a message', () => {
    expect(parseMessage('{"type":"answer","offer_id":3,"sdp":"v=0"}')).toEqual({ type: 'answer', offer_id: 3, sdp: 'v=0' })
  })

  it.each(['', 'null', '7', '[]', '{}', '{"type":5}', '{"type":', new ArrayBuffer(4)])('drops %j', (data) => {
    expect(parseMessage(data)).toBeNull()
  })
})
