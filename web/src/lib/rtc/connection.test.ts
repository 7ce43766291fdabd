import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { Connection } from './connection'
import { Socket, stubPage, type Peer } from './fakes'

const NONE = { audio: 0, video: 0 }
let connection: Connection
let peers: Peer[]
/** What the server does when it hears hello. */
let server: () => void
const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms)
const socket = () => Socket.all.at(-1)!
const peer = () => peers.at(-1)!

beforeEach(() => {
  vi.useFakeTimers()
  vi.spyOn(console, 'warn').mockImplementation(() => undefined)
  peers = stubPage().peers
  server = () => connection.welcomed(NONE)
  connection = new Connection({
    hello: () => {
      setTimeout(() => server())
      return { type: 'ping' }
    },
    message: () => undefined,
    refused: () => undefined,
    notice: () => undefined,
    changed: () => undefined,
  })
})

afterEach(() => {
  connection.close()
  vi.restoreAllMocks()
  vi.useRealTimers()
  vi.unstubAllGlobals()
})

async function connected() {
  await pass(10)
  peer().becomes('connected')
}

describe('coming back', () => {
  it('grows slower while media fail each time, though the server takes us in', async () => {
    server = () => {
      connection.welcomed(NONE)
      peer().becomes('failed')
    }
    await pass(30_000)
    expect(Socket.all.length).toBeGreaterThan(20)
    expect(Socket.all.length).toBeLessThan(80)
    const before = Socket.all.length
    await pass(60_000)
    expect(Socket.all.length - before).toBeLessThan(30)
    // And at once again as soon as they held.
    server = () => connection.welcomed(NONE)
    await pass(6_000)
    peer().becomes('connected')
    const held = Socket.all.length
    socket().onclose?.()
    await pass(2)
    expect(Socket.all.length).toBe(held + 1)
  })

  it('is at once where media held all the time, and in the lobby, time after time', async () => {
    await connected()
    server = () => connection.welcomed(NONE, true)
    for (let time = 0; time < 5; time += 1) {
      socket().onclose?.()
      await pass(10)
    }
    expect([Socket.all.length, peers.length, connection.state.lostSince]).toEqual([6, 1, null])
    server = () => connection.welcomed(null)
    for (let time = 0; time < 5; time += 1) {
      socket().onclose?.()
      await pass(10)
    }
    expect([Socket.all.length, connection.state.lostSince]).toEqual([11, null])
  })
})

describe('the last pictures', () => {
  const plays = (owner: string) =>
    socket().hears({ type: 'slots', slots: [{ mid: '0', kind: 'video', participant_id: owner, held: false }] })
  const shown = () => [...connection.state.tracks.keys()]

  /** There is a new media connection, and the one before showed something. */
  async function replaced() {
    await connected()
    plays('a')
    socket().onclose?.()
    await pass(10)
    expect([peers.length, shown()]).toEqual([2, ['a']])
  }

  it('stay until the new connection shows some', async () => {
    await replaced()
    await pass(10_000)
    expect([peers[0]?.closed, shown()]).toEqual([false, ['a']])
    peer().becomes('connected')
    await pass(4_900)
    expect([peers[0]?.closed, shown()]).toEqual([false, ['a']])
    plays('b')
    expect([peers[0]?.closed, shown()]).toEqual([true, ['b']])
  })

  it('go a little after it holds, though it shows none', async () => {
    await replaced()
    peer().becomes('connected')
    await pass(5_100)
    expect([peers[0]?.closed, peers[1]?.closed, shown()]).toEqual([true, false, []])
  })

  it('stay while the new one is lost too', async () => {
    await replaced()
    peer().becomes('connected')
    await pass(3_000)
    socket().onclose?.()
    await pass(5_000)
    expect([peers.length, peers[0]?.closed, peers[1]?.closed, shown()]).toEqual([3, false, true, ['a']])
    peer().becomes('connected')
    await pass(5_100)
    expect([peers[0]?.closed, shown()]).toEqual([true, []])
  })

  it('go with the way into the lobby', async () => {
    await replaced()
    connection.welcomed(null)
    expect([peers.map(({ closed }) => closed), shown()]).toEqual([[true, true], []])
  })
})
