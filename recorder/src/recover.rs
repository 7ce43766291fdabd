//! A recording that was interrupted is finished: what is whole is kept and sealed, what is half written is taken away,
//! and the journal says so.
//!
//! Order of work: look ([`plan`], which changes nothing); what is kept to the disk; the journal's lines about it to the
//! disk, and a head signed; only then is anything taken away; then the package is sealed as any other
//! ([`crate::sealing`]) and held against the verifier. So recovery may itself be interrupted, and run again.
//!
//! What is taken away is not put aside. It was never part of the record: no line names it, no player reads it, and
//! a file that no line names would look added. Its length and hash stay in the journal.

mod heads;
mod history;
mod plan;

use std::{
    collections::BTreeSet,
    fmt::Display,
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use hewei_evidence::{
    bag,
    journal::{self, Chain, Event, format_utc},
    verify::{Options, Package, Verdict},
};
use hewei_model::{CaseId, MonoNs, RecordingId, RoomId, SessionId};
use time::OffsetDateTime;

use crate::{
    Identity, RecorderError,
    files::Folder,
    package::{self, Directory},
    recording::Sealed,
    sealing::{self, Ending},
    writer::{Heads, Writer},
};
use history::History;
use plan::Plan;

/// Certificates, signatures and init segments are far shorter.
const SMALL_BYTES_MAX: u64 = 1 << 20;
/// A head is signed when a recording begins and every few seconds from then on; the recorder gives up when it cannot
/// write for seconds. A journal that goes on for longer without any was not written by a recorder.
const UNSIGNED_MAX: Duration = Duration::from_secs(30);
/// Fifteen seconds of one track are far shorter.
const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// Which recording a package is to be, as it is known from outside the package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// Recording.
    pub recording: RecordingId,
    /// Session.
    pub session: SessionId,
    /// Room.
    pub room: RoomId,
    /// Case.
    pub case_id: CaseId,
}

/// An interrupted recording that is sealed now.
#[derive(Debug, Clone)]
pub struct Recovered {
    /// The package.
    pub sealed: Sealed,
    /// What the interruption cost; `None` when it came after the last line, and only the seal was missing.
    pub interruption: Option<Interruption>,
}

/// What an interruption cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interruption {
    /// The last moment of which there is something. It was interrupted then, or seconds later.
    pub last_written: OffsetDateTime,
    /// Media that had no line in the journal and was whole, in bytes.
    pub kept_bytes: u64,
    /// What was half written and was taken away, in bytes.
    pub cut_bytes: u64,
    /// What the journal names and was on the disk no more, in bytes: the disk had said that it was.
    pub lost_bytes: u64,
}

/// Recovers and seals the package of a recording that nobody writes any more, and verifies it. `now` is UTC. Can be
/// called again after an interruption or an error; a sealed package comes out as it is.
///
/// Fails, and leaves what was recorded as it is, when the journal is broken before its end, when a signed head names
/// lines that are missing, when recorded bytes were changed, when another key than `identity` signed it so far, when it
/// is another recording than `expected`, when it goes on for long without a signed head, and when the disk cannot be
/// read or written.
pub fn recover(
    package: &Path,
    expected: &Expected,
    identity: &Arc<Identity>,
    now: OffsetDateTime,
) -> Result<Recovered, RecorderError> {
    let survey = Survey::of(package)?;
    for (path, ours) in [(bag::CA_PATH, identity.ca_pem()), (bag::RECORDER_PATH, identity.recorder_pem())] {
        if survey.files.contains(path) {
            let theirs = survey.read_small(path).map_err(|source| survey.unreadable(path, source))?;
            // One that is not whole is from before the first line.
            if theirs != ours.as_bytes() && theirs.ends_with(b"-----END CERTIFICATE-----\n") {
                return Err(RecorderError::OtherIdentity { package: package.to_owned() });
            }
        }
    }
    let signed = heads::read(&survey, identity)?;
    let history = history::read(&survey, &signed)?;
    if let Some(difference) = expected.difference(&history) {
        return Err(survey.broken(journal::PATH, difference));
    }
    if signed.is_empty() && history.last.0.since(history.meta.started_mono) > UNSIGNED_MAX {
        let problem = format!("no head was signed in more than {} s", UNSIGNED_MAX.as_secs());
        return Err(survey.broken(journal::PATH, problem));
    }
    let heads = Heads {
        count: signed.len() as u64,
        last: signed.last().map(|signed| signed.file_hash),
        lines: signed.last().map_or(0, |signed| signed.head.count),
    };
    let recovered = match history.closed {
        Some(_) => finish_seal(&survey, &history, identity, heads, now)?,
        None => write(&survey, history, identity, heads, now)?,
    };
    let options = Options { ca_pem: Some(identity.ca_pem()), receipt: None };
    match package::verify(package, &options) {
        Ok(verification) if verification.verdict == Verdict::Intact => Ok(recovered),
        Ok(verification) => {
            let finding = verification.findings.into_iter().next();
            let (file, problem) = finding.map(|finding| (finding.file, finding.problem)).unwrap_or_default();
            Err(survey.broken(&file, problem))
        }
        Err(error) => Err(survey.broken("", error.to_string())),
    }
}

impl Expected {
    /// What the journal says that it should not.
    fn difference(&self, history: &History) -> Option<String> {
        let meta = &history.meta;
        let pairs = [
            ("recording", self.recording.to_string(), meta.recording.to_string()),
            ("session", self.session.to_string(), meta.session.to_string()),
            ("room", self.room.to_string(), meta.room.to_string()),
            ("case", self.case_id.to_string(), meta.case_id.to_string()),
        ];
        let (what, wanted, found) = pairs.into_iter().find(|(_, wanted, found)| wanted != found)?;
        Some(format!("it is of {what} {found}, and {what} {wanted} belongs here"))
    }
}

/// Journals what is kept, takes away what is not, and seals.
fn write(
    survey: &Survey,
    history: History,
    identity: &Arc<Identity>,
    heads: Heads,
    now: OffsetDateTime,
) -> Result<Recovered, RecorderError> {
    let plan = plan::make(survey, &history)?;
    let end = history.meta.started_mono + Duration::from_millis(plan.end_ms);
    let end = end.max(history.last.0);
    let (last_mono, last_utc) = history.last;
    let interruption = Interruption {
        last_written: last_utc + end.since(last_mono),
        kept_bytes: plan.kept_bytes,
        cut_bytes: plan.cut_bytes + history.torn.map_or(0, |(bytes, _)| bytes),
        lost_bytes: plan.lost_bytes,
    };
    let mut writer = reopen(survey, &history, &plan, identity, heads, (end, now))?;
    let again = history.interruption;
    // Run again with nothing new: there is nothing new to say.
    let is_news = again.is_none() || !plan.is_empty() || history.torn.is_some();
    if is_news {
        writer.note(
            Event::Recovered {
                last_written: format_utc(interruption.last_written),
                kept_bytes: plan.kept_bytes,
                cut_bytes: plan.cut_bytes,
                lost_bytes: plan.lost_bytes,
                journal_cut_bytes: history.torn.map_or(0, |(bytes, _)| bytes),
                journal_cut_sha256: history.torn.map(|(_, hash)| hash),
            },
            end,
        );
    }
    for line in plan.cuts.iter().chain(&plan.lost).chain(&plan.lines) {
        writer.note(line.clone(), end);
    }
    writer.settle(end)?;

    for cut in &plan.cuts {
        if let Event::Cut { file, offset, .. } = cut {
            writer.folder.cut(file, *offset)?;
        }
    }
    // Made anew.
    for name in bag::TAG_FILES.iter().chain([&bag::TAG_MANIFEST]) {
        writer.folder.remove(name)?;
    }
    let duration = end.since(history.meta.started_mono);
    let ending = Ending { meta: &history.meta, tracks: plan.tracks, consents: &history.consents, duration };
    let sealed = sealing::seal(writer, &ending, end)?;
    Ok(Recovered { sealed, interruption: again.or(Some(interruption)) })
}

/// The journal is complete, and the last head or a manifest is missing.
fn finish_seal(
    survey: &Survey,
    history: &History,
    identity: &Arc<Identity>,
    heads: Heads,
    now: OffsetDateTime,
) -> Result<Recovered, RecorderError> {
    let Some(closed) = &history.closed else {
        return Err(RecorderError::NotClosed { package: survey.root.clone() });
    };
    if heads.count < closed.heads {
        let problem = format!("says that there are {} heads before its end", closed.heads);
        return Err(survey.broken(journal::PATH, problem));
    }
    let plan = plan::make(survey, history)?;
    if let Some(Event::Cut { file, .. } | Event::Lost { file, .. }) = plan.cuts.first().or(plan.lost.first())
    {
        return Err(survey.broken(file, "does not agree with the journal, which is complete".into()));
    }
    let mut writer = reopen(survey, history, &plan, identity, heads, (history.last.0, now))?;
    writer.settle(history.last.0)?;
    for name in [bag::MANIFEST_SHA256, bag::MANIFEST_SM3, bag::TAG_MANIFEST] {
        writer.folder.remove(name)?;
    }
    for name in bag::TAG_FILES {
        writer.folder.adopt(name, false)?;
    }
    let tracks = package::tracks(&survey.root)?;
    let sealed = sealing::finish(writer, tracks, closed.duration)?;
    Ok(Recovered { sealed, interruption: history.interruption })
}

/// The writer as it would be, had it not been interrupted.
fn reopen(
    survey: &Survey,
    history: &History,
    plan: &Plan,
    identity: &Arc<Identity>,
    heads: Heads,
    clock: (MonoNs, OffsetDateTime),
) -> Result<Writer, RecorderError> {
    let mut folder = Folder::open(survey.root.clone());
    for (path, hashes) in &plan.files {
        folder.adopt_as(path, *hashes);
    }
    for path in &plan.unsynced {
        folder.will_sync(path)?;
    }
    for number in 1..=heads.count {
        for ending in ["txt", "p7s"] {
            folder.adopt(&format!("{}.{ending}", bag::head_stem(number)), true)?;
        }
    }
    let journal = folder.reopen(journal::PATH, history.bytes)?;
    Ok(Writer::go_on(folder, identity.clone(), journal, Chain::resume(history.head), heads, clock))
}

/// The files of a package that nobody writes any more.
#[derive(Debug)]
struct Survey {
    root: PathBuf,
    directory: Directory,
    files: BTreeSet<String>,
}

impl Survey {
    fn of(root: &Path) -> Result<Self, RecorderError> {
        let directory = Directory::new(root);
        let missing = |source| crate::files::error(root, source);
        if !fs::metadata(root).map_err(missing)?.is_dir() {
            return Err(missing(io::Error::from(io::ErrorKind::NotADirectory)));
        }
        let files = directory.files().map_err(missing)?;
        let files = files.into_iter().filter(|path| !path.ends_with('/')).collect();
        Ok(Self { root: root.to_owned(), directory, files })
    }

    fn open(&self, path: &str) -> Result<Box<dyn Read + '_>, RecorderError> {
        self.directory.open(path).map_err(|source| self.unreadable(path, source))
    }

    fn read_small(&self, path: &str) -> io::Result<Vec<u8>> {
        self.read(path, SMALL_BYTES_MAX)
    }

    fn read_whole(&self, path: &str) -> io::Result<Vec<u8>> {
        self.read(path, SEGMENT_BYTES_MAX)
    }

    fn read(&self, path: &str, bytes_max: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.directory.open(path)?.take(bytes_max + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > bytes_max {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        Ok(bytes)
    }

    fn unreadable(&self, path: &str, source: io::Error) -> RecorderError {
        crate::files::error(&self.root.join(path), source)
    }

    fn broken(&self, path: impl Display, problem: String) -> RecorderError {
        RecorderError::Broken { file: path.to_string(), problem }
    }
}
