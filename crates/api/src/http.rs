//! Bodies of `/api/v1/`.

use hewei_model::{Codec, MediaKind, Role};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

// `Role`, `Codec` and `MediaKind` are nouns of `hewei_model`, which knows no wire format; their schema is
// given here as the set of their names.

/// `GET /api/v1/me`: who the bearer of the token is.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Me {
    /// The bearer's seat and hand in the audit log; an account's is always the same.
    pub participant_id: String,
    /// The user name of the account; absent for links and invitations.
    pub username: Option<String>,
    /// Role.
    #[schema(value_type = RoleName)]
    pub role: Role,
    /// Display name.
    pub name: String,
    /// The one room the token is for; absent when it is for all.
    pub room_id: Option<String>,
    /// When the token ends.
    pub expires_at: String,
}

/// The names of the roles.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum RoleName {
    Party,
    Mediator,
    Lawyer,
    Leader,
    Operator,
    Auditor,
    Administrator,
}

/// The names of the codecs.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum CodecName {
    H264,
    Vp8,
    Opus,
    Pcma,
    Pcmu,
}

/// Sound or picture.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum MediaKindName {
    Audio,
    Video,
}

/// `POST /api/v1/join`: redeem an invitation's one-time code.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RedeemInvitation {
    /// The code from the link (`/join#CODE`).
    pub code: String,
    /// The name to show; absent: the name the invitation was made for. Only a party's is taken: others are whom they
    /// were invited as.
    pub name: Option<String>,
}

/// A token and what it opens.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Grant {
    /// Bearer token.
    pub token: String,
    /// Role.
    #[schema(value_type = RoleName)]
    pub role: Role,
    /// Display name.
    pub name: String,
    /// The room it opens, and its name; absent when it opens all.
    pub room_id: Option<String>,
    /// The room's name.
    pub room_name: Option<String>,
    /// When the token ends.
    pub expires_at: String,
}

/// A node of the region tree, of any depth.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Region {
    /// Id.
    pub id: String,
    /// The node above; absent for the root.
    pub parent_id: Option<String>,
    /// Name.
    pub name: String,
}

/// `POST /api/v1/regions`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NewRegion {
    /// The node above; absent for a root.
    pub parent_id: Option<String>,
    /// Name, 1–60 characters.
    pub name: String,
}

/// A case.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Case {
    /// Id.
    pub id: String,
    /// The number people use, unique.
    pub number: String,
    /// What the dispute is about.
    pub title: String,
    /// Region.
    pub region_id: Option<String>,
    /// When it was opened.
    pub created_at: String,
    /// Its rooms.
    pub rooms: Vec<Room>,
}

/// `POST /api/v1/cases`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NewCase {
    /// The number people use, unique, 1–64 characters.
    pub number: String,
    /// What the dispute is about, 1–200 characters.
    pub title: String,
    /// Region.
    pub region_id: Option<String>,
}

/// A mediation room.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Room {
    /// Id.
    pub id: String,
    /// The case it belongs to.
    pub case_id: String,
    /// Name.
    pub name: String,
    /// How many people are in it now, lobby included.
    pub people: u32,
    /// How many of them wait in the lobby.
    pub waiting: u32,
    /// Whether anybody was ever invited into it.
    pub invited: bool,
    /// Whether a session is running.
    pub live: bool,
}

/// `POST /api/v1/rooms`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NewRoom {
    /// The case it belongs to.
    pub case_id: String,
    /// Name, 1–100 characters.
    pub name: String,
}

/// `POST /api/v1/rooms/{room}/invitations`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NewInvitation {
    /// Role; the one who invites must be allowed to give it.
    #[schema(value_type = RoleName)]
    pub role: Role,
    /// The name of the one invited, 1–60 characters.
    pub name: String,
}

/// A one-time link. It is shown once, here.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Invitation {
    /// Id.
    pub id: String,
    /// Path and fragment to append to the server's address: `/join#CODE`.
    pub path: String,
    /// When the link ends.
    pub expires_at: String,
}

/// What a camera is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CameraState {
    /// Nobody looks, so nothing is pulled.
    Idle,
    /// On the way to a first picture.
    Connecting,
    /// Pictures arrive.
    Live,
    /// No answer at its address.
    Unreachable,
    /// It refuses the user name or password.
    AuthFailed,
    /// It answers, and sends no picture.
    NoMedia,
}

/// A camera's state, since when, and what happens next.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CameraStatus {
    /// State.
    pub state: CameraState,
    /// Since when.
    pub since: String,
    /// When the next try is; absent unless it waits for one.
    pub next_try_at: Option<String>,
    /// The technical line for operators, without credentials; absent when all is well.
    pub detail: Option<String>,
}

/// A village camera. Its address is shown without credentials.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Camera {
    /// Id.
    pub id: String,
    /// The number operators type.
    pub number: u32,
    /// Name.
    pub name: String,
    /// Region.
    pub region_id: Option<String>,
    /// 20-digit GB/T 28181 id.
    pub gb28181_id: Option<String>,
    /// RTSP address without user name and password; only administrators get it.
    pub url: Option<String>,
    /// What it is doing.
    pub status: CameraStatus,
}

/// `POST /api/v1/cameras`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NewCamera {
    /// The number operators type, unique.
    pub number: u32,
    /// Name, 1–100 characters.
    pub name: String,
    /// Region.
    pub region_id: Option<String>,
    /// 20-digit GB/T 28181 id.
    pub gb28181_id: Option<String>,
    /// `rtsp://HOST[:PORT]/PATH`, without user name and password.
    pub url: String,
    /// User name.
    pub username: Option<String>,
    /// Password. Never shown again.
    pub password: Option<String>,
}

/// A dispatch wall.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Wall {
    /// Id.
    pub id: String,
    /// Name.
    pub name: String,
    /// Its cameras, in the order of the tiles.
    pub camera_ids: Vec<String>,
}

/// `POST /api/v1/walls`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NewWall {
    /// Name, 1–100 characters.
    pub name: String,
    /// Its cameras, in the order of the tiles, at most 25.
    pub camera_ids: Vec<String>,
}

/// Why cameras are opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PurposeKind {
    /// The midnight patrol.
    Patrol,
    /// Something that is happening.
    Incident,
    /// A case.
    Case,
}

/// `POST /api/v1/purposes`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NewPurpose {
    /// Kind.
    pub kind: PurposeKind,
    /// In words, 2–200 characters.
    pub reason: String,
    /// For how long, 1–480 minutes.
    pub minutes: u32,
}

/// Who opens cameras, why, and until when.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Purpose {
    /// Id.
    pub id: String,
    /// Kind.
    pub kind: PurposeKind,
    /// In words.
    pub reason: String,
    /// Who.
    pub opened_by: String,
    /// From.
    pub opened_at: String,
    /// Until.
    pub expires_at: String,
}

/// Where a recording is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RecordingState {
    /// Being written.
    Recording,
    /// Being sealed.
    Sealing,
    /// Sealed; can be verified and downloaded.
    Sealed,
    /// Something went wrong; `detail` says what.
    Failed,
}

/// A recording of one session.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Recording {
    /// Id.
    pub id: String,
    /// Session. One that was interrupted has several recordings, each a part of it.
    pub session_id: String,
    /// Room.
    pub room_id: String,
    /// Case.
    pub case_id: String,
    /// State.
    pub state: RecordingState,
    /// Start.
    pub started_at: String,
    /// End; absent while it runs.
    pub ended_at: Option<String>,
    /// SHA-256 of the sealed head, 64 hexadecimal digits: the receipt.
    pub head_hash: Option<String>,
    /// What went wrong.
    pub detail: Option<String>,
}

/// One track of a sealed recording.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RecordedTrack {
    /// Id, unique within the recording; the last part of its address
    /// `/api/v1/recordings/{recording}/tracks/{id}`.
    pub id: String,
    /// Whose it is.
    pub person: String,
    /// Role.
    #[schema(value_type = RoleName)]
    pub role: Role,
    /// Sound or picture.
    #[schema(value_type = MediaKindName)]
    pub kind: MediaKind,
    /// Codec.
    #[schema(value_type = CodecName)]
    pub codec: Codec,
    /// `video/mp4`, `audio/mp4` or `video/webm`.
    pub content_type: String,
    /// When it begins, in milliseconds after the recording's start.
    pub starts_ms: u64,
    /// How long it lasts, in milliseconds.
    pub duration_ms: u64,
    /// Size in bytes.
    pub bytes: u64,
}

/// `GET /api/v1/recordings/{recording}/tracks`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RecordedTracks {
    /// Tracks, in the order they began.
    pub tracks: Vec<RecordedTrack>,
    /// A ticket for `?ticket=` on the track's and the package's address, which a `<video>` or a download
    /// cannot give a header for. For this recording alone, five minutes.
    pub ticket: String,
}

/// How a verification ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing has changed since it was sealed.
    Intact,
    /// Something was changed.
    Altered,
    /// Something is missing.
    Incomplete,
}

/// What the verifier found. It proves that nothing changed since sealing, not that what was said is true.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Verification {
    /// Verdict.
    pub verdict: Verdict,
    /// What is wrong, each naming its file; empty when intact.
    pub findings: Vec<Finding>,
    /// How many files were checked.
    pub files: u64,
    /// How many journal lines were checked.
    pub journal_lines: u64,
    /// How many signed heads were checked.
    pub seals: u64,
    /// SHA-256 of the last head.
    pub head_hash: Option<String>,
    /// The subject of the certificate that signed.
    pub signed_by: Option<String>,
    /// When the last head was signed.
    pub signed_at: Option<String>,
    /// Interruptions that the recording went through before it was sealed; no findings, since the package itself says
    /// what they cost.
    pub interruptions: Vec<Interruption>,
}

/// An interruption of a recording: the server stopped in the middle of it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Interruption {
    /// The last moment of which there is something, RFC 3339.
    pub interrupted_at: String,
    /// When it was found and finished, RFC 3339.
    pub recovered_at: String,
    /// What had been recorded and was on the disk no more, in bytes.
    pub lost_bytes: u64,
}

/// One thing that is wrong.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// The file, relative to the package; empty for the package as a whole.
    pub file: String,
    /// What is wrong with it.
    pub problem: String,
    /// Where it begins, in milliseconds after the recording's start, when the file is a fragment.
    pub at_ms: Option<u64>,
}

/// One row of the append-only audit log.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AuditRow {
    /// Running number.
    pub id: i64,
    /// When.
    pub at: String,
    /// Who: the token's name.
    pub actor: String,
    /// Which token, whatever name is in it; absent in rows from before this was written down.
    pub participant_id: Option<String>,
    /// The actor's role.
    #[schema(value_type = RoleName)]
    pub role: Role,
    /// What, such as `camera.open`.
    pub action: String,
    /// On what: an id or a name.
    pub target: String,
    /// Under which purpose.
    pub purpose_id: Option<String>,
    /// More, in words.
    pub detail: String,
}
