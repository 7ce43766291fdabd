//! Invitations: one-time links.

use hewei_model::{InvitationId, ParticipantId, Role, RoomId};
use ring::digest::{SHA256, digest};
use sqlx::Row;
use time::OffsetDateTime;

use crate::{Error, Result, Room, Store, row};

/// A link that lets one person in, once. Its code is not here and not in the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// Id.
    pub id: InvitationId,
    /// Room it opens.
    pub room_id: RoomId,
    /// Role it gives.
    pub role: Role,
    /// The name of the one invited.
    pub name: String,
    /// The seat of the one invited.
    pub participant_id: ParticipantId,
    /// When it was made.
    pub created_at: OffsetDateTime,
    /// When it ends.
    pub expires_at: OffsetDateTime,
}

/// What a redeemed invitation opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redeemed {
    /// Which it was.
    pub id: InvitationId,
    /// Room.
    pub room: Room,
    /// Role.
    pub role: Role,
    /// The name it was made for.
    pub name: String,
    /// The seat.
    pub participant_id: ParticipantId,
}

fn code_hash(code: &str) -> Vec<u8> {
    digest(&SHA256, code.as_bytes()).as_ref().to_vec()
}

impl Store {
    /// Adds an invitation; `code` is kept as its SHA-256 only.
    pub async fn add_invitation(&self, invitation: &Invitation, code: &str) -> Result<()> {
        sqlx::query(
            "INSERT INTO invitations (id, room_id, role, name, code_sha256, participant_id, created_at, expires_at)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(invitation.id.to_string())
        .bind(invitation.room_id.to_string())
        .bind(invitation.role.as_str())
        .bind(&invitation.name)
        .bind(code_hash(code))
        .bind(invitation.participant_id.to_string())
        .bind(row::to_ms(invitation.created_at))
        .bind(row::to_ms(invitation.expires_at))
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Whether anybody was ever invited into a room.
    pub async fn has_invitations(&self, room: RoomId) -> Result<bool> {
        let found = sqlx::query("SELECT 1 FROM invitations WHERE room_id = ? LIMIT 1")
            .bind(room.to_string())
            .fetch_optional(&self.pool)
            .await?;
        Ok(found.is_some())
    }

    /// Redeems a code: of all who try, one succeeds, once. [`Error::InvitationUsed`] for one that was redeemed,
    /// [`Error::InvitationUnknown`] for anything else.
    pub async fn redeem(&self, code: &str, now: OffsetDateTime) -> Result<Redeemed> {
        let hash = code_hash(code);
        // One statement, so that it is atomic.
        let taken = sqlx::query(
            "UPDATE invitations SET used_at = ?1 WHERE code_sha256 = ?2 AND used_at IS NULL AND expires_at > ?1
             RETURNING id, room_id, role, name, participant_id",
        )
        .bind(row::to_ms(now))
        .bind(&hash)
        .fetch_optional(&self.pool)
        .await?;
        let Some(taken) = taken else {
            let used = sqlx::query("SELECT 1 FROM invitations WHERE code_sha256 = ? AND used_at IS NOT NULL")
                .bind(&hash)
                .fetch_optional(&self.pool)
                .await?;
            return Err(if used.is_some() { Error::InvitationUsed } else { Error::InvitationUnknown });
        };
        let room_id: RoomId = row::parse(&taken, "room_id")?;
        Ok(Redeemed {
            id: row::parse(&taken, "id")?,
            room: self.room(room_id).await?.ok_or(Error::NoSuchReference)?,
            role: row::parse(&taken, "role")?,
            name: taken.try_get("name")?,
            participant_id: row::parse(&taken, "participant_id")?,
        })
    }
}
