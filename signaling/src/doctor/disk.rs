//! Space and speed of the disks under the storage folder and the recordings.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::sys::statvfs::statvfs;

use super::{
    context::{Context, test_folder},
    report::{Check, Finding, words},
};

/// A session of four people with pictures of 1.2 Mbit/s and sound, for the forecast.
const BYTES_AN_HOUR: u64 = 2_500_000_000;
/// Below this it is time to make room.
const FREE_HOURS_GOOD: u64 = 10;
const FREE_FILES_GOOD: u64 = 100_000;

/// How long the disk is written to.
const TRIAL: Duration = Duration::from_secs(2);
/// At least these many, also when the disk is slow.
const TRIAL_ROUNDS_MIN: usize = 3;
/// Tracks of the trial's session: four people's pictures and sound.
const TRACKS: usize = 8;
/// Of a picture's second, and a sound's second.
const FRAGMENT_BYTES: [usize; 2] = [150_000, 8_000];
const JOURNAL_LINE_BYTES: usize = 300;
/// Each track and the journal are brought to the disk once a second, one after the other. A round that takes longer
/// than the second cannot be kept up.
const ROUND_MAX: Duration = Duration::from_secs(1);
const ROUND_GOOD: Duration = Duration::from_millis(500);

/// One of the folders, and the disk under it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Facts {
    /// The setting that names it.
    setting: &'static str,
    folder: PathBuf,
    /// With less than this no recording begins (`recording.reserve_mb`).
    reserve_bytes: u64,
    outcome: Result<Measured, String>,
}

#[derive(Debug, Clone, PartialEq)]
struct Measured {
    free_bytes: u64,
    free_files: u64,
    written: Result<Speed, Refused>,
}

/// How long fdatasync took in the recorder's own pattern.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Speed {
    p50: Duration,
    p99: Duration,
    /// The median second of a session.
    round: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refused {
    Full,
    NotAllowed,
    ReadOnly,
    Other(io::ErrorKind),
}

/// Looks at both folders; one after the other, since they may be on one disk.
pub(super) async fn check(context: &Context) -> Vec<Finding> {
    let mut folders = vec![("storage.folder", context.config.storage.folder.clone())];
    let recordings = context.config.recordings_folder();
    if !recordings.starts_with(&context.config.storage.folder) {
        folders.push(("recording.folder", recordings));
    }
    let reserve_bytes = context.config.recording.reserve_bytes();
    let gathered = tokio::task::spawn_blocking(move || {
        folders
            .into_iter()
            .map(|(setting, folder)| gather(setting, folder, reserve_bytes))
            .collect::<Vec<_>>()
    });
    match gathered.await {
        Ok(facts) => facts.iter().flat_map(judge).collect(),
        Err(error) => vec![Finding::skipped(
            Check::Disk,
            words(format!("没有查成:{error}。"), format!("It could not be looked at: {error}.")),
        )],
    }
}

fn gather(setting: &'static str, folder: PathBuf, reserve_bytes: u64) -> Facts {
    let outcome = measure(&folder).map_err(|error| error.to_string());
    Facts { setting, folder, reserve_bytes, outcome }
}

fn measure(folder: &Path) -> io::Result<Measured> {
    let there = folder.ancestors().find(|place| place.is_dir()).unwrap_or(Path::new("."));
    let disk = statvfs(there).map_err(io::Error::from)?;
    Ok(Measured {
        free_bytes: disk.blocks_available() * disk.fragment_size(),
        // Some file systems count no files.
        free_files: if disk.files() == 0 { u64::MAX } else { disk.files_available() },
        written: try_out(folder).map_err(|error| match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Refused::Full,
            io::ErrorKind::PermissionDenied => Refused::NotAllowed,
            io::ErrorKind::ReadOnlyFilesystem => Refused::ReadOnly,
            kind => Refused::Other(kind),
        }),
    })
}

/// Writes as the recorder does: once a second a fragment is appended to each track and brought to the disk, then a
/// line a track to the journal; here without the waiting in between.
fn try_out(folder: &Path) -> io::Result<Speed> {
    let test = test_folder(folder)?;
    let open = |name: String| OpenOptions::new().create_new(true).append(true).open(test.path().join(name));
    let mut tracks =
        (0..TRACKS).map(|track| open(format!("{track}.m4s"))).collect::<io::Result<Vec<File>>>()?;
    let mut journal = open("journal".to_owned())?;
    let fragments = FRAGMENT_BYTES.map(|bytes| vec![0x5a; bytes]);
    let lines = vec![b'x'; JOURNAL_LINE_BYTES * TRACKS];
    let (mut syncs, mut rounds) = (Vec::new(), Vec::new());
    let mut sync = |file: &File| -> io::Result<Duration> {
        let began = Instant::now();
        file.sync_data()?;
        let took = began.elapsed();
        syncs.push(took);
        Ok(took)
    };
    let until = Instant::now() + TRIAL;
    while Instant::now() < until || rounds.len() < TRIAL_ROUNDS_MIN {
        let mut round = Duration::ZERO;
        for (at, track) in tracks.iter_mut().enumerate() {
            track.write_all(&fragments[at % 2])?;
            round += sync(track)?;
        }
        journal.write_all(&lines)?;
        round += sync(&journal)?;
        rounds.push(round);
    }
    Ok(Speed {
        p50: quantile(&mut syncs, 0.5),
        p99: quantile(&mut syncs, 0.99),
        round: quantile(&mut rounds, 0.5),
    })
}

fn quantile(values: &mut [Duration], part: f64) -> Duration {
    values.sort();
    let at = (values.len().saturating_sub(1) as f64 * part).round() as usize;
    values.get(at).copied().unwrap_or_default()
}

fn judge(facts: &Facts) -> Vec<Finding> {
    let Facts { setting, folder, outcome, .. } = facts;
    let folder = folder.display();
    let measured = match outcome {
        Ok(measured) => measured,
        Err(error) => {
            return vec![Finding::wrong(
                Check::Disk,
                words(
                    format!("看不了 {folder}({setting})的磁盘:{error}。"),
                    format!("The disk of {folder} ({setting}) cannot be looked at: {error}."),
                ),
                words(
                    format!("检查 {setting} 指的文件夹,以及磁盘是否挂载。"),
                    format!("See whether the folder of {setting} is right and its disk is mounted."),
                ),
            )];
        }
    };
    vec![space(facts, measured), speed(facts, measured)]
}

fn space(facts: &Facts, measured: &Measured) -> Finding {
    let folder = facts.folder.display();
    let hours = measured.free_bytes / BYTES_AN_HOUR;
    let free = amount(measured.free_bytes);
    let said = words(
        format!("{folder} 剩余 {free},约可再录 {hours} 小时(四人带画面,每小时 2.5 GB)。"),
        format!(
            "{folder} has {free} free, about {hours} hours of recording (four people with pictures, 2.5 GB an hour)."
        ),
    );
    let remedy = || {
        words(
            format!("把已备份的案件包移走,或换大磁盘并改 {};不要删除没有备份的录像。", facts.setting),
            format!(
                "Move away case packages that are backed up, or take a larger disk and change {}; never delete what has no copy.",
                facts.setting
            ),
        )
    };
    if measured.free_bytes < facts.reserve_bytes || measured.written == Err(Refused::Full) {
        return Finding::wrong(
            Check::Disk,
            words(
                format!("磁盘满了:{folder} 只剩 {free},不再开始录制(recording.reserve_mb)。"),
                format!(
                    "The disk is full: {folder} has {free} free, and no recording begins (recording.reserve_mb)."
                ),
            ),
            remedy(),
        );
    }
    if measured.free_files < FREE_FILES_GOOD {
        return Finding::note(
            Check::Disk,
            words(
                format!("{folder} 剩余 {free},但只能再建 {} 个文件(inode)。", measured.free_files),
                format!(
                    "{folder} has {free} free, and room for only {} more files (inodes).",
                    measured.free_files
                ),
            ),
            remedy(),
        );
    }
    match hours < FREE_HOURS_GOOD {
        true => Finding::note(Check::Disk, said, remedy()),
        false => Finding::pass(Check::Disk, said),
    }
}

fn speed(facts: &Facts, measured: &Measured) -> Finding {
    let folder = facts.folder.display();
    let speed = match measured.written {
        Ok(speed) => speed,
        Err(Refused::Full) => {
            return Finding::skipped(
                Check::Disk,
                words("磁盘满,写入速度没有测。", "The disk is full, so its speed was not measured."),
            );
        }
        Err(refused) => return not_written(facts, refused),
    };
    let (p50, p99, round) = (ms(speed.p50), ms(speed.p99), ms(speed.round));
    let said = words(
        format!(
            "{folder} 可写;落盘(fdatasync)中位 {p50} ms,99% 在 {p99} ms 内;每秒的录像落盘共需 {round} ms。"
        ),
        format!(
            "{folder} can be written; fdatasync takes {p50} ms at the median and {p99} ms at p99; a second of a session takes {round} ms in all."
        ),
    );
    let remedy = words(
        format!("换成本机 SSD 并改 {};网络盘和虚拟机的稀疏盘常常太慢。", facts.setting),
        format!(
            "Take a local SSD and change {}; network disks and sparse virtual disks are often too slow.",
            facts.setting
        ),
    );
    match speed.round {
        round if round > ROUND_MAX => Finding::wrong(Check::Disk, said, remedy),
        round if round > ROUND_GOOD => Finding::note(Check::Disk, said, remedy),
        _ => Finding::pass(Check::Disk, said),
    }
}

fn not_written(facts: &Facts, refused: Refused) -> Finding {
    let folder = facts.folder.display();
    let (said, remedy) = match refused {
        Refused::ReadOnly => (
            words(format!("{folder} 所在磁盘是只读的。"), format!("The disk of {folder} is read-only.")),
            words(
                "看 dmesg:出错的磁盘会变成只读。换盘或修好后重新挂载。",
                "See dmesg: a disk with errors turns read-only. Replace or repair it and mount it again.",
            ),
        ),
        Refused::NotAllowed => (
            words(
                format!("体检的用户不能写 {folder}。"),
                format!("The doctor's user may not write to {folder}."),
            ),
            words(
                format!("用服务器的用户运行体检;若它就是,运行 chown -R 用户 {folder}"),
                format!("Run the doctor as the server's user; if it is, run chown -R USER {folder}"),
            ),
        ),
        Refused::Full | Refused::Other(_) => {
            let kind = match refused {
                Refused::Other(kind) => kind,
                _ => io::ErrorKind::StorageFull,
            };
            (
                words(format!("不能写 {folder}:{kind}。"), format!("{folder} cannot be written to: {kind}.")),
                words(
                    format!("检查 {} 指的文件夹和它的磁盘。", facts.setting),
                    format!("See to the folder of {} and its disk.", facts.setting),
                ),
            )
        }
    };
    Finding::wrong(Check::Disk, said, remedy)
}

fn ms(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64() * 1_000.0)
}

fn amount(bytes: u64) -> String {
    match bytes {
        ..1_000_000_000 => format!("{} MB", bytes / 1_000_000),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::report::Verdict, *};

    fn facts(free_bytes: u64, written: Result<Speed, Refused>) -> Facts {
        let measured = Measured { free_bytes, free_files: 1_000_000, written };
        let outcome = Ok(measured);
        Facts { setting: "storage.folder", folder: "/srv/hewei".into(), reserve_bytes: 500_000_000, outcome }
    }

    fn speed(each_ms: u64) -> Speed {
        let each = Duration::from_millis(each_ms);
        Speed { p50: each, p99: each * 2, round: each * (TRACKS as u32 + 1) }
    }

    fn verdicts(facts: &Facts) -> Vec<Verdict> {
        judge(facts).into_iter().map(|finding| finding.verdict).collect()
    }

    #[test]
    fn room_and_speed_pass() {
        assert_eq!(verdicts(&facts(100_000_000_000, Ok(speed(3)))), [Verdict::Pass, Verdict::Pass]);
    }

    #[test]
    fn a_full_or_nearly_full_disk_is_told() {
        let full = judge(&facts(100_000_000, Ok(speed(3))));
        assert!(matches!(&full[0].verdict, Verdict::Wrong(remedy) if remedy.en.contains("storage.folder")));
        // A quota shows only when one writes.
        let quota = verdicts(&facts(100_000_000_000, Err(Refused::Full)));
        assert!(matches!(quota[..], [Verdict::Wrong(_), Verdict::Skipped]));
        assert!(matches!(verdicts(&facts(20_000_000_000, Ok(speed(3))))[0], Verdict::Note(_)));
    }

    #[test]
    fn a_disk_that_cannot_keep_up_is_told() {
        assert!(matches!(verdicts(&facts(u64::MAX, Ok(speed(70))))[1], Verdict::Note(_)));
        assert!(matches!(verdicts(&facts(u64::MAX, Ok(speed(150))))[1], Verdict::Wrong(_)));
        for refused in [Refused::ReadOnly, Refused::NotAllowed, Refused::Other(io::ErrorKind::Other)] {
            assert!(matches!(verdicts(&facts(u64::MAX, Err(refused)))[1], Verdict::Wrong(_)));
        }
    }

    #[test]
    fn a_trial_leaves_nothing_behind() {
        let folder = tempfile::tempdir().expect("a folder");
        let facts = gather("storage.folder", folder.path().join("not/yet/there"), 0);
        let measured = facts.outcome.expect("measured");
        assert!(measured.written.expect("written").p50 > Duration::ZERO);
        assert_eq!(std::fs::read_dir(folder.path()).expect("listed").count(), 0);
    }

    #[test]
    fn quantiles() {
        let mut values: Vec<Duration> = (0..=100).rev().map(Duration::from_millis).collect();
        assert_eq!(quantile(&mut values, 0.5), Duration::from_millis(50));
        assert_eq!(quantile(&mut values, 0.99), Duration::from_millis(99));
        assert_eq!(quantile(&mut [], 0.5), Duration::ZERO);
    }
}
