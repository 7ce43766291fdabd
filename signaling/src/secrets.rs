//! Keys on disk: made at the first start, readable by the server's user alone.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use ring::rand::{SecureRandom, SystemRandom};

/// Where things lie in the storage folder.
pub struct Folder(PathBuf);

/// The folder is one server's until this is dropped.
pub struct Lock(File);

impl Drop for Lock {
    /// Closing the file would not do: a program that is being started holds a copy of it until its `exec`, and the
    /// lock with it (flock(2)). Said, it ends for every copy.
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

impl Folder {
    /// Opens the storage folder, makes it when there is none, and closes it to others.
    pub fn open(path: &Path) -> anyhow::Result<Folder> {
        private_folder(path)
            .and_then(|()| private_folder(&path.join("keys")))
            .with_context(|| format!("cannot use {} (storage.folder)", path.display()))?;
        Ok(Folder(path.to_owned()))
    }

    /// Takes the folder for one server as long as the lock is held: two would spoil each other's recordings.
    pub fn lock(&self) -> anyhow::Result<Lock> {
        if self.0.join(crate::backup::UNFINISHED).exists() {
            bail!("{} was not restored to its end: empty it and run hewei restore again", self.0.display());
        }
        let path = self.0.join("lock");
        let open = OpenOptions::new().append(true).create(true).mode(0o600).open(&path);
        let file = open.with_context(|| format!("{}", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Lock(file)),
            Err(TryLockError::WouldBlock) => {
                bail!(
                    "another Hewei server uses {} (storage.folder); give this one its own",
                    self.0.display()
                )
            }
            Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("{}", path.display())),
        }
    }

    /// The database: a file that is there, if empty, and closed to others. (SQLite gives the files beside it the
    /// same rights.)
    pub fn database(&self) -> anyhow::Result<PathBuf> {
        let path = self.0.join("hewei.sqlite");
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("{}", path.display()))?;
        Ok(path)
    }

    /// The recorder's key and certificates.
    pub fn recorder(&self) -> PathBuf {
        self.0.join("keys").join("recorder")
    }

    /// Certificates of HTTPS.
    pub fn tls(&self) -> PathBuf {
        self.0.join("keys").join("https")
    }

    /// The key that signs tokens.
    pub fn token_key(&self) -> anyhow::Result<[u8; 32]> {
        self.key("token.key")
    }

    /// The key that seals camera credentials in the database.
    pub fn camera_key(&self) -> anyhow::Result<[u8; 32]> {
        self.key("camera.key")
    }

    fn key(&self, name: &str) -> anyhow::Result<[u8; 32]> {
        let path = self.0.join("keys").join(name);
        let what = || format!("the key {}", path.display());
        if let Err(error) = make_key(&path) {
            // Another process may have made it first.
            if error.kind() != io::ErrorKind::AlreadyExists {
                return Err(error).with_context(what);
            }
        }
        let bytes = fs::read(&path).with_context(what)?;
        bytes
            .try_into()
            .map_err(|_| anyhow::anyhow!("{} does not have 32 bytes; restore it from a copy", what()))
    }
}

/// Makes a folder, with those above it, that its owner alone may enter.
pub fn private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o700))
}

/// Writes a file that its owner alone may read, all of it or none.
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let unfinished = PathBuf::from(name);
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)
}

fn make_key(path: &Path) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    let mut key = [0; 32];
    SystemRandom::new().fill(&mut key).map_err(|_| io::Error::other("the system gives no randomness"))?;
    // Whole under another name first, then linked in: nobody ever reads half a key, and of two processes that
    // make it at once one wins.
    let unfinished = path.with_extension(format!("key.{}", std::process::id()));
    write_private(&unfinished, &key)?;
    let linked = fs::hard_link(&unfinished, path);
    fs::remove_file(&unfinished)?;
    linked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stay_the_same_and_are_closed_to_others() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a/b");
        let first = Folder::open(&path).expect("opens");
        let key = first.token_key().expect("makes a key");
        assert_eq!(Folder::open(&path).expect("opens").token_key().expect("reads it"), key);
        assert_ne!(first.camera_key().expect("another"), key);
        let mode = |path: &Path| fs::metadata(path).expect("is there").permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&path.join("keys/token.key")), 0o600);
        fs::write(path.join("keys/token.key"), b"short").expect("writes");
        assert!(first.token_key().is_err(), "a damaged key is never replaced");
    }

    #[test]
    fn the_folder_is_free_when_the_lock_is_dropped_though_a_starting_program_has_a_copy_of_its_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = Folder::open(folder.path()).expect("opens");
        let lock = folder.lock().expect("free");
        assert!(folder.lock().is_err(), "one server's");
        let copy = lock.0.try_clone().expect("a copy, as fork makes");
        drop(lock);
        folder.lock().expect("free again");
        drop(copy);
    }
}
