//! What a connection may not do.

use hewei_model::Role;
use serde_json::json;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::{
    client::{Client, request},
    server::TestServer,
};

#[tokio::test]
async fn hello_comes_first_and_in_time() {
    let server = TestServer::start().await;
    let mut client = Client::connect(server.address()).await;
    client.say(json!({ "type": "ping" })).await;
    assert_eq!(client.hear_problem().await, "hello_expected");
    client.hello_room(&server.token(Role::Mediator), &server.room.to_string()).await;
    client.hear("welcome_room").await;
    client.hello_room(&server.token(Role::Mediator), &server.room.to_string()).await;
    assert_eq!(client.hear_problem().await, "hello_twice");

    let mut silent = Client::connect(server.address()).await;
    let waited = std::time::Instant::now();
    assert_eq!(silent.hear_problem().await, "hello_expected");
    assert!(waited.elapsed().as_secs_f32() > 4.0);
    assert_eq!(silent.hear_close().await, Some(CloseCode::Policy));
}

#[tokio::test]
async fn a_token_must_be_good() {
    let server = TestServer::start().await;
    let mut client = server.enter_with("nonsense").await;
    assert_eq!(client.hear_problem().await, "token_invalid");
    assert_eq!(client.hear_close().await, Some(CloseCode::Policy));

    let mut claims = server.claims(Role::Mediator, "王");
    claims.expires_at = time::OffsetDateTime::now_utc() - time::Duration::seconds(5);
    let mut client = server.enter_with(&server.issue(&claims)).await;
    assert_eq!(client.hear_problem().await, "token_expired");
}

#[tokio::test]
async fn a_token_that_ends_closes_the_connection() {
    let server = TestServer::start().await;
    let mut claims = server.claims(Role::Mediator, "王");
    // What it came of, that is: a short token may be renewed.
    claims.open_until = time::OffsetDateTime::now_utc() + time::Duration::seconds(3);
    claims.expires_at = claims.open_until;
    let mut client = server.enter_with(&server.issue(&claims)).await;
    client.hear("welcome_room").await;
    assert_eq!(client.hear("ended").await["reason"], "token_expired");
    client.hear_close().await;
}

#[tokio::test]
async fn malformed_messages_are_answered_and_the_connection_stays() {
    let server = TestServer::start().await;
    let mut client = server.enter(Role::Mediator).await;
    client.hear("welcome_room").await;
    for text in [
        "",
        "null",
        "{",
        "[]",
        r#"{"type":"unknown"}"#,
        r#"{"type":"set_consent","record":true,"extra":1}"#,
        r#"{"type":"offer","offer_id":-1,"sdp":""}"#,
        r#"{"type":"set_muted","kind":"smell","muted":true}"#,
        "\u{0}\u{1}",
    ] {
        client.say_text(text.to_owned()).await;
        let error = client.hear("error").await;
        assert_eq!(error["problem"]["type"], "malformed_message", "{text:?}");
        assert_eq!(error["problem"]["status"], 400);
        assert!(!error["problem"]["detail"].as_str().unwrap().is_empty());
    }
    client.say_bytes(vec![0xff; 10]).await;
    assert_eq!(client.hear_problem().await, "malformed_message");
    client.say(json!({ "type": "ping" })).await;
    client.hear("pong").await;
}

#[tokio::test]
async fn an_error_repeats_nothing_of_the_message() {
    let server = TestServer::start().await;
    let mut client = Client::connect(server.address()).await;
    client.say_text(r#"{"type":"hello","token":"hewei1.geheim","opne":{}}"#.to_owned()).await;
    let error = client.hear("error").await.to_string();
    assert!(!error.contains("geheim") && !error.contains("opne"), "{error}");
}

#[tokio::test]
async fn sizes_are_limited() {
    let server = TestServer::start().await;
    let mut client = server.enter(Role::Mediator).await;
    client.hear("welcome_room").await;
    client.say(json!({ "type": "offer", "offer_id": 1, "sdp": "x".repeat(50 * 1024) })).await;
    assert_eq!(client.hear_problem().await, "too_large");
    client.say(json!({ "type": "ping" })).await;
    client.hear("pong").await;
    client.say(json!({ "type": "offer", "offer_id": 1, "sdp": "x".repeat(70 * 1024) })).await;
    assert_eq!(client.hear_problem().await, "too_large");
    assert_eq!(client.hear_close().await, Some(CloseCode::Policy));
}

#[tokio::test]
async fn too_many_messages_close_the_connection() {
    let server = TestServer::start().await;
    let mut client = server.enter(Role::Mediator).await;
    client.hear("welcome_room").await;
    for _ in 0..200 {
        client.try_say(json!({ "type": "ping" })).await;
    }
    assert_eq!(client.hear_problem().await, "rate_limited");
}

#[tokio::test]
async fn pages_of_other_sites_are_refused() {
    let server = TestServer::start().await;
    let refused = Client::connect_from(server.address(), Some("https://evil.example")).await;
    assert_eq!(refused.err(), Some(403));
    let own = format!("http://{}", server.address());
    assert!(Client::connect_from(server.address(), Some(&own)).await.is_ok());
    let plain = request(server.address(), "GET", "/ws", None, None, String::new()).await;
    assert!((400..500).contains(&plain.status), "{}", plain.status);
    plain.problem();
}

#[tokio::test]
async fn a_room_holds_sixty_four() {
    let server = TestServer::start().await;
    let mut people = Vec::new();
    for _ in 0..64 {
        let mut client = server.enter(Role::Party).await;
        client.hear("welcome_room").await;
        people.push(client);
    }
    let mut one_more = server.enter(Role::Mediator).await;
    assert_eq!(one_more.hear_problem().await, "room_full");
    people.pop().unwrap().say(json!({ "type": "leave" })).await;
    crate::server::until("a place is free", || async { server.server.app().live.people(server.room) == 63 })
        .await;
    let mut mediator = server.enter(Role::Mediator).await;
    assert_eq!(mediator.hear("welcome_room").await["lobby"], false);
}
