// The WebSocket: hello, keep-alive, and coming back after a loss for as long as the page is open. Knows nothing of what
// the messages mean.

import type { ClientMessage, ServerMessage } from '../api/types'
import { waitMs } from './backoff'
import { onNetworkChange } from './network'

/** The server closes a silent connection; a ping goes out when nothing else did for so long. */
const PING_AFTER_MS = 15_000
/** With a ping every 15 s, nothing for this long means that the line is dead. */
const SILENCE_MAX_MS = 35_000
/** A page that is looked at again asks whether the line still holds; so long it waits for the answer. */
const CHECK_MAX_MS = 3_000
/** The same when there is reason to think that it does not: the network changed, or no media come. */
const DOUBT_MAX_MS = 1_500
/** By this code of the close frame the server knows that we come back at once, should it get there. */
const COMES_BACK = 4001
const OPEN_TIMEOUT_MS = 8_000
const PROBE_TIMEOUT_MS = 3_000

export interface SignalEvents {
  /** Called for each connection, so that it can say the newest choice. The server waits five seconds for it. */
  hello(): ClientMessage | Promise<ClientMessage>
  message(message: ServerMessage): void
  /** There is no connection; the next try comes by itself. Called for each try that fails. */
  lost(): void
  /** This device may have come to another network. */
  networkChanged?(): void
}

export class Signal {
  #socket: WebSocket | null = null
  /** Tries since the connection held last. */
  #attempt = 0
  #outSince: number | null = null
  #closed = false
  #lastSent = 0
  #lastHeard = 0
  #openedAt = 0
  #check: ReturnType<typeof setTimeout> | undefined
  #retry: ReturnType<typeof setTimeout> | undefined
  #probe: AbortController | null = null
  readonly #tick: ReturnType<typeof setInterval>
  readonly #unwatch: () => void
  readonly #events: SignalEvents

  constructor(events: SignalEvents) {
    this.#events = events
    this.#tick = setInterval(() => this.#keepAlive(), 1_000)
    this.#unwatch = onNetworkChange(() => this.#onNetworkChange())
    document.addEventListener('visibilitychange', this.#hurry)
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

  /** The connection holds, so the next loss starts with a try at once again. */
  established(): void {
    this.#attempt = 0
    this.#outSince = null
  }

  /** Gives up the present connection and comes back on a new one: at once, or as soon as the server answers when it
   * said that it stops. */
  restart({ stops = false } = {}): void {
    if (stops) this.#attempt = Math.max(1, this.#attempt)
    this.#drop()
  }

  /** Something says that the line may be dead: asks the server, and comes back on a new one if no answer comes. */
  doubt(): void {
    this.#ask(DOUBT_MAX_MS)
  }

  /** Ends for good. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    clearInterval(this.#tick)
    this.#unwatch()
    document.removeEventListener('visibilitychange', this.#hurry)
    this.#detach()
  }

  #connect(): void {
    const scheme = location.protocol === 'https:' ? 'wss' : 'ws'
    const socket = new WebSocket(`${scheme}://${location.host}/ws`)
    this.#socket = socket
    this.#openedAt = Date.now()
    socket.onopen = async () => {
      this.#lastHeard = Date.now()
      const hello = await this.#events.hello()
      if (this.#socket === socket) this.send(hello)
    }
    socket.onmessage = (event) => {
      this.#lastHeard = Date.now()
      this.#answered()
      const message = parseMessage(event.data)
      if (message !== null && message.type !== 'pong') this.#events.message(message)
    }
    socket.onclose = () => this.#drop()
  }

  #drop(): void {
    if (this.#closed) return
    this.#detach(COMES_BACK)
    this.#events.lost()
    // `lost` may have closed us.
    if (!this.#closed) this.#wait()
  }

  #wait(): void {
    this.#outSince ??= Date.now()
    const wait = waitMs(this.#attempt, Date.now() - this.#outSince, Math.random())
    this.#retry = setTimeout(() => this.#again(), wait)
    this.#attempt += 1
  }

  /** The first try is a WebSocket at once. Later ones ask first whether there is a server: browsers hold back
   * WebSockets, for seconds, when many failed before, and plain requests they do not. */
  #again(): void {
    if (this.#attempt === 1) return this.#connect()
    const probe = new AbortController()
    this.#probe = probe
    void serverAnswers(probe.signal).then((answers) => {
      if (this.#probe !== probe) return
      this.#probe = null
      if (answers) this.#connect()
      else this.#wait()
    })
  }

  #detach(code = 1000): void {
    clearTimeout(this.#retry)
    this.#answered()
    this.#probe?.abort()
    this.#probe = null
    const socket = this.#socket
    this.#socket = null
    if (!socket) return
    socket.onopen = socket.onmessage = socket.onclose = null
    socket.close(code)
  }

  /** The network is there again, or somebody looks at the page: no more waiting. */
  readonly #hurry = (): void => {
    if (this.#closed || document.visibilityState === 'hidden') return
    if (this.#socket) this.#ask(CHECK_MAX_MS)
    else if (!this.#probe) this.#waitNoMore()
  }

  #onNetworkChange(): void {
    if (this.#closed) return
    if (!this.#socket) this.#waitNoMore()
    // What is being opened goes out by the network of before.
    else if (this.#socket.readyState === WebSocket.CONNECTING) this.#drop()
    else this.doubt()
    this.#events.networkChanged?.()
  }

  #waitNoMore(): void {
    clearTimeout(this.#retry)
    this.#probe?.abort()
    this.#probe = null
    this.#again()
  }

  /** Whatever comes is an answer. A question that is under way is not asked again. */
  #ask(withinMs: number): void {
    if (this.#check !== undefined || !this.send({ type: 'ping' })) return
    this.#check = setTimeout(() => this.#drop(), withinMs)
  }

  #answered(): void {
    clearTimeout(this.#check)
    this.#check = undefined
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

/** Whether there is a server that takes people in. */
async function serverAnswers(stop: AbortSignal): Promise<boolean> {
  try {
    const signal = AbortSignal.any([stop, AbortSignal.timeout(PROBE_TIMEOUT_MS)])
    const { status } = await fetch('/readyz', { cache: 'no-store', signal })
    // One that is starting or stopping says 503, and so does a proxy before one that is down.
    return status < 500
  } catch {
    return false
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
