//! A backup of a running server, restored into an empty folder: cases, accounts, cameras, recordings and their
//! verification are the same.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use serde_json::{Value, json};

use crate::serve::{Served, Speaker, hewei, succeeds, text, until, verify};

/// What must be the same after a restore.
async fn state(served: &Served, recording: &str) -> Vec<Value> {
    let (mediator, administrator) = (served.token("mediator"), served.token("administrator"));
    let mut state = Vec::new();
    for (path, token) in [
        ("/api/v1/cases".to_owned(), &mediator),
        ("/api/v1/regions".into(), &mediator),
        (format!("/api/v1/recordings/{recording}"), &mediator),
        (format!("/api/v1/recordings/{recording}/verification"), &mediator),
        ("/api/v1/walls".into(), &administrator),
        ("/api/v1/accounts".into(), &administrator),
    ] {
        state.push(served.get(&path, token).await);
    }
    for case in state[0].as_array_mut().unwrap() {
        for room in case["rooms"].as_array_mut().unwrap() {
            // Who is there now is no matter of a backup.
            room["people"] = 0.into();
            room["live"] = false.into();
        }
    }
    let tracks = served.get(&format!("/api/v1/recordings/{recording}/tracks"), &mediator).await;
    state.push(tracks["tracks"].clone());
    let cameras = served.get("/api/v1/cameras", &administrator).await;
    state.push(json!([
        cameras[0]["id"],
        cameras[0]["name"],
        cameras[0]["url"],
        cameras[0]["status"]["state"]
    ]));
    state
}

const PASSWORD: &str = "和为贵 忍为高 让为先";

/// The first administrator sets up an account by the link that the server made at its start.
async fn set_up(served: &Served) {
    let link = fs::read_to_string(served.folder.join("data/setup-link")).unwrap();
    let code = link.trim_end().split_once("/setup#").unwrap().1;
    let body = json!({ "code": code, "username": "zhou", "name": "周主任", "password": PASSWORD });
    served.post("/api/v1/setup", "", body).await;
}

/// Somebody signs in with a password: their name and role.
async fn sign_in(served: &Served) -> Value {
    let body = json!({ "username": "zhou", "password": PASSWORD });
    let grant = served.post("/api/v1/session", "", body).await;
    let me = served.get("/api/v1/me", grant["token"].as_str().unwrap()).await;
    json!([me["name"], me["role"]])
}

#[tokio::test]
async fn a_restored_backup_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::start(folder.path()).await;
    let (mediator, administrator) = (served.token("mediator"), served.token("administrator"));
    set_up(&served).await;
    let signed_in = sign_in(&served).await;
    assert_eq!(signed_in, json!(["周主任", "administrator"]));
    let region = served.post("/api/v1/regions", &administrator, json!({ "name": "云岭区" })).await;
    let camera = json!({
        "number": 101, "name": "村口", "url": "rtsp://127.0.0.1:9/cam", "username": "admin", "password": "geheim",
        "region_id": region["id"]
    });
    let camera = served.post("/api/v1/cameras", &administrator, camera).await;
    let wall = json!({ "name": "夜查", "camera_ids": [camera["id"]] });
    served.post("/api/v1/walls", &administrator, wall).await;
    let room = served.room(&mediator, "2026-1").await;
    let mut speaker = Speaker::enter(&served, &mediator, &room).await;
    assert!(speaker.speak(100).await);
    let recording = speaker.end_session().await;
    let path = format!("/api/v1/recordings/{recording}");
    until("it is sealed", async || served.get(&path, &mediator).await["state"] == "sealed").await;
    let before = state(&served, &recording).await;
    assert_eq!(before[3]["verdict"], "intact", "{before:?}");

    // Another one is under way.
    let other_room = served.room(&mediator, "2026-2").await;
    let mut other = Speaker::enter(&served, &mediator, &other_room).await;
    assert!(other.speak(25).await);
    let before = {
        let mut again = state(&served, &recording).await;
        again.splice(1.., before.into_iter().skip(1));
        again
    };
    let file = folder.path().join("hewei.tar");
    let file_text = file.to_str().unwrap();
    // What somebody else put where the keys are to be written is not written into.
    let partial = folder.path().join("hewei.tar.partial");
    let theirs = folder.path().join("theirs");
    fs::write(&theirs, "theirs").unwrap();
    std::os::unix::fs::symlink(&theirs, &partial).unwrap();
    let refused = hewei(folder.path(), &["backup", file_text]).output().unwrap();
    assert_eq!((refused.status.code(), text(&refused.stderr).contains("in the way")), (Some(1), true));
    assert_eq!(fs::read_to_string(&theirs).unwrap(), "theirs");
    fs::remove_file(&partial).unwrap();
    fs::hard_link(&theirs, &partial).unwrap();
    let backup = succeeds(hewei(folder.path(), &["backup", file_text]));
    assert_eq!(fs::read_to_string(&theirs).unwrap(), "theirs");
    let said = text(&backup.stderr);
    assert!(said.contains("left out: recording") && said.contains("still being written"), "{said}");
    assert!(text(&backup.stdout).contains("read back and found whole"), "{}", text(&backup.stdout));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let beside: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!beside.iter().any(|name| name.to_string_lossy().contains("partial")), "{beside:?}");
    let again = hewei(folder.path(), &["backup", file_text]).output().unwrap();
    assert_eq!((again.status.code(), text(&again.stderr).contains("there already")), (Some(1), true));

    // Any tar reads it, and sha256sum holds it against its hashes.
    let unpacked = folder.path().join("unpacked");
    fs::create_dir(&unpacked).unwrap();
    let mut tar = std::process::Command::new("tar");
    tar.arg("-xf").arg(&file).arg("-C").arg(&unpacked);
    succeeds(tar);
    let mut sums = std::process::Command::new("sha256sum");
    sums.args(["--check", "--quiet", "--strict", "SHA256SUMS"]).current_dir(&unpacked);
    succeeds(sums);
    assert!(unpacked.join("keys/camera.key").is_file() && unpacked.join("keys/recorder/ca.pem").is_file());
    assert!(!unpacked.join("keys/token.key").exists(), "nobody signs tokens with a backup");
    drop(other);
    drop(served);

    let new = tempfile::tempdir().unwrap();
    let into = new.path().join("data");
    let restored = succeeds(hewei(folder.path(), &["restore", file_text, "--into", into.to_str().unwrap()]));
    assert!(text(&restored.stdout).contains("1 sealed and verified"), "{}", text(&restored.stdout));
    // The old one is gone, as after a fire.
    fs::remove_dir_all(folder.path().join("data")).unwrap();
    let served = Served::start(new.path()).await;
    let after = state(&served, &recording).await;
    assert_eq!(after, before);
    assert_eq!(sign_in(&served).await, signed_in, "with the password they had");
    assert_eq!(fs::metadata(&into).unwrap().permissions().mode() & 0o777, 0o700);
    verify(new.path(), &into.join("recordings").join(&recording), 1);
}

/// A small backup, and the folder it lies in.
async fn small() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::start(folder.path()).await;
    served.room(&served.token("mediator"), "2026-1").await;
    succeeds(hewei(folder.path(), &["backup", "a.tar"]));
    folder
}

fn refused(folder: &Path, file: &str, into: &str, words: &str) {
    let restored = hewei(folder, &["restore", file, "--into", into]).output().unwrap();
    let said = text(&restored.stderr);
    assert_eq!(restored.status.code(), Some(1), "{said}");
    assert!(said.contains(words), "{words:?} in {said}");
}

#[tokio::test]
async fn what_is_not_whole_is_not_restored() {
    let folder = small().await;
    let at = |name: &str| folder.path().join(name);
    let nothing_left = |name: &str| fs::read_dir(at(name)).unwrap().next().is_none();
    let whole = fs::read(at("a.tar")).unwrap();

    fs::write(at("cut.tar"), &whole[..whole.len() / 2]).unwrap();
    refused(folder.path(), "cut.tar", "cut", "cut short");
    assert!(nothing_left("cut"));
    fs::write(at("text.tar"), "a letter to the editor").unwrap();
    refused(folder.path(), "text.tar", "text", "not a backup of Hewei");
    assert!(!at("text").exists());

    // A byte of the database, a byte of a key: found by their hashes, wherever they are.
    for offset in [whole.len() / 3, whole.len() / 2] {
        let mut changed = whole.clone();
        changed[offset] ^= 1;
        fs::write(at("changed.tar"), changed).unwrap();
        refused(folder.path(), "changed.tar", "changed", "is not restored, nothing was kept");
        assert!(nothing_left("changed"));
    }

    refused(folder.path(), "a.tar", "data", "is not empty");
    refused(folder.path(), "missing.tar", "x", "cannot read");
    // A folder that is there and empty will do.
    fs::create_dir(at("empty")).unwrap();
    succeeds(hewei(folder.path(), &["restore", "a.tar", "--into", "empty"]));

    // Where a restore was interrupted no server starts.
    fs::write(at("empty/restore-unfinished"), "").unwrap();
    let mut serve = hewei(folder.path(), &["serve"]);
    let serve = serve.env("HEWEI_STORAGE_FOLDER", at("empty")).output().unwrap();
    assert_eq!(serve.status.code(), Some(1));
    assert!(text(&serve.stderr).contains("not restored to its end"), "{}", text(&serve.stderr));
}

#[test]
fn without_an_installation_there_is_nothing_to_back_up() {
    let folder = tempfile::tempdir().unwrap();
    let backup = hewei(folder.path(), &["backup", "a.tar"]).output().unwrap();
    assert_eq!(backup.status.code(), Some(1));
    assert!(text(&backup.stderr).contains("storage.folder"), "{}", text(&backup.stderr));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was made for the asking");
}
