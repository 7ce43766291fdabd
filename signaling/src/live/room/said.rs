//! What people say over their sockets once they are in.

use hewei_api::ws::{ClientMessage, EndReason, ServerMessage};
use hewei_model::{MediaKind, ParticipantId, PeerId};

use super::{REMOVED_MAX, Room, audit::Actor};
use crate::{
    live::{problems, recording},
    problem::Problem,
};

impl Room {
    pub(super) async fn said(&mut self, socket: PeerId, message: ClientMessage) {
        let Some(peer) = self.peer_at(socket) else {
            // Sent before the socket heard that it was replaced.
            return;
        };
        if let Err(problem) = self.do_said(peer, message).await {
            let out = self.seat_of(peer).and_then(|seat| seat.link.as_ref()?.out.clone());
            self.tell(out, ServerMessage::Error { problem: problem.into_body() });
        }
    }

    async fn do_said(&mut self, peer: PeerId, message: ClientMessage) -> Result<(), Problem> {
        match message {
            ClientMessage::Offer { offer_id, sdp } => self.offer(peer, offer_id, sdp).await,
            ClientMessage::SetMuted { kind, muted } => self.set_muted(peer, kind, muted),
            ClientMessage::SetConsent { record } => self.set_consent(peer, record).await,
            ClientMessage::View { tiles } => self.view(peer, tiles),
            ClientMessage::Admit { participant_id } => {
                let leader = self.must_lead(peer)?;
                self.admit(leader, parse(&participant_id)?).await
            }
            ClientMessage::Remove { participant_id } => {
                let leader = self.must_lead(peer)?;
                self.send_out(leader, parse(&participant_id)?).await
            }
            ClientMessage::EndSession => {
                let leader = self.must_lead(peer)?;
                tracing::info!("the mediator ends the session");
                self.audit_done(&leader, "session.end", &self.info.id, "").await;
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

    fn must_lead(&self, peer: PeerId) -> Result<Actor, Problem> {
        match self.seat_of(peer) {
            Some(seat) if seat.leads() => Ok(Actor::from(seat)),
            _ => Err(problems::not_leading()),
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

    async fn set_consent(&mut self, peer: PeerId, record: bool) -> Result<(), Problem> {
        let Some(seat) = self.seat_of(peer).filter(|seat| seat.record != record) else { return Ok(()) };
        let (id, who) = (seat.id, Actor::from(seat));
        if record {
            self.audit(&who, "consent.change", &id, "may be recorded").await?;
        }
        let Some(seat) = self.seat_mut(id) else { return Ok(()) };
        seat.record = record;
        tracing::info!(participant = %seat.id, record, "consent to recording");
        if seat.admitted {
            self.journal(recording::Entry::Consent { participant: id, record });
        }
        if !record {
            // A withdrawal waits for no log.
            self.apply_audiences().await;
            self.audit_done(&who, "consent.change", &id, "may not be recorded").await;
        }
        Ok(())
    }

    async fn admit(&mut self, leader: Actor, id: ParticipantId) -> Result<(), Problem> {
        let seat = self.seat_mut(id).filter(|seat| seat.listed).ok_or_else(problems::nobody)?;
        if seat.admitted {
            return Ok(());
        }
        let (owner, whom) = (seat.owner, seat.described());
        self.audit(&leader, "participant.admit", &id, &whom).await?;
        tracing::info!(participant = %id, "let in");
        self.removed.remove(&owner);
        // All connections of the same token come in together.
        for id in self.of_owner(owner) {
            let Some(seat) = self.seat_mut(id).filter(|seat| !seat.admitted) else { continue };
            seat.admitted = true;
            if seat.present() {
                self.join_session(id).await;
            }
            self.tell(self.out_of(id), ServerMessage::Admitted);
            self.tell(self.out_of(id), self.recording_changed());
        }
        Ok(())
    }

    /// Sends out a token with all its connections, and keeps it out until it is let in again.
    async fn send_out(&mut self, leader: Actor, id: ParticipantId) -> Result<(), Problem> {
        let seat = self.seat_mut(id).filter(|seat| seat.listed).ok_or_else(problems::nobody)?;
        let (owner, whom) = (seat.owner, seat.described());
        if self.removed.len() >= REMOVED_MAX && !self.removed.contains(&owner) {
            // None of them may be forgotten.
            return Err(problems::busy("Too many were sent out of this session"));
        }
        tracing::info!(participant = %id, %owner, "sent out");
        self.removed.insert(owner);
        for id in self.of_owner(owner) {
            self.tell(
                self.out_of(id),
                ServerMessage::Ended { reason: EndReason::Removed, recording_id: None },
            );
            if let Some(peer) = self.seat_mut(id).and_then(|seat| seat.link.as_ref().map(|link| link.peer)) {
                self.unlink(peer);
            }
        }
        self.seats.retain(|seat| seat.owner != owner);
        // It holds before anything else is waited for, the log included.
        self.apply_audiences().await;
        self.audit_done(&leader, "participant.remove", &id, &whom).await;
        Ok(())
    }

    fn of_owner(&self, owner: ParticipantId) -> Vec<ParticipantId> {
        self.seats.iter().filter(|seat| seat.owner == owner).map(|seat| seat.id).collect()
    }
}

fn parse(id: &str) -> Result<ParticipantId, Problem> {
    id.parse().map_err(|_| problems::nobody())
}
