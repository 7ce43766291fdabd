//! The OpenAPI document, generated from the types. The browser's types are generated from it in turn.

use hewei_api::{http, problem, ws};
use utoipa::{
    Modify, OpenApi,
    openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};

use crate::{demo, rest};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Hewei",
        description = "Video mediation and dispatch. Errors are application/problem+json (RFC 9457). \
            WebSocket: GET /ws, JSON text frames, ClientMessage to the server and ServerMessage from it. \
            WHIP (RFC 9725): POST /whip/{room}. WHEP: POST /whep/{room}?participant=ID and POST \
            /whep/camera/{camera}?purpose=ID."
    ),
    paths(
        rest::me::me,
        rest::health::health,
        rest::join::join,
        demo::page::demo,
        rest::cases::list,
        rest::cases::create,
        rest::cases::one,
        rest::cases::create_room,
        rest::cases::invite,
        rest::invitations::list,
        rest::invitations::revoke,
        rest::setup::look,
        rest::setup::setup,
        rest::session::sign_in,
        rest::session::sign_out,
        rest::session::renew,
        rest::session::list,
        rest::session::end,
        rest::session::change_password,
        rest::accounts::list,
        rest::accounts::create,
        rest::accounts::change,
        rest::accounts::reset,
        rest::accounts::sessions,
        rest::accounts::end_sessions,
        rest::links::list,
        rest::links::end,
        rest::regions::list,
        rest::regions::create,
        rest::cameras::list,
        rest::cameras::create,
        rest::walls::list,
        rest::walls::create,
        rest::walls::one,
        rest::purposes::create,
        rest::audit::list,
        rest::recordings::list,
        rest::recordings::one,
        rest::recordings::tracks,
        rest::recordings::track,
        rest::recordings::verification,
        rest::recordings::download,
    ),
    components(schemas(
        problem::Problem,
        http::RoleName,
        http::CodecName,
        http::MediaKindName,
        ws::ClientMessage,
        ws::ServerMessage,
        ws::Open,
        ws::Page,
        ws::SlotCount,
        ws::IceServer,
        ws::Slot,
        ws::Participant,
        ws::WallTile,
        ws::EndReason,
    )),
    modifiers(&Bearer)
)]
struct Document;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        document
            .components
            .get_or_insert_with(Default::default)
            .add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

/// The document.
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// The document as text, for `hewei openapi`.
pub fn text() -> String {
    let mut text = document().to_pretty_json().expect("the document is plain values");
    text.push('\n');
    text
}
