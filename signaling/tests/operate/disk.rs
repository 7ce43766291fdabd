//! A disk that runs full: no recording starts without room, and one under way ends and is sealed in time.

use std::{fs, path::Path, process::Command};

use hewei_client::CallEvent;
use serde_json::json;

use crate::serve::{Served, Speaker, until, verify};

/// Starts a program with mounts of its own: as root, or where the kernel lets users make namespaces.
fn with_own_mounts() -> Option<Vec<&'static str>> {
    [vec!["unshare", "--mount"], vec!["unshare", "--mount", "--map-root-user"]].into_iter().find(|unshare| {
        let mounted = Command::new(unshare[0])
            .args(&unshare[1..])
            .args(["mount", "-t", "tmpfs", "tmpfs", "/mnt"])
            .output();
        mounted.is_ok_and(|output| output.status.success())
    })
}

fn fault(event: CallEvent) -> Option<String> {
    match event {
        CallEvent::Recording { fault, .. } => fault,
        _ => None,
    }
}

#[tokio::test]
async fn no_recording_starts_without_room() {
    let folder = tempfile::tempdir().unwrap();
    // More than any disk here has.
    let served = Served::start_with(folder.path(), |command| {
        command.env("HEWEI_RECORDING_RESERVE_MB", "1000000");
    })
    .await;
    let token = served.token("mediator");
    let health = served.get("/api/v1/health", &token).await;
    if health["disk"]["may_record"] == true {
        println!("skipped: this disk has more than 10^12 bytes free");
        return;
    }
    assert_eq!(health["disk"]["hours_left"], 0.0, "{health}");
    let room = served.room(&token, "2026-1").await;
    let mut speaker = Speaker::enter(&served, &token, &room).await;
    // The call goes on, and people are told.
    assert!(speaker.speak(25).await);
    until("the session runs", async || {
        served.get("/api/v1/cases", &token).await[0]["rooms"][0]["live"] == true
    })
    .await;
    assert!(served.packages().is_empty());
    let log = served.log.lock().unwrap();
    let line =
        log.iter().find(|line| line["fields"]["message"] == "the session is not recorded").expect("logged");
    assert!(line["fields"]["fault"].as_str().unwrap().contains("recording.reserve_mb"), "{line}");
}

#[tokio::test]
async fn a_recording_is_sealed_before_the_disk_is_full() {
    let Some(mut program) = with_own_mounts() else {
        println!("skipped: a small disk of one's own needs root, or user namespaces");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("small")).unwrap();
    program.extend(["sh", "-c", "mount -t tmpfs -o size=16m tmpfs small && exec \"$PROGRAM\" serve"]);
    let served = Served::start_in(folder.path(), &program, |command| {
        command
            .env("HEWEI_RECORDING_FOLDER", folder.path().join("small"))
            .env("HEWEI_RECORDING_RESERVE_MB", "8");
    })
    .await;
    // The server's own mount, as seen from outside.
    let small = format!("/proc/{}/root{}", served.pid(), folder.path().join("small").display());
    let small = Path::new(&small);
    let token = served.token("mediator");
    let room = served.room(&token, "2026-1").await;
    let mut speaker = Speaker::enter(&served, &token, &room).await;
    assert!(speaker.speak(100).await);
    // Somebody else's files take it: a megabyte is left, of the four that must be.
    fs::write(small.join("other"), vec![7; 14_500_000]).unwrap();
    let fault = speaker.hear(fault).await;
    assert!(fault.contains("MB left"), "{fault}");
    // The call goes on without.
    assert!(speaker.speak(25).await);
    let recording = speaker.end_session().await;
    let path = format!("/api/v1/recordings/{recording}");
    until("it is sealed", async || served.get(&path, &token).await["state"] == "sealed").await;
    let sealed = served.get(&path, &token).await;
    assert!(sealed["detail"].as_str().unwrap().contains("MB left"), "{sealed}");
    let verification = served.get(&format!("{path}/verification"), &token).await;
    assert_eq!(verification["verdict"], "intact", "{verification}");
    verify(folder.path(), &small.join(&recording), 1);
    let journal = fs::read_to_string(small.join(&recording).join("data/journal/journal.jsonl")).unwrap();
    assert!(journal.lines().any(|line| line.contains("\"t\":\"fault\"") && line.contains("MB left")));

    // Nothing else starts there.
    let mut speaker =
        Speaker::enter(&served, &served.token("mediator"), &served.room(&token, "2026-2").await).await;
    assert!(speaker.speak(10).await);
    let health = served.get("/api/v1/health", &token).await;
    assert_eq!(health["disk"]["may_record"], json!(false), "{health}");
    assert_eq!(fs::read_dir(small).unwrap().count(), 2, "the other's file and one package");
}
