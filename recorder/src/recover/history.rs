//! What the journal of an interrupted recording says, line by line, as far as it goes.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, Read},
    time::Duration,
};

use hewei_evidence::{
    hash::{FileHasher, Hash},
    journal::{self, Event, GapKind, Head, LINE_BYTES_MAX, Line, parse_utc},
};
use hewei_model::{MediaKind, MonoNs, ParticipantId, TrackId};
use time::OffsetDateTime;

use super::{Interruption, Survey, heads::Signed};
use crate::{
    RecorderError,
    recording::{RecordingMeta, TrackMeta, consent_line},
};

/// No recording is as long as this: thirty years. So sums of what a line says stay numbers.
const MS_MAX: u64 = 1 << 40;

/// A fragment that has its line.
#[derive(Debug, Clone)]
pub(super) struct Fragment {
    pub(super) offset: u64,
    pub(super) bytes: u64,
    pub(super) sha256: Hash,
    pub(super) start_ms: u64,
    pub(super) duration_ms: u64,
}

/// A track that has its line.
#[derive(Debug)]
pub(super) struct TrackHistory {
    pub(super) meta: TrackMeta,
    pub(super) opened_ms: u64,
    pub(super) closed: bool,
    /// When its timeline's zero was, in milliseconds after the recording's start.
    pub(super) begins_ms: Option<u64>,
    /// Until when gaps were noted, in milliseconds after the recording's start.
    pub(super) gaps_end_ms: u64,
}

/// The last line, when it is the one that ends a journal.
#[derive(Debug)]
pub(super) struct Closed {
    pub(super) duration: Duration,
    /// Heads before it.
    pub(super) heads: u64,
}

/// What the journal says.
#[derive(Debug)]
pub(super) struct History {
    pub(super) meta: RecordingMeta,
    /// Where the chain ends.
    pub(super) head: Head,
    /// Bytes of whole lines.
    pub(super) bytes: u64,
    /// Length and hash of the half line after them.
    pub(super) torn: Option<(u64, Hash)>,
    /// Finished files: length and hash.
    pub(super) files: BTreeMap<String, (u64, Hash)>,
    /// Fragments of segment files.
    pub(super) fragments: BTreeMap<String, Vec<Fragment>>,
    pub(super) tracks: Vec<TrackHistory>,
    pub(super) consents: String,
    /// Why somebody sends nothing just now: they withdrew consent, or muted.
    pub(super) silent: BTreeMap<(ParticipantId, MediaKind), GapKind>,
    /// The last moment that a line names, on both clocks.
    pub(super) last: (MonoNs, OffsetDateTime),
    pub(super) closed: Option<Closed>,
    /// An earlier interruption, or the one that was being dealt with.
    pub(super) interruption: Option<Interruption>,
}

/// Reads the journal and holds it against itself and against the heads.
pub(super) fn read(survey: &Survey, heads: &[Signed]) -> Result<History, RecorderError> {
    let mut lines = Lines::open(survey)?;
    let mut heads = heads.iter().enumerate().peekable();
    let mut history: Option<History> = None;
    while let Some(text) = lines.next()? {
        let broken = |problem: String| survey.broken(journal::PATH, problem);
        let before = history.as_ref().map_or(Head { count: 0, hash: Hash::ZERO }, |history| history.head);
        let number = before.count + 1;
        let line = match Line::parse(&text) {
            Ok(line) => line,
            // A half line at the end was being written; one that lines follow was changed.
            Err(_) if lines.is_torn(&text)? => break,
            Err(_) => return Err(broken(format!("line {number} is no journal line"))),
        };
        if line.seq != number {
            return Err(broken(format!("line {number} has number {}", line.seq)));
        }
        if line.prev != before.hash {
            return Err(broken(format!(
                "line {} was changed, or lines before line {number} are missing",
                before.count
            )));
        }
        let Some(at) = parse_utc(&line.at) else {
            return Err(broken(format!("line {number} has no time")));
        };
        let misplaced = || broken(format!("line {number} does not belong there"));
        let mut taken = match history.take() {
            None => History::begin(&line, at).ok_or_else(misplaced)?,
            Some(mut history) => {
                if history.closed.is_some() || matches!(line.event, Event::Open { .. }) {
                    return Err(misplaced());
                }
                history.take(line, at);
                history
            }
        };
        taken.head = Head { count: number, hash: Hash::sha256(&text) };
        taken.bytes += text.len() as u64;
        if let Some((index, signed)) = heads.next_if(|(_, signed)| signed.head.count == number)
            && signed.head != taken.head
        {
            return Err(broken(format!("line {number} is not the one that head {} signs", index + 1)));
        }
        history = Some(taken);
    }
    let Some(mut history) = history else {
        return Err(RecorderError::Nothing { package: survey.root.clone() });
    };
    if let Some((index, signed)) = heads.next() {
        let problem = format!(
            "has {} lines, and head {} signs {}: lines are missing",
            history.head.count,
            index + 1,
            signed.head.count
        );
        return Err(survey.broken(journal::PATH, problem));
    }
    history.torn = lines.torn();
    Ok(history)
}

impl History {
    fn begin(line: &Line, at: OffsetDateTime) -> Option<Self> {
        let Event::Open {
            recording, session, case, case_number, case_title, room, room_name, continues, ..
        } = &line.event
        else {
            return None;
        };
        let started_mono = MonoNs(line.mono_ns);
        Some(Self {
            meta: RecordingMeta {
                recording: *recording,
                session: *session,
                case_id: *case,
                case_number: case_number.clone(),
                case_title: case_title.clone(),
                room: *room,
                room_name: room_name.clone(),
                started_at: at,
                started_mono,
                continues: *continues,
            },
            head: Head { count: 0, hash: Hash::ZERO },
            bytes: 0,
            torn: None,
            files: BTreeMap::new(),
            fragments: BTreeMap::new(),
            tracks: Vec::new(),
            consents: String::new(),
            silent: BTreeMap::new(),
            last: (started_mono, at),
            closed: None,
            interruption: None,
        })
    }

    fn ms(&self, at: MonoNs) -> u64 {
        at.since(self.meta.started_mono).as_millis() as u64
    }

    fn track(&mut self, track: TrackId) -> Option<&mut TrackHistory> {
        self.tracks.iter_mut().rfind(|known| known.meta.track == track)
    }

    fn take(&mut self, line: Line, at: OffsetDateTime) {
        let mono = MonoNs(line.mono_ns);
        let ms = self.ms(mono);
        // After an interruption the two clocks no longer go together.
        if self.interruption.is_none() && mono >= self.last.0 {
            self.last = (mono, at);
        }
        match line.event {
            Event::File { file, bytes, sha256 } => {
                self.files.insert(file, (bytes, sha256));
            }
            Event::Seg { file, bytes, sha256, offset, start_ms, duration_ms, .. } => {
                let (start_ms, duration_ms) = (start_ms.min(MS_MAX), duration_ms.min(MS_MAX));
                let fragment = Fragment { offset, bytes, sha256, start_ms, duration_ms };
                self.fragments.entry(file).or_default().push(fragment);
            }
            Event::TrackOpen { track, participant, name, role, kind, codec } => {
                let meta = TrackMeta { track, participant, name, role, kind, codec };
                self.tracks.push(TrackHistory {
                    meta,
                    opened_ms: ms,
                    closed: false,
                    begins_ms: None,
                    gaps_end_ms: 0,
                });
            }
            Event::TrackClose { track } => {
                if let Some(track) = self.track(track) {
                    track.closed = true;
                }
            }
            Event::Clk { track, track_ms: Some(track_ms), .. } => {
                if let Some(track) = self.track(track) {
                    track.begins_ms.get_or_insert(ms.saturating_sub(track_ms));
                }
            }
            Event::Gap { track, to_ms, .. } => {
                if let Some(track) = self.track(track) {
                    track.gaps_end_ms = track.gaps_end_ms.max(to_ms.min(MS_MAX));
                }
            }
            Event::Mute { participant, kind, muted } => {
                self.be_silent(participant, kind, GapKind::Mute, muted);
            }
            Event::Consent { participant, name, to, granted } => {
                self.consents.push_str(&consent_line(&line.at, participant, &name, &to, granted));
                if to == "recording" {
                    for kind in [MediaKind::Audio, MediaKind::Video] {
                        self.be_silent(participant, kind, GapKind::ConsentWithdrawn, !granted);
                    }
                }
            }
            Event::Recovered {
                last_written, kept_bytes, cut_bytes, lost_bytes, journal_cut_bytes, ..
            } => {
                self.interruption = Some(Interruption {
                    last_written: parse_utc(&last_written).unwrap_or(self.last.1),
                    kept_bytes,
                    cut_bytes: cut_bytes.saturating_add(journal_cut_bytes),
                    lost_bytes,
                });
            }
            Event::Lost { file, bytes } => {
                self.files.remove(&file);
                if let Some(fragments) = self.fragments.get_mut(&file) {
                    fragments.retain(|fragment| {
                        fragment.offset.checked_add(fragment.bytes).is_some_and(|end| end <= bytes)
                    });
                }
            }
            Event::Close { duration_ms, heads, .. } => {
                self.closed = Some(Closed { duration: Duration::from_millis(duration_ms), heads });
            }
            _ => {}
        }
    }

    fn be_silent(&mut self, participant: ParticipantId, kind: MediaKind, why: GapKind, silent: bool) {
        let key = (participant, kind);
        if silent {
            self.silent.insert(key, why);
        } else if self.silent.get(&key) == Some(&why) {
            self.silent.remove(&key);
        }
    }
}

/// The journal's lines, each with its newline; what comes after them is kept as a hash.
struct Lines<'a> {
    survey: &'a Survey,
    reader: io::BufReader<Box<dyn Read + 'a>>,
    torn: FileHasher,
}

impl<'a> Lines<'a> {
    fn open(survey: &'a Survey) -> Result<Self, RecorderError> {
        let reader = survey.open(journal::PATH)?;
        Ok(Self { survey, reader: io::BufReader::new(reader), torn: FileHasher::default() })
    }

    /// The next whole line; `None` at the end, where half a line may be.
    fn next(&mut self) -> Result<Option<Vec<u8>>, RecorderError> {
        let mut text = Vec::new();
        (&mut self.reader)
            .take(LINE_BYTES_MAX as u64)
            .read_until(b'\n', &mut text)
            .map_err(|source| self.survey.unreadable(journal::PATH, source))?;
        // One that is too long is read in pieces; none of them is a line.
        if text.last() != Some(&b'\n') && text.len() < LINE_BYTES_MAX {
            self.torn.update(&text);
            return Ok(None);
        }
        Ok(Some(text))
    }

    /// Whether this line, which is none, is where writing was interrupted: no line that is one comes after it.
    fn is_torn(&mut self, line: &[u8]) -> Result<bool, RecorderError> {
        self.torn.update(line);
        while let Some(text) = self.next()? {
            if Line::parse(&text).is_ok() {
                return Ok(false);
            }
            self.torn.update(&text);
        }
        Ok(true)
    }

    fn torn(&self) -> Option<(u64, Hash)> {
        let hashes = self.torn.finish();
        (hashes.bytes > 0).then_some((hashes.bytes, hashes.sha256))
    }
}
