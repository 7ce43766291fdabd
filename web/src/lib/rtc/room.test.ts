import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { ServerMessage } from '../api/types'
import { Socket, stubPage, type Peer } from './fakes'
import { local } from './local.svelte'
import { RoomCall } from './room.svelte'

let call: RoomCall
let peers: Peer[]
let device: { kind: string; enabled: boolean; readyState: string; stop(): void }
const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms)
const socket = () => Socket.all.at(-1)!

beforeEach(async () => {
  vi.useFakeTimers()
  peers = stubPage().peers
  device = { kind: 'audio', enabled: true, readyState: 'live', stop: () => (device.readyState = 'ended') }
  const getUserMedia = async () => ({ getTracks: () => [device] })
  vi.stubGlobal('navigator', { mediaDevices: { getUserMedia, enumerateDevices: async () => [] } })
  await local.choose('audio', 'microphone')
  call = new RoomCall({ roomId: 'r', token: () => 't', record: true, muted: { audio: false, video: true } })
  await pass(1)
})

afterEach(() => {
  call.dispose()
  local.close()
  vi.useRealTimers()
  vi.unstubAllGlobals()
})

const welcome: ServerMessage = {
  type: 'welcome_room',
  participant_id: 'me',
  room_name: '',
  case_title: '',
  case_id: '',
  lobby: false,
  resumed: false,
  slots: { audio: 0, video: 0 },
  ice_servers: [],
}

describe('the devices of this browser', () => {
  it('are let go when the server does not take one in', async () => {
    expect(local.audio).not.toBeNull()
    socket().hears({ type: 'error', problem: { type: 'forbidden', status: 403, title: '', detail: '' } })
    expect(call.phase).toBe('refused')
    expect([device.readyState, local.audio]).toEqual(['ended', null])
  })

  it('are let go when the call is over', async () => {
    socket().hears(welcome)
    expect(device.readyState).toBe('live')
    call.leave()
    expect([call.phase, device.readyState, local.audio]).toEqual(['ended', 'ended', null])
  })
})

it('tells how large it draws the others once there is a media connection to tell it of, at each', async () => {
  const told = () => socket().said('view').map(({ tiles }) => tiles)
  const drawn = [{ participant_id: 'a', height: 180 }]
  socket().hears(welcome)
  call.setHeight('a', 180)
  await pass(1_000)
  const before = told().length
  peers[0]!.becomes('connected')
  expect(told().slice(before)).toEqual([drawn])
  // The server is another one, and so is the socket.
  socket().onclose?.()
  await pass(10)
  socket().hears(welcome)
  const early = told().length
  peers[1]!.becomes('connected')
  expect(told().slice(early)).toEqual([drawn])
  // What was drawn otherwise while there was no way to the server is told when there is, though media held.
  socket().onclose?.()
  call.setHeight('a', 360)
  await pass(10)
  socket().hears({ ...welcome, resumed: true })
  expect(told()).toEqual([[{ participant_id: 'a', height: 360 }]])
})
