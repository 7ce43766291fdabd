// For unit tests: as much of a browser as the client looks at.

import { vi } from 'vitest'
import type { ClientMessage, ServerMessage } from '../api/types'

/** An `RTCPeerConnection` whose state the test says. */
export class Peer {
  connectionState = 'new'
  onconnectionstatechange: (() => void) | null = null
  localDescription: { sdp: string } | null = null
  restarts = 0
  answers: string[] = []
  closed = false
  #offers = 0
  constructor(public configuration: RTCConfiguration = {}) {}
  getConfiguration() {
    return this.configuration
  }
  setConfiguration(configuration: RTCConfiguration) {
    this.configuration = configuration
  }
  addTransceiver() {
    const sender = { replaceTrack: async () => undefined }
    return { mid: null, sender, receiver: { track: null }, setCodecPreferences: () => undefined }
  }
  restartIce() {
    this.restarts += 1
  }
  async setLocalDescription() {
    this.#offers += 1
    this.localDescription = { sdp: `offer ${this.#offers} after ${this.restarts} restarts` }
  }
  async setRemoteDescription({ sdp }: { sdp: string }) {
    this.answers.push(sdp)
  }
  close() {
    this.closed = true
  }
  becomes(state: string) {
    this.connectionState = state
    this.onconnectionstatechange?.()
  }
}

/** A `WebSocket` to a server that is there or not; one that is there answers offers. */
export class Socket {
  static readonly CONNECTING = 0
  static readonly OPEN = 1
  static there = true
  static all: Socket[] = []
  readyState = Socket.CONNECTING
  onopen: (() => void) | null = null
  onclose: (() => void) | null = null
  onmessage: ((event: { data: unknown }) => void) | null = null
  sent: string[] = []
  closedBy: number | undefined
  constructor() {
    Socket.all.push(this)
    setTimeout(() => {
      this.readyState = Socket.there ? Socket.OPEN : 3
      if (Socket.there) this.onopen?.()
      else this.onclose?.()
    }, 1)
  }
  send(text: string) {
    this.sent.push(text)
    const message = JSON.parse(text) as ClientMessage
    if (message.type !== 'offer') return
    queueMicrotask(() => this.hears({ type: 'answer', offer_id: message.offer_id, sdp: '' }))
  }
  close(code: number) {
    this.readyState = 3
    this.closedBy = code
  }
  /** What was sent of one type. */
  said<T extends ClientMessage['type']>(type: T): Extract<ClientMessage, { type: T }>[] {
    const messages = this.sent.map((text) => JSON.parse(text) as ClientMessage)
    return messages.filter((message): message is Extract<ClientMessage, { type: T }> => message.type === type)
  }
  hears(message: ServerMessage) {
    this.onmessage?.({ data: JSON.stringify(message) })
  }
}

/** Puts a page with these in place of the browser's; `vi.unstubAllGlobals` ends that. */
export function stubPage(): { peers: Peer[]; page: EventTarget & { visibilityState: string } } {
  const peers: Peer[] = []
  const page = Object.assign(new EventTarget(), { visibilityState: 'visible' })
  Socket.there = true
  Socket.all = []
  vi.stubGlobal('window', new EventTarget())
  vi.stubGlobal('document', page)
  vi.stubGlobal('navigator', {})
  vi.stubGlobal('location', { protocol: 'http:', host: 'here', search: '' })
  vi.stubGlobal('sessionStorage', { getItem: () => null })
  vi.stubGlobal('WebSocket', Socket)
  vi.stubGlobal('fetch', async () => {
    if (Socket.there) return { status: 200 }
    throw new TypeError('refused')
  })
  vi.stubGlobal('RTCRtpSender', { getCapabilities: () => null })
  vi.stubGlobal('RTCPeerConnection', function (configuration: RTCConfiguration) {
    const peer = new Peer(configuration)
    peers.push(peer)
    return peer
  })
  return { peers, page }
}
