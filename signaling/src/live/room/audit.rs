//! Who did what in the room, for the audit log.

use hewei_model::{ParticipantId, Role};
use time::OffsetDateTime;

use super::{Room, seat::Seat};
use crate::{auth::Claims, problem::Problem};

/// The one who acts, named by the token.
#[derive(Debug, Clone)]
pub(super) struct Actor {
    name: String,
    id: ParticipantId,
    role: Role,
}

impl From<&Claims> for Actor {
    fn from(claims: &Claims) -> Self {
        Self { name: claims.name.clone(), id: claims.participant, role: claims.role }
    }
}

impl From<&Seat> for Actor {
    fn from(seat: &Seat) -> Self {
        Self { name: seat.name.clone(), id: seat.owner, role: seat.role }
    }
}

impl From<&Actor> for Actor {
    fn from(actor: &Actor) -> Self {
        actor.clone()
    }
}

impl Room {
    /// Writes a row ahead of what it tells of. What cannot be written down is not done.
    pub(super) async fn audit(
        &self,
        who: impl Into<Actor>,
        action: &str,
        target: &impl ToString,
        detail: &str,
    ) -> Result<(), Problem> {
        Ok(self.write_row(who.into(), action, target.to_string(), detail).await?)
    }

    /// Writes a row of what is done already, since it protects somebody: a log that cannot be written holds up no
    /// withdrawal, sends nobody back in and keeps no call open.
    pub(super) async fn audit_done(
        &self,
        who: impl Into<Actor>,
        action: &str,
        target: &impl ToString,
        detail: &str,
    ) {
        if let Err(error) = self.write_row(who.into(), action, target.to_string(), detail).await {
            tracing::error!(%error, action, "a row of the audit log could not be written");
        }
    }

    async fn write_row(
        &self,
        who: Actor,
        action: &str,
        target: String,
        detail: &str,
    ) -> Result<(), hewei_store::Error> {
        let room = format!("{} {}", self.info.case_number, self.info.name);
        let detail = if detail.is_empty() { room } else { format!("{room}: {detail}") };
        let entry = hewei_store::AuditEntry {
            at: OffsetDateTime::now_utc(),
            actor: who.name,
            participant_id: Some(who.id),
            role: who.role,
            action: action.to_owned(),
            target,
            purpose_id: None,
            detail,
        };
        self.shared.store.audit(&entry).await?;
        Ok(())
    }
}
