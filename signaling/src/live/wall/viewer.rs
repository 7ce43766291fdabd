//! Somebody who watches cameras.

use std::time::Instant;

use hewei_cameras::Demand;
use hewei_model::{CameraId, ParticipantId, PeerId};
use hewei_store::AuditEntry;
use time::OffsetDateTime;

use super::Target;
use crate::{auth::Claims, live::outbox::Outbox};

/// One wall on one screen, or one camera of a WHEP client. Each has an id of its own, since one operator may open
/// several screens.
#[derive(Debug)]
pub(super) struct Viewer {
    pub(super) id: ParticipantId,
    pub(super) claims: Claims,
    pub(super) purpose: hewei_store::Purpose,
    pub(super) target: Target,
    pub(super) cameras: Vec<CameraId>,
    /// Held, so that the cameras are pulled.
    pub(super) _demands: Vec<Demand>,
    pub(super) peer: PeerId,
    pub(super) out: Option<Outbox>,
    pub(super) connected: bool,
    pub(super) since: Instant,
    /// How often a WHEP client has restarted ICE: its entity-tag.
    pub(super) ice_restarts: u32,
}

impl Viewer {
    /// The row for the audit log: `wall.open`, `camera.close` and so on.
    pub(super) fn audit(&self, verb: &str) -> AuditEntry {
        let (noun, target) = match self.target {
            Target::Wall(id) => ("wall", id.to_string()),
            Target::Camera(id) => ("camera", id.to_string()),
        };
        AuditEntry {
            at: OffsetDateTime::now_utc(),
            actor: self.claims.name.clone(),
            participant_id: Some(self.claims.participant),
            role: self.claims.role,
            action: format!("{noun}.{verb}"),
            target,
            purpose_id: Some(self.purpose.id),
            detail: format!("{} cameras; {}", self.cameras.len(), self.purpose.reason),
        }
    }
}
