//! WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep): media sessions over plain HTTP, for encoders, players and tests.
//!
//! `POST` with an SDP offer answers `201` with `Location`, `ETag` and the SDP answer; `PATCH` on the location restarts
//! ICE, `DELETE` ends it. A publisher and a viewer of a room sit on its list like everybody else. `docs/whip.md` goes
//! through each rule of both documents.

use axum::{
    body::Bytes,
    extract::{DefaultBodyLimit, Path, Query, State, rejection::BytesRejection},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use hewei_engine::{FRAGMENT_LEN_MAX, SlotFill};
use hewei_model::{CameraId, ParticipantId, PeerId, Publisher, PurposeId, RoomId};
use serde::Deserialize;
use time::OffsetDateTime;

use super::{
    Live,
    http_session::{self, Ask, IfMatch, Said},
    problems, room,
    socket::SDP_BYTES_MAX,
    wall,
};
use crate::{
    auth::{Bearer, Claims},
    http::routes::Routes,
    permissions::Action,
    problem::Problem,
    state::App,
    turn::{self, Reached},
};

const ENDPOINT_METHODS: &str = "GET, HEAD, OPTIONS, POST";
const SESSION_METHODS: &str = "DELETE, GET, HEAD, OPTIONS, PATCH";
const OFFER: &str = "application/sdp";
const FRAGMENT: &str = "application/trickle-ice-sdpfrag";

pub(super) fn routes() -> Routes {
    let endpoints = ["/whip/{room}", "/whep/{room}", "/whep/camera/{camera}"];
    let of_rooms = ["/whip/{room}/{session}", "/whep/{room}/{session}"];
    let of_camera = "/whep/camera/{camera}/{session}";
    let mut routes = Routes::new()
        .post(endpoints[0], publish)
        .post(endpoints[1], watch)
        .post(endpoints[2], watch_camera)
        .get(endpoints[0], look_room)
        .get(endpoints[1], look_room)
        .get(endpoints[2], look_camera)
        .get(of_camera, look_camera_session)
        .patch(of_camera, patch_camera_session)
        .delete(of_camera, leave_camera);
    for path in of_rooms {
        routes = routes.get(path, look_session).patch(path, patch_session).delete(path, leave_room);
    }
    for path in endpoints {
        routes = routes
            .on(Method::OPTIONS, path, async || options(ENDPOINT_METHODS, ("accept-post", OFFER)))
            .refusing(path, async || only(ENDPOINT_METHODS));
    }
    for path in of_rooms.into_iter().chain([of_camera]) {
        routes = routes
            .on(Method::OPTIONS, path, async || options(SESSION_METHODS, ("accept-patch", FRAGMENT)))
            .refusing(path, async || only(SESSION_METHODS));
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
    reached: Reached,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let id = room_of(&claims, &room)?;
    let links = links(&app, &reached, &claims);
    let record = query.map_err(|_| Problem::invalid("record is true or false."))?.record;
    let sdp = offer(&headers, body)?;
    let entry = room::HttpEntry { claims, kind: room::HttpKind::Publish { record }, sdp };
    let session = app.live.enter_http(id, entry).await?;
    Ok(created(&format!("/whip/{id}"), session.peer, session.answer, links))
}

/// `POST /whep/{room}`.
async fn watch(
    State(app): State<App>,
    Bearer(claims): Bearer,
    Path(room): Path<String>,
    Query(query): Query<WatchQuery>,
    reached: Reached,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let id = room_of(&claims, &room)?;
    let links = links(&app, &reached, &claims);
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
    Ok(created(&format!("/whep/{id}"), session.peer, session.answer, links))
}

/// `GET /whip/{room}` and `GET /whep/{room}`: nothing, for there is nothing to show (RFC 9725 §4.1).
async fn look_room(Bearer(claims): Bearer, Path(room): Path<String>) -> Result<StatusCode, Problem> {
    room_of(&claims, &room)?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /whip/{room}/{session}` and `GET /whep/{room}/{session}`: nothing, while it is there.
async fn look_session(
    State(app): State<App>,
    Bearer(claims): Bearer,
    Path((room, session)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let id = room_of(&claims, &room)?;
    app.live.ask_http(id, claims.participant, session_id(&session)?, Ask::Look).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `PATCH /whip/{room}/{session}` and `PATCH /whep/{room}/{session}`.
async fn patch_session(
    State(app): State<App>,
    Bearer(claims): Bearer,
    Path((room, session)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let id = room_of(&claims, &room)?;
    let session = session_id(&session)?;
    Ok(patched(app.live.ask_http(id, claims.participant, session, ice(&headers, body)?).await?))
}

/// `DELETE /whip/{room}/{session}` and `DELETE /whep/{room}/{session}`. Entity-tags do not matter to it.
async fn leave_room(
    State(app): State<App>,
    Bearer(claims): Bearer,
    Path((room, session)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let id = room_of(&claims, &room)?;
    app.live.ask_http(id, claims.participant, session_id(&session)?, Ask::End).await?;
    Ok(StatusCode::OK)
}

/// `POST /whep/camera/{camera}`.
async fn watch_camera(
    State(app): State<App>,
    Bearer(claims): Bearer,
    Path(camera): Path<String>,
    Query(query): Query<WatchCameraQuery>,
    reached: Reached,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    claims.may_everywhere(Action::WatchCameras)?;
    let id: CameraId = camera.parse().map_err(|_| Problem::not_found("camera"))?;
    let purpose = query.purpose.ok_or_else(problems::purpose_required)?;
    let purpose = app.live.purpose(&claims, &purpose).await?;
    let links = links(&app, &reached, &claims);
    let sdp = offer(&headers, body)?;
    let peer = PeerId::generate();
    let answer = app.live.wall.watch(wall::Opening { claims, purpose, peer }, id, sdp).await?;
    Ok(created(&format!("/whep/camera/{id}"), peer, answer, links))
}

/// `GET /whep/camera/{camera}`.
async fn look_camera(Bearer(claims): Bearer, Path(camera): Path<String>) -> Result<StatusCode, Problem> {
    claims.may_everywhere(Action::WatchCameras)?;
    camera.parse::<CameraId>().map_err(|_| Problem::not_found("camera"))?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /whep/camera/{camera}/{session}`.
async fn look_camera_session(
    State(app): State<App>,
    Bearer(claims): Bearer,
    Path((_, session)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    claims.may_everywhere(Action::WatchCameras)?;
    app.live.wall.ask(claims.participant, session_id(&session)?, Ask::Look).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `PATCH /whep/camera/{camera}/{session}`.
async fn patch_camera_session(
    State(app): State<App>,
    Bearer(claims): Bearer,
    Path((_, session)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    claims.may_everywhere(Action::WatchCameras)?;
    let session = session_id(&session)?;
    Ok(patched(app.live.wall.ask(claims.participant, session, ice(&headers, body)?).await?))
}

/// `DELETE /whep/camera/{camera}/{session}`.
async fn leave_camera(
    State(app): State<App>,
    Bearer(claims): Bearer,
    Path((_, session)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    claims.may_everywhere(Action::WatchCameras)?;
    app.live.wall.ask(claims.participant, session_id(&session)?, Ask::End).await?;
    Ok(StatusCode::OK)
}

/// `OPTIONS`, which asks for no token. No origin is allowed in it: pages of other sites get no further, as at `/ws`;
/// this server's own need no leave.
fn options(methods: &'static str, (accepts, media_type): (&'static str, &'static str)) -> Response {
    let headers = [(header::ALLOW, methods), (HeaderName::from_static(accepts), media_type)];
    (StatusCode::OK, headers).into_response()
}

/// All other methods.
fn only(methods: &'static str) -> Response {
    let mut response = problems::only(methods).into_response();
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(methods));
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
    if !is_of_type(headers, OFFER) {
        return Err(problems::sdp_expected());
    }
    text(body, "offer", SDP_BYTES_MAX)
}

/// What a `PATCH` asks.
fn ice(headers: &HeaderMap, body: Body) -> Result<Ask, Problem> {
    if !is_of_type(headers, FRAGMENT) {
        return Err(problems::fragment_expected());
    }
    let wanted = IfMatch::of(headers)?;
    let fragment = text(body, "fragment of SDP", FRAGMENT_LEN_MAX)?;
    Ok(Ask::Ice { wanted, fragment })
}

fn is_of_type(headers: &HeaderMap, media_type: &str) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case(media_type)
}

fn text(body: Body, what: &str, bytes_max: usize) -> Result<String, Problem> {
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => problems::too_large(what, bytes_max),
        _ => problems::malformed("The body of the request broke off."),
    })?;
    if body.len() > bytes_max {
        return Err(problems::too_large(what, bytes_max));
    }
    String::from_utf8(body.into()).map_err(|_| problems::malformed("SDP is UTF-8 text."))
}

/// Ways through a firewall, a `Link` each (RFC 9725 §4.6).
fn links(app: &App, reached: &Reached, claims: &Claims) -> Vec<HeaderValue> {
    let servers = app.turn.as_ref().map(|turn| turn.ice_servers(reached, claims, OffsetDateTime::now_utc()));
    turn::links(&servers.unwrap_or_default())
}

fn created(path: &str, session: PeerId, answer: String, links: Vec<HeaderValue>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, OFFER.to_owned()),
        (header::LOCATION, format!("{path}/{session}")),
        (header::ETAG, http_session::tag(session, 0)),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    let mut response = (StatusCode::CREATED, headers, answer).into_response();
    for link in links {
        response.headers_mut().append(header::LINK, link);
    }
    response
}

/// Candidates alone are taken without a word, and without an entity-tag (RFC 9725 §4.3.2).
fn patched(said: Said) -> Response {
    let Said::Restarted { fragment, tag } = said else { return StatusCode::NO_CONTENT.into_response() };
    let headers = [
        (header::CONTENT_TYPE, FRAGMENT.to_owned()),
        (header::ETAG, tag),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    (StatusCode::OK, headers, fragment).into_response()
}
