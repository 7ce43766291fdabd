//! Tar archives: the headers that go before each file, and reading them back.
//!
//! The format is ustar (POSIX.1-1988): 512-byte headers, contents padded to 512 bytes, two empty blocks at the
//! end. A path that does not fit into a header (100 bytes, or 155 + 100 divided at a `/`) goes ahead in a pax
//! header (POSIX.1-2001), which every tar of today reads.
//!
//! ```text
//! 0 name 100 | mode 8 | uid 8 | gid 8 | size 12 | mtime 12 | checksum 8 | type 1 | linked 100 | magic 8 |
//!   owner 32 | group 32 | major 8 | minor 8 | prefix 155 | 12 zeros
//! ```

use std::io::{self, Read};

/// Headers and contents are multiples of this.
pub(crate) const BLOCK: u64 = 512;
/// What eleven octal digits can say. Segments of ten seconds are far from it.
const SIZE_MAX: u64 = 0o77_777_777_777;
/// No path of ours is longer.
const PAX_BYTES_MAX: u64 = 8_192;

/// The header of a plain file, with the one ahead of it that a long path needs.
pub(crate) fn headers(name: &str, size: u64, modified: u64, mode: u32) -> io::Result<Vec<u8>> {
    if size > SIZE_MAX {
        return Err(io::Error::other(format!("{name} is too large for a tar file")));
    }
    if let Some((prefix, name)) = split(name) {
        return Ok(header(prefix, name, b'0', size, modified, mode));
    }
    let record = pax_record("path", name);
    let mut headers = header("", "pax", b'x', record.len() as u64, modified, mode);
    headers.extend_from_slice(&record);
    headers.resize(headers.len().next_multiple_of(BLOCK as usize), 0);
    // For readers that know no pax: a shortened name is better than none.
    let mut end = name.len().min(100);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    headers.append(&mut header("", &name[..end], b'0', size, modified, mode));
    Ok(headers)
}

/// The zeros after a file of `size` bytes.
pub(crate) fn padding(size: u64) -> usize {
    (size.next_multiple_of(BLOCK) - size) as usize
}

/// A file in an archive that is being read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) size: u64,
}

/// Reads the header of the next file; `None` at the end. The reader stands at the file's first byte then, and whoever
/// calls reads its bytes and its [`padding`] before the next call. Anything but plain files is an error.
pub(crate) fn next(archive: &mut impl Read) -> io::Result<Option<Entry>> {
    let mut long_name = None;
    loop {
        let mut block = [0; BLOCK as usize];
        archive.read_exact(&mut block)?;
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        let said: u64 = block[148..156].iter().map(|byte| u64::from(*byte)).sum();
        if octal(&block[148..156]) != Some(sum - said + 8 * u64::from(b' ')) || &block[257..262] != b"ustar" {
            return Err(wrong("this is not a header of a tar file"));
        }
        let size = octal(&block[124..136]).ok_or_else(|| wrong("a header has no size"))?;
        match block[156] {
            b'x' if size <= PAX_BYTES_MAX => {
                let mut record = vec![0; size as usize + padding(size)];
                archive.read_exact(&mut record)?;
                let path = pax_path(&record[..size as usize]);
                long_name = Some(path.ok_or_else(|| wrong("a pax header does not give a path"))?);
            }
            b'0' => {
                let short = || Some(join(text(&block[345..500])?, text(&block[..100])?));
                let name = long_name.take().or_else(short).ok_or_else(|| wrong("a name is not UTF-8"))?;
                return Ok(Some(Entry { name, size }));
            }
            _ => return Err(wrong("there is something else than a plain file in it")),
        }
    }
}

fn text(field: &[u8]) -> Option<&str> {
    std::str::from_utf8(field.split(|byte| *byte == 0).next()?).ok()
}

fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") }
}

fn octal(field: &[u8]) -> Option<u64> {
    u64::from_str_radix(text(field)?.trim(), 8).ok()
}

/// The path in `LENGTH path=VALUE\n`, the only record that we write.
fn pax_path(record: &[u8]) -> Option<String> {
    let (length, rest) = std::str::from_utf8(record).ok()?.split_once(' ')?;
    let whole = length.parse() == Ok(record.len());
    rest.strip_prefix("path=")?.strip_suffix('\n').filter(|_| whole).map(str::to_owned)
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

fn header(prefix: &str, name: &str, kind: u8, size: u64, modified: u64, mode: u32) -> Vec<u8> {
    let mut header = vec![0; BLOCK as usize];
    let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
    put(0, name.as_bytes());
    put(100, format!("{:07o}\0", mode & 0o777).as_bytes());
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
    use super::*;

    #[test]
    fn a_pax_record_counts_itself() {
        for length in 0..1_100 {
            let record = pax_record("path", &"x".repeat(length));
            let text = String::from_utf8(record.clone()).expect("ASCII");
            let said: usize = text.split(' ').next().expect("a number").parse().expect("a number");
            assert_eq!(said, record.len());
            assert_eq!(pax_path(&record), Some("x".repeat(length)));
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let long = "很长的名字/".repeat(60);
        let names = [
            "a".to_owned(),
            format!("{}/{}", "d".repeat(120), "n".repeat(90)),
            format!("{long}x"),
            "末".into(),
        ];
        let mut archive = Vec::new();
        for (at, name) in names.iter().enumerate() {
            let size = at as u64 * 511;
            archive.extend(headers(name, size, 1_800_000_000, 0o600).expect("fits"));
            archive.resize(archive.len() + size as usize + padding(size), 7);
        }
        archive.resize(archive.len() + 2 * BLOCK as usize, 0);
        let mut reader = archive.as_slice();
        for (at, name) in names.iter().enumerate() {
            let size = at as u64 * 511;
            let entry = next(&mut reader).expect("reads").expect("another");
            assert_eq!(entry, Entry { name: name.clone(), size });
            reader = &reader[size as usize + padding(size)..];
        }
        assert_eq!(next(&mut reader).expect("reads"), None);
    }

    #[test]
    fn what_is_no_archive_is_refused_and_never_panics() {
        let good = headers("a", 3, 0, 0o600).expect("fits");
        assert!(next(&mut &good[..511]).is_err(), "cut");
        // The last byte of the checksum's field says nothing.
        for at in (0..good.len()).filter(|at| *at != 155) {
            for flip in [1, 0x80] {
                let mut bad = good.clone();
                bad[at] ^= flip;
                assert!(next(&mut bad.as_slice()).is_err(), "byte {at}");
            }
        }
        let link = header("", "a", b'2', 0, 0, 0o600);
        assert!(next(&mut link.as_slice()).is_err());
    }
}
