//! Access that ends takes the connections with it that were opened by it.

use hewei::auth::{Claims, Origin};
use hewei_model::{AccountId, CameraId, ParticipantId, PurposeId, Role, WallId};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use crate::{
    client::{Client, request},
    sdp,
    server::{TestServer, until},
};

async fn call(server: &TestServer, method: &str, path: &str, token: &str, body: Value) -> (u16, Value) {
    let (content_type, body) = match body {
        Value::Null => (None, String::new()),
        body => (Some("application/json"), body.to_string()),
    };
    let answer = request(server.address(), method, path, Some(token), content_type, body).await;
    (answer.status, serde_json::from_str(&answer.body).unwrap_or_default())
}

/// An account that is signed in, by its claims.
async fn signed_in(server: &TestServer, role: Role) -> (hewei_store::Account, Claims) {
    let now = OffsetDateTime::now_utc();
    let account = hewei_store::Account {
        id: AccountId::generate(),
        username: ParticipantId::generate().to_string(),
        name: "王调解员".into(),
        role,
        participant_id: ParticipantId::generate(),
        ready: true,
        disabled: false,
        created_at: now,
        last_sign_in_at: None,
    };
    let app = server.server.app();
    app.store.add_account(&account, &account.username, now).await.unwrap();
    app.store.set_password(account.id, "a hash").await.unwrap();
    let claims = sign_in(server, &account).await;
    (account, claims)
}

async fn sign_in(server: &TestServer, account: &hewei_store::Account) -> Claims {
    let address = std::net::IpAddr::from([192, 0, 2, 1]);
    server.server.app().begin_sign_in(account, "a hash", address, "Firefox".into()).await.unwrap().1
}

#[tokio::test]
async fn a_party_whose_invitation_is_withdrawn_is_out_of_the_call() {
    let server = TestServer::start().await;
    let mediator_token = server.token(Role::Mediator);
    let mut mediator = server.enter_with(&mediator_token).await;
    mediator.hear("welcome_room").await;
    let path = format!("/api/v1/rooms/{}/invitations", server.room);
    let new = json!({"role": "party", "name": "赵大山"});
    let (status, invitation) = call(&server, "POST", &path, &mediator_token, new).await;
    assert_eq!(status, 201, "{invitation}");
    let code = invitation["path"].as_str().unwrap().strip_prefix("/join#").unwrap();
    let (status, grant) = call(&server, "POST", "/api/v1/join", "", json!({"code": code})).await;
    assert_eq!(status, 200, "{grant}");
    let token = grant["token"].as_str().unwrap().to_owned();
    let mut party = server.enter_with(&token).await;
    let id = party.hear("welcome_room").await["participant_id"].clone();
    mediator.say(json!({"type": "admit", "participant_id": id})).await;
    party.hear("admitted").await;
    let publish = format!("/whip/{}", server.room);
    let offer = sdp::offer(&[("audio", "sendonly")]);
    let published =
        request(server.address(), "POST", &publish, Some(&token), Some("application/sdp"), offer.clone())
            .await;
    assert_eq!(published.status, 201, "{}", published.body);
    mediator.hear_people(|people| people.len() == 3).await;

    let (_, listed) = call(&server, "GET", &path, &mediator_token, Value::Null).await;
    assert_eq!((&listed[0]["name"], &listed[0]["state"]), (&json!("赵大山"), &json!("used")), "{listed}");
    let one = format!("{path}/{}", invitation["id"].as_str().unwrap());
    assert_eq!(call(&server, "DELETE", &one, &mediator_token, Value::Null).await.0, 204);
    assert_eq!(party.hear("ended").await["reason"], "access_ended");
    assert_eq!(
        party.hear_close().await,
        Some(tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode::Normal)
    );
    mediator.hear_people(|people| people.len() == 1).await;

    let mut again = server.enter_with(&token).await;
    assert_eq!(again.hear_problem().await, "token_revoked");
    let again =
        request(server.address(), "POST", &publish, Some(&token), Some("application/sdp"), offer).await;
    assert_eq!((again.status, again.problem().as_str()), (401, "token_revoked"));
    let (status, refused) = call(&server, "POST", "/api/v1/join", "", json!({"code": code})).await;
    assert_eq!((status, &refused["type"]), (410, &json!("invitation_used")));
    let (_, listed) = call(&server, "GET", &path, &mediator_token, Value::Null).await;
    assert_eq!(listed[0]["state"], "revoked");
    let rows = server.server.app().store.audit_rows(None, 1).await.unwrap();
    assert_eq!(rows[0].entry.action, "invitation.revoke");
}

#[tokio::test]
async fn a_withdrawn_link_that_nobody_opened_opens_nothing() {
    let server = TestServer::start().await;
    let token = server.token(Role::Mediator);
    let path = format!("/api/v1/rooms/{}/invitations", server.room);
    let new = json!({"role": "party", "name": "赵大山"});
    let (_, invitation) = call(&server, "POST", &path, &token, new).await;
    let one = format!("{path}/{}", invitation["id"].as_str().unwrap());
    assert_eq!(call(&server, "DELETE", &one, &token, Value::Null).await.0, 204);
    let code = invitation["path"].as_str().unwrap().strip_prefix("/join#").unwrap();
    let (status, refused) = call(&server, "POST", "/api/v1/join", "", json!({"code": code})).await;
    assert_eq!((status, &refused["type"]), (404, &json!("invitation_unknown")));
    assert_eq!(call(&server, "DELETE", &one, &token, Value::Null).await.0, 404, "it is withdrawn already");
}

#[tokio::test]
async fn a_call_outlives_the_short_token_and_ends_with_the_sign_in() {
    let server = TestServer::start().await;
    let (_, claims) = signed_in(&server, Role::Mediator).await;
    assert!(claims.open_until - claims.expires_at > Duration::days(6), "{claims:?}");
    // As if the quarter of an hour were over in a moment.
    let short = Claims { expires_at: OffsetDateTime::now_utc() + Duration::seconds(2), ..claims.clone() };
    let mut client = server.enter_with(&server.issue(&short)).await;
    client.hear("welcome_room").await;
    until("the token has run out", || async {
        let now = OffsetDateTime::now_utc();
        server.server.app().tokens.verify(&server.issue(&short), now).is_err()
    })
    .await;
    client.say(json!({"type": "ping"})).await;
    client.hear("pong").await;
    let Origin::SignIn(id) = claims.origin else { panic!("{claims:?}") };
    assert!(server.server.app().end_sign_in(id).await.unwrap());
    assert_eq!(client.hear("ended").await["reason"], "access_ended");
    assert_eq!(call(&server, "GET", "/api/v1/me", &server.issue(&claims), Value::Null).await.0, 401);
}

#[tokio::test]
async fn a_wall_ends_with_the_sign_in() {
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
    app.live.camera_added(&camera).await.unwrap();
    let wall =
        hewei_store::Wall { id: WallId::generate(), name: "夜查".into(), camera_ids: vec![camera.id] };
    app.store.add_wall(&wall).await.unwrap();
    let (_, claims) = signed_in(&server, Role::Operator).await;
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
    let token = server.issue(&claims);
    let mut client = Client::connect(server.address()).await;
    client.hello_wall(&token, &wall.id.to_string(), &purpose.id.to_string()).await;
    client.hear("welcome_wall").await;
    let path = format!("/whep/camera/{}?purpose={}", camera.id, purpose.id);
    let offer = sdp::offer(&[("video", "recvonly")]);
    let watched =
        request(server.address(), "POST", &path, Some(&token), Some("application/sdp"), offer).await;
    assert_eq!(watched.status, 201, "{}", watched.body);
    let location = watched.header("location").to_owned();
    // Another operator's token does not end it.
    let other = server.token(Role::Operator);
    let foreign = request(server.address(), "DELETE", &location, Some(&other), None, String::new()).await;
    assert_eq!((foreign.status, foreign.problem().as_str()), (403, "session_forbidden"));

    let Origin::SignIn(id) = claims.origin else { panic!("{claims:?}") };
    assert!(app.end_sign_in(id).await.unwrap());
    assert_eq!(client.hear("ended").await["reason"], "access_ended");
    until("the camera is closed", || async {
        let rows = app.store.audit_rows(None, 20).await.unwrap();
        let closed = |action| rows.iter().any(|row| row.entry.action == action);
        closed("camera.close") && closed("wall.close")
    })
    .await;
}

#[tokio::test]
async fn who_comes_back_in_another_role_is_here_in_that_role() {
    let server = TestServer::start().await;
    let app = server.server.app();
    let (account, claims) = signed_in(&server, Role::Mediator).await;
    let mut client = server.enter_with(&server.issue(&claims)).await;
    let id = client.hear("welcome_room").await["participant_id"].clone();
    let administrator = server.token(Role::Administrator);
    let path = format!("/api/v1/accounts/{}", account.id);
    let (status, changed) = call(&server, "PATCH", &path, &administrator, json!({"role": "lawyer"})).await;
    assert_eq!((status, &changed["role"]), (200, &json!("lawyer")), "{changed}");
    assert_eq!(client.hear("ended").await["reason"], "access_ended");
    let old = server.issue(&claims);
    assert_eq!(call(&server, "GET", "/api/v1/me", &old, Value::Null).await.0, 401);

    let account = app.store.account(account.id).await.unwrap().unwrap();
    let claims = sign_in(&server, &account).await;
    let mut client = server.enter_with(&server.issue(&claims)).await;
    assert_eq!(client.hear("welcome_room").await["participant_id"], id, "the account's one seat");
    client.say(json!({"type": "end_session"})).await;
    assert_eq!(client.hear_problem().await, "mediator_only");
}
