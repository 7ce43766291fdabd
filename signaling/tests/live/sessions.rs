//! WHIP and WHEP in a room.

use hewei_model::Role;
use serde_json::json;

use crate::{
    client::{Answer, request},
    sdp,
    server::{TestServer, until},
};

async fn post(server: &TestServer, path: &str, token: &str, offer: String) -> Answer {
    request(server.address(), "POST", path, Some(token), Some("application/sdp"), offer).await
}

fn publishing() -> String {
    sdp::offer(&[("audio", "sendonly"), ("video", "sendonly")])
}

fn watching() -> String {
    sdp::offer(&[("audio", "recvonly"), ("video", "recvonly")])
}

#[tokio::test]
async fn a_publisher_sits_on_the_list_until_it_is_deleted() {
    let server = TestServer::start().await;
    let mut mediator = server.enter(Role::Mediator).await;
    mediator.hear("welcome_room").await;
    let token = server.issue(&server.claims(Role::Lawyer, "李律师"));
    let path = format!("/whip/{}", server.room);
    let answer = post(&server, &path, &token, publishing()).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    assert_eq!(answer.header("content-type"), "application/sdp");
    assert!(!answer.header("etag").is_empty());
    assert!(answer.body.contains("a=recvonly"), "{}", answer.body);
    let location = answer.header("location").to_owned();
    assert!(location.starts_with(&format!("{path}/")), "{location}");
    let people = mediator.hear_people(|people| people.len() == 2).await;
    assert_eq!(people[1]["name"], "李律师");
    assert_eq!((&people[1]["lobby"], &people[1]["record"]), (&json!(false), &json!(false)));

    // The same token again takes the place over.
    let answer = post(&server, &format!("{path}?record=true"), &token, publishing()).await;
    assert_eq!(answer.status, 201);
    let people = mediator.hear_people(|people| people.len() == 2 && people[1]["record"] == true).await;
    assert_eq!(people[1]["name"], "李律师");
    let gone = request(server.address(), "DELETE", &location, Some(&token), None, String::new()).await;
    assert_eq!(gone.status, 404, "the first one was replaced");

    let location = answer.header("location").to_owned();
    let other = server.token(Role::Mediator);
    let foreign = request(server.address(), "DELETE", &location, Some(&other), None, String::new()).await;
    assert_eq!((foreign.status, foreign.problem().as_str()), (403, "session_forbidden"));
    let gone = request(server.address(), "DELETE", &location, Some(&token), None, String::new()).await;
    assert_eq!(gone.status, 200);
    mediator.hear_people(|people| people.len() == 1).await;
}

#[tokio::test]
async fn a_party_that_publishes_waits_in_the_lobby() {
    let server = TestServer::start().await;
    let mut mediator = server.enter(Role::Mediator).await;
    mediator.hear("welcome_room").await;
    let token = server.token(Role::Party);
    let answer = post(&server, &format!("/whip/{}", server.room), &token, publishing()).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    let people = mediator.hear_people(|people| people.len() == 2).await;
    assert_eq!(people[1]["lobby"], true);
    let refused = post(&server, &format!("/whep/{}", server.room), &token, watching()).await;
    assert_eq!((refused.status, refused.problem().as_str()), (409, "in_lobby"));
    mediator.say(json!({ "type": "admit", "participant_id": people[1]["id"] })).await;
    mediator.hear_people(|people| people.len() == 2 && people[1]["lobby"] == false).await;
}

#[tokio::test]
async fn a_viewer_is_seen_by_the_others() {
    let server = TestServer::start().await;
    let mut mediator = server.enter(Role::Mediator).await;
    let id = mediator.hear("welcome_room").await["participant_id"].as_str().unwrap().to_owned();
    let token = server.token(Role::Leader);
    let path = format!("/whep/{}?participant={id}", server.room);
    let answer = post(&server, &path, &token, watching()).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    let people = mediator.hear_people(|people| people.len() == 2).await;
    assert_eq!(people[1]["role"], "leader");
    let location = answer.header("location").to_owned();
    assert!(location.starts_with(&format!("/whep/{}/", server.room)));
    let gone = request(server.address(), "DELETE", &location, Some(&token), None, String::new()).await;
    assert_eq!(gone.status, 200);
    mediator.hear_people(|people| people.len() == 1).await;

    // Without a participant: what there is now. Nobody publishes, so the m-lines are inactive.
    let answer = post(&server, &format!("/whep/{}", server.room), &token, watching()).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    assert_eq!(answer.body.matches("a=inactive").count(), 2, "{}", answer.body);
    let nobody = format!("/whep/{}?participant={}", server.room, hewei_model::ParticipantId::generate());
    let answer = post(&server, &nobody, &token, watching()).await;
    assert_eq!((answer.status, answer.problem().as_str()), (404, "participant_not_found"));
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_said() {
    let server = TestServer::start().await;
    let token = server.token(Role::Mediator);
    let path = format!("/whip/{}", server.room);
    let address = server.address();

    let answer = request(address, "POST", &path, None, Some("application/sdp"), publishing()).await;
    assert_eq!((answer.status, answer.header("www-authenticate")), (401, "Bearer"));
    answer.problem();
    let answer = request(address, "POST", &path, Some(&token), Some("text/plain"), publishing()).await;
    assert_eq!((answer.status, answer.problem().as_str()), (415, "content_type"));
    let answer = request(address, "POST", &path, Some(&token), None, publishing()).await;
    assert_eq!(answer.status, 415);
    let answer = post(&server, &path, &token, "v=0 nonsense".into()).await;
    assert_eq!((answer.status, answer.problem().as_str()), (400, "invalid_offer"));
    let answer = post(&server, &path, &token, "x".repeat(60_000)).await;
    assert_eq!((answer.status, answer.problem().as_str()), (413, "too_large"));
    let answer = post(&server, &path, &server.token(Role::Operator), publishing()).await;
    assert_eq!((answer.status, answer.problem().as_str()), (403, "role_forbidden"));
    let answer = post(&server, "/whip/nowhere", &token, publishing()).await;
    assert_eq!(answer.status, 404);
    let answer =
        post(&server, &format!("/whip/{}", hewei_model::RoomId::generate()), &token, publishing()).await;
    assert_eq!(answer.status, 404);

    let mut claims = server.claims(Role::Party, "甲方");
    claims.room = Some(hewei_model::RoomId::generate());
    let answer = post(&server, &path, &server.issue(&claims), publishing()).await;
    assert_eq!((answer.status, answer.problem().as_str()), (403, "room_forbidden"));
    // None of these left anybody in the room.
    assert_eq!(server.server.app().live.people(server.room), 0);
}

#[tokio::test]
async fn a_viewer_that_was_removed_comes_back_by_no_way() {
    let server = TestServer::start().await;
    let mut mediator = server.enter(Role::Mediator).await;
    let leading = mediator.hear("welcome_room").await["participant_id"].as_str().unwrap().to_owned();
    let token = server.token(Role::Lawyer);
    let watch = format!("/whep/{}", server.room);
    assert_eq!(post(&server, &watch, &token, watching()).await.status, 201);
    let people = mediator.hear_people(|people| people.len() == 2).await;
    mediator.say(json!({ "type": "remove", "participant_id": people[1]["id"] })).await;
    mediator.hear_people(|people| people.len() == 1).await;

    let refused = post(&server, &watch, &token, watching()).await;
    assert_eq!((refused.status, refused.problem().as_str()), (409, "in_lobby"));
    let waits = post(&server, &format!("{watch}?participant={leading}"), &token, watching()).await;
    assert_eq!(waits.status, 201, "{}", waits.body);
    let people = mediator.hear_people(|people| people.len() == 2).await;
    assert_eq!(people[1]["lobby"], true);
    let mut browser = server.enter_with(&token).await;
    assert_eq!(browser.hear("welcome_room").await["lobby"], true);
    assert_eq!(post(&server, &format!("/whip/{}", server.room), &token, publishing()).await.status, 201);
    let people = mediator.hear_people(|people| people.len() == 4).await;
    assert!(people[1..].iter().all(|person| person["lobby"] == true));

    // Let in again, all of it is.
    mediator.say(json!({ "type": "admit", "participant_id": people[1]["id"] })).await;
    browser.hear("admitted").await;
    let people = mediator.hear_people(|people| people[1]["lobby"] == false).await;
    assert!(people.iter().all(|person| person["lobby"] == false));
    assert_eq!(post(&server, &watch, &token, watching()).await.status, 201);
}

#[tokio::test]
async fn a_publisher_that_was_removed_waits_at_the_browser_too() {
    let server = TestServer::start().await;
    let mut mediator = server.enter(Role::Mediator).await;
    mediator.hear("welcome_room").await;
    let token = server.token(Role::Lawyer);
    let mut browser = server.enter_with(&token).await;
    browser.hear("welcome_room").await;
    let publish = format!("/whip/{}", server.room);
    assert_eq!(post(&server, &publish, &token, publishing()).await.status, 201);
    let people = mediator.hear_people(|people| people.len() == 3).await;
    mediator.say(json!({ "type": "remove", "participant_id": people[2]["id"] })).await;
    assert_eq!(browser.hear("ended").await["reason"], "removed");
    mediator.hear_people(|people| people.len() == 1).await;

    let mut browser = server.enter_with(&token).await;
    assert_eq!(browser.hear("welcome_room").await["lobby"], true);
    assert_eq!(post(&server, &publish, &token, publishing()).await.status, 201);
    let people = mediator.hear_people(|people| people.len() == 3).await;
    assert!(people[1..].iter().all(|person| person["lobby"] == true));
}

#[tokio::test]
async fn who_watched_before_the_session_is_in_its_journal() {
    let server = TestServer::start().await;
    let watch = format!("/whep/{}", server.room);
    let answer =
        post(&server, &watch, &server.issue(&server.claims(Role::Leader, "张主任")), watching()).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    assert!(!server.server.app().live.is_live(server.room), "who only watches begins no session");
    let mut mediator = server.enter(Role::Mediator).await;
    let people = mediator.hear_people(|people| people.len() == 2).await;
    mediator.say(json!({ "type": "end_session" })).await;
    let recording =
        mediator.hear("ended").await["recording_id"].as_str().expect("it was recorded").parse().unwrap();
    let store = server.server.app().store.clone();
    until("the recording is sealed", || async {
        store.recording(recording).await.unwrap().unwrap().package.is_some()
    })
    .await;
    let package = store.recording(recording).await.unwrap().unwrap().package.unwrap();
    let journal =
        std::fs::read_to_string(std::path::Path::new(&package).join("data/journal/journal.jsonl")).unwrap();
    for person in people {
        let joins = journal
            .lines()
            .filter(|line| line.contains("\"t\":\"join\"") && line.contains(person["id"].as_str().unwrap()));
        assert_eq!(joins.count(), 1, "{person} in {journal}");
    }
}

#[tokio::test]
async fn one_token_does_not_take_all_places() {
    let server = TestServer::start().await;
    let watch = format!("/whep/{}", server.room);
    let token = server.token(Role::Leader);
    for _ in 0..8 {
        assert_eq!(post(&server, &watch, &token, watching()).await.status, 201);
    }
    let refused = post(&server, &watch, &token, watching()).await;
    assert_eq!((refused.status, refused.problem().as_str()), (409, "room_full"));
    assert_eq!(post(&server, &watch, &server.token(Role::Leader), watching()).await.status, 201);
}

#[tokio::test]
async fn publishing_and_watching_are_written_down() {
    let server = TestServer::start().await;
    let claims = server.claims(Role::Lawyer, "李律师");
    let token = server.issue(&claims);
    let publish = format!("/whip/{}?record=true", server.room);
    assert_eq!(post(&server, &publish, &token, publishing()).await.status, 201);
    assert_eq!(post(&server, &format!("/whep/{}", server.room), &token, watching()).await.status, 201);
    let rows = server.server.app().store.audit_rows(None, 10).await.unwrap();
    let actions: Vec<&str> = rows.iter().map(|row| row.entry.action.as_str()).collect();
    assert_eq!(actions, ["room.watch", "room.publish"]);
    for row in &rows {
        assert_eq!(row.entry.participant_id, Some(claims.participant));
        assert_eq!(row.entry.target, server.room.to_string());
    }
    assert!(rows[1].entry.detail.ends_with("may be recorded"), "{}", rows[1].entry.detail);
}
