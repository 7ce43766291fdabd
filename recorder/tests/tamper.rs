//! Whatever is changed in a sealed package, both verifiers say so and name the file.

mod support;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use cms::{
    content_info::ContentInfo,
    signed_data::{SignedData, SignerInfos},
};
use der::{
    Any, Decode, Encode,
    asn1::{OctetString, SetOfVec},
};
use hewei_evidence::{
    bag,
    hash::{Hash, hash_file},
    journal::{self, Head},
    verify::{Options, Package, Verdict, verify},
};
use hewei_model::{Codec, ParticipantId, Role};
use hewei_recorder::package::Directory;
use p256::ecdsa::Signature;
use support::*;

const SECONDS: u32 = 12;

/// A package with pictures, sound, consent and a few heads.
fn sealed() -> Closed {
    session().close()
}

/// One that was interrupted and recovered.
fn recovered() -> Closed {
    let interrupted = session().interrupt();
    let recovered = interrupted.recover("recovered", |_| {}).expect("recovered");
    interrupted.closed(&recovered)
}

fn session() -> Session {
    let mut session = Session::begin();
    let mut packets = Vec::new();
    for (number, codec) in [Codec::H264, Codec::Opus].into_iter().enumerate() {
        let frames = match codec {
            Codec::H264 => h264_frames("160x90", SECONDS),
            _ => opus_frames(SECONDS),
        };
        let mut sender = Sender::new(codec, "张三", Role::Party, ParticipantId::from_u128(number as u128));
        session.open(&sender);
        packets.extend(sender.send(START, &frames));
    }
    session.play(packets, START + Duration::from_secs(12));
    session
}

/// A package, a verifier script and a CA from outside it.
struct Bench {
    closed: Closed,
    script: PathBuf,
}

impl Bench {
    fn new() -> Self {
        Self::of(sealed())
    }

    /// One of a session that was closed, and one of a session that was interrupted.
    fn both() -> [Self; 2] {
        [Self::of(sealed()), Self::of(recovered())]
    }

    fn of(closed: Closed) -> Self {
        let script = closed.folder.path().join("verify.sh");
        fs::write(&script, bag::VERIFY_SH.1).expect("written");
        Self { closed, script }
    }

    fn package(&self) -> &Path {
        &self.closed.sealed.package
    }

    fn files(&self) -> Vec<String> {
        Directory::new(self.package()).files().expect("listed")
    }

    /// Both verifiers must fail and name `file`.
    fn assert_caught(&self, package: &Path, file: &str, what: &str) {
        self.assert_rust_catches(package, file, what);
        self.assert_script_catches(package, file, what);
    }

    fn assert_rust_catches(&self, package: &Path, file: &str, what: &str) {
        let verification = run_verifier(self.closed.identity.ca_pem(), package);
        assert_ne!(verification.verdict, Verdict::Intact, "{what}");
        assert!(
            verification.findings.iter().any(|finding| finding.file == file),
            "{what}: {file} is not named in {:#?}",
            verification.findings
        );
    }

    fn assert_script_catches(&self, package: &Path, file: &str, what: &str) {
        let (passes, text) = run_script(&self.script, &self.closed.ca, package);
        assert!(!passes, "{what}: the script passes");
        assert!(text.contains(file), "{what}: {file} is not named in {text}");
        assert!(!text.contains("\nOK"), "{what}: {text}");
    }

    /// A package that somebody else rewrote, signed with a CA of their own, and sealed anew.
    fn forged(&self, name: &str) -> PathBuf {
        let package = self.copy(name);
        let keys = self.closed.folder.path().join("forger");
        hewei_recorder::Identity::load_or_create(&keys, started_at()).expect("identity");
        let read = |name: &str| fs::read_to_string(keys.join(name)).expect("file");
        let sealer = hewei_evidence::seal::Sealer::from_pem(&read("recorder.key.pem"), &read("recorder.pem"))
            .expect("a key");
        // The journal names the certificates' files with their hashes.
        let mut text = fs::read_to_string(package.join(journal::PATH)).expect("file");
        for (path, name) in [(bag::CA_PATH, "ca.pem"), (bag::RECORDER_PATH, "recorder.pem")] {
            let was = fs::read(package.join(path)).expect("file");
            let is = read(name);
            fs::write(package.join(path), &is).expect("written");
            let says =
                |bytes: &[u8]| format!("\"bytes\":{},\"sha256\":\"{}\"", bytes.len(), Hash::sha256(bytes));
            text = text.replace(&says(&was), &says(is.as_bytes()));
        }
        fs::write(package.join(journal::PATH), text).expect("written");
        rewrite(&package, |head| Some(sealer.seal(head, started_at()).expect("sealed")));
        package
    }

    /// A copy to tamper with.
    fn copy(&self, name: &str) -> PathBuf {
        let to = self.closed.folder.path().join(name);
        copy(self.package(), &to);
        to
    }
}

fn flip(path: &Path, at: usize, bit: u8) {
    let mut bytes = fs::read(path).expect("file");
    bytes[at] ^= 1 << bit;
    fs::write(path, bytes).expect("written");
}

/// Writes all manifests again, as somebody who tampers would.
fn regenerate_manifests(package: &Path) {
    let directory = Directory::new(package);
    let (mut sha256, mut sm3, mut tags) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let hashes =
        |path: &str| hash_file(&mut fs::File::open(package.join(path)).expect("file")).expect("read");
    for path in directory.files().expect("listed") {
        if path.starts_with("data/") {
            sha256.insert(path.clone(), hashes(&path).sha256);
            sm3.insert(path.clone(), hashes(&path).sm3);
        }
    }
    fs::write(package.join(bag::MANIFEST_SHA256), bag::manifest(&sha256)).expect("written");
    fs::write(package.join(bag::MANIFEST_SM3), bag::manifest(&sm3)).expect("written");
    for name in bag::TAG_FILES {
        tags.insert(name.to_owned(), hashes(name).sha256);
    }
    fs::write(package.join(bag::TAG_MANIFEST), bag::manifest(&tags)).expect("written");
}

fn segment(bench: &Bench, number: &str) -> String {
    bench.files().into_iter().find(|path| path.ends_with(number)).expect("a segment")
}

#[test]
fn an_untouched_package_passes_both_and_is_a_bag() {
    let bench = Bench::new();
    let (passes, text) = run_script(&bench.script, &bench.closed.ca, bench.package());
    assert!(passes && text.ends_with("OK\n"), "{text}");
    let verification = run_verifier(bench.closed.identity.ca_pem(), bench.package());
    assert_eq!(verification.verdict, Verdict::Intact, "{:#?}", verification.findings);
    assert_eq!(verification.files, bench.files().len() as u64);
    assert!(verification.signed_by.is_some_and(|subject| subject.contains("Hewei recorder")));
    assert!(verification.signed_at.is_some_and(|at| at.starts_with("2026-09-21T")));
    // The commands in VERIFY.md.
    let shell = |command: &str| {
        let out = Command::new("sh").args(["-c", command]).current_dir(bench.package()).output().expect("sh");
        assert!(out.status.success(), "{command}: {}", String::from_utf8_lossy(&out.stderr));
    };
    shell("sha256sum -c manifest-sha256.txt && sha256sum -c tagmanifest-sha256.txt");
    shell(&format!(
        "openssl cms -verify -binary -content data/seals/head-000001.txt -in data/seals/head-000001.p7s \
         -inform DER -CAfile {} -purpose any",
        bench.closed.ca.display()
    ));
}

#[test]
fn a_package_forged_with_a_ca_of_its_own_is_never_plainly_ok() {
    let bench = Bench::new();
    let script = |package: &Path| {
        let out = Command::new("sh").arg(&bench.script).args(["".as_ref(), package]).output().expect("sh");
        (out.status.success(), String::from_utf8_lossy(&out.stdout).into_owned())
    };
    let package = bench.forged("forged");
    for package in [bench.package(), &package] {
        let (passes, text) = script(package);
        let last = text.lines().last().expect("a line");
        assert!(passes && last.starts_with("CONSISTENT; SIGNER NOT CHECKED"), "{text}");
        assert!(last.contains("CA") && last.contains("未核对"), "{last}");
        assert!(!text.contains("\nOK") && !text.contains("Nothing was changed"), "{text}");
        let options = Options { ca_pem: None, receipt: None };
        let verification = verify(&Directory::new(package), &options).expect("read");
        assert_eq!((verification.verdict, verification.signer_checked), (Verdict::Intact, false));
    }
    bench.assert_caught(&package, "data/seals/head-000001.p7s", "forged with a CA of its own");
    let verification = run_verifier(bench.closed.identity.ca_pem(), bench.package());
    assert!(verification.signer_checked);
    // A CA that is not there is not the same as none.
    let mut missing = Command::new("sh");
    missing.arg(&bench.script).args(["/no/ca.pem".as_ref(), bench.package()]);
    assert_eq!(missing.output().expect("sh").status.code(), Some(2));
}

#[test]
fn a_file_named_like_a_head_is_seen() {
    let bench = Bench::new();
    for name in ["head-000099.p7s", "head-000099.txt", "head-1.p7s", "head-1.txt", "head-999999.p7s"] {
        let package = bench.copy(&format!("named-{name}"));
        let file = format!("data/seals/{name}");
        fs::copy(package.join("data/seals/head-000001.txt"), package.join(&file)).expect("copied");
        regenerate_manifests(&package);
        bench.assert_caught(&package, &file, "named like a head");
    }
    for ending in ["txt", "p7s"] {
        let package = bench.copy(&format!("half-{ending}"));
        let file = format!("data/seals/head-000002.{ending}");
        fs::remove_file(package.join(&file)).expect("removed");
        regenerate_manifests(&package);
        bench.assert_caught(&package, &file, "half a head");
    }
}

#[test]
fn names_that_begin_with_dots_and_empty_folders_are_seen() {
    let bench = Bench::new();
    for name in ["..evil", "...", ".x", "-n"] {
        let package = bench.copy(&format!("dots-{name}"));
        fs::write(package.join(name), "x").expect("written");
        bench.assert_caught(&package, name, "a file beside data/");
        fs::remove_file(package.join(name)).expect("removed");
        fs::create_dir(package.join(name)).expect("made");
        bench.assert_caught(&package, &format!("{name}/"), "an empty folder beside data/");
        fs::write(package.join(name).join("x"), "x").expect("written");
        bench.assert_rust_catches(&package, &format!("{name}/x"), "a file in a folder beside data/");
        bench.assert_script_catches(&package, name, "a folder beside data/");
    }
    let package = bench.copy("emptied");
    fs::create_dir_all(package.join("data/docs/a/b")).expect("made");
    bench.assert_caught(&package, "data/docs/a/b/", "an empty folder in data/");
}

#[test]
fn heads_can_not_be_taken_out_put_in_or_renumbered() {
    for bench in Bench::both() {
        let heads =
            bench.files().iter().filter(|path| path.contains("/head-") && path.ends_with(".txt")).count();
        assert!(heads >= 3, "{heads}");
        let shift = |package: &Path, from: usize, to: usize| {
            for ending in ["txt", "p7s"] {
                let stem =
                    |number: usize| package.join(format!("{}.{ending}", bag::head_stem(number as u64)));
                fs::rename(stem(from), stem(to)).expect("moved");
            }
        };
        // The second is taken out, and the others move up.
        let package = bench.copy("removed");
        for ending in ["txt", "p7s"] {
            fs::remove_file(package.join(format!("{}.{ending}", bag::head_stem(2)))).expect("removed");
        }
        (3..=heads).for_each(|number| shift(&package, number, number - 1));
        regenerate_manifests(&package);
        bench.assert_caught(&package, &format!("{}.txt", bag::head_stem(heads as u64)), "a head taken out");
        // The first is there twice.
        let package = bench.copy("doubled");
        (2..=heads).rev().for_each(|number| shift(&package, number, number + 1));
        for ending in ["txt", "p7s"] {
            let stem = |number: u64| package.join(format!("{}.{ending}", bag::head_stem(number)));
            fs::copy(stem(1), stem(2)).expect("copied");
        }
        regenerate_manifests(&package);
        bench.assert_caught(&package, &format!("{}.txt", bag::head_stem(2)), "a head put in");
        // Two change places.
        let package = bench.copy("swapped");
        shift(&package, 1, 99);
        shift(&package, 2, 1);
        shift(&package, 99, 2);
        regenerate_manifests(&package);
        bench.assert_caught(&package, &format!("{}.txt", bag::head_stem(2)), "heads that changed places");
    }
}

#[test]
fn the_script_lets_no_control_character_through() {
    let bench = Bench::new();
    let package = bench.copy("colours");
    fs::write(package.join("data/docs/\u{1b}[2J\u{9b}31m\rOK"), "x").expect("written");
    let (passes, text) = run_script(&bench.script, &bench.closed.ca, &package);
    assert!(!passes && text.contains("no plain file"), "{text}");
    assert!(!text.chars().any(|char| char.is_control() && char != '\n'), "{text:?}");
    // And from the journal's own text.
    let package = bench.copy("journal");
    let text = fs::read_to_string(package.join(journal::PATH)).expect("file");
    let edited = text.replacen("\"file\":\"data/docs", "\"file\":\"\u{1b}]0;\u{7}data/docs", 1);
    assert_ne!(text, edited);
    fs::write(package.join(journal::PATH), edited).expect("written");
    let (passes, text) = run_script(&bench.script, &bench.closed.ca, &package);
    assert!(!passes && !text.chars().any(|char| char.is_control() && char != '\n'), "{text:?}");
}

#[test]
fn sums_of_a_crafted_journal_do_not_overflow() {
    let bench = Bench::new();
    let package = bench.copy("sums");
    let text = fs::read_to_string(package.join(journal::PATH)).expect("file");
    let segment = segment(&bench, "000000.m4s");
    // Its first fragment is all there is of the file, and says that it is endless; the second begins after that.
    fs::write(package.join(&segment), "x").expect("written");
    let mut offset = 0;
    let lines: Vec<String> = text
        .lines()
        .map(|line| {
            let mut value: serde_json::Value = serde_json::from_str(line).expect("JSON");
            if value["t"] != "seg" || value["file"] != segment.as_str() {
                return line.to_owned();
            }
            value["offset"] = offset.into();
            value["bytes"] = u64::MAX.into();
            value["sha256"] = Hash::sha256(b"x").to_string().into();
            offset = u64::MAX;
            value.to_string()
        })
        .collect();
    assert_eq!(offset, u64::MAX);
    fs::write(package.join(journal::PATH), lines.join("\n") + "\n").expect("written");
    bench.assert_rust_catches(&package, &segment, "lengths that do not add up");
}

#[test]
fn a_flipped_bit_anywhere_in_any_file_is_caught_by_the_rust_verifier() {
    for bench in Bench::both() {
        let package = bench.copy("flipped");
        let mut random = Random(3);
        for file in bench.files() {
            let path = package.join(&file);
            let whole = fs::read(&path).expect("file");
            let mut offsets = vec![0, whole.len() - 1];
            offsets.extend((0..4).map(|_| random.next() as usize % whole.len()));
            for at in offsets {
                let bit = (random.next() % 8) as u8;
                flip(&path, at, bit);
                bench.assert_rust_catches(&package, &file, &format!("bit {bit} of byte {at} of {file}"));
                fs::write(&path, &whole).expect("written");
            }
        }
        assert_eq!(run_verifier(bench.closed.identity.ca_pem(), &package).verdict, Verdict::Intact);
    }
}

#[test]
fn a_flipped_bit_in_any_file_is_caught_by_the_script() {
    let bench = Bench::new();
    let package = bench.copy("flipped");
    let mut random = Random(4);
    for file in bench.files() {
        let path = package.join(&file);
        let whole = fs::read(&path).expect("file");
        // Bit 5 turns a hexadecimal letter into its capital, which `sha256sum -c` would not notice.
        let (at, bit) = (random.next() as usize % whole.len(), 5);
        flip(&path, at, bit);
        bench.assert_script_catches(&package, &file, &format!("bit {bit} of byte {at} of {file}"));
        fs::write(&path, &whole).expect("written");
    }
}

#[test]
fn a_bad_fragment_is_named_to_the_second_even_with_new_manifests() {
    for bench in Bench::both() {
        let package = bench.copy("flipped");
        let file = segment(&bench, "000001.m4s");
        let length = fs::metadata(package.join(&file)).expect("file").len() as usize;
        flip(&package.join(&file), length - 1, 0);
        regenerate_manifests(&package);
        bench.assert_caught(&package, &file, "a flipped bit");
        let verification = run_verifier(bench.closed.identity.ca_pem(), &package);
        let at_ms = verification.findings.iter().find_map(|finding| finding.at_ms).expect("a time");
        assert!((10_000..12_000).contains(&at_ms), "the last second that was kept: {at_ms}");
        let (_, text) = run_script(&bench.script, &bench.closed.ca, &package);
        assert!(text.contains(&format!("{at_ms} ms after")), "{text}");
    }
}

#[test]
fn a_deleted_segment_is_missed() {
    for bench in Bench::both() {
        let package = bench.copy("deleted");
        let file = segment(&bench, "000000.m4s");
        fs::remove_file(package.join(&file)).expect("removed");
        bench.assert_caught(&package, &file, "a deleted segment");
        assert_eq!(run_verifier(bench.closed.identity.ca_pem(), &package).verdict, Verdict::Incomplete);
        regenerate_manifests(&package);
        bench.assert_caught(&package, &file, "a deleted segment, new manifests");
    }
}

#[test]
fn an_inserted_segment_is_seen() {
    for bench in Bench::both() {
        let package = bench.copy("inserted");
        let file = segment(&bench, "000001.m4s");
        let inserted = file.replace("000001", "000002");
        fs::copy(package.join(&file), package.join(&inserted)).expect("copied");
        bench.assert_caught(&package, &inserted, "an inserted segment");
        regenerate_manifests(&package);
        bench.assert_caught(&package, &inserted, "an inserted segment, new manifests");
        fs::remove_file(package.join(&inserted)).expect("removed");
        fs::write(package.join("extra.txt"), "x").expect("written");
        bench.assert_caught(&package, "extra.txt", "an inserted file beside data/");
    }
}

#[test]
fn an_edited_consent_is_seen() {
    for bench in Bench::both() {
        for file in ["data/docs/consent.jsonl", journal::PATH] {
            let package = bench.copy(&format!("edited-{}", file.len()));
            let text = fs::read_to_string(package.join(file)).expect("file");
            assert!(text.contains("\"granted\":true"));
            fs::write(package.join(file), text.replacen("\"granted\":true", "\"granted\":false", 1))
                .expect("written");
            regenerate_manifests(&package);
            bench.assert_caught(&package, file, "an edited consent");
        }
    }
}

#[test]
fn a_dropped_last_line_is_seen() {
    for bench in Bench::both() {
        let package = bench.copy("dropped");
        let text = fs::read_to_string(package.join(journal::PATH)).expect("file");
        let end = text.trim_end().rfind('\n').expect("lines") + 1;
        fs::write(package.join(journal::PATH), &text[..end]).expect("written");
        regenerate_manifests(&package);
        bench.assert_caught(&package, journal::PATH, "a dropped last line");
    }
}

/// Chains the lines again, and writes the heads to match.
fn rewrite(package: &Path, seal: impl Fn(&[u8]) -> Option<Vec<u8>>) {
    let text = fs::read_to_string(package.join(journal::PATH)).expect("file");
    let edited = text.replacen("\"granted\":true", "\"granted\":false", 1);
    let (mut prev, mut hashes, mut out) = (Hash::ZERO, Vec::new(), String::new());
    for line in edited.lines() {
        let at = line.find("\"prev\":\"").expect("prev") + 8;
        let line = format!("{}{prev}{}\n", &line[..at], &line[at + 64..]);
        prev = Hash::sha256(line.as_bytes());
        hashes.push(prev);
        out.push_str(&line);
    }
    fs::write(package.join(journal::PATH), out).expect("written");
    for number in 1.. {
        let stem = package.join(bag::head_stem(number));
        let Ok(text) = fs::read_to_string(stem.with_extension("txt")) else { break };
        let count = Head::parse(&text).expect("a head").count;
        let head = Head { count, hash: hashes[count as usize - 1] }.to_text();
        fs::write(stem.with_extension("txt"), &head).expect("written");
        if let Some(seal) = seal(head.as_bytes()) {
            fs::write(stem.with_extension("p7s"), seal).expect("written");
        }
    }
    regenerate_manifests(package);
}

#[test]
fn a_rewritten_journal_and_head_fail_at_the_signature() {
    for bench in Bench::both() {
        let package = bench.copy("rewritten");
        rewrite(&package, |_| None);
        bench.assert_caught(&package, "data/seals/head-000002.txt", "rewritten without the key");
    }
}

#[test]
fn a_package_sealed_anew_by_somebody_else_fails_at_the_ca_and_at_the_receipt() {
    let bench = Bench::new();
    let package = bench.copy("resealed");
    let keys = bench.closed.folder.path().join("foreign");
    hewei_recorder::Identity::load_or_create(&keys, started_at()).expect("identity");
    let read = |name: &str| fs::read_to_string(keys.join(name)).expect("file");
    let sealer = hewei_evidence::seal::Sealer::from_pem(&read("recorder.key.pem"), &read("recorder.pem"))
        .expect("a key");
    rewrite(&package, |head| Some(sealer.seal(head, started_at()).expect("sealed")));
    bench.assert_caught(&package, "data/seals/head-000002.p7s", "signed by another");

    // With the foreign CA in the package as well, only what comes from outside can tell.
    let receipt = bench.closed.sealed.head_hash.as_str();
    let options = Options { ca_pem: Some(&read("ca.pem")), receipt: Some(receipt) };
    let verification = verify(&Directory::new(&package), &options).expect("read");
    assert!(verification.findings.iter().any(|finding| finding.problem.contains("receipt")));
    let ours = Options { ca_pem: None, receipt: Some(receipt) };
    let verification = verify(&Directory::new(bench.package()), &ours).expect("read");
    assert_eq!(verification.verdict, Verdict::Intact, "the receipt of the package itself");
    assert!(!verification.signer_checked);
}

/// The signature's twin: for ECDSA, `n - s` holds as well as `s`.
fn twin(seal: &[u8]) -> Vec<u8> {
    let info = ContentInfo::from_der(seal).expect("CMS");
    let mut data: SignedData = info.content.decode_as().expect("signed data");
    let mut signer = data.signer_infos.0.as_slice()[0].clone();
    let signature = Signature::from_der(signer.signature.as_bytes()).expect("a signature");
    let twin = Signature::from_scalars(signature.r(), -signature.s()).expect("a signature");
    signer.signature = OctetString::new(twin.to_der().as_bytes()).expect("short");
    data.signer_infos = SignerInfos(SetOfVec::try_from(vec![signer]).expect("one"));
    let content = Any::encode_from(&data).expect("DER");
    ContentInfo { content_type: info.content_type, content }.to_der().expect("DER")
}

#[test]
fn the_twin_of_a_signature_is_refused() {
    let bench = Bench::new();
    let package = bench.copy("twin");
    let file = "data/seals/head-000002.p7s";
    let seal = fs::read(package.join(file)).expect("file");
    let (twin, back) = (twin(&seal), twin(&twin(&seal)));
    assert!(twin != seal && back == seal);
    fs::write(package.join(file), twin).expect("written");
    regenerate_manifests(&package);
    // For openssl it holds.
    let out = Command::new("openssl")
        .args(["cms", "-verify", "-binary", "-inform", "DER", "-purpose", "any", "-out", "/dev/null"])
        .args(["-content".as_ref(), package.join("data/seals/head-000002.txt").as_os_str()])
        .args(["-in".as_ref(), package.join(file).as_os_str()])
        .args(["-CAfile".as_ref(), bench.closed.ca.as_os_str()])
        .output()
        .expect("openssl");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    bench.assert_caught(&package, file, "the twin of a signature");
}

#[test]
fn a_link_out_of_the_package_is_not_followed() {
    let bench = Bench::new();
    let package = bench.copy("linked");
    let file = segment(&bench, "000000.m4s");
    let path = package.join(&file);
    let outside = bench.closed.folder.path().join("outside");
    fs::rename(&path, &outside).expect("moved");
    std::os::unix::fs::symlink(&outside, &path).expect("linked");
    bench.assert_caught(&package, &file, "a link");
}
