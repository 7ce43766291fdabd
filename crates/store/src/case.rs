//! Cases.

use hewei_model::{CaseId, RegionId};
use sqlx::{Row, sqlite::SqliteRow};
use time::OffsetDateTime;

use crate::{Result, Store, row};

/// A dispute under mediation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// Id.
    pub id: CaseId,
    /// The number people use, unique.
    pub number: String,
    /// What the dispute is about.
    pub title: String,
    /// Region.
    pub region_id: Option<RegionId>,
    /// When it was opened.
    pub created_at: OffsetDateTime,
}

fn read(row: &SqliteRow) -> Result<Case> {
    Ok(Case {
        id: row::parse(row, "id")?,
        number: row.try_get("number")?,
        title: row.try_get("title")?,
        region_id: row::parse_option(row, "region_id")?,
        created_at: row::at(row, "created_at")?,
    })
}

impl Store {
    /// Adds a case. [`crate::Error::Taken`] when the number is there already.
    pub async fn add_case(&self, case: &Case) -> Result<()> {
        sqlx::query("INSERT INTO cases (id, number, title, region_id, created_at) VALUES (?, ?, ?, ?, ?)")
            .bind(case.id.to_string())
            .bind(&case.number)
            .bind(&case.title)
            .bind(case.region_id.map(|id| id.to_string()))
            .bind(row::to_ms(case.created_at))
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// One case.
    pub async fn case(&self, id: CaseId) -> Result<Option<Case>> {
        sqlx::query("SELECT id, number, title, region_id, created_at FROM cases WHERE id = ?")
            .bind(id.to_string())
            .fetch_optional(&self.pool)
            .await?
            .as_ref()
            .map(read)
            .transpose()
    }

    /// The newest cases first, at most `limit`.
    pub async fn cases(&self, limit: u32) -> Result<Vec<Case>> {
        sqlx::query(
            "SELECT id, number, title, region_id, created_at FROM cases ORDER BY created_at DESC, id DESC LIMIT ?",
        )
        .bind(row::limit(limit))
        .fetch_all(&self.pool)
        .await?
        .iter()
        .map(read)
        .collect()
    }
}
