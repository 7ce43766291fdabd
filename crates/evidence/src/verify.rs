//! The verifier: what a package must be, and what in it is not so.
//!
//! Holds the files against the manifests, the journal against itself, the heads against the journal and the CA,
//! and the files against the journal. Each finding names a file. It proves that nothing changed since sealing,
//! not that what was said is true. An interruption that was recovered is no finding; it is named beside the verdict.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, BufRead, BufReader, Read},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    bag,
    hash::{FileHashes, Hash, hash_file},
    journal::{self, Event, Head, Line, format_utc},
    seal::{Authority, SealError, certificate_der},
};

/// The files of a package, wherever they are.
pub trait Package {
    /// The paths of all files (of anything that is no folder), relative to the package, with `/`; and those of
    /// folders with nothing in them, with a `/` at the end.
    fn files(&self) -> io::Result<Vec<String>>;

    /// Opens one of them. Only plain files can be opened.
    fn open(&self, path: &str) -> io::Result<Box<dyn Read + '_>>;
}

/// What to hold a package against.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options<'a> {
    /// The CA's certificate, PEM, from outside the package. Without it the package's own is used, which shows
    /// consistency and not who signed.
    pub ca_pem: Option<&'a str>,
    /// The hash on a receipt.
    pub receipt: Option<&'a str>,
}

/// How a verification ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing has changed since it was sealed.
    Intact,
    /// Something was changed or added.
    Altered,
    /// Something is missing.
    Incomplete,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The file, relative to the package; empty for the package as a whole.
    pub file: String,
    /// What is wrong with it.
    pub problem: String,
    /// Where the first bad fragment begins, in milliseconds after the recording's start.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub at_ms: Option<u64>,
}

/// An interruption that the recording went through before it was sealed, as its journal says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interruption {
    /// The last moment of which there is something, RFC 3339: it was interrupted then, or seconds later.
    pub interrupted_at: String,
    /// When it was found and finished, RFC 3339.
    pub recovered_at: String,
    /// What was half written and was taken away, in bytes.
    pub cut_bytes: u64,
    /// What had been recorded and was on the disk no more, in bytes.
    pub lost_bytes: u64,
}

/// What the verifier found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// Verdict.
    pub verdict: Verdict,
    /// What is wrong, each naming its file; empty when intact.
    pub findings: Vec<Finding>,
    /// How many files were checked.
    pub files: u64,
    /// How many journal lines were checked.
    pub journal_lines: u64,
    /// How many signed heads were checked.
    pub seals: u64,
    /// SHA-256 of the last head's file: the receipt.
    pub head_hash: Option<String>,
    /// The subject of the certificate that signed the last head.
    pub signed_by: Option<String>,
    /// When the last head was signed, RFC 3339.
    pub signed_at: Option<String>,
    /// Interruptions before it was sealed; no finding, since the journal itself names what they cost.
    pub interruptions: Vec<Interruption>,
    /// Whether the CA's certificate came from outside the package. If not, an intact package is consistent, and
    /// anybody may have made it.
    pub signer_checked: bool,
}

/// Verifies a package. Fails only when its list of files or the given CA cannot be read; everything else is a
/// finding.
pub fn verify(package: &impl Package, options: &Options<'_>) -> Result<Verification, VerifyError> {
    let mut verifier = Verifier { package, now: BTreeMap::new(), findings: Vec::new(), missing_only: true };
    let outside = options.ca_pem.map(Authority::from_pem).transpose().map_err(VerifyError::Ca)?;
    verifier.hash_files().map_err(VerifyError::List)?;
    let journal = verifier.walk_journal();
    let seals = verifier.check_seals(&journal, outside.as_ref());
    verifier.check_files(&journal, seals.walked);
    verifier.check_manifests(&journal);
    if let (Some(receipt), head_hash) = (options.receipt, &seals.head_hash)
        && head_hash.as_deref() != Some(receipt.trim())
    {
        verifier.altered("", format!("the last head is not the one on the receipt {}", receipt.trim()));
    }
    let verdict = match (verifier.findings.is_empty(), verifier.missing_only) {
        (true, _) => Verdict::Intact,
        (false, true) => Verdict::Incomplete,
        (false, false) => Verdict::Altered,
    };
    Ok(Verification {
        verdict,
        findings: verifier.findings,
        files: verifier.now.len() as u64,
        journal_lines: journal.hashes.len() as u64,
        seals: seals.count,
        head_hash: seals.head_hash,
        signed_by: seals.signed_by,
        signed_at: seals.signed_at,
        interruptions: journal.interruptions,
        signer_checked: outside.is_some(),
    })
}

/// Why nothing could be verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The files cannot be listed.
    #[error("the package cannot be read")]
    List(#[source] io::Error),
    /// The CA's certificate cannot be used.
    #[error("the given CA certificate cannot be used")]
    Ca(#[source] SealError),
}

#[derive(Debug)]
struct Fragment {
    offset: u64,
    bytes: u64,
    sha256: Hash,
    start_ms: u64,
}

/// What the journal says.
#[derive(Debug, Default)]
struct Journal {
    hashes: Vec<Hash>,
    files: BTreeMap<String, (u64, Hash)>,
    fragments: BTreeMap<String, Vec<Fragment>>,
    tag_files: BTreeMap<String, Hash>,
    interruptions: Vec<Interruption>,
    /// How many heads came before the close line; `None` when the last line is none.
    heads: Option<u64>,
    /// The chain holds, so that what it says can stand against a manifest.
    sound: bool,
}

#[derive(Debug, Default)]
struct Seals {
    count: u64,
    /// Heads 1 to this were looked at.
    walked: u64,
    head_hash: Option<String>,
    signed_by: Option<String>,
    signed_at: Option<String>,
}

struct Verifier<'a, P> {
    package: &'a P,
    now: BTreeMap<String, FileHashes>,
    findings: Vec<Finding>,
    missing_only: bool,
}

impl<P: Package> Verifier<'_, P> {
    fn altered(&mut self, file: &str, problem: impl Into<String>) {
        self.missing_only = false;
        self.add(file, problem.into(), None);
    }

    fn missing(&mut self, file: &str, problem: impl Into<String>) {
        self.add(file, problem.into(), None);
    }

    fn add(&mut self, file: &str, problem: String, at_ms: Option<u64>) {
        self.findings.push(Finding { file: file.to_owned(), problem, at_ms });
    }

    fn hash_files(&mut self) -> io::Result<()> {
        for path in self.package.files()? {
            if path.ends_with('/') {
                self.altered(&path, "is a folder with nothing in it: it was added");
                continue;
            }
            match self.package.open(&path).and_then(|mut reader| hash_file(&mut *reader)) {
                Ok(hashes) => {
                    self.now.insert(path, hashes);
                }
                Err(error) => self.altered(&path, format!("cannot be read: {error}")),
            }
        }
        Ok(())
    }

    fn read(&self, path: &str, bytes_max: u64) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let reader = self.package.open(path).ok()?;
        reader.take(bytes_max + 1).read_to_end(&mut bytes).ok()?;
        (bytes.len() as u64 <= bytes_max).then_some(bytes)
    }

    fn walk_journal(&mut self) -> Journal {
        let mut journal = Journal::default();
        let Ok(reader) = self.package.open(journal::PATH) else {
            self.missing(journal::PATH, "is missing");
            return journal;
        };
        let mut reader = BufReader::new(reader);
        let mut problem = None;
        let mut closed = false;
        let mut prev = Hash::ZERO;
        loop {
            let mut text = Vec::new();
            let limit = journal::LINE_BYTES_MAX as u64;
            match (&mut reader).take(limit).read_until(b'\n', &mut text) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => {
                    problem = problem.or(Some(format!("cannot be read: {error}")));
                    break;
                }
            }
            let number = journal.hashes.len() as u64 + 1;
            let hash = Hash::sha256(&text);
            journal.hashes.push(hash);
            if text.pop() != Some(b'\n') {
                problem = problem.or(Some(format!("line {number} has no end")));
            }
            match Line::parse(&text) {
                Err(_) => problem = problem.or(Some(format!("line {number} is no journal line"))),
                Ok(line) => {
                    if line.seq != number {
                        problem = problem.or(Some(format!("line {number} has number {}", line.seq)));
                    } else if line.prev != prev {
                        problem = problem.or(Some(format!(
                            "line {} was changed, or lines before line {number} are missing",
                            number - 1
                        )));
                    } else if (number == 1) != matches!(line.event, Event::Open { .. }) || closed {
                        problem = problem.or(Some(format!("line {number} does not belong there")));
                    }
                    closed = matches!(line.event, Event::Close { .. });
                    journal.take(line.at, line.event);
                    if !closed {
                        journal.heads = None;
                    }
                }
            }
            prev = hash;
        }
        journal.sound = problem.is_none() && closed;
        if let Some(problem) = problem {
            self.altered(journal::PATH, problem);
        } else if !closed {
            self.missing(journal::PATH, "does not end with a close line: it was cut, or never sealed");
        }
        journal
    }

    fn check_seals(&mut self, journal: &Journal, outside: Option<&Authority>) -> Seals {
        let mut seals = Seals::default();
        let inside = match self.read(bag::CA_PATH, 1 << 16).map(String::from_utf8) {
            Some(Ok(pem)) => Authority::from_pem(&pem).ok(),
            _ => None,
        };
        let authority = outside.or(inside.as_ref());
        if authority.is_none() {
            let problem = "is no CA certificate that can be used";
            if self.now.contains_key(bag::CA_PATH) {
                self.altered(bag::CA_PATH, problem);
            } else {
                self.missing(bag::CA_PATH, "is missing");
            }
        }
        // The close line says how many there are; of a journal that was cut off, what is there must do.
        let lines = journal.hashes.len() as u64;
        let last = match journal.heads {
            Some(before) => before.saturating_add(1),
            None => self.now.keys().filter_map(|path| head_number(path)).max().unwrap_or(0),
        };
        if last == 0 {
            self.missing("data/seals", "has no signed head");
        }
        // Each head signs a line more, and a forged number must not make the loop long.
        seals.walked = last.min(lines);
        if last > lines && journal.heads.is_some() {
            self.altered(journal::PATH, format!("speaks of {last} heads and has {lines} lines"));
        }
        let recorder = self.read(bag::RECORDER_PATH, 1 << 16).and_then(|pem| certificate_der(&pem));
        let mut last_count = 0;
        for number in 1..=seals.walked {
            let stem = bag::head_stem(number);
            let (text_path, seal_path) = (format!("{stem}.txt"), format!("{stem}.p7s"));
            let text = self.read(&text_path, 256);
            let seal = self.read(&seal_path, 1 << 16);
            for (path, read) in [(&text_path, &text), (&seal_path, &seal)] {
                if read.is_none() && !self.now.contains_key(path) {
                    self.missing(path, "is missing");
                }
            }
            let Some(text) = text else { continue };
            seals.head_hash = Some(Hash::sha256(&text).to_string());
            let signature = match (authority, seal) {
                (Some(authority), Some(seal)) => Some(authority.check(&text, &seal)),
                _ => None,
            };
            match signature {
                // A certificate's own signature has a twin as well; the journal vouches for this one.
                Some(Ok(signature)) if recorder.as_ref() != Some(&signature.certificate_der) => {
                    self.altered(&seal_path, format!("is not by the certificate in {}", bag::RECORDER_PATH));
                }
                Some(Ok(signature)) => {
                    seals.count += 1;
                    seals.signed_by = Some(signature.subject);
                    seals.signed_at = Some(format_utc(signature.signed_at));
                }
                Some(Err(SealError::OtherContent)) => {
                    self.altered(&text_path, "was changed: it is not what was signed");
                }
                Some(Err(error)) => self.altered(&seal_path, error.to_string()),
                None => {}
            }
            let head = std::str::from_utf8(&text).ok().and_then(Head::parse);
            let Some(head) = head else {
                self.altered(&text_path, "is no head");
                continue;
            };
            let in_journal = usize::try_from(head.count)
                .ok()
                .and_then(|count| journal.hashes.get(count.checked_sub(1)?))
                .is_some_and(|hash| *hash == head.hash);
            if !in_journal {
                self.altered(&text_path, format!("does not agree with {}", journal::PATH));
            }
            if head.count <= last_count {
                self.altered(&text_path, "counts no more lines than the head before");
            }
            last_count = head.count;
        }
        if last_count != lines {
            let problem = format!("has {lines} lines, and the heads sign {last_count} of them");
            let last_there = self.now.contains_key(&format!("{}.txt", bag::head_stem(last)));
            if last_count > lines || (journal.heads.is_some() && last_there) {
                self.altered(journal::PATH, problem);
            } else {
                self.missing(journal::PATH, problem);
            }
        }
        seals
    }

    /// Holds the files in `data/` against the journal.
    fn check_files(&mut self, journal: &Journal, heads_walked: u64) {
        let named: BTreeSet<&String> = journal.files.keys().chain(journal.fragments.keys()).collect();
        for path in named {
            let Some(now) = self.now.get(path).copied() else {
                self.missing(path, "is in the journal and is missing");
                continue;
            };
            let fragments = journal.fragments.get(path).map_or(&[][..], Vec::as_slice);
            let whole = journal.files.get(path);
            if whole == Some(&(now.bytes, now.sha256)) {
                continue;
            }
            match self.first_bad_fragment(path, fragments) {
                Some(fragment) => {
                    let problem =
                        format!("was changed: the first bad fragment begins at byte {}", fragment.offset);
                    self.missing_only = false;
                    self.add(path, problem, Some(fragment.start_ms));
                }
                None if whole.is_some() => {
                    self.altered(path, "was changed: it does not agree with the journal");
                }
                None if end_of(fragments) != Some(now.bytes) => {
                    self.altered(path, "has bytes that are not in the journal");
                }
                None => {}
            }
        }
        if journal.hashes.is_empty() {
            return;
        }
        let unknown: Vec<String> = self
            .now
            .keys()
            .filter(|path| {
                path.starts_with("data/")
                    && !journal.files.contains_key(*path)
                    && !journal.fragments.contains_key(*path)
                    && *path != journal::PATH
                    && !head_number(path).is_some_and(|number| (1..=heads_walked).contains(&number))
            })
            .cloned()
            .collect();
        for path in unknown {
            self.altered(&path, "is not in the journal: it was added");
        }
    }

    fn first_bad_fragment<'f>(&self, path: &str, fragments: &'f [Fragment]) -> Option<&'f Fragment> {
        let mut reader = BufReader::new(self.package.open(path).ok()?);
        let mut at = 0;
        fragments.iter().find(|fragment| {
            if fragment.offset != at {
                return true;
            }
            let Some(end) = at.checked_add(fragment.bytes) else { return true };
            at = end;
            let mut sha256 = Sha256::new();
            let read = io::copy(&mut (&mut reader).take(fragment.bytes), &mut sha256);
            read.is_err() || sha256.finalize().as_slice() != fragment.sha256.as_bytes()
        })
    }

    /// Holds the manifests against the files, and says which of the two was changed where the journal or the
    /// files themselves can tell.
    fn check_manifests(&mut self, journal: &Journal) {
        let payload = |hash: fn(&FileHashes) -> Hash| -> BTreeMap<String, Hash> {
            self.now
                .iter()
                .filter(|(path, _)| path.starts_with("data/"))
                .map(|(path, hashes)| (path.clone(), hash(hashes)))
                .collect()
        };
        let sha256 = payload(|hashes| hashes.sha256);
        let sm3 = payload(|hashes| hashes.sm3);
        let tags: BTreeMap<String, Hash> = bag::TAG_FILES
            .iter()
            .filter_map(|path| Some(((*path).to_owned(), self.now.get(*path)?.sha256)))
            .collect();
        let sound = journal.sound && self.findings.is_empty();

        for path in bag::TAG_FILES.iter().chain([&bag::TAG_MANIFEST]) {
            if !self.now.contains_key(*path) {
                self.missing(path, "is missing");
            }
        }
        let strange: Vec<String> = self
            .now
            .keys()
            .filter(|path| !path.starts_with("data/"))
            .filter(|path| !bag::TAG_FILES.contains(&path.as_str()) && *path != bag::TAG_MANIFEST)
            .cloned()
            .collect();
        for path in strange {
            self.altered(&path, "does not belong to the package");
        }
        let mut tags_sound = sound;
        for (path, hash) in &journal.tag_files {
            if tags.get(path).is_some_and(|now| now != hash) {
                self.altered(path, "was changed: it does not agree with the journal");
                tags_sound = false;
            }
        }
        // Where the journal vouches for every file, a manifest that disagrees is what was changed.
        let payload_sound = sound;
        tags_sound &= self.compare(bag::MANIFEST_SHA256, &sha256, payload_sound);
        tags_sound &= self.compare(bag::MANIFEST_SM3, &sm3, payload_sound);
        self.compare(bag::TAG_MANIFEST, &tags, tags_sound);
    }

    /// Holds one manifest against the text written again from the files.
    fn compare(&mut self, manifest: &str, now: &BTreeMap<String, Hash>, files_are_sound: bool) -> bool {
        if !self.now.contains_key(manifest) {
            return false;
        }
        let text = self.read(manifest, 64 << 20).unwrap_or_default();
        if text == bag::manifest(now).as_bytes() {
            return true;
        }
        if files_are_sound {
            self.altered(manifest, "was changed: it does not agree with the files, and the journal does");
            return false;
        }
        let stored = bag::parse_manifest(&String::from_utf8_lossy(&text));
        let mut explained = false;
        for (path, hash) in now {
            match stored.get(path) {
                Some(stored) if stored == hash => {}
                Some(_) => {
                    self.altered(path, format!("does not agree with its line in {manifest}"));
                    explained = true;
                }
                None => {
                    self.altered(path, format!("is not named in {manifest}"));
                    explained = true;
                }
            }
        }
        for path in stored.keys().filter(|path| !now.contains_key(*path)) {
            self.missing(path, format!("is named in {manifest} and is missing"));
            explained = true;
        }
        if !explained {
            self.altered(manifest, "is not in the form it was written in");
        }
        false
    }
}

/// The number of the head that a file's name makes it a part of.
fn head_number(path: &str) -> Option<u64> {
    let rest = path.strip_prefix("data/seals/head-")?;
    let digits = rest.strip_suffix(".txt").or_else(|| rest.strip_suffix(".p7s"))?;
    let number = digits.parse().ok()?;
    path.starts_with(&format!("{}.", bag::head_stem(number))).then_some(number)
}

/// Where fragments end together, if that is a number at all.
fn end_of(fragments: &[Fragment]) -> Option<u64> {
    fragments.iter().try_fold(0_u64, |sum, fragment| sum.checked_add(fragment.bytes))
}

impl Journal {
    fn take(&mut self, at: String, event: Event) {
        match event {
            Event::File { file, bytes, sha256 } => {
                self.files.insert(file, (bytes, sha256));
            }
            Event::Seg { file, bytes, sha256, offset, start_ms, .. } => {
                self.fragments.entry(file).or_default().push(Fragment { offset, bytes, sha256, start_ms });
            }
            // What is left of it gets another line.
            Event::Lost { file, bytes } => {
                self.files.remove(&file);
                if let Some(fragments) = self.fragments.get_mut(&file) {
                    fragments.retain(|fragment| {
                        fragment.offset.checked_add(fragment.bytes).is_some_and(|end| end <= bytes)
                    });
                }
                self.fragments.retain(|_, fragments| !fragments.is_empty());
            }
            Event::Recovered { last_written, cut_bytes, journal_cut_bytes, lost_bytes, .. } => {
                self.interruptions.push(Interruption {
                    interrupted_at: last_written,
                    recovered_at: at,
                    cut_bytes: cut_bytes.saturating_add(journal_cut_bytes),
                    lost_bytes,
                });
            }
            Event::Close { tag_files, heads, .. } => {
                self.tag_files = tag_files;
                self.heads = Some(heads);
            }
            _ => {}
        }
    }
}
