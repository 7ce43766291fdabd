//! How the server is doing: space for recordings and how long it lasts, the clock, and how recordings ended.
//!
//! Facts are gathered here and judged by the pure functions of this file. Called by `GET /api/v1/health` and, for the
//! space that is left, by whoever starts or goes on with a recording.

mod clock;

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use hewei_api::health as api;
use hewei_model::RecordingId;
use hewei_store::{Endings, SealedPackage};
use time::OffsetDateTime;
use tokio::sync::Mutex;

pub use self::clock::{ClockWatch, clock};
use crate::{config::Config, problem::Problem, state::App, wire};

/// What has been recorded in this time says how much is going to be.
const WINDOW: time::Duration = time::Duration::days(30);
/// Whoever may ask may ask often.
const AGE_MAX: Duration = Duration::from_secs(5);
/// Three people at 1.2 Mbit/s of pictures and 40 kbit/s of sound each, for an hour.
const ASSUMED_BYTES_PER_HOUR: u64 = 3 * (1_200_000 + 40_000) / 8 * 3_600;
/// Nobody plans further ahead.
const FORECAST_MAX: time::Duration = time::Duration::days(3_650);

/// Space on a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Its size in bytes.
    pub total_bytes: u64,
    /// What this user may still write, in bytes.
    pub free_bytes: u64,
}

/// The space where `folder` is, or is going to be made.
pub fn space(folder: &Path) -> io::Result<Space> {
    // The folder of recordings is made with the first of them.
    let mut there = folder;
    while !there.exists() {
        there = match there.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
    }
    let stat = nix::sys::statvfs::statvfs(there)?;
    let unit = stat.fragment_size();
    Ok(Space { total_bytes: unit * stat.blocks(), free_bytes: unit * stat.blocks_available() })
}

/// Says why there is too little space to start a recording in `folder`, if there is. A system that does not tell is no
/// reason against it.
pub fn too_little_space(folder: &Path, reserve_bytes: u64) -> Option<String> {
    let free_bytes = space(folder).ok()?.free_bytes;
    (free_bytes < reserve_bytes).then(|| {
        format!(
            "the disk of {} has {} MB left and {} MB are needed (recording.reserve_mb): make room on it",
            folder.display(),
            free_bytes / 1_000_000,
            reserve_bytes / 1_000_000
        )
    })
}

/// The answers of the last seconds, and the sizes of packages, which never change.
#[derive(Default)]
pub struct Health(Mutex<Known>);

#[derive(Default)]
struct Known {
    answer: Option<(Instant, api::Health)>,
    sizes: HashMap<RecordingId, u64>,
}

impl Health {
    /// How the server is doing, as of a few seconds ago at most.
    pub async fn get(&self, app: &App) -> Result<api::Health, Problem> {
        // Held all the while: whoever comes meanwhile gets the same answer.
        let mut known = self.0.lock().await;
        if let Some((at, answer)) = &known.answer
            && at.elapsed() < AGE_MAX
        {
            return Ok(answer.clone());
        }
        let now = OffsetDateTime::now_utc();
        let since = now - WINDOW;
        let endings = app.store.endings_since(since).await?;
        let packages = app.store.sealed_since(since).await?;
        let sizes = std::mem::take(&mut known.sizes);
        let config = app.config.clone();
        let gathered = tokio::task::spawn_blocking(move || {
            let folder = config.recordings_folder();
            let (sizes, used) = measure(&config, &packages, sizes);
            (space(&folder), clock(), sizes, used)
        });
        let (space, clock, sizes, used) = gathered.await.map_err(|error| Problem::internal(&error))?;
        known.sizes = sizes;
        let reserve_bytes = app.config.recording.reserve_bytes();
        let answer = api::Health {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: wire::rfc3339(app.started_at),
            disk: space.ok().map(|space| disk(space, reserve_bytes, &used, now)),
            clock,
            recordings: recordings(endings),
        };
        known.answer = Some((Instant::now(), answer.clone()));
        Ok(answer)
    }
}

/// What was recorded lately.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Used {
    bytes: u64,
    time: time::Duration,
    /// When the first of it began.
    first: Option<OffsetDateTime>,
}

/// Adds up the packages. Of those that are no longer there nothing is known.
fn measure(
    config: &Config,
    packages: &[SealedPackage],
    mut known: HashMap<RecordingId, u64>,
) -> (HashMap<RecordingId, u64>, Used) {
    let mut sizes = HashMap::with_capacity(packages.len());
    let mut used = Used::default();
    for sealed in packages {
        let size = known.remove(&sealed.id).or_else(|| media_bytes(&config.package(&sealed.package)));
        let Some(bytes) = size else { continue };
        sizes.insert(sealed.id, bytes);
        used.bytes += bytes;
        used.time += (sealed.ended_at - sealed.started_at).max(time::Duration::ZERO);
        used.first = Some(used.first.map_or(sealed.started_at, |first| first.min(sealed.started_at)));
    }
    (sizes, used)
}

/// The bytes of a package's tracks, from its journal: all but some percent of it, without a look at each of its
/// thousands of files.
fn media_bytes(package: &Path) -> Option<u64> {
    let tracks = hewei_recorder::package::tracks(package).ok()?;
    Some(tracks.iter().map(|track| track.bytes).sum())
}

fn disk(space: Space, reserve_bytes: u64, used: &Used, now: OffsetDateTime) -> api::DiskHealth {
    let hours_recorded = used.time.as_seconds_f64() / 3_600.0;
    // Of a few minutes nothing can be told.
    let measured = hours_recorded >= 0.5 && used.bytes > 0;
    let bytes_per_hour =
        if measured { (used.bytes as f64 / hours_recorded) as u64 } else { ASSUMED_BYTES_PER_HOUR }.max(1);
    let usable = space.free_bytes.saturating_sub(reserve_bytes);
    let hours_left = usable as f64 / bytes_per_hour as f64;
    let lasts_until = used.first.filter(|_| hours_recorded > 0.0).and_then(|first| {
        // A server of three days has used in three days what it used.
        let days = (now - first).as_seconds_f64() / 86_400.0;
        let hours_a_day = hours_recorded / days.clamp(1.0, 30.0);
        let left = time::Duration::checked_seconds_f64(hours_left / hours_a_day * 86_400.0)?;
        (left <= FORECAST_MAX).then(|| wire::rfc3339(now + left))
    });
    api::DiskHealth {
        total_bytes: space.total_bytes,
        free_bytes: space.free_bytes,
        reserve_bytes,
        may_record: space.free_bytes >= reserve_bytes,
        bytes_per_hour,
        measured,
        hours_left,
        hours_recorded,
        lasts_until,
    }
}

fn recordings(Endings { sealed, impaired, failed }: Endings) -> api::RecordingsHealth {
    api::RecordingsHealth { sealed, impaired, failed }
}

impl Config {
    /// Where a package lies whose folder the database gives: there, or, when the storage folder was moved or restored
    /// from a backup, under the same name in the folder of recordings.
    pub fn package(&self, given: &str) -> PathBuf {
        let given = PathBuf::from(given);
        match given.file_name() {
            Some(name) if !given.is_absolute() || !given.is_dir() => {
                let moved = self.recordings_folder().join(name);
                if given.is_dir() && !moved.is_dir() { given } else { moved }
            }
            _ => given,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GB: u64 = 1_000_000_000;

    fn used(bytes: u64, hours: i64, first: OffsetDateTime) -> Used {
        Used { bytes, time: time::Duration::hours(hours), first: Some(first) }
    }

    #[test]
    fn space_of_a_folder_that_is_not_there_yet_is_that_of_the_one_above() {
        let folder = tempfile::tempdir().expect("a folder");
        let below = space(&folder.path().join("a/b")).expect("tells");
        assert_eq!(below.total_bytes, space(folder.path()).expect("tells").total_bytes);
        assert!(below.total_bytes > 0 && below.free_bytes <= below.total_bytes);
        assert!(space(Path::new("not-there")).is_ok(), "of this folder");
        assert_eq!(too_little_space(folder.path(), 0), None);
        let words = too_little_space(folder.path(), u64::MAX).expect("too little");
        assert!(words.contains("recording.reserve_mb"), "{words}");
    }

    #[test]
    fn the_forecast_goes_on_with_what_was_used() {
        let now = OffsetDateTime::from_unix_timestamp(1_800_000_000).expect("a time");
        let space = Space { total_bytes: 100 * GB, free_bytes: 60 * GB };
        // Two GB an hour, two hours a day.
        let disk = disk(space, 20 * GB, &used(40 * GB, 20, now - time::Duration::days(10)), now);
        assert!(disk.measured && disk.may_record);
        assert_eq!((disk.bytes_per_hour, disk.hours_left, disk.hours_recorded), (2 * GB, 20.0, 20.0));
        assert_eq!(disk.lasts_until, Some(wire::rfc3339(now + time::Duration::days(10))));
    }

    #[test]
    fn a_new_server_says_that_it_assumes() {
        let now = OffsetDateTime::from_unix_timestamp(1_800_000_000).expect("a time");
        let space = Space { total_bytes: 100 * GB, free_bytes: 60 * GB };
        let new = disk(space, GB, &Used::default(), now);
        assert!(!new.measured && new.lasts_until.is_none());
        assert_eq!(new.bytes_per_hour, 1_674_000_000);
        let full = disk(Space { free_bytes: GB / 2, ..space }, GB, &Used::default(), now);
        assert!(!full.may_record);
        assert_eq!(full.hours_left, 0.0);
        // Nothing but an empty session of a day ago, and more room than anybody plans for.
        let idle = Used { bytes: 0, time: time::Duration::SECOND, first: Some(now - time::Duration::DAY) };
        assert_eq!(disk(space, GB, &idle, now).lasts_until, None);
    }

    #[test]
    fn a_package_is_found_where_the_storage_folder_was_moved_to() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = Config::default();
        config.storage.folder = folder.path().join("data");
        let (old, new) = (folder.path().join("old/recordings/a"), folder.path().join("data/recordings/a"));
        let given = old.to_str().expect("UTF-8");
        assert_eq!(config.package(given), new, "neither is there");
        std::fs::create_dir_all(&new).expect("makes it");
        assert_eq!(config.package(given), new);
        assert_eq!(config.package("a"), new);
        std::fs::create_dir_all(&old).expect("makes it");
        assert_eq!(config.package(given), old, "it did not move");
    }
}
