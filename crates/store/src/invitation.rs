//! Invitations: one-time links.

use hewei_model::{InvitationId, Origin, ParticipantId, Role, RoomId};
use sqlx::Row;
use time::OffsetDateTime;

use crate::{Error, Result, Room, Store, revocation, row};

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

/// An invitation, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedInvitation {
    /// The invitation.
    pub invitation: Invitation,
    /// When somebody came in by it.
    pub used_at: Option<OffsetDateTime>,
    /// Whether it was withdrawn.
    pub revoked: bool,
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
        .bind(row::sha256(code))
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
        let hash = row::sha256(code);
        // One statement, so that it is atomic.
        let taken = sqlx::query(
            "UPDATE invitations SET used_at = ?1 WHERE code_sha256 = ?2 AND used_at IS NULL AND revoked_at IS NULL
                 AND expires_at > ?1
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

    /// Whether an invitation lets nobody in any more: it was redeemed, has run out, or is not there.
    pub async fn invitation_is_spent(&self, id: InvitationId, now: OffsetDateTime) -> Result<bool> {
        let good = sqlx::query(
            "SELECT 1 FROM invitations
             WHERE id = ? AND used_at IS NULL AND revoked_at IS NULL AND expires_at > ?",
        )
        .bind(id.to_string())
        .bind(row::to_ms(now))
        .fetch_optional(&self.pool)
        .await?;
        Ok(good.is_none())
    }

    /// Whether an invitation is one of this room, whatever became of it.
    pub async fn has_invitation(&self, room: RoomId, id: InvitationId) -> Result<bool> {
        let found = sqlx::query("SELECT 1 FROM invitations WHERE id = ? AND room_id = ?")
            .bind(id.to_string())
            .bind(room.to_string())
            .fetch_optional(&self.pool)
            .await?;
        Ok(found.is_some())
    }

    /// The newest invitations into a room first, at most `limit`.
    pub async fn invitations(&self, room: RoomId, limit: u32) -> Result<Vec<ListedInvitation>> {
        let rows = sqlx::query(
            "SELECT id, role, name, participant_id, created_at, expires_at, used_at, revoked_at IS NOT NULL AS revoked
             FROM invitations WHERE room_id = ? ORDER BY created_at DESC, id DESC LIMIT ?",
        )
        .bind(room.to_string())
        .bind(row::limit(limit))
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(ListedInvitation {
                    invitation: Invitation {
                        id: row::parse(row, "id")?,
                        room_id: room,
                        role: row::parse(row, "role")?,
                        name: row.try_get("name")?,
                        participant_id: row::parse(row, "participant_id")?,
                        created_at: row::at(row, "created_at")?,
                        expires_at: row::at(row, "expires_at")?,
                    },
                    used_at: row::at_option(row, "used_at")?,
                    revoked: row.try_get("revoked")?,
                })
            })
            .collect()
    }

    /// Withdraws an invitation of a room, used or not; tokens that came of it are good until `until` at most. Gives the
    /// name it was made for; `None` when there is no such invitation, or it was withdrawn before.
    pub async fn revoke_invitation(
        &self,
        room: RoomId,
        id: InvitationId,
        now: OffsetDateTime,
        until: OffsetDateTime,
    ) -> Result<Option<String>> {
        let mut change = self.begin().await?;
        let row = sqlx::query(
            "UPDATE invitations SET revoked_at = ? WHERE id = ? AND room_id = ? AND revoked_at IS NULL RETURNING name",
        )
        .bind(row::to_ms(now))
        .bind(id.to_string())
        .bind(room.to_string())
        .fetch_optional(&mut *change)
        .await?;
        let Some(row) = row else { return Ok(None) };
        revocation::insert(&mut change, Origin::Invitation(id), until).await?;
        change.commit().await?;
        Ok(Some(row.try_get("name")?))
    }
}
