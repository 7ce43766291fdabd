// Who the person in this browser tab is. The token lives in `sessionStorage` alone: it survives a reload and ends
// with the tab.

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
}

/** What the join page asked, for the room page. */
export interface JoinChoice {
  record: boolean
  audio: boolean
  video: boolean
}

const SESSION_KEY = 'hewei.session'

function read<T>(key: string): T | null {
  try {
    const text = sessionStorage.getItem(key)
    return text === null ? null : (JSON.parse(text) as T)
  } catch {
    return null
  }
}

function write(key: string, value: unknown): void {
  try {
    sessionStorage.setItem(key, JSON.stringify(value))
  } catch {
    // Storage is switched off: a reload will then ask for the link again.
  }
}

let current = $state.raw<Session | null>(read<Session>(SESSION_KEY))

export const session = {
  get current(): Session | null {
    return current
  },
  get token(): string | null {
    return current?.token ?? null
  },
  /** A staff link, `/enter#TOKEN`. */
  enter(token: string): void {
    current = { token }
    write(SESSION_KEY, current)
  },
  /** A redeemed invitation. */
  accept(grant: Grant, code: string): void {
    current = { ...grant, code }
    write(SESSION_KEY, current)
  },
  clear(): void {
    current = null
    sessionStorage.removeItem(SESSION_KEY)
  },
}

export function rememberChoice(roomId: string, choice: JoinChoice): void {
  write(`hewei.join.${roomId}`, choice)
}

export function choiceFor(roomId: string): JoinChoice | null {
  return read<JoinChoice>(`hewei.join.${roomId}`)
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
