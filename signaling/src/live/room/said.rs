//! What people say over their sockets once they are in.

use hewei_api::ws::{ClientMessage, EndReason, ServerMessage};
use hewei_model::{MediaKind, ParticipantId, PeerId};
use time::OffsetDateTime;

use super::Room;
use crate::{
    live::{problems, recording},
    problem::Problem,
};

impl Room {
    pub(super) async fn said(&mut self, peer: PeerId, message: ClientMessage) {
        if self.seat_of(peer).is_none() {
            // Sent before the socket heard that it was replaced.
            return;
        }
        if let Err(problem) = self.do_said(peer, message).await {
            let out = self.seat_of(peer).and_then(|seat| seat.link.as_ref()?.out.clone());
            self.tell(out, ServerMessage::Error { problem: problem.into_body() });
        }
    }

    async fn do_said(&mut self, peer: PeerId, message: ClientMessage) -> Result<(), Problem> {
        match message {
            ClientMessage::Offer { offer_id, sdp } => self.offer(peer, offer_id, sdp).await,
            ClientMessage::SetMuted { kind, muted } => self.set_muted(peer, kind, muted),
            ClientMessage::SetConsent { record } => self.set_consent(peer, record),
            ClientMessage::Admit { participant_id } => {
                self.must_lead(peer)?;
                self.admit(parse(&participant_id)?).await
            }
            ClientMessage::Remove { participant_id } => {
                self.must_lead(peer)?;
                self.send_out(parse(&participant_id)?)
            }
            ClientMessage::EndSession => {
                self.must_lead(peer)?;
                tracing::info!("the mediator ends the session");
                self.audit_end(peer).await;
                self.end(EndReason::SessionEnded).await;
                Ok(())
            }
            ClientMessage::Leave => {
                self.leave(peer);
                Ok(())
            }
            // The socket itself answers these.
            ClientMessage::Hello { .. } | ClientMessage::Ping => Ok(()),
        }
    }

    fn must_lead(&self, peer: PeerId) -> Result<(), Problem> {
        match self.seat_of(peer) {
            Some(seat) if seat.leads() => Ok(()),
            _ => Err(problems::not_leading()),
        }
    }

    /// Who ended the session. A call is not kept open because the log cannot be written.
    async fn audit_end(&self, peer: PeerId) {
        let Some(seat) = self.seat_of(peer) else { return };
        let entry = hewei_store::AuditEntry {
            at: OffsetDateTime::now_utc(),
            actor: seat.name.clone(),
            participant_id: Some(seat.owner),
            role: seat.role,
            action: "session.end".to_owned(),
            target: self.info.id.to_string(),
            purpose_id: None,
            detail: format!("{} {}", self.info.case_number, self.info.name),
        };
        if let Err(error) = self.shared.store.audit(&entry).await {
            tracing::error!(%error, "the end of a session could not be written to the audit log");
        }
    }

    fn set_muted(&mut self, peer: PeerId, kind: MediaKind, muted: bool) -> Result<(), Problem> {
        let Some(seat) = self.seat_of_mut(peer) else { return Ok(()) };
        if seat.source_mut(kind).muted == muted {
            return Ok(());
        }
        seat.source_mut(kind).muted = muted;
        if seat.admitted {
            let entry = recording::Entry::Muted { participant: seat.id, kind, muted };
            self.journal(entry);
        }
        Ok(())
    }

    fn set_consent(&mut self, peer: PeerId, record: bool) -> Result<(), Problem> {
        let Some(seat) = self.seat_of_mut(peer) else { return Ok(()) };
        if seat.record == record {
            return Ok(());
        }
        seat.record = record;
        tracing::info!(participant = %seat.id, record, "consent to recording");
        if seat.admitted {
            let entry = recording::Entry::Consent { participant: seat.id, record };
            self.journal(entry);
        }
        Ok(())
    }

    async fn admit(&mut self, id: ParticipantId) -> Result<(), Problem> {
        let seat = self.seat_mut(id).filter(|seat| seat.listed).ok_or_else(problems::nobody)?;
        if seat.admitted {
            return Ok(());
        }
        tracing::info!(participant = %id, "let in");
        // What the same token publishes besides comes in with it.
        let together: Vec<ParticipantId> =
            self.seats.iter().filter(|seat| seat.id == id || seat.owner == id).map(|seat| seat.id).collect();
        self.ensure_session().await;
        for id in together {
            let Some(seat) = self.seat_mut(id).filter(|seat| !seat.admitted) else { continue };
            (seat.admitted, seat.sent_out) = (true, false);
            self.journal_joined(id);
            self.tell(self.out_of(id), ServerMessage::Admitted);
            self.tell(self.out_of(id), self.recording_changed());
        }
        Ok(())
    }

    fn send_out(&mut self, id: ParticipantId) -> Result<(), Problem> {
        let seat = self.seat_mut(id).filter(|seat| seat.listed).ok_or_else(problems::nobody)?;
        tracing::info!(participant = %id, "sent out");
        let out = seat.link.as_ref().and_then(|link| link.out.clone());
        self.tell(out, ServerMessage::Ended { reason: EndReason::Removed, recording_id: None });
        let together: Vec<ParticipantId> =
            self.seats.iter().filter(|seat| seat.id == id || seat.owner == id).map(|seat| seat.id).collect();
        for id in together {
            if let Some(peer) = self.seat_mut(id).and_then(|seat| seat.link.as_ref().map(|link| link.peer)) {
                self.unlink(peer);
            }
            if let Some(seat) = self.seat_mut(id) {
                (seat.admitted, seat.sent_out, seat.listed) = (false, true, false);
            }
        }
        Ok(())
    }
}

fn parse(id: &str) -> Result<ParticipantId, Problem> {
    id.parse().map_err(|_| problems::nobody())
}
