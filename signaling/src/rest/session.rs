//! Signing in and out, and one's own sign-ins.

use std::{net::SocketAddr, time::Instant};

use axum::{
    Extension, Json,
    extract::{ConnectInfo, Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use hewei_api::{
    access::{ChangePassword, Credentials, Session},
    http::Grant,
    problem::Problem as ProblemBody,
};
use hewei_model::{Origin, Role, SignInId};
use hewei_store::{Account, SignIn};
use time::OffsetDateTime;

use super::input::{self, Body};
use crate::{
    access::{self, browser, cookie, passwords},
    auth::{Bearer, Claims},
    http::{listener::OverTls, same_origin},
    problem::Problem,
    state::App,
    wire,
};

/// Sign in. Sets the cookie `hewei_session`, which `POST /api/v1/session/token` exchanges for further tokens.
#[utoipa::path(
    post,
    path = "/api/v1/session",
    operation_id = "sign_in",
    request_body = Credentials,
    responses(
        (status = 200, body = Grant, description = "The token is good for 15 minutes"),
        (status = 401, description = "`sign_in_failed`: user name or password is wrong", body = ProblemBody),
        (status = 403, description = "`account_disabled`", body = ProblemBody),
        (status = 429, description = "Too many tries; `Retry-After` says in how many seconds", body = ProblemBody),
        (status = "4XX", body = ProblemBody)
    )
)]
pub async fn sign_in(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Extension(over_tls): Extension<OverTls>,
    headers: HeaderMap,
    Body(given): Body<Credentials>,
) -> Result<Response, Problem> {
    must_be_ours(&headers)?;
    let (account, hash) = check_password(&app, peer, &given.username, given.password).await?;
    if account.disabled {
        return Err(Problem::account_disabled());
    }
    let (secret, claims) = app.begin_sign_in(&account, &hash, peer.ip(), browser::family(&headers)).await?;
    signed_in(&app, &secret, claims, comes_over_tls(over_tls, &headers))
}

/// The account that this name and password are of, and its password's hash. Wrong ones are counted and written down.
async fn check_password(
    app: &App,
    peer: SocketAddr,
    username: &str,
    password: String,
) -> Result<(Account, String), Problem> {
    let admitted =
        app.sign_in_limits.admit(peer.ip(), username, Instant::now()).map_err(Problem::too_many_tries)?;
    let found = app.store.account_to_sign_in(username).await?;
    let (account, hash) = match found {
        Some((account, hash)) => (Some(account), hash),
        None => (None, None),
    };
    // Longer than any password may be; what is compared takes its time all the same.
    let password = if password.len() > 1_024 { String::new() } else { password };
    let right = app.passwords.matches(password, hash.clone(), admitted.known).await?;
    match (account, hash) {
        (Some(account), Some(hash)) if right => {
            app.sign_in_limits.was_right(peer.ip(), username, admitted, Instant::now());
            Ok((account, hash))
        }
        (account, _) => {
            refused(app, peer, account.as_ref()).await?;
            Err(Problem::sign_in_failed())
        }
    }
}

/// Writes a refusal down, but not each of many. Never the name that was typed: it may have been a password.
async fn refused(app: &App, peer: SocketAddr, account: Option<&Account>) -> Result<(), Problem> {
    let Some(unwritten) = app.sign_in_limits.write_down(Instant::now()) else { return Ok(()) };
    let mut detail = format!("from {}", peer.ip().to_canonical());
    if unwritten > 0 {
        detail.push_str(&format!("; {unwritten} more before it"));
    }
    let entry = hewei_store::AuditEntry {
        at: OffsetDateTime::now_utc(),
        actor: account.map_or_else(|| "?".to_owned(), |account| account.name.clone()),
        participant_id: account.map(|account| account.participant_id),
        role: account.map_or(Role::Party, |account| account.role),
        action: "account.sign_in_refused".to_owned(),
        target: account.map_or_else(|| "unknown user name".to_owned(), |account| account.id.to_string()),
        purpose_id: None,
        detail,
    };
    app.store.audit(&entry).await?;
    Ok(())
}

/// Exchange the cookie for a fresh token.
#[utoipa::path(
    post,
    path = "/api/v1/session/token",
    operation_id = "renew_token",
    responses(
        (status = 200, body = Grant),
        (status = 401, description = "`signed_out`: not signed in, or not any more", body = ProblemBody),
        (status = "4XX", body = ProblemBody)
    )
)]
pub async fn renew(State(app): State<App>, headers: HeaderMap) -> Result<Response, Problem> {
    must_be_ours(&headers)?;
    let now = OffsetDateTime::now_utc();
    match current(&app, &headers, now).await? {
        Some((sign_in, account)) => {
            // To within a minute is enough, and spares writing.
            if now - sign_in.last_used_at >= time::Duration::minutes(1) {
                app.store.touch_sign_in(sign_in.id, now).await?;
            }
            Ok(no_store(Json(grant(&app, access::claims(&account, &sign_in, now)))))
        }
        None => {
            let mut response = Problem::signed_out().into_response();
            if cookie::secret(&headers).is_some() {
                response.headers_mut().insert(header::SET_COOKIE, cookie::clear());
            }
            Ok(response)
        }
    }
}

/// Sign out.
#[utoipa::path(
    delete,
    path = "/api/v1/session",
    operation_id = "sign_out",
    responses((status = 204), (status = "4XX", body = ProblemBody))
)]
pub async fn sign_out(State(app): State<App>, headers: HeaderMap) -> Result<Response, Problem> {
    must_be_ours(&headers)?;
    let now = OffsetDateTime::now_utc();
    if let Some((sign_in, account)) = current(&app, &headers, now).await? {
        access::to_the_end(async move {
            app.end_sign_in(sign_in.id).await?;
            let claims = access::claims(&account, &sign_in, now);
            let detail = format!("sign-in {}", sign_in.id);
            app.audit(&claims, "account.sign_out", account.id, None, &detail).await
        })
        .await?;
    }
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie::clear())]).into_response())
}

/// One's own sign-ins, the one used last first.
#[utoipa::path(
    get,
    path = "/api/v1/sessions",
    operation_id = "sessions",
    responses(
        (status = 200, body = Vec<Session>),
        (status = 403, description = "`no_account`: a link or an invitation has none", body = ProblemBody),
        (status = "4XX", body = ProblemBody)
    ),
    security(("bearer" = []))
)]
pub async fn list(State(app): State<App>, Bearer(claims): Bearer) -> Result<Json<Vec<Session>>, Problem> {
    let (account, current) = app.account_of(&claims).await?;
    Ok(Json(of_account(&app, &account, Some(current)).await?))
}

/// End one of one's own sign-ins.
#[utoipa::path(
    delete,
    path = "/api/v1/sessions/{session}",
    operation_id = "end_session",
    params(("session" = String, Path)),
    responses((status = 204), (status = "4XX", body = ProblemBody)),
    security(("bearer" = []))
)]
pub async fn end(
    State(app): State<App>,
    Bearer(claims): Bearer,
    Path(session): Path<String>,
) -> Result<StatusCode, Problem> {
    let (account, _) = app.account_of(&claims).await?;
    let id: SignInId = input::id_in_path(&session, "sign-in")?;
    let found = app.store.sign_in(id).await?;
    if found.is_none() {
        app.ended_before(Origin::SignIn(id)).await?;
    }
    if found.is_none_or(|found| found.account_id != account.id) {
        return Err(Problem::not_found("sign-in"));
    }
    access::to_the_end(async move {
        if !app.end_sign_in(id).await? {
            return Err(Problem::not_found("sign-in"));
        }
        app.audit(&claims, "account.end_sign_in", account.id, None, &format!("sign-in {id}")).await?;
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

/// Choose another password. Signs out everywhere else.
#[utoipa::path(
    put,
    path = "/api/v1/account/password",
    operation_id = "change_password",
    request_body = ChangePassword,
    responses(
        (status = 204),
        (status = 403, description = "`wrong_password`: the old one is wrong; or `no_account`", body = ProblemBody),
        (status = 422, description = "`weak_password`; its detail says why", body = ProblemBody),
        (status = "4XX", body = ProblemBody)
    ),
    security(("bearer" = []))
)]
pub async fn change_password(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Bearer(claims): Bearer,
    Body(given): Body<ChangePassword>,
) -> Result<StatusCode, Problem> {
    let (account, current) = app.account_of(&claims).await?;
    passwords::check(&given.new, &account.username)?;
    let (_, old_hash) = match check_password(&app, peer, &account.username, given.old).await {
        // Not 401: the token is good.
        Err(problem) if problem.status() == StatusCode::UNAUTHORIZED => return Err(Problem::wrong_password()),
        result => result?,
    };
    let hash = app.passwords.hash(given.new).await?;
    access::to_the_end(async move {
        app.audit(&claims, "account.password", account.id, None, "changed by its owner").await?;
        let until = access::remembered_until();
        let changed = app.store.change_password(account.id, &old_hash, &hash, current, until).await?;
        let Some(ended) = changed else {
            // An administrator was faster.
            let detail = "not changed: it was reset, changed or closed in the same moment";
            app.audit(&claims, "account.password", account.id, None, detail).await?;
            return Err(Problem::wrong_password());
        };
        app.forget_sign_ins(ended);
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

/// What somebody gets who has just signed in.
pub(super) fn signed_in(
    app: &App,
    secret: &str,
    claims: Claims,
    over_tls: bool,
) -> Result<Response, Problem> {
    let mut response = no_store(Json(grant(app, claims)));
    response.headers_mut().insert(header::SET_COOKIE, cookie::set(secret, over_tls)?);
    Ok(response)
}

/// The sign-ins of an account as they are listed.
pub(super) async fn of_account(
    app: &App,
    account: &Account,
    current: Option<SignInId>,
) -> Result<Vec<Session>, Problem> {
    let now = OffsetDateTime::now_utc();
    let sign_ins = app.store.sign_ins(account.id).await?;
    let live = sign_ins.into_iter().filter(|sign_in| access::is_live(sign_in, now));
    Ok(live.map(|sign_in| to_wire(sign_in, current)).collect())
}

/// Whether the browser is over TLS, with us or with a proxy before us: it says so itself.
pub(super) fn comes_over_tls(OverTls(with_us): OverTls, headers: &HeaderMap) -> bool {
    let origin = headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok());
    with_us || origin.is_some_and(|origin| origin.starts_with("https://"))
}

/// Other sites' pages may not sign anybody in or out.
pub(super) fn must_be_ours(headers: &HeaderMap) -> Result<(), Problem> {
    if same_origin(headers) { Ok(()) } else { Err(Problem::cross_origin()) }
}

/// Whoever is signed in by the cookie.
async fn current(
    app: &App,
    headers: &HeaderMap,
    now: OffsetDateTime,
) -> Result<Option<(SignIn, Account)>, Problem> {
    let Some(secret) = cookie::secret(headers) else { return Ok(None) };
    let found = app.store.sign_in_of(secret).await?;
    Ok(found.filter(|(sign_in, account)| access::is_live(sign_in, now) && !account.disabled))
}

fn grant(app: &App, claims: Claims) -> Grant {
    Grant {
        token: app.tokens.issue(&claims),
        role: claims.role,
        name: claims.name,
        room_id: None,
        room_name: None,
        expires_at: wire::rfc3339(claims.expires_at),
    }
}

fn no_store(answer: impl IntoResponse) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], answer).into_response()
}

fn to_wire(sign_in: SignIn, current: Option<SignInId>) -> Session {
    Session {
        current: current == Some(sign_in.id),
        id: sign_in.id.to_string(),
        created_at: wire::rfc3339(sign_in.created_at),
        last_used_at: wire::rfc3339(sign_in.last_used_at),
        expires_at: wire::rfc3339(
            (sign_in.last_used_at + access::IDLE_MAX).min(sign_in.created_at + access::SIGN_IN_MAX),
        ),
        address: sign_in.address,
        browser: sign_in.browser,
    }
}
