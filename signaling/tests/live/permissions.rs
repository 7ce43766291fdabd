//! Who may say what over `/ws`: every message and every way to say hello, in every role.

use std::sync::Arc;

use hewei::auth::{Claims, Origin, Revocations, Tokens};
use hewei_api::ws::{ClientMessage, Open, Tile};
use hewei_model::{CameraId, LinkId, MediaKind, ParticipantId, PurposeId, Role, RoomId, WallId};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use crate::{client::Client, sdp, server::TestServer};

/// What a message that somebody may not say is answered with.
type Refusal = Option<&'static str>;

/// The message after this one, with `whom` where it is about somebody. A new message has no place here, and does not
/// compile, until it is somebody's successor and has a row in [`in_a_room`] and in [`on_a_wall`].
fn after(message: Option<&ClientMessage>, whom: &str) -> Option<ClientMessage> {
    use ClientMessage::*;
    let participant_id = whom.to_owned();
    Some(match message {
        None => Hello {
            token: "a token".into(),
            open: Open::Room { room_id: RoomId::generate().to_string(), record: false, page: None },
        },
        Some(Hello { .. }) => Offer { offer_id: 1, sdp: sdp::offer(&[("audio", "recvonly")]) },
        Some(Offer { .. }) => SetMuted { kind: MediaKind::Audio, muted: true },
        Some(SetMuted { .. }) => SetConsent { record: false },
        Some(SetConsent { .. }) => View { tiles: vec![Tile { participant_id, height: 180 }] },
        Some(View { .. }) => Admit { participant_id },
        Some(Admit { .. }) => Remove { participant_id },
        Some(Remove { .. }) => EndSession,
        Some(EndSession) => Ping,
        Some(Ping) => Leave,
        Some(Leave) => return None,
    })
}

/// How a message by somebody of this role, in the call, is refused.
fn in_a_room(message: &ClientMessage, role: Role) -> Refusal {
    let leads = role == Role::Mediator;
    match message {
        ClientMessage::Hello { .. } => Some("hello_twice"),
        ClientMessage::Admit { .. } | ClientMessage::Remove { .. } | ClientMessage::EndSession => {
            (!leads).then_some("mediator_only")
        }
        ClientMessage::Offer { .. }
        | ClientMessage::SetMuted { .. }
        | ClientMessage::SetConsent { .. }
        | ClientMessage::View { .. }
        | ClientMessage::Ping
        | ClientMessage::Leave => None,
    }
}

/// The same of somebody who waits in the lobby.
fn in_the_lobby(message: &ClientMessage) -> Refusal {
    match message {
        ClientMessage::Offer { .. } => Some("in_lobby"),
        message => in_a_room(message, Role::Party),
    }
}

/// The same in front of a wall.
fn on_a_wall(message: &ClientMessage) -> Refusal {
    match message {
        ClientMessage::Hello { .. } => Some("hello_twice"),
        ClientMessage::SetMuted { .. }
        | ClientMessage::SetConsent { .. }
        | ClientMessage::View { .. }
        | ClientMessage::Admit { .. }
        | ClientMessage::Remove { .. }
        | ClientMessage::EndSession => Some("not_on_a_wall"),
        ClientMessage::Offer { .. } | ClientMessage::Ping | ClientMessage::Leave => None,
    }
}

/// Says everything that is refused, and holds that it is. `others` hear nothing of it.
async fn says_what_is_refused(
    client: &mut Client,
    whom: &str,
    refusal: impl Fn(&ClientMessage) -> Refusal,
) -> usize {
    let mut refused = 0;
    let mut last = None;
    while let Some(message) = after(last.as_ref(), whom) {
        if let Some(problem) = refusal(&message) {
            client.say(serde_json::to_value(&message).unwrap()).await;
            assert_eq!(client.hear_problem().await, problem, "{message:?}");
            refused += 1;
        }
        last = Some(message);
    }
    refused
}

/// Nothing happened to this one: it hears its own pong, and before it at most who is there and what is recorded.
async fn is_left_alone(client: &mut Client) {
    client.say(json!({"type": "ping"})).await;
    loop {
        let message = client.next().await.expect("the connection stays");
        match message["type"].as_str() {
            Some("pong") => return,
            Some("participants" | "recording_changed") => {}
            _ => panic!("{message}"),
        }
    }
}

#[tokio::test]
async fn each_message_is_taken_from_whom_it_may_come_and_refused_to_others() {
    let server = TestServer::start().await;
    let mut mediator = server.enter(Role::Mediator).await;
    mediator.hear("welcome_room").await;
    // Somebody in the lobby, whom all of them try to let in and to send out.
    let mut waiting = server.enter(Role::Party).await;
    let whom = waiting.hear("welcome_room").await["participant_id"].as_str().unwrap().to_owned();

    assert_eq!(says_what_is_refused(&mut waiting, &whom, in_the_lobby).await, 5);
    for role in [Role::Party, Role::Lawyer, Role::Leader] {
        let mut client = server.enter(role).await;
        let welcome = client.hear("welcome_room").await;
        if welcome["lobby"] == true {
            mediator.say(json!({"type": "admit", "participant_id": welcome["participant_id"]})).await;
            client.hear("admitted").await;
        }
        assert_eq!(says_what_is_refused(&mut client, &whom, |message| in_a_room(message, role)).await, 4);
        is_left_alone(&mut waiting).await;
        client.say(json!({"type": "leave"})).await;
    }
    assert_eq!(
        says_what_is_refused(&mut mediator, &whom, |message| in_a_room(message, Role::Mediator)).await,
        1
    );
    is_left_alone(&mut waiting).await;
    assert!(server.server.app().live.is_live(server.room), "nobody ended the session");

    // What is not refused is done.
    mediator.say(json!({"type": "admit", "participant_id": whom})).await;
    waiting.hear("admitted").await;
    mediator.say(json!({"type": "remove", "participant_id": whom})).await;
    assert_eq!(waiting.hear("ended").await["reason"], "removed");
    mediator.say(json!({"type": "end_session"})).await;
    assert_eq!(mediator.hear("ended").await["reason"], "session_ended");
}

#[tokio::test]
async fn a_mediator_who_waits_in_the_lobby_leads_nothing() {
    let server = TestServer::start().await;
    let mut first = server.enter(Role::Mediator).await;
    first.hear("welcome_room").await;
    let token = server.token(Role::Mediator);
    let mut second = server.enter_with(&token).await;
    let id = second.hear("welcome_room").await["participant_id"].as_str().unwrap().to_owned();
    first.say(json!({"type": "remove", "participant_id": id})).await;
    assert_eq!(second.hear("ended").await["reason"], "removed");
    let mut second = server.enter_with(&token).await;
    assert_eq!(second.hear("welcome_room").await["lobby"], true);
    assert_eq!(says_what_is_refused(&mut second, &id, in_the_lobby).await, 5);
    is_left_alone(&mut first).await;
}

/// What saying hello comes to: the first message's type, or the problem's.
async fn hello(server: &TestServer, token: &str, open: &Value) -> String {
    let mut client = Client::connect(server.address()).await;
    client.say(json!({"type": "hello", "token": token, "open": open})).await;
    let message = client.next().await.expect("an answer");
    let answer = if message["type"] == "error" { &message["problem"]["type"] } else { &message["type"] };
    answer.as_str().unwrap().to_owned()
}

#[tokio::test]
async fn hello_opens_rooms_and_walls_to_their_roles_with_a_good_token_alone() {
    let server = TestServer::start().await;
    let app = server.server.app();
    let camera = hewei_store::Camera {
        id: CameraId::generate(),
        number: 1,
        name: "村口".into(),
        region_id: None,
        gb28181_id: None,
        url: "rtsp://127.0.0.1:9/cam".into(),
    };
    app.store.add_camera(&camera, None).await.unwrap();
    let wall =
        hewei_store::Wall { id: WallId::generate(), name: "夜查".into(), camera_ids: vec![camera.id] };
    app.store.add_wall(&wall).await.unwrap();
    let now = OffsetDateTime::now_utc();
    let strangers = Tokens::new(&[9; 32], Arc::<Revocations>::default());

    for role in Role::ALL {
        let good = Claims { room: None, ..server.claims(role, "a name") };
        let purpose = hewei_store::Purpose {
            id: PurposeId::generate(),
            kind: hewei_store::PurposeKind::Patrol,
            reason: "零点夜查".into(),
            opened_by: "a name".into(),
            participant_id: good.participant,
            opened_at: now - Duration::minutes(1),
            expires_at: now + Duration::hours(1),
        };
        app.store.add_purpose(&purpose).await.unwrap();
        let room = json!({"kind": "room", "room_id": server.room.to_string(), "record": false});
        let on_wall =
            json!({"kind": "wall", "wall_id": wall.id.to_string(), "purpose_id": purpose.id.to_string()});
        let enters = [Role::Party, Role::Mediator, Role::Lawyer, Role::Leader].contains(&role);
        let watches = [Role::Operator, Role::Leader].contains(&role);
        for (open, may, welcome) in [(&room, enters, "welcome_room"), (&on_wall, watches, "welcome_wall")] {
            let ended = Origin::Link(LinkId::generate());
            app.tokens.revocations().end([ended], now + Duration::hours(1));
            let bad = [
                (strangers.issue(&good), "token_invalid"),
                (server.issue(&Claims { expires_at: now, ..good.clone() }), "token_expired"),
                (server.issue(&Claims { origin: ended, ..good.clone() }), "token_revoked"),
            ];
            for (token, problem) in bad {
                assert_eq!(hello(&server, &token, open).await, problem, "{role} {open}");
            }
            let elsewhere = Claims { room: Some(RoomId::generate()), ..good.clone() };
            let other = hello(&server, &server.issue(&elsewhere), open).await;
            let expected = if may { "room_forbidden" } else { "role_forbidden" };
            assert_eq!(other, expected, "{role} of another room, {open}");
            let answer = hello(&server, &server.issue(&good), open).await;
            assert_eq!(answer, if may { welcome } else { "role_forbidden" }, "{role} {open}");
        }
        if watches {
            // Only under a purpose of one's own.
            let other = Claims { participant: ParticipantId::generate(), ..good.clone() };
            assert_eq!(hello(&server, &server.issue(&other), &on_wall).await, "purpose_required");
            let room_only = Claims { room: Some(server.room), ..good };
            assert_eq!(hello(&server, &server.issue(&room_only), &on_wall).await, "room_forbidden");
        }
    }
    let rows = app.store.audit_rows(None, 100).await.unwrap();
    let opened = rows.iter().filter(|row| ["room.enter", "wall.open"].contains(&row.entry.action.as_str()));
    assert_eq!(opened.count(), 6, "one for each hello that was not refused");
}

#[tokio::test]
async fn in_front_of_a_wall_nothing_is_said_to_a_room() {
    let server = TestServer::start().await;
    let app = server.server.app();
    let wall = hewei_store::Wall { id: WallId::generate(), name: "夜查".into(), camera_ids: Vec::new() };
    app.store.add_wall(&wall).await.unwrap();
    let claims = server.claims(Role::Operator, "陈值班员");
    let now = OffsetDateTime::now_utc();
    let purpose = hewei_store::Purpose {
        id: PurposeId::generate(),
        kind: hewei_store::PurposeKind::Patrol,
        reason: "零点夜查".into(),
        opened_by: claims.name.clone(),
        participant_id: claims.participant,
        opened_at: now - Duration::minutes(1),
        expires_at: now + Duration::hours(1),
    };
    app.store.add_purpose(&purpose).await.unwrap();
    let mut client = Client::connect(server.address()).await;
    client.hello_wall(&server.issue(&claims), &wall.id.to_string(), &purpose.id.to_string()).await;
    client.hear("welcome_wall").await;
    let whom = ParticipantId::generate().to_string();
    assert_eq!(says_what_is_refused(&mut client, &whom, on_a_wall).await, 7);
    is_left_alone(&mut client).await;
}
