// The WebSocket: hello, keep-alive, and coming back after a loss. Knows nothing of what the messages mean.

import type { ClientMessage, ServerMessage } from '../api/types'
import { backoffMs } from './backoff'

/** The server closes a silent connection; a ping goes out when nothing else did for so long. */
const PING_AFTER_MS = 15_000
/** With a ping every 15 s, nothing for this long means that the line is dead. */
const SILENCE_MAX_MS = 35_000
const OPEN_TIMEOUT_MS = 8_000

export interface SignalEvents {
  /** Called for each connection, so that it can say the newest choice. */
  hello(): ClientMessage
  message(message: ServerMessage): void
  /** The connection was lost; the next try comes by itself. */
  lost(): void
}

export class Signal {
  #socket: WebSocket | null = null
  #attempt = 0
  #closed = false
  #lastSent = 0
  #lastHeard = 0
  #openedAt = 0
  #retry: ReturnType<typeof setTimeout> | undefined
  readonly #tick: ReturnType<typeof setInterval>
  readonly #events: SignalEvents

  constructor(events: SignalEvents) {
    this.#events = events
    this.#tick = setInterval(() => this.#keepAlive(), 1_000)
    window.addEventListener('online', this.#hurry)
    this.#connect()
  }

  get socket(): WebSocket | null {
    return this.#socket
  }

  /** Sends, or says that there is no connection: the caller then says it again after the next welcome. */
  send(message: ClientMessage): boolean {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false
    this.#socket.send(JSON.stringify(message))
    this.#lastSent = Date.now()
    return true
  }

  /** The server took us in, so the next loss starts with a short wait again. */
  established(): void {
    this.#attempt = 0
  }

  /** Gives up the present connection and comes back on a new one. */
  restart(): void {
    if (this.#closed) return
    this.#drop()
  }

  /** Ends for good. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    clearInterval(this.#tick)
    clearTimeout(this.#retry)
    window.removeEventListener('online', this.#hurry)
    this.#detach()
  }

  #connect(): void {
    const scheme = location.protocol === 'https:' ? 'wss' : 'ws'
    const socket = new WebSocket(`${scheme}://${location.host}/ws`)
    this.#socket = socket
    this.#openedAt = Date.now()
    socket.onopen = () => {
      this.#lastHeard = Date.now()
      this.send(this.#events.hello())
    }
    socket.onmessage = (event) => {
      this.#lastHeard = Date.now()
      const message = parseMessage(event.data)
      if (message !== null && message.type !== 'pong') this.#events.message(message)
    }
    socket.onclose = () => this.#drop()
  }

  #drop(): void {
    if (this.#closed) return
    this.#detach()
    this.#events.lost()
    // `lost` may have closed us.
    if (this.#closed) return
    clearTimeout(this.#retry)
    this.#retry = setTimeout(() => this.#connect(), backoffMs(this.#attempt, Math.random()))
    this.#attempt += 1
  }

  #detach(): void {
    const socket = this.#socket
    this.#socket = null
    if (!socket) return
    socket.onopen = socket.onmessage = socket.onclose = null
    socket.close()
  }

  readonly #hurry = (): void => {
    if (this.#closed || this.#socket) return
    clearTimeout(this.#retry)
    this.#connect()
  }

  #keepAlive(): void {
    const now = Date.now()
    const state = this.#socket?.readyState
    if (state === WebSocket.CONNECTING && now - this.#openedAt > OPEN_TIMEOUT_MS) this.#drop()
    if (state !== WebSocket.OPEN) return
    if (now - this.#lastHeard > SILENCE_MAX_MS) this.#drop()
    else if (now - this.#lastSent > PING_AFTER_MS) this.send({ type: 'ping' })
  }
}

/** A message of the server, or `null` for what is none: a newer server may say more than we know. */
export function parseMessage(data: unknown): ServerMessage | null {
  if (typeof data !== 'string') return null
  try {
    const value: unknown = JSON.parse(data)
    const type = typeof value === 'object' && value !== null ? (value as { type?: unknown }).type : undefined
    return typeof type === 'string' ? (value as ServerMessage) : null
  } catch {
    return null
  }
}
