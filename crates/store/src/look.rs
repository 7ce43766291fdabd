//! A look at the database that changes nothing: for `hewei doctor`, beside a server that runs or does not.

use std::{path::Path, time::Duration};

use sqlx::{
    Row,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};
use time::OffsetDateTime;

use crate::{Result, SealingKey, Store, backup, row, schema_known};

/// The schema a database has, against the one this program has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schema {
    /// The last migration that was done to the database; 0 for none.
    pub database: i64,
    /// The last migration this program knows.
    pub program: i64,
}

impl Store {
    /// Opens a database for reading, with whatever schema it has. It must be there.
    pub async fn look(path: &Path, key: SealingKey) -> Result<Store> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(false)
            .read_only(true)
            .busy_timeout(Duration::from_secs(5));
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(Duration::from_secs(10))
            .connect_with(options)
            .await?;
        Ok(Store { pool, key: std::sync::Arc::new(key) })
    }

    /// Which schema the database has.
    pub async fn schema(&self) -> Result<Schema> {
        let mut connection = self.pool.acquire().await?;
        let (database, program) = (backup::schema(&mut connection).await?, schema_known());
        Ok(Schema { database, program })
    }

    /// What SQLite finds wrong with the file (`PRAGMA quick_check`), at most ten lines; none when it is sound.
    pub async fn quick_check(&self) -> Result<Vec<String>> {
        let rows = sqlx::query("PRAGMA quick_check (10)").fetch_all(&self.pool).await?;
        let lines: sqlx::Result<Vec<String>> = rows.iter().map(|row| row.try_get(0)).collect();
        Ok(lines?.into_iter().filter(|line| line != "ok").collect())
    }

    /// The latest moment that the audit log or a recording speaks of; `None` when there is nothing yet.
    pub async fn newest_moment(&self) -> Result<Option<OffsetDateTime>> {
        let row = sqlx::query(
            "SELECT MAX (at) AS at FROM
             (SELECT MAX (at) AS at FROM audit UNION ALL SELECT MAX (started_at) FROM recordings
              UNION ALL SELECT MAX (ended_at) FROM recordings)",
        )
        .fetch_one(&self.pool)
        .await?;
        row::at_option(&row, "at")
    }
}
