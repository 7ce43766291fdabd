//! Tokens without an account.

use hewei_model::{LinkId, Origin, ParticipantId, Role, RoomId};
use sqlx::Row;
use time::OffsetDateTime;

use crate::{Result, Store, revocation, row};

/// A token that was made on the command line or for the demo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Id.
    pub id: LinkId,
    /// Display name.
    pub name: String,
    /// Role.
    pub role: Role,
    /// The one room it is for; `None` for all.
    pub room_id: Option<RoomId>,
    /// The seat of its bearer.
    pub participant_id: ParticipantId,
    /// When it was made.
    pub created_at: OffsetDateTime,
    /// When it ends.
    pub expires_at: OffsetDateTime,
}

impl Store {
    /// Adds a link. [`crate::Error::NoSuchReference`] when there is no such room.
    pub async fn add_link(&self, link: &Link) -> Result<()> {
        sqlx::query(
            "INSERT INTO links (id, name, role, room_id, participant_id, created_at, expires_at)
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(link.id.to_string())
        .bind(&link.name)
        .bind(link.role.as_str())
        .bind(link.room_id.map(|id| id.to_string()))
        .bind(link.participant_id.to_string())
        .bind(row::to_ms(link.created_at))
        .bind(row::to_ms(link.expires_at))
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// The links that are good at `now`, the newest first, at most `limit`.
    pub async fn links(&self, now: OffsetDateTime, limit: u32) -> Result<Vec<Link>> {
        let rows = sqlx::query(
            "SELECT id, name, role, room_id, participant_id, created_at, expires_at FROM links
             WHERE expires_at > ? ORDER BY created_at DESC, id DESC LIMIT ?",
        )
        .bind(row::to_ms(now))
        .bind(row::limit(limit))
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(Link {
                    id: row::parse(row, "id")?,
                    name: row.try_get("name")?,
                    role: row::parse(row, "role")?,
                    room_id: row::parse_option(row, "room_id")?,
                    participant_id: row::parse(row, "participant_id")?,
                    created_at: row::at(row, "created_at")?,
                    expires_at: row::at(row, "expires_at")?,
                })
            })
            .collect()
    }

    /// Until when a link is good; `None` when there is no such link.
    pub async fn link_until(&self, id: LinkId) -> Result<Option<OffsetDateTime>> {
        let row = sqlx::query("SELECT expires_at FROM links WHERE id = ?")
            .bind(id.to_string())
            .fetch_optional(&self.pool)
            .await?;
        row.as_ref().map(|row| row::at(row, "expires_at")).transpose()
    }

    /// Ends a link. Gives until when its token would have been good; `None` when there is no such link.
    pub async fn end_link(&self, id: LinkId) -> Result<Option<OffsetDateTime>> {
        let mut change = self.begin().await?;
        let row = sqlx::query("DELETE FROM links WHERE id = ? RETURNING expires_at")
            .bind(id.to_string())
            .fetch_optional(&mut *change)
            .await?;
        let until = row.as_ref().map(|row| row::at(row, "expires_at")).transpose()?;
        if let Some(until) = until {
            revocation::insert(&mut change, Origin::Link(id), until).await?;
        }
        change.commit().await?;
        Ok(until)
    }
}
