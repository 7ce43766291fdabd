//! The settings, and who may read the keys.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use super::{
    context::Context,
    report::{Check, Finding, words},
};
use crate::config::ConfigError;

/// Keys lie at most this deep below the folder of keys.
const DEPTH_MAX: usize = 3;

/// What is known of the settings and keys.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    file: Option<Entry>,
    storage_path: PathBuf,
    storage: Result<Option<Entry>, String>,
    /// Files in the folder of keys: keys, and certificates, which are no secret.
    keys: Result<Vec<Entry>, String>,
    /// The user who runs the doctor.
    user: u32,
}

#[derive(Debug, Clone)]
struct Entry {
    path: PathBuf,
    mode: u32,
    owner: u32,
    bytes: u64,
}

impl Entry {
    fn read(path: &Path) -> io::Result<Entry> {
        let metadata = fs::metadata(path)?;
        let mode = metadata.permissions().mode() & 0o7777;
        Ok(Entry { path: path.to_owned(), mode, owner: metadata.uid(), bytes: metadata.len() })
    }
}

/// The settings could not be read, so nothing else can be looked at.
pub(super) fn unreadable(error: &ConfigError) -> Finding {
    Finding::wrong(
        Check::Settings,
        words(
            format!("设置读不了:{error}。其余检查没有做。"),
            format!("The settings cannot be read: {error}. Nothing else was looked at."),
        ),
        words(
            "照上面说的改正这一项(config/hewei.toml 写着每一项的说明),再运行 hewei check-config 文件。",
            "Mend the setting that is named (config/hewei.toml explains each), then run hewei check-config FILE.",
        ),
    )
}

pub(super) fn gather(context: &Context) -> Facts {
    let storage_path = context.config.storage.folder.clone();
    let storage = match Entry::read(&storage_path) {
        Ok(entry) => Ok(Some(entry)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.to_string()),
    };
    let mut keys = Vec::new();
    let listed = list(&storage_path.join("keys"), 0, &mut keys).map_err(|error| error.to_string());
    keys.sort_by(|a, b| a.path.cmp(&b.path));
    Facts {
        file: context.file.as_deref().and_then(|file| Entry::read(file).ok()),
        storage_path,
        storage,
        keys: listed.map(|()| keys),
        // The folder of one's own process belongs to its user.
        user: fs::metadata("/proc/self").map_or(0, |metadata| metadata.uid()),
    }
}

fn list(folder: &Path, depth: usize, files: &mut Vec<Entry>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            if depth < DEPTH_MAX {
                list(&entry.path(), depth + 1, files)?;
            }
        } else {
            files.push(Entry::read(&entry.path())?);
        }
    }
    Ok(())
}

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![match &facts.file {
        None => Finding::pass(
            Check::Settings,
            words(
                "没有给设置文件,用默认值和环境变量,都读得懂。",
                "No file of settings was given; the defaults and the environment read well.",
            ),
        ),
        // Whoever may write it chooses where recordings go.
        Some(file) if file.mode & 0o002 != 0 => Finding::wrong(
            Check::Settings,
            words(
                format!("任何人都能改 {}。", file.path.display()),
                format!("Anybody may write to {}.", file.path.display()),
            ),
            words(
                format!("运行 chmod o-w {}", file.path.display()),
                format!("Run chmod o-w {}", file.path.display()),
            ),
        ),
        Some(file) => Finding::pass(
            Check::Settings,
            words(
                format!("{} 读得懂,没有不认识的设置。", file.path.display()),
                format!("{} reads well and holds no unknown setting.", file.path.display()),
            ),
        ),
    }];
    findings.extend(storage(facts));
    findings
}

fn storage(facts: &Facts) -> Vec<Finding> {
    let shown = facts.storage_path.display();
    let entry = match &facts.storage {
        Ok(Some(entry)) => entry,
        Ok(None) => {
            return vec![Finding::pass(
                Check::Settings,
                words(
                    format!("{shown} 还没有,首次启动时创建。"),
                    format!("{shown} is not there yet; the first start makes it."),
                ),
            )];
        }
        Err(error) => {
            return vec![Finding::wrong(
                Check::Settings,
                words(
                    format!("打不开存储文件夹 {shown}:{error}。"),
                    format!("The storage folder {shown} cannot be opened: {error}."),
                ),
                words(
                    "用服务器的用户运行体检,例如 sudo -u hewei hewei doctor;或改 storage.folder。",
                    "Run the doctor as the server's user, such as sudo -u hewei hewei doctor; or change storage.folder.",
                ),
            )];
        }
    };
    let mut findings = Vec::new();
    if entry.owner != facts.user {
        findings.push(Finding::note(
            Check::Settings,
            words(
                format!("{shown} 属于用户 {},而体检由用户 {} 运行。", entry.owner, facts.user),
                format!(
                    "{shown} belongs to user {}, and the doctor runs as user {}.",
                    entry.owner, facts.user
                ),
            ),
            words(
                format!("要查服务器自己能不能做到,请用它的用户运行:sudo -u '#{}' hewei doctor", entry.owner),
                format!(
                    "To see what the server itself may do, run it as that user: sudo -u '#{}' hewei doctor",
                    entry.owner
                ),
            ),
        ));
    }
    let keys = match &facts.keys {
        Ok(keys) => keys,
        Err(error) => {
            findings.push(Finding::wrong(
                Check::Settings,
                words(format!("读不了密钥:{error}。"), format!("The keys cannot be read: {error}.")),
                words(
                    "用服务器的用户运行体检,例如 sudo -u hewei hewei doctor。",
                    "Run the doctor as the server's user, such as sudo -u hewei hewei doctor.",
                ),
            ));
            return findings;
        }
    };
    let open: Vec<String> = keys
        .iter()
        .filter(|key| key.mode & 0o077 != 0 && is_secret(&key.path))
        .map(|key| key.path.display().to_string())
        .collect();
    if !open.is_empty() {
        let open = open.join(" ");
        findings.push(Finding::wrong(
            Check::Settings,
            words(
                format!("别的用户也能读密钥:{open}。"),
                format!("Other users may read keys: {open}."),
            ),
            words(
                format!("运行 chmod 600 {open};若有别人能登录这台机器,请当作已泄露,换新密钥。"),
                format!(
                    "Run chmod 600 {open}; if others can log in to this machine, take them as known and have new ones made."
                ),
            ),
        ));
    }
    let short: Vec<&Entry> = keys
        .iter()
        .filter(|key| {
            let name = key.path.file_name().unwrap_or_default();
            (name == "token.key" || name == "camera.key") && key.bytes != 32
        })
        .collect();
    for key in &short {
        findings.push(Finding::wrong(
            Check::Settings,
            words(
                format!("密钥 {} 坏了:应为 32 字节,现为 {}。", key.path.display(), key.bytes),
                format!(
                    "The key {} is damaged: it has {} bytes and must have 32.",
                    key.path.display(),
                    key.bytes
                ),
            ),
            words(
                "从备份恢复这个文件;没有它,服务器不启动。",
                "Restore the file from a backup; the server does not start without it.",
            ),
        ));
    }
    if open.is_empty() && short.is_empty() {
        let secrets = keys.iter().filter(|key| is_secret(&key.path)).count();
        findings.push(Finding::pass(
            Check::Settings,
            words(
                format!("{shown} 里的 {secrets} 个密钥只有服务器的用户能读。"),
                format!("The {secrets} keys in {shown} can be read by the server's user alone."),
            ),
        ));
    }
    findings
}

/// Certificates are no secret, and may be handed out where they lie.
fn is_secret(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.contains("key")
}

#[cfg(test)]
mod tests {
    use super::{super::report::Verdict, *};

    fn facts() -> Facts {
        let entry = |path: &str, mode, bytes| Entry { path: path.into(), mode, owner: 900, bytes };
        Facts {
            file: Some(entry("/etc/hewei.toml", 0o644, 100)),
            storage_path: "/var/lib/hewei".into(),
            storage: Ok(Some(entry("/var/lib/hewei", 0o700, 4_096))),
            keys: Ok(vec![
                entry("/var/lib/hewei/keys/token.key", 0o600, 32),
                entry("/var/lib/hewei/keys/https/ca.pem", 0o644, 700),
            ]),
            user: 900,
        }
    }

    fn wrong(facts: &Facts) -> Vec<String> {
        let findings = judge(facts);
        let remedies = findings.into_iter().filter_map(|finding| match finding.verdict {
            Verdict::Wrong(remedy) => Some(remedy.en),
            _ => None,
        });
        remedies.collect()
    }

    #[test]
    fn what_is_closed_to_others_passes() {
        assert!(judge(&facts()).iter().all(|finding| finding.verdict == Verdict::Pass));
        let fresh = Facts { storage: Ok(None), keys: Ok(Vec::new()), file: None, ..facts() };
        assert!(judge(&fresh).iter().all(|finding| finding.verdict == Verdict::Pass));
    }

    #[test]
    fn what_is_open_or_damaged_is_named_with_the_remedy() {
        let mut open = facts();
        open.keys.as_mut().expect("keys")[0].mode = 0o644;
        assert!(wrong(&open)[0].starts_with("Run chmod 600 /var/lib/hewei/keys/token.key;"));
        let mut short = facts();
        short.keys.as_mut().expect("keys")[0].bytes = 0;
        assert_eq!(wrong(&short).len(), 1);
        let mut writable = facts();
        writable.file.as_mut().expect("a file").mode = 0o666;
        assert_eq!(wrong(&writable), ["Run chmod o-w /etc/hewei.toml"]);
        let mut other = facts();
        other.user = 0;
        assert!(judge(&other).iter().any(|finding| matches!(finding.verdict, Verdict::Note(_))));
    }
}
