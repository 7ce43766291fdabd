//! Whatever goes wrong, clients see one shape; and every answer carries the headers that keep browsers strict.

use hewei::auth::Claims;
use hewei_model::Role;
use hyper::{Method, StatusCode, header};
use serde_json::json;
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    client::{ask, get, post},
    server::TestServer,
};

#[tokio::test]
async fn every_error_is_a_problem() {
    let server = TestServer::start().await;
    let mediator = server.token(Role::Mediator);
    let (case, _) = server.case_with_room("2026-1").await;
    let big = json!({"number": "n", "title": "x".repeat(70_000)});
    for (request, status, kind) in [
        (get("/api/v1/nothing"), StatusCode::NOT_FOUND, "not_found"),
        (ask(Method::DELETE, "/api/v1/me"), StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
        (ask(Method::POST, "/"), StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
        (get("/api/v1/cases/not-an-id"), StatusCode::NOT_FOUND, "not_found"),
        (get("/api/v1/cases/%ff"), StatusCode::BAD_REQUEST, "invalid"),
        (get("/api/v1/cases?limit=many"), StatusCode::BAD_REQUEST, "invalid"),
        (get("/api/v1/recordings?case_id=x"), StatusCode::UNPROCESSABLE_ENTITY, "invalid"),
        (ask(Method::POST, "/api/v1/cases").body("{}"), StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_type"),
        (
            ask(Method::POST, "/api/v1/cases").header("content-type", "application/json").body("{"),
            StatusCode::BAD_REQUEST,
            "invalid",
        ),
        (post("/api/v1/cases", &json!({"number": 1})), StatusCode::UNPROCESSABLE_ENTITY, "invalid"),
        (
            post("/api/v1/cases", &json!({"number": "", "title": "t"})),
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid",
        ),
        (post("/api/v1/cases", &big), StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
        (post("/api/v1/cases", &json!({"number": "2026-1", "title": "t"})), StatusCode::CONFLICT, "taken"),
        (
            post("/api/v1/cases", &json!({"number": "2", "title": "t", "region_id": case.to_string()})),
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid",
        ),
    ] {
        let answer = request.token(&mediator).to(server.address()).await;
        assert_eq!((answer.status, answer.problem().as_str()), (status, kind), "{:?}", answer.body);
    }
    let answer = ask(Method::DELETE, "/api/v1/me").to(server.address()).await;
    assert_eq!(answer.header(header::ALLOW), "GET,HEAD");
    server.server.stop().await;
}

#[tokio::test]
async fn a_wrongly_typed_password_is_not_said_back() {
    let server = TestServer::start().await;
    let body =
        json!({"number": 1, "name": "a", "url": "rtsp://192.0.2.1/", "username": "u", "password": 31337});
    let answer =
        post("/api/v1/cameras", &body).token(&server.token(Role::Administrator)).to(server.address()).await;
    assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::UNPROCESSABLE_ENTITY, "invalid"));
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.starts_with("password does not fit") && !detail.contains("31337"), "{detail}");
    server.server.stop().await;
}

#[tokio::test]
async fn a_token_ends() {
    let server = TestServer::start().await;
    let over = OffsetDateTime::now_utc() - time::Duration::seconds(1);
    let token = server.server.app().tokens.issue(&Claims::of_link("王".into(), Role::Mediator, None, over));
    let answer = get("/api/v1/me").token(&token).to(server.address()).await;
    assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::UNAUTHORIZED, "token_expired"));
    assert_eq!(answer.header(header::WWW_AUTHENTICATE), "Bearer");
    server.server.stop().await;
}

#[tokio::test]
async fn every_answer_has_the_strict_headers() {
    let server = TestServer::start().await;
    for path in ["/", "/join", "/room/x", "/nothing", "/livez", "/api/v1/me", "/api/openapi.json"] {
        let answer = get(path).to(server.address()).await;
        let policy = answer.header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'self'; ") && policy.contains("frame-ancestors 'none'"),
            "{path}"
        );
        assert!(!policy.contains("unsafe") && !policy.contains("ws:"), "{path}");
        for directive in ["connect-src 'self';", "form-action 'self';"] {
            assert!(policy.contains(directive), "{path}: {policy}");
        }
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("referrer-policy"), "no-referrer", "{path}");
        assert!(answer.header("permissions-policy").contains("camera=(self)"), "{path}");
    }
    server.server.stop().await;
}

#[tokio::test]
async fn every_counter_that_the_limits_name_is_there() {
    let server = TestServer::start().await;
    let text = String::from_utf8(get("/metrics").to(server.address()).await.body.to_vec()).unwrap();
    let limits = include_str!("../../../docs/limits.md");
    let quoted: Vec<&str> = limits.split('`').skip(1).step_by(2).collect();
    let named: Vec<&&str> = quoted.iter().filter(|word| word.starts_with("hewei_")).collect();
    assert!(named.len() >= 30, "{named:?}");
    for name in named {
        assert!(text.contains(&format!("# TYPE {name} ")), "{name} is not in {text}");
    }
    for kind in hewei::refusals::Refusal::NAMES {
        assert!(quoted.contains(kind), "docs/limits.md does not name {kind}");
        assert!(text.contains(&format!("hewei_refused_total{{kind=\"{kind}\"}}")), "{kind}");
    }
    server.server.stop().await;
}

#[tokio::test]
async fn numbers_are_for_the_networks_of_the_settings() {
    let server = TestServer::start().await;
    let proxied = get("/metrics").header("x-forwarded-for", "203.0.113.1").to(server.address()).await;
    assert_eq!((proxied.status, proxied.problem().as_str()), (StatusCode::FORBIDDEN, "metrics_forbidden"));
    server.server.stop().await;
    let elsewhere =
        |config: &mut hewei::config::Config| config.http.metrics_from = vec!["192.0.2.0/24".parse().unwrap()];
    let server = TestServer::start_with(elsewhere).await;
    let answer = get("/metrics").to(server.address()).await;
    assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::FORBIDDEN, "metrics_forbidden"));
    server.server.stop().await;
}

#[tokio::test]
async fn health_and_numbers() {
    let server = TestServer::start().await;
    for path in ["/livez", "/readyz"] {
        assert_eq!(get(path).to(server.address()).await.status, StatusCode::OK, "{path}");
    }
    let answer = get("/metrics").to(server.address()).await;
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    assert!(text.contains("hewei_http_requests_total{status=\"2xx\"} 2\n"), "{text}");
    for name in ["hewei_rooms 0", "hewei_people 0", "hewei_recordings_recording 0"] {
        assert!(text.lines().any(|line| line == name), "{name} in {text}");
    }
    for line in text.lines().filter(|line| !line.starts_with("# TYPE ")) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(name.starts_with("hewei_") && value.parse::<u64>().is_ok(), "{line}");
    }
    // No series is given twice, or Prometheus takes none.
    let mut names: Vec<_> =
        text.lines().filter_map(|line| line.rsplit_once(' ')).map(|(name, _)| name).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "{text}");

    // A refusal told is counted by its type, and one not told by its kind.
    get("/api/v1/me").token("nonsense").to(server.address()).await;
    // What begins with neither a letter nor as media does, what begins as a frame does, and as TURN does.
    for nonsense in [
        b"\x7f\x01 nonsense, and none the less",
        b"\x00\x18 nonsense, and none the less",
        b"\x00\x01 nonsense, and none the less",
    ] {
        let mut broken = tokio::net::TcpStream::connect(server.address()).await.unwrap();
        broken.write_all(nonsense).await.unwrap();
        while broken.read(&mut [0; 1_024]).await.is_ok_and(|read| read > 0) {}
    }
    let answer = get("/metrics").to(server.address()).await;
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    for line in [
        "hewei_problems_total{type=\"token_invalid\"} 1",
        "hewei_refused_total{kind=\"http\"} 1",
        "hewei_refused_total{kind=\"media\"} 1",
        "hewei_turn_malformed_total 1",
    ] {
        assert!(text.lines().any(|told| told == line), "{line} in {text}");
    }

    server.server.app().store.close().await;
    let answer = get("/readyz").to(server.address()).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(get("/livez").to(server.address()).await.status, StatusCode::OK);
    server.server.stop().await;
}
