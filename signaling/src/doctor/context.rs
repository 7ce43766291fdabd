//! What all checks stand on: the settings, whether the server runs, and where test folders may be made.

use std::{
    fs::{self, File, Permissions, TryLockError},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Instant,
};

use time::OffsetDateTime;

use crate::config::Config;

/// The installation that is looked at.
pub(super) struct Context {
    pub(super) config: Config,
    /// The file of settings, if one was given.
    pub(super) file: Option<PathBuf>,
    /// The server that uses the storage folder just now.
    pub(super) server: Option<RunningServer>,
    /// Both clocks at the beginning.
    pub(super) began: (OffsetDateTime, Instant),
}

/// A server that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RunningServer {
    /// Its process, where the system tells.
    pub(super) pid: Option<u32>,
}

impl Context {
    pub(super) fn new(config: Config, file: Option<PathBuf>) -> io::Result<Self> {
        let server = running(&config.storage.folder)?;
        Ok(Self { config, file, server, began: (OffsetDateTime::now_utc(), Instant::now()) })
    }

    /// Where the database is, or will be.
    pub(super) fn database(&self) -> PathBuf {
        self.config.storage.folder.join("hewei.sqlite")
    }

    /// A key of the storage folder, when it is there and whole.
    pub(super) fn key(&self, name: &str) -> Option<[u8; 32]> {
        fs::read(self.config.storage.folder.join("keys").join(name)).ok()?.try_into().ok()
    }
}

/// A folder for a test beside what it stands for: in `folder`, or in the nearest folder above it that is there. Goes
/// away with the value.
pub(super) fn test_folder(folder: &Path) -> io::Result<tempfile::TempDir> {
    let mut place = folder;
    while !place.is_dir() {
        match place.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => place = parent,
            _ => {
                place = Path::new(".");
                break;
            }
        }
    }
    tempfile::Builder::new().prefix(".doctor-").permissions(Permissions::from_mode(0o700)).tempdir_in(place)
}

/// The server that holds the lock of a storage folder. Makes nothing.
fn running(storage: &Path) -> io::Result<Option<RunningServer>> {
    // A folder or lock that cannot be opened is a matter of the settings' check.
    let Ok(lock) = File::open(storage.join("lock")) else { return Ok(None) };
    // Shared and let go at once: a server that starts in this very moment is the only one that could mind.
    match lock.try_lock_shared() {
        Ok(()) => {
            lock.unlock()?;
            Ok(None)
        }
        Err(TryLockError::WouldBlock) => {
            let inode = lock.metadata()?.ino();
            let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
            Ok(Some(RunningServer { pid: holder(&locks, inode) }))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Who holds a whole-file lock (`flock`), as `/proc/locks` lists them:
/// `1: FLOCK  ADVISORY  WRITE 4242 fe:00:1310727 0 EOF`.
fn holder(locks: &str, inode: u64) -> Option<u32> {
    locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, "FLOCK", _, "WRITE", pid, file, ..] = fields.as_slice() else { return None };
        let same = file.rsplit(':').next()?.parse() == Ok(inode);
        // 0: a process that this one cannot see, outside of its container.
        pid.parse().ok().filter(|pid| same && *pid != 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_lock_is_found() {
        let locks = "1: POSIX  ADVISORY  WRITE 11 fe:00:1310727 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 4242 fe:00:1310727 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 4243 fe:00:1310727 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 0 fe:00:99 0 EOF\n";
        assert_eq!(holder(locks, 1_310_727), Some(4_242));
        assert_eq!(holder(locks, 99), None, "a process outside of this container");
        assert_eq!(holder(locks, 5), None);
    }

    #[test]
    fn a_server_is_running_while_it_holds_its_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(running(folder.path()).expect("looks"), None);
        assert!(!folder.path().join("lock").exists(), "nothing is made");
        let storage = crate::secrets::Folder::open(folder.path()).expect("opens");
        let lock = storage.lock().expect("free");
        let server = running(folder.path()).expect("looks").expect("it runs");
        assert_eq!(server.pid, Some(std::process::id()));
        drop(lock);
        assert_eq!(running(folder.path()).expect("looks"), None);
        storage.lock().expect("the look holds nothing");
    }

    #[test]
    fn a_test_folder_is_where_the_folder_will_be() {
        let folder = tempfile::tempdir().expect("a folder");
        let test = test_folder(&folder.path().join("a/b")).expect("made");
        assert_eq!(test.path().parent(), Some(folder.path()));
        let path = test.path().to_owned();
        drop(test);
        assert!(!path.exists());
    }
}
