//! Accounts of the staff, and the one-time codes by which their passwords are chosen.

use hewei_model::{AccountId, ParticipantId, Role};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};
use time::OffsetDateTime;

use crate::{Error, Result, Store, row};

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

    /// Changes name, role and whether it is closed. [`Error::LastAdministrator`] when nobody could make accounts after
    /// that. A closed account's code is gone.
    pub async fn change_account(&self, account: &Account) -> Result<()> {
        let mut change = self.begin().await?;
        let stays = account.role == Role::Administrator && !account.disabled;
        let sql = format!(
            "UPDATE accounts SET name = ?1, role = ?2, disabled = ?3
             WHERE id = ?4 AND (?5 OR NOT ({ADMINISTRATOR})
                 OR EXISTS (SELECT 1 FROM accounts WHERE id <> ?4 AND {ADMINISTRATOR}))"
        );
        let done = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(&account.name)
            .bind(account.role.as_str())
            .bind(account.disabled)
            .bind(account.id.to_string())
            .bind(stays)
            .execute(&mut *change)
            .await?;
        if done.rows_affected() == 0 {
            return Err(Error::LastAdministrator);
        }
        if account.disabled {
            sqlx::query("DELETE FROM setup_codes WHERE account_id = ?")
                .bind(account.id.to_string())
                .execute(&mut *change)
                .await?;
        }
        change.commit().await?;
        Ok(())
    }

    /// Chooses a password. `hash` is in PHC form.
    pub async fn set_password(&self, id: AccountId, hash: &str) -> Result<()> {
        sqlx::query("UPDATE accounts SET password = ? WHERE id = ?")
            .bind(hash)
            .bind(id.to_string())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// A new code for an account, or for the first administrator; the one before is good no more. `forget` takes the
    /// password away, so that the code is the only way in.
    pub async fn put_setup_code(
        &self,
        code: &str,
        account: Option<AccountId>,
        expires_at: OffsetDateTime,
        forget: bool,
    ) -> Result<()> {
        let mut change = self.begin().await?;
        put_code(&mut change, code, account, expires_at).await?;
        if forget && let Some(id) = account {
            sqlx::query("UPDATE accounts SET password = NULL WHERE id = ?")
                .bind(id.to_string())
                .execute(&mut *change)
                .await?;
        }
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

    /// Uses a code up, and sets the password of the account that it is for, or adds `first` with it. False when the
    /// code was used meanwhile.
    pub async fn use_setup_code(
        &self,
        code: &str,
        account: &Account,
        hash: &str,
        now: OffsetDateTime,
        first: bool,
    ) -> Result<bool> {
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
            return Ok(false);
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
        change.commit().await?;
        Ok(true)
    }
}
