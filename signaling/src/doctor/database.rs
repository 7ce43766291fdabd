//! The database's file: is it sound, and does its schema fit this program?

use std::{path::PathBuf, time::Duration};

use hewei_store::{Schema, SealingKey, Store};

use super::{
    context::Context,
    report::{Check, Finding, words},
};

/// A check of a large file on a slow disk.
const CHECK_TIME_MAX: Duration = Duration::from_secs(60);

/// What is known of the database.
#[derive(Debug)]
pub(super) struct Facts {
    path: PathBuf,
    /// `None`: there is none yet.
    look: Option<Result<Look, String>>,
}

#[derive(Debug)]
struct Look {
    schema: Schema,
    /// What is wrong with the file; `None`: it took too long.
    problems: Option<Vec<String>>,
    bytes: u64,
}

/// Opens the database for reading. `None` when there is none. The key is a made-up one when there is none: all but
/// credentials can be read.
pub(super) async fn open(context: &Context) -> Option<Result<Store, String>> {
    let path = context.database();
    if !path.metadata().is_ok_and(|file| file.len() > 0) {
        return None;
    }
    let key = context.key("camera.key").unwrap_or_default();
    Some(Store::look(&path, SealingKey::new(&key)).await.map_err(|error| error.to_string()))
}

pub(super) async fn gather(context: &Context) -> Facts {
    let look = match open(context).await {
        None => None,
        Some(Err(error)) => Some(Err(error)),
        Some(Ok(store)) => {
            let look = look(&store, context).await.map_err(|error| error.to_string());
            store.close().await;
            Some(look)
        }
    };
    Facts { path: context.database(), look }
}

async fn look(store: &Store, context: &Context) -> hewei_store::Result<Look> {
    let schema = store.schema().await?;
    let problems = match tokio::time::timeout(CHECK_TIME_MAX, store.quick_check()).await {
        Ok(problems) => Some(problems?),
        Err(_) => None,
    };
    let bytes = context.database().metadata().map_or(0, |file| file.len());
    Ok(Look { schema, problems, bytes })
}

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let check = Check::Database;
    let path = facts.path.display();
    let restore = || {
        words(
            format!("停下服务器,留一份 {path} 的副本,再从备份恢复。"),
            format!("Stop the server, keep a copy of {path}, and restore it from a backup."),
        )
    };
    let look = match &facts.look {
        None => {
            return vec![Finding::pass(
                check,
                words("还没有数据库,首次启动时创建。", "There is no database yet; the first start makes it."),
            )];
        }
        Some(Err(error)) => {
            return vec![Finding::wrong(
                check,
                words(format!("{path} 打不开:{error}。"), format!("{path} cannot be opened: {error}.")),
                restore(),
            )];
        }
        Some(Ok(look)) => look,
    };
    let mut findings = vec![match &look.problems {
        None => Finding::skipped(
            check,
            words(
                format!("数据库太大,{} 秒内没有查完。", CHECK_TIME_MAX.as_secs()),
                format!("The database is too large to be checked within {} s.", CHECK_TIME_MAX.as_secs()),
            ),
        ),
        Some(problems) => match problems.first() {
            None => Finding::pass(
                check,
                words(
                    format!("{path} 完好({} KB)。", look.bytes / 1_024),
                    format!("{path} is sound ({} KB).", look.bytes / 1_024),
                ),
            ),
            Some(first) => {
                let first = first.lines().next_back().unwrap_or_default();
                Finding::wrong(
                    check,
                    words(format!("{path} 坏了:{first}。"), format!("{path} is damaged: {first}.")),
                    restore(),
                )
            }
        },
    }];
    let Schema { database, program } = look.schema;
    if database > program {
        findings.push(Finding::wrong(
            check,
            words(
                format!("数据库的结构(第 {database} 版)比这个程序(第 {program} 版)新。"),
                format!("The database's schema ({database}) is newer than this program's ({program})."),
            ),
            words(
                "用装在这里的新版 hewei;不要用旧版打开它。",
                "Use the newer hewei that was installed here; do not open it with an older one.",
            ),
        ));
    } else if database < program {
        findings.push(Finding::pass(
            check,
            words(
                format!("数据库的结构是第 {database} 版,下次启动时升到第 {program} 版。"),
                format!("The database's schema is {database}; the next start brings it to {program}."),
            ),
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::{super::report::Verdict, *};

    fn verdicts(look: Option<Result<Look, String>>) -> Vec<Verdict> {
        let facts = Facts { path: "/srv/hewei.sqlite".into(), look };
        judge(&facts).into_iter().map(|finding| finding.verdict).collect()
    }

    fn sound(database: i64) -> Option<Result<Look, String>> {
        let schema = Schema { database, program: 5 };
        Some(Ok(Look { schema, problems: Some(Vec::new()), bytes: 4_096 }))
    }

    #[test]
    fn sound_ones_pass() {
        assert_eq!(verdicts(None), [Verdict::Pass]);
        assert_eq!(verdicts(sound(5)), [Verdict::Pass]);
        assert_eq!(verdicts(sound(3)), [Verdict::Pass, Verdict::Pass]);
    }

    #[test]
    fn damage_and_a_newer_schema_are_told() {
        assert!(matches!(verdicts(sound(6))[..], [Verdict::Pass, Verdict::Wrong(_)]));
        assert!(matches!(verdicts(Some(Err("not a database".into())))[..], [Verdict::Wrong(_)]));
        let schema = Schema { database: 5, program: 5 };
        let damaged = Look { schema, problems: Some(vec!["row 3 missing from index".into()]), bytes: 4_096 };
        assert!(matches!(verdicts(Some(Ok(damaged)))[..], [Verdict::Wrong(_)]));
    }
}
