//! Recordings: which there are, playing them, having them verified, taking them along.

pub mod range;
mod stream;
mod tar;

use std::path::PathBuf;

use axum::{
    Json,
    body::Body,
    extract::{Path, Query, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use hewei_api::{
    http::{Finding, Interruption, RecordedTrack, RecordedTracks, Recording, Verdict, Verification},
    problem::Problem as ProblemBody,
};
use hewei_evidence::verify;
use hewei_model::{CaseId, RecordingId, RoomId, TrackId};
use hewei_recorder::package;
use serde::Deserialize;
use time::{Duration, OffsetDateTime};

use self::range::Range;
use super::input::{self, Limit};
use crate::{
    auth::{Bearer, Claims, Ticket},
    permissions::Action,
    problem::Problem,
    state::App,
    wire,
};

/// Or until the token ends that it was asked with.
const TICKET_LIFETIME: Duration = Duration::minutes(5);

/// Which recordings.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Which {
    /// Of this case only.
    pub case_id: Option<String>,
    /// Of this room only.
    pub room_id: Option<String>,
}

/// `?ticket=`.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct WithTicket {
    /// The ticket given with the list of tracks.
    pub ticket: Option<String>,
}

/// The newest recordings first.
#[utoipa::path(
    get,
    path = "/api/v1/recordings",
    operation_id = "recordings",
    params(Which, Limit),
    responses((status = 200, body = Vec<Recording>), (status = "4XX", body = ProblemBody)),
    security(("bearer" = []))
)]
pub async fn list(
    State(app): State<App>,
    Bearer(claims): Bearer,
    Query(which): Query<Which>,
    Query(limit): Query<Limit>,
) -> Result<Json<Vec<Recording>>, Problem> {
    claims.may(Action::ListRecordings)?;
    let case: Option<CaseId> =
        which.case_id.as_deref().map(|id| input::id_in_field(id, "case_id")).transpose()?;
    let room: Option<RoomId> =
        which.room_id.as_deref().map(|id| input::id_in_field(id, "room_id")).transpose()?;
    // A token for one room lists that room's, whatever it asks for.
    let room = match (claims.room, room) {
        (Some(only), Some(room)) if only != room => return Err(Problem::other_room()),
        (Some(only), _) => Some(only),
        (None, room) => room,
    };
    let recordings = app.store.recordings(case, room, limit.get()).await?;
    Ok(Json(recordings.into_iter().map(wire::recording).collect()))
}

/// One recording.
#[utoipa::path(
    get,
    path = "/api/v1/recordings/{recording}",
    operation_id = "recording",
    params(("recording" = String, Path)),
    responses((status = 200, body = Recording), (status = "4XX", body = ProblemBody)),
    security(("bearer" = []))
)]
pub async fn one(
    State(app): State<App>,
    Bearer(claims): Bearer,
    Path(recording): Path<String>,
) -> Result<Json<Recording>, Problem> {
    let recording = find(&app, &claims, &recording, Action::ListRecordings).await?;
    Ok(Json(wire::recording(recording)))
}

/// The tracks of a sealed recording, and a ticket to play them. Asking counts as viewing.
#[utoipa::path(
    get,
    path = "/api/v1/recordings/{recording}/tracks",
    operation_id = "recorded_tracks",
    params(("recording" = String, Path)),
    responses((status = 200, body = RecordedTracks), (status = "4XX", body = ProblemBody)),
    security(("bearer" = []))
)]
pub async fn tracks(
    State(app): State<App>,
    Bearer(claims): Bearer,
    Path(recording): Path<String>,
) -> Result<Json<RecordedTracks>, Problem> {
    let recording = find(&app, &claims, &recording, Action::PlayRecording).await?;
    let package = sealed(&app, &recording)?;
    let tracks = blocking(move || package::tracks(&package)).await?;
    app.audit(&claims, "recording.view", recording.id, None, &format!("room {}", recording.room_id)).await?;
    let ticket = app.tokens.issue_ticket(&Ticket {
        recording: recording.id,
        participant: claims.participant,
        name: claims.name,
        role: claims.role,
        origin: claims.origin,
        expires_at: (OffsetDateTime::now_utc() + TICKET_LIFETIME).min(claims.expires_at),
    });
    let tracks = tracks
        .into_iter()
        .map(|track| RecordedTrack {
            id: track.track.to_string(),
            person: track.name,
            role: track.role,
            kind: track.kind,
            codec: track.codec,
            content_type: track.content_type,
            starts_ms: track.starts_ms,
            duration_ms: track.duration_ms,
            bytes: track.bytes,
        })
        .collect();
    Ok(Json(RecordedTracks { tracks, ticket }))
}

/// The bytes of a track, whole or a range of them.
#[utoipa::path(
    get,
    path = "/api/v1/recordings/{recording}/tracks/{track}",
    operation_id = "recorded_track",
    params(("recording" = String, Path), ("track" = String, Path), WithTicket),
    responses(
        (status = 200, description = "The whole track", content_type = "video/mp4"),
        (status = 206, description = "The range asked for", content_type = "video/mp4"),
        (status = 416, description = "There is no such range", body = ProblemBody),
        (status = "4XX", body = ProblemBody)
    )
)]
pub async fn track(
    State(app): State<App>,
    Path((recording, id)): Path<(String, String)>,
    Query(ticket): Query<WithTicket>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (_, recording) = find_by_ticket(&app, &recording, ticket).await?;
    let package = sealed(&app, &recording)?;
    let wanted: TrackId = input::id_in_path(&id, "track")?;
    let found = blocking(move || {
        let tracks = package::tracks(&package)?;
        let track = tracks.iter().find(|track| track.track == wanted);
        track.map(|track| package::track_files(&package, track)).transpose()
    });
    let track = found.await?.ok_or_else(|| Problem::not_found("track"))?;
    let bytes = track.bytes();
    // A sealed track never changes.
    let etag = format!("\"{}-{id}\"", recording.head_hash.unwrap_or_default());
    let range = Range::of(&headers, bytes, &etag);

    let mut response = Response::new(Body::empty());
    let set = |response: &mut Response, name, value: String| {
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(name, value);
        }
    };
    set(&mut response, header::ACCEPT_RANGES, "bytes".into());
    set(&mut response, header::CACHE_CONTROL, "no-store".into());
    set(&mut response, header::ETAG, etag);
    let (first, length) = match range {
        Range::Whole => (0, bytes),
        Range::Part { first, last } => {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            set(&mut response, header::CONTENT_RANGE, format!("bytes {first}-{last}/{bytes}"));
            (first, last - first + 1)
        }
        Range::Unsatisfiable => {
            *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            set(&mut response, header::CONTENT_RANGE, format!("bytes */{bytes}"));
            return Ok(response);
        }
    };
    set(&mut response, header::CONTENT_TYPE, track.content_type);
    set(&mut response, header::CONTENT_LENGTH, length.to_string());
    *response.body_mut() = stream::files(track.files, first, length);
    Ok(response)
}

/// Have a sealed recording verified.
#[utoipa::path(
    get,
    path = "/api/v1/recordings/{recording}/verification",
    operation_id = "verification",
    params(("recording" = String, Path)),
    responses((status = 200, body = Verification), (status = "4XX", body = ProblemBody)),
    security(("bearer" = []))
)]
pub async fn verification(
    State(app): State<App>,
    Bearer(claims): Bearer,
    Path(recording): Path<String>,
) -> Result<Json<Verification>, Problem> {
    let recording = find(&app, &claims, &recording, Action::VerifyRecording).await?;
    let package = sealed(&app, &recording)?;
    let asked = app.verifying.ask(claims.participant).ok_or_else(|| {
        Problem::conflict(
            "verification_running",
            "You are having a recording verified already.",
            "Wait until that has ended; it goes on when its page is closed.",
        )
    })?;
    let turn = asked.turn().await;
    app.audit(&claims, "recording.verify", recording.id, None, &format!("room {}", recording.room_id))
        .await?;
    // The CA from this server's keys, not from the package; and the receipt from the database.
    let ca_pem = app.identity.ca_pem().to_owned();
    let receipt = recording.head_hash.clone();
    let result = blocking(move || {
        // Not over when the client goes away, but when all is read.
        let _turn = turn;
        let options = verify::Options { ca_pem: Some(&ca_pem), receipt: receipt.as_deref() };
        verify::verify(&package::Directory::new(package), &options)
    })
    .await?;
    let verification = to_wire(result);
    let detail =
        format!("{:?}, {} findings", verification.verdict, verification.findings.len()).to_lowercase();
    app.audit(&claims, "recording.verified", recording.id, None, &detail).await?;
    Ok(Json(verification))
}

/// The whole package of a sealed recording as a tar file.
#[utoipa::path(
    get,
    path = "/api/v1/recordings/{recording}/package",
    operation_id = "package",
    params(("recording" = String, Path), WithTicket),
    responses(
        (status = 200, description = "The package", content_type = "application/x-tar"),
        (status = "4XX", body = ProblemBody)
    )
)]
pub async fn download(
    State(app): State<App>,
    Path(recording): Path<String>,
    Query(ticket): Query<WithTicket>,
    method: axum::http::Method,
) -> Result<Response, Problem> {
    let (claims, recording) = find_by_ticket(&app, &recording, ticket).await?;
    let package = sealed(&app, &recording)?;
    let listed = blocking(move || tar::Listing::of(&package)).await?;
    let name = format!("hewei-{}.tar", recording.id);
    if method == axum::http::Method::GET {
        app.audit(&claims, "recording.export", recording.id, None, &format!("case {}", recording.case_id))
            .await?;
    }
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-tar"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(listed.total_bytes()));
    let disposition = HeaderValue::try_from(format!("attachment; filename=\"{name}\""));
    headers.insert(header::CONTENT_DISPOSITION, disposition.map_err(|error| Problem::internal(&error))?);
    *response.body_mut() = listed.into_body();
    Ok(response)
}

/// A verification in a few lines, for the command line.
pub fn verification_in_words(verification: &verify::Verification) -> String {
    let mut text = match verification.verdict {
        // Whoever forges a package forges the CA certificate in it as well.
        verify::Verdict::Intact if !verification.signer_checked => {
            "CONSISTENT; SIGNER NOT CHECKED 前后一致，但未核对签名者: give the recorder's CA with --ca FILE\n"
                .to_owned()
        }
        verify::Verdict::Intact => "intact 完好: nothing has changed since it was sealed\n".to_owned(),
        verify::Verdict::Altered => "ALTERED 被改动: something was changed since it was sealed\n".to_owned(),
        verify::Verdict::Incomplete => "INCOMPLETE 不完整: something is missing\n".to_owned(),
    };
    for finding in &verification.findings {
        let file = if finding.file.is_empty() { "package" } else { &finding.file };
        text.push_str(&format!("  {}: {}", printable(file), printable(&finding.problem)));
        if let Some(at_ms) = finding.at_ms {
            text.push_str(&format!(", from {}.{:03} s", at_ms / 1_000, at_ms % 1_000));
        }
        text.push('\n');
    }
    for interruption in &verification.interruptions {
        text.push_str(&format!(
            "interrupted 曾中断 at {}, recovered 恢复 at {}: {} bytes half written were taken away, {} were lost\n",
            printable(&interruption.interrupted_at),
            printable(&interruption.recovered_at),
            interruption.cut_bytes,
            interruption.lost_bytes
        ));
    }
    text.push_str(&format!(
        "{} files, {} journal lines, {} signed heads\n",
        verification.files, verification.journal_lines, verification.seals
    ));
    let known = |value: &Option<String>| printable(value.as_deref().unwrap_or("unknown"));
    text.push_str(&format!(
        "head {}\nsigned by {} at {}\n",
        known(&verification.head_hash),
        known(&verification.signed_by),
        known(&verification.signed_at)
    ));
    text.push_str(if verification.signer_checked {
        "This proves that nothing changed since sealing, not that what was said is true.\n"
    } else {
        "The CA certificate came from the package itself: who signed, anybody could have written there.\n"
    });
    text
}

/// Text from a package as a terminal may have it: nothing in it moves the cursor or turns the line around.
fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        let turns =
            matches!(char, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if char.is_control() || turns {
            out.extend(char.escape_unicode());
        } else {
            out.push(char);
        }
    }
    out
}

/// The recording that an address names, if the bearer may do this with it.
async fn find(
    app: &App,
    claims: &Claims,
    recording: &str,
    action: Action,
) -> Result<hewei_store::Recording, Problem> {
    claims.may(action)?;
    let id: RecordingId = input::id_in_path(recording, "recording")?;
    let recording = app.store.recording(id).await?.ok_or_else(|| Problem::not_found("recording"))?;
    claims.may_in(action, recording.room_id)?;
    Ok(recording)
}

/// The recording that an address names, if the ticket is for it; and who the ticket was given to.
async fn find_by_ticket(
    app: &App,
    recording: &str,
    WithTicket { ticket }: WithTicket,
) -> Result<(Claims, hewei_store::Recording), Problem> {
    let refused = || {
        Problem::new(
            StatusCode::UNAUTHORIZED,
            "ticket_invalid",
            "This needs a ticket for this recording.",
            "Open the recording's page again; tickets are good for five minutes.",
        )
    };
    let now = OffsetDateTime::now_utc();
    let ticket = app.tokens.verify_ticket(&ticket.unwrap_or_default(), now).map_err(|_| refused())?;
    let id: RecordingId = input::id_in_path(recording, "recording")?;
    if ticket.recording != id {
        return Err(refused());
    }
    let recording = app.store.recording(id).await?.ok_or_else(|| Problem::not_found("recording"))?;
    let claims = Claims {
        name: ticket.name,
        role: ticket.role,
        room: Some(recording.room_id),
        participant: ticket.participant,
        origin: ticket.origin,
        expires_at: ticket.expires_at,
        open_until: ticket.expires_at,
    };
    // The table may have changed since the ticket was given.
    claims.may(Action::PlayRecording)?;
    Ok((claims, recording))
}

/// The folder of a sealed package.
fn sealed(app: &App, recording: &hewei_store::Recording) -> Result<PathBuf, Problem> {
    match (recording.state, &recording.package) {
        (hewei_store::RecordingState::Sealed, Some(package)) => Ok(app.config.package(package)),
        _ => Err(Problem::conflict(
            "recording_not_sealed",
            "This recording is not sealed.",
            "While a session runs or is being sealed, wait; if the recording failed, its detail says why.",
        )),
    }
}

/// Reads files off the async threads.
async fn blocking<T, E>(read: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, Problem>
where
    T: Send + 'static,
    E: std::fmt::Display + Send + 'static,
{
    match tokio::task::spawn_blocking(read).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Problem::internal(&error)),
        Err(error) => Err(Problem::internal(&error)),
    }
}

fn to_wire(verification: verify::Verification) -> Verification {
    Verification {
        verdict: match verification.verdict {
            verify::Verdict::Intact => Verdict::Intact,
            verify::Verdict::Altered => Verdict::Altered,
            verify::Verdict::Incomplete => Verdict::Incomplete,
        },
        findings: verification
            .findings
            .into_iter()
            .map(|finding| Finding { file: finding.file, problem: finding.problem, at_ms: finding.at_ms })
            .collect(),
        files: verification.files,
        journal_lines: verification.journal_lines,
        seals: verification.seals,
        head_hash: verification.head_hash,
        signed_by: verification.signed_by,
        signed_at: verification.signed_at,
        interruptions: verification
            .interruptions
            .into_iter()
            .map(|interruption| Interruption {
                interrupted_at: interruption.interrupted_at,
                recovered_at: interruption.recovered_at,
                lost_bytes: interruption.lost_bytes,
            })
            .collect(),
    }
}
