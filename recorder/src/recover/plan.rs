//! What of an interrupted recording's media is there: which fragments have no line yet, what is half written, what is
//! gone. Reads, and changes nothing.

use std::collections::BTreeMap;

use hewei_evidence::{
    hash::{FileHasher, FileHashes, Hash, hash_file},
    journal::{self, Event, GapKind},
};
use hewei_model::{Codec, MonoNs};

use super::{
    Survey,
    history::{Fragment, History, TrackHistory},
};
use crate::{
    RecorderError, mp4,
    playback::{EpochFolder, container, epoch_path, segment_name},
    sample::Written,
    sealing::FinishedTrack,
    track::Epoch,
    webm,
};

/// So little between two fragments is how long a picture is shown, and no gap.
const SLACK_MS: u64 = 200;
/// So little at a track's end is not called a gap, as when a track is closed.
const END_SLACK_MS: u64 = 500;

/// What is to be done with a package.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Files as they will be, with their hashes.
    pub(super) files: BTreeMap<String, FileHashes>,
    /// Those of them that may not be on the disk yet.
    pub(super) unsynced: Vec<String>,
    /// Lines about what is taken away, and what is gone.
    pub(super) cuts: Vec<Event>,
    pub(super) lost: Vec<Event>,
    /// Lines about tracks, in order.
    pub(super) lines: Vec<Event>,
    pub(super) tracks: Vec<FinishedTrack>,
    pub(super) kept_bytes: u64,
    pub(super) cut_bytes: u64,
    pub(super) lost_bytes: u64,
    /// The last moment of which there is something, in milliseconds after the recording's start.
    pub(super) end_ms: u64,
}

/// Looks at every file.
pub(super) fn make(survey: &Survey, history: &History) -> Result<Plan, RecorderError> {
    let mut plan = Plan { end_ms: since_start(history, history.last.0), ..Plan::default() };
    let mut ended = Vec::new();
    for track in &history.tracks {
        ended.push(plan.track(survey, history, track)?);
    }
    // Tracks that were open ended together, when the last of them did.
    for (track, ended) in history.tracks.iter().zip(ended) {
        plan.end_track(history, track, ended);
    }
    plan.other_files(survey, history)?;
    Ok(plan)
}

/// A track's media, before it is known when the recording was interrupted.
struct Ended {
    first_epoch: Option<Epoch>,
    epochs: Vec<EpochFolder>,
    written: Vec<Written>,
    begins_ms: u64,
    end: u64,
}

impl Plan {
    /// Whether there is nothing to journal.
    pub(super) fn is_empty(&self) -> bool {
        self.cuts.is_empty() && self.lost.is_empty() && self.lines.is_empty()
    }

    fn track(
        &mut self,
        survey: &Survey,
        history: &History,
        track: &TrackHistory,
    ) -> Result<Ended, RecorderError> {
        let rate = u64::from(track.meta.codec.clock_rate_hz());
        let mut ended = Ended {
            first_epoch: None,
            epochs: Vec::new(),
            written: Vec::new(),
            // When no line says it: not before what is in the journal.
            begins_ms: track
                .begins_ms
                .unwrap_or_else(|| since_start(history, history.last.0).max(track.opened_ms)),
            end: 0,
        };
        for epoch in 0.. {
            let path = epoch_path(history.meta.session, track.meta.participant, track.meta.track, epoch);
            let init_path = format!("{path}/init.{}", container(track.meta.codec));
            let has_line = history.files.contains_key(&init_path);
            if !has_line && !survey.files.contains(&init_path) {
                break;
            }
            let init =
                survey.read_small(&init_path).map_err(|source| survey.unreadable(&init_path, source))?;
            let format = match container(track.meta.codec) {
                "webm" => webm::read_init(&init).map(|(width, height)| Epoch::WebM { width, height }),
                _ => mp4::read_init(&init).map(Epoch::Mp4),
            };
            let Some(format) = format else {
                if has_line {
                    return Err(survey.broken(&init_path, "is no init segment".into()));
                }
                break;
            };
            let mut folder = EpochFolder { path, segments: Vec::new() };
            let lines_before = self.lines.len();
            for number in 0.. {
                let file = format!("{}/{}", folder.path, segment_name(number, track.meta.codec));
                if !survey.files.contains(&file) && !history.fragments.contains_key(&file) {
                    break;
                }
                self.segment(survey, history, track, &file, &mut ended, &mut folder)?;
            }
            if !has_line && folder.segments.is_empty() {
                break;
            }
            if !has_line {
                let (width, height) = match &format {
                    Epoch::WebM { width, height } => Some((*width, *height)),
                    Epoch::Mp4(format) => format.size(),
                }
                .unzip();
                let (track, codec) = (track.meta.track, track.meta.codec);
                let mut hasher = FileHasher::default();
                hasher.update(&init);
                let hashes = hasher.finish();
                let lines =
                    [Event::Layer { track, epoch, codec, width, height }, file_line(&init_path, hashes)];
                self.lines.splice(lines_before..lines_before, lines);
                self.files.insert(init_path.clone(), hashes);
                self.unsynced.push(init_path);
            }
            ended.first_epoch.get_or_insert(format);
            ended.epochs.push(folder);
        }
        let gaps_end = ticks(track.gaps_end_ms.saturating_sub(ended.begins_ms), rate);
        if !ended.written.is_empty() {
            ended.end = ended.end.max(gaps_end);
            self.end_ms = self.end_ms.max(ended.begins_ms + ended.end * 1_000 / rate);
        }
        Ok(ended)
    }

    /// Holds a segment file against its lines, and finds what has none.
    fn segment(
        &mut self,
        survey: &Survey,
        history: &History,
        track: &TrackHistory,
        file: &str,
        ended: &mut Ended,
        folder: &mut EpochFolder,
    ) -> Result<(), RecorderError> {
        let lines = history.fragments.get(file).map_or(&[][..], Vec::as_slice);
        let bytes = match survey.files.contains(file) {
            // A segment is fifteen seconds of one track at most.
            true => survey.read_whole(file).map_err(|source| survey.unreadable(file, source))?,
            false => Vec::new(),
        };
        let read = match track.meta.codec {
            Codec::Vp8 => webm::read_cluster,
            _ => mp4::read_fragment,
        };
        let rate = u64::from(track.meta.codec.clock_rate_hz());
        let (mut at, mut first_start, mut lost) = (0, None, 0);
        for line in lines {
            let Some(fragment) = fragment_of(&bytes, at, line) else {
                lost = line.bytes.saturating_add(lost);
                self.lines.push(Event::Gap {
                    track: track.meta.track,
                    kind: GapKind::RecorderFault,
                    from_ms: line.start_ms,
                    to_ms: line.start_ms.saturating_add(line.duration_ms),
                    packets: 0,
                    reason: Some("it was on the disk once, and was not after the interruption".into()),
                });
                continue;
            };
            let written = read(fragment).filter(|_| Hash::sha256(fragment) == line.sha256);
            let Some(written) = written.filter(|written| written.bytes == line.bytes && lost == 0) else {
                return Err(survey.broken(file, format!("was changed: see byte {at} and what follows")));
            };
            if track.begins_ms.is_none() && ended.written.is_empty() {
                ended.begins_ms = line.start_ms.saturating_sub(written.start * 1_000 / rate);
            }
            first_start.get_or_insert(written.start);
            at += written.bytes;
            ended.end = ended.end.max(written.start + written.duration);
            ended.written.push(written);
        }
        let has_file_line = history.files.contains_key(file);
        let lines_end = at;
        // What reached the disk and not the journal. Nothing is added to a file that was finished.
        while lost == 0
            && !has_file_line
            && !track.closed
            && let Some(written) = bytes.get(at as usize..).and_then(read)
        {
            let from_ms = ended.begins_ms + written.start * 1_000 / rate;
            let to_ms = ended.begins_ms + (written.start + written.duration) * 1_000 / rate;
            let before_ms = (ended.begins_ms + ended.end * 1_000 / rate).max(track.gaps_end_ms);
            if !ended.written.is_empty() && from_ms > before_ms + SLACK_MS {
                self.lines.push(Event::Gap {
                    track: track.meta.track,
                    kind: GapKind::RecorderFault,
                    from_ms: before_ms,
                    to_ms: from_ms,
                    packets: 0,
                    reason: Some("the line that says why was lost in the interruption".into()),
                });
            }
            let fragment = &bytes[at as usize..(at + written.bytes) as usize];
            self.lines.push(Event::Seg {
                file: file.to_owned(),
                bytes: written.bytes,
                sha256: Hash::sha256(fragment),
                offset: at,
                start_ms: from_ms,
                duration_ms: to_ms - from_ms,
                track: track.meta.track,
            });
            first_start.get_or_insert(written.start);
            at += written.bytes;
            ended.end = ended.end.max(written.start + written.duration);
            ended.written.push(written);
        }
        self.kept_bytes += at - lines_end;
        if lost > 0 {
            self.lost_bytes = self.lost_bytes.saturating_add(lost);
            self.lost.push(Event::Lost { file: file.to_owned(), bytes: at });
        }
        self.cut(file, at, &bytes[at as usize..]);
        let Some(first_start) = first_start else { return Ok(()) };

        let mut hasher = FileHasher::default();
        hasher.update(&bytes[..at as usize]);
        let hashes = hasher.finish();
        if let Some(line) = history.files.get(file)
            && lost == 0
            && *line != (hashes.bytes, hashes.sha256)
        {
            return Err(survey.broken(file, "does not agree with the line that finished it".into()));
        }
        if lost > 0 || !has_file_line {
            self.lines.push(file_line(file, hashes));
            self.unsynced.push(file.to_owned());
        }
        self.files.insert(file.to_owned(), hashes);
        folder.segments.push((file.to_owned(), ended.end - first_start, hashes.bytes));
        Ok(())
    }

    /// Says when a track ended, and why nothing is there until then.
    fn end_track(&mut self, history: &History, track: &TrackHistory, mut ended: Ended) {
        let rate = u64::from(track.meta.codec.clock_rate_hz());
        let meta = &track.meta;
        if !track.closed {
            let has_media = !ended.written.is_empty();
            let from_ms = match has_media {
                true => ended.begins_ms + ended.end * 1_000 / rate,
                false => track.opened_ms,
            };
            if self.end_ms > from_ms + END_SLACK_MS {
                let silent = history.silent.get(&(meta.participant, meta.kind)).copied();
                self.lines.push(Event::Gap {
                    track: meta.track,
                    kind: silent.unwrap_or(GapKind::RecorderFault),
                    from_ms,
                    to_ms: self.end_ms,
                    packets: 0,
                    reason: silent.is_none().then(|| "the recording was interrupted".to_owned()),
                });
                ended.end = ended.end.max(ticks(self.end_ms.saturating_sub(ended.begins_ms), rate));
            }
            self.lines.push(Event::TrackClose { track: meta.track });
        }
        if let Some(first_epoch) = ended.first_epoch {
            self.tracks.push(FinishedTrack {
                meta: meta.clone(),
                first_epoch,
                epochs: ended.epochs,
                written: ended.written,
                end: ended.end,
                starts_ms: ended.begins_ms,
            });
        }
    }

    /// Files that are no segments: those that have their line must be as it says, others are taken away.
    fn other_files(&mut self, survey: &Survey, history: &History) -> Result<(), RecorderError> {
        for (path, line) in &history.files {
            if self.files.contains_key(path) || self.lost.iter().any(|lost| is_about(lost, path)) {
                continue;
            }
            let hashes =
                hash_file(&mut *survey.open(path)?).map_err(|source| survey.unreadable(path, source))?;
            if *line != (hashes.bytes, hashes.sha256) {
                return Err(survey.broken(path, "does not agree with the journal".into()));
            }
            self.files.insert(path.clone(), hashes);
        }
        for path in survey.files.iter().filter(|path| path.starts_with("data/")) {
            let known = self.files.contains_key(path)
                || path == journal::PATH
                || path.starts_with("data/seals/head-")
                || self.cuts.iter().any(|cut| is_about(cut, path));
            if !known {
                let hashes =
                    hash_file(&mut *survey.open(path)?).map_err(|source| survey.unreadable(path, source))?;
                self.cut_bytes += hashes.bytes;
                let (bytes, sha256) = (hashes.bytes, hashes.sha256);
                self.cuts.push(Event::Cut { file: path.clone(), bytes, sha256, offset: 0 });
            }
        }
        Ok(())
    }

    fn cut(&mut self, file: &str, offset: u64, rest: &[u8]) {
        if !rest.is_empty() {
            let bytes = rest.len() as u64;
            self.cut_bytes += bytes;
            self.cuts.push(Event::Cut { file: file.to_owned(), bytes, sha256: Hash::sha256(rest), offset });
        }
    }
}

/// The bytes of a fragment that has a line, if they are all there.
fn fragment_of<'b>(bytes: &'b [u8], at: u64, line: &Fragment) -> Option<&'b [u8]> {
    let from = usize::try_from(line.offset).ok().filter(|_| line.offset == at)?;
    bytes.get(from..from.checked_add(usize::try_from(line.bytes).ok()?)?)
}

fn is_about(event: &Event, path: &str) -> bool {
    matches!(event, Event::Cut { file, .. } | Event::Lost { file, .. } if file == path)
}

fn file_line(path: &str, hashes: FileHashes) -> Event {
    Event::File { file: path.to_owned(), bytes: hashes.bytes, sha256: hashes.sha256 }
}

fn since_start(history: &History, at: MonoNs) -> u64 {
    at.since(history.meta.started_mono).as_millis() as u64
}

fn ticks(ms: u64, rate: u64) -> u64 {
    ms * rate / 1_000
}
