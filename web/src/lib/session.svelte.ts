// Who the person in this browser tab is. A staff token lives in `sessionStorage` alone: it survives a reload and ends
// with the tab. One who signed in gets a new one by the cookie, which no script can read (`renewal.ts`). A party's is kept by its invitation code in `localStorage` too, until the session is over: the code
// works once, and a phone that lost the tab must get back in by the same link. Only who has the link can use it.

import type { Grant, RoleName } from './api/types'

export interface Session {
  token: string
  role?: RoleName
  name?: string
  room_id?: string | null
  room_name?: string | null
  expires_at?: string
  /** The invitation code it came from, so that opening the same link again resumes. */
  code?: string
  /** Signed in with an account: the token is short, and renewed until the sign-in ends. */
  account?: boolean
  /** When the token of an account ends, by this computer's clock, in milliseconds. */
  until?: number
}

/** What the join page or the door asked, and what was changed in the call since. */
export interface JoinChoice {
  record: boolean
  audio: boolean
  video: boolean
}

const SESSION_KEY = 'hewei.session'
const SEAT_KEY = 'hewei.seat'
const CHOICE_KEY = 'hewei.join.'
/** There is a sign-in in this browser, as far as it knows: worth a try in a new tab. */
const ACCOUNT_KEY = 'hewei.account'

function read<T>(key: string, storage = sessionStorage): T | null {
  try {
    const text = storage.getItem(key)
    return text === null ? null : (JSON.parse(text) as T)
  } catch {
    return null
  }
}

function write(key: string, value: unknown, storage = sessionStorage): void {
  try {
    storage.setItem(key, JSON.stringify(value))
  } catch {
    // Storage is switched off: a reload will then ask for the link again.
  }
}

let current = $state.raw<Session | null>(read<Session>(SESSION_KEY))
/** Counts up when another person is at this tab, and not when the token of the same person is renewed. */
let person = $state(0)
/** The sign-in ended while this page was open, and not by the person here. */
let ended = $state(false)

export const session = {
  get current(): Session | null {
    return current
  },
  get token(): string | null {
    return current?.token ?? null
  },
  get person(): number {
    return person
  },
  /** A staff link, `/enter#TOKEN`. */
  enter(token: string): void {
    if (current?.token !== token) forgetChoices()
    person += 1
    current = { token }
    ended = false
    write(SESSION_KEY, current)
  },
  /** A sign-in, or a fresh token of it. `lifeMs`: how long the token lives from now. */
  signIn(grant: Grant, lifeMs: number): void {
    // In another tab somebody else may have signed in since.
    if (!current?.account || current.name !== grant.name || current.role !== grant.role) {
      forgetChoices()
      person += 1
    }
    current = { ...grant, account: true, until: Date.now() + lifeMs }
    ended = false
    write(SESSION_KEY, current)
    write(ACCOUNT_KEY, true, localStorage)
  },
  /** Whether somebody signed in at this browser, perhaps in another tab. */
  get mayHaveCookie(): boolean {
    return read<boolean>(ACCOUNT_KEY, localStorage) === true
  },
  get ended(): boolean {
    return ended
  },
  /** The sign-in is over; `byOthers`: its time was up, or it was ended elsewhere. */
  signedOut(byOthers: boolean): void {
    ended = byOthers
    try {
      localStorage.removeItem(ACCOUNT_KEY)
    } catch {
      // Storage is switched off: nothing was kept.
    }
    session.clear()
  },
  /** A redeemed invitation. */
  accept(grant: Grant, code: string): void {
    forgetChoices()
    person += 1
    current = { ...grant, code }
    write(SESSION_KEY, current)
    if (grant.role === 'party') write(SEAT_KEY, current, localStorage)
  },
  /** The seat that this browser took with an invitation's code, if it still holds. */
  resume(code: string): Session | null {
    if (current?.code === code) return current
    const seat = code === '' ? null : read<Session>(SEAT_KEY, localStorage)
    if (seat?.code !== code || !(Date.parse(seat.expires_at ?? '') > Date.now())) return null
    forgetChoices()
    person += 1
    current = seat
    write(SESSION_KEY, current)
    return seat
  },
  /** Over, or left: the next person at this browser does not get back in by the link. */
  giveUpSeat(): void {
    try {
      localStorage.removeItem(SEAT_KEY)
    } catch {
      // Storage is switched off: nothing was kept.
    }
  },
  clear(): void {
    forgetChoices()
    person += 1
    current = null
    try {
      sessionStorage.removeItem(SESSION_KEY)
    } catch {
      // Storage is switched off: nothing was kept.
    }
  },
}

/** The same, for a tab whose storage is switched off. */
const choices = new Map<string, JoinChoice>()

/** Another person sits down at this tab: what the one before said does not count for them. */
function forgetChoices(): void {
  choices.clear()
  try {
    for (const key of Object.keys(sessionStorage)) if (key.startsWith(CHOICE_KEY)) sessionStorage.removeItem(key)
  } catch {
    // Storage is switched off: nothing was kept.
  }
}

export function rememberChoice(roomId: string, choice: JoinChoice): void {
  choices.set(roomId, choice)
  write(CHOICE_KEY + roomId, choice)
}

export function choiceFor(roomId: string): JoinChoice | null {
  return read<JoinChoice>(CHOICE_KEY + roomId) ?? choices.get(roomId) ?? null
}

export function rememberPurpose(wallId: string, purpose: { id: string; reason: string; expires_at: string }): void {
  write(`hewei.purpose.${wallId}`, purpose)
}

export function forgetPurpose(wallId: string): void {
  sessionStorage.removeItem(`hewei.purpose.${wallId}`)
}

/** The purpose this tab opened for the wall, if it still runs. */
export function purposeFor(wallId: string): { id: string; reason: string; expires_at: string } | null {
  const purpose = read<{ id: string; reason: string; expires_at: string }>(`hewei.purpose.${wallId}`)
  return purpose && Date.parse(purpose.expires_at) > Date.now() ? purpose : null
}
