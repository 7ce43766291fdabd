//! The thread of one recording: from the engine's tap and the room's queue into the recorder.
//!
//! Before each record of the tap the room's lines that are there by then are taken, so that the journal names an
//! audience ahead of the first packet it lets through.

use std::{
    collections::HashMap,
    path::PathBuf,
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
use crate::{
    health::{self, ClockWatch},
    live::room,
};

/// How long the thread sleeps when no packet comes: the delay of a line in the journal.
const READ_MAX: Duration = Duration::from_millis(100);
/// How often the recorder gets to write and to sign.
const TICK: Duration = Duration::from_millis(200);
/// The recorder goes on after an error, which may be of the moment; when it writes nothing for this long it has failed.
const FAILING_MAX: Duration = Duration::from_secs(3);
/// How often the disk is asked what is left: at 100 Mbit/s 25 MB go in between.
const SPACE_EVERY: Duration = Duration::from_secs(2);
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
    clock: ClockWatch,
    /// Where it writes, and what must stay free there so that it can be sealed. Absent in tests.
    room_for: Option<(PathBuf, u64)>,
    /// When the disk was asked last.
    space_at: Instant,
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
        // False when the room's queue is full: then it is told again.
        let tell = |fault: &str| {
            let fault = room::Command::RecorderFault { recording: id, fault: fault.to_owned() };
            room.upgrade().is_none_or(|room| room.try_send(fault).is_ok())
        };
        let recording = match Recording::create(&setup.root, meta, setup.identity) {
            Ok(recording) => recording,
            Err(error) => {
                let fault = format!("the package cannot be made: {error}");
                tell(&fault);
                return Err(fault);
            }
        };
        let mut writing = Writing::new(recording, entries);
        writing.room_for = Some((setup.root, setup.reserve_bytes / 2));
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
                told = tell(fault);
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
    fn new(recording: Recording, entries: Receiver<Stamped>) -> Self {
        Self {
            recording,
            entries,
            people: HashMap::new(),
            tracks: HashMap::new(),
            failing_since: None,
            clock: ClockWatch::new(mono_now(), OffsetDateTime::now_utc()),
            room_for: None,
            space_at: Instant::now(),
            fault: None,
            ending: false,
            closed: false,
        }
    }

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
                if let Some(record) = record {
                    self.recording.consent(participant, &name, record, at);
                }
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
        let (now, utc) = (mono_now(), OffsetDateTime::now_utc());
        self.watch_clock(now, utc);
        self.watch_space(now);
        match self.recording.tick(now, utc) {
            Ok(()) => self.failing_since = None,
            Err(error) => {
                tracing::error!(%error, "the recorder could not write");
                if self.failing_since.get_or_insert_with(Instant::now).elapsed() > FAILING_MAX {
                    self.fault(error.to_string());
                }
            }
        }
    }

    /// Times in the journal are of a clock that somebody may set meanwhile; `mono_ns` beside them goes on evenly.
    fn watch_clock(&mut self, now: MonoNs, utc: OffsetDateTime) {
        if let Some(step) = self.clock.look(now, utc) {
            let step_s = step.as_seconds_f64();
            tracing::warn!(step_s, "the server's clock was set during a recording");
            let what = format!("the server's clock was set by {step_s:+.3} s");
            self.recording.journal(Event::Fault { what }, now);
        }
    }

    /// Stops while there is still room to seal what there is.
    fn watch_space(&mut self, now: MonoNs) {
        let Some((root, least_bytes)) = &self.room_for else { return };
        if self.fault.is_some() || self.space_at.elapsed() < SPACE_EVERY {
            return;
        }
        self.space_at = Instant::now();
        if let Some(what) = health::too_little_space(root, *least_bytes) {
            self.recording.journal(Event::Fault { what: what.clone() }, now);
            self.fault(what);
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that panics has failed")]
mod tests {
    use std::sync::{
        Arc,
        mpsc::{SyncSender, sync_channel},
    };

    use hewei_model::{Audience, CaseId, MediaKind, SessionId};

    use super::*;

    const WHO: ParticipantId = ParticipantId::from_u128(1);
    const TRACK: TrackId = TrackId::from_u128(2);

    struct Harness {
        writing: Writing,
        room: SyncSender<Stamped>,
        now: MonoNs,
        sequence: u16,
        _folder: tempfile::TempDir,
    }

    impl Harness {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let now = OffsetDateTime::now_utc();
            let identity =
                hewei_recorder::Identity::load_or_create(&folder.path().join("keys"), now).unwrap();
            let meta = RecordingMeta {
                continues: None,
                recording: RecordingId::from_u128(3),
                session: SessionId::from_u128(4),
                case_id: CaseId::from_u128(5),
                case_number: "2026-0001".into(),
                case_title: "作物赔偿".into(),
                room: RoomId::from_u128(6),
                room_name: "调解室".into(),
                started_at: now,
                started_mono: mono_now(),
            };
            let started = meta.started_mono;
            let recording =
                Recording::create(&folder.path().join("recordings"), meta, Arc::new(identity)).unwrap();
            let (room, entries) = sync_channel(64);
            Self {
                writing: Writing::new(recording, entries),
                room,
                now: started,
                sequence: 0,
                _folder: folder,
            }
        }

        fn say(&self, entry: Entry) {
            self.room.try_send((self.now, entry)).unwrap();
        }

        fn join(&self, record: Option<bool>) {
            self.say(Entry::Joined { participant: WHO, name: "甲方".into(), role: Role::Party, record });
        }

        fn audience(&self, recorder: bool) {
            let audience = Audience { recorder, ..Audience::nobody() };
            let publisher = Publisher::Participant(WHO);
            self.say(Entry::Audience { publisher, kind: MediaKind::Audio, audience });
        }

        fn start(&mut self, track: TrackId) {
            let publisher = Publisher::Participant(WHO);
            self.writing.take(Record::TrackStarted { track, publisher, codec: Codec::Opus, at: self.now });
        }

        fn end(&mut self, track: TrackId) {
            self.writing.take(Record::TrackEnded { track, at: self.now });
        }

        /// Sound of so many frames of 20 ms.
        fn sound(&mut self, track: TrackId, frames: u16) {
            for _ in 0..frames {
                let mut rtp = vec![0x80, 111];
                rtp.extend(self.sequence.to_be_bytes());
                rtp.extend((u32::from(self.sequence) * 960).to_be_bytes());
                rtp.extend(7u32.to_be_bytes());
                rtp.extend([0x78, 1, 2, 3]);
                self.sequence += 1;
                self.now = self.now + Duration::from_millis(20);
                self.writing.take(Record::Packet { track, arrival: self.now, rtp: &rtp });
            }
        }

        /// Time without packets, in which the sender's clock runs on.
        fn silence(&mut self, frames: u16) {
            self.sequence += frames;
            self.now = self.now + Duration::from_millis(20) * u32::from(frames);
        }

        /// Seals, and gives the journal.
        fn journal(self) -> (Vec<Event>, Option<String>) {
            drop(self.room);
            let mut writing = self.writing;
            writing.take_entries();
            assert!(writing.ending);
            let sealed = writing.close().unwrap();
            let journal = std::fs::read_to_string(sealed.package.join("data/journal/journal.jsonl")).unwrap();
            let lines = journal.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            (lines, sealed.fault)
        }
    }

    fn place(journal: &[Event], what: impl Fn(&Event) -> bool) -> usize {
        journal.iter().position(what).unwrap()
    }

    #[test]
    fn the_audience_is_in_the_journal_ahead_of_what_it_lets_through() {
        let mut harness = Harness::new();
        harness.join(Some(true));
        harness.audience(true);
        harness.start(TRACK);
        harness.sound(TRACK, 100);
        let (journal, fault) = harness.journal();
        assert_eq!(fault, None);
        let consent = place(&journal, |event| matches!(event, Event::Consent { granted: true, .. }));
        let audience = place(&journal, |event| matches!(event, Event::Audience { .. }));
        let track = place(&journal, |event| matches!(event, Event::TrackOpen { .. }));
        let media = place(&journal, |event| matches!(event, Event::Seg { .. }));
        assert!(consent < audience && audience < track && track < media, "{journal:?}");
    }

    #[test]
    fn a_mute_is_a_gap_in_one_track_and_not_its_end() {
        let mut harness = Harness::new();
        harness.join(Some(true));
        harness.audience(true);
        harness.start(TRACK);
        harness.sound(TRACK, 100);
        harness.say(Entry::Muted { participant: WHO, kind: MediaKind::Audio, muted: true });
        harness.audience(false);
        harness.end(TRACK);
        harness.silence(150);
        harness.say(Entry::Muted { participant: WHO, kind: MediaKind::Audio, muted: false });
        harness.audience(true);
        harness.start(TRACK);
        harness.sound(TRACK, 100);
        let (journal, _) = harness.journal();
        let opened = journal.iter().filter(|event| matches!(event, Event::TrackOpen { .. })).count();
        let closed = journal.iter().filter(|event| matches!(event, Event::TrackClose { .. })).count();
        assert_eq!((opened, closed), (1, 1), "{journal:?}");
        let gap = journal.iter().find_map(|event| match event {
            Event::Gap { kind, from_ms, to_ms, .. } => Some((*kind, to_ms - from_ms)),
            _ => None,
        });
        let (kind, lasts_ms) = gap.unwrap();
        assert_eq!(kind, hewei_recorder::GapKind::Mute);
        assert!((2_900..=3_100).contains(&lasts_ms), "{lasts_ms}");
    }

    #[test]
    fn who_leaves_ends_their_tracks_and_nobody_elses() {
        let mut harness = Harness::new();
        harness.join(Some(true));
        harness.audience(true);
        harness.start(TRACK);
        harness.sound(TRACK, 50);
        harness.say(Entry::Left { participant: WHO });
        harness.audience(false);
        // Some packets were under way.
        harness.sound(TRACK, 1);
        harness.end(TRACK);
        assert!(harness.writing.tracks.is_empty());
        // Back on another connection, with a track of another id.
        harness.join(Some(true));
        harness.audience(true);
        let second = TrackId::from_u128(8);
        harness.start(second);
        harness.sound(second, 50);
        let (journal, fault) = harness.journal();
        assert_eq!(fault, None);
        let closed = place(&journal, |event| matches!(event, Event::TrackClose { track } if *track == TRACK));
        let opened =
            place(&journal, |event| matches!(event, Event::TrackOpen { track, .. } if *track == second));
        assert!(closed < opened, "{journal:?}");
    }

    #[test]
    fn a_viewer_says_nothing_about_being_recorded() {
        let harness = Harness::new();
        harness.join(None);
        let (journal, _) = harness.journal();
        assert!(journal.iter().any(|event| matches!(event, Event::Join { .. })));
        assert!(!journal.iter().any(|event| matches!(event, Event::Consent { .. })), "{journal:?}");
    }

    #[test]
    fn a_track_of_nobody_is_a_fault_and_is_not_recorded() {
        let mut harness = Harness::new();
        harness.start(TRACK);
        harness.sound(TRACK, 50);
        let (journal, fault) = harness.journal();
        assert!(fault.is_some());
        assert!(!journal.iter().any(|event| matches!(event, Event::TrackOpen { .. })), "{journal:?}");
    }

    #[test]
    fn lost_records_are_written_down() {
        let mut harness = Harness::new();
        harness.writing.take(Record::Lost { records: 12 });
        let (journal, _) = harness.journal();
        assert!(journal.iter().any(|event| matches!(event, Event::Fault { what } if what.contains("12"))));
    }
}
