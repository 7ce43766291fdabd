//! `hewei backup` and `hewei restore`: everything that must outlive a machine, in one tar file.
//!
//! ```text
//! hewei-backup.json   what this is, when and by which version it was made, and what was left out
//! hewei.sqlite        the database, of one moment
//! keys/…              keys and certificates, but for the key that signs tokens
//! recordings/NAME/…   the packages
//! SHA256SUMS          of all of these, as `sha256sum -c` reads it
//! ```
//!
//! A backup works beside a running server and takes nothing from it: the database is copied as of one moment, sealed
//! packages never change, and what is still being recorded is left out by name. Whoever has the file can read
//! everything in it, camera passwords included, and can sign as this recorder: it is to be kept like the originals.
//!
//! Left out on purpose: the key that signs tokens and whatever else lets somebody in (`setup-link`, who is signed in),
//! so that a copy that went astray opens no running server. After a restore everybody signs in again.

mod restore;

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant, UNIX_EPOCH},
};

use anyhow::{Context, bail, ensure};
use hewei_store::{RecordingState, backup::Contents};
use ring::digest::{Context as Digest, SHA256};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

pub use self::restore::restore;
use crate::{
    config::Config,
    health,
    ustar::{self, BLOCK},
    wire,
};

const FORMAT: u32 = 1;
const ABOUT: &str = "hewei-backup.json";
const DATABASE: &str = "hewei.sqlite";
const KEYS: &str = "keys";
const RECORDINGS: &str = "recordings";
const SUMS: &str = "SHA256SUMS";
/// In a folder that is being restored, and in one where that was interrupted.
pub const UNFINISHED: &str = "restore-unfinished";

const CHUNK: usize = 1 << 20;
const PROGRESS_EVERY: Duration = Duration::from_secs(2);

/// The first file of a backup.
#[derive(Debug, Serialize, Deserialize)]
struct About {
    format: u32,
    hewei: String,
    made_at: String,
    schema: i64,
    cases: u64,
    packages: u64,
    left_out: Vec<LeftOut>,
}

/// A recording that is not in a backup.
#[derive(Debug, Serialize, Deserialize)]
struct LeftOut {
    recording: String,
    why: String,
}

/// A file to be put into the archive.
struct Source {
    name: String,
    path: PathBuf,
    bytes: u64,
    modified: u64,
}

/// Writes a backup of the installation to `to`, which must not be there yet, and reads it back. Says on standard error
/// how far it is, and gives the words for the end.
pub async fn backup(config: &Config, to: &Path) -> anyhow::Result<String> {
    let storage = &config.storage.folder;
    let database = storage.join(DATABASE);
    ensure!(
        database.is_file(),
        "there is no database in {} (storage.folder): give the settings of the server with --config",
        storage.display()
    );
    ensure!(!to.exists(), "{} is there already: give another name, or move it away", to.display());
    let partial = Partial::create(to)?;

    let copy = partial.beside("sqlite");
    // What an interrupted backup left behind.
    let _ = fs::remove_file(&copy.0);
    hewei_store::backup::copy(&database, &copy.0)
        .await
        .with_context(|| format!("cannot copy the database {}", database.display()))?;
    let contents =
        hewei_store::backup::prepare(&copy.0).await.context("cannot prepare the copy of the database")?;

    let mut sources = vec![Source::of(DATABASE.to_owned(), &copy.0)?];
    list(&storage.join(KEYS), KEYS, &|name| is_kept_key(name), &mut sources)?;
    let (packages, left_out) = packages(config, &contents);
    for (name, folder) in &packages {
        let before = sources.len();
        list(folder, &format!("{RECORDINGS}/{name}"), &|_| true, &mut sources)?;
        ensure!(sources.len() > before, "the package {} is empty", folder.display());
    }
    let about = About {
        format: FORMAT,
        hewei: env!("CARGO_PKG_VERSION").to_owned(),
        made_at: wire::rfc3339(OffsetDateTime::now_utc()),
        schema: contents.schema,
        cases: contents.cases,
        packages: packages.len() as u64,
        left_out,
    };
    for left_out in &about.left_out {
        say(&format!("left out: recording {}: {}", left_out.recording, left_out.why));
    }

    let to_owned = to.to_owned();
    tokio::task::spawn_blocking(move || {
        write(&partial, &about, &sources).and_then(|words| {
            partial.keep(&to_owned)?;
            Ok(words)
        })
    })
    .await?
    .map(|words| format!("{words} in {}; keep it like the originals, it holds the keys\n", to.display()))
}

fn write(partial: &Partial, about: &About, sources: &[Source]) -> anyhow::Result<String> {
    let total: u64 = sources.iter().map(|source| source.bytes + 2 * BLOCK).sum();
    // Hashes and paths, and a margin.
    let needed = total + sources.len() as u64 * 256 + (1 << 20);
    if let Ok(space) = health::space(&partial.path) {
        ensure!(
            space.free_bytes >= needed,
            "the backup takes {} and {} are free where {} goes: make room, or give a path on another disk",
            size(needed),
            size(space.free_bytes),
            partial.path.display()
        );
    }
    let mut archive = Archive::new(BufWriter::with_capacity(CHUNK, &partial.file));
    archive.text(ABOUT, serde_json::to_vec_pretty(about)?.as_slice())?;
    let mut progress = Progress::new("written", total);
    for source in sources {
        archive.file(source).with_context(|| format!("{}", source.path.display()))?;
        progress.add(source.bytes + 2 * BLOCK);
    }
    let sums = archive.finish().with_context(|| format!("cannot write {}", partial.path.display()))?;
    partial.file.sync_all().with_context(|| format!("cannot write {}", partial.path.display()))?;
    verify(&partial.path, &sums, total)
        .with_context(|| format!("{} does not read back as it was written", partial.path.display()))?;
    Ok(format!(
        "{} cases, {} packages, {} files, {}, read back and found whole,",
        about.cases,
        about.packages,
        sums.len() + 1,
        size(partial.file.metadata()?.len())
    ))
}

/// The packages to be kept, by name, and the recordings of which there is none.
fn packages(config: &Config, contents: &Contents) -> (BTreeMap<String, PathBuf>, Vec<LeftOut>) {
    let mut packages = BTreeMap::new();
    let mut left_out = Vec::new();
    for recorded in &contents.recordings {
        let id = recorded.id.to_string();
        let folder = config.package(recorded.package.as_deref().unwrap_or(&id));
        let why = match recorded.state {
            RecordingState::Recording | RecordingState::Sealing => "it is still being written",
            _ if !folder.is_dir() => "its package is not on the disk",
            RecordingState::Sealed | RecordingState::Failed => {
                let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or(&id).to_owned();
                packages.insert(name, folder);
                continue;
            }
        };
        // A recording that never had a package has nothing that could be missing.
        if recorded.state != RecordingState::Failed {
            left_out.push(LeftOut { recording: id, why: why.to_owned() });
        }
    }
    (packages, left_out)
}

/// Keys that are to be kept: not the one that signs tokens, and nothing half-written.
fn is_kept_key(name: &str) -> bool {
    let half_written = name.ends_with(".new") || name.contains(".key.") && !name.ends_with(".pem");
    name != "keys/token.key" && !half_written
}

/// Lists the plain files in a folder and below. Links are not followed: there are none.
fn list(
    folder: &Path,
    name: &str,
    keep: &dyn Fn(&str) -> bool,
    into: &mut Vec<Source>,
) -> anyhow::Result<()> {
    let what = || format!("{}", folder.display());
    let mut entries =
        fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>).with_context(what)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let file_name = entry.file_name();
        let plain = file_name.to_str().filter(|name| !name.contains(['\n', '\r', '\\']));
        let Some(plain) = plain else { bail!("{} has a name that cannot be kept", entry.path().display()) };
        let name = format!("{name}/{plain}");
        let kind = entry.file_type().with_context(what)?;
        if kind.is_dir() {
            list(&entry.path(), &name, keep, into)?;
        } else if kind.is_file() && keep(&name) {
            into.push(Source::of(name, &entry.path())?);
        }
    }
    Ok(())
}

impl Source {
    fn of(name: String, path: &Path) -> anyhow::Result<Source> {
        let metadata = fs::metadata(path).with_context(|| format!("{}", path.display()))?;
        let modified = metadata.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let modified = modified.map_or(0, |since| since.as_secs());
        Ok(Source { name, path: path.to_owned(), bytes: metadata.len(), modified })
    }
}

/// The archive that is being written, and the hashes of what is in it.
struct Archive<W> {
    out: W,
    sums: BTreeMap<String, String>,
    chunk: Vec<u8>,
}

impl<W: Write> Archive<W> {
    fn new(out: W) -> Self {
        Archive { out, sums: BTreeMap::new(), chunk: vec![0; CHUNK] }
    }

    fn text(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let now = OffsetDateTime::now_utc().unix_timestamp().unsigned_abs();
        self.put(name, bytes.len() as u64, now, bytes)
    }

    fn file(&mut self, source: &Source) -> io::Result<()> {
        self.put(&source.name, source.bytes, source.modified, File::open(&source.path)?)
    }

    fn put(&mut self, name: &str, bytes: u64, modified: u64, from: impl Read) -> io::Result<()> {
        self.out.write_all(&ustar::headers(name, bytes, modified, 0o600)?)?;
        let out = &mut self.out;
        let (read, sum) = pour(from.take(bytes), &mut self.chunk, |chunk| out.write_all(chunk))?;
        if read != bytes {
            return Err(io::Error::other("the file became shorter while it was read; try again"));
        }
        self.out.write_all(&vec![0; ustar::padding(bytes)])?;
        self.sums.insert(name.to_owned(), sum);
        Ok(())
    }

    fn finish(mut self) -> io::Result<BTreeMap<String, String>> {
        let lines: String = self.sums.iter().map(|(name, sum)| format!("{sum}  {name}\n")).collect();
        let sums = std::mem::take(&mut self.sums);
        self.text(SUMS, lines.as_bytes())?;
        self.out.write_all(&[0; 2 * BLOCK as usize])?;
        self.out.flush()?;
        Ok(sums)
    }
}

/// Copies in pieces; gives how many bytes there were and their SHA-256 in hexadecimal.
fn pour(
    mut from: impl Read,
    chunk: &mut [u8],
    mut to: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<(u64, String)> {
    let mut digest = Digest::new(&SHA256);
    let mut bytes = 0;
    loop {
        let read = match from.read(chunk) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        digest.update(&chunk[..read]);
        to(&chunk[..read])?;
        bytes += read as u64;
    }
    let sum = digest.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((bytes, sum))
}

/// Reads an archive from the disk and holds it against the hashes.
fn verify(path: &Path, sums: &BTreeMap<String, String>, total: u64) -> anyhow::Result<()> {
    let mut archive = io::BufReader::with_capacity(CHUNK, File::open(path)?);
    let mut progress = Progress::new("read back", total);
    let mut chunk = vec![0; CHUNK];
    let mut seen = 0;
    while let Some(entry) = ustar::next(&mut archive)? {
        let (bytes, sum) = pour((&mut archive).take(entry.size), &mut chunk, |_| Ok(()))?;
        ensure!(bytes == entry.size, "{} is cut short", entry.name);
        skip(&mut archive, ustar::padding(entry.size))?;
        progress.add(bytes + 2 * BLOCK);
        if entry.name != SUMS {
            ensure!(sums.get(&entry.name) == Some(&sum), "{} reads back differently", entry.name);
            seen += 1;
        }
    }
    ensure!(seen == sums.len(), "files are missing");
    Ok(())
}

fn skip(from: &mut impl Read, bytes: usize) -> io::Result<()> {
    let mut padding = [0; BLOCK as usize];
    from.read_exact(&mut padding[..bytes])
}

/// A backup under another name until it is whole, gone if it never is.
struct Partial {
    path: PathBuf,
    file: File,
    kept: std::cell::Cell<bool>,
}

/// A file that goes when this is dropped.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

impl Partial {
    fn create(to: &Path) -> anyhow::Result<Partial> {
        let mut name = to.as_os_str().to_owned();
        name.push(".partial");
        let path = PathBuf::from(name);
        let what = || format!("cannot write {}", path.display());
        // What an interrupted one left behind goes: to write on in it would be to trust whoever made it with the keys.
        match fs::symlink_metadata(&path) {
            Ok(left) if left.is_file() => {
                if File::open(&path).with_context(what)?.try_lock().is_err() {
                    bail!("another backup is writing {}", path.display());
                }
                fs::remove_file(&path).with_context(what)?;
            }
            Ok(_) => bail!("{} is in the way and no backup's; remove it", path.display()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(what),
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .with_context(what)?;
        if file.try_lock().is_err() {
            bail!("another backup is writing {}", path.display());
        }
        Ok(Partial { path, file, kept: false.into() })
    }

    fn beside(&self, ending: &str) -> Temporary {
        let mut name = self.path.as_os_str().to_owned();
        name.push(format!(".{ending}"));
        Temporary(PathBuf::from(name))
    }

    fn keep(&self, to: &Path) -> anyhow::Result<()> {
        fs::rename(&self.path, to).with_context(|| format!("cannot name it {}", to.display()))?;
        self.kept.set(true);
        // The name is to be on the disk too.
        if let Some(folder) = to.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            File::open(folder).and_then(|folder| folder.sync_all())?;
        }
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.kept.get() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// How far it is, said every two seconds.
struct Progress {
    what: &'static str,
    done: u64,
    total: u64,
    said: Instant,
}

impl Progress {
    fn new(what: &'static str, total: u64) -> Self {
        Progress { what, done: 0, total, said: Instant::now() }
    }

    fn add(&mut self, bytes: u64) {
        self.done += bytes;
        if self.said.elapsed() >= PROGRESS_EVERY {
            self.said = Instant::now();
            say(&format!("{} {} of {}", self.what, size(self.done), size(self.total)));
        }
    }
}

/// To standard error; also when nobody reads it.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "hewei: {line}");
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{} kB", bytes.div_ceil(1_000)),
        1_000_000..10_000_000_000 => format!("{} MB", bytes / 1_000_000),
        _ => format!("{} GB", bytes / 1_000_000_000),
    }
}
