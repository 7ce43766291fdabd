//! A finished package on the disk: for the verifier, and to play its tracks.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::{Component, Path, PathBuf},
};

use hewei_evidence::{
    journal::{self, Event, FileRun, Line, TrackSummary},
    verify::{Options, Package, Verification, VerifyError},
};

use crate::{RecorderError, files::error};

/// How many folders deep a package may be.
const DEPTH_MAX: usize = 16;
/// How much of a journal's end is read at first: the lines of some hundred tracks.
const TAIL_BYTES: u64 = 1 << 18;
/// How much is read at most: the recorder's most tracks, of many epochs each.
const TAIL_BYTES_MAX: u64 = 1 << 26;

/// A package in a folder.
#[derive(Debug, Clone)]
pub struct Directory {
    root: PathBuf,
}

impl Directory {
    /// The package in this folder.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }
}

impl Package for Directory {
    fn files(&self) -> io::Result<Vec<String>> {
        let mut files = Vec::new();
        list(&self.root, "", 0, &mut files)?;
        files.sort();
        Ok(files)
    }

    fn open(&self, path: &str) -> io::Result<Box<dyn Read + '_>> {
        let full =
            inside(&self.root, path).ok_or_else(|| io::Error::other("the path leads out of the package"))?;
        if !fs::symlink_metadata(&full)?.is_file() {
            return Err(io::Error::other("it is not a plain file"));
        }
        Ok(Box::new(File::open(full)?))
    }
}

fn list(folder: &Path, prefix: &str, depth: usize, files: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let path = format!("{prefix}{}", name.to_string_lossy());
        if entry.file_type()?.is_dir() && depth < DEPTH_MAX {
            let (before, path) = (files.len(), format!("{path}/"));
            list(&entry.path(), &path, depth + 1, files)?;
            if files.len() == before {
                files.push(path);
            }
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// `path` in `root`, if it does not lead out of it.
fn inside(root: &Path, path: &str) -> Option<PathBuf> {
    let relative = Path::new(path);
    let plain = relative.components().all(|component| matches!(component, Component::Normal(_)));
    (plain && !path.is_empty()).then(|| root.join(relative))
}

/// Verifies the package in a folder.
pub fn verify(package: &Path, options: &Options<'_>) -> Result<Verification, VerifyError> {
    hewei_evidence::verify::verify(&Directory::new(package), options)
}

/// The tracks of a closed package, in the order they began, from the journal's last lines.
pub fn tracks(package: &Path) -> Result<Vec<TrackSummary>, RecorderError> {
    let path = package.join(journal::PATH);
    let mut file = File::open(&path).map_err(|source| error(&path, source))?;
    let length = file.metadata().map_err(|source| error(&path, source))?.len();
    let mut window = TAIL_BYTES;
    loop {
        let from = length.saturating_sub(window);
        file.seek(SeekFrom::Start(from)).map_err(|source| error(&path, source))?;
        let mut tail = Vec::new();
        (&mut file).take(window).read_to_end(&mut tail).map_err(|source| error(&path, source))?;
        match tracks_at_end(&tail, from == 0) {
            Tail::Tracks(tracks) => return Ok(tracks),
            Tail::Short if window < TAIL_BYTES_MAX => window *= 4,
            Tail::Short | Tail::NotClosed => {
                return Err(RecorderError::NotClosed { package: package.to_owned() });
            }
        }
    }
}

/// What the end of a journal says.
enum Tail {
    Tracks(Vec<TrackSummary>),
    /// More of it is needed.
    Short,
    NotClosed,
}

/// Reads the close line and the track lines before it. `whole`: `tail` is the whole journal.
fn tracks_at_end(tail: &[u8], whole: bool) -> Tail {
    let mut lines = tail.strip_suffix(b"\n").unwrap_or(tail).rsplit(|byte| *byte == b'\n').peekable();
    // The first line of a part may be half a line.
    let mut next = || {
        let line = lines.next()?;
        (whole || lines.peek().is_some()).then_some(line)
    };
    let short = if whole { Tail::NotClosed } else { Tail::Short };
    let Some(line) = next() else { return short };
    let Ok(Event::Close { tracks: count, .. }) = Line::parse(line).map(|line| line.event) else {
        return Tail::NotClosed;
    };
    let mut tracks = Vec::new();
    for _ in 0..count {
        let Some(line) = next() else { return short };
        match Line::parse(line).map(|line| line.event) {
            Ok(Event::Track(track)) => tracks.push(track),
            _ => return Tail::NotClosed,
        }
    }
    tracks.reverse();
    Tail::Tracks(tracks)
}

/// The files that play as one track when put end to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackFiles {
    /// `video/mp4`, `audio/mp4` or `video/webm`.
    pub content_type: String,
    /// Each file and its length in bytes, in order.
    pub files: Vec<(PathBuf, u64)>,
}

impl TrackFiles {
    /// Length of all files together, in bytes.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|(_, bytes)| bytes).sum()
    }

    /// Reads from byte `from` to the end, or `length` bytes of it: for a range request.
    pub fn open(&self, from: u64, length: u64) -> impl Read + Send + 'static {
        TrackReader { files: self.files.clone(), at: 0, skip: from, left: length, current: None }
    }
}

struct TrackReader {
    files: Vec<(PathBuf, u64)>,
    at: usize,
    skip: u64,
    left: u64,
    current: Option<io::Take<File>>,
}

impl Read for TrackReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.left == 0 || buffer.is_empty() {
                return Ok(0);
            }
            if let Some(file) = &mut self.current {
                let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
                let count = file.read(&mut buffer[..room])?;
                if count > 0 {
                    self.left -= count as u64;
                    return Ok(count);
                }
                self.current = None;
            }
            let Some((path, bytes)) = self.files.get(self.at) else { return Ok(0) };
            self.at += 1;
            if self.skip >= *bytes {
                self.skip -= bytes;
                continue;
            }
            let mut file = File::open(path)?;
            file.seek(SeekFrom::Start(self.skip))?;
            self.current = Some(file.take(bytes - self.skip));
            self.skip = 0;
        }
    }
}

/// The files of one track of a closed package.
pub fn track_files(package: &Path, track: &TrackSummary) -> Result<TrackFiles, RecorderError> {
    let mut files = Vec::new();
    // A forged count ends at the first file that is not there.
    for name in track.files.iter().flat_map(FileRun::paths) {
        let path =
            inside(package, &name).ok_or_else(|| RecorderError::NotClosed { package: package.to_owned() })?;
        let metadata = fs::symlink_metadata(&path).map_err(|source| error(&path, source))?;
        if !metadata.is_file() {
            return Err(error(&path, io::Error::other("it is not a plain file")));
        }
        files.push((path, metadata.len()));
    }
    Ok(TrackFiles { content_type: track.content_type.clone(), files })
}
