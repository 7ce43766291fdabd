import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { ClientMessage } from '../api/types'
import { Peer, stubPage } from './fakes'
import { Media } from './media'

let peer: Peer
let media: Media
let sent: ClientMessage[]
let told: string[]
/** Whether there is a socket. */
let reachable: boolean

beforeEach(() => {
  vi.useFakeTimers()
  const { peers } = stubPage()
  sent = []
  told = []
  reachable = true
  media = new Media({
    send: (message) => {
      if (reachable) sent.push(message)
      return reachable
    },
    connected: () => told.push('connected'),
    interrupted: () => told.push('interrupted'),
    lost: (why) => told.push(`lost: ${why}`),
    changed: () => undefined,
    iceServers: [],
  })
  peer = peers[0]!
})

afterEach(() => {
  media.close()
  vi.useRealTimers()
  vi.unstubAllGlobals()
})

const NONE = { audio: 0, video: 0 }
const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms)
const sdps = () => sent.map((message) => (message.type === 'offer' ? `${message.offer_id}: ${message.sdp}` : message.type))

async function connected() {
  media.offer(NONE)
  await pass(0)
  await media.answer(1, 'answer')
  peer.becomes('connected')
}

describe('a loss', () => {
  it('has the same connection look for another path at once', async () => {
    await connected()
    peer.becomes('disconnected')
    await pass(0)
    expect(sdps()).toEqual(['1: offer 1 after 0 restarts', '2: offer 2 after 1 restarts'])
    await media.answer(2, 'another path')
    expect(peer.answers).toEqual(['answer', 'another path'])
    // What fails now is the path of before.
    peer.becomes('failed')
    await pass(1_000)
    peer.becomes('connected')
    await pass(60_000)
    expect(told).toEqual(['connected', 'interrupted', 'connected'])
  })

  it('that no other path mends is one within five seconds', async () => {
    await connected()
    peer.becomes('disconnected')
    await pass(4_900)
    expect(told).toEqual(['connected', 'interrupted'])
    await pass(200)
    expect(told).toEqual(['connected', 'interrupted', 'lost: no other path'])
    expect(media.lives).toBe(false)
  })

  it('of the way to the server as well gives nothing up until there is one again', async () => {
    await connected()
    reachable = false
    media.hold()
    peer.becomes('disconnected')
    await pass(60_000)
    expect(told).toEqual(['connected', 'interrupted'])
    expect(media.lives).toBe(true)
    reachable = true
    media.resume(NONE, [])
    await pass(0)
    expect(sdps().at(-1)).toBe('2: offer 2 after 1 restarts')
    await pass(5_100)
    expect(told.at(-1)).toBe('lost: no other path')
  })

  it('before the first connection is no reason to look for another path', async () => {
    media.offer(NONE)
    await pass(0)
    media.restart()
    peer.becomes('failed')
    expect(peer.restarts).toBe(0)
    expect(told).toEqual(['lost: failed'])
  })
})

describe('coming back to the server', () => {
  it('says again what may have been lost on the way, and takes no answer to it any more', async () => {
    await connected()
    media.restart()
    await pass(0)
    media.hold()
    media.resume(NONE, [])
    await pass(0)
    expect(sdps().slice(1)).toEqual(['2: offer 2 after 1 restarts', '3: offer 3 after 2 restarts'])
    await media.answer(2, 'late')
    await media.answer(3, 'in time')
    expect(peer.answers).toEqual(['answer', 'in time'])
    // The path of before held all the time.
    await pass(60_000)
    expect(told).toEqual(['connected'])
  })

  it('looks for another path by the ways through a firewall that hold now', async () => {
    await connected()
    const relay = { urls: ['turn:here'], username: 'later', credential: 'secret' }
    let asked: RTCConfiguration | undefined
    peer.restartIce = () => (asked = peer.configuration)
    media.hold()
    media.resume(NONE, [relay])
    expect(asked).toEqual({ bundlePolicy: 'max-bundle', rtcpMuxPolicy: 'require', iceServers: [relay] })
  })

  it('is over for one that was closed or has given way to another', async () => {
    await connected()
    expect(media.lives).toBe(true)
    media.rest()
    expect(media.lives).toBe(false)
  })
})

it('takes a connection for lost that is not there in time', async () => {
  media.offer(NONE)
  await pass(0)
  await media.answer(1, 'answer')
  await pass(14_900)
  expect(told).toEqual([])
  await pass(200)
  expect(told).toEqual(['lost: no connection in time'])
})

describe('an offer that is not answered', () => {
  it('makes the connection one to replace, for nothing more can be offered on it', async () => {
    await connected()
    media.offer(NONE)
    await pass(6_900)
    media.offer(NONE)
    expect(told).toEqual(['connected'])
    await pass(200)
    expect(told).toEqual(['connected', 'lost: no answer'])
    expect(media.lives).toBe(false)
  })

  it('is waited for anew at each', async () => {
    await connected()
    for (const id of [2, 3]) {
      media.offer(NONE)
      await pass(6_000)
      await media.answer(id, 'slow')
    }
    await pass(60_000)
    expect(told).toEqual(['connected'])
  })

  it('is not waited for without a way to the server', async () => {
    await connected()
    media.offer(NONE)
    await pass(0)
    media.hold()
    await pass(60_000)
    expect(told).toEqual(['connected'])
    // One that was being made when the way came back does not go out beside the one that is made for it.
    media.resume(NONE, [])
    media.hold()
    media.resume(NONE, [])
    await pass(0)
    expect(sdps().slice(2)).toEqual([expect.stringContaining('4: ')])
    await media.answer(4, 'answer')
    await pass(60_000)
    expect(told).toEqual(['connected'])
  })
})
