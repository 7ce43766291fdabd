//! The bag around the evidence (BagIt, RFC 8493): its tag files and manifests.
//!
//! A manifest is written in one form only, sorted by path, so that a verifier can write it again from the files
//! and compare texts: no byte of it can be changed unseen.

use std::collections::BTreeMap;

use hewei_model::RecordingId;

use crate::hash::Hash;

/// The bag's declaration (RFC 8493, 2.1.1).
pub const BAGIT: (&str, &str) = ("bagit.txt", "BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n");
/// What the package proves, and how a stranger checks it.
pub const VERIFY_MD: (&str, &str) = ("VERIFY.md", include_str!("package/VERIFY.md"));
/// The verifier that needs only coreutils and openssl.
pub const VERIFY_SH: (&str, &str) = ("verify.sh", include_str!("package/verify.sh"));
/// Name of the bag's metadata.
pub const BAG_INFO: &str = "bag-info.txt";
/// Name of the payload manifest by SHA-256.
pub const MANIFEST_SHA256: &str = "manifest-sha256.txt";
/// Name of the payload manifest by SM3.
pub const MANIFEST_SM3: &str = "manifest-sm3.txt";
/// Name of the tag manifest.
pub const TAG_MANIFEST: &str = "tagmanifest-sha256.txt";

/// Files that the tag manifest names.
pub const TAG_FILES: [&str; 6] = [VERIFY_MD.0, BAG_INFO, BAGIT.0, MANIFEST_SHA256, MANIFEST_SM3, VERIFY_SH.0];

/// Where the CA's certificate is.
pub const CA_PATH: &str = "data/seals/ca.pem";
/// Where the recorder's certificate is.
pub const RECORDER_PATH: &str = "data/seals/recorder.pem";

/// Where head `number` (from 1) is, without its ending.
pub fn head_stem(number: u64) -> String {
    format!("data/seals/head-{number:06}")
}

/// The text of [`BAG_INFO`]. `day` is `YYYY-MM-DD`.
pub fn bag_info(recording: RecordingId, case_number: &str, case_title: &str, day: &str) -> String {
    format!(
        "Bagging-Date: {day}\nExternal-Identifier: {recording}\nInternal-Sender-Identifier: {}\n\
         Internal-Sender-Description: {}\nBag-Software-Agent: Hewei {}\n",
        one_line(case_number),
        one_line(case_title),
        env!("CARGO_PKG_VERSION"),
    )
}

fn one_line(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect::<String>().trim().to_owned()
}

/// The text of a manifest: a line `hash  path` for each file, sorted by path.
pub fn manifest(files: &BTreeMap<String, Hash>) -> String {
    files.iter().map(|(path, hash)| format!("{hash}  {path}\n")).collect()
}

/// Reads a manifest leniently: the lines that have the form, the last one of a path winning.
pub fn parse_manifest(text: &str) -> BTreeMap<String, Hash> {
    text.lines()
        .filter_map(|line| line.split_once("  "))
        .filter_map(|(hash, path)| Some((path.to_owned(), hash.parse().ok()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_reads_back() {
        let files = BTreeMap::from([
            ("data/b".to_owned(), Hash::sha256(b"b")),
            ("data/a".to_owned(), Hash::sha256(b"a")),
        ]);
        let text = manifest(&files);
        assert!(text.starts_with(&format!("{}  data/a\n", Hash::sha256(b"a"))));
        assert_eq!(parse_manifest(&text), files);
    }

    #[test]
    fn metadata_cannot_break_out_of_its_line() {
        let text = bag_info(RecordingId::from_u128(1), "A-1\nX: y", "水渠", "2026-01-02");
        assert_eq!(text.lines().count(), 5);
        assert!(text.contains("Internal-Sender-Identifier: A-1 X: y\n"));
    }
}
