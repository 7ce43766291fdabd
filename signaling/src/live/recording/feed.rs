//! The thread of one recording: from the engine's tap and the room's queue into the recorder.
//!
//! Before each record of the tap the room's lines that are there by then are taken, so that the journal names an
//! audience ahead of the first packet it lets through.

use std::{
    collections::HashMap,
    sync::mpsc::{Receiver, TryRecvError},
    time::{Duration, Instant},
};

use hewei_engine::{
    Engine, mono_now,
    tap::{self, Record},
};
use hewei_model::{Codec, MonoNs, ParticipantId, Publisher, RecordingId, Role, RoomId, TrackId};
use hewei_recorder::{Event, Recording, RecordingMeta, TrackMeta};
use time::OffsetDateTime;
use tokio::sync::mpsc;

use super::{Entry, Outcome, Sealed, Setup, Stamped};
use crate::live::room;

/// How long the thread sleeps when no packet comes: the delay of a line in the journal.
const READ_MAX: Duration = Duration::from_millis(100);
/// How often the recorder gets to write and to sign.
const TICK: Duration = Duration::from_millis(200);
/// The recorder goes on after an error, which may be of the moment; when it writes nothing for this long it has failed.
const FAILING_MAX: Duration = Duration::from_secs(3);
/// What the tap still holds at the end is read for this long at most.
const DRAIN_MAX: Duration = Duration::from_secs(2);

/// The thread's way in and out.
pub(super) struct Feed {
    pub(super) id: RecordingId,
    pub(super) room_id: RoomId,
    pub(super) engine: Engine,
    pub(super) room: mpsc::WeakSender<room::Command>,
    pub(super) tap: tap::Reader,
    pub(super) entries: Receiver<Stamped>,
}

/// Somebody who took part.
struct Person {
    name: String,
    role: Role,
    present: bool,
}

/// A track of the recording.
struct Track {
    participant: ParticipantId,
    codec: Codec,
    /// Its audience includes the recorder now. It comes back after a mute, under the same id.
    flows: bool,
}

/// What the tap and the room feed into.
struct Writing {
    recording: Recording,
    entries: Receiver<Stamped>,
    people: HashMap<ParticipantId, Person>,
    tracks: HashMap<TrackId, Track>,
    /// Since when no tick succeeded.
    failing_since: Option<Instant>,
    /// The first thing that stopped it.
    fault: Option<String>,
    /// The room has dropped its end of the queue.
    ending: bool,
    closed: bool,
}

impl Feed {
    /// Until the room drops its end of the queue. Then seals.
    pub(super) fn run(self, setup: Setup, meta: RecordingMeta) -> Outcome {
        let Feed { id, room_id, engine, room, mut tap, entries } = self;
        let tell = |fault: &str| {
            if let Some(room) = room.upgrade() {
                // A room whose queue is full hears of it by the state of the recording.
                let _ =
                    room.try_send(room::Command::RecorderFault { recording: id, fault: fault.to_owned() });
            }
        };
        let recording = match Recording::create(&setup.root, meta, setup.identity) {
            Ok(recording) => recording,
            Err(error) => {
                let fault = format!("the package cannot be made: {error}");
                tell(&fault);
                return Err(fault);
            }
        };
        let mut writing = Writing {
            recording,
            entries,
            people: HashMap::new(),
            tracks: HashMap::new(),
            failing_since: None,
            fault: None,
            ending: false,
            closed: false,
        };
        let mut ticked = Instant::now();
        let mut told = false;
        let mut drain_until = None;
        loop {
            writing.take_entries();
            let read = tap.read(READ_MAX, |record| writing.take(record));
            if ticked.elapsed() >= TICK {
                ticked = Instant::now();
                writing.tick();
                for track in writing.recording.take_keyframe_requests(mono_now()) {
                    engine.request_keyframe(room_id, track);
                }
            }
            if let Some(fault) = writing.fault.as_deref().filter(|_| !told) {
                tell(fault);
                told = true;
            }
            if writing.ending {
                // No audience includes the recorder any more: what is there is all there is.
                let until = *drain_until.get_or_insert_with(|| Instant::now() + DRAIN_MAX);
                if read == 0 || writing.closed || Instant::now() > until {
                    break;
                }
            } else if writing.closed {
                // The engine has ended first; the room says when it is over.
                std::thread::sleep(READ_MAX);
            }
        }
        writing.close()
    }
}

impl Writing {
    /// What the room said until now.
    fn take_entries(&mut self) {
        loop {
            match self.entries.try_recv() {
                Ok((at, entry)) => self.take_entry(at, entry),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => {
                    self.ending = true;
                    return;
                }
            }
        }
    }

    fn take_entry(&mut self, at: MonoNs, entry: Entry) {
        match entry {
            Entry::Joined { participant, name, role, record } => {
                self.recording.person_joined(participant, &name, role, at);
                self.recording.consent(participant, &name, record, at);
                self.people.insert(participant, Person { name, role, present: true });
            }
            Entry::Left { participant } => {
                if let Some(person) = self.people.get_mut(&participant) {
                    person.present = false;
                }
                self.close_tracks(at, |track| track.participant == participant && !track.flows);
                self.recording.person_left(participant, at);
            }
            Entry::Audience { publisher, kind, audience } => {
                self.recording.audience(publisher, kind, audience, at);
            }
            Entry::Muted { participant, kind, muted } => self.recording.mute(participant, kind, muted, at),
            Entry::Consent { participant, record } => {
                let name =
                    self.people.get(&participant).map(|person| person.name.clone()).unwrap_or_default();
                self.recording.consent(participant, &name, record, at);
            }
        }
    }

    /// A record of the tap, after what the room said before it.
    fn take(&mut self, record: Record<'_>) {
        self.take_entries();
        match record {
            Record::TrackStarted { track, publisher: Publisher::Participant(participant), codec, at } => {
                self.track_started(track, participant, codec, at);
            }
            // No camera is recorded.
            Record::TrackStarted { publisher: Publisher::Camera(_), .. } => {}
            Record::Packet { track, arrival, rtp } => {
                if self.tracks.contains_key(&track) {
                    self.recording.packet(track, arrival, rtp);
                }
            }
            Record::SenderReport { track, arrival, ntp, rtp_timestamp } => {
                if self.tracks.contains_key(&track) {
                    self.recording.sender_report(track, ntp, rtp_timestamp, arrival);
                }
            }
            Record::TrackEnded { track, at } => {
                let Some(ended) = self.tracks.get_mut(&track) else { return };
                ended.flows = false;
                let participant = ended.participant;
                // Otherwise it is muted, or consent was withdrawn: the track may go on.
                if !self.people.get(&participant).is_some_and(|person| person.present) {
                    self.close_tracks(at, |track| track.participant == participant && !track.flows);
                }
            }
            Record::Lost { records } => {
                tracing::error!(records, "the recorder is too slow: packets were lost before it");
                let what = format!("{records} records of the tap were lost, the queue was full");
                self.recording.journal(Event::Fault { what }, mono_now());
            }
            Record::Closed => self.closed = true,
        }
    }

    fn track_started(&mut self, track: TrackId, participant: ParticipantId, codec: Codec, at: MonoNs) {
        if let Some(known) = self.tracks.get_mut(&track) {
            known.flows = true;
            return;
        }
        // Another camera or microphone takes the place of the one before.
        self.close_tracks(at, |old| {
            old.participant == participant && old.codec.kind() == codec.kind() && !old.flows
        });
        let Some(person) = self.people.get(&participant) else {
            self.fault(format!("a track of somebody who did not join: {participant}"));
            return;
        };
        let (name, role) = (person.name.clone(), person.role);
        let meta = TrackMeta { track, participant, name, role, kind: codec.kind(), codec };
        self.recording.track_opened(meta, at);
        self.tracks.insert(track, Track { participant, codec, flows: true });
    }

    fn close_tracks(&mut self, at: MonoNs, which: impl Fn(&Track) -> bool) {
        let closing: Vec<TrackId> =
            self.tracks.iter().filter(|(_, track)| which(track)).map(|(id, _)| *id).collect();
        for id in closing {
            self.tracks.remove(&id);
            self.recording.track_closed(id, at);
        }
    }

    fn tick(&mut self) {
        match self.recording.tick(mono_now(), OffsetDateTime::now_utc()) {
            Ok(()) => self.failing_since = None,
            Err(error) => {
                tracing::error!(%error, "the recorder could not write");
                if self.failing_since.get_or_insert_with(Instant::now).elapsed() > FAILING_MAX {
                    self.fault(error.to_string());
                }
            }
        }
    }

    fn fault(&mut self, fault: String) {
        if self.fault.is_none() {
            self.fault = Some(fault);
        }
    }

    /// Seals. A recording that failed on the way is sealed as far as it goes, and says so.
    fn close(self) -> Outcome {
        let sealed = self.recording.close(mono_now(), OffsetDateTime::now_utc());
        let sealed = sealed.map_err(|error| format!("the package cannot be sealed: {error}"))?;
        Ok(Sealed { package: sealed.package, head_hash: sealed.head_hash, fault: self.fault })
    }
}
