//! The journal: one event a line, each line chained to the one before by its hash.
//!
//! ```text
//! {"seq":7,"prev":"<SHA-256 of line 6, newline included>","t":"seg","at":"…Z","mono_ns":…,…}
//! ```
//!
//! `seq` counts from 1 and the first `prev` is zeros. The hash takes the newline in, so that `split -l 1` and
//! `sha256sum` are all that a stranger needs to walk the chain.

use std::collections::BTreeMap;

use hewei_model::{
    Audience, CaseId, Codec, MediaKind, MonoNs, ParticipantId, Publisher, RecordingId, Role, RoomId,
    SessionId, TrackId,
};
use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, UtcOffset, format_description::BorrowedFormatItem, macros::format_description};

use crate::hash::Hash;

/// Where the journal is in a package.
pub const PATH: &str = "data/journal/journal.jsonl";

/// The longest line, newline included, that is read back. None longer is written.
pub const LINE_BYTES_MAX: usize = 4 << 20;

/// Why a track has no media for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapKind {
    /// The sender stopped sending by its own will.
    Mute,
    /// The encoder sent nothing because there was nothing to hear.
    Dtx,
    /// Packets were sent and did not come.
    Loss,
    /// The sender had gone.
    Unpublished,
    /// A person withdrew consent.
    ConsentWithdrawn,
    /// The people spoke in private.
    Caucus,
    /// The recorder itself failed.
    RecorderFault,
}

/// One track of a closed recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackSummary {
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
    /// `video/mp4`, `audio/mp4` or `video/webm`.
    pub content_type: String,
    /// When its first media came, in milliseconds after the recording's start.
    pub starts_ms: u64,
    /// How long it lasts, gaps included, in milliseconds.
    pub duration_ms: u64,
    /// How many bytes its files have together.
    pub bytes: u64,
    /// The files that play as one when put end to end.
    pub files: Vec<FileRun>,
}

/// Files with consecutive numbers, such as `…/000000.m4s`, `…/000001.m4s`: thousands of them in a few bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRun {
    /// The first, relative to the package.
    pub first: String,
    /// How many. Of a file without a number, one.
    pub count: u32,
}

impl FileRun {
    /// Their paths, relative to the package. Ends early where the first has no number to count on from.
    pub fn paths(&self) -> impl Iterator<Item = String> + '_ {
        let (folder, name) = self.first.rsplit_once('/').unwrap_or(("", &self.first));
        let numbered = name.split_once('.').and_then(|(digits, ending)| {
            let plain = digits.bytes().all(|digit| digit.is_ascii_digit());
            Some((digits.parse::<u32>().ok().filter(|_| plain)?, digits.len(), ending))
        });
        (0..self.count).map_while(move |after| {
            if after == 0 {
                return Some(self.first.clone());
            }
            let (number, width, ending) = numbered?;
            Some(format!("{folder}/{:0width$}.{ending}", number.checked_add(after)?))
        })
    }
}

/// The recording that another one goes on from: a server that was killed in mid-session begins a new package when it is
/// back, and the parts of one session form a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Continues {
    /// The interrupted recording.
    pub recording: RecordingId,
    /// SHA-256 of its last head's file (its receipt); absent when it was not sealed yet by then.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub head_hash: Option<Hash>,
}

/// What a line says. The names of the variants in snake case are the values of `t`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "snake_case")]
pub enum Event {
    /// A recording begins. The first line.
    Open {
        /// Version of the format.
        version: u32,
        /// Recording.
        recording: RecordingId,
        /// Session.
        session: SessionId,
        /// Case.
        case: CaseId,
        /// The case's number.
        case_number: String,
        /// What the dispute is about.
        case_title: String,
        /// Room.
        room: RoomId,
        /// The room's name.
        room_name: String,
        /// The interrupted recording of the same session that it goes on from.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        continues: Option<Continues>,
    },
    /// A fragment was written: a byte range of a file.
    Seg {
        /// The file, relative to the package.
        file: String,
        /// Length of the fragment in bytes.
        bytes: u64,
        /// SHA-256 of the fragment.
        sha256: Hash,
        /// Where it begins in the file, in bytes.
        offset: u64,
        /// When it begins, in milliseconds after the recording's start.
        start_ms: u64,
        /// How long it lasts, in milliseconds.
        duration_ms: u64,
        /// Track.
        track: TrackId,
    },
    /// A file is finished and will not change.
    File {
        /// The file, relative to the package.
        file: String,
        /// Length in bytes.
        bytes: u64,
        /// SHA-256 of the whole file.
        sha256: Hash,
    },
    /// Somebody came.
    Join {
        /// Participant.
        participant: ParticipantId,
        /// Name.
        name: String,
        /// Role.
        role: Role,
    },
    /// Somebody left.
    Leave {
        /// Participant.
        participant: ParticipantId,
    },
    /// Somebody agreed to something, or took it back.
    Consent {
        /// Participant.
        participant: ParticipantId,
        /// Name.
        name: String,
        /// To what, such as `recording`.
        to: String,
        /// Whether they agree.
        granted: bool,
    },
    /// Who may receive a publisher's sound or picture from now on.
    Audience {
        /// Publisher.
        publisher: Publisher,
        /// Sound or picture.
        kind: MediaKind,
        /// The value that is enforced.
        audience: Audience,
    },
    /// A track begins.
    TrackOpen {
        /// Track.
        track: TrackId,
        /// Whose it is.
        participant: ParticipantId,
        /// Name.
        name: String,
        /// Role.
        role: Role,
        /// Sound or picture.
        kind: MediaKind,
        /// Codec.
        codec: Codec,
    },
    /// A track ends.
    TrackClose {
        /// Track.
        track: TrackId,
    },
    /// The sender's clock beside ours; with the line's `at` and `mono_ns` it ties four clocks together.
    Clk {
        /// Track.
        track: TrackId,
        /// RTP timestamp.
        rtp: u32,
        /// The sender's NTP time (RFC 3550, 4); absent for the anchor, which waits for no sender report.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        ntp: Option<u64>,
        /// Where it is on the track's own timeline, in milliseconds, for the anchor.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        track_ms: Option<u64>,
    },
    /// What is received now: a new epoch with its own init segment.
    Layer {
        /// Track.
        track: TrackId,
        /// Epoch, from 0.
        epoch: u32,
        /// Codec.
        codec: Codec,
        /// Width in pixels, for pictures.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        width: Option<u16>,
        /// Height in pixels, for pictures.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        height: Option<u16>,
    },
    /// A track has no media between two points of the recording.
    Gap {
        /// Track.
        track: TrackId,
        /// Why.
        kind: GapKind,
        /// From, in milliseconds after the recording's start.
        from_ms: u64,
        /// Until, in milliseconds after the recording's start.
        to_ms: u64,
        /// How many packets never came.
        packets: u64,
        /// In words, for a fault.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        reason: Option<String>,
    },
    /// Somebody muted or unmuted.
    Mute {
        /// Participant.
        participant: ParticipantId,
        /// Sound or picture.
        kind: MediaKind,
        /// Whether it is muted now.
        muted: bool,
    },
    /// A caucus begins.
    CaucusStart {
        /// Which one, from 1.
        number: u32,
    },
    /// A caucus ends.
    CaucusEnd {
        /// Which one.
        number: u32,
    },
    /// The mediation enters a stage.
    Stage {
        /// Name.
        name: String,
    },
    /// Something failed.
    Fault {
        /// In words.
        what: String,
    },
    /// An interrupted recording was found and finished. This line and all after it were written then: their `at` is of
    /// then, and their `mono_ns`, which counts in another process, stays where the recording stopped.
    Recovered {
        /// UTC of the last thing that was written before, as in `at`: it was interrupted then, or seconds later.
        last_written: String,
        /// Media that was whole on the disk and not in the journal yet, in bytes: its lines follow.
        kept_bytes: u64,
        /// What was not whole, in bytes, and was taken away: [`Event::Cut`] lines follow. The journal's own is below.
        cut_bytes: u64,
        /// What the journal names and the disk no longer had, in bytes: [`Event::Lost`] lines follow.
        lost_bytes: u64,
        /// The half line at the journal's end, in bytes.
        journal_cut_bytes: u64,
        /// SHA-256 of it.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        journal_cut_sha256: Option<Hash>,
    },
    /// The end of a file that no line speaks of, and that is not whole: it was taken away.
    Cut {
        /// The file, relative to the package.
        file: String,
        /// How many bytes.
        bytes: u64,
        /// SHA-256 of them.
        sha256: Hash,
        /// Where they began. From 0 on: the file is gone.
        offset: u64,
    },
    /// The end of a file that lines before speak of was not on the disk any more.
    Lost {
        /// The file, relative to the package.
        file: String,
        /// How many bytes of it are left. None: the file is gone.
        bytes: u64,
    },
    /// The package must be kept.
    Hold {
        /// Why.
        reason: String,
    },
    /// What a track came to. These lines stand right before the last, in the order the tracks began.
    Track(TrackSummary),
    /// The recording is finished. The last line.
    Close {
        /// How long it lasted, in milliseconds.
        duration_ms: u64,
        /// How many heads were signed before this line. One more signs this line, and that is the last.
        heads: u64,
        /// How many [`Event::Track`] lines stand right before this one.
        tracks: u64,
        /// SHA-256 of the files beside `data/` that no manifest under `data/` can name.
        tag_files: BTreeMap<String, Hash>,
    },
}

const UTC: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// `at` as it stands in the journal: UTC, milliseconds.
pub fn format_utc(at: OffsetDateTime) -> String {
    at.to_offset(UtcOffset::UTC).format(&UTC).unwrap_or_else(|_| "1970-01-01T00:00:00.000Z".into())
}

/// Reads back exactly what [`format_utc`] writes.
pub fn parse_utc(text: &str) -> Option<OffsetDateTime> {
    let at = time::PrimitiveDateTime::parse(text, &UTC).ok()?.assume_utc();
    (format_utc(at) == text).then_some(at)
}

/// A head of the chain: how many lines there are, and the hash of the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Lines.
    pub count: u64,
    /// SHA-256 of the last line.
    pub hash: Hash,
}

impl Head {
    /// The text that is signed: `count hash` and a newline.
    pub fn to_text(&self) -> String {
        format!("{} {}\n", self.count, self.hash)
    }

    /// Reads back exactly what [`Self::to_text`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        let (count, hash) = text.strip_suffix('\n')?.split_once(' ')?;
        let head = Self { count: count.parse().ok()?, hash: hash.parse().ok()? };
        (head.to_text() == text).then_some(head)
    }
}

/// An event that makes a line longer than [`LINE_BYTES_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a journal line of {bytes} bytes is too long")]
pub struct LineTooLong {
    /// How long the line would be.
    pub bytes: usize,
}

/// A chain under construction.
#[derive(Debug, Clone)]
pub struct Chain {
    head: Head,
}

impl Default for Chain {
    fn default() -> Self {
        Self { head: Head { count: 0, hash: Hash::ZERO } }
    }
}

impl Chain {
    /// The chain that goes on from this head.
    pub fn resume(head: Head) -> Self {
        Self { head }
    }

    /// The next line, newline included, for an event at these times. Fails, and changes nothing, when no reader
    /// would take it.
    pub fn append(&mut self, event: &Event, at: OffsetDateTime, mono: MonoNs) -> Result<String, LineTooLong> {
        // Internally tagged: the text begins with {"t":"name" and goes on with , or }.
        let body = serde_json::to_string(event).expect("an event has string keys and no foreign types");
        let tag_end = body[6..].find('"').map_or(body.len() - 1, |quote| 6 + quote + 1);
        let line = format!(
            "{{\"seq\":{},\"prev\":\"{}\",{},\"at\":\"{}\",\"mono_ns\":{}{}\n",
            self.head.count + 1,
            self.head.hash,
            &body[1..tag_end],
            format_utc(at),
            mono.0,
            &body[tag_end..],
        );
        if line.len() > LINE_BYTES_MAX {
            return Err(LineTooLong { bytes: line.len() });
        }
        self.head = Head { count: self.head.count + 1, hash: Hash::sha256(line.as_bytes()) };
        Ok(line)
    }

    /// Where the chain ends now.
    pub fn head(&self) -> Head {
        self.head
    }
}

/// A line as it is read back: what every line has, and what the event says if this version knows it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Line {
    /// Number, from 1.
    pub seq: u64,
    /// SHA-256 of the line before.
    pub prev: Hash,
    /// UTC.
    pub at: String,
    /// The recorder's monotonic clock.
    pub mono_ns: u64,
    /// What it says.
    #[serde(flatten)]
    pub event: Event,
}

impl Line {
    /// Reads a line, with or without its newline.
    pub fn parse(text: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(ms: i64) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH + time::Duration::milliseconds(ms)
    }

    #[test]
    fn a_line_has_its_fields_in_the_documented_order() {
        let mut chain = Chain::default();
        let event = Event::File { file: "data/x".into(), bytes: 3, sha256: Hash::sha256(b"abc") };
        assert_eq!(
            chain.append(&event, at(1_500), MonoNs(7)).expect("short"),
            format!(
                "{{\"seq\":1,\"prev\":\"{}\",\"t\":\"file\",\"at\":\"1970-01-01T00:00:01.500Z\",\"mono_ns\":7,\
                 \"file\":\"data/x\",\"bytes\":3,\"sha256\":\"{}\"}}\n",
                Hash::ZERO,
                Hash::sha256(b"abc")
            )
        );
        let second =
            chain.append(&Event::Stage { name: "开场".into() }, at(2_000), MonoNs(8)).expect("short");
        assert!(second.starts_with("{\"seq\":2,"));
        assert_eq!(chain.head(), Head { count: 2, hash: Hash::sha256(second.as_bytes()) });
    }

    #[test]
    fn a_recording_names_the_one_it_goes_on_from() {
        let open = |continues| Event::Open {
            version: 1,
            recording: RecordingId::from_u128(1),
            session: SessionId::from_u128(2),
            case: CaseId::from_u128(3),
            case_number: "A-1".into(),
            case_title: "水渠".into(),
            room: RoomId::from_u128(4),
            room_name: "一号".into(),
            continues,
        };
        let first = Chain::default().append(&open(None), at(0), MonoNs(0)).expect("short");
        assert!(!first.contains("continues"), "{first}");
        let head_hash = Some(Hash::sha256(b"x"));
        for head_hash in [None, head_hash] {
            let event = open(Some(Continues { recording: RecordingId::from_u128(5), head_hash }));
            let line = Chain::default().append(&event, at(0), MonoNs(0)).expect("short");
            assert_eq!(Line::parse(line.as_bytes()).expect("own line").event, event);
        }
    }

    #[test]
    fn a_time_reads_back_only_in_its_own_form() {
        assert_eq!(parse_utc(&format_utc(at(1_500))), Some(at(1_500)));
        for wrong in ["", "1970-01-01T00:00:01Z", "1970-01-01T00:00:01.5Z", "+1970-01-01T00:00:01.500Z"] {
            assert_eq!(parse_utc(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_head_reads_back_only_in_its_own_form() {
        let head = Head { count: 12, hash: Hash::sha256(b"x") };
        assert_eq!(Head::parse(&head.to_text()), Some(head));
        let text = head.to_text();
        for wrong in [text.trim_end().to_owned(), format!("0{text}"), format!("+{text}"), text.to_uppercase()]
        {
            assert_eq!(Head::parse(&wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn no_line_is_written_that_would_not_be_read() {
        let mut chain = Chain::default();
        let before = chain.head();
        let line = |bytes: usize| Event::Stage { name: "x".repeat(bytes) };
        assert!(chain.append(&line(LINE_BYTES_MAX), at(0), MonoNs(0)).is_err());
        assert_eq!(chain.head(), before);
        let most = LINE_BYTES_MAX - chain.clone().append(&line(0), at(0), MonoNs(0)).expect("short").len();
        assert!(chain.append(&line(most + 1), at(0), MonoNs(0)).is_err());
        assert_eq!(chain.append(&line(most), at(0), MonoNs(0)).map(|line| line.len()), Ok(LINE_BYTES_MAX));
    }

    #[test]
    fn a_run_names_its_files_and_no_more() {
        let run = |first: &str, count| FileRun { first: first.into(), count };
        assert_eq!(run("a/000009.m4s", 2).paths().collect::<Vec<_>>(), ["a/000009.m4s", "a/000010.m4s"]);
        assert_eq!(run("a/play.mp4", 1).paths().collect::<Vec<_>>(), ["a/play.mp4"]);
        assert_eq!(run("a/play.mp4", 9).paths().count(), 1);
        assert_eq!(run("a/+1.mp4", 9).paths().count(), 1);
        assert_eq!(run("4294967294.x", u32::MAX).paths().count(), 2);
        assert_eq!(run("a/0.x", 0).paths().count(), 0);
    }

    #[test]
    fn a_track_of_a_whole_day_is_a_short_line() {
        let folder = "data/sessions/S/joint/P/T-e0";
        let summary = TrackSummary {
            track: TrackId::from_u128(1),
            participant: ParticipantId::from_u128(2),
            name: "张三".into(),
            role: Role::Party,
            kind: MediaKind::Audio,
            codec: Codec::Opus,
            content_type: "audio/mp4".into(),
            starts_ms: 0,
            duration_ms: 86_400_000,
            bytes: 1 << 40,
            files: vec![
                FileRun { first: format!("{folder}/play.mp4"), count: 1 },
                FileRun { first: format!("{folder}/000000.m4s"), count: 8_640 },
            ],
        };
        let event = Event::Track(summary);
        let line = Chain::default().append(&event, at(0), MonoNs(0)).expect("short");
        assert!(line.len() < 1_000, "{line}");
        assert_eq!(Line::parse(line.as_bytes()).expect("own line").event, event);
    }

    proptest! {
        #[test]
        fn every_line_reads_back(names in proptest::collection::vec(any::<String>(), 1..20)) {
            let mut chain = Chain::default();
            let mut prev = Hash::ZERO;
            for (index, name) in names.iter().enumerate() {
                let event = Event::Stage { name: name.clone() };
                let text = chain.append(&event, at(index as i64), MonoNs(index as u64)).expect("short");
                prop_assert_eq!(text.matches('\n').count(), 1);
                let line = Line::parse(text.as_bytes()).expect("own line");
                prop_assert_eq!(line.seq, index as u64 + 1);
                prop_assert_eq!(line.prev, prev);
                prop_assert_eq!(line.event, event);
                prev = Hash::sha256(text.as_bytes());
            }
            prop_assert_eq!(chain.head().hash, prev);
        }
    }
}
