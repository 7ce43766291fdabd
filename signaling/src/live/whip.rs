//! WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep): media sessions over plain HTTP, for encoders, players and tests.
//!
//! `POST` with an SDP offer answers `201` with `Location`, `ETag` and the SDP answer; `DELETE` on the location ends it.
//! A publisher and a viewer of a room sit on its list like everybody else. There is no trickle ICE: the answer holds
//! all candidates.

use axum::{
    body::Bytes,
    extract::{DefaultBodyLimit, Path, Query, State, rejection::BytesRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use hewei_engine::SlotFill;
use hewei_model::{CameraId, ParticipantId, PeerId, Publisher, PurposeId, RoomId};
use serde::Deserialize;
use time::OffsetDateTime;

use super::{Live, problems, room, socket::SDP_BYTES_MAX, wall};
use crate::{
    auth::{Bearer, Claims},
    http::routes::Routes,
    permissions::Action,
    problem::Problem,
    state::App,
};

pub(super) fn routes() -> Routes {
    let posts = ["/whip/{room}", "/whep/{room}", "/whep/camera/{camera}"];
    let deletes = ["/whip/{room}/{session}", "/whep/{room}/{session}", "/whep/camera/{camera}/{session}"];
    let mut routes = Routes::new()
        .post(posts[0], publish)
        .post(posts[1], watch)
        .post(posts[2], watch_camera)
        .delete(deletes[0], leave_room)
        .delete(deletes[1], leave_room)
        .delete(deletes[2], leave_camera);
    for path in posts {
        routes = routes.refusing(path, async || only("POST"));
    }
    for path in deletes {
        routes = routes.refusing(path, async || only("DELETE"));
    }
    routes.layer(DefaultBodyLimit::max(SDP_BYTES_MAX))
}

/// `?record=true`: the publisher consents to being recorded. Without it nobody does.
#[derive(Debug, Deserialize)]
struct PublishQuery {
    #[serde(default)]
    record: bool,
}

/// `?participant=ID`: only this one's tracks, as they come and go.
#[derive(Debug, Deserialize)]
struct WatchQuery {
    participant: Option<String>,
}

/// `?purpose=ID`: a live purpose of one's own.
#[derive(Debug, Deserialize)]
struct WatchCameraQuery {
    purpose: Option<String>,
}

type Body = Result<Bytes, BytesRejection>;

/// `POST /whip/{room}`.
async fn publish(
    State(app): State<App>,
    Bearer(claims): Bearer,
    Path(room): Path<String>,
    query: Result<Query<PublishQuery>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let id = room_of(&claims, &room)?;
    let record = query.map_err(|_| Problem::invalid("record is true or false."))?.record;
    let sdp = offer(&headers, body)?;
    let entry = room::HttpEntry { claims, kind: room::HttpKind::Publish { record }, sdp };
    let session = app.live.enter_http(id, entry).await?;
    Ok(created(&format!("/whip/{id}"), session.peer, session.answer))
}

/// `POST /whep/{room}`.
async fn watch(
    State(app): State<App>,
    Bearer(claims): Bearer,
    Path(room): Path<String>,
    Query(query): Query<WatchQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let id = room_of(&claims, &room)?;
    let fill = match query.participant {
        Some(text) => {
            let participant: ParticipantId = text.parse().map_err(|_| problems::nobody())?;
            SlotFill::Only(Publisher::Participant(participant))
        }
        None => SlotFill::Now,
    };
    let sdp = offer(&headers, body)?;
    let entry = room::HttpEntry { claims, kind: room::HttpKind::Watch(fill), sdp };
    let session = app.live.enter_http(id, entry).await?;
    Ok(created(&format!("/whep/{id}"), session.peer, session.answer))
}

/// `DELETE /whip/{room}/{session}` and `DELETE /whep/{room}/{session}`.
async fn leave_room(
    State(app): State<App>,
    Bearer(claims): Bearer,
    Path((room, session)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let id = room_of(&claims, &room)?;
    app.live.leave_http(id, claims.participant, session_id(&session)?).await?;
    Ok(StatusCode::OK)
}

/// `POST /whep/camera/{camera}`.
async fn watch_camera(
    State(app): State<App>,
    Bearer(claims): Bearer,
    Path(camera): Path<String>,
    Query(query): Query<WatchCameraQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    claims.may_everywhere(Action::WatchCameras)?;
    let id: CameraId = camera.parse().map_err(|_| Problem::not_found("camera"))?;
    let purpose = query.purpose.ok_or_else(problems::purpose_required)?;
    let purpose = app.live.purpose(&claims, &purpose).await?;
    let sdp = offer(&headers, body)?;
    let peer = PeerId::generate();
    let answer = app.live.wall.watch(wall::Opening { claims, purpose, peer }, id, sdp).await?;
    Ok(created(&format!("/whep/camera/{id}"), peer, answer))
}

/// `DELETE /whep/camera/{camera}/{session}`.
async fn leave_camera(
    State(app): State<App>,
    Bearer(claims): Bearer,
    Path((_, session)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    claims.may_everywhere(Action::WatchCameras)?;
    app.live.wall.delete(claims.participant, session_id(&session)?).await?;
    Ok(StatusCode::OK)
}

/// All other methods. `PATCH` would be trickle ICE.
fn only(method: &'static str) -> Response {
    let mut response = problems::only(method).into_response();
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(method));
    response
}

impl Live {
    /// A purpose that `claims` may open cameras under now.
    pub(super) async fn purpose(&self, claims: &Claims, id: &str) -> Result<hewei_store::Purpose, Problem> {
        let id: PurposeId = id.parse().map_err(|_| problems::purpose_required())?;
        let purpose = self.shared.store.purpose(id).await?;
        purpose
            .filter(|purpose| purpose.is_live_for(claims.participant, OffsetDateTime::now_utc()))
            .ok_or_else(problems::purpose_required)
    }
}

fn room_of(claims: &Claims, room: &str) -> Result<RoomId, Problem> {
    claims.may(Action::EnterRoom)?;
    let id = room.parse().map_err(|_| Problem::not_found("room"))?;
    claims.may_in(Action::EnterRoom, id)?;
    Ok(id)
}

fn session_id(text: &str) -> Result<PeerId, Problem> {
    text.parse().map_err(|_| Problem::not_found("media session"))
}

/// The offer in a request's body.
fn offer(headers: &HeaderMap, body: Body) -> Result<String, Problem> {
    let content_type =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/sdp") {
        return Err(problems::sdp_expected());
    }
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => problems::too_large("offer", SDP_BYTES_MAX),
        _ => problems::malformed("The body of the request broke off."),
    })?;
    String::from_utf8(body.into()).map_err(|_| problems::malformed("SDP is UTF-8 text."))
}

fn created(path: &str, session: PeerId, answer: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/sdp".to_owned()),
        (header::LOCATION, format!("{path}/{session}")),
        (header::ETAG, format!("\"{session}\"")),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    (StatusCode::CREATED, headers, answer).into_response()
}
