//! Who may do what, asked of the server and not of its table.

use hewei_model::{CameraId, Role, RoomId, WallId};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    client::{Ask, ask, get, post},
    server::TestServer,
};

/// A route, a body for it, and the roles that may.
fn routes(case: &str, room: &str) -> Vec<(Method, String, Value, &'static [Role])> {
    use Role::*;
    type Roles = &'static [Role];
    let get = |path: String, roles: Roles| (Method::GET, path, Value::Null, roles);
    let post = |path: String, body, roles: Roles| (Method::POST, path, body, roles);
    let recording = format!("/api/v1/recordings/{}", hewei_model::RecordingId::generate());
    let nobody = CameraId::generate().to_string();
    vec![
        get("/api/v1/me".into(), &Role::ALL),
        get("/api/v1/health".into(), &[Mediator, Leader, Administrator]),
        get("/api/v1/cases".into(), &[Mediator, Lawyer, Leader]),
        get(format!("/api/v1/cases/{case}"), &[Mediator, Lawyer, Leader]),
        post("/api/v1/cases".into(), json!({"number": "n", "title": "t"}), &[Mediator]),
        post("/api/v1/rooms".into(), json!({"case_id": case, "name": "n"}), &[Mediator]),
        post(format!("/api/v1/rooms/{room}/invitations"), json!({"role": "party", "name": "n"}), &[Mediator]),
        get("/api/v1/regions".into(), &[Mediator, Lawyer, Leader, Operator, Auditor, Administrator]),
        post("/api/v1/regions".into(), json!({"name": "n"}), &[Administrator]),
        get("/api/v1/cameras".into(), &[Operator, Leader, Administrator]),
        post(
            "/api/v1/cameras".into(),
            json!({"number": 7, "name": "n", "url": "rtsp://127.0.0.1:9/cam"}),
            &[Administrator],
        ),
        get("/api/v1/walls".into(), &[Operator, Leader, Administrator]),
        get(format!("/api/v1/walls/{}", WallId::generate()), &[Operator, Leader, Administrator]),
        post(
            "/api/v1/walls".into(),
            json!({"name": "n", "camera_ids": [nobody]}),
            &[Operator, Administrator],
        ),
        post(
            "/api/v1/purposes".into(),
            json!({"kind": "patrol", "reason": "夜查", "minutes": 5}),
            &[Operator, Leader],
        ),
        get("/api/v1/audit".into(), &[Auditor, Administrator]),
        get("/api/v1/recordings".into(), &[Mediator, Lawyer, Leader, Auditor]),
        get(recording.clone(), &[Mediator, Lawyer, Leader, Auditor]),
        get(format!("{recording}/verification"), &[Mediator, Lawyer, Leader, Auditor]),
        get(format!("{recording}/tracks"), &[Mediator, Lawyer, Leader]),
    ]
}

fn request(method: &Method, path: &str, body: &Value) -> Ask {
    match *method {
        Method::POST => post(path, body),
        _ => ask(method.clone(), path),
    }
}

#[tokio::test]
async fn each_route_is_open_to_its_roles_and_to_no_others() {
    let server = TestServer::start().await;
    let (case, room) = server.case_with_room("2026-1").await;
    for (method, path, body, allowed) in routes(&case.to_string(), &room.to_string()) {
        for role in Role::ALL {
            let answer = request(&method, &path, &body).token(&server.token(role)).to(server.address()).await;
            let refused = answer.status == StatusCode::FORBIDDEN;
            assert_eq!(refused, !allowed.contains(&role), "{method} {path} as {role}: {}", answer.status);
            if refused {
                assert_eq!(answer.problem(), "role_forbidden");
            }
        }
        let answer = request(&method, &path, &body).to(server.address()).await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (StatusCode::UNAUTHORIZED, "token_missing"),
            "{path}"
        );
        let answer = request(&method, &path, &body).token("hewei1.e30.AAAA").to(server.address()).await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (StatusCode::UNAUTHORIZED, "token_invalid"),
            "{path}"
        );
    }
    server.server.stop().await;
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
