//! Imports go down only.
//!
//! Reads the workspace as cargo sees it and holds each crate's normal and build dependencies against the floors
//! drawn in `ARCHITECTURE.md`. Dev-dependencies are free: a test may look at the house from outside.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Bottom to top. A crate may use crates of lower floors; a crate without a floor fails the test.
const FLOORS: &[&[&str]] = &[
    &["hewei-model"],
    &["hewei-media"],
    &["hewei-sfu", "hewei-peer", "hewei-turn", "hewei-wall", "hewei-casework", "hewei-evidence", "hewei-api"],
    &["hewei-engine", "hewei-cameras", "hewei-store", "hewei-transcode", "hewei-client"],
    &["hewei-recorder", "hewei", "hewei-benches", "hewei-netsim"],
    &["hewei-fuzz"],
];

/// The only imports between neighbours: the server runs the recorder in its own process.
const DOORS: &[(&str, &str)] = &[("hewei", "hewei-recorder")];

/// The topmost floor whose crates have no I/O: model, media and the cores.
const LAST_PURE_FLOOR: usize = 2;

/// What a crate without I/O has no use for: runtimes, sockets, databases, system calls, subscribers of logs.
const IO_CRATES: &[&str] = &[
    "axum",
    "hyper",
    "libc",
    "mio",
    "nix",
    "object_store",
    "quinn-udp",
    "reqwest",
    "retina",
    "rustix",
    "socket2",
    "sqlx",
    "tokio",
    "tracing-subscriber",
];

/// Direct dependencies of one workspace member, dev-dependencies left out.
type Workspace = BTreeMap<String, BTreeSet<String>>;

#[test]
fn imports_go_down_only() {
    let violations = floor_violations(&workspace());
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

#[test]
fn cores_have_no_io() {
    let violations = io_violations(&workspace());
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

#[test]
fn an_import_upward_is_found() {
    assert_eq!(floor_violations(&workspace_of("hewei-media", &["hewei-engine"])).len(), 1);
}

#[test]
fn an_import_between_neighbours_is_found() {
    assert_eq!(floor_violations(&workspace_of("hewei-sfu", &["hewei-peer"])).len(), 1);
    assert_eq!(floor_violations(&workspace_of("hewei-recorder", &["hewei"])).len(), 1);
    assert_eq!(floor_violations(&workspace_of("hewei", &["hewei-recorder"])).len(), 0);
}

#[test]
fn a_crate_without_a_floor_is_found() {
    let violations = floor_violations(&workspace_of("hewei-common", &[]));
    assert_eq!(violations.len(), 1);
    assert!(violations[0].contains("hewei-common has no floor"), "{violations:?}");
}

#[test]
fn io_in_a_core_is_found() {
    assert_eq!(io_violations(&workspace_of("hewei-peer", &["tokio"])).len(), 1);
    assert_eq!(io_violations(&workspace_of("hewei-engine", &["libc"])).len(), 0);
}

fn floor_violations(workspace: &Workspace) -> Vec<String> {
    let mut violations = Vec::new();
    for (importer, imports) in workspace {
        let Some(floor) = floor_of(importer) else {
            violations.push(format!("{importer} has no floor: give it one in signaling/tests/floors.rs"));
            continue;
        };
        for import in imports.iter().filter(|import| workspace.contains_key(*import)) {
            let Some(below) = floor_of(import) else { continue };
            if below >= floor && !DOORS.contains(&(importer.as_str(), import.as_str())) {
                violations.push(format!("{importer} (floor {floor}) imports {import} (floor {below})"));
            }
        }
    }
    violations
}

fn io_violations(workspace: &Workspace) -> Vec<String> {
    workspace
        .iter()
        .filter(|(name, _)| floor_of(name).is_some_and(|floor| floor <= LAST_PURE_FLOOR))
        .flat_map(|(name, imports)| {
            let io = imports.iter().filter(|import| IO_CRATES.contains(&import.as_str()));
            io.map(move |import| format!("{name} has no I/O, yet imports {import}"))
        })
        .collect()
}

fn floor_of(package: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&package))
}

fn workspace() -> Workspace {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs this test, so it can be run");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let packages = list(&metadata["packages"]);
    assert!(packages.len() > 1, "cargo metadata lists the members of the workspace");
    packages.iter().map(|package| (text(&package["name"]), imports_of(package))).collect()
}

fn imports_of(package: &Value) -> BTreeSet<String> {
    let dependencies = list(&package["dependencies"]).iter();
    dependencies.filter(|dependency| dependency["kind"] != "dev").map(|found| text(&found["name"])).collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("cargo metadata names this list").as_slice()
}

fn text(value: &Value) -> String {
    value.as_str().expect("cargo metadata names this string").to_owned()
}

/// A made-up workspace in which `importer` imports `imports`; every crate with a floor is a member.
fn workspace_of(importer: &str, imports: &[&str]) -> Workspace {
    let members = FLOORS.iter().flat_map(|floor| floor.iter());
    let mut workspace: Workspace = members.map(|name| ((*name).to_owned(), BTreeSet::new())).collect();
    workspace.insert(importer.to_owned(), imports.iter().map(|import| (*import).to_owned()).collect());
    workspace
}
