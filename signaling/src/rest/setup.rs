//! Choosing a password by a one-time link: the first administrator, a new colleague, or one who forgot it.

use std::{net::SocketAddr, time::Instant};

use axum::{
    Extension, Json,
    extract::{ConnectInfo, State},
    http::HeaderMap,
    response::Response,
};
use hewei_api::{
    access::{LookAtSetup, Setup, SetupInfo, SetupKind},
    http::Grant,
    problem::Problem as ProblemBody,
};
use hewei_model::{AccountId, ParticipantId, Role};
use hewei_store::{Account, SetupCode};
use time::OffsetDateTime;

use super::{
    accounts,
    input::{self, Body},
    session,
};
use crate::{
    access::{self, browser, passwords, setup_link},
    auth::Claims,
    http::listener::OverTls,
    problem::Problem,
    state::App,
    wire,
};

/// No code is longer.
const CODE_LENGTH_MAX: usize = 64;

/// What a set-up link is for.
#[utoipa::path(
    post,
    path = "/api/v1/setup/look",
    operation_id = "look_at_setup",
    request_body = LookAtSetup,
    responses(
        (status = 200, body = SetupInfo),
        (status = 404, description = "`setup_unknown`: no such code, or it was used or has run out", body = ProblemBody),
        (status = "4XX", body = ProblemBody)
    )
)]
pub async fn look(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Body(LookAtSetup { code }): Body<LookAtSetup>,
) -> Result<Json<SetupInfo>, Problem> {
    let SetupCode { account, expires_at } = find(&app, peer, &code).await?;
    let kind = match &account {
        None => SetupKind::First,
        // Who signed in once knew a password.
        Some(account) if account.last_sign_in_at.is_some() => SetupKind::Reset,
        Some(_) => SetupKind::Invited,
    };
    Ok(Json(SetupInfo {
        kind,
        role: account.as_ref().map_or(Role::Administrator, |account| account.role),
        username: account.as_ref().map(|account| account.username.clone()),
        name: account.map(|account| account.name),
        expires_at: wire::rfc3339(expires_at),
    }))
}

/// Choose a password by a set-up link, and sign in.
#[utoipa::path(
    post,
    path = "/api/v1/setup",
    operation_id = "setup",
    request_body = Setup,
    responses(
        (status = 200, body = Grant, description = "As `POST /api/v1/session`"),
        (status = 404, description = "`setup_unknown`: no such code, or it was used or has run out", body = ProblemBody),
        (status = 422, description = "`weak_password`; its detail says why", body = ProblemBody),
        (status = "4XX", body = ProblemBody)
    )
)]
pub async fn setup(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Extension(over_tls): Extension<OverTls>,
    headers: HeaderMap,
    Body(given): Body<Setup>,
) -> Result<Response, Problem> {
    session::must_be_ours(&headers)?;
    let now = OffsetDateTime::now_utc();
    let found = find(&app, peer, &given.code).await?.account;
    let first = found.is_none();
    let account = match found {
        Some(account) => account,
        None => Account {
            id: AccountId::generate(),
            username: accounts::username(&given.username.unwrap_or_default())?,
            name: input::text(&given.name.unwrap_or_default(), "name", 1, 60)?,
            role: Role::Administrator,
            participant_id: ParticipantId::generate(),
            ready: true,
            disabled: false,
            created_at: now,
            last_sign_in_at: None,
        },
    };
    passwords::check(&given.password, &account.username)?;
    let hash = app.passwords.hash(given.password).await?;
    let (account, hash) = access::to_the_end({
        let app = app.clone();
        async move {
            let until = access::remembered_until();
            let used = app.store.use_setup_code(&given.code, &account, &hash, now, first, until).await?;
            // Whoever was signed in with the password before is not any more.
            app.forget_sign_ins(used.ok_or_else(Problem::setup_unknown)?);
            if first {
                setup_link::remove(&app.config.storage.folder);
            }
            let by_link = Claims {
                participant: account.participant_id,
                ..Claims::of_link(account.name.clone(), account.role, None, now)
            };
            let done =
                if first { "the first administrator, by the set-up link" } else { "by a one-time link" };
            app.audit(&by_link, "account.password", account.id, None, done).await?;
            Ok((account, hash))
        }
    })
    .await?;
    let (secret, claims) = app.begin_sign_in(&account, &hash, peer.ip(), browser::family(&headers)).await?;
    session::signed_in(&app, &secret, claims, session::comes_over_tls(over_tls, &headers))
}

/// What a code is for. Wrong ones cost tries as with invitations.
async fn find(app: &App, peer: SocketAddr, code: &str) -> Result<SetupCode, Problem> {
    if !app.setup_limits.admit(peer.ip(), Instant::now()) {
        return Err(Problem::too_many_requests());
    }
    if code.len() > CODE_LENGTH_MAX {
        return Err(Problem::setup_unknown());
    }
    let found = app.store.setup_code(code, OffsetDateTime::now_utc()).await?;
    let found = found.ok_or_else(Problem::setup_unknown)?;
    app.setup_limits.was_right(peer.ip());
    Ok(found)
}
