import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { waitMs } from './backoff'
import { Socket, stubPage } from './fakes'
import { Signal, parseMessage } from './signal'

describe('back-off', () => {
  const waits = (outMs: number) => [0, 1, 2, 3, 4, 1000].map((attempt) => waitMs(attempt, outMs, 1))

  it('begins at once and doubles up to a second', () => {
    expect(waits(29_999)).toEqual([0, 250, 500, 1000, 1000, 1000])
  })

  it('grows to five seconds after half a minute', () => {
    expect(waits(30_000)).toEqual([0, 250, 500, 1000, 2000, 5000])
  })

  it('is spread over the upper half', () => {
    expect(waitMs(2, 0, 0)).toBe(250)
    expect(waitMs(2, 0, 0.5)).toBe(375)
  })
})

describe('coming back', () => {
  let probes = 0
  let page: EventTarget & { visibilityState: string }
  let signal: Signal
  let lost = 0
  let changes = 0

  beforeEach(() => {
    vi.useFakeTimers()
    probes = lost = changes = 0
    page = stubPage().page
    const server = fetch
    vi.stubGlobal('fetch', () => {
      probes += 1
      return server('/readyz')
    })
    signal = new Signal({
      hello: () => ({ type: 'ping' }),
      message: () => undefined,
      lost: () => (lost += 1),
      networkChanged: () => (changes += 1),
    })
  })

  afterEach(() => {
    signal.close()
    vi.useRealTimers()
    vi.unstubAllGlobals()
  })

  async function established() {
    await vi.advanceTimersByTimeAsync(10)
    signal.established()
  }

  function serverDies() {
    Socket.there = false
    Socket.all.at(-1)?.onclose?.()
  }

  it('tries at once, and then opens no socket to a server that is not there', async () => {
    await established()
    serverDies()
    await vi.advanceTimersByTimeAsync(10)
    expect(Socket.all.length).toBe(2)
    await vi.advanceTimersByTimeAsync(20_000)
    expect(Socket.all.length).toBe(2)
    expect(probes).toBeGreaterThan(15)
    expect(lost).toBe(2)
  })

  it('opens no socket to a server that said it stops before the next one answers', async () => {
    await established()
    Socket.there = false
    signal.restart({ stops: true })
    await vi.advanceTimersByTimeAsync(3_000)
    expect([Socket.all.length, lost]).toEqual([1, 1])
    Socket.there = true
    await vi.advanceTimersByTimeAsync(1_000)
    expect(Socket.all.length).toBe(2)
  })

  it('is back within a second of the server in the first half minute, and within five later', async () => {
    for (const [out, within] of [[20_000, 1_010], [300_000, 5_010]] as const) {
      await established()
      serverDies()
      await vi.advanceTimersByTimeAsync(out)
      Socket.there = true
      const opened = Socket.all.length
      await vi.advanceTimersByTimeAsync(within)
      expect(Socket.all.length).toBe(opened + 1)
      expect(Socket.all.at(-1)?.sent).toEqual(['{"type":"ping"}'])
    }
  })

  it('waits no longer when somebody looks at the page again', async () => {
    await established()
    serverDies()
    await vi.advanceTimersByTimeAsync(300_000)
    await vi.waitUntil(() => vi.getTimerCount() === 2)
    Socket.there = true
    const opened = Socket.all.length
    page.dispatchEvent(new Event('visibilitychange'))
    await vi.advanceTimersByTimeAsync(0)
    expect(Socket.all.length).toBe(opened + 1)
  })

  it('finds out that a line is dead when the network changed', async () => {
    await established()
    const socket = Socket.all.at(-1)
    socket?.onmessage?.({ data: '{"type":"pong"}' })
    await vi.advanceTimersByTimeAsync(2_000)
    window.dispatchEvent(new Event('online'))
    expect(changes).toBe(1)
    await vi.advanceTimersByTimeAsync(1_000)
    // A second doubt gives the line no more time.
    signal.doubt()
    await vi.advanceTimersByTimeAsync(400)
    expect(signal.socket).toBe(socket as unknown)
    await vi.advanceTimersByTimeAsync(200)
    expect(signal.socket).not.toBe(socket as unknown)
    expect([socket?.closedBy, lost]).toEqual([4001, 1])
  })

  it('keeps a line that answers', async () => {
    await established()
    const socket = Socket.all.at(-1)
    signal.doubt()
    await vi.advanceTimersByTimeAsync(1_000)
    socket?.onmessage?.({ data: '{"type":"pong"}' })
    await vi.advanceTimersByTimeAsync(5_000)
    expect(signal.socket).toBe(socket as unknown)
  })

  it('waits for nothing that was asked over the network of before', async () => {
    window.dispatchEvent(new Event('online'))
    expect(Socket.all[0]?.closedBy).toBe(4001)
    await vi.advanceTimersByTimeAsync(500)
    expect(Socket.all.length).toBe(2)
  })

  it('ends for good', async () => {
    await established()
    serverDies()
    signal.close()
    await vi.advanceTimersByTimeAsync(60_000)
    expect([Socket.all.length, probes, vi.getTimerCount()]).toEqual([1, 0, 0])
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
