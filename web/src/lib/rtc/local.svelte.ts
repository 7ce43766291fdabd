// One's own microphone and camera. Whatever is missing or refused, the call goes on with the rest.

import type { MediaKindName } from '../api/types'

export type DeviceState = 'idle' | 'asking' | 'on' | 'denied' | 'absent' | 'busy' | 'insecure' | 'lost'

const AUDIO: MediaTrackConstraints = { echoCancellation: true, noiseSuppression: true, autoGainControl: true }
const VIDEO: MediaTrackConstraints = {
  width: { ideal: 640 },
  height: { ideal: 360 },
  frameRate: { ideal: 24 },
  facingMode: 'user',
}

class LocalMedia {
  audioState = $state<DeviceState>('idle')
  videoState = $state<DeviceState>('idle')
  audio = $state.raw<MediaStreamTrack | null>(null)
  video = $state.raw<MediaStreamTrack | null>(null)
  devices = $state.raw<MediaDeviceInfo[]>([])
  #opening: Promise<void> | null = null
  /** How often the devices were let go: what was asked for before comes too late and is let go as well. */
  #closings = 0

  /** Asks for both devices; never fails. Those that work already are kept. */
  open(): Promise<void> {
    if (this.#opening) return this.#opening
    const opening = this.#open(this.#closings).finally(() => {
      if (this.#opening === opening) this.#opening = null
    })
    this.#opening = opening
    return opening
  }

  /** Switches to another device. */
  async choose(kind: MediaKindName, deviceId: string): Promise<void> {
    const closings = this.#closings
    const base = kind === 'audio' ? AUDIO : { ...VIDEO, facingMode: undefined }
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ [kind]: { ...base, deviceId: { exact: deviceId } } })
      this.#receive(stream, closings)
    } catch (error) {
      if (closings === this.#closings) this.#setState(kind, causeOf(error))
    }
  }

  /** Lets the camera go, so that its light goes out; `open` takes it again. */
  restCamera(): void {
    if (!this.video) return
    this.video.onended = null
    this.video.stop()
    this.video = null
    this.videoState = 'idle'
  }

  /** Lets a camera that hangs go and takes it again. One that does not come is lost. */
  async retakeCamera(): Promise<void> {
    const closings = this.#closings
    const deviceId = this.video?.getSettings().deviceId
    this.restCamera()
    if (deviceId) await this.choose('video', deviceId)
    else await this.open()
    if (!this.video && closings === this.#closings) this.videoState = 'lost'
  }

  /** Lets both go, and what is still being asked for as soon as it comes. */
  close(): void {
    this.#closings += 1
    this.#opening = null
    this.audio?.stop()
    this.video?.stop()
    this.audio = this.video = null
    this.audioState = this.videoState = 'idle'
  }

  async #open(closings: number): Promise<void> {
    if (!navigator.mediaDevices?.getUserMedia) {
      this.audioState = this.videoState = 'insecure'
      return
    }
    const wanted = (['audio', 'video'] as const).filter((kind) => !this.#works(kind))
    if (wanted.length === 0) return
    for (const kind of wanted) this.#setState(kind, 'asking')
    // Both at once asks the person once; apart, one missing device does not take the other with it.
    if (wanted.length === 2 && (await this.#get({ audio: AUDIO, video: VIDEO }, closings)) === null) {
      await this.#list()
      return
    }
    for (const kind of wanted) {
      if (closings !== this.#closings) return
      if (this.#works(kind)) continue
      const cause = await this.#get(kind === 'audio' ? { audio: AUDIO } : { video: VIDEO }, closings)
      if (cause !== null && closings === this.#closings) this.#setState(kind, cause)
    }
    await this.#list()
  }

  /** `null` when it worked, else why not. */
  async #get(constraints: MediaStreamConstraints, closings: number): Promise<DeviceState | null> {
    try {
      this.#receive(await navigator.mediaDevices.getUserMedia(constraints), closings)
      return null
    } catch (error) {
      return causeOf(error)
    }
  }

  #receive(stream: MediaStream, closings: number): void {
    for (const track of stream.getTracks()) {
      if (closings === this.#closings) this.#take(track.kind as MediaKindName, track)
      else track.stop()
    }
  }

  #take(kind: MediaKindName, track: MediaStreamTrack): void {
    const before = this[kind]
    if (before) {
      before.onended = null
      before.stop()
      track.enabled = before.enabled
    }
    // Another app took the device, or it was pulled out.
    track.onended = () => {
      if (this[kind] !== track) return
      this[kind] = null
      this.#setState(kind, 'lost')
    }
    this[kind] = track
    this.#setState(kind, 'on')
  }

  #works(kind: MediaKindName): boolean {
    return this[kind]?.readyState === 'live'
  }

  #setState(kind: MediaKindName, state: DeviceState): void {
    if (kind === 'audio') this.audioState = state
    else this.videoState = state
  }

  async #list(): Promise<void> {
    try {
      this.devices = await navigator.mediaDevices.enumerateDevices()
    } catch {
      this.devices = []
    }
  }
}

function causeOf(error: unknown): DeviceState {
  switch (error instanceof DOMException ? error.name : '') {
    case 'NotAllowedError':
    case 'SecurityError':
      return 'denied'
    case 'NotFoundError':
    case 'OverconstrainedError':
      return 'absent'
    default:
      return 'busy'
  }
}

export const local = new LocalMedia()
