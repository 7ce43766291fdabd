// The wire types of the server, by name.

export type RoleName = 'party' | 'mediator' | 'lawyer' | 'leader' | 'operator' | 'auditor' | 'administrator'
export type CodecName = 'h264' | 'vp8' | 'opus' | 'pcma' | 'pcmu'
export type MediaKindName = 'audio' | 'video'

export interface Problem {
  type: string
  title: string
  status: number
  detail: string
}

export interface Me {
  role: RoleName
  name: string
  room_id?: string | null
  expires_at: string
}

export interface RedeemInvitation {
  code: string
  name?: string | null
}

export interface Grant {
  token: string
  role: RoleName
  name: string
  room_id?: string | null
  room_name?: string | null
  expires_at: string
}

export interface Region {
  id: string
  parent_id?: string | null
  name: string
}

export interface NewRegion {
  parent_id?: string | null
  name: string
}

export interface Case {
  id: string
  number: string
  title: string
  region_id?: string | null
  created_at: string
  rooms: Room[]
}

export interface NewCase {
  number: string
  title: string
  region_id?: string | null
}

export interface Room {
  id: string
  case_id: string
  name: string
  people: number
  live: boolean
}

export interface NewRoom {
  case_id: string
  name: string
}

export interface NewInvitation {
  role: RoleName
  name: string
}

export interface Invitation {
  id: string
  path: string
  expires_at: string
}

export type CameraState = 'idle' | 'connecting' | 'live' | 'unreachable' | 'auth_failed' | 'no_media'

export interface CameraStatus {
  state: CameraState
  since: string
  next_try_at?: string | null
  detail?: string | null
}

export interface Camera {
  id: string
  number: number
  name: string
  region_id?: string | null
  gb28181_id?: string | null
  url?: string | null
  status: CameraStatus
}

export interface NewCamera {
  number: number
  name: string
  region_id?: string | null
  gb28181_id?: string | null
  url: string
  username?: string | null
  password?: string | null
}

export interface Wall {
  id: string
  name: string
  camera_ids: string[]
}

export interface NewWall {
  name: string
  camera_ids: string[]
}

export type PurposeKind = 'patrol' | 'incident' | 'case'

export interface NewPurpose {
  kind: PurposeKind
  reason: string
  minutes: number
}

export interface Purpose {
  id: string
  kind: PurposeKind
  reason: string
  opened_by: string
  opened_at: string
  expires_at: string
}

export type RecordingState = 'recording' | 'sealing' | 'sealed' | 'failed'

export interface Recording {
  id: string
  room_id: string
  case_id: string
  state: RecordingState
  started_at: string
  ended_at?: string | null
  head_hash?: string | null
  detail?: string | null
}

export interface RecordedTrack {
  id: string
  person: string
  role: RoleName
  kind: MediaKindName
  codec: CodecName
  content_type: string
  starts_ms: number
  duration_ms: number
  bytes: number
}

export interface RecordedTracks {
  tracks: RecordedTrack[]
  ticket: string
}

export type Verdict = 'intact' | 'altered' | 'incomplete'

export interface Finding {
  file: string
  problem: string
  at_ms?: number | null
}

export interface Verification {
  verdict: Verdict
  findings: Finding[]
  files: number
  journal_lines: number
  seals: number
  head_hash?: string | null
  signed_by?: string | null
  signed_at?: string | null
}

export interface AuditRow {
  id: number
  at: string
  actor: string
  role: RoleName
  action: string
  target: string
  purpose_id?: string | null
  detail: string
}

export interface SlotCount {
  audio: number
  video: number
}

export interface Slot {
  mid: string
  kind: MediaKindName
  participant_id?: string | null
  camera_id?: string | null
}

export interface Participant {
  id: string
  name: string
  role: RoleName
  lobby: boolean
  connected: boolean
  audio_muted: boolean
  video_muted: boolean
  record: boolean
}

export interface WallTile {
  camera_id: string
  number: number
  name: string
  status: CameraStatus
}

export type EndReason =
  | 'session_ended'
  | 'removed'
  | 'replaced'
  | 'purpose_expired'
  | 'token_expired'
  | 'server_stopping'

export type Open =
  | { kind: 'room'; room_id: string; record: boolean }
  | { kind: 'wall'; wall_id: string; purpose_id: string }

export type ClientMessage =
  | { type: 'hello'; token: string; open: Open }
  | { type: 'offer'; offer_id: number; sdp: string }
  | { type: 'set_muted'; kind: MediaKindName; muted: boolean }
  | { type: 'set_consent'; record: boolean }
  | { type: 'admit'; participant_id: string }
  | { type: 'remove'; participant_id: string }
  | { type: 'end_session' }
  | { type: 'leave' }
  | { type: 'ping' }

export type ServerMessage =
  | {
      type: 'welcome_room'
      participant_id: string
      room_name: string
      case_title: string
      case_id: string
      lobby: boolean
      slots: SlotCount
    }
  | { type: 'welcome_wall'; wall_name: string; tiles: WallTile[]; purpose_expires_at: string; slots: SlotCount }
  | { type: 'admitted' }
  | { type: 'answer'; offer_id: number; sdp: string }
  | { type: 'participants'; participants: Participant[] }
  | { type: 'slots'; slots: Slot[] }
  | { type: 'need_slots'; slots: SlotCount }
  | { type: 'recording_changed'; recording: boolean; since?: string | null; fault?: string | null }
  | { type: 'camera_changed'; camera_id: string; status: CameraStatus }
  | { type: 'ended'; reason: EndReason; recording_id?: string | null }
  | { type: 'error'; problem: Problem }
  | { type: 'pong' }
