//! One session being recorded.
//!
//! Order of writing: media to the disk, then the journal's lines about it to the disk, then the head signed. So the
//! journal never speaks of what a power cut may have taken.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use hewei_evidence::{
    bag,
    hash::Hash,
    journal::{self, Chain, Continues, Event, FileRun, GapKind, TrackSummary, format_utc},
};
use hewei_model::{
    Audience, CaseId, Codec, MediaKind, MonoNs, ParticipantId, Publisher, RecordingId, Role, RoomId,
    SessionId, TrackId,
};
use time::OffsetDateTime;

use crate::{
    Identity, RecorderError,
    files::{Folder, Writing},
    mp4,
    playback::{EpochFolder, Written, container, cues, parts, play_list},
    track::{Epoch, Output, TOO_MANY_BREAKS, Track},
    webm,
};

/// Version of the evidence format.
const FORMAT_VERSION: u32 = 1;
/// How often the disk is waited for.
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// How often the head is signed, with a margin below the five seconds of the format.
const HEAD_EVERY: Duration = Duration::from_secs(4);
/// How long a segment file is, if a keyframe comes then.
const SEGMENT: Duration = Duration::from_secs(10);
/// How long a segment file is at most.
const SEGMENT_MAX: Duration = Duration::from_secs(15);
/// Events kept while the journal cannot be written: hours of a large session's. Media is refused from there on, so
/// that what was written always has its line.
const EVENTS_MAX: usize = 65_536;
/// So many of them may be one track's: half an hour. Then the track is stopped, so that no one takes the others' room.
const TRACK_EVENTS_MAX: usize = 2_048;
/// Tracks that one person may begin a minute. A browser begins two or three, and again after each reconnection.
const TRACKS_A_MINUTE_MAX: usize = 30;
/// Tracks of one recording, so that its journal's end can be read.
const TRACKS_MAX: usize = 10_000;
/// Sender Reports closer together say nothing new (RFC 3550, 6.2: seconds apart).
const SENDER_REPORT_EVERY: Duration = Duration::from_millis(500);
/// A track may take so long to begin.
const BEGINNING_MAX: Duration = Duration::from_secs(1);

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
    identity: Arc<Identity>,
    folder: Folder,
    journal: Writing,
    chain: Chain,
    /// Events that wait for the media before them to be on the disk.
    waiting: Vec<(Event, MonoNs)>,
    /// Events that did not fit there.
    dropped: u64,
    /// Whose tracks were refused, and when that was last written down.
    refused: BTreeMap<ParticipantId, MonoNs>,
    consents: String,
    tracks: Vec<Recorded>,
    heads: u64,
    head_hash: Option<Hash>,
    head_count: u64,
    head_at: MonoNs,
    synced_at: MonoNs,
    clock: (MonoNs, OffsetDateTime),
}

impl Recording {
    /// Begins a recording in a new folder `root/RECORDING`.
    pub fn create(root: &Path, meta: RecordingMeta, identity: Arc<Identity>) -> Result<Self, RecorderError> {
        let mut folder = Folder::create(root.join(meta.recording.to_string()))?;
        let journal = folder.begin(journal::PATH)?;
        let mut recording = Self {
            folder,
            journal,
            chain: Chain::default(),
            waiting: Vec::new(),
            dropped: 0,
            refused: BTreeMap::new(),
            consents: String::new(),
            tracks: Vec::new(),
            heads: 0,
            head_hash: None,
            head_count: 0,
            head_at: meta.started_mono,
            synced_at: meta.started_mono,
            clock: (meta.started_mono, meta.started_at),
            identity,
            meta,
        };
        let meta = recording.meta.clone();
        recording.waiting.push((
            Event::Open {
                version: FORMAT_VERSION,
                recording: meta.recording,
                session: meta.session,
                case: meta.case_id,
                case_number: meta.case_number,
                case_title: meta.case_title,
                room: meta.room,
                room_name: meta.room_name,
                continues: meta.continues,
            },
            meta.started_mono,
        ));
        let identity = recording.identity.clone();
        recording.file(bag::CA_PATH, identity.ca_pem().as_bytes(), meta.started_mono)?;
        recording.file(bag::RECORDER_PATH, identity.recorder_pem().as_bytes(), meta.started_mono)?;
        recording.sync(meta.started_mono, true)?;
        Ok(recording)
    }

    /// The package's folder.
    pub fn package(&self) -> &Path {
        self.folder.root()
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
                self.consents.push_str(&format!(
                    "{}\n",
                    serde_json::json!({
                        "at": format_utc(self.utc(at)), "participant": participant, "name": name,
                        "to": to, "granted": granted,
                    })
                ));
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
        self.note(event, at);
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
            self.note(Event::Fault { what }, at);
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
        if self.waiting.len() >= EVENTS_MAX {
            return Err(RecorderError::Full);
        }
        self.file(&format!("data/docs/{name}"), bytes, at)
    }

    /// Lets time pass: gives up holes, writes what is due, brings it to the disk once a second and signs the
    /// head. Call it a few times a second. `utc` is the time at `now`. An error is journalled, and recording goes
    /// on as well as it can.
    pub fn tick(&mut self, now: MonoNs, utc: OffsetDateTime) -> Result<(), RecorderError> {
        self.clock = (now, utc);
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
        self.clock = (now, utc);
        let open: Vec<TrackId> =
            self.tracks.iter().filter(|recorded| recorded.open).map(|recorded| recorded.meta.track).collect();
        for track in open {
            self.track_closed(track, now);
        }
        let mut summaries = Vec::new();
        for index in 0..self.tracks.len() {
            if let Some(summary) = self.finish_track(index, now)? {
                summaries.push(summary);
            }
        }
        summaries.sort_by_key(|summary| summary.starts_ms);
        if !self.consents.is_empty() {
            let consents = std::mem::take(&mut self.consents);
            self.file("data/docs/consent.jsonl", consents.as_bytes(), now)?;
        }
        let day = utc.date().to_string();
        let info = bag::bag_info(self.meta.recording, &self.meta.case_number, &self.meta.case_title, &day);
        let mut tag_files = BTreeMap::new();
        for (name, text) in [bag::BAGIT, bag::VERIFY_MD, bag::VERIFY_SH, (bag::BAG_INFO, info.as_str())] {
            tag_files.insert(name.to_owned(), self.folder.write(name, text.as_bytes())?.sha256);
        }
        for summary in &summaries {
            self.note(Event::Track(summary.clone()), now);
        }
        let duration = now.since(self.meta.started_mono);
        self.note(
            Event::Close {
                duration_ms: duration.as_millis() as u64,
                heads: self.heads,
                tracks: summaries.len() as u64,
                tag_files,
            },
            now,
        );
        self.sync(now, true)?;

        let journal = self.journal;
        let mut folder = self.folder;
        folder.finish(journal);
        folder.remove_empty_folders()?;
        for (name, hash) in [
            (bag::MANIFEST_SHA256, (|hashes| hashes.sha256) as fn(&hewei_evidence::hash::FileHashes) -> Hash),
            (bag::MANIFEST_SM3, |hashes| hashes.sm3),
        ] {
            let payload = folder
                .finished()
                .iter()
                .filter(|(path, _)| path.starts_with("data/"))
                .map(|(path, hashes)| (path.clone(), hash(hashes)))
                .collect();
            folder.write(name, bag::manifest(&payload).as_bytes())?;
        }
        let tags = bag::TAG_FILES
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), folder.finished().get(*name)?.sha256)))
            .collect();
        folder.sync_finished()?;
        folder.write(bag::TAG_MANIFEST, bag::manifest(&tags).as_bytes())?;
        folder.sync_finished()?;
        let package = folder.root().to_owned();
        let head_hash = self.head_hash.map(|hash| hash.to_string()).unwrap_or_default();
        Ok(Sealed { package, head_hash, tracks: summaries, duration })
    }

    /// Notes an event of a track's media.
    fn note_of(&mut self, index: usize, event: Event, at: MonoNs) {
        self.tracks[index].waiting += 1;
        self.note(event, at);
    }

    fn note(&mut self, event: Event, at: MonoNs) {
        // What is on the disk must have its line. Media is refused when this is full, so these are few.
        let kept = matches!(
            event,
            Event::Seg { .. }
                | Event::File { .. }
                | Event::TrackClose { .. }
                | Event::Track(_)
                | Event::Close { .. }
        );
        if kept || self.waiting.len() < EVENTS_MAX {
            self.waiting.push((event, at));
        } else {
            self.dropped += 1;
        }
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

    fn utc(&self, at: MonoNs) -> OffsetDateTime {
        let (mono, utc) = self.clock;
        utc + time::Duration::nanoseconds(i64::try_from(i128::from(at.0) - i128::from(mono.0)).unwrap_or(0))
    }

    /// Milliseconds after the recording's start of a place on a track.
    fn ms(&self, index: usize, ticks: u64) -> u64 {
        let track = &self.tracks[index].track;
        let begins = track.begins().unwrap_or(self.meta.started_mono).since(self.meta.started_mono);
        begins.as_millis() as u64 + ticks * 1_000 / u64::from(track.codec().clock_rate_hz())
    }

    /// Writes a whole file and journals it.
    fn file(&mut self, path: &str, bytes: &[u8], at: MonoNs) -> Result<(), RecorderError> {
        let hashes = self.folder.write(path, bytes)?;
        self.waiting
            .push((Event::File { file: path.to_owned(), bytes: hashes.bytes, sha256: hashes.sha256 }, at));
        Ok(())
    }

    fn write_outputs(&mut self, index: usize, at: MonoNs) {
        while let Some(output) = self.tracks[index].track.pop() {
            if let Err(error) = self.write_output(index, output, at) {
                let track = self.tracks[index].meta.track;
                tracing::error!(%track, %error, "a fragment was not written");
                self.note_fault(index, error.to_string(), at);
            }
        }
    }

    /// Notes that what comes next of a track was not recorded, and why.
    fn note_fault(&mut self, index: usize, reason: String, at: MonoNs) {
        let end = self.ms(index, self.tracks[index].track.end());
        let gap = Event::Gap {
            track: self.tracks[index].meta.track,
            kind: GapKind::RecorderFault,
            from_ms: end,
            to_ms: end,
            packets: 0,
            reason: Some(reason),
        };
        self.note_of(index, gap, at);
    }

    /// Ends a track for which the journal has no room.
    fn stop_track(&mut self, index: usize, at: MonoNs) {
        let track = self.tracks[index].meta.track;
        tracing::error!(%track, "too much of it waits for the journal: it is stopped");
        self.note_fault(index, "too much of it waits for the journal".into(), at);
        self.tracks[index].open = false;
        self.finish_segment(index, at);
        self.note_of(index, Event::TrackClose { track }, at);
    }

    fn write_output(&mut self, index: usize, output: Output, at: MonoNs) -> Result<(), RecorderError> {
        let recorded = &self.tracks[index];
        let track = recorded.meta.track;
        if recorded.open && (recorded.waiting >= TRACK_EVENTS_MAX || self.waiting.len() >= EVENTS_MAX) {
            self.stop_track(index, at);
        }
        if !self.tracks[index].open {
            return Ok(());
        }
        match output {
            Output::Init { epoch, data, size } => {
                if epoch == 0 {
                    self.note_beginning(index, self.tracks[index].track.begins().unwrap_or(at), at);
                }
                self.finish_segment(index, at);
                let recorded = &mut self.tracks[index];
                let path = format!(
                    "data/sessions/{}/joint/{}/{}-e{epoch}",
                    self.meta.session, recorded.meta.participant, track
                );
                if recorded.first_epoch.is_none() {
                    recorded.first_epoch = recorded.track.epoch().cloned();
                }
                recorded.epochs.push(EpochFolder { path: path.clone(), segments: Vec::new() });
                let codec = recorded.meta.codec;
                self.note_of(
                    index,
                    Event::Layer {
                        track,
                        epoch,
                        codec,
                        width: size.map(|(width, _)| width),
                        height: size.map(|(_, height)| height),
                    },
                    at,
                );
                self.file(&format!("{path}/init.{}", container(codec)), &data, at)
            }
            Output::Fragment { start, duration, sync, data } => self.write_fragment(
                index,
                Written { start, duration, bytes: data.len() as u64, sync },
                &data,
                at,
            ),
            Output::Gap { kind, from, to, packets } => {
                let (from_ms, to_ms) = (self.ms(index, from), self.ms(index, to));
                let reason = (kind == GapKind::RecorderFault).then(|| TOO_MANY_BREAKS.to_owned());
                self.note_of(index, Event::Gap { track, kind, from_ms, to_ms, packets, reason }, at);
                Ok(())
            }
            Output::Anchor { rtp, place, arrival } => {
                let rate = u64::from(self.tracks[index].track.codec().clock_rate_hz());
                let track_ms = Some(place * 1_000 / rate);
                self.note_of(index, Event::Clk { track, rtp, ntp: None, track_ms }, arrival);
                Ok(())
            }
            Output::Fault(what) => {
                self.note_of(index, Event::Fault { what: format!("track {track}: {what}") }, at);
                Ok(())
            }
        }
    }

    /// Says why a track has no media at its beginning, or at all.
    fn note_beginning(&mut self, index: usize, begins: MonoNs, at: MonoNs) {
        let recorded = &self.tracks[index];
        if begins.since(recorded.opened_at) < BEGINNING_MAX {
            return;
        }
        let came =
            recorded.track.first_packet_at().is_some_and(|first| begins.since(first) >= BEGINNING_MAX / 2);
        let gap = Event::Gap {
            track: recorded.meta.track,
            // Packets came and no keyframe did, or nothing came.
            kind: if came { GapKind::Loss } else { GapKind::Unpublished },
            from_ms: recorded.opened_at.since(self.meta.started_mono).as_millis() as u64,
            to_ms: begins.since(self.meta.started_mono).as_millis() as u64,
            packets: 0,
            reason: None,
        };
        self.note(gap, at);
    }

    fn write_fragment(
        &mut self,
        index: usize,
        written: Written,
        data: &[u8],
        at: MonoNs,
    ) -> Result<(), RecorderError> {
        let recorded = &self.tracks[index];
        let rate = u64::from(recorded.track.codec().clock_rate_hz());
        let full = recorded.segment.as_ref().is_some_and(|segment| {
            let age = written.start.saturating_sub(segment.start);
            age >= SEGMENT_MAX.as_secs() * rate || (written.sync && age >= SEGMENT.as_secs() * rate)
        });
        if full {
            self.finish_segment(index, at);
        }
        if self.tracks[index].segment.is_none() {
            let recorded = &self.tracks[index];
            let Some(epoch) = recorded.epochs.last() else { return Ok(()) };
            let ending = match container(recorded.meta.codec) {
                "mp4" => "m4s",
                other => other,
            };
            let path = format!("{}/{:06}.{ending}", epoch.path, epoch.segments.len());
            let writing = self.folder.begin(&path)?;
            self.tracks[index].segment = Some(Segment { writing, start: written.start });
        }
        let (start_ms, end_ms) =
            (self.ms(index, written.start), self.ms(index, written.start + written.duration));
        let recorded = &mut self.tracks[index];
        let Some(segment) = &mut recorded.segment else { return Ok(()) };
        let offset = segment.writing.bytes();
        self.folder.append(&mut segment.writing, data)?;
        let file = segment.writing.path.clone();
        recorded.written.push(written);
        let track = recorded.meta.track;
        self.note_of(
            index,
            Event::Seg {
                file,
                bytes: data.len() as u64,
                sha256: Hash::sha256(data),
                offset,
                start_ms,
                duration_ms: end_ms - start_ms,
                track,
            },
            at,
        );
        Ok(())
    }

    fn finish_segment(&mut self, index: usize, at: MonoNs) {
        let recorded = &mut self.tracks[index];
        let Some(segment) = recorded.segment.take() else { return };
        let file = segment.writing.path.clone();
        let hashes = self.folder.finish(segment.writing);
        let end = recorded.written.last().map_or(segment.start, |written| written.start + written.duration);
        if let Some(epoch) = recorded.epochs.last_mut() {
            epoch.segments.push((file.clone(), end.saturating_sub(segment.start), hashes.bytes));
        }
        self.note_of(index, Event::File { file, bytes: hashes.bytes, sha256: hashes.sha256 }, at);
    }

    /// Writes the play lists and the head that goes before a finished track's segments.
    fn finish_track(&mut self, index: usize, now: MonoNs) -> Result<Option<TrackSummary>, RecorderError> {
        let recorded = &self.tracks[index];
        let (Some(first_epoch), Some(first)) = (&recorded.first_epoch, recorded.epochs.first()) else {
            return Ok(None);
        };
        let codec = recorded.meta.codec;
        let rate = u64::from(codec.clock_rate_hz());
        let duration = recorded.track.end();
        let play = match first_epoch {
            Epoch::Mp4(format) => mp4::play(format, duration, &parts(&recorded.written, duration))?,
            Epoch::WebM { width, height } => webm::play(*width, *height, duration, &cues(&recorded.written)),
        };
        let play_path = format!("{}/play.{}", first.path, container(codec));
        let mut files = vec![FileRun { first: play_path.clone(), count: 1 }];
        files.extend(recorded.epochs.iter().filter_map(|epoch| {
            let (first, ..) = epoch.segments.first()?;
            Some(FileRun { first: first.clone(), count: u32::try_from(epoch.segments.len()).ok()? })
        }));
        let segments: u64 =
            recorded.epochs.iter().flat_map(|epoch| &epoch.segments).map(|(_, _, bytes)| bytes).sum();
        let lists: Vec<(String, String)> = recorded
            .epochs
            .iter()
            .map(|epoch| (format!("{}/index.m3u8", epoch.path), play_list(epoch, codec)))
            .collect();
        let meta = &recorded.meta;
        let summary = TrackSummary {
            track: meta.track,
            participant: meta.participant,
            name: meta.name.clone(),
            role: meta.role,
            kind: meta.kind,
            codec,
            content_type: match (meta.kind, container(codec)) {
                (_, "webm") => "video/webm",
                (MediaKind::Audio, _) => "audio/mp4",
                (MediaKind::Video, _) => "video/mp4",
            }
            .into(),
            starts_ms: self.ms(index, 0),
            duration_ms: duration * 1_000 / rate,
            bytes: play.len() as u64 + segments,
            files,
        };
        self.file(&play_path, &play, now)?;
        for (path, text) in lists {
            self.file(&path, text.as_bytes(), now)?;
        }
        Ok(Some(summary))
    }

    /// Media to the disk, then the journal, then the head. `all`: at once, and the head in any case.
    fn sync(&mut self, now: MonoNs, all: bool) -> Result<(), RecorderError> {
        if !all && now.since(self.synced_at) < SYNC_EVERY {
            return Ok(());
        }
        self.synced_at = now;
        for recorded in &mut self.tracks {
            if let Some(segment) = &mut recorded.segment {
                self.folder.sync(&mut segment.writing)?;
            }
        }
        self.folder.sync_finished()?;

        if !self.waiting.is_empty() {
            let mut chain = self.chain.clone();
            let mut text = String::new();
            for (event, at) in &self.waiting {
                let line = chain.append(event, self.utc(*at), *at).or_else(|error| {
                    tracing::error!(%error, "an event was not journalled");
                    chain.append(&Event::Fault { what: error.to_string() }, self.utc(*at), *at)
                });
                text.push_str(&line?);
            }
            // Only what stands in the file is chained on to; else it is tried again the next time.
            self.folder.append(&mut self.journal, text.as_bytes())?;
            self.chain = chain;
            self.waiting.clear();
            self.tracks.iter_mut().for_each(|recorded| recorded.waiting = 0);
            if self.dropped > 0 {
                let what =
                    format!("{} events did not fit while the journal could not be written", self.dropped);
                self.dropped = 0;
                self.note(Event::Fault { what }, now);
            }
        }
        self.folder.sync(&mut self.journal)?;

        let head = self.chain.head();
        if head.count > self.head_count && (all || now.since(self.head_at) >= HEAD_EVERY) {
            let text = head.to_text();
            let seal = self.identity.sealer().seal(text.as_bytes(), self.utc(now))?;
            let stem = bag::head_stem(self.heads + 1);
            let (text_path, seal_path) = (format!("{stem}.txt"), format!("{stem}.p7s"));
            // The first try may have left one of them behind.
            self.folder.remove(&text_path)?;
            self.folder.remove(&seal_path)?;
            self.folder.write(&text_path, text.as_bytes())?;
            self.folder.write(&seal_path, &seal)?;
            self.folder.sync_finished()?;
            self.heads += 1;
            self.head_count = head.count;
            self.head_at = now;
            self.head_hash = Some(Hash::sha256(text.as_bytes()));
        }
        Ok(())
    }
}
