//! `hewei_evidence`: packages that somebody else hands in.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read},
    path::Path,
    sync::OnceLock,
    time::Duration,
};

use hewei_evidence::{
    bag,
    journal::{Head, Line},
    seal::Authority,
    verify::{Options, Package, Verdict, verify},
};
use hewei_model::{Codec, ParticipantId, Role, TrackId};

use crate::{input::Input, recorder};

/// A package as names and bytes.
#[derive(Clone)]
struct Files(BTreeMap<String, Vec<u8>>);

impl Package for Files {
    fn files(&self) -> io::Result<Vec<String>> {
        Ok(self.0.keys().cloned().collect())
    }

    fn open(&self, path: &str) -> io::Result<Box<dyn Read + '_>> {
        match self.0.get(path) {
            Some(bytes) => Ok(Box::new(bytes.as_slice())),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

struct Example {
    package: Files,
    names: Vec<String>,
    ca_pem: String,
}

/// A small sealed package with one track.
fn example() -> &'static Example {
    static EXAMPLE: OnceLock<Example> = OnceLock::new();
    EXAMPLE.get_or_init(|| {
        let mut recording = recorder::begin();
        let start = hewei_model::MonoNs(1_000_000_000);
        let (participant, track) = (ParticipantId::from_u128(9), TrackId::from_u128(1));
        recording.person_joined(participant, "张三", Role::Party, start);
        recording.consent(participant, "张三", true, start);
        recorder::open(&mut recording, track, Codec::Opus, start);
        let mut now = start;
        for number in 0..150u16 {
            now = start + Duration::from_millis(20) * u32::from(number);
            let mut packet = vec![0x80, 111];
            packet.extend(number.to_be_bytes());
            packet.extend((u32::from(number) * 960).to_be_bytes());
            packet.extend(7u32.to_be_bytes());
            packet.extend([0x78, 1, 2, 3]);
            recording.packet(track, now, &packet);
        }
        let sealed = recorder::close(recording, now);
        let mut files = BTreeMap::new();
        read(&sealed.package, "", &mut files);
        fs::remove_dir_all(&sealed.package).expect("the package can be removed");
        let names = files.keys().cloned().collect();
        let example = Example { package: Files(files), names, ca_pem: recorder::ca_pem().to_owned() };
        let options = Options { ca_pem: Some(&example.ca_pem), receipt: None };
        let verdict = verify(&example.package, &options).expect("it can be read").verdict;
        assert_eq!(verdict, Verdict::Intact);
        example
    })
}

fn read(folder: &Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(folder).expect("the package can be read") {
        let entry = entry.expect("the package can be read");
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            read(&entry.path(), &format!("{name}/"), files);
        } else {
            files.insert(name, fs::read(entry.path()).expect("the package can be read"));
        }
    }
}

/// A sealed package with changes: bytes, whole files, names. No change goes unseen.
pub fn package(data: &[u8]) {
    let example = example();
    let mut changed = example.package.clone();
    let mut input = Input(data);
    while let (Some(what), Some(which)) = (input.byte(), input.byte()) {
        let name = &example.names[usize::from(which) % example.names.len()];
        match what % 5 {
            0 => {
                let (Some(at), Some(mask)) = (input.number(), input.byte()) else { break };
                if let Some(bytes) = changed.0.get_mut(name).filter(|bytes| !bytes.is_empty()) {
                    let at = usize::from(at) % bytes.len();
                    bytes[at] ^= mask;
                }
            }
            1 => {
                changed.0.remove(name);
            }
            2 => {
                let Some(content) = input.piece() else { break };
                changed.0.insert(name.clone(), content.to_vec());
            }
            3 => {
                let (Some(more), Some(bytes)) = (input.piece(), changed.0.get_mut(name)) else { break };
                bytes.extend_from_slice(more);
            }
            _ => {
                let Some(other) = input.piece() else { break };
                changed.0.insert(String::from_utf8_lossy(other).into_owned(), other.to_vec());
            }
        }
    }
    let options = Options { ca_pem: Some(&example.ca_pem), receipt: None };
    let verification = verify(&changed, &options).expect("a package in memory can be listed");
    let intact = verification.verdict == Verdict::Intact;
    assert_eq!(intact, changed.0 == example.package.0, "{:?}", verification.findings);
    assert_eq!(intact, verification.findings.is_empty());
}

/// Lines of a journal, heads and manifests.
pub fn journal(data: &[u8]) {
    for line in data.split_inclusive(|byte| *byte == b'\n') {
        let _ = Line::parse(line);
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(head) = Head::parse(text) {
        assert_eq!(head.to_text(), text);
    }
    let files = bag::parse_manifest(text);
    assert_eq!(bag::parse_manifest(&bag::manifest(&files)), files);
}

/// A CA's certificate, and a signed head with bytes changed: only the one that was written is taken.
pub fn seal(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = Authority::from_pem(text);
    }
    let example = example();
    let authority = Authority::from_pem(&example.ca_pem).expect("the recorder's own");
    let [content, written] = [".txt", ".p7s"].map(|ending| {
        let found =
            example.package.0.iter().find(|(name, _)| name.ends_with(ending) && name.contains("head-"));
        found.map(|(_, bytes)| bytes.as_slice()).expect("a sealed package has heads")
    });
    assert!(authority.check(content, written).is_ok());
    assert!(authority.check(content, data).is_err() || data == written);
    let mut changed = written.to_vec();
    let mut input = Input(data);
    while let (Some(at), Some(byte)) = (input.number(), input.byte()) {
        let at = usize::from(at) % changed.len();
        changed[at] = byte;
    }
    assert!(authority.check(content, &changed).is_err() || changed == written);
}
