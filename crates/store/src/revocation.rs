//! What was ended before its time.

use hewei_model::Origin;
use sqlx::SqliteConnection;
use time::OffsetDateTime;

use crate::{Result, Store, row};

/// Part of the change that ends it.
pub(crate) async fn insert(
    connection: &mut SqliteConnection,
    origin: Origin,
    until: OffsetDateTime,
) -> Result<()> {
    sqlx::query("INSERT OR REPLACE INTO revocations (origin, until) VALUES (?, ?)")
        .bind(origin.to_string())
        .bind(row::to_ms(until))
        .execute(connection)
        .await?;
    Ok(())
}

impl Store {
    /// All whose last token has not run out by itself at `now`.
    pub async fn revocations(&self, now: OffsetDateTime) -> Result<Vec<(Origin, OffsetDateTime)>> {
        let rows = sqlx::query("SELECT origin, until FROM revocations WHERE until > ?")
            .bind(row::to_ms(now))
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(|row| Ok((row::parse(row, "origin")?, row::at(row, "until")?))).collect()
    }

    /// Until when the last token of something that was ended could be good; `None` when it was not ended.
    pub async fn revoked_until(&self, origin: Origin) -> Result<Option<OffsetDateTime>> {
        let row = sqlx::query("SELECT until FROM revocations WHERE origin = ?")
            .bind(origin.to_string())
            .fetch_optional(&self.pool)
            .await?;
        row.as_ref().map(|row| row::at(row, "until")).transpose()
    }

    /// Forgets revocations, links and set-up codes that are over.
    pub async fn prune_access(&self, now: OffsetDateTime) -> Result<()> {
        for sql in [
            "DELETE FROM revocations WHERE until <= ?",
            "DELETE FROM links WHERE expires_at <= ?",
            "DELETE FROM setup_codes WHERE expires_at <= ?",
        ] {
            sqlx::query(sql).bind(row::to_ms(now)).execute(&self.pool).await?;
        }
        Ok(())
    }
}
