//! Writing down who did what. What cannot be written down is not done.

use hewei_model::PurposeId;
use hewei_store::AuditEntry;
use time::OffsetDateTime;

use crate::{auth::Claims, problem::Problem, state::App};

impl App {
    /// Appends to the audit log. `detail` never holds a secret.
    pub async fn audit(
        &self,
        who: &Claims,
        action: &str,
        target: impl ToString,
        purpose: Option<PurposeId>,
        detail: &str,
    ) -> Result<(), Problem> {
        let entry = AuditEntry {
            at: OffsetDateTime::now_utc(),
            actor: who.name.clone(),
            participant_id: Some(who.participant),
            role: who.role,
            action: action.to_owned(),
            target: target.to_string(),
            purpose_id: purpose,
            detail: detail.to_owned(),
        };
        self.store.audit(&entry).await?;
        Ok(())
    }
}
