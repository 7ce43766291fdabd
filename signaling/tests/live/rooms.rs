//! Lobby, seats and the end of a session.

use std::time::Duration;

use hewei_model::Role;
use serde_json::json;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::{
    client::Client,
    sdp,
    server::{TestServer, until},
};

#[tokio::test]
async fn a_mediator_enters_directly_and_a_party_waits() {
    let server = TestServer::start().await;
    let mut mediator = server.enter(Role::Mediator).await;
    let welcome = mediator.hear("welcome_room").await;
    assert_eq!(welcome["lobby"], false);
    assert_eq!(welcome["room_name"], "调解室");
    assert_eq!(welcome["case_title"], "2026-0001 作物赔偿");
    assert_eq!(welcome["case_id"], server.case.to_string());
    assert!(welcome["slots"]["video"].as_u64().unwrap() >= 3);
    assert_eq!(mediator.hear("recording_changed").await["recording"], true);

    let mut party = server.enter(Role::Party).await;
    let welcome = party.hear("welcome_room").await;
    assert_eq!(welcome["lobby"], true);
    let id = welcome["participant_id"].as_str().unwrap().to_owned();
    let people = party.hear_people(|_| true).await;
    assert_eq!(people.len(), 1, "who waits sees nobody else");
    assert_eq!(people[0]["id"], *id);

    let people = mediator.hear_people(|people| people.len() == 2).await;
    assert_eq!(people[1]["lobby"], true);

    // No offer in the lobby.
    party.say(json!({ "type": "offer", "offer_id": 1, "sdp": sdp::offer(&[("audio", "sendonly")]) })).await;
    assert_eq!(party.hear_problem().await, "in_lobby");

    mediator.say(json!({ "type": "admit", "participant_id": id })).await;
    party.hear("admitted").await;
    assert_eq!(party.hear("recording_changed").await["recording"], true);
    let people = party.hear_people(|people| people.len() == 2).await;
    assert!(people.iter().all(|person| person["lobby"] == false));
}

#[tokio::test]
async fn the_lobby_is_the_mediators_alone() {
    let server = TestServer::start().await;
    let mut mediator = server.enter(Role::Mediator).await;
    mediator.hear("welcome_room").await;
    let mut lawyer = server.enter(Role::Lawyer).await;
    lawyer.hear("welcome_room").await;
    lawyer.hear_people(|people| people.len() == 2).await;
    let mut party = server.enter(Role::Party).await;
    let id = party.hear("welcome_room").await["participant_id"].clone();
    mediator.hear_people(|people| people.len() == 3).await;
    assert!(lawyer.hears_nothing_of(&["participants"], Duration::from_millis(300)).await);

    for message in [
        json!({ "type": "admit", "participant_id": id }),
        json!({ "type": "remove", "participant_id": id }),
        json!({ "type": "end_session" }),
    ] {
        lawyer.say(message.clone()).await;
        assert_eq!(lawyer.hear_problem().await, "mediator_only");
        party.say(message).await;
        assert_eq!(party.hear_problem().await, "mediator_only");
    }
    mediator.say(json!({ "type": "admit", "participant_id": "not an id" })).await;
    assert_eq!(mediator.hear_problem().await, "participant_not_found");
}

#[tokio::test]
async fn roles_without_a_seat_and_tokens_of_other_rooms_are_refused() {
    let server = TestServer::start().await;
    for role in [Role::Operator, Role::Auditor, Role::Administrator] {
        let mut client = server.enter(role).await;
        assert_eq!(client.hear_problem().await, "role_forbidden", "{role}");
        client.hear_close().await;
    }
    let mut claims = server.claims(Role::Party, "甲方");
    claims.room = Some(hewei_model::RoomId::generate());
    let mut client = server.enter_with(&server.issue(&claims)).await;
    assert_eq!(client.hear_problem().await, "room_forbidden");

    let mut client = Client::connect(server.address()).await;
    client.hello_room(&server.token(Role::Mediator), &hewei_model::RoomId::generate().to_string()).await;
    assert_eq!(client.hear_problem().await, "not_found");
    let mut client = Client::connect(server.address()).await;
    client.hello_room(&server.token(Role::Mediator), "../etc").await;
    assert_eq!(client.hear_problem().await, "not_found");
}

#[tokio::test]
async fn the_same_token_takes_the_seat_over_and_stays_admitted() {
    let server = TestServer::start().await;
    let mut mediator = server.enter(Role::Mediator).await;
    mediator.hear("welcome_room").await;
    let token = server.token(Role::Party);
    let mut first = server.enter_with(&token).await;
    let id = first.hear("welcome_room").await["participant_id"].clone();
    mediator.say(json!({ "type": "admit", "participant_id": id })).await;
    first.hear("admitted").await;

    let mut second = server.enter_with(&token).await;
    let ended = first.hear("ended").await;
    assert_eq!(ended["reason"], "replaced");
    first.hear_close().await;
    let welcome = second.hear("welcome_room").await;
    assert_eq!(welcome["lobby"], false);
    assert_eq!(welcome["participant_id"], id);

    // A lost connection keeps the seat; the list shows that nobody is there.
    drop(second);
    let mut third = server.enter_with(&token).await;
    assert_eq!(third.hear("welcome_room").await["lobby"], false);

    // Leaving takes one off the list at once.
    third.say(json!({ "type": "leave" })).await;
    third.hear_close().await;
    mediator.hear_people(|people| people.len() == 1).await;
    let mut fourth = server.enter_with(&token).await;
    assert_eq!(fourth.hear("welcome_room").await["lobby"], false);
}

#[tokio::test]
async fn a_page_that_comes_back_by_itself_takes_the_seat_from_no_other() {
    let server = TestServer::start().await;
    let token = server.token(Role::Lawyer);
    let enter = async |id: &str, returns: bool| {
        let mut client = Client::connect(server.address()).await;
        let page = json!({ "id": id, "returns": returns, "keeps_media": returns });
        client.hello_room_as(&token, &server.room.to_string(), page).await;
        client
    };
    const FIRST: &str = "a page of this name";
    const OTHER: &str = "a page on a phone";
    let mut first = enter(FIRST, false).await;
    let welcome = first.hear("welcome_room").await;
    assert_eq!((&welcome["lobby"], &welcome["resumed"]), (&json!(false), &json!(false)));
    // The same page over another socket, before the server knows that the first one is dead.
    let mut second = enter(FIRST, true).await;
    assert_eq!(second.hear("welcome_room").await["participant_id"], welcome["participant_id"]);
    assert_eq!(first.hear_close().await, Some(CloseCode::Normal));

    let mut other = enter(OTHER, false).await;
    other.hear("welcome_room").await;
    assert_eq!(second.hear("ended").await["reason"], "replaced");
    let mut back = enter(FIRST, true).await;
    let told = back.next().await.unwrap();
    assert_eq!((&told["type"], &told["reason"]), (&json!("ended"), &json!("replaced")));
    assert_eq!(back.hear_close().await, Some(CloseCode::Normal));
    // The other one still has the seat, alone.
    other.say(json!({ "type": "set_muted", "kind": "audio", "muted": true })).await;
    let people = other.hear_people(|people| people[0]["audio_muted"] == true).await;
    assert_eq!(people.len(), 1);
}

#[tokio::test]
async fn the_name_of_a_page_has_its_limits() {
    let server = TestServer::start().await;
    for (id, fits) in
        [("x".repeat(15), false), ("x".repeat(16), true), ("赵".repeat(64), true), ("x".repeat(65), false)]
    {
        let mut client = Client::connect(server.address()).await;
        let page = json!({ "id": id, "returns": false, "keeps_media": true });
        client.hello_room_as(&server.token(Role::Mediator), &server.room.to_string(), page).await;
        match fits {
            true => assert_eq!(client.hear("welcome_room").await["resumed"], false),
            false => assert_eq!(client.hear_problem().await, "malformed_message"),
        }
    }
}

#[tokio::test]
async fn who_is_sent_out_waits_again() {
    let server = TestServer::start().await;
    let mut mediator = server.enter(Role::Mediator).await;
    mediator.hear("welcome_room").await;
    // A lawyer enters directly, but not after being sent out.
    let token = server.token(Role::Lawyer);
    let mut lawyer = server.enter_with(&token).await;
    let id = lawyer.hear("welcome_room").await["participant_id"].clone();
    mediator.say(json!({ "type": "remove", "participant_id": id })).await;
    assert_eq!(lawyer.hear("ended").await["reason"], "removed");
    lawyer.hear_close().await;
    mediator.hear_people(|people| people.len() == 1).await;

    let mut lawyer = server.enter_with(&token).await;
    assert_eq!(lawyer.hear("welcome_room").await["lobby"], true);
    mediator.say(json!({ "type": "admit", "participant_id": id })).await;
    lawyer.hear("admitted").await;
}

#[tokio::test]
async fn mute_and_consent_are_told_to_the_others() {
    let server = TestServer::start().await;
    let mut mediator = server.enter(Role::Mediator).await;
    mediator.hear("welcome_room").await;
    let mut leader = server.enter(Role::Leader).await;
    let id = leader.hear("welcome_room").await["participant_id"].clone();
    leader.say(json!({ "type": "set_consent", "record": false })).await;
    let of = |people: &[serde_json::Value]| people.iter().find(|person| person["id"] == id).cloned();
    mediator.hear_people(|people| of(people).is_some_and(|person| person["record"] == false)).await;
    leader.say(json!({ "type": "set_consent", "record": true })).await;
    mediator.hear_people(|people| of(people).is_some_and(|person| person["record"] == true)).await;
}

#[tokio::test]
async fn who_comes_is_let_in_sent_out_and_consents_is_written_down() {
    let server = TestServer::start().await;
    let leading = server.claims(Role::Mediator, "王调解员");
    let mut mediator = server.enter_with(&server.issue(&leading)).await;
    mediator.hear("welcome_room").await;
    let coming = server.claims(Role::Party, "甲方");
    let mut party = server.enter_with(&server.issue(&coming)).await;
    let id = party.hear("welcome_room").await["participant_id"].as_str().unwrap().to_owned();
    mediator.say(json!({ "type": "admit", "participant_id": id })).await;
    party.hear("admitted").await;
    for record in [true, false, false, true] {
        party.say(json!({ "type": "set_consent", "record": record })).await;
    }
    let rows = || async { server.server.app().store.audit_rows(None, 100).await.unwrap() };
    until("both changes are written down", || async { rows().await.len() == 5 }).await;
    mediator.say(json!({ "type": "remove", "participant_id": id })).await;
    party.hear("ended").await;

    let rows: Vec<_> = rows().await.into_iter().rev().map(|row| row.entry).collect();
    let told: Vec<_> =
        rows.iter().map(|row| (row.action.as_str(), row.participant_id, &row.target)).collect();
    let room = server.room.to_string();
    assert_eq!(
        told,
        [
            ("room.enter", Some(leading.participant), &room),
            ("room.enter", Some(coming.participant), &room),
            ("participant.admit", Some(leading.participant), &id),
            ("consent.change", Some(coming.participant), &id),
            ("consent.change", Some(coming.participant), &id),
            ("participant.remove", Some(leading.participant), &id),
        ]
    );
    assert!(rows[3].detail.ends_with("may not be recorded"), "{}", rows[3].detail);
    assert!(rows[4].detail.ends_with(": may be recorded"), "{}", rows[4].detail);
    assert!(rows[5].detail.ends_with("甲方 (party)"), "{}", rows[5].detail);
}

#[tokio::test]
async fn an_offer_is_answered_and_a_bad_one_is_not() {
    let server = TestServer::start().await;
    let mut mediator = server.enter(Role::Mediator).await;
    mediator.hear("welcome_room").await;
    let offer = sdp::offer(&[
        ("audio", "sendonly"),
        ("video", "sendonly"),
        ("audio", "recvonly"),
        ("video", "recvonly"),
    ]);
    mediator.say(json!({ "type": "offer", "offer_id": 7, "sdp": offer })).await;
    let answer = mediator.hear("answer").await;
    assert_eq!(answer["offer_id"], 7);
    let sdp = answer["sdp"].as_str().unwrap();
    assert!(sdp.contains("a=ice-lite") && sdp.contains("a=setup:passive"), "{sdp}");
    assert!(sdp.contains("a=candidate:"), "{sdp}");

    mediator.say(json!({ "type": "offer", "offer_id": 8, "sdp": "v=0 nonsense" })).await;
    assert_eq!(mediator.hear_problem().await, "invalid_offer");
    // The connection goes on.
    mediator.say(json!({ "type": "ping" })).await;
    mediator.hear("pong").await;
}

#[tokio::test]
async fn the_mediator_ends_the_session_and_the_package_is_sealed() {
    let server = TestServer::start().await;
    let live = server.server.app().live.clone();
    assert!(!live.is_live(server.room));
    let mut mediator = server.enter(Role::Mediator).await;
    mediator.hear("welcome_room").await;
    let mut party = server.enter(Role::Party).await;
    party.hear("welcome_room").await;
    assert!(live.is_live(server.room));
    assert_eq!((live.people(server.room), live.waiting(server.room)), (2, 1));

    mediator.say(json!({ "type": "end_session" })).await;
    let ended = mediator.hear("ended").await;
    assert_eq!(ended["reason"], "session_ended");
    let recording =
        ended["recording_id"].as_str().expect("the mediator may see the recording").parse().unwrap();
    let ended = party.hear("ended").await;
    assert_eq!(ended["reason"], "session_ended");
    assert!(ended["recording_id"].is_null(), "a party gets no recording: {ended}");
    party.hear_close().await;

    let store = server.server.app().store.clone();
    until("the recording is sealed", || async {
        let row = store.recording(recording).await.unwrap().unwrap();
        assert_ne!(row.state, hewei_store::RecordingState::Failed, "{:?}", row.detail);
        row.state == hewei_store::RecordingState::Sealed
    })
    .await;
    let row = store.recording(recording).await.unwrap().unwrap();
    assert_eq!(row.head_hash.as_ref().map(String::len), Some(64));
    assert!(row.ended_at.is_some() && row.room_id == server.room && row.case_id == server.case);
    let journal = std::path::Path::new(row.package.as_ref().unwrap()).join("data/journal/journal.jsonl");
    let journal = std::fs::read_to_string(journal).unwrap();
    for what in
        ["\"t\":\"open\"", "\"t\":\"join\"", "\"t\":\"consent\"", "\"t\":\"audience\"", "\"t\":\"close\""]
    {
        assert!(journal.contains(what), "{what} in {journal}");
    }
    let rows = store.audit_rows(None, 10).await.unwrap();
    let ends: Vec<_> = rows.iter().filter(|row| row.entry.action == "session.end").collect();
    assert_eq!(ends.len(), 1);
    assert_eq!((ends[0].entry.role, ends[0].entry.target.clone()), (Role::Mediator, server.room.to_string()));
    until("the room is closed", || async { !live.is_live(server.room) }).await;

    // The next session is a new one.
    let mut mediator = server.enter(Role::Mediator).await;
    mediator.hear("welcome_room").await;
    mediator.say(json!({ "type": "end_session" })).await;
    let next = mediator.hear("ended").await["recording_id"].as_str().unwrap().to_owned();
    assert_ne!(next, recording.to_string());
}

#[tokio::test]
async fn without_recording_a_session_has_none() {
    let server = TestServer::start_with(|config| config.recording.enabled = false).await;
    let mut mediator = server.enter(Role::Mediator).await;
    mediator.hear("welcome_room").await;
    assert_eq!(mediator.hear("recording_changed").await["recording"], false);
    mediator.say(json!({ "type": "end_session" })).await;
    assert!(mediator.hear("ended").await["recording_id"].is_null());
}

#[tokio::test]
async fn a_stopping_server_tells_everybody_and_seals() {
    let server = TestServer::start().await;
    let mut mediator = server.enter(Role::Mediator).await;
    mediator.hear("welcome_room").await;
    let store = server.server.app().store.clone();
    let live = server.server.app().live.clone();
    live.shutdown().await;
    let ended = mediator.hear("ended").await;
    assert_eq!(ended["reason"], "server_stopping");
    let rows = store.recordings(None, Some(server.room), 10).await.unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].state, hewei_store::RecordingState::Sealed, "{:?}", rows[0].detail);
    let mut late = server.enter(Role::Mediator).await;
    assert_eq!(late.hear_problem().await, "busy");
}
