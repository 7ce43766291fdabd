//! Each target takes its whole corpus, and inputs made from it by seeded changes, on stable Rust.

use std::{collections::BTreeSet, fs, path::PathBuf};

use hewei_fuzz::TARGETS;

/// Changed inputs of each target.
const CHANGED: u64 = 20_000;
/// Those that make keys, check signatures or write files take longer.
const SLOW: [&str; 6] = ["dtls", "package", "recording", "sdp", "sdpfrag", "seal"];
const CHANGED_SLOW: u64 = 200;

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder("corpus").join(target))
        .unwrap_or_else(|error| panic!("fuzz/corpus/{target}: {error}"))
        .map(|entry| entry.expect("readable").path())
        .collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).expect("readable")).collect()
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    fn change(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        match self.below(6) {
            0 => {
                let at = self.below(bytes.len() + 1);
                bytes.truncate(at);
            }
            1 => {
                let at = self.below(bytes.len() + 1);
                bytes.insert(at, self.next() as u8);
            }
            2 if !other.is_empty() => {
                let (at, from) = (self.below(bytes.len() + 1), self.below(other.len()));
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            3 if !bytes.is_empty() => {
                let at = self.below(bytes.len());
                bytes[at] = [0, 1, 0x7f, 0x80, 0xff, b'\n', b'"', b'='][self.below(8)];
            }
            _ if !bytes.is_empty() => {
                let at = self.below(bytes.len());
                bytes[at] ^= 1 << self.below(8);
            }
            _ => bytes.push(self.next() as u8),
        }
    }
}

#[test]
fn every_target_takes_its_corpus_and_what_is_made_of_it() {
    for (number, (name, target)) in TARGETS.iter().enumerate() {
        let corpus = corpus(name);
        assert!(!corpus.is_empty(), "fuzz/corpus/{name} is empty");
        let started = std::time::Instant::now();
        corpus.iter().for_each(|input| target(input));
        let mut random = Random(number as u64);
        let rounds = if SLOW.contains(name) { CHANGED_SLOW } else { CHANGED };
        for _ in 0..rounds {
            let mut input = corpus[random.below(corpus.len())].clone();
            let other = &corpus[random.below(corpus.len())];
            for _ in 0..=random.below(4) {
                random.change(&mut input, other);
            }
            // What breaks a target is kept where it can be run again.
            let outcome = std::panic::catch_unwind(|| target(&input));
            if let Err(panic) = outcome {
                let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("broke-{name}"));
                fs::write(&path, &input).expect("written");
                eprintln!("{name} broke on {}", path.display());
                std::panic::resume_unwind(panic);
            }
        }
        println!("{name}: {} inputs and {rounds} changed, {:.1?}", corpus.len(), started.elapsed());
    }
}

#[test]
fn every_target_has_its_bin_and_its_corpus_and_there_are_no_others() {
    let names: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let listed = |under: &str| -> BTreeSet<String> {
        fs::read_dir(folder(under))
            .expect("readable")
            .map(|entry| entry.expect("readable").path())
            .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
            .collect()
    };
    assert_eq!(listed("fuzz_targets"), names);
    assert_eq!(listed("corpus"), names);
    let manifest = fs::read_to_string(folder("Cargo.toml")).expect("readable");
    for name in names {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name} is no bin");
    }
}
