//! Back from a backup, into an empty folder.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, BufReader, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Component, Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use hewei_evidence::verify::{Options, Verdict};
use hewei_store::{RecordingState, backup::Contents};

use super::{
    ABOUT, About, CHUNK, DATABASE, FORMAT, KEYS, Progress, RECORDINGS, SUMS, UNFINISHED, pour, say, size,
    skip,
};
use crate::{health, secrets, ustar};

/// The first file of a backup is short, and so is the last for a backup of some hundred thousand files.
const TEXT_BYTES_MAX: u64 = 1 << 28;

/// Restores the backup `from` into the folder `into`, which must be empty or not there, and verifies everything: each
/// file against its hash, the database, and every sealed package against the recorder's CA and the receipt in the
/// database. Gives the words for the end. What cannot be restored whole leaves nothing behind.
pub async fn restore(from: &Path, into: &Path) -> anyhow::Result<String> {
    let mut archive = BufReader::with_capacity(
        CHUNK,
        File::open(from).with_context(|| format!("cannot read {}", from.display()))?,
    );
    let (about, about_sum) = about(&mut archive).with_context(|| format!("{}", from.display()))?;
    ensure!(
        about.format == FORMAT && about.schema <= hewei_store::schema_known(),
        "{} was made by Hewei {}, which is newer than this program: install that version, then restore",
        from.display(),
        about.hewei
    );
    let in_use = fs::read_dir(into).is_ok_and(|mut entries| entries.next().is_some());
    ensure!(!in_use, "{} is not empty: give an empty folder, or one that is not there yet", into.display());
    let length = fs::metadata(from)?.len();
    if let Ok(space) = health::space(into) {
        ensure!(
            space.free_bytes >= length,
            "the backup takes {} and {} are free where {} goes: make room, or give a folder on another disk",
            size(length),
            size(space.free_bytes),
            into.display()
        );
    }
    secrets::private_folder(into).with_context(|| format!("cannot make {}", into.display()))?;

    let folder = into.to_owned();
    let restored = tokio::task::spawn_blocking(move || unpack(archive, about_sum, &folder, length)).await?;
    let checked = match restored {
        Ok(files) => check(into).await.map(|contents| (files, contents)),
        Err(error) => Err(error),
    };
    let (files, (contents, sound)) = match checked {
        Ok(checked) => checked,
        Err(error) => {
            empty(into).with_context(|| format!("cannot clear {}; delete it", into.display()))?;
            return Err(error.context(format!("{} is not restored, nothing was kept", from.display())));
        }
    };
    fs::remove_file(into.join(UNFINISHED)).and_then(|()| File::open(into)?.sync_all())?;
    for left_out in &about.left_out {
        say(&format!("not in the backup: recording {}: {}", left_out.recording, left_out.why));
    }
    Ok(format!(
        "{} cases, {} recordings ({sound} sealed and verified), {files} files of {} in {}; start the server with \
         HEWEI_STORAGE_FOLDER={} or storage.folder, and everybody signs in again\n",
        contents.cases,
        contents.recordings.len(),
        about.made_at,
        into.display(),
        into.display(),
    ))
}

fn about(archive: &mut impl Read) -> anyhow::Result<(About, String)> {
    let no_backup = || "this is not a backup of Hewei";
    let entry = ustar::next(archive).with_context(no_backup)?.with_context(no_backup)?;
    ensure!(entry.name == ABOUT && entry.size < TEXT_BYTES_MAX, no_backup());
    let (text, sum) = text(archive, entry.size)?;
    Ok((serde_json::from_slice(&text).with_context(no_backup)?, sum))
}

fn text(archive: &mut impl Read, bytes: u64) -> anyhow::Result<(Vec<u8>, String)> {
    let mut text = Vec::new();
    let (read, sum) = pour(archive.take(bytes), &mut vec![0; CHUNK], |chunk| text.write_all(chunk))?;
    ensure!(read == bytes, "the file is cut short");
    skip(archive, ustar::padding(bytes))?;
    Ok((text, sum))
}

/// Unpacks everything and holds it against the hashes; gives how many files there are.
fn unpack(mut archive: impl Read, about_sum: String, into: &Path, length: u64) -> anyhow::Result<usize> {
    private_file(&into.join(UNFINISHED)).context("cannot write there")?;
    let mut sums = BTreeMap::from([(ABOUT.to_owned(), about_sum)]);
    let mut progress = Progress::new("restored", length);
    let mut chunk = vec![0; CHUNK];
    loop {
        let entry = ustar::next(&mut archive).context("the backup is cut short or damaged")?;
        let entry = entry.context("the backup has no list of hashes at its end")?;
        if entry.name == SUMS {
            ensure!(entry.size < TEXT_BYTES_MAX, "the list of hashes is too long");
            let (said, _) = text(&mut archive, entry.size)?;
            compare(&sums, &said)?;
            break;
        }
        let path = place(into, &entry.name)?;
        let what = || format!("cannot write {}", path.display());
        if let Some(folder) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder).with_context(what)?;
        }
        let mut file = private_file(&path).with_context(what)?;
        let taken = (&mut archive).take(entry.size);
        let (bytes, sum) = pour(taken, &mut chunk, |chunk| file.write_all(chunk)).with_context(what)?;
        ensure!(bytes == entry.size, "the backup is cut short in {}", entry.name);
        skip(&mut archive, ustar::padding(entry.size)).context("the backup is cut short")?;
        progress.add(bytes);
        sums.insert(entry.name, sum);
    }
    // All of them at once: one wait a file would take minutes on a disk that turns.
    nix::unistd::syncfs(File::open(into)?).context("cannot bring it to the disk")?;
    Ok(sums.len())
}

fn compare(sums: &BTreeMap<String, String>, said: &[u8]) -> anyhow::Result<()> {
    let said = std::str::from_utf8(said).context("the list of hashes is damaged")?;
    let mut missing: BTreeMap<&str, &str> = BTreeMap::new();
    for line in said.lines() {
        let (sum, name) = line.split_once("  ").context("the list of hashes is damaged")?;
        missing.insert(name, sum);
    }
    for (name, sum) in sums {
        match missing.remove(name.as_str()) {
            Some(said) if said == sum => {}
            Some(_) => bail!("{name} is not what was backed up: its hash differs"),
            None => bail!("{name} was added to the backup"),
        }
    }
    match missing.keys().next() {
        Some(name) => bail!("{name} is missing from the backup"),
        None => Ok(()),
    }
}

/// Where a file of a backup goes. Nothing leads out of the folder, and nothing comes that no backup holds.
fn place(into: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let path = Path::new(name);
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    let ours = name == DATABASE || path.starts_with(KEYS) || path.starts_with(RECORDINGS);
    ensure!(
        plain && ours && !name.ends_with('/'),
        "the backup holds {name:?}, which no backup of Hewei does"
    );
    Ok(into.join(path))
}

fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Looks at the database and verifies every sealed package in it; gives how many.
async fn check(into: &Path) -> anyhow::Result<(Contents, usize)> {
    let contents = hewei_store::backup::look(&into.join(DATABASE)).await.context("the database")?;
    let folder = into.to_owned();
    tokio::task::spawn_blocking(move || {
        let ca = folder.join(KEYS).join("recorder").join("ca.pem");
        let ca = fs::read_to_string(&ca).with_context(|| format!("{}", ca.display()))?;
        let mut sound = 0;
        for recorded in &contents.recordings {
            let Some(name) = recorded.package.as_deref() else { continue };
            let package = folder.join(RECORDINGS).join(name);
            if recorded.state != RecordingState::Sealed || !package.is_dir() {
                continue;
            }
            let options = Options { ca_pem: Some(&ca), receipt: recorded.head_hash.as_deref() };
            match hewei_recorder::package::verify(&package, &options) {
                Ok(verification) if verification.verdict == Verdict::Intact => sound += 1,
                // As it was backed up, byte for byte: what is wrong with it was so before.
                Ok(_) => say(&format!(
                    "recording {} does not verify, and did not when it was backed up",
                    recorded.id
                )),
                Err(error) => say(&format!("recording {} cannot be verified: {error}", recorded.id)),
            }
        }
        Ok((contents, sound))
    })
    .await?
}

/// Takes away what was unpacked; the folder itself may be where a disk is mounted.
fn empty(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => fs::remove_dir_all(entry.path())?,
            false => fs::remove_file(entry.path())?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leads_out_of_the_folder() {
        let into = Path::new("/x");
        assert_eq!(place(into, "keys/recorder/ca.pem").expect("ours"), Path::new("/x/keys/recorder/ca.pem"));
        for bad in ["../a", "/etc/passwd", "keys/../../a", "lock", "keys/", "", "hewei.sqlite/"] {
            assert!(place(into, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_was_changed_added_or_taken_is_named() {
        let sums = BTreeMap::from([("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())]);
        assert!(compare(&sums, b"1  a\n2  b\n").is_ok());
        for (said, name) in
            [("1  a\n3  b\n", "b is not"), ("1  a\n", "b was added"), ("1  a\n2  b\n3  c\n", "c is missing")]
        {
            let error = compare(&sums, said.as_bytes()).expect_err("differs").to_string();
            assert!(error.starts_with(name), "{error}");
        }
    }
}
