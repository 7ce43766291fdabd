// Keeps the token of one who signed in fresh. It lives for 15 minutes; the cookie, which no script can read, gets the
// next one. Owns when that happens; a call or a wall asks for a token that still holds, and notices nothing.

import { isUnknownBearer, request, type Answer } from './api/request'
import type { Grant } from './api/types'
import { session } from './session.svelte'

/** Renewed when less than this is left. */
const EARLY_MS = 4 * 60_000
/** A connection is not begun with a token that ends so soon. */
const BRINK_MS = 60_000
const LOOK_EVERY_MS = 20_000

let running: Promise<boolean> | null = null

/** Keeps what a sign-in or a renewal gave. How long it holds is counted from now, so that this computer's clock may be
 * wrong. */
export function accept({ value, serverNow }: Answer<Grant>): void {
  session.signIn(value, Date.parse(value.expires_at) - serverNow)
}

/** Asks for a fresh token, once at a time. False when the sign-in is over; throws when nobody could say. */
export function renew(): Promise<boolean> {
  running ??= ask().finally(() => (running = null))
  return running
}

async function ask(): Promise<boolean> {
  try {
    accept(await request<Grant>('POST', 'session/token'))
    return true
  } catch (error) {
    if (!isUnknownBearer(error)) throw error
    return false
  }
}

function left(): number {
  const { current } = session
  return current?.account ? (current.until ?? 0) - Date.now() : Number.POSITIVE_INFINITY
}

/** The token, renewed first if it is about to end. Without an answer it is the old one: the server will judge. */
export async function freshToken(): Promise<string> {
  if (left() < BRINK_MS) await renew().catch(() => false)
  return session.token ?? ''
}

/** Renews in good time for as long as the page is open, also after the computer slept. */
export function keepFresh(): void {
  const look = (): void => {
    if (left() < EARLY_MS) void renew().catch(() => false)
  }
  setInterval(look, LOOK_EVERY_MS)
  document.addEventListener('visibilitychange', look)
  window.addEventListener('online', look)
}
