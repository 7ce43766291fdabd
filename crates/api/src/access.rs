//! Bodies of `/api/v1/` about accounts of the staff, signing in, and what opens the server without an account.

use hewei_model::Role;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::RoleName;

/// Somebody of the staff.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Account {
    /// Id.
    pub id: String,
    /// What one signs in with; large and small letters are the same.
    pub username: String,
    /// Display name.
    pub name: String,
    /// Role; any but party.
    #[schema(value_type = RoleName)]
    pub role: Role,
    /// Whether a password was chosen; until then the one-time link is the only way in.
    pub ready: bool,
    /// Whether it is closed.
    pub disabled: bool,
    /// When it was made.
    pub created_at: String,
    /// When somebody last signed in with it.
    pub last_sign_in_at: Option<String>,
}

/// `POST /api/v1/accounts`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NewAccount {
    /// 2–64 letters, digits, `.`, `_`, `-` or `@`; unique.
    pub username: String,
    /// Display name, 1–60 characters.
    pub name: String,
    /// Role; any but party.
    #[schema(value_type = RoleName)]
    pub role: Role,
}

/// An account and the one-time link by which its owner chooses a password. The link is shown once, here.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AccountWithLink {
    /// The account.
    pub account: Account,
    /// Path and fragment to append to the server's address: `/setup#CODE`.
    pub path: String,
    /// When the link ends.
    pub expires_at: String,
}

/// `PATCH /api/v1/accounts/{account}`: what is absent stays. Another role, or `disabled`, signs it out everywhere.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct ChangeAccount {
    /// Display name, 1–60 characters.
    pub name: Option<String>,
    /// Role; any but party.
    #[schema(value_type = Option<RoleName>)]
    pub role: Option<Role>,
    /// Whether it is closed.
    pub disabled: Option<bool>,
}

/// `POST /api/v1/setup/look`: what a set-up link is for.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LookAtSetup {
    /// The code from the link (`/setup#CODE`).
    pub code: String,
}

/// What a set-up link is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SetupKind {
    /// The first administrator chooses a user name, a name and a password.
    First,
    /// Somebody for whom an account was made chooses a password.
    Invited,
    /// Somebody who forgot the password chooses another.
    Reset,
}

/// The answer to `POST /api/v1/setup/look`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SetupInfo {
    /// What the link is for.
    pub kind: SetupKind,
    /// The account's user name; absent for the first administrator.
    pub username: Option<String>,
    /// The account's name; absent for the first administrator.
    pub name: Option<String>,
    /// The account's role.
    #[schema(value_type = RoleName)]
    pub role: Role,
    /// When the link ends.
    pub expires_at: String,
}

/// `POST /api/v1/setup`: uses the link up, and signs in.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct Setup {
    /// The code from the link.
    pub code: String,
    /// For the first administrator; see [`NewAccount`].
    pub username: Option<String>,
    /// For the first administrator, 1–60 characters.
    pub name: Option<String>,
    /// 10–128 characters, and none of the commonest passwords.
    pub password: String,
}

/// `POST /api/v1/session`.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct Credentials {
    /// User name.
    pub username: String,
    /// Password.
    pub password: String,
}

/// `PUT /api/v1/account/password`. Signs out everywhere else.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct ChangePassword {
    /// The password until now.
    pub old: String,
    /// 10–128 characters, and none of the commonest passwords.
    pub new: String,
}

/// One sign-in at one browser.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Session {
    /// Id.
    pub id: String,
    /// When somebody signed in.
    pub created_at: String,
    /// When it was last used, to within a minute.
    pub last_used_at: String,
    /// When it ends at the latest.
    pub expires_at: String,
    /// The address it came from.
    pub address: String,
    /// Browser and system as the browser names itself, such as `Chrome · Windows`; empty when it did not.
    pub browser: String,
    /// Whether it is the one that asks.
    pub current: bool,
}

/// Where an invitation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum InvitationState {
    /// Nobody has opened it yet.
    Unused,
    /// Somebody came in by it.
    Used,
    /// It ran out without being opened.
    Expired,
    /// It was withdrawn; who came in by it is out.
    Revoked,
}

/// An invitation as it is listed. Its link is not shown again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InvitationRow {
    /// Id.
    pub id: String,
    /// Role it gives.
    #[schema(value_type = RoleName)]
    pub role: Role,
    /// Whom it was made for.
    pub name: String,
    /// State.
    pub state: InvitationState,
    /// When it was made.
    pub created_at: String,
    /// When the link ends, if nobody opens it before.
    pub expires_at: String,
    /// When it was opened.
    pub used_at: Option<String>,
}

/// A token without an account: made on the command line, or for the demo.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Link {
    /// Id.
    pub id: String,
    /// Display name.
    pub name: String,
    /// Role.
    #[schema(value_type = RoleName)]
    pub role: Role,
    /// The one room it is for; absent for all.
    pub room_id: Option<String>,
    /// When it was made.
    pub created_at: String,
    /// When it ends.
    pub expires_at: String,
}
