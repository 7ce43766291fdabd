//! What of a session outlives the server.
//!
//! Whatever people are told of (who was let in, who was sent out, who consents to being recorded) is in the database
//! before they are told, so that a server which is killed a moment later comes back with the same. The rest, such as
//! a microphone that is off, follows within about a second: the browser says it again when it comes back.

use std::time::{Duration, Instant};

use hewei_store::{LiveSeat, LiveSession};

use super::{
    Room,
    seat::{Kind, Seat, Source},
    session::Session,
};

/// A database that takes longer holds up the room no longer. It is tried again.
const WRITE_MAX: Duration = Duration::from_secs(2);
/// What may wait is written at most this often, and so is what could not be written.
const WRITE_EVERY: Duration = Duration::from_secs(1);

/// What the database holds of the room's session.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// `None` when it holds nothing.
    written: Option<LiveSession>,
    /// The last write failed, so that nobody knows what it holds.
    unknown: bool,
    /// Nothing more is written until then.
    next: Option<Instant>,
    /// The server stops: what is there is for the next one.
    closed: bool,
}

#[cfg(test)]
impl Kept {
    pub(super) fn failed(&self) -> bool {
        self.unknown
    }
}

impl Room {
    /// Takes up a session that an earlier run of the server did not end. All of its people are away.
    pub(super) fn restore(&mut self, session: LiveSession) {
        tracing::info!(session = %session.id, began_at = %session.began_at, seats = session.seats.len(), "session restored");
        self.seats = session.seats.iter().map(restored).collect();
        self.removed = session.removed.clone();
        self.session = Some(Session::restored(session.id, session.began_at));
        self.kept.written = Some(session);
    }

    /// Brings the database in line with the session. What people are told of is on the disk when this returns.
    pub(super) async fn keep(&mut self) {
        if self.kept.closed {
            return;
        }
        let now = Instant::now();
        let rests = self.kept.next.is_some_and(|next| now < next);
        let due = match (&self.session, &self.kept.written) {
            _ if self.kept.unknown => !rests,
            (None, None) => false,
            (None, Some(_)) | (Some(_), None) => true,
            (Some(session), Some(written)) => {
                written.id != session.id()
                    || written.removed != self.removed
                    || !self.seats_are(&written.seats, is_promised)
                    || (!rests && !self.seats_are(&written.seats, |seat, kept| *kept == to_keep(seat)))
            }
        };
        if !due {
            return;
        }
        let wanted = self.session.as_ref().map(|session| LiveSession {
            id: session.id(),
            room_id: self.info.id,
            began_at: session.began_at(),
            seats: kept_seats(&self.seats).map(to_keep).collect(),
            removed: self.removed.clone(),
        });
        let before = self.kept.written.as_ref().filter(|_| !self.kept.unknown);
        let write = async {
            match &wanted {
                Some(session) => self.shared.store.keep_session(before, session).await,
                None => self.shared.store.forget_session(self.info.id).await,
            }
        };
        let fault = match tokio::time::timeout(WRITE_MAX, write).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("the database does not answer".to_owned()),
        };
        self.kept.next = Some(Instant::now() + WRITE_EVERY);
        self.kept.unknown = fault.is_some();
        match fault {
            None => self.kept.written = wanted,
            // The call goes on. A server that is killed now comes back with what was written before.
            Some(error) => tracing::error!(%error, "the session could not be written down"),
        }
    }

    /// The same, and nothing waits.
    pub(super) async fn keep_now(&mut self) {
        self.kept.next = None;
        self.keep().await;
    }

    /// The server stops, and the next one goes on with the session as it is now.
    pub(super) async fn keep_for_the_next(&mut self) {
        self.keep_now().await;
        self.kept.closed = true;
    }

    fn seats_are(&self, written: &[LiveSeat], same: impl Fn(&Seat, &LiveSeat) -> bool) -> bool {
        let mut written = written.iter();
        kept_seats(&self.seats).all(|seat| written.next().is_some_and(|kept| same(seat, kept)))
            && written.next().is_none()
    }
}

/// WHIP and WHEP clients come back by requests of their own.
fn kept_seats(seats: &[Seat]) -> impl Iterator<Item = &Seat> {
    seats.iter().filter(|seat| seat.kind == Kind::Browser)
}

fn is_promised(seat: &Seat, kept: &LiveSeat) -> bool {
    (seat.id, seat.admitted, seat.record, seat.role)
        == (kept.participant, kept.admitted, kept.record, kept.role)
        && seat.name == kept.name
}

fn to_keep(seat: &Seat) -> LiveSeat {
    LiveSeat {
        participant: seat.id,
        name: seat.name.clone(),
        role: seat.role,
        admitted: seat.admitted,
        record: seat.record,
        audio_muted: seat.audio.muted,
        video_muted: seat.video.muted,
        listed: seat.listed,
    }
}

fn restored(kept: &LiveSeat) -> Seat {
    Seat {
        id: kept.participant,
        owner: kept.participant,
        kind: Kind::Browser,
        name: kept.name.clone(),
        role: kept.role,
        admitted: kept.admitted,
        record: kept.record,
        audio: Source { muted: kept.audio_muted, flows: false },
        video: Source { muted: kept.video_muted, flows: false },
        listed: kept.listed,
        link: None,
        away_since: Some(Instant::now()),
    }
}
