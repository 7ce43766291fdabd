//! Who may do what, asked of the server and not of its table.

use hewei_model::{Role, RoomId};
use hyper::StatusCode;
use serde_json::{Value, json};

use crate::{
    client::{get, post},
    server::TestServer,
};

#[test]
fn the_document_says_what_the_table_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/permissions.md");
    let table = hewei::permissions::document();
    if std::env::var_os("HEWEI_WRITE_DOCS").is_some() {
        std::fs::write(path, &table).unwrap();
    }
    let document = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        document == table,
        "docs/permissions.md differs from signaling/src/permissions.rs; write it anew by \
         HEWEI_WRITE_DOCS=1 cargo test -p hewei --test rest the_document_says"
    );
}

#[tokio::test]
async fn a_token_for_one_room_reads_nothing_of_another() {
    let server = TestServer::start().await;
    let (case, room) = server.case_with_room("2026-1").await;
    let (other_case, other_room) = server.case_with_room("2026-2").await;
    let lawyer = server.token_for(Role::Lawyer, Some(room));
    let cases = get("/api/v1/cases").token(&lawyer).to(server.address()).await.json();
    assert_eq!(cases.as_array().unwrap().len(), 1);
    assert_eq!(cases[0]["id"], case.to_string());
    assert_eq!(cases[0]["rooms"][0]["id"], room.to_string());
    let status = async |path: String, token: &str| get(path).token(token).to(server.address()).await.status;
    assert_eq!(status(format!("/api/v1/cases/{case}"), &lawyer).await, StatusCode::OK);
    assert_eq!(status(format!("/api/v1/cases/{other_case}"), &lawyer).await, StatusCode::NOT_FOUND);
    assert_eq!(
        status(format!("/api/v1/recordings?room_id={other_room}"), &lawyer).await,
        StatusCode::FORBIDDEN
    );

    let mediator = server.token_for(Role::Mediator, Some(room));
    for (path, body) in [
        (format!("/api/v1/rooms/{other_room}/invitations"), json!({"role": "party", "name": "n"})),
        ("/api/v1/cases".into(), json!({"number": "n", "title": "t"})),
        ("/api/v1/rooms".into(), json!({"case_id": case.to_string(), "name": "n"})),
    ] {
        let answer = post(path, &body).token(&mediator).to(server.address()).await;
        assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::FORBIDDEN, "room_forbidden"));
    }
    for (role, path) in [
        (Role::Operator, "/api/v1/cameras"),
        (Role::Operator, "/api/v1/walls"),
        (Role::Auditor, "/api/v1/audit"),
    ] {
        let token = server.token_for(role, Some(RoomId::generate()));
        assert_eq!(status(path.into(), &token).await, StatusCode::FORBIDDEN, "{path}");
    }
    server.server.stop().await;
}

#[tokio::test]
async fn only_administrators_see_where_cameras_are_and_nobody_how_to_log_in() {
    let server = TestServer::start().await;
    let administrator = server.token(Role::Administrator);
    let new = json!({
        "number": 101, "name": "村口", "url": "rtsp://127.0.0.1:9/cam", "username": "admin",
        "password": "geheim", "gb28181_id": "34020000001320000001"
    });
    let answer = post("/api/v1/cameras", &new).token(&administrator).to(server.address()).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    let again = post("/api/v1/cameras", &new).token(&administrator).to(server.address()).await;
    assert_eq!((again.status, again.problem().as_str()), (StatusCode::CONFLICT, "taken"));

    for (role, url) in [(Role::Administrator, json!("rtsp://127.0.0.1:9/cam")), (Role::Operator, Value::Null)]
    {
        let answer = get("/api/v1/cameras").token(&server.token(role)).to(server.address()).await;
        let camera = &answer.json()[0];
        assert_eq!(camera["url"], url, "{role}");
        assert_eq!(camera["status"]["state"], "idle");
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        assert!(!text.contains("geheim") && !text.contains("admin\""), "{text}");
    }

    let operator = server.token(Role::Operator);
    let wall = json!({"name": "夜查", "camera_ids": [id]});
    let answer = post("/api/v1/walls", &wall).token(&operator).to(server.address()).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    let path = format!("/api/v1/walls/{}", answer.json()["id"].as_str().unwrap());
    let read = get(path).token(&operator).to(server.address()).await;
    assert_eq!(read.json(), answer.json());
    assert_eq!(server.audited().await, ["wall.create", "camera.create"]);
    server.server.stop().await;
}
