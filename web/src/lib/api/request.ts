// One call of `/api/v1/`, and what is said of one that failed. Knows nothing of renewing a token: `client.ts` does.

import { t, type Key } from '../i18n/index.svelte'
import { session } from '../session.svelte'
import type { Problem } from './types'

export class Failure extends Error {
  constructor(
    readonly problem: Problem,
    /** After how many seconds a try may succeed, if the server said. */
    readonly retryAfterS: number | null = null,
  ) {
    super(problem.title)
  }
}

export interface Answer<T> {
  value: T
  /** The server's clock when it answered, in milliseconds; this computer's when it did not say. */
  serverNow: number
}

export type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'

const OFFLINE: Problem = { type: 'offline', title: 'offline', status: 0, detail: '' }

/** Calls. A failure is always a `Failure`, with something to show to a person. */
export async function request<T>(method: Method, path: string, body?: unknown): Promise<Answer<T>> {
  const headers = new Headers({ accept: 'application/json' })
  const token = session.token
  if (token !== null) headers.set('authorization', `Bearer ${token}`)
  const init: RequestInit = { method, headers, cache: 'no-store' }
  if (body !== undefined) {
    headers.set('content-type', 'application/json')
    init.body = JSON.stringify(body)
  }
  let response: Response
  let text: string
  try {
    response = await fetch(`/api/v1/${path}`, init)
    text = await response.text()
  } catch {
    throw new Failure(OFFLINE)
  }
  if (!response.ok) throw new Failure(readProblem(response.status, text), retryAfter(response))
  const date = Date.parse(response.headers.get('date') ?? '')
  const serverNow = Number.isNaN(date) ? Date.now() : date
  // An answer may be empty: there is nothing to say of what was taken away.
  return { value: (text === '' ? undefined : JSON.parse(text)) as T, serverNow }
}

function retryAfter(response: Response): number | null {
  const seconds = Number.parseInt(response.headers.get('retry-after') ?? '', 10)
  return seconds >= 0 ? seconds : null
}

function readProblem(status: number, text: string): Problem {
  try {
    const body = JSON.parse(text) as Partial<Problem>
    if (typeof body.type === 'string' && typeof body.title === 'string') {
      return { type: body.type, title: body.title, status, detail: body.detail ?? '' }
    }
  } catch {
    // Not JSON: something between us and the server answered.
  }
  return { type: `http_${status}`, title: t('problem.unknown'), status, detail: `HTTP ${status}` }
}

/** The last word of a problem's type, by which we know it. */
export function wordOf(problem: Problem): string {
  return problem.type.split(/[/#:]/).at(-1) ?? problem.type
}

/** The sentence a person reads: ours if we know the problem, else the server's own words. */
export function problemText(problem: Problem): { title: string; detail: string } {
  const known = PROBLEMS[wordOf(problem)]
  if (known) return { title: t(known), detail: '' }
  return { title: problem.title, detail: problem.detail }
}

/** As `problemText`, for anything that was thrown. */
export function failureText(error: unknown): { title: string; detail: string } {
  if (error instanceof Failure) return problemText(error.problem)
  return { title: t('problem.unknown'), detail: error instanceof Error ? error.message : String(error) }
}

/** Whether the server said that the bearer is nobody it knows. */
export function isUnknownBearer(error: unknown): boolean {
  return error instanceof Failure && error.problem.status === 401
}

const PROBLEMS: Record<string, Key> = {
  offline: 'problem.offline',
  invitation_used: 'problem.invitation_used',
  invitation_unknown: 'problem.invitation_unknown',
  token_missing: 'problem.unauthorized',
  token_invalid: 'problem.unauthorized',
  token_expired: 'problem.unauthorized',
  token_revoked: 'problem.unauthorized',
  signed_out: 'problem.unauthorized',
  sign_in_failed: 'problem.sign_in_failed',
  account_disabled: 'problem.account_disabled',
  too_many_tries: 'problem.too_many_tries',
  no_account: 'account.link_only',
  wrong_password: 'problem.wrong_password',
  weak_password: 'problem.weak_password',
  setup_unknown: 'setup.refused_text',
  last_administrator: 'problem.last_administrator',
  not_found: 'problem.not_found',
  role_forbidden: 'problem.forbidden',
  room_forbidden: 'problem.other_room',
  mediator_only: 'problem.mediator_only',
  participant_not_found: 'problem.participant_gone',
  purpose_required: 'problem.purpose_required',
  recording_not_sealed: 'problem.not_sealed',
  ticket_invalid: 'problem.ticket',
  taken: 'problem.taken',
  room_full: 'problem.room_full',
  too_many: 'problem.room_full',
  too_many_open: 'problem.too_many_open',
  too_many_requests: 'problem.busy',
  rate_limited: 'problem.busy',
  busy: 'problem.server_busy',
  internal: 'problem.server_fault',
}
