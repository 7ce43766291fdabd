// A room as Svelte's pages see it: the state of `Room`, and this browser's devices.

import type { MediaKindName, Participant } from '../api/types'
import { local } from './local.svelte'
import { Room, withdrawing, type RoomOptions, type RoomState } from './room'

export class RoomCall {
  audioBlocked = $state(false)
  readonly #room: Room
  #state: RoomState = $state.raw() as RoomState

  // Each by itself, so that what did not change redraws nothing.
  readonly phase = $derived(this.#state.phase)
  readonly outAgain = $derived(this.#state.outAgain)
  readonly meId = $derived(this.#state.meId)
  readonly roomName = $derived(this.#state.roomName)
  readonly caseTitle = $derived(this.#state.caseTitle)
  readonly caseId = $derived(this.#state.caseId)
  readonly participants = $derived(this.#state.participants)
  readonly speaking = $derived(this.#state.speaking)
  readonly silent = $derived(this.#state.silent)
  readonly recording = $derived(this.#state.recording)
  readonly ended = $derived(this.#state.ended)
  readonly refused = $derived(this.#state.refused)
  readonly notice = $derived(this.#state.notice)
  readonly muted = $derived(this.#state.muted)
  readonly record = $derived(this.#state.record)
  readonly lostSince = $derived(this.#state.lostSince)
  readonly restarting = $derived(this.#state.restarting)
  readonly tracks = $derived(this.#state.tracks)
  readonly quality = $derived(this.#state.quality)
  readonly withdrawing = $derived(withdrawing(this.#state))
  readonly me = $derived(this.participants.find((person) => person.id === this.meId))
  /** Those in the room, in the order of their seats. */
  readonly seated: Participant[] = $derived(this.participants.filter((person) => !person.lobby))
  readonly waiting: Participant[] = $derived(
    this.participants.filter((person) => person.lobby && person.id !== this.meId),
  )

  constructor(options: Omit<RoomOptions, 'tracks'>) {
    this.#room = new Room({ ...options, tracks: own(), cameraStill: () => void this.#retakeCamera() })
    this.#state = this.#room.state
    this.#room.subscribe((state) => {
      // The devices are let go with the call.
      if (over(state) && !over(this.#state)) local.close()
      this.#state = state
    })
  }

  setMuted(kind: MediaKindName, muted: boolean): void {
    this.#room.setMuted(kind, muted)
    if (kind === 'video' && muted && local.video) {
      local.restCamera()
      void this.#room.publish(own())
    }
  }

  async #retakeCamera(): Promise<void> {
    console.warn('the camera stands still and is taken anew')
    await local.retakeCamera()
    await this.devicesChanged()
  }

  /** Publishes the devices as they are now, after one came, went or was changed. */
  devicesChanged(): Promise<void> {
    return this.#room.publish(own())
  }

  setRecord(record: boolean): void {
    this.#room.setRecord(record)
  }

  /** Somebody's picture is drawn so high, in pixels of the screen; `null` when it is gone. */
  setHeight(id: string, height: number | null): void {
    this.#room.setHeight(id, height)
  }

  admit(id: string): void {
    this.#room.admit(id)
  }

  remove(id: string): void {
    this.#room.remove(id)
  }

  endSession(): void {
    this.#room.endSession()
  }

  dismissNotice(): void {
    this.#room.dismissNotice()
  }

  leave(): void {
    this.#room.leave()
  }

  /** Leaves the page, not by choice of the person: the seat is kept for a while. */
  dispose(): void {
    this.#room.dispose()
  }
}

/** It does not come back by itself. */
function over({ phase }: RoomState): boolean {
  return phase === 'ended' || phase === 'refused'
}

function own() {
  return { audio: local.audio, video: local.video }
}
