//! One session being recorded: who comes and goes, what is journalled, when the disk is waited for.

mod media;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use hewei_evidence::{
    bag,
    journal::{Continues, Event, GapKind, TrackSummary, format_utc},
};
use hewei_model::{
    Audience, CaseId, Codec, MediaKind, MonoNs, ParticipantId, Publisher, RecordingId, Role, RoomId,
    SessionId, TrackId,
};
use time::OffsetDateTime;

use crate::{
    Identity, RecorderError,
    files::Writing,
    playback::EpochFolder,
    sample::Written,
    sealing::{self, Ending, FinishedTrack},
    track::{Epoch, Track},
    writer::Writer,
};

/// Version of the evidence format.
const FORMAT_VERSION: u32 = 1;
/// How often the disk is waited for.
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// Tracks that one person may begin a minute. A browser begins two or three, and again after each reconnection.
const TRACKS_A_MINUTE_MAX: usize = 30;
/// Tracks of one recording, so that its journal's end can be read.
const TRACKS_MAX: usize = 10_000;
/// Sender Reports closer together say nothing new (RFC 3550, 6.2: seconds apart).
const SENDER_REPORT_EVERY: Duration = Duration::from_millis(500);

/// What is recorded, and since when.
#[derive(Debug, Clone)]
pub struct RecordingMeta {
    /// Recording.
    pub recording: RecordingId,
    /// Session.
    pub session: SessionId,
    /// Case.
    pub case_id: CaseId,
    /// The case's number.
    pub case_number: String,
    /// What the dispute is about.
    pub case_title: String,
    /// Room.
    pub room: RoomId,
    /// The room's name.
    pub room_name: String,
    /// UTC at the start.
    pub started_at: OffsetDateTime,
    /// The monotonic clock at the same moment.
    pub started_mono: MonoNs,
    /// The interrupted recording of the same session that it goes on from.
    pub continues: Option<Continues>,
}

/// A track that begins.
#[derive(Debug, Clone)]
pub struct TrackMeta {
    /// Track.
    pub track: TrackId,
    /// Whose it is.
    pub participant: ParticipantId,
    /// The person's name.
    pub name: String,
    /// Role.
    pub role: Role,
    /// Sound or picture.
    pub kind: MediaKind,
    /// Codec.
    pub codec: Codec,
}

/// A finished package.
#[derive(Debug, Clone)]
pub struct Sealed {
    /// Its folder.
    pub package: PathBuf,
    /// SHA-256 of the last head's file, 64 hexadecimal digits: the receipt.
    pub head_hash: String,
    /// Tracks that have media, in the order they began.
    pub tracks: Vec<TrackSummary>,
    /// How long it lasted.
    pub duration: Duration,
}

/// The segment file being written.
#[derive(Debug)]
struct Segment {
    writing: Writing,
    start: u64,
}

#[derive(Debug)]
struct Recorded {
    meta: TrackMeta,
    track: Track,
    open: bool,
    opened_at: MonoNs,
    first_epoch: Option<Epoch>,
    epochs: Vec<EpochFolder>,
    segment: Option<Segment>,
    written: Vec<Written>,
    reported_at: Option<MonoNs>,
    /// How many of the waiting events are its own.
    waiting: usize,
}

/// A recording under way.
#[derive(Debug)]
pub struct Recording {
    meta: RecordingMeta,
    writer: Writer,
    /// Whose tracks were refused, and when that was last written down.
    refused: BTreeMap<ParticipantId, MonoNs>,
    consents: String,
    tracks: Vec<Recorded>,
    synced_at: MonoNs,
    /// Something was noted without which what comes next cannot be recovered after a crash: whose track it is, or
    /// that its person agrees.
    in_a_hurry: bool,
}

impl Recording {
    /// Begins a recording in a new folder `root/RECORDING`.
    pub fn create(root: &Path, meta: RecordingMeta, identity: Arc<Identity>) -> Result<Self, RecorderError> {
        let started = meta.started_mono;
        let folder = root.join(meta.recording.to_string());
        let mut writer = Writer::create(folder, identity.clone(), (started, meta.started_at))?;
        let open = meta.clone();
        writer.note(
            Event::Open {
                version: FORMAT_VERSION,
                recording: open.recording,
                session: open.session,
                case: open.case_id,
                case_number: open.case_number,
                case_title: open.case_title,
                room: open.room,
                room_name: open.room_name,
                continues: open.continues,
            },
            started,
        );
        writer.file(bag::CA_PATH, identity.ca_pem().as_bytes(), started)?;
        writer.file(bag::RECORDER_PATH, identity.recorder_pem().as_bytes(), started)?;
        writer.settle(started)?;
        Ok(Self {
            meta,
            writer,
            refused: BTreeMap::new(),
            consents: String::new(),
            tracks: Vec::new(),
            synced_at: started,
            in_a_hurry: false,
        })
    }

    /// The package's folder.
    pub fn package(&self) -> &Path {
        self.writer.folder.root()
    }

    /// Somebody came.
    pub fn person_joined(&mut self, participant: ParticipantId, name: &str, role: Role, at: MonoNs) {
        self.journal(Event::Join { participant, name: name.to_owned(), role }, at);
    }

    /// Somebody left.
    pub fn person_left(&mut self, participant: ParticipantId, at: MonoNs) {
        self.journal(Event::Leave { participant }, at);
    }

    /// Who may receive a publisher's sound or picture from now on: the value that is enforced.
    pub fn audience(&mut self, publisher: Publisher, kind: MediaKind, audience: Audience, at: MonoNs) {
        self.journal(Event::Audience { publisher, kind, audience }, at);
    }

    /// Somebody agreed to be recorded, or took it back: then nothing of theirs is recorded until they agree
    /// again, and the gap says why.
    pub fn consent(&mut self, participant: ParticipantId, name: &str, granted: bool, at: MonoNs) {
        self.journal(
            Event::Consent { participant, name: name.to_owned(), to: "recording".into(), granted },
            at,
        );
    }

    /// Somebody muted or unmuted; a gap of that track is then of kind `mute`.
    pub fn mute(&mut self, participant: ParticipantId, kind: MediaKind, muted: bool, at: MonoNs) {
        self.journal(Event::Mute { participant, kind, muted }, at);
    }

    /// Writes an event into the journal. `consent` to the recording and `mute` work on the tracks as well.
    pub fn journal(&mut self, event: Event, at: MonoNs) {
        match &event {
            Event::Consent { participant, to, granted, name } => {
                let when = format_utc(self.writer.utc(at));
                self.consents.push_str(&consent_line(&when, *participant, name, to, *granted));
                self.in_a_hurry = true;
                if to == "recording" {
                    for index in self.open_tracks(*participant, None) {
                        if *granted {
                            self.tracks[index].track.resume();
                        } else {
                            self.tracks[index].track.pause(GapKind::ConsentWithdrawn, at);
                            self.write_outputs(index, at);
                        }
                    }
                }
            }
            Event::Mute { participant, kind, muted } => {
                for index in self.open_tracks(*participant, Some(*kind)) {
                    self.tracks[index].track.mute(*muted);
                }
            }
            _ => {}
        }
        self.writer.note(event, at);
    }

    /// A track begins. It is not recorded, and the journal says so, when somebody begins more than
    /// [`TRACKS_A_MINUTE_MAX`] a minute.
    pub fn track_opened(&mut self, meta: TrackMeta, at: MonoNs) {
        if self.too_many_tracks(meta.participant, at) {
            self.refuse_track(meta.participant, at);
            return;
        }
        self.journal(
            Event::TrackOpen {
                track: meta.track,
                participant: meta.participant,
                name: meta.name.clone(),
                role: meta.role,
                kind: meta.kind,
                codec: meta.codec,
            },
            at,
        );
        self.in_a_hurry = true;
        let track = Track::new(meta.codec);
        self.tracks.push(Recorded {
            meta,
            track,
            open: true,
            opened_at: at,
            first_epoch: None,
            epochs: Vec::new(),
            segment: None,
            written: Vec::new(),
            reported_at: None,
            waiting: 0,
        });
    }

    fn too_many_tracks(&self, participant: ParticipantId, at: MonoNs) -> bool {
        let lately = |recorded: &&Recorded| at.since(recorded.opened_at) < Duration::from_secs(60);
        let theirs = |recorded: &&Recorded| recorded.meta.participant == participant;
        self.tracks.len() >= TRACKS_MAX
            || self.tracks.iter().rev().take_while(lately).filter(theirs).count() >= TRACKS_A_MINUTE_MAX
    }

    fn refuse_track(&mut self, participant: ParticipantId, at: MonoNs) {
        let minute = Duration::from_secs(60);
        if self.refused.get(&participant).is_none_or(|last| at.since(*last) >= minute) {
            self.refused.insert(participant, at);
            let what = format!("tracks of {participant} are not recorded: there are too many");
            self.writer.note(Event::Fault { what }, at);
        }
    }

    /// A whole decrypted RTP packet of a track, header included, as it came: it may be late, twice, or missing.
    pub fn packet(&mut self, track: TrackId, arrival: MonoNs, rtp: &[u8]) {
        let Some(index) = self.index(track) else { return };
        self.tracks[index].track.packet(arrival, rtp);
        self.write_outputs(index, arrival);
    }

    /// A Sender Report of a track's sender.
    pub fn sender_report(&mut self, track: TrackId, ntp: u64, rtp_timestamp: u32, arrival: MonoNs) {
        let Some(index) = self.index(track) else { return };
        let last = &mut self.tracks[index].reported_at;
        if last.is_none_or(|last| arrival.since(last) >= SENDER_REPORT_EVERY) {
            *last = Some(arrival);
            let event = Event::Clk { track, rtp: rtp_timestamp, ntp: Some(ntp), track_ms: None };
            self.note_of(index, event, arrival);
        }
    }

    /// A track ends.
    pub fn track_closed(&mut self, track: TrackId, at: MonoNs) {
        let Some(index) = self.index(track) else { return };
        self.tracks[index].track.close(at);
        self.write_outputs(index, at);
        if !self.tracks[index].open {
            return;
        }
        if self.tracks[index].first_epoch.is_none() {
            self.note_beginning(index, at, at);
        }
        self.tracks[index].open = false;
        self.finish_segment(index, at);
        self.journal(Event::TrackClose { track }, at);
    }

    /// Puts a document into the package: minutes, an agreement, the text that was consented to. `name` is of
    /// letters, digits, `.`, `_` and `-`, and no two documents have the same.
    pub fn document(&mut self, name: &str, bytes: &[u8], at: MonoNs) -> Result<(), RecorderError> {
        let plain = |char: char| char.is_ascii_alphanumeric() || "._-".contains(char);
        if !name.starts_with(|char: char| char.is_ascii_alphanumeric()) || !name.chars().all(plain) {
            return Err(RecorderError::Name(name.chars().take(64).collect()));
        }
        if self.writer.is_full() {
            return Err(RecorderError::Full);
        }
        self.writer.file(&format!("data/docs/{name}"), bytes, at)?;
        self.in_a_hurry = true;
        Ok(())
    }

    /// Lets time pass: gives up holes, writes what is due, brings it to the disk once a second and signs the
    /// head. Call it a few times a second. `utc` is the time at `now`. An error is journalled, and recording goes
    /// on as well as it can.
    pub fn tick(&mut self, now: MonoNs, utc: OffsetDateTime) -> Result<(), RecorderError> {
        self.writer.set_clock(now, utc);
        for index in 0..self.tracks.len() {
            if self.tracks[index].open {
                self.tracks[index].track.tick(now);
                self.write_outputs(index, now);
            }
        }
        self.sync(now, false)
    }

    /// The tracks that need a keyframe now: at their start, after a loss, every ten seconds.
    pub fn take_keyframe_requests(&mut self, now: MonoNs) -> Vec<TrackId> {
        self.tracks
            .iter_mut()
            .filter(|recorded| recorded.open)
            .filter_map(|recorded| recorded.track.takes_keyframe_request(now).then_some(recorded.meta.track))
            .collect()
    }

    /// Ends the recording: finishes the tracks, writes what goes with them, signs the last head and seals the
    /// package.
    pub fn close(mut self, now: MonoNs, utc: OffsetDateTime) -> Result<Sealed, RecorderError> {
        self.writer.set_clock(now, utc);
        let open: Vec<TrackId> =
            self.tracks.iter().filter(|recorded| recorded.open).map(|recorded| recorded.meta.track).collect();
        for track in open {
            self.track_closed(track, now);
        }
        let started = self.meta.started_mono;
        let tracks = (0..self.tracks.len()).filter_map(|index| self.finished_track(index)).collect();
        let duration = now.since(started);
        let ending = Ending { meta: &self.meta, tracks, consents: &self.consents, duration };
        sealing::seal(self.writer, &ending, now)
    }

    /// A closed track, if there is anything of it.
    fn finished_track(&mut self, index: usize) -> Option<FinishedTrack> {
        let starts_ms = self.ms(index, 0);
        let recorded = &mut self.tracks[index];
        Some(FinishedTrack {
            meta: recorded.meta.clone(),
            first_epoch: recorded.first_epoch.take()?,
            epochs: std::mem::take(&mut recorded.epochs),
            written: std::mem::take(&mut recorded.written),
            end: recorded.track.end(),
            starts_ms,
        })
    }

    /// Notes an event of a track's media.
    fn note_of(&mut self, index: usize, event: Event, at: MonoNs) {
        self.tracks[index].waiting += 1;
        self.writer.note(event, at);
    }

    fn index(&self, track: TrackId) -> Option<usize> {
        self.tracks.iter().position(|recorded| recorded.open && recorded.meta.track == track)
    }

    fn open_tracks(&self, participant: ParticipantId, kind: Option<MediaKind>) -> Vec<usize> {
        (0..self.tracks.len())
            .filter(|index| {
                let recorded = &self.tracks[*index];
                recorded.open
                    && recorded.meta.participant == participant
                    && kind.is_none_or(|kind| recorded.meta.kind == kind)
            })
            .collect()
    }

    /// Milliseconds after the recording's start of a place on a track.
    fn ms(&self, index: usize, ticks: u64) -> u64 {
        let track = &self.tracks[index].track;
        let begins = track.begins().unwrap_or(self.meta.started_mono).since(self.meta.started_mono);
        begins.as_millis() as u64 + ticks * 1_000 / u64::from(track.codec().clock_rate_hz())
    }

    /// Media to the disk, then the journal, then the head. `all`: at once, and the head in any case.
    fn sync(&mut self, now: MonoNs, all: bool) -> Result<(), RecorderError> {
        let every = if self.in_a_hurry { Duration::ZERO } else { SYNC_EVERY };
        if !all && now.since(self.synced_at) < every {
            return Ok(());
        }
        self.synced_at = now;
        let segments = self.tracks.iter_mut().filter_map(|recorded| recorded.segment.as_mut());
        self.writer.folder.sync(segments.map(|segment| &mut segment.writing))?;
        self.writer.append_lines(now)?;
        self.in_a_hurry = false;
        self.tracks.iter_mut().for_each(|recorded| recorded.waiting = 0);
        self.writer.sync_journal()?;
        self.writer.sign_head(now, all)
    }
}

/// A line of the document that lists the consents.
pub(crate) fn consent_line(
    at: &str,
    participant: ParticipantId,
    name: &str,
    to: &str,
    granted: bool,
) -> String {
    let line = serde_json::json!({
        "at": at, "participant": participant, "name": name, "to": to, "granted": granted,
    });
    format!("{line}\n")
}
