//! Files of a package under construction: each is written once, from its beginning to its end, hashed on the way
//! and brought to the disk before the journal speaks of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    mem,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    thread,
};

use hewei_evidence::hash::{FileHasher, FileHashes, hash_file};

use crate::RecorderError;

/// A disk that is slow to say that something is on it is hardly slower when it is asked for a few things at once.
const SYNCS_AT_ONCE: usize = 8;

/// The folder of a package, and what is in it.
#[derive(Debug)]
pub(crate) struct Folder {
    root: PathBuf,
    /// Files that are finished, by path.
    finished: BTreeMap<String, FileHashes>,
    /// Finished and not yet on the disk.
    unsynced: Vec<(String, File)>,
    /// Folders with new entries that are not yet on the disk.
    new_entries: BTreeSet<PathBuf>,
}

/// A file that is being written.
#[derive(Debug)]
pub(crate) struct Writing {
    pub(crate) path: String,
    file: File,
    hasher: FileHasher,
    dirty: bool,
    /// A half-written append stands at its end, and could not be taken back yet.
    torn: bool,
}

impl Writing {
    /// How many bytes it has.
    pub(crate) fn bytes(&self) -> u64 {
        self.hasher.finish().bytes
    }

    /// Takes back what a failed append left behind.
    fn mend(&mut self) -> io::Result<()> {
        if self.torn {
            let whole = self.bytes();
            self.file.set_len(whole)?;
            self.file.seek(SeekFrom::Start(whole))?;
            self.torn = false;
        }
        Ok(())
    }
}

impl Folder {
    /// Makes the folder, which must not be there yet.
    pub(crate) fn create(root: PathBuf) -> Result<Self, RecorderError> {
        if let Some(parent) = root.parent() {
            make_folder(parent)?;
        }
        DirBuilder::new().mode(0o700).create(&root).map_err(|source| error(&root, source))?;
        let new_entries = root.parent().map(Path::to_owned).into_iter().collect();
        Ok(Self { root, finished: BTreeMap::new(), unsynced: Vec::new(), new_entries })
    }

    /// The folder of a package that somebody else began.
    pub(crate) fn open(root: PathBuf) -> Self {
        Self { root, finished: BTreeMap::new(), unsynced: Vec::new(), new_entries: BTreeSet::new() }
    }

    /// Takes a file that is there for finished. `must`: it has to be.
    pub(crate) fn adopt(&mut self, path: &str, must: bool) -> Result<(), RecorderError> {
        let full = self.root.join(path);
        match File::open(&full).and_then(|mut file| hash_file(&mut file)) {
            Ok(hashes) => self.adopt_as(path, hashes),
            Err(source) if must || source.kind() != io::ErrorKind::NotFound => {
                return Err(error(&full, source));
            }
            Err(_) => {}
        }
        Ok(())
    }

    /// Takes a file that is there, or its beginning, for finished.
    pub(crate) fn adopt_as(&mut self, path: &str, hashes: FileHashes) {
        self.finished.insert(path.to_owned(), hashes);
    }

    /// A file that is there, and the folders that lead to it, may not be on the disk yet.
    pub(crate) fn will_sync(&mut self, path: &str) -> Result<(), RecorderError> {
        let full = self.root.join(path);
        let file = OpenOptions::new().write(true).open(&full).map_err(|source| error(&full, source))?;
        self.unsynced.push((path.to_owned(), file));
        let folders = full.ancestors().skip(1).take_while(|folder| folder.starts_with(&self.root));
        self.new_entries.extend(folders.map(Path::to_owned));
        Ok(())
    }

    /// Goes on with a file after its first `bytes` bytes; what is behind them goes away.
    pub(crate) fn reopen(&self, path: &str, bytes: u64) -> Result<Writing, RecorderError> {
        let full = self.root.join(path);
        let open = || {
            let mut file = OpenOptions::new().read(true).write(true).open(&full)?;
            let mut hasher = FileHasher::default();
            let mut buffer = vec![0; 64 * 1024];
            let mut rest = (&mut file).take(bytes);
            loop {
                match rest.read(&mut buffer)? {
                    0 => break,
                    count => hasher.update(&buffer[..count]),
                }
            }
            file.set_len(bytes)?;
            file.seek(SeekFrom::Start(bytes))?;
            Ok(Writing { path: path.to_owned(), file, hasher, dirty: true, torn: false })
        };
        open().map_err(|source| error(&full, source))
    }

    /// Takes away what is behind the first `offset` bytes of a file, or the whole file.
    pub(crate) fn cut(&mut self, path: &str, offset: u64) -> Result<(), RecorderError> {
        if offset == 0 {
            return self.remove(path);
        }
        let full = self.root.join(path);
        let cut = |file: File| file.set_len(offset).and_then(|()| file.sync_all());
        OpenOptions::new().write(true).open(&full).and_then(cut).map_err(|source| error(&full, source))
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Finished files under `data/`, or beside it.
    pub(crate) fn finished(&self) -> &BTreeMap<String, FileHashes> {
        &self.finished
    }

    /// Begins a file.
    pub(crate) fn begin(&mut self, path: &str) -> Result<Writing, RecorderError> {
        let full = self.root.join(path);
        if let Some(parent) = full.parent() {
            let mut folder = parent;
            while !folder.exists() {
                self.new_entries.extend(folder.parent().map(Path::to_owned));
                folder = folder.parent().unwrap_or(&self.root);
            }
            make_folder(parent)?;
            self.new_entries.insert(parent.to_owned());
        }
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&full)
            .map_err(|source| error(&full, source))?;
        let hasher = FileHasher::default();
        Ok(Writing { path: path.to_owned(), file, hasher, dirty: true, torn: false })
    }

    /// Appends to a file: all of `bytes`, or nothing.
    pub(crate) fn append(&self, writing: &mut Writing, bytes: &[u8]) -> Result<(), RecorderError> {
        writing.dirty = true;
        let written = writing.mend().and_then(|()| writing.file.write_all(bytes));
        if let Err(source) = written {
            // What was written of it must not stand before the next append.
            writing.torn = true;
            if let Err(error) = writing.mend() {
                tracing::error!(path = writing.path, %error, "a half-written append cannot be taken back yet");
            }
            return Err(error(&self.root.join(&writing.path), source));
        }
        writing.hasher.update(bytes);
        Ok(())
    }

    /// Brings what was appended to the disk.
    pub(crate) fn sync<'a>(
        &self,
        writings: impl IntoIterator<Item = &'a mut Writing>,
    ) -> Result<(), RecorderError> {
        let mut dirty: Vec<_> = writings.into_iter().filter(|writing| writing.dirty).collect();
        let synced = at_once(&dirty, |writing| writing.file.sync_data());
        let mut failed = None;
        for (writing, synced) in dirty.iter_mut().zip(synced) {
            match synced {
                Ok(()) => writing.dirty = false,
                Err(source) => {
                    failed.get_or_insert(error(&self.root.join(&writing.path), source));
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Finishes a file: nothing is appended any more.
    pub(crate) fn finish(&mut self, mut writing: Writing) -> FileHashes {
        if let Err(error) = writing.mend() {
            tracing::error!(path = writing.path, %error, "a half-written append cannot be taken back");
        }
        let hashes = writing.hasher.finish();
        self.finished.insert(writing.path.clone(), hashes);
        if writing.dirty {
            self.unsynced.push((writing.path, writing.file));
        }
        hashes
    }

    /// Writes a whole file, or leaves none.
    pub(crate) fn write(&mut self, path: &str, bytes: &[u8]) -> Result<FileHashes, RecorderError> {
        let writing = self.begin(path)?;
        self.fill(writing, bytes)
    }

    fn fill(&mut self, mut writing: Writing, bytes: &[u8]) -> Result<FileHashes, RecorderError> {
        if let Err(error) = self.append(&mut writing, bytes) {
            // The journal will not speak of it, and what it does not speak of looks added.
            self.remove(&writing.path)?;
            return Err(error);
        }
        Ok(self.finish(writing))
    }

    /// Takes away a file that nothing speaks of yet, if it is there.
    pub(crate) fn remove(&mut self, path: &str) -> Result<(), RecorderError> {
        let full = self.root.join(path);
        match fs::remove_file(&full) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(error(&full, source)),
            _ => {}
        }
        self.finished.remove(path);
        self.unsynced.retain(|(unsynced, _)| unsynced != path);
        Ok(())
    }

    /// Brings finished files and new folder entries to the disk. What fails is tried again the next time.
    pub(crate) fn sync_finished(&mut self) -> Result<(), RecorderError> {
        let mut failed = None;
        let synced = at_once(&self.unsynced, |(_, file)| file.sync_data());
        self.unsynced = mem::take(&mut self.unsynced)
            .into_iter()
            .zip(synced)
            .filter_map(|((path, file), synced)| {
                let source = synced.err()?;
                failed.get_or_insert(error(&self.root.join(&path), source));
                Some((path, file))
            })
            .collect();
        let folders: Vec<_> = mem::take(&mut self.new_entries).into_iter().collect();
        let synced = at_once(&folders, |folder| File::open(folder).and_then(|file| file.sync_all()));
        for (folder, synced) in folders.into_iter().zip(synced) {
            if let Err(source) = synced {
                failed.get_or_insert(error(&folder, source));
                self.new_entries.insert(folder);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Takes away folders that were made for files that could not be written.
    pub(crate) fn remove_empty_folders(&mut self) -> Result<(), RecorderError> {
        remove_empty_below(&self.root)?;
        self.new_entries.retain(|folder| folder.exists());
        Ok(())
    }
}

/// Does this for each, for a few at the same time. The results are in the order of the items.
fn at_once<T: Sync>(items: &[T], sync: impl Fn(&T) -> io::Result<()> + Sync) -> Vec<io::Result<()>> {
    let all = |items: &[T]| items.iter().map(&sync).collect::<Vec<_>>();
    let mut shares = items.chunks(items.len().div_ceil(SYNCS_AT_ONCE).max(1));
    let here = shares.next().unwrap_or_default();
    thread::scope(|scope| {
        let elsewhere: Vec<_> =
            shares.map(|share| (share, thread::Builder::new().spawn_scoped(scope, || all(share)))).collect();
        let mut results = all(here);
        for (share, thread) in elsewhere {
            let result = thread.ok().and_then(|thread| thread.join().ok());
            // Without a thread it is done here.
            results.extend(result.unwrap_or_else(|| all(share)));
        }
        results
    })
}

fn remove_empty_below(folder: &Path) -> Result<(), RecorderError> {
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    for entry in entries.map_err(|source| error(folder, source))? {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let path = entry.path();
            remove_empty_below(&path)?;
            match fs::remove_dir(&path) {
                Err(source) if source.kind() != io::ErrorKind::DirectoryNotEmpty => {
                    return Err(error(&path, source));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

fn make_folder(path: &Path) -> Result<(), RecorderError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|source| error(path, source))
}

pub(crate) fn error(path: &Path, source: io::Error) -> RecorderError {
    RecorderError::File { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, Folder) {
        let temporary = tempfile::tempdir().expect("folder");
        let folder = Folder::create(temporary.path().join("package")).expect("made");
        (temporary, folder)
    }

    /// A file that takes nothing.
    fn read_only(folder: &Folder, path: &str) -> Writing {
        let full = folder.root().join(path);
        fs::write(&full, "").expect("written");
        let file = File::open(full).expect("opened");
        Writing { path: path.to_owned(), file, hasher: FileHasher::default(), dirty: true, torn: false }
    }

    #[test]
    fn a_file_that_could_not_be_written_is_not_left_behind() {
        let (_temporary, mut folder) = folder();
        let writing = read_only(&folder, "a");
        assert!(folder.fill(writing, b"x").is_err());
        assert!(!folder.root().join("a").exists() && folder.finished().is_empty());
        folder.write("a", b"x").expect("written the second time");
        assert_eq!(fs::read(folder.root().join("a")).expect("file"), b"x");
    }

    #[test]
    fn a_torn_append_is_taken_back_before_the_next() {
        let (_temporary, mut folder) = folder();
        let mut writing = folder.begin("a").expect("begun");
        folder.append(&mut writing, b"whole").expect("appended");
        // As a failed append leaves it, when the file could not even be cut.
        writing.file.write_all(b"ha").expect("written");
        writing.torn = true;
        folder.append(&mut writing, b" and whole").expect("appended");
        let hashes = folder.finish(writing);
        let bytes = fs::read(folder.root().join("a")).expect("file");
        assert_eq!((bytes.as_slice(), hashes.bytes), (&b"whole and whole"[..], 15));
    }

    #[test]
    fn what_could_not_be_brought_to_the_disk_is_tried_again() {
        let (_temporary, mut folder) = folder();
        folder.write("b", b"x").expect("written");
        // A device has nothing to bring to a disk.
        folder.unsynced.insert(0, ("a".into(), File::open("/dev/null").expect("opened")));
        folder.write("c", b"x").expect("written");
        assert!(folder.sync_finished().is_err());
        let left: Vec<&str> = folder.unsynced.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(left, ["a"], "the others are on the disk");
        assert!(folder.sync_finished().is_err(), "and it is not forgotten");
    }

    #[test]
    fn folders_of_files_that_never_were_go_away() {
        let (_temporary, mut folder) = folder();
        fs::create_dir_all(folder.root().join("data/a/b")).expect("made");
        folder.write("data/c/d", b"x").expect("written");
        folder.remove_empty_folders().expect("removed");
        assert!(!folder.root().join("data/a").exists() && folder.root().join("data/c/d").exists());
    }
}
