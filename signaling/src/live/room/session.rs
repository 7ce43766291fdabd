//! The session: from the first one let in until the mediator ends it, and its recording.

use hewei_api::ws::{EndReason, ServerMessage};
use hewei_model::{ParticipantId, RecordingId, SessionId};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{Outbox, Room};
use crate::live::{policy, recording};

/// One sitting.
pub(super) struct Session {
    id: SessionId,
    began_at: OffsetDateTime,
    /// It was taken up from an earlier run of the server, and none of those let in is back yet. The recording goes
    /// on with the first of them, so that there are no empty packages.
    waits: bool,
    /// Absent when the server records nothing.
    recording: Option<recording::Recording>,
    /// Said to everybody, once.
    fault: Option<String>,
    /// From here on nothing more goes to the recorder.
    ending: bool,
}

impl Session {
    fn new(id: SessionId, began_at: OffsetDateTime) -> Self {
        Self { id, began_at, waits: false, recording: None, fault: None, ending: false }
    }

    /// One that an earlier run of the server did not end.
    pub(super) fn restored(id: SessionId, began_at: OffsetDateTime) -> Self {
        Self { waits: true, ..Self::new(id, began_at) }
    }

    #[cfg(test)]
    pub(super) fn recorded_by(recording: recording::Recording) -> Self {
        let session = Self::new(SessionId::generate(), OffsetDateTime::now_utc());
        Self { recording: Some(recording), ..session }
    }

    pub(super) fn id(&self) -> SessionId {
        self.id
    }

    pub(super) fn began_at(&self) -> OffsetDateTime {
        self.began_at
    }
}

impl Room {
    /// Somebody who is present takes part from now on. Starts the session if none is running, and its recording.
    pub(super) async fn join_session(&mut self, id: ParticipantId) {
        let mut session = match self.session.take() {
            Some(session) if !session.waits => {
                self.session = Some(session);
                return self.journal_joined(id);
            }
            Some(unfinished) => unfinished,
            None => Session::new(SessionId::generate(), OffsetDateTime::now_utc()),
        };
        self.record(&mut session).await;
        self.session = Some(session);
        // A viewer begins no session, and may have been there first.
        let present: Vec<ParticipantId> =
            self.seats.iter().filter(|seat| seat.present()).map(|seat| seat.id).collect();
        present.into_iter().for_each(|id| self.journal_joined(id));
    }

    /// Begins the recording of a session that starts or goes on.
    async fn record(&self, session: &mut Session) {
        let goes_on = std::mem::take(&mut session.waits);
        if let Some(setup) = self.shared.recorder.clone() {
            let started =
                recording::start(&self.shared, setup, &self.info, session.id, self.commands.clone()).await;
            match started {
                Ok(recording) => session.recording = Some(recording),
                Err(fault) => {
                    tracing::error!(session = %session.id, %fault, "the session is not recorded");
                    session.fault = Some(fault);
                }
            }
        }
        let recorded = session.recording.is_some();
        tracing::info!(session = %session.id, recorded, goes_on, "session started");
    }

    /// Whether the recorder takes what its audience lets it take.
    pub(super) fn is_recording(&self) -> bool {
        self.session
            .as_ref()
            .is_some_and(|session| !session.ending && session.fault.is_none() && session.recording.is_some())
    }

    /// Whether the session is being recorded, as people are told.
    pub(super) fn recording_changed(&self) -> ServerMessage {
        let session = self.session.as_ref();
        let recording = session.and_then(|session| session.recording.as_ref());
        ServerMessage::RecordingChanged {
            recording: self.is_recording(),
            since: recording.and_then(|recording| rfc3339(recording.started_at())),
            fault: session.and_then(|session| session.fault.clone()),
        }
    }

    /// A line for the journal. A recorder that does not keep up is a fault: a journal with holes proves nothing.
    pub(super) fn journal(&mut self, entry: recording::Entry) {
        let Some(recording) = self.session.as_mut().and_then(|session| session.recording.as_mut()) else {
            return;
        };
        if recording.journal(entry).is_err() {
            let id = recording.id();
            self.recorder_fault(id, "the recorder does not take the journal");
        }
    }

    /// The recorder stopped. The call goes on, and everybody is told.
    pub(super) fn recorder_fault(&mut self, recording: RecordingId, fault: &str) {
        let Some(session) = self.session.as_mut() else { return };
        let concerned = session.recording.as_ref().is_some_and(|running| running.id() == recording);
        if !concerned || session.fault.is_some() {
            return;
        }
        tracing::error!(session = %session.id, %recording, %fault, "recorder fault");
        session.fault = Some(fault.to_owned());
        let message = self.recording_changed();
        let outs: Vec<Outbox> = self
            .seats
            .iter()
            .filter(|seat| seat.admitted)
            .filter_map(|seat| seat.link.as_ref()?.out.clone())
            .collect();
        for out in outs {
            self.tell(Some(out), message.clone());
        }
    }

    /// Ends the session, if there is one: the recorder gets nothing more, then the package is sealed in the
    /// background. Says which recording it was.
    pub(super) async fn finish_session(&mut self) -> Option<RecordingId> {
        self.session.as_mut()?.ending = true;
        self.apply_audiences().await;
        let session = self.session.take()?;
        tracing::info!(session = %session.id, "session ended");
        let recording = session.recording?;
        let id = recording.id();
        recording.finish(&self.shared).await;
        Some(id)
    }

    /// Ends the room for everybody; its session too, unless it is the server that stops: then the next one goes on
    /// with it.
    pub(super) async fn end(&mut self, reason: EndReason) {
        if reason == EndReason::ServerStopping {
            self.keep_for_the_next().await;
        }
        let mut to_tell = Vec::new();
        for seat in &mut self.seats {
            let Some(link) = seat.link.take() else { continue };
            let sees = seat.admitted && policy::sees_recording(seat.role);
            to_tell.extend(link.out.map(|out| (out, sees)));
            if seat.admitted
                && let Some(recording) = self.session.as_mut().and_then(|session| session.recording.as_mut())
            {
                // A full queue was a fault before; the recording ends here anyway.
                let _ = recording.journal(recording::Entry::Left { participant: seat.id });
            }
        }
        // Nobody is present any more, so this takes every audience away.
        self.apply_audiences().await;
        let recording = self.finish_session().await;
        // It is gone for good before anybody hears that it is.
        self.keep_now().await;
        for (out, sees) in to_tell {
            let recording_id = recording.filter(|_| sees).map(|id| id.to_string());
            out.send(ServerMessage::Ended { reason, recording_id });
        }
        self.seats.clear();
        self.removed.clear();
        self.over = true;
    }
}

fn rfc3339(at: OffsetDateTime) -> Option<String> {
    at.format(&Rfc3339).ok()
}
