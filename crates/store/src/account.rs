//! Accounts of the staff, and the one-time codes by which their passwords are chosen.

use hewei_model::{AccountId, ParticipantId, Role, SignInId};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};
use time::OffsetDateTime;

use crate::{Error, Result, Store, row, sign_in};

/// Somebody of the staff.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Id.
    pub id: AccountId,
    /// What one signs in with, as it was written; unique whatever the size of its letters.
    pub username: String,
    /// Display name.
    pub name: String,
    /// Role.
    pub role: Role,
    /// The seat in any room, and the hand in the audit log: the same for good.
    pub participant_id: ParticipantId,
    /// Whether a password was chosen.
    pub ready: bool,
    /// Whether it is closed.
    pub disabled: bool,
    /// When it was made.
    pub created_at: OffsetDateTime,
    /// When somebody last signed in with it.
    pub last_sign_in_at: Option<OffsetDateTime>,
}

/// What is to be changed of an account; what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccountChange {
    /// Display name.
    pub name: Option<String>,
    /// Role.
    pub role: Option<Role>,
    /// Whether it is closed.
    pub disabled: Option<bool>,
}

/// What became of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedAccount {
    /// As it was until then.
    pub before: Account,
    /// As it is now.
    pub after: Account,
    /// The sign-ins that ended with it, whose tokens are good no more.
    pub ended: Vec<SignInId>,
}

/// What a one-time code is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetupCode {
    /// Whose password it chooses; `None` makes the first administrator.
    pub account: Option<Account>,
    /// When it ends.
    pub expires_at: OffsetDateTime,
}

const COLUMNS: &str = "id, username, name, role, participant_id, password IS NOT NULL AS ready, disabled, created_at, \
                       last_sign_in_at";

/// Those who can sign in and make accounts.
const ADMINISTRATOR: &str = "role = 'administrator' AND disabled = 0 AND password IS NOT NULL";

pub(crate) fn read(row: &SqliteRow) -> Result<Account> {
    Ok(Account {
        id: row::parse(row, "id")?,
        username: row.try_get("username")?,
        name: row.try_get("name")?,
        role: row::parse(row, "role")?,
        participant_id: row::parse(row, "participant_id")?,
        ready: row.try_get("ready")?,
        disabled: row.try_get("disabled")?,
        created_at: row::at(row, "created_at")?,
        last_sign_in_at: row::at_option(row, "last_sign_in_at")?,
    })
}

async fn insert(connection: &mut SqliteConnection, account: &Account, password: Option<&str>) -> Result<()> {
    sqlx::query(
        "INSERT INTO accounts
             (id, username, username_folded, name, role, participant_id, password, disabled, created_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(account.id.to_string())
    .bind(&account.username)
    .bind(account.username.to_lowercase())
    .bind(&account.name)
    .bind(account.role.as_str())
    .bind(account.participant_id.to_string())
    .bind(password)
    .bind(account.disabled)
    .bind(row::to_ms(account.created_at))
    .execute(connection)
    .await?;
    Ok(())
}

async fn put_code(
    connection: &mut SqliteConnection,
    code: &str,
    account: Option<AccountId>,
    expires_at: OffsetDateTime,
) -> Result<()> {
    let account = account.map(|id| id.to_string());
    sqlx::query("DELETE FROM setup_codes WHERE account_id IS ?")
        .bind(&account)
        .execute(&mut *connection)
        .await?;
    sqlx::query("INSERT INTO setup_codes (code_sha256, account_id, expires_at) VALUES (?, ?, ?)")
        .bind(row::sha256(code))
        .bind(account)
        .bind(row::to_ms(expires_at))
        .execute(connection)
        .await?;
    Ok(())
}

async fn forget_code(connection: &mut SqliteConnection, account: AccountId) -> Result<()> {
    sqlx::query("DELETE FROM setup_codes WHERE account_id = ?")
        .bind(account.to_string())
        .execute(connection)
        .await?;
    Ok(())
}

impl Store {
    /// Adds an account without a password, and the code to choose one. [`Error::Taken`] when the user name is there
    /// already.
    pub async fn add_account(
        &self,
        account: &Account,
        code: &str,
        code_expires_at: OffsetDateTime,
    ) -> Result<()> {
        let mut change = self.begin().await?;
        insert(&mut change, account, None).await?;
        put_code(&mut change, code, Some(account.id), code_expires_at).await?;
        change.commit().await?;
        Ok(())
    }

    /// One account.
    pub async fn account(&self, id: AccountId) -> Result<Option<Account>> {
        let sql = format!("SELECT {COLUMNS} FROM accounts WHERE id = ?");
        let row =
            sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id.to_string()).fetch_optional(&self.pool).await?;
        row.as_ref().map(read).transpose()
    }

    /// The account that signs in with this name, and its password's hash if it has one.
    pub async fn account_to_sign_in(&self, username: &str) -> Result<Option<(Account, Option<String>)>> {
        let sql = format!("SELECT {COLUMNS}, password FROM accounts WHERE username_folded = ?");
        let row = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(username.to_lowercase())
            .fetch_optional(&self.pool)
            .await?;
        let Some(row) = &row else { return Ok(None) };
        Ok(Some((read(row)?, row.try_get("password")?)))
    }

    /// Accounts in the order they were made, at most `limit`.
    pub async fn accounts(&self, limit: u32) -> Result<Vec<Account>> {
        let sql = format!("SELECT {COLUMNS} FROM accounts ORDER BY created_at, id LIMIT ?");
        let rows =
            sqlx::query(sqlx::AssertSqlSafe(sql)).bind(row::limit(limit)).fetch_all(&self.pool).await?;
        rows.iter().map(read).collect()
    }

    /// Whether there is an administrator who can sign in.
    pub async fn has_administrator(&self) -> Result<bool> {
        let sql = format!("SELECT 1 FROM accounts WHERE {ADMINISTRATOR}");
        Ok(sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_optional(&self.pool).await?.is_some())
    }

    /// Changes what is given of an account, and leaves the rest as it is by then. Another role, or closing it, signs it
    /// out everywhere. `None` when there is no such account; [`Error::LastAdministrator`] when nobody could make
    /// accounts after that. A closed account's code is gone.
    pub async fn change_account(
        &self,
        id: AccountId,
        given: &AccountChange,
        tokens_until: OffsetDateTime,
    ) -> Result<Option<ChangedAccount>> {
        let mut change = self.begin().await?;
        let sql = format!("SELECT {COLUMNS} FROM accounts WHERE id = ?");
        let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id.to_string()).fetch_optional(&mut *change);
        let Some(before) = row.await?.as_ref().map(read).transpose()? else { return Ok(None) };
        let after = Account {
            name: given.name.clone().unwrap_or_else(|| before.name.clone()),
            role: given.role.unwrap_or(before.role),
            disabled: given.disabled.unwrap_or(before.disabled),
            ..before.clone()
        };
        let stays = after.role == Role::Administrator && !after.disabled;
        let sql = format!(
            "UPDATE accounts SET name = ?1, role = ?2, disabled = ?3
             WHERE id = ?4 AND (?5 OR NOT ({ADMINISTRATOR})
                 OR EXISTS (SELECT 1 FROM accounts WHERE id <> ?4 AND {ADMINISTRATOR}))"
        );
        let done = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(&after.name)
            .bind(after.role.as_str())
            .bind(after.disabled)
            .bind(id.to_string())
            .bind(stays)
            .execute(&mut *change)
            .await?;
        if done.rows_affected() == 0 {
            return Err(Error::LastAdministrator);
        }
        if after.disabled {
            forget_code(&mut change, id).await?;
        }
        let ended = match after.role != before.role || after.disabled {
            true => sign_in::end_of(&mut change, id, None, tokens_until).await?,
            false => Vec::new(),
        };
        change.commit().await?;
        Ok(Some(ChangedAccount { before, after, ended }))
    }

    /// Chooses another password, signs out everywhere but for `except`, and forgets the account's code. Hashes are in
    /// PHC form. Gives the sign-ins that ended; `None` when the account was closed, or its password is not the one of
    /// `old_hash` any more.
    pub async fn change_password(
        &self,
        id: AccountId,
        old_hash: &str,
        hash: &str,
        except: SignInId,
        tokens_until: OffsetDateTime,
    ) -> Result<Option<Vec<SignInId>>> {
        let mut change = self.begin().await?;
        let done =
            sqlx::query("UPDATE accounts SET password = ? WHERE id = ? AND password = ? AND disabled = 0")
                .bind(hash)
                .bind(id.to_string())
                .bind(old_hash)
                .execute(&mut *change)
                .await?;
        if done.rows_affected() == 0 {
            return Ok(None);
        }
        forget_code(&mut change, id).await?;
        let ended = sign_in::end_of(&mut change, id, Some(except), tokens_until).await?;
        change.commit().await?;
        Ok(Some(ended))
    }

    /// Takes an account's password away and signs it out everywhere; `code` is the only way in from here on. Gives the
    /// sign-ins that ended; `None` when there is no such account, or it is closed.
    pub async fn reset_account(
        &self,
        id: AccountId,
        code: &str,
        code_expires_at: OffsetDateTime,
        tokens_until: OffsetDateTime,
    ) -> Result<Option<Vec<SignInId>>> {
        let mut change = self.begin().await?;
        let done = sqlx::query("UPDATE accounts SET password = NULL WHERE id = ? AND disabled = 0")
            .bind(id.to_string())
            .execute(&mut *change)
            .await?;
        if done.rows_affected() == 0 {
            return Ok(None);
        }
        put_code(&mut change, code, Some(id), code_expires_at).await?;
        let ended = sign_in::end_of(&mut change, id, None, tokens_until).await?;
        change.commit().await?;
        Ok(Some(ended))
    }

    /// A new code for an account, or for the first administrator; the one before is good no more.
    pub async fn put_setup_code(
        &self,
        code: &str,
        account: Option<AccountId>,
        expires_at: OffsetDateTime,
    ) -> Result<()> {
        let mut change = self.begin().await?;
        put_code(&mut change, code, account, expires_at).await?;
        change.commit().await?;
        Ok(())
    }

    /// What a code is for; `None` for one that there is not, that has run out, or that has nothing left to do.
    pub async fn setup_code(&self, code: &str, now: OffsetDateTime) -> Result<Option<SetupCode>> {
        let row = sqlx::query(
            "SELECT account_id, expires_at FROM setup_codes WHERE code_sha256 = ? AND expires_at > ?",
        )
        .bind(row::sha256(code))
        .bind(row::to_ms(now))
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = &row else { return Ok(None) };
        let expires_at = row::at(row, "expires_at")?;
        let account = match row::parse_option(row, "account_id")? {
            None if self.has_administrator().await? => return Ok(None),
            None => None,
            Some(id) => match self.account(id).await? {
                Some(account) if !account.disabled => Some(account),
                _ => return Ok(None),
            },
        };
        Ok(Some(SetupCode { account, expires_at }))
    }

    /// Uses a code up, and sets the password of the account that it is for and signs it out everywhere, or adds `first`
    /// with it. Gives the sign-ins that ended; `None` when the code was used meanwhile.
    pub async fn use_setup_code(
        &self,
        code: &str,
        account: &Account,
        hash: &str,
        now: OffsetDateTime,
        first: bool,
        tokens_until: OffsetDateTime,
    ) -> Result<Option<Vec<SignInId>>> {
        let mut change = self.begin().await?;
        let gone = sqlx::query(
            "DELETE FROM setup_codes WHERE code_sha256 = ? AND account_id IS ? AND expires_at > ?",
        )
        .bind(row::sha256(code))
        .bind((!first).then(|| account.id.to_string()))
        .bind(row::to_ms(now))
        .execute(&mut *change)
        .await?;
        if gone.rows_affected() == 0 {
            return Ok(None);
        }
        if first {
            insert(&mut change, account, Some(hash)).await?;
        } else {
            sqlx::query("UPDATE accounts SET password = ? WHERE id = ? AND disabled = 0")
                .bind(hash)
                .bind(account.id.to_string())
                .execute(&mut *change)
                .await?;
        }
        let ended = sign_in::end_of(&mut change, account.id, None, tokens_until).await?;
        change.commit().await?;
        Ok(Some(ended))
    }
}
