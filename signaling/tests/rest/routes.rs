//! Who may use which route, asked of the server for every route that its router knows.
//!
//! The rows say by hand what the code says in another way; a route without a row fails, and a row without its route.

use std::{collections::BTreeSet, sync::Arc};

use hewei::{
    auth::{Claims, Origin, Revocations, Ticket, Tokens},
    http::routes::Route,
};
use hewei_model::{
    AccountId, CameraId, CaseId, InvitationId, ParticipantId, PeerId, RecordingId, Role, RoomId, SessionId,
    WallId,
};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use crate::{
    client::{Answer, Ask, ask},
    server::TestServer,
};

/// Who gets past the door. What becomes of the request then is other tests' business.
enum Who {
    /// Everybody; the answer without anything in hand.
    Public(u16),
    /// By the cookie of a sign-in.
    Cookie,
    /// Bearers of tokens, in these roles.
    Bearer(&'static [Role], Rooms),
    /// Bearers of tokens of an account, whatever the role.
    Account,
    /// By a ticket for the recording in the path.
    Ticket,
}

/// What a token for another room alone gets.
#[derive(PartialEq)]
enum Rooms {
    /// A list that has nothing of another room in it, or what is everybody's.
    Filtered,
    /// Refused, or there is no such thing.
    Refused,
}

/// What to send.
enum Sent {
    Nothing,
    Json(Value),
    Sdp,
    Fragment,
}

struct Row {
    route: Route,
    sent: Sent,
    who: Who,
}

fn rows(world: &World) -> Vec<Row> {
    use Role::*;
    use Rooms::*;
    use Sent::*;
    use Who::*;
    const EVERYBODY: &[Role] = &Role::ALL;
    const STAFF: &[Role] = &[Mediator, Lawyer, Leader, Operator, Auditor, Administrator];
    const CALL: &[Role] = &[Party, Mediator, Lawyer, Leader];
    let case = world.case.to_string();
    let account = json!({"username": "li.na", "name": "李娜", "role": "lawyer"});
    let code = json!({"code": "no such code"});
    let set_up = json!({"code": "no such code", "password": "correct horse battery"});
    let sign_in = json!({"username": "nobody", "password": "correct horse battery"});
    let camera = json!({"number": 7, "name": "n", "url": "rtsp://127.0.0.1:9/cam"});
    let wall = json!({"name": "n", "camera_ids": [CameraId::generate().to_string()]});
    let purpose = json!({"kind": "patrol", "reason": "夜查", "minutes": 5});
    let row = |method, path, sent, who| Row { route: Route { method, path }, sent, who };
    vec![
        row("GET", "{file}", Nothing, Public(200)),
        row("GET", "/livez", Nothing, Public(200)),
        row("GET", "/readyz", Nothing, Public(200)),
        row("GET", "/metrics", Nothing, Public(200)),
        row("GET", "/api/openapi.json", Nothing, Public(200)),
        // Without an upgrade. `hello` brings the token: see `tests/live/permissions.rs`.
        row("GET", "/ws", Nothing, Public(400)),
        row("POST", "/api/v1/join", Json(code.clone()), Public(404)),
        // This server is no demo; one that is gives its links to browsers on its own machine alone.
        row("GET", "/api/v1/demo", Nothing, Public(404)),
        row("POST", "/api/v1/setup/look", Json(code), Public(404)),
        row("POST", "/api/v1/setup", Json(set_up), Public(404)),
        row("POST", "/api/v1/session", Json(sign_in), Public(401)),
        row("POST", "/api/v1/session/token", Nothing, Cookie),
        row("DELETE", "/api/v1/session", Nothing, Public(204)),
        row("GET", "/api/v1/sessions", Nothing, Account),
        row("DELETE", "/api/v1/sessions/{session}", Nothing, Account),
        row("PUT", "/api/v1/account/password", Json(json!({"old": "a", "new": "b"})), Account),
        row("GET", "/api/v1/accounts", Nothing, Bearer(&[Administrator], Refused)),
        row("POST", "/api/v1/accounts", Json(account), Bearer(&[Administrator], Refused)),
        row("PATCH", "/api/v1/accounts/{account}", Json(json!({})), Bearer(&[Administrator], Refused)),
        row("POST", "/api/v1/accounts/{account}/reset", Nothing, Bearer(&[Administrator], Refused)),
        row("GET", "/api/v1/accounts/{account}/sessions", Nothing, Bearer(&[Administrator], Refused)),
        row("DELETE", "/api/v1/accounts/{account}/sessions", Nothing, Bearer(&[Administrator], Refused)),
        row("GET", "/api/v1/links", Nothing, Bearer(&[Administrator], Refused)),
        row("DELETE", "/api/v1/links/{link}", Nothing, Bearer(&[Administrator], Refused)),
        row("GET", "/api/v1/me", Nothing, Bearer(EVERYBODY, Filtered)),
        row("GET", "/api/v1/health", Nothing, Bearer(&[Mediator, Leader, Administrator], Refused)),
        row("GET", "/api/v1/cases", Nothing, Bearer(&[Mediator, Lawyer, Leader], Filtered)),
        row(
            "POST",
            "/api/v1/cases",
            Json(json!({"number": "n", "title": "t"})),
            Bearer(&[Mediator], Refused),
        ),
        row("GET", "/api/v1/cases/{case}", Nothing, Bearer(&[Mediator, Lawyer, Leader], Refused)),
        row(
            "POST",
            "/api/v1/rooms",
            Json(json!({"case_id": case, "name": "n"})),
            Bearer(&[Mediator], Refused),
        ),
        row("GET", "/api/v1/rooms/{room}/invitations", Nothing, Bearer(&[Mediator], Refused)),
        row(
            "POST",
            "/api/v1/rooms/{room}/invitations",
            Json(json!({"role": "party", "name": "n"})),
            Bearer(&[Mediator], Refused),
        ),
        row("DELETE", "/api/v1/rooms/{room}/invitations/{invitation}", Nothing, Bearer(&[Mediator], Refused)),
        row("GET", "/api/v1/regions", Nothing, Bearer(STAFF, Filtered)),
        row("POST", "/api/v1/regions", Json(json!({"name": "n"})), Bearer(&[Administrator], Refused)),
        row("GET", "/api/v1/cameras", Nothing, Bearer(&[Operator, Leader, Administrator], Refused)),
        row("POST", "/api/v1/cameras", Json(camera), Bearer(&[Administrator], Refused)),
        row("GET", "/api/v1/walls", Nothing, Bearer(&[Operator, Leader, Administrator], Refused)),
        row("GET", "/api/v1/walls/{wall}", Nothing, Bearer(&[Operator, Leader, Administrator], Refused)),
        row("POST", "/api/v1/walls", Json(wall), Bearer(&[Operator, Administrator], Refused)),
        row("POST", "/api/v1/purposes", Json(purpose), Bearer(&[Operator, Leader], Refused)),
        row("GET", "/api/v1/audit", Nothing, Bearer(&[Auditor, Administrator], Refused)),
        row("GET", "/api/v1/recordings", Nothing, Bearer(&[Mediator, Lawyer, Leader, Auditor], Filtered)),
        row(
            "GET",
            "/api/v1/recordings/{recording}",
            Nothing,
            Bearer(&[Mediator, Lawyer, Leader, Auditor], Refused),
        ),
        row(
            "GET",
            "/api/v1/recordings/{recording}/verification",
            Nothing,
            Bearer(&[Mediator, Lawyer, Leader, Auditor], Refused),
        ),
        row(
            "GET",
            "/api/v1/recordings/{recording}/tracks",
            Nothing,
            Bearer(&[Mediator, Lawyer, Leader], Refused),
        ),
        row("GET", "/api/v1/recordings/{recording}/tracks/{track}", Nothing, Ticket),
        row("GET", "/api/v1/recordings/{recording}/package", Nothing, Ticket),
        row("POST", "/whip/{room}", Sdp, Bearer(CALL, Refused)),
        row("GET", "/whip/{room}", Nothing, Bearer(CALL, Refused)),
        row("OPTIONS", "/whip/{room}", Nothing, Public(200)),
        row("GET", "/whip/{room}/{session}", Nothing, Bearer(CALL, Refused)),
        row("PATCH", "/whip/{room}/{session}", Fragment, Bearer(CALL, Refused)),
        row("DELETE", "/whip/{room}/{session}", Nothing, Bearer(CALL, Refused)),
        row("OPTIONS", "/whip/{room}/{session}", Nothing, Public(200)),
        row("POST", "/whep/{room}", Sdp, Bearer(CALL, Refused)),
        row("GET", "/whep/{room}", Nothing, Bearer(CALL, Refused)),
        row("OPTIONS", "/whep/{room}", Nothing, Public(200)),
        row("GET", "/whep/{room}/{session}", Nothing, Bearer(CALL, Refused)),
        row("PATCH", "/whep/{room}/{session}", Fragment, Bearer(CALL, Refused)),
        row("DELETE", "/whep/{room}/{session}", Nothing, Bearer(CALL, Refused)),
        row("OPTIONS", "/whep/{room}/{session}", Nothing, Public(200)),
        row("POST", "/whep/camera/{camera}", Sdp, Bearer(&[Operator, Leader], Refused)),
        row("GET", "/whep/camera/{camera}", Nothing, Bearer(&[Operator, Leader], Refused)),
        row("OPTIONS", "/whep/camera/{camera}", Nothing, Public(200)),
        row("GET", "/whep/camera/{camera}/{session}", Nothing, Bearer(&[Operator, Leader], Refused)),
        row("PATCH", "/whep/camera/{camera}/{session}", Fragment, Bearer(&[Operator, Leader], Refused)),
        row("DELETE", "/whep/camera/{camera}/{session}", Nothing, Bearer(&[Operator, Leader], Refused)),
        row("OPTIONS", "/whep/camera/{camera}/{session}", Nothing, Public(200)),
    ]
}

/// A server with something of everything in it.
struct World {
    server: TestServer,
    case: CaseId,
    room: RoomId,
    recording: RecordingId,
}

impl World {
    async fn new() -> Self {
        let server = TestServer::start().await;
        let (case, room) = server.case_with_room("2026-1").await;
        let recording = add_recording(&server, case, room).await;
        Self { server, case, room, recording }
    }

    /// Somebody of this role, as they come: parties by an invitation into the room, staff by an account.
    async fn claims(&self, role: Role) -> Claims {
        let expires_at = OffsetDateTime::now_utc() + Duration::minutes(15);
        match role {
            Role::Party => Claims {
                origin: Origin::Invitation(InvitationId::generate()),
                ..Claims::of_link("赵大山".into(), role, Some(self.room), expires_at)
            },
            role => self.sign_in(role).await.1,
        }
    }

    /// An account's cookie and claims.
    async fn sign_in(&self, role: Role) -> (String, Claims) {
        let app = self.server.server.app();
        let now = OffsetDateTime::now_utc();
        let account = hewei_store::Account {
            id: AccountId::generate(),
            username: ParticipantId::generate().to_string(),
            name: role.to_string(),
            role,
            participant_id: ParticipantId::generate(),
            ready: true,
            disabled: false,
            created_at: now,
            last_sign_in_at: None,
        };
        let code = &account.username;
        app.store.add_account(&account, code, now + Duration::hours(1)).await.unwrap();
        app.store.use_setup_code(code, &account, "a hash", now, false, now).await.unwrap().unwrap();
        let address = std::net::IpAddr::from([192, 0, 2, 1]);
        app.begin_sign_in(&account, "a hash", address, "Firefox".into()).await.unwrap()
    }

    fn issue(&self, claims: &Claims) -> String {
        self.server.server.app().tokens.issue(claims)
    }

    fn revoke(&self, origin: Origin) {
        let until = OffsetDateTime::now_utc() + Duration::hours(1);
        self.server.server.app().tokens.revocations().end([origin], until);
    }

    fn path(&self, template: &str) -> String {
        template
            .replace("{file}", "/join")
            .replace("{case}", &self.case.to_string())
            .replace("{room}", &self.room.to_string())
            .replace("{recording}", &self.recording.to_string())
            .replace("{track}", "a-track")
            .replace("{wall}", &WallId::generate().to_string())
            .replace("{camera}", &CameraId::generate().to_string())
            .replace("{account}", &AccountId::generate().to_string())
            .replace("{invitation}", &InvitationId::generate().to_string())
            .replace("{link}", &hewei_model::LinkId::generate().to_string())
            .replace("{session}", &PeerId::generate().to_string())
    }

    fn request(&self, row: &Row) -> Ask {
        let method = Method::from_bytes(row.route.method.as_bytes()).unwrap();
        let request = ask(method, self.path(row.route.path));
        match &row.sent {
            Sent::Nothing => request,
            Sent::Json(body) => request.header("content-type", "application/json").body(body.to_string()),
            Sent::Fragment => request
                .header("content-type", "application/trickle-ice-sdpfrag")
                .header("if-match", "*")
                .body("a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuv\r\n"),
            Sent::Sdp => request.header("content-type", "application/sdp").body("v=0 nonsense"),
        }
    }

    /// The answer; after a wait when the limit of requests was met, which is not what is asked here.
    async fn ask(&self, row: &Row, with: impl Fn(Ask) -> Ask) -> Answer {
        self.patiently(|| with(self.request(row))).await
    }

    async fn patiently(&self, request: impl Fn() -> Ask) -> Answer {
        loop {
            let answer = request().to(self.server.address()).await;
            if answer.status != StatusCode::TOO_MANY_REQUESTS {
                return answer;
            }
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    }

    /// Holds that this is refused for this reason.
    async fn refuses(&self, row: &Row, what: &str, problem: (u16, &str), with: impl Fn(Ask) -> Ask) {
        let answer = self.ask(row, with).await;
        let Route { method, path } = &row.route;
        assert_eq!(answer.status, problem.0, "{method} {path} {what}: {:?}", answer.body);
        assert_eq!(answer.problem(), problem.1, "{method} {path} {what}");
    }

    async fn rows_of_audit(&self) -> usize {
        self.server.audited().await.len()
    }
}

async fn add_recording(server: &TestServer, case: CaseId, room: RoomId) -> RecordingId {
    let recording = hewei_store::Recording {
        id: RecordingId::generate(),
        session_id: SessionId::generate(),
        room_id: room,
        case_id: case,
        state: hewei_store::RecordingState::Failed,
        started_at: OffsetDateTime::now_utc(),
        ended_at: None,
        package: None,
        head_hash: None,
        detail: None,
    };
    server.server.app().store.add_recording(&recording).await.unwrap();
    recording.id
}

#[tokio::test]
async fn every_route_has_a_row_and_every_row_a_route() {
    let world = World::new().await;
    let served: Vec<Route> = hewei::http::routes().list().to_vec();
    let rows: Vec<Route> = rows(&world).into_iter().map(|row| row.route).collect();
    let set = |routes: &[Route]| routes.iter().cloned().collect::<BTreeSet<_>>();
    assert_eq!(served.len(), set(&served).len(), "a route is there twice");
    assert_eq!(rows.len(), set(&rows).len(), "a row is there twice");
    let without: Vec<_> = set(&served).difference(&set(&rows)).cloned().collect();
    assert!(
        without.is_empty(),
        "routes without a row in tests/rest/routes.rs that says who may: {without:#?}"
    );
    let gone: Vec<_> = set(&rows).difference(&set(&served)).cloned().collect();
    assert!(gone.is_empty(), "rows in tests/rest/routes.rs of routes that are gone: {gone:#?}");
    world.server.server.stop().await;
}

#[tokio::test]
async fn each_route_lets_in_whom_its_row_says() {
    let world = World::new().await;
    let now = OffsetDateTime::now_utc();
    let strangers = Tokens::new(&[9; 32], Arc::<Revocations>::default());
    let mut tokens = Vec::new();
    for role in Role::ALL {
        tokens.push((role, world.claims(role).await));
    }
    for row in rows(&world) {
        let Route { method, path } = row.route.clone();
        let before = world.rows_of_audit().await;
        match &row.who {
            Who::Public(status) => {
                let answer = world.ask(&row, |ask| ask).await;
                assert_eq!(answer.status, *status, "{method} {path}: {:?}", answer.body);
                continue;
            }
            Who::Cookie => by_cookie(&world, &row).await,
            Who::Ticket => by_ticket(&world, &row).await,
            Who::Bearer(..) | Who::Account => {
                // Any role that may, so that only what is wrong is in the way.
                let (_, good) = match &row.who {
                    Who::Bearer(allowed, _) => {
                        tokens.iter().find(|(role, _)| allowed.contains(role)).unwrap()
                    }
                    _ => tokens.last().unwrap(),
                };
                world.refuses(&row, "without a token", (401, "token_missing"), |ask| ask).await;
                let bad = [
                    ("forged", strangers.issue(good), "token_invalid"),
                    ("expired", world.issue(&Claims { expires_at: now, ..good.clone() }), "token_expired"),
                    (
                        "a ticket",
                        ticket(&world, good, world.recording, now + Duration::hours(1)),
                        "token_invalid",
                    ),
                    ("revoked", revoked(&world, good), "token_revoked"),
                ];
                for (what, token, problem) in bad {
                    world.refuses(&row, what, (401, problem), |ask| ask.token(&token)).await;
                }
                if method == "GET" {
                    let head = world.patiently(|| ask(Method::HEAD, world.path(path))).await;
                    assert_eq!(head.status, StatusCode::UNAUTHORIZED, "HEAD {path}");
                }
            }
        }
        if let Who::Bearer(allowed, rooms) = &row.who {
            for (role, claims) in &tokens {
                if !allowed.contains(role) {
                    let token = world.issue(claims);
                    let what = format!("as {role}");
                    world.refuses(&row, &what, (403, "role_forbidden"), |ask| ask.token(&token)).await;
                } else if *rooms == Rooms::Refused {
                    let elsewhere = Claims { room: Some(RoomId::generate()), ..claims.clone() };
                    let token = world.issue(&elsewhere);
                    let answer = world.ask(&row, |ask| ask.token(&token)).await;
                    let refused = [StatusCode::FORBIDDEN, StatusCode::NOT_FOUND].contains(&answer.status);
                    assert!(refused, "{method} {path} as {role} of another room: {}", answer.status);
                }
            }
        }
        if matches!(row.who, Who::Bearer(..) | Who::Account) {
            assert_eq!(world.rows_of_audit().await, before, "{method} {path}: what is refused does nothing");
        }
        match &row.who {
            Who::Bearer(allowed, _) => {
                for (role, claims) in tokens.iter().filter(|(role, _)| allowed.contains(role)) {
                    let token = world.issue(claims);
                    let answer = world.ask(&row, |ask| ask.token(&token)).await;
                    let in_the_way =
                        [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::METHOD_NOT_ALLOWED];
                    let other = || answer.problem() == "purpose_required";
                    assert!(
                        !in_the_way.contains(&answer.status) || other(),
                        "{method} {path} as {role}: {} {:?}",
                        answer.status,
                        answer.body
                    );
                    assert!(!answer.status.is_server_error(), "{method} {path} as {role}: {}", answer.status);
                }
            }
            Who::Account => {
                for (role, claims) in &tokens {
                    let token = world.issue(claims);
                    let answer = world.ask(&row, |ask| ask.token(&token)).await;
                    let refused = answer.status == StatusCode::FORBIDDEN && answer.problem() == "no_account";
                    assert_eq!(refused, *role == Role::Party, "{method} {path} as {role}: {}", answer.status);
                }
            }
            _ => {}
        }
    }
    world.server.server.stop().await;
}

fn revoked(world: &World, good: &Claims) -> String {
    let ended = Claims { origin: Origin::Link(hewei_model::LinkId::generate()), ..good.clone() };
    world.revoke(ended.origin);
    world.issue(&ended)
}

fn ticket(world: &World, claims: &Claims, recording: RecordingId, expires_at: OffsetDateTime) -> String {
    world.server.server.app().tokens.issue_ticket(&Ticket {
        recording,
        participant: claims.participant,
        name: claims.name.clone(),
        role: claims.role,
        origin: claims.origin,
        expires_at,
    })
}

async fn by_cookie(world: &World, row: &Row) {
    let (secret, claims) = world.sign_in(Role::Lawyer).await;
    let with = |secret: String| move |ask: Ask| ask.header("cookie", format!("hewei_session={secret}"));
    let signed_out = (401, "signed_out");
    world.refuses(row, "without a cookie", signed_out, |ask| ask).await;
    world.refuses(row, "with a token", signed_out, |ask| ask.token(&world.issue(&claims))).await;
    world.refuses(row, "with a made-up cookie", signed_out, with("A".repeat(43))).await;
    let answer = world.ask(row, with(secret.clone())).await;
    assert_eq!(answer.status, StatusCode::OK);
    let Origin::SignIn(id) = claims.origin else { panic!("{claims:?}") };
    assert!(world.server.server.app().end_sign_in(id).await.unwrap());
    world.refuses(row, "signed out", signed_out, with(secret)).await;
}

async fn by_ticket(world: &World, row: &Row) {
    let server = &world.server;
    let later = OffsetDateTime::now_utc() + Duration::minutes(5);
    let lawyer = world.claims(Role::Lawyer).await;
    let other = add_recording(server, world.case, world.room).await;
    let asked = async |ticket: &str| {
        let path = format!("{}?ticket={ticket}", world.path(row.route.path));
        loop {
            let answer = ask(Method::GET, path.as_str()).to(server.address()).await;
            if answer.status != StatusCode::TOO_MANY_REQUESTS {
                return answer;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    let strangers = Tokens::new(&[9; 32], Arc::<Revocations>::default());
    let good = ticket(world, &lawyer, world.recording, later);
    let gone = world.claims(Role::Lawyer).await;
    let of_gone = ticket(world, &gone, world.recording, later);
    world.revoke(gone.origin);
    for (what, text) in [
        ("none", String::new()),
        (
            "forged",
            strangers.issue_ticket(&Ticket {
                recording: world.recording,
                participant: lawyer.participant,
                name: lawyer.name.clone(),
                role: lawyer.role,
                origin: lawyer.origin,
                expires_at: later,
            }),
        ),
        ("a token", world.issue(&lawyer)),
        ("expired", ticket(world, &lawyer, world.recording, OffsetDateTime::now_utc())),
        ("another recording's", ticket(world, &lawyer, other, later)),
        ("of an access that was ended", of_gone),
    ] {
        let answer = asked(&text).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{} {what}", row.route.path);
        assert_eq!(answer.problem(), "ticket_invalid", "{what}");
    }
    world.refuses(row, "with a token", (401, "ticket_invalid"), |ask| ask.token(&world.issue(&lawyer))).await;
    for role in Role::ALL {
        let claims = world.claims(role).await;
        let answer = asked(&ticket(world, &claims, world.recording, later)).await;
        let may = [Role::Mediator, Role::Lawyer, Role::Leader].contains(&role);
        assert_eq!(
            answer.status == StatusCode::FORBIDDEN,
            !may,
            "{} as {role}: {}",
            row.route.path,
            answer.status
        );
    }
    // It is not sealed: the ticket was not in the way.
    assert_eq!(asked(&good).await.status, StatusCode::CONFLICT);
}

#[test]
fn the_openapi_document_has_every_route_of_the_api() {
    let document = serde_json::to_value(hewei::openapi::document()).unwrap();
    let documented: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| {
            let methods = methods.as_object().unwrap().keys();
            methods.map(|method| (path.clone(), method.to_uppercase())).collect::<Vec<_>>()
        })
        .collect();
    let served: BTreeSet<(String, String)> = hewei::http::routes()
        .list()
        .iter()
        .filter(|route| route.path.starts_with("/api/v1/"))
        .map(|route| (route.path.to_owned(), route.method.to_owned()))
        .collect();
    assert_eq!(documented, served, "signaling/src/openapi.rs lists what signaling/src/rest.rs serves");
}
