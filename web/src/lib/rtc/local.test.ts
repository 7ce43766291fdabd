import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { local } from './local.svelte'

/** As much of a device's track as `local` looks at. */
class Track {
  readyState = 'live'
  enabled = true
  onended: (() => void) | null = null
  constructor(readonly kind: string) {}
  getSettings() {
    return { deviceId: `the ${this.kind}` }
  }
  stop() {
    this.readyState = 'ended'
  }
}

interface Question {
  readonly kinds: string[]
  /** The person allows it. */
  allow(): Promise<Track[]>
  deny(): Promise<void>
}

let questions: Question[]
const settle = () => new Promise((resolve) => setTimeout(resolve))

beforeEach(() => {
  questions = []
  const getUserMedia = (constraints: MediaStreamConstraints) =>
    new Promise((resolve, reject) => {
      const kinds = Object.keys(constraints)
      questions.push({
        kinds,
        async allow() {
          const tracks = kinds.map((kind) => new Track(kind))
          resolve({ getTracks: () => tracks })
          await settle()
          return tracks
        },
        async deny() {
          reject(new DOMException('', 'NotAllowedError'))
          await settle()
        },
      })
    })
  vi.stubGlobal('navigator', { mediaDevices: { getUserMedia, enumerateDevices: async () => [] } })
})

afterEach(() => {
  local.close()
  vi.unstubAllGlobals()
})

const live = (tracks: Track[]) => tracks.filter(({ readyState }) => readyState === 'live').map(({ kind }) => kind)
const states = () => [local.audioState, local.videoState]

it('opens both devices by one question, and each caller waits for the same', async () => {
  const [first, second] = [local.open(), local.open()]
  expect(states()).toEqual(['asking', 'asking'])
  const tracks = await questions[0]!.allow()
  await Promise.all([first, second])
  expect(questions.map(({ kinds }) => kinds)).toEqual([['audio', 'video']])
  expect([live(tracks), states()]).toEqual([['audio', 'video'], ['on', 'on']])
})

it('lets go what comes after it was closed', async () => {
  const opening = local.open()
  local.close()
  const tracks = await questions[0]!.allow()
  await opening
  expect([live(tracks), local.audio, local.video]).toEqual([[], null, null])
  expect(states()).toEqual(['idle', 'idle'])
})

it('asks for nothing more once it was closed', async () => {
  const opening = local.open()
  local.close()
  await questions[0]!.deny()
  await opening
  expect([questions.length, ...states()]).toEqual([1, 'idle', 'idle'])
  // Nor after the first of two questions.
  const again = local.open()
  await questions[1]!.deny()
  local.close()
  const sound = await questions[2]!.allow()
  await again
  expect([live(sound), questions.length, ...states()]).toEqual([[], 3, 'idle', 'idle'])
})

it('opens anew while what was asked for before is still to come', async () => {
  const before = local.open()
  local.close()
  const now = local.open()
  const late = await questions[0]!.allow()
  await before
  expect([live(late), ...states()]).toEqual([[], 'asking', 'asking'])
  // The one that is under way is not forgotten by the end of the other.
  const same = local.open()
  expect(questions.length).toBe(2)
  const tracks = await questions[1]!.allow()
  await Promise.all([now, same])
  expect([live(tracks), local.video]).toEqual([['audio', 'video'], tracks[1]])
})

it('lets go another device that was chosen before it was closed', async () => {
  const choosing = local.choose('video', 'other')
  local.close()
  const tracks = await questions[0]!.allow()
  await choosing
  expect([live(tracks), local.video, local.videoState]).toEqual([[], null, 'idle'])
  const denied = local.choose('audio', 'other')
  local.close()
  await questions[1]!.deny()
  await denied
  expect(local.audioState).toBe('idle')
})

it('does not miss a camera that was being taken anew when it was closed', async () => {
  const opening = local.open()
  await questions[0]!.allow()
  await opening
  const retaking = local.retakeCamera()
  local.close()
  const tracks = await questions[1]!.allow()
  await retaking
  expect([live(tracks), local.video, local.videoState]).toEqual([[], null, 'idle'])
})
