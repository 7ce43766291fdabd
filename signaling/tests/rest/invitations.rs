//! One-time links.

use hewei_model::Role;
use hyper::StatusCode;
use serde_json::json;
use tokio::task::JoinSet;

use crate::{
    client::{get, post},
    server::TestServer,
};

async fn invite(server: &TestServer, room: impl std::fmt::Display) -> String {
    invite_as(server, room, "party").await
}

async fn invite_as(server: &TestServer, room: impl std::fmt::Display, role: &str) -> String {
    let answer = post(format!("/api/v1/rooms/{room}/invitations"), &json!({"role": role, "name": "赵大山"}))
        .token(&server.token(Role::Mediator))
        .to(server.address())
        .await;
    assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
    let path = answer.json()["path"].as_str().unwrap().to_owned();
    path.strip_prefix("/join#").unwrap().to_owned()
}

#[tokio::test]
async fn of_twenty_who_open_one_link_at_once_one_gets_in() {
    let server = TestServer::start().await;
    let (_, room) = server.case_with_room("2026-1").await;
    let code = invite(&server, room).await;
    let address = server.address();
    let mut tries = JoinSet::new();
    for _ in 0..20 {
        let body = json!({"code": code});
        tries.spawn(async move { post("/api/v1/join", &body).to(address).await });
    }
    let mut grants = Vec::new();
    while let Some(answer) = tries.join_next().await {
        let answer = answer.unwrap();
        match answer.status {
            StatusCode::OK => grants.push(answer.json()),
            StatusCode::GONE => assert_eq!(answer.problem(), "invitation_used"),
            status => panic!("{status}: {:?}", answer.body),
        }
    }
    assert_eq!(grants.len(), 1);
    let grant = &grants[0];
    assert_eq!(grant["role"], "party");
    assert_eq!(grant["name"], "赵大山");
    assert_eq!(grant["room_id"], room.to_string());
    assert_eq!(grant["room_name"], "一号");
    let me = get("/api/v1/me").token(grant["token"].as_str().unwrap()).to(address).await.json();
    assert_eq!(me["role"], "party");
    assert_eq!(me["room_id"], room.to_string());
    assert_eq!(server.audited().await, ["invitation.redeem", "invitation.create"]);
    server.server.stop().await;
}

#[tokio::test]
async fn a_room_says_whether_anybody_was_invited() {
    let server = TestServer::start().await;
    let (case, room) = server.case_with_room("2026-1").await;
    let path = format!("/api/v1/cases/{case}");
    let token = server.token(Role::Mediator);
    let asked = async || get(&path).token(&token).to(server.address()).await.json()["rooms"][0].clone();
    let before = asked().await;
    assert_eq!((&before["invited"], &before["waiting"]), (&json!(false), &json!(0)));
    invite(&server, room).await;
    assert_eq!(asked().await["invited"], true);
    server.server.stop().await;
}

#[tokio::test]
async fn a_wrong_name_does_not_use_up_the_link() {
    let server = TestServer::start().await;
    let (_, room) = server.case_with_room("2026-1").await;
    let code = invite(&server, room).await;
    for name in ["", "a\nb", &"长".repeat(61)] {
        let answer = post("/api/v1/join", &json!({"code": code, "name": name})).to(server.address()).await;
        assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::UNPROCESSABLE_ENTITY, "invalid"));
    }
    let answer = post("/api/v1/join", &json!({"code": code, "name": " 赵 "})).to(server.address()).await;
    assert_eq!(answer.json()["name"], "赵");
    server.server.stop().await;
}

#[tokio::test]
async fn only_a_party_chooses_a_name() {
    let server = TestServer::start().await;
    let (_, room) = server.case_with_room("2026-1").await;
    for (role, name) in [("party", "老赵"), ("lawyer", "赵大山"), ("leader", "赵大山")] {
        let code = invite_as(&server, room, role).await;
        let grant =
            post("/api/v1/join", &json!({"code": code, "name": "老赵"})).to(server.address()).await.json();
        assert_eq!(grant["name"], name, "{role}");
        let token = grant["token"].as_str().unwrap();
        let me = get("/api/v1/me").token(token).to(server.address()).await.json();
        assert_eq!(me["name"], name, "{role}");
        let claims = server.server.app().tokens.verify(token, time::OffsetDateTime::now_utc()).unwrap();
        let rows =
            get("/api/v1/audit?limit=1").token(&server.token(Role::Auditor)).to(server.address()).await;
        assert_eq!(rows.json()[0]["participant_id"], claims.participant.to_string());
        assert_eq!(rows.json()[0]["actor"], name);
    }
    server.server.stop().await;
}

#[tokio::test]
async fn right_codes_do_not_use_up_the_tries_of_an_office() {
    let server = TestServer::start().await;
    let (_, room) = server.case_with_room("2026-1").await;
    for _ in 0..40 {
        let code = invite(&server, room).await;
        let answer = post("/api/v1/join", &json!({"code": code})).to(server.address()).await;
        assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
    }
    server.server.stop().await;
}

#[tokio::test]
async fn unknown_codes_all_look_alike_and_cannot_be_tried_for_long() {
    let server = TestServer::start().await;
    let mut answers = Vec::new();
    for code in ["", "x", "AAAAAAAAAAAAAAAAAAAAAA", &"a".repeat(5_000)] {
        let answer = post("/api/v1/join", &json!({"code": code})).to(server.address()).await;
        assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::NOT_FOUND, "invitation_unknown"));
        answers.push(answer.body);
    }
    answers.dedup();
    assert_eq!(answers.len(), 1);
    let mut limited = None;
    for _ in 0..30 {
        let answer = post("/api/v1/join", &json!({"code": "x"})).to(server.address()).await;
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            limited = Some(answer);
            break;
        }
    }
    let limited = limited.expect("a limit");
    assert_eq!(limited.problem(), "too_many_requests");
    assert_eq!(limited.header("retry-after"), "60");
    server.server.stop().await;
}

#[tokio::test]
async fn nobody_invites_to_a_role_that_invites_or_into_no_room() {
    let server = TestServer::start().await;
    let (_, room) = server.case_with_room("2026-1").await;
    let mediator = server.token(Role::Mediator);
    for role in ["mediator", "operator", "auditor", "administrator"] {
        let body = json!({"role": role, "name": "n"});
        let answer = post(format!("/api/v1/rooms/{room}/invitations"), &body)
            .token(&mediator)
            .to(server.address())
            .await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (StatusCode::FORBIDDEN, "invitation_role"),
            "{role}"
        );
    }
    let nowhere = format!("/api/v1/rooms/{}/invitations", hewei_model::RoomId::generate());
    let answer =
        post(nowhere, &json!({"role": "party", "name": "n"})).token(&mediator).to(server.address()).await;
    assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::NOT_FOUND, "not_found"));
    server.server.stop().await;
}
