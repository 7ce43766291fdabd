//! Who is signed in where.

use hewei_model::{AccountId, Origin, Role, SignInId};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};
use time::OffsetDateTime;

use crate::{Account, Result, Store, revocation, row};

/// One sign-in of an account at one browser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignIn {
    /// Id.
    pub id: SignInId,
    /// Whose.
    pub account_id: AccountId,
    /// The address it came from.
    pub address: String,
    /// Browser and system, as the browser names itself.
    pub browser: String,
    /// When.
    pub created_at: OffsetDateTime,
    /// When it was last used.
    pub last_used_at: OffsetDateTime,
}

/// How many sign-ins an account may have. The one that was not used for longest makes room.
const OF_ACCOUNT_MAX: i64 = 20;

fn read(row: &SqliteRow) -> Result<SignIn> {
    Ok(SignIn {
        id: row::parse(row, "id")?,
        account_id: row::parse(row, "account_id")?,
        address: row.try_get("address")?,
        browser: row.try_get("browser")?,
        created_at: row::at(row, "created_at")?,
        last_used_at: row::at(row, "last_used_at")?,
    })
}

impl Store {
    /// Signs an account in; `secret` is kept as its SHA-256 only. Gives the sign-ins that had to make room, whose
    /// tokens are good no more. `None` when the account was closed, or got another role or password, since it was
    /// looked at.
    pub async fn add_sign_in(
        &self,
        sign_in: &SignIn,
        role: Role,
        password: &str,
        secret: &str,
        tokens_until: OffsetDateTime,
    ) -> Result<Option<Vec<SignInId>>> {
        let mut change = self.begin().await?;
        let added = sqlx::query(
            "INSERT INTO sign_ins (id, account_id, secret_sha256, address, browser, created_at, last_used_at)
             SELECT ?, id, ?, ?, ?, ?, ? FROM accounts
             WHERE id = ? AND role = ? AND password = ? AND disabled = 0",
        )
        .bind(sign_in.id.to_string())
        .bind(row::sha256(secret))
        .bind(&sign_in.address)
        .bind(&sign_in.browser)
        .bind(row::to_ms(sign_in.created_at))
        .bind(row::to_ms(sign_in.last_used_at))
        .bind(sign_in.account_id.to_string())
        .bind(role.as_str())
        .bind(password)
        .execute(&mut *change)
        .await?;
        if added.rows_affected() == 0 {
            return Ok(None);
        }
        sqlx::query("UPDATE accounts SET last_sign_in_at = ? WHERE id = ?")
            .bind(row::to_ms(sign_in.created_at))
            .bind(sign_in.account_id.to_string())
            .execute(&mut *change)
            .await?;
        let rows = sqlx::query(
            "DELETE FROM sign_ins WHERE account_id = ?1 AND id NOT IN (
                 SELECT id FROM sign_ins WHERE account_id = ?1 ORDER BY last_used_at DESC, id DESC LIMIT ?2)
             RETURNING id",
        )
        .bind(sign_in.account_id.to_string())
        .bind(OF_ACCOUNT_MAX)
        .fetch_all(&mut *change)
        .await?;
        let ended = ids(&rows)?;
        for id in &ended {
            revocation::insert(&mut change, Origin::SignIn(*id), tokens_until).await?;
        }
        change.commit().await?;
        Ok(Some(ended))
    }

    /// The sign-in that a cookie is of, and its account.
    pub async fn sign_in_of(&self, secret: &str) -> Result<Option<(SignIn, Account)>> {
        let row = sqlx::query(
            "SELECT id, account_id, address, browser, created_at, last_used_at FROM sign_ins WHERE secret_sha256 = ?",
        )
        .bind(row::sha256(secret))
        .fetch_optional(&self.pool)
        .await?;
        let Some(sign_in) = row.as_ref().map(read).transpose()? else { return Ok(None) };
        Ok(self.account(sign_in.account_id).await?.map(|account| (sign_in, account)))
    }

    /// One sign-in.
    pub async fn sign_in(&self, id: SignInId) -> Result<Option<SignIn>> {
        let row = sqlx::query(
            "SELECT id, account_id, address, browser, created_at, last_used_at FROM sign_ins WHERE id = ?",
        )
        .bind(id.to_string())
        .fetch_optional(&self.pool)
        .await?;
        row.as_ref().map(read).transpose()
    }

    /// The sign-ins of an account, the one used last first.
    pub async fn sign_ins(&self, account: AccountId) -> Result<Vec<SignIn>> {
        let rows = sqlx::query(
            "SELECT id, account_id, address, browser, created_at, last_used_at FROM sign_ins
             WHERE account_id = ? ORDER BY last_used_at DESC, id DESC",
        )
        .bind(account.to_string())
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(read).collect()
    }

    /// It was used now.
    pub async fn touch_sign_in(&self, id: SignInId, now: OffsetDateTime) -> Result<()> {
        sqlx::query("UPDATE sign_ins SET last_used_at = ? WHERE id = ?")
            .bind(row::to_ms(now))
            .bind(id.to_string())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Signs out one. False when it was not signed in.
    pub async fn end_sign_in(&self, id: SignInId, tokens_until: OffsetDateTime) -> Result<bool> {
        let mut change = self.begin().await?;
        let done = sqlx::query("DELETE FROM sign_ins WHERE id = ?")
            .bind(id.to_string())
            .execute(&mut *change)
            .await?;
        if done.rows_affected() > 0 {
            revocation::insert(&mut change, Origin::SignIn(id), tokens_until).await?;
        }
        change.commit().await?;
        Ok(done.rows_affected() > 0)
    }

    /// Signs an account out everywhere. Gives the sign-ins that ended.
    pub async fn end_sign_ins_of(
        &self,
        account: AccountId,
        tokens_until: OffsetDateTime,
    ) -> Result<Vec<SignInId>> {
        let mut change = self.begin().await?;
        let ended = end_of(&mut change, account, None, tokens_until).await?;
        change.commit().await?;
        Ok(ended)
    }

    /// Signs out all that were last used before `used_before`, or made before `made_before`.
    pub async fn end_old_sign_ins(
        &self,
        used_before: OffsetDateTime,
        made_before: OffsetDateTime,
        tokens_until: OffsetDateTime,
    ) -> Result<Vec<SignInId>> {
        let mut change = self.begin().await?;
        let rows =
            sqlx::query("DELETE FROM sign_ins WHERE last_used_at <= ? OR created_at <= ? RETURNING id")
                .bind(row::to_ms(used_before))
                .bind(row::to_ms(made_before))
                .fetch_all(&mut *change)
                .await?;
        let ended = ids(&rows)?;
        for id in &ended {
            revocation::insert(&mut change, Origin::SignIn(*id), tokens_until).await?;
        }
        change.commit().await?;
        Ok(ended)
    }
}

/// Part of the change that signs an account out.
pub(crate) async fn end_of(
    connection: &mut SqliteConnection,
    account: AccountId,
    except: Option<SignInId>,
    tokens_until: OffsetDateTime,
) -> Result<Vec<SignInId>> {
    let rows = sqlx::query("DELETE FROM sign_ins WHERE account_id = ? AND id IS NOT ? RETURNING id")
        .bind(account.to_string())
        .bind(except.map(|id| id.to_string()))
        .fetch_all(&mut *connection)
        .await?;
    let ended = ids(&rows)?;
    for id in &ended {
        revocation::insert(&mut *connection, Origin::SignIn(*id), tokens_until).await?;
    }
    Ok(ended)
}

fn ids(rows: &[SqliteRow]) -> Result<Vec<SignInId>> {
    rows.iter().map(|row| row::parse(row, "id")).collect()
}
