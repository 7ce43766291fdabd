//! A package as one tar file, written while it is read.
//!
//! The format is ustar (POSIX.1-1988): 512-byte headers, contents padded to 512 bytes, two empty blocks at the
//! end. A path that does not fit into a header (100 bytes, or 155 + 100 divided at a `/`) goes ahead in a pax
//! header (POSIX.1-2001), which every tar of today reads.
//!
//! ```text
//! 0 name 100 | mode 8 | uid 8 | gid 8 | size 12 | mtime 12 | checksum 8 | type 1 | linked 100 | magic 8 |
//!   owner 32 | group 32 | major 8 | minor 8 | prefix 155 | 12 zeros
//! ```

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use axum::body::Body;
use bytes::Bytes;

use super::stream;

const BLOCK: u64 = 512;
/// What eleven octal digits can say. Segments of ten seconds are far from it.
const SIZE_MAX: u64 = 0o77_777_777_777;

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
            Ok(Entry { header: headers(name, file.len(), modified)?, bytes: file.len(), path })
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
                let padding = bytes.next_multiple_of(BLOCK) - bytes;
                stream::send(&sender, vec![0; padding as usize].into()).await?;
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

fn headers(name: &str, size: u64, modified: u64) -> io::Result<Bytes> {
    if size > SIZE_MAX {
        return Err(io::Error::other(format!("{name} is too large for a tar file")));
    }
    if let Some((prefix, name)) = split(name) {
        return Ok(header(prefix, name, b'0', size, modified).into());
    }
    let record = pax_record("path", name);
    let mut headers = header("", "pax", b'x', record.len() as u64, modified);
    headers.extend_from_slice(&record);
    headers.resize(headers.len().next_multiple_of(BLOCK as usize), 0);
    // For readers that know no pax: a shortened name is better than none.
    let mut end = name.len().min(100);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    headers.append(&mut header("", &name[..end], b'0', size, modified));
    Ok(headers.into())
}

/// Divides a path so that it fits into a header.
fn split(name: &str) -> Option<(&str, &str)> {
    if name.len() <= 100 {
        return Some(("", name));
    }
    let fits = |(at, _): &(usize, &str)| *at > 0 && *at <= 155 && name.len() - at - 1 <= 100;
    let (at, _) = name.match_indices('/').find(fits)?;
    Some((&name[..at], &name[at + 1..]))
}

/// `LENGTH KEY=VALUE\n`, the length counting itself.
fn pax_record(key: &str, value: &str) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    format!("{length} {key}={value}\n").into_bytes()
}

fn header(prefix: &str, name: &str, kind: u8, size: u64, modified: u64) -> Vec<u8> {
    let mut header = vec![0; BLOCK as usize];
    let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
    put(0, name.as_bytes());
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{size:011o}\0").as_bytes());
    put(136, format!("{:011o}\0", modified.min(SIZE_MAX)).as_bytes());
    put(148, b"        ");
    put(156, &[kind]);
    put(257, b"ustar\x0000");
    put(345, prefix.as_bytes());
    let checksum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{checksum:06o}\0 ").as_bytes());
    header
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

    #[test]
    fn a_pax_record_counts_itself() {
        for length in 0..1_100 {
            let record = pax_record("path", &"x".repeat(length));
            let text = String::from_utf8(record.clone()).expect("ASCII");
            let said: usize = text.split(' ').next().expect("a number").parse().expect("a number");
            assert_eq!(said, record.len());
        }
    }
}
