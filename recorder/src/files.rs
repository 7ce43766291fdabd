//! Files of a package under construction: each is written once, from its beginning to its end, hashed on the way
//! and brought to the disk before the journal speaks of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Seek, SeekFrom, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use hewei_evidence::hash::{FileHasher, FileHashes};

use crate::RecorderError;

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
}

impl Writing {
    /// How many bytes it has.
    pub(crate) fn bytes(&self) -> u64 {
        self.hasher.finish().bytes
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
        Ok(Writing { path: path.to_owned(), file, hasher: FileHasher::default(), dirty: true })
    }

    /// Appends to a file: all of `bytes`, or nothing.
    pub(crate) fn append(&self, writing: &mut Writing, bytes: &[u8]) -> Result<(), RecorderError> {
        writing.dirty = true;
        if let Err(source) = writing.file.write_all(bytes) {
            // What was written of it must not stand before the next append.
            let before = writing.bytes();
            let cut = writing.file.set_len(before).and_then(|()| writing.file.seek(SeekFrom::Start(before)));
            if let Err(error) = cut {
                tracing::error!(path = writing.path, %error, "a half-written append cannot be taken back");
            }
            return Err(error(&self.root.join(&writing.path), source));
        }
        writing.hasher.update(bytes);
        Ok(())
    }

    /// Brings what was appended to the disk.
    pub(crate) fn sync(&self, writing: &mut Writing) -> Result<(), RecorderError> {
        if writing.dirty {
            writing.file.sync_data().map_err(|source| error(&self.root.join(&writing.path), source))?;
            writing.dirty = false;
        }
        Ok(())
    }

    /// Finishes a file: nothing is appended any more.
    pub(crate) fn finish(&mut self, writing: Writing) -> FileHashes {
        let hashes = writing.hasher.finish();
        self.finished.insert(writing.path.clone(), hashes);
        if writing.dirty {
            self.unsynced.push((writing.path, writing.file));
        }
        hashes
    }

    /// Writes a whole file.
    pub(crate) fn write(&mut self, path: &str, bytes: &[u8]) -> Result<FileHashes, RecorderError> {
        let mut writing = self.begin(path)?;
        self.append(&mut writing, bytes)?;
        Ok(self.finish(writing))
    }

    /// Brings finished files and new folder entries to the disk.
    pub(crate) fn sync_finished(&mut self) -> Result<(), RecorderError> {
        for (path, file) in self.unsynced.drain(..) {
            file.sync_data().map_err(|source| error(&self.root.join(path), source))?;
        }
        while let Some(folder) = self.new_entries.pop_first() {
            File::open(&folder).and_then(|file| file.sync_all()).map_err(|source| error(&folder, source))?;
        }
        Ok(())
    }
}

fn make_folder(path: &Path) -> Result<(), RecorderError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|source| error(path, source))
}

pub(crate) fn error(path: &Path, source: io::Error) -> RecorderError {
    RecorderError::File { path: path.to_owned(), source }
}
