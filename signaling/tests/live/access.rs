//! Access that ends takes the connections with it that were opened by it.

use std::task::Poll;

use axum::extract::{Path, State};
use hewei::{
    auth::{Bearer, Claims, Origin},
    rest::{accounts, input::Body, invitations, links, session},
    state::App,
};
use hewei_api::access::ChangeAccount;
use hewei_model::{AccountId, CameraId, InvitationId, ParticipantId, PurposeId, Role, WallId};
use hyper::{HeaderMap, header};
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
    let code = &account.username;
    app.store.add_account(&account, code, now + Duration::hours(1)).await.unwrap();
    app.store.use_setup_code(code, &account, "a hash", now, false, now).await.unwrap().unwrap();
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

/// Goes on with a request until it has waited so many times, and drops it there, as happens when the client closes its
/// connection. Whether it came to its end before that.
async fn cut_after(waits: usize, request: impl Future) -> bool {
    let mut request = std::pin::pin!(request);
    let mut polls = 0;
    std::future::poll_fn(|context| {
        if polls > waits {
            return Poll::Ready(false);
        }
        polls += 1;
        request.as_mut().poll(context).map(|_| true)
    })
    .await
}

/// Whoever is to be shut out, and those who do it.
struct Access {
    app: App,
    account: hewei_store::Account,
    claims: Claims,
    cookie: HeaderMap,
    administrator: Claims,
}

/// Cuts a request short wherever it waits. Access is then as it was, or ended in the database, in memory and in the
/// audit log.
async fn is_whole_wherever_it_is_cut<F: Future>(action: &str, request: impl Fn(Access) -> F) {
    let server = TestServer::start().await;
    let app = server.server.app();
    for waits in 0..100 {
        let (account, _) = signed_in(&server, Role::Mediator).await;
        let address = std::net::IpAddr::from([192, 0, 2, 1]);
        let signed_in = app.begin_sign_in(&account, "a hash", address, "Firefox".into()).await.unwrap();
        let (secret, claims) = signed_in;
        let Origin::SignIn(id) = claims.origin else { panic!("{claims:?}") };
        let cookie = format!("hewei_session={secret}").parse().unwrap();
        let access = Access {
            app: app.clone(),
            account: account.clone(),
            claims,
            cookie: HeaderMap::from_iter([(header::COOKIE, cookie)]),
            administrator: server.claims(Role::Administrator, "周主任"),
        };
        let done = cut_after(waits, request(access)).await;
        until("database, memory and audit log agree", || async {
            let gone = app.store.sign_in(id).await.unwrap().is_none();
            let told = app.tokens.revocations().ended(Origin::SignIn(id));
            let rows = app.store.audit_rows(None, 20).await.unwrap();
            let target = account.id.to_string();
            let written = rows.iter().any(|row| row.entry.action == action && row.entry.target == target);
            (!done || gone) && gone == told && gone == written
        })
        .await;
        if done {
            assert!(waits > 0, "it was cut before");
            return;
        }
    }
    panic!("{action} does not end");
}

#[tokio::test]
async fn signing_out_is_whole_wherever_the_request_is_cut() {
    is_whole_wherever_it_is_cut("account.sign_out", |access| async move {
        session::sign_out(State(access.app), access.cookie).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn ending_a_sign_in_is_whole_wherever_the_request_is_cut() {
    is_whole_wherever_it_is_cut("account.end_sign_in", |access| async move {
        let Origin::SignIn(id) = access.claims.origin else { panic!("{:?}", access.claims) };
        session::end(State(access.app), Bearer(access.claims), Path(id.to_string())).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn signing_an_account_out_everywhere_is_whole_wherever_the_request_is_cut() {
    is_whole_wherever_it_is_cut("account.end_sign_in", |access| async move {
        let id = access.account.id.to_string();
        accounts::end_sessions(State(access.app), Bearer(access.administrator), Path(id)).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn another_role_is_whole_wherever_the_request_is_cut() {
    is_whole_wherever_it_is_cut("account.change", |access| async move {
        let id = access.account.id.to_string();
        let body = Body(ChangeAccount { role: Some(Role::Lawyer), ..ChangeAccount::default() });
        _ = accounts::change(State(access.app), Bearer(access.administrator), Path(id), body).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn the_sign_in_that_makes_room_is_out_wherever_the_request_is_cut() {
    let server = TestServer::start().await;
    let app = server.server.app();
    let address = std::net::IpAddr::from([192, 0, 2, 1]);
    for waits in 0..100 {
        let (account, first) = signed_in(&server, Role::Mediator).await;
        for _ in 1..20 {
            sign_in(&server, &account).await;
        }
        let Origin::SignIn(id) = first.origin else { panic!("{first:?}") };
        let one_more = app.begin_sign_in(&account, "a hash", address, "Firefox".into());
        let done = cut_after(waits, one_more).await;
        until("database and memory agree", || async {
            let signed_in = app.store.sign_ins(account.id).await.unwrap();
            let ended = |id| app.tokens.revocations().ended(Origin::SignIn(id));
            let gone = signed_in.iter().all(|one| one.id != id);
            // No more than there may be, and none of them told to go.
            let kept = signed_in.len() == 20 && !signed_in.iter().any(|one| ended(one.id));
            kept && (!done || gone) && gone == ended(id)
        })
        .await;
        if done {
            return;
        }
    }
    panic!("signing in does not end");
}

#[tokio::test]
async fn a_link_and_an_invitation_end_whole_wherever_the_request_is_cut() {
    let server = TestServer::start().await;
    let app = server.server.app();
    let administrator = server.claims(Role::Administrator, "周主任");
    let mediator = server.claims(Role::Mediator, "王调解员");
    let mut done = (false, false);
    for waits in 0..100 {
        let now = OffsetDateTime::now_utc();
        let claims = Claims::of_link("王".into(), Role::Mediator, None, now + Duration::hours(1));
        hewei::access::keep_link(&app.store, &claims, now).await.unwrap();
        let Origin::Link(link) = claims.origin else { panic!("{claims:?}") };
        let end = links::end(State(app.clone()), Bearer(administrator.clone()), Path(link.to_string()));
        done.0 = cut_after(waits, end).await;

        let id = InvitationId::generate();
        let invitation = hewei_store::Invitation {
            id,
            room_id: server.room,
            role: Role::Party,
            name: "赵大山".into(),
            participant_id: ParticipantId::generate(),
            created_at: now,
            expires_at: now + Duration::hours(1),
        };
        app.store.add_invitation(&invitation, &id.to_string()).await.unwrap();
        let path = Path((server.room.to_string(), id.to_string()));
        let revoke = invitations::revoke(State(app.clone()), Bearer(mediator.clone()), path);
        done.1 = cut_after(waits, revoke).await;

        until("database, memory and audit log agree", || async {
            let told = |origin| app.tokens.revocations().ended(origin);
            let rows = app.store.audit_rows(None, 20).await.unwrap();
            let link_ended = app.store.link_until(link).await.unwrap().is_none();
            let written = rows.iter().any(|row| row.entry.target == link.to_string());
            let listed = app.store.invitations(server.room, 500).await.unwrap();
            let revoked = listed.iter().any(|row| row.invitation.id == id && row.revoked);
            let named = rows.iter().any(|row| row.entry.detail.contains(&id.to_string()));
            // Each waits for nothing before it begins, so that it is done however early it is cut.
            link_ended && revoked && told(claims.origin) && told(Origin::Invitation(id)) && written && named
        })
        .await;
        if done == (true, true) {
            return;
        }
    }
    panic!("they do not end: {done:?}");
}

#[tokio::test]
async fn what_ended_before_is_told_once_more() {
    let server = TestServer::start().await;
    let app = server.server.app();
    let now = OffsetDateTime::now_utc();
    let until = now + Duration::minutes(16);
    let link = Claims::of_link("王".into(), Role::Mediator, None, until);
    hewei::access::keep_link(&app.store, &link, now).await.unwrap();
    let Origin::Link(id) = link.origin else { panic!("{link:?}") };
    // In the database only, as if something had come between.
    app.store.end_link(id).await.unwrap().unwrap();
    assert_eq!(call(&server, "GET", "/api/v1/me", &server.issue(&link), Value::Null).await.0, 200);
    let administrator = server.token(Role::Administrator);
    let path = format!("/api/v1/links/{id}");
    assert_eq!(call(&server, "DELETE", &path, &administrator, Value::Null).await.0, 404);
    assert_eq!(call(&server, "GET", "/api/v1/me", &server.issue(&link), Value::Null).await.0, 401);

    let (account, stolen) = signed_in(&server, Role::Lawyer).await;
    let here = server.issue(&sign_in(&server, &account).await);
    let Origin::SignIn(id) = stolen.origin else { panic!("{stolen:?}") };
    assert!(app.store.end_sign_in(id, until).await.unwrap());
    let path = format!("/api/v1/sessions/{id}");
    assert_eq!(call(&server, "DELETE", &path, &here, Value::Null).await.0, 404);
    assert_eq!(call(&server, "GET", "/api/v1/me", &server.issue(&stolen), Value::Null).await.0, 401);

    // Of nobody else's, and of nothing that did not end.
    let (_, other) = signed_in(&server, Role::Lawyer).await;
    let Origin::SignIn(id) = other.origin else { panic!("{other:?}") };
    let path = format!("/api/v1/sessions/{id}");
    assert_eq!(call(&server, "DELETE", &path, &here, Value::Null).await.0, 404);
    assert_eq!(call(&server, "GET", "/api/v1/me", &server.issue(&other), Value::Null).await.0, 200);
}
