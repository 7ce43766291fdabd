//! Walls open under a purpose, and end with it.

use hewei_model::{CameraId, ParticipantId, PurposeId, Role, WallId};
use serde_json::json;
use time::OffsetDateTime;

use crate::{
    client::{Client, request, request_with},
    sdp,
    server::{TestServer, until},
};

struct Wall {
    id: WallId,
    cameras: Vec<CameraId>,
}

/// A wall of cameras at an address where nothing listens.
async fn wall(server: &TestServer) -> Wall {
    let app = server.server.app();
    let mut cameras = Vec::new();
    for number in 1..=4 {
        let camera = hewei_store::Camera {
            id: CameraId::generate(),
            number,
            name: format!("村口 {number}"),
            region_id: None,
            gb28181_id: None,
            url: "rtsp://127.0.0.1:9/cam".into(),
        };
        let credentials =
            hewei_store::Credentials { username: "operator".into(), password: "hunter2".into() };
        app.store.add_camera(&camera, Some(&credentials)).await.unwrap();
        app.live.camera_added(&camera).await.unwrap();
        cameras.push(camera.id);
    }
    let wall =
        hewei_store::Wall {
            id: WallId::generate(), name: "零点夜查".into(), camera_ids: cameras.clone()
        };
    app.store.add_wall(&wall).await.unwrap();
    Wall { id: wall.id, cameras }
}

async fn purpose(server: &TestServer, participant: ParticipantId, lasts: time::Duration) -> String {
    let now = OffsetDateTime::now_utc();
    let purpose = hewei_store::Purpose {
        id: PurposeId::generate(),
        kind: hewei_store::PurposeKind::Patrol,
        reason: "零点夜查".into(),
        opened_by: "operator".into(),
        participant_id: participant,
        opened_at: now - time::Duration::minutes(1),
        expires_at: now + lasts,
    };
    server.server.app().store.add_purpose(&purpose).await.unwrap();
    purpose.id.to_string()
}

async fn actions(server: &TestServer) -> Vec<String> {
    let rows = server.server.app().store.audit_rows(None, 100).await.unwrap();
    rows.into_iter().map(|row| row.entry.action).collect()
}

#[tokio::test]
async fn a_wall_needs_a_live_purpose_of_ones_own() {
    let server = TestServer::start().await;
    let wall = wall(&server).await;
    let claims = server.claims(Role::Operator, "值班员");
    let token = server.issue(&claims);
    let of_another = purpose(&server, ParticipantId::generate(), time::Duration::hours(1)).await;
    let run_out = purpose(&server, claims.participant, -time::Duration::seconds(1)).await;
    for purpose in [of_another, run_out, PurposeId::generate().to_string(), "none".into()] {
        let mut client = Client::connect(server.address()).await;
        client.hello_wall(&token, &wall.id.to_string(), &purpose).await;
        assert_eq!(client.hear_problem().await, "purpose_required");
        client.hear_close().await;
    }
    let own = purpose(&server, claims.participant, time::Duration::hours(1)).await;
    for role in [Role::Party, Role::Mediator, Role::Auditor, Role::Administrator] {
        let mut client = Client::connect(server.address()).await;
        client.hello_wall(&server.token(role), &wall.id.to_string(), &own).await;
        let problem = client.hear_problem().await;
        assert_eq!(problem, "role_forbidden", "{role}");
    }
    assert!(actions(&server).await.is_empty(), "nothing was opened");
}

#[tokio::test]
async fn a_wall_shows_its_tiles_and_is_written_down() {
    let server = TestServer::start().await;
    let wall = wall(&server).await;
    let claims = server.claims(Role::Operator, "值班员");
    let purpose = purpose(&server, claims.participant, time::Duration::hours(1)).await;
    let mut client = Client::connect(server.address()).await;
    client.hello_wall(&server.issue(&claims), &wall.id.to_string(), &purpose).await;
    let welcome = client.hear("welcome_wall").await;
    assert_eq!(welcome["wall_name"], "零点夜查");
    let tiles = welcome["tiles"].as_array().unwrap();
    let ids: Vec<String> = tiles.iter().map(|tile| tile["camera_id"].as_str().unwrap().into()).collect();
    assert_eq!(ids, wall.cameras.iter().map(ToString::to_string).collect::<Vec<_>>());
    assert_eq!(welcome["slots"]["video"], 4);

    // Nothing listens there, and the tile says so, without credentials.
    loop {
        let changed = client.hear("camera_changed").await;
        assert!(!changed.to_string().contains("hunter2") && !changed.to_string().contains("operator"));
        if changed["status"]["state"] == "unreachable" {
            break;
        }
    }
    let offer = sdp::offer(&[("video", "recvonly"), ("video", "recvonly")]);
    client.say(json!({ "type": "offer", "offer_id": 1, "sdp": offer })).await;
    assert_eq!(client.hear("answer").await["offer_id"], 1);
    client.say(json!({ "type": "set_muted", "kind": "audio", "muted": true })).await;
    assert_eq!(client.hear_problem().await, "not_on_a_wall");

    assert_eq!(actions(&server).await, ["wall.open"]);
    client.say(json!({ "type": "leave" })).await;
    client.hear_close().await;
    until("the close is written down", || async { actions(&server).await == ["wall.close", "wall.open"] })
        .await;
    let rows = server.server.app().store.audit_rows(None, 100).await.unwrap();
    for row in rows {
        assert_eq!(row.entry.purpose_id.map(|id| id.to_string()), Some(purpose.clone()));
        assert_eq!(row.entry.target, wall.id.to_string());
        assert_eq!(row.entry.actor, "值班员");
    }
}

#[tokio::test]
async fn a_wall_ends_with_its_purpose() {
    let server = TestServer::start().await;
    let wall = wall(&server).await;
    let claims = server.claims(Role::Leader, "值班领导");
    let purpose = purpose(&server, claims.participant, time::Duration::seconds(2)).await;
    let mut client = Client::connect(server.address()).await;
    client.hello_wall(&server.issue(&claims), &wall.id.to_string(), &purpose).await;
    client.hear("welcome_wall").await;
    assert_eq!(client.hear("ended").await["reason"], "purpose_expired");
    client.hear_close().await;
    assert_eq!(actions(&server).await, ["wall.close", "wall.open"]);
}

#[tokio::test]
async fn one_token_opens_eight_walls_at_once() {
    let server = TestServer::start().await;
    let wall = wall(&server).await;
    let open = async |claims: &hewei::auth::Claims| {
        let purpose = purpose(&server, claims.participant, time::Duration::hours(1)).await;
        let mut client = Client::connect(server.address()).await;
        client.hello_wall(&server.issue(claims), &wall.id.to_string(), &purpose).await;
        client
    };
    let claims = server.claims(Role::Operator, "值班员");
    let mut screens = Vec::new();
    for _ in 0..8 {
        let mut screen = open(&claims).await;
        screen.hear("welcome_wall").await;
        screens.push(screen);
    }
    assert_eq!(open(&claims).await.hear_problem().await, "too_many_open");
    open(&server.claims(Role::Operator, "另一位")).await.hear("welcome_wall").await;
    let mut last = screens.pop().unwrap();
    last.say(json!({ "type": "leave" })).await;
    last.hear_close().await;
    open(&claims).await.hear("welcome_wall").await;
}

#[tokio::test]
async fn one_camera_by_whep_needs_a_purpose_too() {
    let server = TestServer::start().await;
    let wall = wall(&server).await;
    let claims = server.claims(Role::Operator, "值班员");
    let token = server.issue(&claims);
    let purpose = purpose(&server, claims.participant, time::Duration::hours(1)).await;
    let address = server.address();
    let path = format!("/whep/camera/{}", wall.cameras[0]);
    let post = |path: String, token: String| async move {
        let offer = sdp::offer(&[("video", "recvonly"), ("audio", "recvonly")]);
        request(address, "POST", &path, Some(&token), Some("application/sdp"), offer).await
    };

    let refused = post(path.clone(), token.clone()).await;
    assert_eq!((refused.status, refused.problem().as_str()), (403, "purpose_required"));
    let with_purpose = format!("{path}?purpose={purpose}");
    let refused = post(with_purpose.clone(), server.token(Role::Operator)).await;
    assert_eq!((refused.status, refused.problem().as_str()), (403, "purpose_required"));
    let refused = post(with_purpose.clone(), server.token(Role::Mediator)).await;
    assert_eq!(refused.status, 403);
    let unknown =
        post(format!("/whep/camera/{}?purpose={purpose}", CameraId::generate()), token.clone()).await;
    assert_eq!(unknown.status, 404);
    assert!(actions(&server).await.is_empty());

    let opened = post(with_purpose, token.clone()).await;
    assert_eq!(opened.status, 201, "{}", opened.body);
    let location = opened.header("location").to_owned();
    assert!(location.starts_with(&path), "{location}");
    assert_eq!(actions(&server).await, ["camera.open"]);

    let foreign =
        request(address, "DELETE", &location, Some(&server.token(Role::Operator)), None, String::new()).await;
    assert_eq!(foreign.status, 403);
    let patch = async |token: &str, if_match: &str| {
        let headers = [("content-type", "application/trickle-ice-sdpfrag"), ("if-match", if_match)];
        let fragment = "a=ice-ufrag:ysXw\r\na=ice-pwd:vw5LmwG4y/e6dPP/zAP9Gp5k\r\n".to_owned();
        request_with(address, "PATCH", &location, Some(token), &headers, fragment).await
    };
    assert_eq!(patch(&server.token(Role::Operator), "*").await.status, 403);
    let restarted = patch(&token, "*").await;
    assert_eq!(restarted.status, 200, "{}", restarted.body);
    assert_eq!(patch(&token, opened.header("etag")).await.status, 412);
    assert_eq!(patch(&token, restarted.header("etag")).await.status, 204);
    let look = request(address, "GET", &location, Some(&token), None, String::new()).await;
    assert_eq!((look.status, look.body.as_str()), (204, ""));
    let gone = request(address, "DELETE", &location, Some(&token), None, String::new()).await;
    assert_eq!(gone.status, 200);
    assert_eq!(actions(&server).await, ["camera.close", "camera.open"]);
    let again = request(address, "DELETE", &location, Some(&token), None, String::new()).await;
    assert_eq!((again.status, again.problem().as_str()), (404, "not_found"));
}
