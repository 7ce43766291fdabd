//! Accounts: coming in for the first time, signing in and out, and what administrators do to others.

use std::{
    os::unix::fs::PermissionsExt,
    time::{Duration, Instant},
};

use hewei::limits::Asker;
use hewei_model::Role;
use hyper::{Method, StatusCode, header};
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::{
    client::{Answer, ask, get, post},
    commands::hewei,
    server::TestServer,
};

const PASSWORD: &str = "和为贵 忍为高 让为先";

/// Somebody who is signed in.
struct SignedIn {
    cookie: String,
    token: String,
}

impl SignedIn {
    fn of(answer: &Answer) -> Self {
        assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
        let cookie = answer.header(header::SET_COOKIE).split(';').next().unwrap().to_owned();
        assert!(cookie.strip_prefix("hewei_session=").is_some_and(|secret| secret.len() == 43), "{cookie}");
        Self { cookie, token: answer.json()["token"].as_str().unwrap().to_owned() }
    }
}

impl TestServer {
    async fn sends(&self, method: Method, path: &str, token: &str, body: Value) -> Answer {
        let request = ask(method, path).token(token);
        let request = match body {
            Value::Null => request,
            body => request.header("content-type", "application/json").body(body.to_string()),
        };
        request.to(self.address()).await
    }

    async fn signs_in(&self, username: &str, password: &str) -> Answer {
        post("/api/v1/session", &json!({"username": username, "password": password})).to(self.address()).await
    }

    async fn renews(&self, cookie: &str) -> Answer {
        ask(Method::POST, "/api/v1/session/token").header("cookie", cookie).to(self.address()).await
    }

    /// What a token is answered with: `200`, or the problem.
    async fn me(&self, token: &str) -> String {
        let answer = get("/api/v1/me").token(token).to(self.address()).await;
        if answer.status == StatusCode::OK { "200".into() } else { answer.problem() }
    }

    async fn sets_up(&self, code: &str, more: Value) -> Answer {
        let mut body = json!({"code": code, "password": PASSWORD});
        for (key, value) in more.as_object().unwrap() {
            body[key] = value.clone();
        }
        post("/api/v1/setup", &body).to(self.address()).await
    }

    /// The first administrator, by the link that the server made at its start.
    async fn first_administrator(&self) -> SignedIn {
        let link = std::fs::read_to_string(self.folder.path().join("data/setup-link")).unwrap();
        let code = link.trim_end().split_once("/setup#").unwrap().1;
        SignedIn::of(&self.sets_up(code, json!({"username": "Admin.Zhou", "name": "周主任"})).await)
    }

    /// A new account: its id and the code of its link.
    async fn account(&self, administrator: &str, username: &str, role: &str) -> (String, String) {
        let body = json!({"username": username, "name": "李娜", "role": role});
        let answer = self.sends(Method::POST, "/api/v1/accounts", administrator, body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
        let made = answer.json();
        let code = made["path"].as_str().unwrap().strip_prefix("/setup#").unwrap();
        (made["account"]["id"].as_str().unwrap().to_owned(), code.to_owned())
    }
}

#[tokio::test]
async fn the_first_administrator_comes_in_by_the_link_in_the_folder_once() {
    let server = TestServer::start().await;
    let path = server.folder.path().join("data/setup-link");
    let link = std::fs::read_to_string(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let (base, code) = link.trim_end().split_once("/setup#").unwrap();
    assert_eq!(base, format!("http://{}", server.address()));

    let look =
        async |code: &str| post("/api/v1/setup/look", &json!({"code": code})).to(server.address()).await;
    let first = look(code).await.json();
    assert_eq!(
        (&first["kind"], &first["role"], &first["username"]),
        (&json!("first"), &json!("administrator"), &Value::Null)
    );
    for wrong in ["", "x", &"A".repeat(43), &"A".repeat(5_000)] {
        let answer = look(wrong).await;
        assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::NOT_FOUND, "setup_unknown"));
    }
    let who = json!({"username": "admin", "name": "周主任"});
    for (weak, problem) in [
        (json!({"password": "too short"}), "weak_password"),
        (json!({"password": "1234567890"}), "weak_password"),
        (json!({"username": "a b"}), "invalid"),
        (json!({"name": ""}), "invalid"),
    ] {
        let mut body = who.clone();
        for (key, value) in weak.as_object().unwrap() {
            body[key] = value.clone();
        }
        let answer = server.sets_up(code, body).await;
        assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::UNPROCESSABLE_ENTITY, problem));
    }

    let answer = server.sets_up(code, who.clone()).await;
    let set_cookie = answer.header(header::SET_COOKIE).to_owned();
    let attributes: Vec<&str> = set_cookie.split("; ").skip(1).collect();
    assert_eq!(attributes, ["Path=/api/v1/session", "HttpOnly", "SameSite=Strict"], "plain HTTP on loopback");
    let administrator = SignedIn::of(&answer);
    let me = get("/api/v1/me").token(&administrator.token).to(server.address()).await.json();
    assert_eq!((&me["username"], &me["role"]), (&json!("admin"), &json!("administrator")));
    assert!(!path.exists(), "it is used up");
    let again = server.sets_up(code, who).await;
    assert_eq!((again.status, again.problem().as_str()), (StatusCode::NOT_FOUND, "setup_unknown"));
    assert_eq!(server.audited().await, ["account.sign_in", "account.password"]);

    let behind_a_proxy = post("/api/v1/session", &json!({"username": "admin", "password": PASSWORD}))
        .header("origin", "https://localhost")
        .to(server.address())
        .await;
    assert!(behind_a_proxy.header(header::SET_COOKIE).ends_with("; Secure"), "the browser is over TLS");
    server.server.stop().await;
}

#[tokio::test]
async fn without_an_administrator_each_start_makes_another_link_and_with_one_none() {
    let server = TestServer::start().await;
    let path = server.folder.path().join("data/setup-link");
    let link = std::fs::read_to_string(&path).unwrap();
    let TestServer { server: running, folder } = server;
    let config = running.app().config.as_ref().clone();
    running.stop().await;
    let server = TestServer { server: hewei::serve::Server::start(config.clone()).await.unwrap(), folder };
    let another = std::fs::read_to_string(&path).unwrap();
    let code = |link: &str| link.trim_end().split_once('#').unwrap().1.to_owned();
    assert_ne!(code(&link), code(&another));
    let old = post("/api/v1/setup/look", &json!({"code": code(&link)})).to(server.address()).await;
    assert_eq!(old.status, StatusCode::NOT_FOUND, "the one before is good no more");

    // One that has run out is nothing, either.
    let store = &server.server.app().store;
    store.put_setup_code("run out", None, OffsetDateTime::now_utc()).await.unwrap();
    assert_eq!(server.sets_up("run out", json!({})).await.problem(), "setup_unknown");
    store.put_setup_code("good", None, OffsetDateTime::now_utc() + time::Duration::hours(1)).await.unwrap();
    SignedIn::of(&server.sets_up("good", json!({"username": "admin", "name": "周"})).await);
    let TestServer { server: running, folder } = server;
    running.stop().await;
    let running = hewei::serve::Server::start(config).await.unwrap();
    assert!(!path.exists() && running.setup_link().is_none());
    running.stop().await;
    drop(folder);
}

#[tokio::test]
async fn signing_in_gives_short_tokens_until_one_signs_out() {
    let server = TestServer::start().await;
    server.first_administrator().await;
    let here = SignedIn::of(&server.signs_in("ADMIN.zhou", PASSWORD).await);
    let there = SignedIn::of(&server.signs_in("admin.zhou", PASSWORD).await);
    let claims = server.server.app().tokens.verify(&here.token, OffsetDateTime::now_utc()).unwrap();
    let lifetime = (claims.expires_at - OffsetDateTime::now_utc()).whole_seconds();
    assert!((800..=900).contains(&lifetime), "{lifetime}");

    let renewed = server.renews(&here.cookie).await;
    assert_eq!(renewed.header(header::CACHE_CONTROL), "no-store");
    let renewed = renewed.json()["token"].as_str().unwrap().to_owned();
    assert_eq!(server.me(&renewed).await, "200");

    let list = server.sends(Method::GET, "/api/v1/sessions", &here.token, Value::Null).await.json();
    let list = list.as_array().unwrap();
    assert_eq!(list.len(), 3);
    let current: Vec<_> = list.iter().filter(|session| session["current"] == true).collect();
    assert_eq!((current.len(), current[0]["address"].as_str()), (1, Some("127.0.0.1")));
    assert!(!list.iter().any(|session| session.to_string().contains(&here.cookie[14..])), "no secret");

    // Another page of the same machine may not do it.
    let foreign = ask(Method::DELETE, "/api/v1/session")
        .header("cookie", &here.cookie)
        .header("origin", "http://localhost:1")
        .to(server.address())
        .await;
    assert_eq!((foreign.status, foreign.problem().as_str()), (StatusCode::FORBIDDEN, "cross_origin"));

    let out =
        ask(Method::DELETE, "/api/v1/session").header("cookie", &here.cookie).to(server.address()).await;
    assert_eq!(out.status, StatusCode::NO_CONTENT);
    assert!(out.header(header::SET_COOKIE).contains("Max-Age=0"));
    for token in [&here.token, &renewed] {
        assert_eq!(server.me(token).await, "token_revoked", "at once, and not in a quarter of an hour");
    }
    assert_eq!(server.renews(&here.cookie).await.problem(), "signed_out");
    assert_eq!(server.me(&there.token).await, "200", "the other browser is still in");
    server.server.stop().await;
}

#[tokio::test]
async fn what_was_ended_stays_ended_over_a_restart() {
    let server = TestServer::start().await;
    let administrator = server.first_administrator().await;
    let out = ask(Method::DELETE, "/api/v1/session")
        .header("cookie", &administrator.cookie)
        .to(server.address())
        .await;
    assert_eq!(out.status, StatusCode::NO_CONTENT);
    let other = SignedIn::of(&server.signs_in("admin.zhou", PASSWORD).await);
    let TestServer { server: running, folder } = server;
    let config = running.app().config.as_ref().clone();
    running.stop().await;
    let server = TestServer { server: hewei::serve::Server::start(config).await.unwrap(), folder };
    assert_eq!(server.me(&administrator.token).await, "token_revoked");
    assert_eq!(server.me(&other.token).await, "200");
    assert_eq!(server.renews(&other.cookie).await.status, StatusCode::OK);
    server.server.stop().await;
}

#[tokio::test]
async fn one_ends_ones_other_sign_ins_and_nobody_elses() {
    let server = TestServer::start().await;
    let administrator = server.first_administrator().await;
    let (_, code) = server.account(&administrator.token, "li.na", "lawyer").await;
    let lawyer = SignedIn::of(&server.sets_up(&code, json!({})).await);
    let phone = SignedIn::of(&server.signs_in("li.na", PASSWORD).await);
    let list = server.sends(Method::GET, "/api/v1/sessions", &lawyer.token, Value::Null).await.json();
    let other = list.as_array().unwrap().iter().find(|session| session["current"] == false).unwrap();
    let path = format!("/api/v1/sessions/{}", other["id"].as_str().unwrap());
    let foreign = server.sends(Method::DELETE, &path, &administrator.token, Value::Null).await;
    assert_eq!(foreign.status, StatusCode::NOT_FOUND);
    assert_eq!(server.me(&phone.token).await, "200");
    let ended = server.sends(Method::DELETE, &path, &lawyer.token, Value::Null).await;
    assert_eq!(ended.status, StatusCode::NO_CONTENT);
    assert_eq!(server.me(&phone.token).await, "token_revoked");
    assert_eq!(server.me(&lawyer.token).await, "200");

    // A new password ends the others, and an old one is asked for.
    let tablet = SignedIn::of(&server.signs_in("li.na", PASSWORD).await);
    let change = async |old: &str, new: &str| {
        let body = json!({"old": old, "new": new});
        server.sends(Method::PUT, "/api/v1/account/password", &lawyer.token, body).await
    };
    let wrong = change("not the password", "correct horse battery").await;
    assert_eq!((wrong.status, wrong.problem().as_str()), (StatusCode::FORBIDDEN, "wrong_password"));
    assert_eq!(change(PASSWORD, "li.na12345").await.problem(), "weak_password");
    assert_eq!(change(PASSWORD, "correct horse battery").await.status, StatusCode::NO_CONTENT);
    assert_eq!(server.me(&tablet.token).await, "token_revoked");
    assert_eq!(server.me(&lawyer.token).await, "200");
    assert_eq!(server.signs_in("li.na", PASSWORD).await.problem(), "sign_in_failed");
    SignedIn::of(&server.signs_in("li.na", "correct horse battery").await);
    server.server.stop().await;
}

#[tokio::test]
async fn passwords_cannot_be_tried_for_long_and_what_was_typed_is_nowhere() {
    let server = TestServer::start().await;
    let administrator = server.first_administrator().await;
    let (_, code) = server.account(&administrator.token, "li.na", "lawyer").await;
    SignedIn::of(&server.sets_up(&code, json!({})).await);
    let mut tries = 0;
    let limited = loop {
        let answer = server.signs_in("li.na", "a wrong password").await;
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            break answer;
        }
        assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::UNAUTHORIZED, "sign_in_failed"));
        tries += 1;
        assert!(tries < 20);
    };
    assert_eq!(limited.problem(), "too_many_tries");
    let wait: u64 = limited.header(header::RETRY_AFTER).parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
    assert_eq!(server.signs_in("li.na", PASSWORD).await.status, StatusCode::TOO_MANY_REQUESTS);
    // Others at the same address are not held up.
    SignedIn::of(&server.signs_in("admin.zhou", PASSWORD).await);

    // A password in the wrong field.
    let unknown = server.signs_in("correct-horse-battery", "x").await;
    assert_eq!((unknown.status, unknown.problem().as_str()), (StatusCode::UNAUTHORIZED, "sign_in_failed"));
    let rows = server.server.app().store.audit_rows(None, 500).await.unwrap();
    let refused: Vec<_> = rows.iter().filter(|row| row.entry.action == "account.sign_in_refused").collect();
    assert_eq!(refused.len(), tries + 1);
    assert_eq!(
        (refused[0].entry.actor.as_str(), refused[0].entry.target.as_str()),
        ("?", "unknown user name")
    );
    assert_eq!(refused[1].entry.actor, "李娜");
    let all = format!("{rows:?}");
    assert!(!all.contains("correct-horse") && !all.contains("wrong password"), "{all}");
    let metrics = get("/metrics").to(server.address()).await;
    let metrics = String::from_utf8(metrics.body.to_vec()).unwrap();
    assert!(metrics.contains("hewei_sign_ins_refused_total 2\n"), "{metrics}");
    server.server.stop().await;
}

#[tokio::test]
async fn an_administrator_makes_changes_and_closes_accounts() {
    let server = TestServer::start().await;
    let administrator = server.first_administrator().await.token;
    let (id, code) = server.account(&administrator, "wang.min", "mediator").await;
    let info = post("/api/v1/setup/look", &json!({"code": code})).to(server.address()).await.json();
    assert_eq!(
        (&info["kind"], &info["username"], &info["role"]),
        (&json!("invited"), &json!("wang.min"), &json!("mediator"))
    );
    assert_eq!(
        server.signs_in("wang.min", "").await.problem(),
        "sign_in_failed",
        "there is no default password"
    );
    for (body, status, problem) in [
        (json!({"username": "Wang.Min", "name": "n", "role": "lawyer"}), StatusCode::CONFLICT, "taken"),
        (
            json!({"username": "zhao", "name": "n", "role": "party"}),
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid",
        ),
        (
            json!({"username": "a/b", "name": "n", "role": "lawyer"}),
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid",
        ),
    ] {
        let answer = server.sends(Method::POST, "/api/v1/accounts", &administrator, body).await;
        assert_eq!((answer.status, answer.problem().as_str()), (status, problem));
    }
    let mediator = SignedIn::of(&server.sets_up(&code, json!({"name": "ignored"})).await);
    assert_eq!(server.sets_up(&code, json!({})).await.problem(), "setup_unknown", "used");
    let path = format!("/api/v1/accounts/{id}");
    let sessions = format!("{path}/sessions");
    let list = server.sends(Method::GET, &sessions, &administrator, Value::Null).await.json();
    assert_eq!((list.as_array().unwrap().len(), &list[0]["current"]), (1, &json!(false)));

    // Another name leaves the sign-in as it is; another role ends it.
    let named = server.sends(Method::PATCH, &path, &administrator, json!({"name": "王敏"})).await;
    assert_eq!(named.json()["name"], "王敏");
    assert_eq!(server.me(&mediator.token).await, "200");
    let renewed = server.renews(&mediator.cookie).await.json();
    assert_eq!(renewed["name"], "王敏");
    let changed = server.sends(Method::PATCH, &path, &administrator, json!({"role": "lawyer"})).await;
    assert_eq!(changed.json()["role"], "lawyer");
    assert_eq!(server.me(&mediator.token).await, "token_revoked");
    assert_eq!(server.renews(&mediator.cookie).await.problem(), "signed_out");
    let lawyer = SignedIn::of(&server.signs_in("wang.min", PASSWORD).await);
    let me = get("/api/v1/me").token(&lawyer.token).to(server.address()).await.json();
    assert_eq!(me["role"], "lawyer");
    let old = server.server.app().tokens.verify(&lawyer.token, OffsetDateTime::now_utc()).unwrap();
    assert_eq!(me["participant_id"], old.participant.to_string());

    let ended = server.sends(Method::DELETE, &sessions, &administrator, Value::Null).await;
    assert_eq!(ended.status, StatusCode::NO_CONTENT);
    assert_eq!(server.me(&lawyer.token).await, "token_revoked");

    let lawyer = SignedIn::of(&server.signs_in("wang.min", PASSWORD).await);
    server.sends(Method::PATCH, &path, &administrator, json!({"disabled": true})).await;
    assert_eq!(server.me(&lawyer.token).await, "token_revoked");
    let closed = server.signs_in("wang.min", PASSWORD).await;
    assert_eq!((closed.status, closed.problem().as_str()), (StatusCode::FORBIDDEN, "account_disabled"));
    assert_eq!(server.signs_in("wang.min", "a wrong password").await.problem(), "sign_in_failed");
    let reset = server.sends(Method::POST, &format!("{path}/reset"), &administrator, Value::Null).await;
    assert_eq!((reset.status, reset.problem().as_str()), (StatusCode::CONFLICT, "account_disabled"));
    server.sends(Method::PATCH, &path, &administrator, json!({"disabled": false})).await;

    let lawyer = SignedIn::of(&server.signs_in("wang.min", PASSWORD).await);
    let reset =
        server.sends(Method::POST, &format!("{path}/reset"), &administrator, Value::Null).await.json();
    assert_eq!(reset["account"]["ready"], false);
    assert_eq!(server.me(&lawyer.token).await, "token_revoked");
    assert_eq!(server.signs_in("wang.min", PASSWORD).await.problem(), "sign_in_failed");
    let code = reset["path"].as_str().unwrap().strip_prefix("/setup#").unwrap();
    let info = post("/api/v1/setup/look", &json!({"code": code})).to(server.address()).await.json();
    assert_eq!((&info["kind"], &info["name"]), (&json!("reset"), &json!("王敏")));
    SignedIn::of(&server.sets_up(code, json!({"password": "correct horse battery"})).await);
    let audited = server.audited().await;
    for action in ["account.create", "account.change", "account.reset", "account.end_sign_in"] {
        assert!(audited.iter().any(|row| row == action), "{action} in {audited:?}");
    }
    server.server.stop().await;
}

#[tokio::test]
async fn the_last_administrator_stays_one() {
    let server = TestServer::start().await;
    let administrator = server.first_administrator().await.token;
    let list = server.sends(Method::GET, "/api/v1/accounts", &administrator, Value::Null).await.json();
    let path = format!("/api/v1/accounts/{}", list[0]["id"].as_str().unwrap());
    // One who has not chosen a password yet could not sign in.
    let (second, code) = server.account(&administrator, "second", "administrator").await;
    for body in [json!({"disabled": true}), json!({"role": "auditor"})] {
        let answer = server.sends(Method::PATCH, &path, &administrator, body).await;
        assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::CONFLICT, "last_administrator"));
    }
    assert_eq!(server.me(&administrator).await, "200");
    let second_in = SignedIn::of(&server.sets_up(&code, json!({})).await);
    // At once, so that each would leave the other.
    let second_path = format!("/api/v1/accounts/{second}");
    let (one, other) = tokio::join!(
        server.sends(Method::PATCH, &path, &administrator, json!({"disabled": true})),
        server.sends(Method::PATCH, &second_path, &second_in.token, json!({"disabled": true})),
    );
    let done = [&one, &other].iter().filter(|answer| answer.status == StatusCode::OK).count();
    assert_eq!(done, 1, "{:?} {:?}", one.body, other.body);
    assert!(server.server.app().store.has_administrator().await.unwrap());
    server.server.stop().await;
}

#[tokio::test]
async fn a_link_from_the_command_line_is_listed_and_can_be_ended() {
    let server = TestServer::start().await;
    let arguments = ["token", "--room", "*", "--role", "mediator", "--ttl", "10m", "--name", "王"];
    let output = hewei(server.folder.path(), &arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let token = String::from_utf8(output.stdout).unwrap().trim_end().to_owned();
    assert_eq!(server.me(&token).await, "200");
    let administrator = server.token(Role::Administrator);
    let list = server.sends(Method::GET, "/api/v1/links", &administrator, Value::Null).await.json();
    assert_eq!(
        (&list[0]["name"], &list[0]["role"], list.as_array().unwrap().len()),
        (&json!("王"), &json!("mediator"), 1)
    );
    let path = format!("/api/v1/links/{}", list[0]["id"].as_str().unwrap());
    let ended = server.sends(Method::DELETE, &path, &administrator, Value::Null).await;
    assert_eq!(ended.status, StatusCode::NO_CONTENT);
    assert_eq!(server.me(&token).await, "token_revoked");
    assert_eq!(
        server.sends(Method::DELETE, &path, &administrator, Value::Null).await.status,
        StatusCode::NOT_FOUND
    );
    server.server.stop().await;
}

#[tokio::test]
async fn who_may_read_the_folder_gets_a_fresh_link() {
    let server = TestServer::start().await;
    let link = |more: &[&str]| {
        let mut command = hewei(server.folder.path(), &[&["setup-link"], more].concat());
        let output = command.env("HEWEI_HTTP_LISTEN", server.address().to_string()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.success(), text(output.stdout), text(output.stderr))
    };
    let code = |text: &str| text.lines().next().unwrap().split_once("/setup#").unwrap().1.to_owned();
    let (good, first, _) = link(&[]);
    assert!(good && first.starts_with(&format!("http://{}/setup#", server.address())), "{first}");
    let administrator =
        SignedIn::of(&server.sets_up(&code(&first), json!({"username": "admin", "name": "周"})).await);

    // The password was forgotten.
    let (good, again, _) = link(&[]);
    assert!(good, "{again}");
    let info = post("/api/v1/setup/look", &json!({"code": code(&again)})).to(server.address()).await.json();
    assert_eq!((&info["kind"], &info["username"]), (&json!("reset"), &json!("admin")));
    SignedIn::of(&server.sets_up(&code(&again), json!({"password": "correct horse battery"})).await);
    assert_eq!(server.me(&administrator.token).await, "token_revoked");

    // Where it listens everywhere, the link has the address that the settings tell: a container does not know it.
    let mut command = hewei(server.folder.path(), &["setup-link"]);
    command.env("HEWEI_HTTP_LISTEN", "0.0.0.0:8443").env("HEWEI_MEDIA_ADDRESSES", "192.0.2.10");
    let output = String::from_utf8(command.output().unwrap().stdout).unwrap();
    assert!(output.starts_with("https://192.0.2.10:8443/setup#") && output.lines().count() == 1, "{output}");

    let (good, out, error) = link(&["--username", "nobody"]);
    assert!(!good && out.is_empty() && error.contains("nobody"), "{error}");
    server.server.stop().await;
}

#[tokio::test]
async fn whoever_asks_too_often_waits_a_moment() {
    let server = TestServer::start().await;
    let app = server.server.app();
    let (token, participant) = server.token_and_participant(Role::Auditor);
    // An hour ahead, so that it wins nothing back meanwhile.
    let ahead = Instant::now() + Duration::from_secs(3_600);
    let mut limited = 1;
    while app.request_limits.admit(Asker::Bearer(participant), ahead).is_ok() {}
    for _ in 0..3 {
        let answer = get("/api/v1/me").token(&token).to(server.address()).await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (StatusCode::TOO_MANY_REQUESTS, "too_many_requests")
        );
        assert_eq!(answer.header(header::RETRY_AFTER), "1");
        limited += 1;
    }
    assert_eq!(get("/").to(server.address()).await.status, StatusCode::OK, "files are not counted");
    let metrics = get("/metrics").to(server.address()).await;
    let metrics = String::from_utf8(metrics.body.to_vec()).unwrap();
    assert!(
        metrics.contains(&format!("hewei_http_requests_limited_total {limited}\n")),
        "{limited}: {metrics}"
    );
    let other = server.token(Role::Lawyer);
    assert_eq!(server.me(&other).await, "200", "others are not held up");
    server.server.stop().await;
}
