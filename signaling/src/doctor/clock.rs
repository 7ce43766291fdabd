//! The clock: what is recorded is only as good as its time.

use std::{fs, path::Path, time::Instant};

use hewei_api::health::ClockState;
use time::{OffsetDateTime, UtcOffset, macros::format_description};

use super::{
    context::Context,
    database,
    report::{Check, Finding, words},
};
use crate::health;

/// Below this a difference to what was written down is the time between two looks.
const AHEAD_MAX: time::Duration = time::Duration::seconds(5);
/// More than this between the two clocks while the doctor runs is a step, no slewing.
const STEP_MAX: time::Duration = time::Duration::milliseconds(500);

/// What is known of the clock.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    utc: OffsetDateTime,
    /// How much further UTC went than the monotonic clock since the doctor began.
    step: time::Duration,
    /// `None`: the system does not tell.
    synchronised: Option<bool>,
    built_at: OffsetDateTime,
    /// The newest moment that something here speaks of, and what that is.
    newest: Option<(OffsetDateTime, Evidence)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Evidence {
    Database,
    Package,
}

pub(super) async fn gather(context: &Context) -> Facts {
    let from_database = match database::open(context).await {
        Some(Ok(store)) => {
            let newest = store.newest_moment().await.ok().flatten();
            store.close().await;
            newest.map(|at| (at, Evidence::Database))
        }
        _ => None,
    };
    let from_packages = newest_package(&context.config.recordings_folder()).map(|at| (at, Evidence::Package));
    let synchronised = match health::clock().state {
        ClockState::Synchronised => Some(true),
        ClockState::Unsynchronised => Some(false),
        ClockState::Unknown => None,
    };
    let (began_utc, began) = context.began;
    let (utc, elapsed) = (OffsetDateTime::now_utc(), Instant::now() - began);
    Facts {
        utc,
        step: (utc - began_utc) - time::Duration::try_from(elapsed).unwrap_or_default(),
        synchronised,
        built_at: built_at(),
        newest: from_database.into_iter().chain(from_packages).max_by_key(|(at, _)| *at),
    }
}

/// When this program was built (see `build.rs`).
fn built_at() -> OffsetDateTime {
    let seconds = env!("BUILT_AT_UNIX_S").parse().unwrap_or(0);
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// When the newest package was last written to.
fn newest_package(folder: &Path) -> Option<OffsetDateTime> {
    let entries = fs::read_dir(folder).ok()?;
    entries.filter_map(|entry| entry.ok()?.metadata().ok()?.modified().ok()).max().map(OffsetDateTime::from)
}

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let check = Check::Clock;
    let now = shown(facts.utc);
    let set = || {
        words(
            "先把时间对准:运行 timedatectl set-ntp true(或装 chrony),看 timedatectl;对准之前不要开庭。",
            "Set it right first: run timedatectl set-ntp true (or install chrony) and see timedatectl; hold no session before.",
        )
    };
    let mut findings = Vec::new();
    if facts.utc < facts.built_at {
        findings.push(Finding::wrong(
            check,
            words(
                format!("时钟不对:现在显示 {now},早于程序的编译时间 {}。", shown(facts.built_at)),
                format!(
                    "The clock is off: it shows {now}, before this program was built ({}).",
                    shown(facts.built_at)
                ),
            ),
            set(),
        ));
    }
    if let Some((newest, evidence)) = facts.newest.filter(|(newest, _)| *newest > facts.utc + AHEAD_MAX) {
        let (zh, en) = match evidence {
            Evidence::Database => ("数据库里最新的记录", "the newest row of the database"),
            Evidence::Package => ("最新的案件包", "the newest case package"),
        };
        findings.push(Finding::wrong(
            check,
            words(
                format!("时钟不对:现在显示 {now},可{zh}是 {} 的;时钟被往回拨了,或当时走快了。", shown(newest)),
                format!(
                    "The clock is off: it shows {now}, yet {en} is of {}; it was set back, or was ahead then.",
                    shown(newest)
                ),
            ),
            set(),
        ));
    }
    if facts.step.abs() > STEP_MAX {
        let seconds = facts.step.as_seconds_f64();
        findings.push(Finding::wrong(
            check,
            words(
                format!("体检期间时钟跳了 {seconds:.1} 秒。"),
                format!("The clock stepped by {seconds:.1} s while the doctor looked."),
            ),
            words(
                "有两个程序在调时间,或虚拟机的时间不稳:只留一个对时程序,再查一次。",
                "Two programs set the time, or the virtual machine's clock is unsteady: keep one of them, and look again.",
            ),
        ));
    }
    match facts.synchronised {
        Some(true) if findings.is_empty() => findings.push(Finding::pass(
            check,
            words(format!("{now},由网络对时。"), format!("{now}, kept right by the network.")),
        )),
        Some(true) => {}
        unknown => {
            let said = match unknown {
                Some(_) => words(
                    format!("{now};没有网络对时,时钟会慢慢走偏。"),
                    format!("{now}; nothing keeps the clock right, and it will drift."),
                ),
                None => words(
                    format!("{now};看不出有没有网络对时。"),
                    format!("{now}; whether something keeps the clock right cannot be told here."),
                ),
            };
            let remedy = words(
                "运行 timedatectl set-ntp true(或装 chrony);在容器里,请在宿主机上对时。",
                "Run timedatectl set-ntp true (or install chrony); for a container, on its host.",
            );
            findings.push(Finding::note(check, said, remedy));
        }
    }
    findings
}

fn shown(at: OffsetDateTime) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC");
    at.to_offset(UtcOffset::UTC).format(format).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{super::report::Verdict, *};

    const NOW: OffsetDateTime = time::macros::datetime!(2027-03-01 09:00 UTC);

    fn good() -> Facts {
        Facts {
            utc: NOW,
            step: time::Duration::milliseconds(3),
            synchronised: Some(true),
            built_at: NOW - time::Duration::days(90),
            newest: Some((NOW - time::Duration::minutes(1), Evidence::Database)),
        }
    }

    fn only_wrong(facts: &Facts) -> String {
        match &judge(facts)[..] {
            [Finding { verdict: Verdict::Wrong(remedy), said, .. }] => {
                assert!(!remedy.en.is_empty());
                said.en.clone()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_clock_that_is_kept_right_passes() {
        assert!(matches!(&judge(&good())[..], [Finding { verdict: Verdict::Pass, .. }]));
        let first = Facts { newest: None, ..good() };
        assert!(matches!(&judge(&first)[..], [Finding { verdict: Verdict::Pass, .. }]));
    }

    #[test]
    fn a_clock_that_is_off_is_found_by_what_was_written_before() {
        let back = Facts { utc: NOW - time::Duration::days(365), ..good() };
        let findings = judge(&back);
        assert_eq!(findings.len(), 2, "before the build and before the last row: {findings:?}");
        let ahead = Facts { newest: Some((NOW + time::Duration::days(1), Evidence::Package)), ..good() };
        assert_eq!(
            only_wrong(&ahead),
            "The clock is off: it shows 2027-03-01 09:00:00 UTC, yet the newest case package is of \
             2027-03-02 09:00:00 UTC; it was set back, or was ahead then."
        );
        let stepped = Facts { step: time::Duration::seconds(-40), ..good() };
        assert_eq!(only_wrong(&stepped), "The clock stepped by -40.0 s while the doctor looked.");
    }

    #[test]
    fn a_clock_that_nobody_keeps_right_is_noted() {
        for synchronised in [Some(false), None] {
            let facts = Facts { synchronised, ..good() };
            assert!(matches!(&judge(&facts)[..], [Finding { verdict: Verdict::Note(_), .. }]));
        }
    }
}
