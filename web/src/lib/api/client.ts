// Calls of `/api/v1/`. A failure is always a `Failure` with something to show to a person.

import { t, type Key } from '../i18n/index.svelte'
import { session } from '../session.svelte'
import type {
  AuditRow,
  Camera,
  Case,
  Grant,
  Invitation,
  Me,
  NewCamera,
  NewCase,
  NewInvitation,
  NewPurpose,
  NewRegion,
  NewRoom,
  NewWall,
  Problem,
  Purpose,
  RecordedTracks,
  Recording,
  RedeemInvitation,
  Region,
  Room,
  Verification,
  Wall,
} from './types'

export class Failure extends Error {
  constructor(readonly problem: Problem) {
    super(problem.title)
  }
}

const OFFLINE: Problem = { type: 'offline', title: 'offline', status: 0, detail: '' }

/** The sentence a person reads: ours if we know the problem, else the server's own words. */
export function problemText(problem: Problem): { title: string; detail: string } {
  const known = PROBLEMS[lastWord(problem.type)]
  if (known) return { title: t(known), detail: '' }
  return { title: problem.title, detail: problem.detail }
}

/** As `problemText`, for anything that was thrown. */
export function failureText(error: unknown): { title: string; detail: string } {
  if (error instanceof Failure) return problemText(error.problem)
  return { title: t('problem.unknown'), detail: error instanceof Error ? error.message : String(error) }
}

const PROBLEMS: Record<string, Key> = {
  offline: 'problem.offline',
  invitation_used: 'problem.invitation_used',
  invitation_unknown: 'problem.invitation_unknown',
  token_missing: 'problem.unauthorized',
  token_invalid: 'problem.unauthorized',
  token_expired: 'problem.unauthorized',
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

function lastWord(type: string): string {
  return type.split(/[/#:]/).at(-1) ?? type
}

async function call<T>(method: 'GET' | 'POST', path: string, body?: unknown): Promise<T> {
  const headers = new Headers({ accept: 'application/json' })
  const token = session.token
  if (token !== null) headers.set('authorization', `Bearer ${token}`)
  const init: RequestInit = { method, headers, cache: 'no-store' }
  if (body !== undefined) {
    headers.set('content-type', 'application/json')
    init.body = JSON.stringify(body)
  }
  let response: Response
  try {
    response = await fetch(`/api/v1/${path}`, init)
  } catch {
    throw new Failure(OFFLINE)
  }
  if (!response.ok) throw new Failure(await readProblem(response))
  return (await response.json()) as T
}

async function readProblem(response: Response): Promise<Problem> {
  try {
    const body = (await response.json()) as Partial<Problem>
    if (typeof body.type === 'string' && typeof body.title === 'string') {
      return { type: body.type, title: body.title, status: response.status, detail: body.detail ?? '' }
    }
  } catch {
    // Not JSON: something between us and the server answered.
  }
  return { type: `http_${response.status}`, title: t('problem.unknown'), status: response.status, detail: `HTTP ${response.status}` }
}

const id = encodeURIComponent

export const api = {
  me: () => call<Me>('GET', 'me'),
  join: (body: RedeemInvitation) => call<Grant>('POST', 'join', body),
  cases: () => call<Case[]>('GET', 'cases'),
  case: (caseId: string) => call<Case>('GET', `cases/${id(caseId)}`),
  addCase: (body: NewCase) => call<Case>('POST', 'cases', body),
  addRoom: (body: NewRoom) => call<Room>('POST', 'rooms', body),
  invite: (roomId: string, body: NewInvitation) => call<Invitation>('POST', `rooms/${id(roomId)}/invitations`, body),
  addRegion: (body: NewRegion) => call<Region>('POST', 'regions', body),
  regions: () => call<Region[]>('GET', 'regions'),
  cameras: () => call<Camera[]>('GET', 'cameras'),
  addCamera: (body: NewCamera) => call<Camera>('POST', 'cameras', body),
  walls: () => call<Wall[]>('GET', 'walls'),
  wall: (wallId: string) => call<Wall>('GET', `walls/${id(wallId)}`),
  addWall: (body: NewWall) => call<Wall>('POST', 'walls', body),
  openPurpose: (body: NewPurpose) => call<Purpose>('POST', 'purposes', body),
  audit: () => call<AuditRow[]>('GET', 'audit'),
  recordings: (caseId?: string) =>
    call<Recording[]>('GET', caseId === undefined ? 'recordings' : `recordings?case_id=${id(caseId)}`),
  recording: (recordingId: string) => call<Recording>('GET', `recordings/${id(recordingId)}`),
  tracks: (recordingId: string) => call<RecordedTracks>('GET', `recordings/${id(recordingId)}/tracks`),
  verification: (recordingId: string) => call<Verification>('GET', `recordings/${id(recordingId)}/verification`),
}

export function trackUrl(recordingId: string, trackId: string, ticket: string): string {
  return `/api/v1/recordings/${id(recordingId)}/tracks/${id(trackId)}?ticket=${id(ticket)}`
}

export function packageUrl(recordingId: string, ticket: string): string {
  return `/api/v1/recordings/${id(recordingId)}/package?ticket=${id(ticket)}`
}
