//! Lists the browser's files, so that they are built into the binary, each with its compressed forms and the hash that
//! its entity-tag is made of. Without `web/dist` the list is empty, and the server says so on its pages. And tells the program when it was built, for `hewei doctor`: a clock that shows
//! an earlier time is off.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

fn main() -> io::Result<()> {
    // Whoever builds reproducibly says which time it is (reproducible-builds.org/specs/source-date-epoch).
    println!("cargo:rerun-if-env-changed=SOURCE_DATE_EPOCH");
    let given = env::var("SOURCE_DATE_EPOCH").ok().and_then(|seconds| seconds.parse::<u64>().ok());
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    println!("cargo:rustc-env=BUILT_AT_UNIX_S={}", given.unwrap_or_else(now));
    let dist = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../web/dist");
    // Made when it is missing: cargo would otherwise run this at every build.
    fs::create_dir_all(&dist)?;
    let dist = dist.canonicalize()?;
    println!("cargo:rerun-if-changed={}", dist.display());
    let mut files = Vec::new();
    walk(&dist, &dist, &mut files)?;
    files.sort();
    let at = |name: &str| files.binary_search_by(|(other, _)| other.as_str().cmp(name)).ok();
    let compressed = |name: &str, ending: &str| {
        let path = at(&format!("{name}.{ending}")).map(|at| &files[at].1);
        path.map_or("None".to_owned(), |path| format!("Some(include_bytes!({path:?}))"))
    };
    let mut code = String::from("pub(super) static FILES: &[super::File] = &[\n");
    for (name, path) in &files {
        if name
            .rsplit_once('.')
            .is_some_and(|(of, ending)| ["br", "gz"].contains(&ending) && at(of).is_some())
        {
            continue;
        }
        let hash = hash(&fs::read(path)?);
        let (brotli, gzip) = (compressed(name, "br"), compressed(name, "gz"));
        code.push_str(&format!(
            "    super::File {{ name: {name:?}, hash: \"{hash:016x}\", plain: include_bytes!({path:?}), \
             brotli: {brotli}, gzip: {gzip} }},\n"
        ));
    }
    code.push_str("];\n");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    fs::write(out.join("web.rs"), code)
}

/// FNV-1a of 64 bits: tells one build's file from another's, and guards against nobody.
fn hash(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

fn walk(root: &Path, folder: &Path, files: &mut Vec<(String, PathBuf)>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            walk(root, &path, files)?;
        } else if let Ok(name) = path.strip_prefix(root) {
            files.push((name.to_string_lossy().into_owned(), path));
        }
    }
    Ok(())
}
