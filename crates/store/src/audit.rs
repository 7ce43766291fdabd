//! The audit log. It grows and never changes; the database itself refuses anything else.

use hewei_model::{ParticipantId, PurposeId, Role};
use sqlx::Row;
use time::OffsetDateTime;

use crate::{Result, Store, row};

/// What somebody did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// When.
    pub at: OffsetDateTime,
    /// Who: the token's name.
    pub actor: String,
    /// Which token, whatever name is in it. Absent only in rows from before this was written down.
    pub participant_id: Option<ParticipantId>,
    /// The actor's role.
    pub role: Role,
    /// What, such as `camera.open`.
    pub action: String,
    /// On what: an id or a name.
    pub target: String,
    /// Under which purpose.
    pub purpose_id: Option<PurposeId>,
    /// More, in words. Never a secret.
    pub detail: String,
}

/// A row of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    /// Running number.
    pub id: i64,
    /// What was done.
    pub entry: AuditEntry,
}

impl Store {
    /// Appends to the log. What needs a row must not happen when this fails.
    pub async fn audit(&self, entry: &AuditEntry) -> Result<i64> {
        let done = sqlx::query(
            "INSERT INTO audit (at, actor, participant_id, role, action, target, purpose_id, detail)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(row::to_ms(entry.at))
        .bind(&entry.actor)
        .bind(entry.participant_id.map(|id| id.to_string()))
        .bind(entry.role.as_str())
        .bind(&entry.action)
        .bind(&entry.target)
        .bind(entry.purpose_id.map(|id| id.to_string()))
        .bind(&entry.detail)
        .execute(&self.pool)
        .await?;
        Ok(done.last_insert_rowid())
    }

    /// The newest rows first, at most `limit`, those before the number `before`.
    pub async fn audit_rows(&self, before: Option<i64>, limit: u32) -> Result<Vec<AuditRow>> {
        sqlx::query(
            "SELECT id, at, actor, participant_id, role, action, target, purpose_id, detail FROM audit
             WHERE id < ? ORDER BY id DESC LIMIT ?",
        )
        .bind(before.unwrap_or(i64::MAX))
        .bind(row::limit(limit))
        .fetch_all(&self.pool)
        .await?
        .iter()
        .map(|row| {
            Ok(AuditRow {
                id: row.try_get("id")?,
                entry: AuditEntry {
                    at: row::at(row, "at")?,
                    actor: row.try_get("actor")?,
                    participant_id: row::parse_option(row, "participant_id")?,
                    role: row::parse(row, "role")?,
                    action: row.try_get("action")?,
                    target: row.try_get("target")?,
                    purpose_id: row::parse_option(row, "purpose_id")?,
                    detail: row.try_get("detail")?,
                },
            })
        })
        .collect()
    }
}
