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
