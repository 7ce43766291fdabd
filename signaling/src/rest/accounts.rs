//! Accounts of the staff, as administrators keep them.

use axum::{
    Json,
    extract::{Path, Query, State},
    http::StatusCode,
};
use hewei_api::{
    access::{Account, AccountWithLink, ChangeAccount, NewAccount, Session},
    problem::Problem as ProblemBody,
};
use hewei_model::{AccountId, ParticipantId, Role};
use time::OffsetDateTime;

use super::{
    input::{self, Body, Limit},
    session,
};
use crate::{access, auth::Bearer, permissions::Action, problem::Problem, state::App, wire};

/// Accounts in the order they were made.
#[utoipa::path(
    get,
    path = "/api/v1/accounts",
    operation_id = "accounts",
    params(Limit),
    responses((status = 200, body = Vec<Account>), (status = "4XX", body = ProblemBody)),
    security(("bearer" = []))
)]
pub async fn list(
    State(app): State<App>,
    Bearer(claims): Bearer,
    Query(limit): Query<Limit>,
) -> Result<Json<Vec<Account>>, Problem> {
    claims.may_everywhere(Action::ManageAccounts)?;
    Ok(Json(app.store.accounts(limit.get()).await?.into_iter().map(to_wire).collect()))
}

/// Make an account. Its owner chooses the password by the one-time link in the answer, within 72 hours.
#[utoipa::path(
    post,
    path = "/api/v1/accounts",
    operation_id = "create_account",
    request_body = NewAccount,
    responses((status = 201, body = AccountWithLink), (status = "4XX", body = ProblemBody)),
    security(("bearer" = []))
)]
pub async fn create(
    State(app): State<App>,
    Bearer(claims): Bearer,
    Body(new): Body<NewAccount>,
) -> Result<(StatusCode, Json<AccountWithLink>), Problem> {
    claims.may_everywhere(Action::ManageAccounts)?;
    let now = OffsetDateTime::now_utc();
    let account = hewei_store::Account {
        id: AccountId::generate(),
        username: username(&new.username)?,
        name: input::text(&new.name, "name", 1, 60)?,
        role: role(new.role)?,
        participant_id: ParticipantId::generate(),
        ready: false,
        disabled: false,
        created_at: now,
        last_sign_in_at: None,
    };
    let code = access::secret()?;
    let expires_at = now + access::ACCOUNT_LINK_LIFETIME;
    app.store.add_account(&account, &code, expires_at).await?;
    let detail = format!("{} as {}", account.username, account.role);
    app.audit(&claims, "account.create", account.id, None, &detail).await?;
    Ok((StatusCode::CREATED, Json(with_link(account, &code, expires_at))))
}

/// Change an account. Another role, or closing it, signs it out everywhere.
#[utoipa::path(
    patch,
    path = "/api/v1/accounts/{account}",
    operation_id = "change_account",
    params(("account" = String, Path)),
    request_body = ChangeAccount,
    responses(
        (status = 200, body = Account),
        (status = 409, description = "`last_administrator`", body = ProblemBody),
        (status = "4XX", body = ProblemBody)
    ),
    security(("bearer" = []))
)]
pub async fn change(
    State(app): State<App>,
    Bearer(claims): Bearer,
    Path(account): Path<String>,
    Body(new): Body<ChangeAccount>,
) -> Result<Json<Account>, Problem> {
    claims.may_everywhere(Action::ManageAccounts)?;
    let id: AccountId = input::id_in_path(&account, "account")?;
    let given = hewei_store::AccountChange {
        name: new.name.map(|name| input::text(&name, "name", 1, 60)).transpose()?,
        role: new.role.map(role).transpose()?,
        disabled: new.disabled,
    };
    access::to_the_end(async move {
        let changed = app.store.change_account(id, &given, access::remembered_until()).await?;
        let changed = changed.ok_or_else(|| Problem::not_found("account"))?;
        let hewei_store::ChangedAccount { before, after, ended } = changed;
        // Before anything else is waited for: who has lost a role keeps nothing of it.
        app.forget_sign_ins(ended);
        let mut changes = Vec::new();
        if after.name != before.name {
            changes.push(format!("name {}, was {}", after.name, before.name));
        }
        if after.role != before.role {
            changes.push(format!("role {}, was {}", after.role, before.role));
        }
        if after.disabled != before.disabled {
            changes.push(if after.disabled { "closed".to_owned() } else { "open again".to_owned() });
        }
        if !changes.is_empty() {
            let detail = format!("{}: {}", after.username, changes.join("; "));
            app.audit(&claims, "account.change", after.id, None, &detail).await?;
        }
        Ok(Json(to_wire(after)))
    })
    .await
}

/// Take an account's password away, sign it out everywhere, and give a one-time link to choose another within 72
/// hours.
#[utoipa::path(
    post,
    path = "/api/v1/accounts/{account}/reset",
    operation_id = "reset_account",
    params(("account" = String, Path)),
    responses((status = 200, body = AccountWithLink), (status = "4XX", body = ProblemBody)),
    security(("bearer" = []))
)]
pub async fn reset(
    State(app): State<App>,
    Bearer(claims): Bearer,
    Path(account): Path<String>,
) -> Result<Json<AccountWithLink>, Problem> {
    claims.may_everywhere(Action::ManageAccounts)?;
    let mut account = find(&app, &account).await?;
    let closed = || {
        Problem::conflict(
            "account_disabled",
            "This account is closed.",
            "Open it again first; then give its owner a link.",
        )
    };
    if account.disabled {
        return Err(closed());
    }
    let code = access::secret()?;
    access::to_the_end(async move {
        app.audit(&claims, "account.reset", account.id, None, &account.username).await?;
        let expires_at = OffsetDateTime::now_utc() + access::ACCOUNT_LINK_LIFETIME;
        let until = access::remembered_until();
        let ended = app.store.reset_account(account.id, &code, expires_at, until).await?;
        app.forget_sign_ins(ended.ok_or_else(closed)?);
        account.ready = false;
        Ok(Json(with_link(account, &code, expires_at)))
    })
    .await
}

/// Where an account is signed in.
#[utoipa::path(
    get,
    path = "/api/v1/accounts/{account}/sessions",
    operation_id = "account_sessions",
    params(("account" = String, Path)),
    responses((status = 200, body = Vec<Session>), (status = "4XX", body = ProblemBody)),
    security(("bearer" = []))
)]
pub async fn sessions(
    State(app): State<App>,
    Bearer(claims): Bearer,
    Path(account): Path<String>,
) -> Result<Json<Vec<Session>>, Problem> {
    claims.may_everywhere(Action::ManageAccounts)?;
    let account = find(&app, &account).await?;
    let current = app.account_of(&claims).await.ok().map(|(_, current)| current);
    Ok(Json(session::of_account(&app, &account, current).await?))
}

/// Sign an account out everywhere.
#[utoipa::path(
    delete,
    path = "/api/v1/accounts/{account}/sessions",
    operation_id = "end_account_sessions",
    params(("account" = String, Path)),
    responses((status = 204), (status = "4XX", body = ProblemBody)),
    security(("bearer" = []))
)]
pub async fn end_sessions(
    State(app): State<App>,
    Bearer(claims): Bearer,
    Path(account): Path<String>,
) -> Result<StatusCode, Problem> {
    claims.may_everywhere(Action::ManageAccounts)?;
    let account = find(&app, &account).await?;
    access::to_the_end(async move {
        let ended = app.end_sign_ins_of(account.id).await?;
        let detail = format!("{}: {ended} sign-ins", account.username);
        app.audit(&claims, "account.end_sign_in", account.id, None, &detail).await?;
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

/// A user name: letters and digits of any script, and a few marks.
pub(super) fn username(text: &str) -> Result<String, Problem> {
    let text = input::text(text, "username", 2, 64)?;
    match text.chars().all(|character| character.is_alphanumeric() || "._-@".contains(character)) {
        true => Ok(text),
        false => Err(Problem::invalid("username may have letters, digits, and the marks . _ - and @.")),
    }
}

/// Parties have no accounts.
fn role(role: Role) -> Result<Role, Problem> {
    match role {
        Role::Party => {
            Err(Problem::invalid("role: a party has no account; the mediator invites parties by a link."))
        }
        role => Ok(role),
    }
}

async fn find(app: &App, account: &str) -> Result<hewei_store::Account, Problem> {
    let id: AccountId = input::id_in_path(account, "account")?;
    app.store.account(id).await?.ok_or_else(|| Problem::not_found("account"))
}

fn with_link(account: hewei_store::Account, code: &str, expires_at: OffsetDateTime) -> AccountWithLink {
    AccountWithLink {
        account: to_wire(account),
        path: format!("/setup#{code}"),
        expires_at: wire::rfc3339(expires_at),
    }
}

fn to_wire(account: hewei_store::Account) -> Account {
    Account {
        id: account.id.to_string(),
        username: account.username,
        name: account.name,
        role: account.role,
        ready: account.ready,
        disabled: account.disabled,
        created_at: wire::rfc3339(account.created_at),
        last_sign_in_at: account.last_sign_in_at.map(wire::rfc3339),
    }
}
