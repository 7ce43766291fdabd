//! A package that is being written: its files, its journal, its heads.
//!
//! Order of writing: media to the disk ([`Folder::sync`]), then the journal's lines about it ([`Writer::append_lines`],
//! [`Writer::sync_journal`]), then the head signed ([`Writer::sign_head`]). So the journal never speaks of what a power
//! cut may have taken.

use std::{path::PathBuf, sync::Arc, time::Duration};

use hewei_evidence::{
    bag,
    hash::{FileHashes, Hash},
    journal::{self, Chain, Event},
};
use hewei_model::MonoNs;
use time::OffsetDateTime;

use crate::{
    Identity, RecorderError,
    files::{Folder, Writing},
};

/// How often the head is signed, with a margin below the five seconds of the format.
const HEAD_EVERY: Duration = Duration::from_secs(4);
/// Events kept while the journal cannot be written: hours of a large session's. Media is refused from there on, so
/// that what was written always has its line.
const EVENTS_MAX: usize = 65_536;

/// The heads that were signed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Heads {
    /// How many.
    pub(crate) count: u64,
    /// SHA-256 of the last one's file.
    pub(crate) last: Option<Hash>,
    /// How many lines the last one signs.
    pub(crate) lines: u64,
}

/// A package that is being written.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) folder: Folder,
    identity: Arc<Identity>,
    journal: Writing,
    chain: Chain,
    /// Events that wait for the media before them to be on the disk.
    waiting: Vec<(Event, MonoNs)>,
    /// Events that did not fit there.
    dropped: u64,
    heads: Heads,
    head_at: MonoNs,
    clock: (MonoNs, OffsetDateTime),
}

impl Writer {
    /// Begins a package in a new folder. `clock`: the monotonic clock and UTC at one moment.
    pub(crate) fn create(
        root: PathBuf,
        identity: Arc<Identity>,
        clock: (MonoNs, OffsetDateTime),
    ) -> Result<Self, RecorderError> {
        let mut folder = Folder::create(root)?;
        let journal = folder.begin(journal::PATH)?;
        Ok(Self::go_on(folder, identity, journal, Chain::default(), Heads::default(), clock))
    }

    /// Goes on with a package that somebody else began.
    pub(crate) fn go_on(
        folder: Folder,
        identity: Arc<Identity>,
        journal: Writing,
        chain: Chain,
        heads: Heads,
        clock: (MonoNs, OffsetDateTime),
    ) -> Self {
        let head_at = clock.0;
        Self { folder, identity, journal, chain, waiting: Vec::new(), dropped: 0, heads, head_at, clock }
    }

    pub(crate) fn heads(&self) -> Heads {
        self.heads
    }

    pub(crate) fn set_clock(&mut self, now: MonoNs, utc: OffsetDateTime) {
        self.clock = (now, utc);
    }

    /// UTC at a moment of the monotonic clock.
    pub(crate) fn utc(&self, at: MonoNs) -> OffsetDateTime {
        let (mono, utc) = self.clock;
        utc + time::Duration::nanoseconds(i64::try_from(i128::from(at.0) - i128::from(mono.0)).unwrap_or(0))
    }

    /// Whether no more media may be written until the journal can be.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting.len() >= EVENTS_MAX
    }

    /// Writes an event into the journal as soon as that may be.
    pub(crate) fn note(&mut self, event: Event, at: MonoNs) {
        // What is on the disk must have its line. Media is refused when this is full, so these are few.
        let kept = matches!(
            event,
            Event::Seg { .. }
                | Event::File { .. }
                | Event::TrackClose { .. }
                | Event::Track(_)
                | Event::Close { .. }
        );
        if kept || !self.is_full() {
            self.waiting.push((event, at));
        } else {
            self.dropped += 1;
        }
    }

    /// Writes a whole file and journals it.
    pub(crate) fn file(&mut self, path: &str, bytes: &[u8], at: MonoNs) -> Result<FileHashes, RecorderError> {
        let hashes = self.folder.write(path, bytes)?;
        self.note(Event::File { file: path.to_owned(), bytes: hashes.bytes, sha256: hashes.sha256 }, at);
        Ok(hashes)
    }

    /// Brings finished files to the disk, then appends the lines that wait. Files that are not finished have to be on
    /// the disk by then. What fails is tried again the next time.
    pub(crate) fn append_lines(&mut self, now: MonoNs) -> Result<(), RecorderError> {
        self.folder.sync_finished()?;
        if self.waiting.is_empty() {
            return Ok(());
        }
        let mut chain = self.chain.clone();
        let mut text = String::new();
        for (event, at) in &self.waiting {
            let line = chain.append(event, self.utc(*at), *at).or_else(|error| {
                tracing::error!(%error, "an event was not journalled");
                chain.append(&Event::Fault { what: error.to_string() }, self.utc(*at), *at)
            });
            text.push_str(&line?);
        }
        // Only what stands in the file is chained on to.
        self.folder.append(&mut self.journal, text.as_bytes())?;
        self.chain = chain;
        self.waiting.clear();
        if self.dropped > 0 {
            let what = format!("{} events did not fit while the journal could not be written", self.dropped);
            self.dropped = 0;
            self.note(Event::Fault { what }, now);
        }
        Ok(())
    }

    /// Brings the journal's lines to the disk.
    pub(crate) fn sync_journal(&mut self) -> Result<(), RecorderError> {
        self.folder.sync([&mut self.journal])
    }

    /// Signs the journal's head when it is time, or `at_once`. The journal has to be on the disk.
    pub(crate) fn sign_head(&mut self, now: MonoNs, at_once: bool) -> Result<(), RecorderError> {
        let head = self.chain.head();
        if head.count <= self.heads.lines || !(at_once || now.since(self.head_at) >= HEAD_EVERY) {
            return Ok(());
        }
        let text = head.to_text();
        let seal = self.identity.sealer().seal(text.as_bytes(), self.utc(now))?;
        let stem = bag::head_stem(self.heads.count + 1);
        let (text_path, seal_path) = (format!("{stem}.txt"), format!("{stem}.p7s"));
        // The first try may have left one of them behind.
        self.folder.remove(&text_path)?;
        self.folder.remove(&seal_path)?;
        self.folder.write(&text_path, text.as_bytes())?;
        self.folder.write(&seal_path, &seal)?;
        self.folder.sync_finished()?;
        self.heads = Heads {
            count: self.heads.count + 1,
            last: Some(Hash::sha256(text.as_bytes())),
            lines: head.count,
        };
        self.head_at = now;
        Ok(())
    }

    /// Everything that was noted to the disk, and the head signed.
    pub(crate) fn settle(&mut self, now: MonoNs) -> Result<(), RecorderError> {
        self.append_lines(now)?;
        self.sync_journal()?;
        self.sign_head(now, true)
    }

    /// The journal is complete.
    pub(crate) fn into_folder(mut self) -> Folder {
        self.folder.finish(self.journal);
        self.folder
    }
}
