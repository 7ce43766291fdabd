//! Purposes: why cameras may be open, and until when.

use std::str::FromStr;

use hewei_model::{ParticipantId, PurposeId};
use sqlx::Row;
use time::OffsetDateTime;

use crate::{Result, Store, row};

/// Kind of a purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PurposeKind {
    /// The midnight patrol.
    Patrol,
    /// Something that is happening.
    Incident,
    /// A case.
    Case,
}

impl PurposeKind {
    /// The name in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            PurposeKind::Patrol => "patrol",
            PurposeKind::Incident => "incident",
            PurposeKind::Case => "case",
        }
    }
}

impl FromStr for PurposeKind {
    type Err = ();

    fn from_str(text: &str) -> std::result::Result<Self, ()> {
        [PurposeKind::Patrol, PurposeKind::Incident, PurposeKind::Case]
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or(())
    }
}

/// Who opens cameras, why, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purpose {
    /// Id.
    pub id: PurposeId,
    /// Kind.
    pub kind: PurposeKind,
    /// In words.
    pub reason: String,
    /// Who, by name.
    pub opened_by: String,
    /// Whose token it was opened with. Nobody else may use it.
    pub participant_id: ParticipantId,
    /// From.
    pub opened_at: OffsetDateTime,
    /// Until.
    pub expires_at: OffsetDateTime,
}

impl Purpose {
    /// Whether `participant` may open cameras under it at `now`.
    pub fn is_live_for(&self, participant: ParticipantId, now: OffsetDateTime) -> bool {
        self.participant_id == participant && self.opened_at <= now && now < self.expires_at
    }
}

impl Store {
    /// Adds a purpose.
    pub async fn add_purpose(&self, purpose: &Purpose) -> Result<()> {
        sqlx::query(
            "INSERT INTO purposes (id, kind, reason, opened_by, participant_id, opened_at, expires_at)
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(purpose.id.to_string())
        .bind(purpose.kind.as_str())
        .bind(&purpose.reason)
        .bind(&purpose.opened_by)
        .bind(purpose.participant_id.to_string())
        .bind(row::to_ms(purpose.opened_at))
        .bind(row::to_ms(purpose.expires_at))
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// One purpose, live or not.
    pub async fn purpose(&self, id: PurposeId) -> Result<Option<Purpose>> {
        let row = sqlx::query(
            "SELECT kind, reason, opened_by, participant_id, opened_at, expires_at FROM purposes WHERE id = ?",
        )
        .bind(id.to_string())
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = &row else { return Ok(None) };
        Ok(Some(Purpose {
            id,
            kind: row::parse(row, "kind")?,
            reason: row.try_get("reason")?,
            opened_by: row.try_get("opened_by")?,
            participant_id: row::parse(row, "participant_id")?,
            opened_at: row::at(row, "opened_at")?,
            expires_at: row::at(row, "expires_at")?,
        }))
    }
}
