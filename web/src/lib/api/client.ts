// Calls of `/api/v1/`. A failure is always a `Failure` with something to show to a person.

import { accept, renew } from '../renewal'
import { session } from '../session.svelte'
import { isUnknownBearer, request, type Method } from './request'
import type {
  Account,
  AccountWithLink,
  AuditRow,
  Camera,
  Case,
  ChangeAccount,
  ChangePassword,
  Credentials,
  Demo,
  Grant,
  Health,
  Invitation,
  InvitationRow,
  Link,
  LookAtSetup,
  Me,
  NewAccount,
  NewCamera,
  NewCase,
  NewInvitation,
  NewPurpose,
  NewRegion,
  NewRoom,
  NewWall,
  Purpose,
  RecordedTracks,
  Recording,
  RedeemInvitation,
  Region,
  Room,
  Setup,
  SetupInfo,
  StaffSession,
  Verification,
  Wall,
} from './types'

export { Failure, failureText, problemText } from './request'

/** As `request`. When the token of an account has run out, a fresh one is got and the call made again, once. */
async function call<T>(method: Method, path: string, body?: unknown): Promise<T> {
  try {
    return (await request<T>(method, path, body)).value
  } catch (error) {
    if (!isUnknownBearer(error) || !session.current?.account) throw error
    if (!(await renew())) {
      session.signedOut(true)
      throw error
    }
    return (await request<T>(method, path, body)).value
  }
}

const id = encodeURIComponent

export const api = {
  me: () => call<Me>('GET', 'me'),
  join: (body: RedeemInvitation) => call<Grant>('POST', 'join', body),
  signIn: async (body: Credentials) => accept(await request<Grant>('POST', 'session', body)),
  signOut: () => call<void>('DELETE', 'session'),
  sessions: () => call<StaffSession[]>('GET', 'sessions'),
  endSession: (sessionId: string) => call<void>('DELETE', `sessions/${id(sessionId)}`),
  changePassword: (body: ChangePassword) => call<void>('PUT', 'account/password', body),
  lookAtSetup: (body: LookAtSetup) => call<SetupInfo>('POST', 'setup/look', body),
  setUp: async (body: Setup) => accept(await request<Grant>('POST', 'setup', body)),
  accounts: () => call<Account[]>('GET', 'accounts'),
  addAccount: (body: NewAccount) => call<AccountWithLink>('POST', 'accounts', body),
  changeAccount: (accountId: string, body: ChangeAccount) => call<Account>('PATCH', `accounts/${id(accountId)}`, body),
  resetAccount: (accountId: string) => call<AccountWithLink>('POST', `accounts/${id(accountId)}/reset`),
  accountSessions: (accountId: string) => call<StaffSession[]>('GET', `accounts/${id(accountId)}/sessions`),
  endAccountSessions: (accountId: string) => call<void>('DELETE', `accounts/${id(accountId)}/sessions`),
  links: () => call<Link[]>('GET', 'links'),
  endLink: (linkId: string) => call<void>('DELETE', `links/${id(linkId)}`),
  demo: () => call<Demo>('GET', 'demo'),
  health: () => call<Health>('GET', 'health'),
  cases: () => call<Case[]>('GET', 'cases'),
  case: (caseId: string) => call<Case>('GET', `cases/${id(caseId)}`),
  addCase: (body: NewCase) => call<Case>('POST', 'cases', body),
  addRoom: (body: NewRoom) => call<Room>('POST', 'rooms', body),
  invite: (roomId: string, body: NewInvitation) => call<Invitation>('POST', `rooms/${id(roomId)}/invitations`, body),
  invitations: (roomId: string) => call<InvitationRow[]>('GET', `rooms/${id(roomId)}/invitations`),
  revoke: (roomId: string, invitationId: string) =>
    call<void>('DELETE', `rooms/${id(roomId)}/invitations/${id(invitationId)}`),
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
