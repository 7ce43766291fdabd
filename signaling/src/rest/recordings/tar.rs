//! A package as one tar file, written while it is read.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use axum::body::Body;
use bytes::Bytes;

use super::stream;
use crate::ustar::{self, BLOCK};

/// The files of a package, with the headers that go before them.
pub(super) struct Listing(Vec<Entry>);

struct Entry {
    header: Bytes,
    path: PathBuf,
    bytes: u64,
}

impl Listing {
    /// Lists the plain files in a folder and below, in the order of their names. In the archive they lie in a
    /// folder of the same name.
    pub(super) fn of(folder: &Path) -> io::Result<Listing> {
        let top = folder.file_name().ok_or_else(|| io::Error::other("the package has no name"))?;
        let mut paths = Vec::new();
        walk(folder, &mut paths)?;
        paths.sort();
        let entries = paths.into_iter().map(|path| {
            let inside = path.strip_prefix(folder).map_err(io::Error::other)?;
            let name = Path::new(top).join(inside);
            let name = name.to_str().ok_or_else(|| io::Error::other("a file name is not UTF-8"))?;
            let file = fs::metadata(&path)?;
            let modified = file.modified()?.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
            let header = ustar::headers(name, file.len(), modified, 0o644)?.into();
            Ok(Entry { header, bytes: file.len(), path })
        });
        Ok(Listing(entries.collect::<io::Result<_>>()?))
    }

    /// The size of the archive.
    pub(super) fn total_bytes(&self) -> u64 {
        let entries =
            self.0.iter().map(|entry| entry.header.len() as u64 + entry.bytes.next_multiple_of(BLOCK));
        entries.sum::<u64>() + 2 * BLOCK
    }

    /// The archive.
    pub(super) fn into_body(self) -> Body {
        stream::body(move |sender| async move {
            for Entry { header, path, bytes } in self.0 {
                stream::send(&sender, header).await?;
                stream::copy(&path, 0, bytes, &sender).await?;
                stream::send(&sender, vec![0; ustar::padding(bytes)].into()).await?;
            }
            stream::send(&sender, vec![0; 2 * BLOCK as usize].into()).await
        })
    }
}

fn walk(folder: &Path, paths: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // Links are not followed: a package has none.
        let kind = entry.file_type()?;
        if kind.is_dir() {
            walk(&entry.path(), paths)?;
        } else if kind.is_file() {
            paths.push(entry.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// The system's tar unpacks what we write, long and Chinese names included.
    #[tokio::test]
    async fn tar_unpacks_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let package = folder.path().join("案件包 1");
        let long = "很长的名字".repeat(12);
        let files = [
            ("bagit.txt".to_owned(), b"x".to_vec()),
            (format!("data/sessions/{}/{}/000000.m4s", "s".repeat(90), "p".repeat(60)), vec![7; 512]),
            (format!("data/{long}/{long}.txt"), vec![8; 200_000]),
            ("empty".to_owned(), Vec::new()),
        ];
        for (name, bytes) in &files {
            let path = package.join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("makes it");
            fs::write(path, bytes).expect("writes");
        }
        let listing = Listing::of(&package).expect("lists");
        let total = listing.total_bytes();
        let archive = axum::body::to_bytes(listing.into_body(), usize::MAX).await.expect("the archive");
        assert_eq!(archive.len() as u64, total);
        let path = folder.path().join("a.tar");
        fs::write(&path, &archive).expect("writes");
        let out = folder.path().join("out");
        fs::create_dir(&out).expect("makes it");
        let status = Command::new("tar").arg("-xf").arg(&path).arg("-C").arg(&out).status().expect("tar");
        assert!(status.success());
        for (name, bytes) in &files {
            assert_eq!(&fs::read(out.join("案件包 1").join(name)).expect(name), bytes);
        }
    }
}
