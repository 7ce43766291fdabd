//! The demo camera as a process: it leaves nothing behind and shows its password to nobody.

#![allow(clippy::unwrap_used, reason = "a test may stop at what it did not expect")]

mod support;

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use support::*;

#[tokio::test]
async fn it_ends_with_its_parent_and_hides_its_password() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../signaling/demo/cameras.py");
    let mut parent = Command::new("sh")
        .args(["-c", "/usr/bin/python3 \"$0\" --port 0 --user \"$1\" --password-from-env & echo $!; wait"])
        .arg(script)
        .arg(USER)
        .env("HEWEI_DEMO_CAMERA_PASSWORD", PASSWORD)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(parent.stdout.take().unwrap()).lines().map(Result::unwrap);
    let camera: u32 = lines.next().unwrap().parse().unwrap();
    let port = lines.next().unwrap();
    assert!(port.starts_with("port "), "{port}");
    assert_eq!(lines.next().as_deref(), Some("ready"));

    let process = PathBuf::from(format!("/proc/{camera}"));
    let command_line = std::fs::read_to_string(process.join("cmdline")).unwrap();
    assert!(command_line.contains("cameras.py") && !command_line.contains(PASSWORD));

    parent.kill().unwrap();
    parent.wait().unwrap();
    until("the camera's process ends", || !process.exists() || zombie(&process)).await;
}

/// Ended, and waits for whoever adopted it.
fn zombie(process: &Path) -> bool {
    std::fs::read_to_string(process.join("stat")).is_ok_and(|stat| stat.contains(") Z "))
}
