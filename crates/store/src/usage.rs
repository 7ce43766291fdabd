//! How recordings ended, and which packages tell how much space they take.

use hewei_model::RecordingId;
use sqlx::Row;
use time::OffsetDateTime;

use crate::{Result, Store, row};

/// Packages of one answer: a month of the busiest office.
const PACKAGES_MAX: i64 = 2_000;

/// A sealed recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedPackage {
    /// Recording.
    pub id: RecordingId,
    /// The folder of its package.
    pub package: String,
    /// Start.
    pub started_at: OffsetDateTime,
    /// End.
    pub ended_at: OffsetDateTime,
}

/// How many recordings ended how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Endings {
    /// Sealed, in all.
    pub sealed: u64,
    /// Of these, with a word about what is missing.
    pub impaired: u64,
    /// Failed.
    pub failed: u64,
}

impl Store {
    /// The sealed packages of recordings that started since then, the newest first, 2,000 at most.
    pub async fn sealed_since(&self, since: OffsetDateTime) -> Result<Vec<SealedPackage>> {
        sqlx::query(
            "SELECT id, package, started_at, ended_at FROM recordings
             WHERE state = 'sealed' AND started_at >= ? AND package IS NOT NULL AND ended_at IS NOT NULL
             ORDER BY started_at DESC LIMIT ?",
        )
        .bind(row::to_ms(since))
        .bind(PACKAGES_MAX)
        .fetch_all(&self.pool)
        .await?
        .iter()
        .map(|row| {
            Ok(SealedPackage {
                id: row::parse(row, "id")?,
                package: row.try_get("package")?,
                started_at: row::at(row, "started_at")?,
                ended_at: row::at(row, "ended_at")?,
            })
        })
        .collect()
    }

    /// How the recordings ended that started since then.
    pub async fn endings_since(&self, since: OffsetDateTime) -> Result<Endings> {
        let row = sqlx::query(
            "SELECT COUNT (*) FILTER (WHERE state = 'sealed') AS sealed,
                    COUNT (*) FILTER (WHERE state = 'sealed' AND detail IS NOT NULL) AS impaired,
                    COUNT (*) FILTER (WHERE state = 'failed') AS failed
             FROM recordings WHERE started_at >= ?",
        )
        .bind(row::to_ms(since))
        .fetch_one(&self.pool)
        .await?;
        let count = |column| row.try_get::<i64, _>(column).map(i64::unsigned_abs);
        Ok(Endings { sealed: count("sealed")?, impaired: count("impaired")?, failed: count("failed")? })
    }
}
