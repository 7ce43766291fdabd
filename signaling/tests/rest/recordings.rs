//! Playing, verifying and taking along a real package.

use std::{io::Write, path::PathBuf, process::Command, sync::Arc};

use hewei::{auth::Claims, serve::Server};
use hewei_model::{Codec, MediaKind, MonoNs, ParticipantId, RecordingId, Role, RoomId, SessionId, TrackId};
use hewei_recorder::{Recording, RecordingMeta, TrackMeta};
use hewei_store::RecordingState;
use hyper::{Method, StatusCode, header};
use serde_json::Value;
use time::OffsetDateTime;

use crate::{
    client::{Answer, ask, get},
    server::{TestServer, config},
};

struct Recorded {
    server: TestServer,
    id: RecordingId,
    room: RoomId,
    package: PathBuf,
}

/// A server with one sealed recording: thirty seconds of one person's sound.
async fn recorded() -> Recorded {
    let server = TestServer::start().await;
    let (writing, row, at) = recording(&server).await;
    let room = row.room_id;
    let sealed = writing.close(at, row.started_at).unwrap();
    let row = hewei_store::Recording {
        state: RecordingState::Sealed,
        ended_at: Some(row.started_at),
        package: Some(sealed.package.to_str().unwrap().to_owned()),
        head_hash: Some(sealed.head_hash),
        ..row
    };
    server.server.app().store.add_recording(&row).await.unwrap();
    Recorded { server, id: row.id, room, package: sealed.package }
}

/// The same under way: its row is not in the database yet, and it is now then.
async fn recording(server: &TestServer) -> (Recording, hewei_store::Recording, MonoNs) {
    let (case_id, room) = server.case_with_room("2026-1").await;
    let now = OffsetDateTime::now_utc();
    let start = MonoNs(1_000_000_000);
    let (recording, session) = (RecordingId::generate(), SessionId::generate());
    let meta = RecordingMeta {
        recording,
        session,
        case_id,
        case_number: "2026-1".into(),
        case_title: "青苗补偿".into(),
        room,
        room_name: "一号".into(),
        started_at: now,
        started_mono: start,
        continues: None,
    };
    let app = server.server.app();
    let root = app.config.recordings_folder();
    std::fs::create_dir_all(&root).unwrap();
    let mut writing = Recording::create(&root, meta, Arc::clone(&app.identity)).unwrap();
    let (participant, track) = (ParticipantId::generate(), TrackId::generate());
    writing.person_joined(participant, "王调解员", Role::Mediator, start);
    writing.consent(participant, "王调解员", true, start);
    let meta = TrackMeta {
        track,
        participant,
        name: "王调解员".into(),
        role: Role::Mediator,
        kind: MediaKind::Audio,
        codec: Codec::Opus,
    };
    writing.track_opened(meta, start);
    let mut at = start;
    for packet in 0..1_500_u32 {
        at = MonoNs(start.0 + u64::from(packet) * 20_000_000);
        let mut rtp = vec![0x80, 111];
        rtp.extend_from_slice(&(packet as u16).to_be_bytes());
        rtp.extend_from_slice(&(packet * 960).to_be_bytes());
        rtp.extend_from_slice(&7_u32.to_be_bytes());
        // A CELT frame of 20 ms, of changing content.
        rtp.push(0xf8);
        rtp.extend((0..60).map(|byte| (packet as u8).wrapping_mul(31).wrapping_add(byte)));
        writing.packet(track, at, &rtp);
        if packet % 10 == 0 {
            writing.tick(at, now).unwrap();
        }
    }
    let row = hewei_store::Recording {
        id: recording,
        session_id: session,
        room_id: room,
        case_id,
        state: RecordingState::Recording,
        started_at: now,
        ended_at: None,
        package: None,
        head_hash: None,
        detail: None,
    };
    (writing, row, at)
}

impl Recorded {
    async fn get(&self, path: &str, role: Role) -> Answer {
        get(format!("/api/v1/recordings/{}{path}", self.id))
            .token(&self.server.token(role))
            .to(self.server.address())
            .await
    }

    async fn tracks(&self) -> Value {
        let answer = self.get("/tracks", Role::Lawyer).await;
        assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
        answer.json()
    }
}

#[tokio::test]
async fn a_track_plays_whole_and_in_ranges() {
    let r = recorded().await;
    let listed = r.tracks().await;
    let track = &listed["tracks"][0];
    assert_eq!(track["person"], "王调解员");
    assert_eq!(track["content_type"], "audio/mp4");
    assert!(track["duration_ms"].as_u64().unwrap().abs_diff(30_000) <= 500, "{track}");
    let ticket = listed["ticket"].as_str().unwrap();
    let path =
        format!("/api/v1/recordings/{}/tracks/{}?ticket={ticket}", r.id, track["id"].as_str().unwrap());
    let address = r.server.address();

    let whole = get(&path).to(address).await;
    assert_eq!(whole.status, StatusCode::OK);
    assert_eq!(whole.header(header::ACCEPT_RANGES), "bytes");
    assert_eq!(whole.header(header::CONTENT_TYPE), "audio/mp4");
    let bytes = whole.body.len();
    assert_eq!(bytes as u64, track["bytes"].as_u64().unwrap());
    assert_eq!(&whole.body[4..8], b"ftyp");

    // Over the seams of the files too: 30 s are several segments.
    for (first, last) in
        [(0, 0), (0, bytes - 1), (1, bytes / 2), (bytes / 2, bytes - 1), (bytes - 1, bytes - 1)]
    {
        let part = get(&path).header("range", format!("bytes={first}-{last}")).to(address).await;
        assert_eq!(part.status, StatusCode::PARTIAL_CONTENT);
        assert_eq!(part.header(header::CONTENT_RANGE), format!("bytes {first}-{last}/{bytes}"));
        assert_eq!(part.body, whole.body.slice(first..=last), "{first}-{last}");
    }
    let end = get(&path).header("range", "bytes=-10").to(address).await;
    assert_eq!(end.body, whole.body.slice(bytes - 10..));
    let beyond = get(&path).header("range", format!("bytes={bytes}-")).to(address).await;
    assert_eq!(beyond.status, StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(beyond.header(header::CONTENT_RANGE), format!("bytes */{bytes}"));
    let etag = whole.header(header::ETAG).to_owned();
    let same = get(&path).header("range", "bytes=0-1").header("if-range", etag).to(address).await;
    assert_eq!(same.status, StatusCode::PARTIAL_CONTENT);
    let other = get(&path).header("range", "bytes=0-1").header("if-range", "\"other\"").to(address).await;
    assert_eq!(other.status, StatusCode::OK);

    let head = ask(Method::HEAD, &path).to(address).await;
    assert_eq!((head.status, head.body.len()), (StatusCode::OK, 0));
    assert_eq!(head.header(header::CONTENT_LENGTH), bytes.to_string());
    r.server.server.stop().await;
}

#[tokio::test]
async fn a_ticket_opens_its_recording_alone() {
    let r = recorded().await;
    let listed = r.tracks().await;
    let (track, ticket) = (listed["tracks"][0]["id"].as_str().unwrap(), listed["ticket"].as_str().unwrap());
    let address = r.server.address();
    let other = RecordingId::generate();
    let token = r.server.token(Role::Mediator);
    for path in [
        format!("/api/v1/recordings/{}/tracks/{track}", r.id),
        format!("/api/v1/recordings/{}/tracks/{track}?ticket=", r.id),
        format!("/api/v1/recordings/{}/tracks/{track}?ticket={token}", r.id),
        format!("/api/v1/recordings/{}/tracks/{track}?ticket={}x", r.id, ticket),
        format!("/api/v1/recordings/{other}/tracks/{track}?ticket={ticket}"),
        format!("/api/v1/recordings/{}/package", r.id),
        format!("/api/v1/recordings/{}/package?ticket={token}", r.id),
    ] {
        let answer = get(&path).to(address).await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (StatusCode::UNAUTHORIZED, "ticket_invalid"),
            "{path}"
        );
    }
    let as_token = get("/api/v1/me").token(ticket).to(address).await;
    assert_eq!(as_token.status, StatusCode::UNAUTHORIZED);
    for unknown in [TrackId::generate().to_string(), "..%2f..%2fhewei.sqlite".to_owned()] {
        let path = format!("/api/v1/recordings/{}/tracks/{unknown}?ticket={ticket}", r.id);
        assert_eq!(get(path).to(address).await.status, StatusCode::NOT_FOUND);
    }
    r.server.server.stop().await;
}

#[tokio::test]
async fn it_verifies_and_a_flipped_byte_is_named() {
    let r = recorded().await;
    let answer = r.get("/verification", Role::Auditor).await;
    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
    let verification = answer.json();
    assert_eq!(verification["verdict"], "intact", "{verification}");
    assert_eq!(verification["findings"], serde_json::json!([]));

    let segment = find(&r.package, "000001.m4s");
    let mut bytes = std::fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let verification = r.get("/verification", Role::Mediator).await.json();
    assert_eq!(verification["verdict"], "altered");
    let named = segment.strip_prefix(&r.package).unwrap().to_str().unwrap();
    let findings = verification["findings"].as_array().unwrap();
    assert!(
        findings.iter().any(|finding| finding["file"] == named && finding["at_ms"].is_u64()),
        "{findings:?}"
    );

    let command = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_hewei"))
            .arg("verify")
            .arg(&r.package)
            .args(arguments)
            .output()
            .unwrap()
    };
    let output = command(&[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stdout).unwrap().contains(named));
    let json: Value = serde_json::from_slice(&command(&["--json"]).stdout).unwrap();
    assert_eq!(json["verdict"], "altered");
    let rows = r.server.server.app().store.audit_rows(None, 10).await.unwrap();
    let rows: Vec<_> = rows.iter().map(|row| (row.entry.action.as_str(), row.entry.role)).collect();
    assert_eq!(
        rows,
        [
            ("recording.verified", Role::Mediator),
            ("recording.verify", Role::Mediator),
            ("recording.verified", Role::Auditor),
            ("recording.verify", Role::Auditor)
        ]
    );
    r.server.server.stop().await;
}

#[tokio::test]
async fn a_second_verification_waits_for_nobody_and_the_first_ends_for_itself() {
    let r = recorded().await;
    let app = r.server.server.app();
    let (token, participant) = r.server.token_and_participant(Role::Auditor);
    let path = format!("/api/v1/recordings/{}/verification", r.id);
    let asked = app.verifying.ask(participant).unwrap();
    let answer = get(&path).token(&token).to(r.server.address()).await;
    assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::CONFLICT, "verification_running"));
    assert_eq!(r.server.audited().await, [""; 0], "nothing began");
    drop(asked);
    assert_eq!(get(&path).token(&token).to(r.server.address()).await.status, StatusCode::OK);
    let rows = app.store.audit_rows(None, 10).await.unwrap();
    assert!(rows.iter().all(|row| row.entry.participant_id == Some(participant)), "{rows:?}");
    r.server.server.stop().await;
}

#[tokio::test]
async fn a_ticket_ends_with_the_token_it_was_asked_with() {
    let r = recorded().await;
    let tokens = &r.server.server.app().tokens;
    for (minutes, ticket_minutes) in [(2, 2), (60, 5)] {
        let now = OffsetDateTime::now_utc();
        let expires_at = now + time::Duration::minutes(minutes);
        let claims = Claims::of_link("王".into(), Role::Mediator, None, expires_at);
        let participant = claims.participant;
        let token = tokens.issue(&claims);
        let path = format!("/api/v1/recordings/{}/tracks", r.id);
        let listed = get(path).token(&token).to(r.server.address()).await.json();
        let ticket = tokens.verify_ticket(listed["ticket"].as_str().unwrap(), now).unwrap();
        let lifetime = (ticket.expires_at - now).whole_seconds();
        assert!((ticket_minutes * 60 - 2..=ticket_minutes * 60 + 10).contains(&lifetime), "{lifetime}");
        assert_eq!(ticket.participant, participant);
    }
    r.server.server.stop().await;
}

#[tokio::test]
async fn the_package_comes_as_a_tar_that_verifies_elsewhere() {
    let r = recorded().await;
    let ticket = r.tracks().await["ticket"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/recordings/{}/package?ticket={ticket}", r.id);
    let head = ask(Method::HEAD, &path).to(r.server.address()).await;
    let answer = get(&path).to(r.server.address()).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header(header::CONTENT_TYPE), "application/x-tar");
    assert!(answer.header(header::CONTENT_DISPOSITION).contains(&format!("hewei-{}.tar", r.id)));
    assert_eq!(head.header(header::CONTENT_LENGTH), answer.body.len().to_string());

    let folder = tempfile::tempdir().unwrap();
    let mut file = std::fs::File::create(folder.path().join("a.tar")).unwrap();
    file.write_all(&answer.body).unwrap();
    let unpacked = Command::new("tar").args(["-xf", "a.tar"]).current_dir(folder.path()).status().unwrap();
    assert!(unpacked.success());
    let package = folder.path().join(r.package.file_name().unwrap());
    let ca = r.server.folder.path().join("data/keys/recorder/ca.pem");
    let output = Command::new(env!("CARGO_BIN_EXE_hewei"))
        .arg("verify")
        .arg(&package)
        .args(["--json", "--ca"])
        .arg(&ca)
        .output()
        .unwrap();
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &json["verdict"]), (Some(0), &Value::from("intact")), "{json}");
    assert_eq!(json["signer_checked"], true);

    // Without a CA: this installation's own, and where there is none nobody says plainly that it is intact.
    let elsewhere = folder.path().join("elsewhere");
    let verify = |storage: &std::path::Path, arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hewei"));
        command.arg("verify").arg(&package).args(arguments).env("HEWEI_STORAGE_FOLDER", storage);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (text, said) = verify(&r.server.folder.path().join("data"), &[]);
    assert!(text.starts_with("intact") && said.contains("this installation's own CA"), "{text}{said}");
    let (text, said) = verify(&elsewhere, &[]);
    assert!(text.starts_with("CONSISTENT; SIGNER NOT CHECKED 前后一致"), "{text}");
    assert!(!text.contains("intact") && !text.contains("nothing changed") && said.is_empty(), "{text}{said}");
    let json: Value = serde_json::from_str(&verify(&elsewhere, &["--json"]).0).unwrap();
    assert_eq!((&json["verdict"], &json["signer_checked"]), (&Value::from("intact"), &Value::from(false)));
    assert!(!elsewhere.exists(), "asking makes no installation");

    // A name in the package cannot speak to the terminal.
    std::fs::write(package.join("\u{1b}[2J\u{202e}OK"), "x").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_hewei")).arg("verify").arg(&package).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("\\u{1b}[2J\\u{202e}OK"), "{text}");
    assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'), "{text:?}");

    let nothing =
        Command::new(env!("CARGO_BIN_EXE_hewei")).args(["verify", "/nothing/here"]).output().unwrap();
    assert_eq!(nothing.status.code(), Some(2));
    assert_eq!(r.server.audited().await, ["recording.export", "recording.view"]);
    r.server.server.stop().await;
}

#[tokio::test]
async fn auditors_get_no_media_other_rooms_nothing_and_open_recordings_wait() {
    let r = recorded().await;
    assert_eq!(r.get("/tracks", Role::Auditor).await.problem(), "role_forbidden");
    assert_eq!(r.get("", Role::Auditor).await.json()["state"], "sealed");
    let address = r.server.address();
    let elsewhere = r.server.token_for(Role::Lawyer, Some(RoomId::generate()));
    for path in ["", "/tracks", "/verification"] {
        let answer = get(format!("/api/v1/recordings/{}{path}", r.id)).token(&elsewhere).to(address).await;
        assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::FORBIDDEN, "room_forbidden"));
    }
    assert_eq!(get("/api/v1/recordings").token(&elsewhere).to(address).await.json(), serde_json::json!([]));
    let here = r.server.token_for(Role::Lawyer, Some(r.room));
    let list = get("/api/v1/recordings").token(&here).to(address).await.json();
    assert_eq!(list[0]["id"], r.id.to_string());

    let store = &r.server.server.app().store;
    let mut recording = store.recording(r.id).await.unwrap().unwrap();
    recording.state = RecordingState::Sealing;
    store.update_recording(&recording).await.unwrap();
    for path in ["/tracks", "/verification"] {
        let answer = r.get(path, Role::Mediator).await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (StatusCode::CONFLICT, "recording_not_sealed")
        );
    }
    r.server.server.stop().await;
}

fn find(folder: &std::path::Path, name: &str) -> PathBuf {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            let found = find(&path, name);
            if found.exists() {
                return found;
            }
        } else if path.file_name().unwrap() == name {
            return path;
        }
    }
    PathBuf::new()
}

/// Starts a server on the folder of one that is gone, and waits for what becomes of a recording.
async fn started_again(folder: &tempfile::TempDir, id: RecordingId) -> (Server, hewei_store::Recording) {
    let server = Server::start(config(folder.path())).await.unwrap();
    loop {
        let row = server.app().store.recording(id).await.unwrap().unwrap();
        let audit = server.app().store.audit_rows(None, 1).await.unwrap();
        let told = audit.first().is_some_and(|row| row.entry.target == id.to_string());
        if told && matches!(row.state, RecordingState::Sealed | RecordingState::Failed) {
            return (server, row);
        }
        assert_ne!(row.state, RecordingState::Recording, "it is taken up at once");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_recording_that_was_interrupted_is_sealed_at_the_next_start() {
    let first = TestServer::start().await;
    let (writing, row, _) = recording(&first).await;
    let package = writing.package().to_owned();
    first.server.app().store.add_recording(&row).await.unwrap();
    // Nobody closes it, and its folder is not there.
    drop(writing);
    let TestServer { server, folder } = first;
    server.stop().await;
    let aside = folder.path().join("aside");
    std::fs::rename(&package, &aside).unwrap();
    let (server, failed) = started_again(&folder, row.id).await;
    let detail = failed.detail.unwrap();
    assert_eq!((failed.state, failed.package), (RecordingState::Failed, None));
    assert!(detail.contains("put them back and start again") && detail.contains("放回"), "{detail}");
    server.stop().await;

    // Once it is back, the next start does it.
    std::fs::rename(&aside, &package).unwrap();
    let server = Server::start(config(folder.path())).await.unwrap();
    let sealed = loop {
        let now = server.app().store.recording(row.id).await.unwrap().unwrap();
        if now.state == RecordingState::Sealed {
            break now;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert_eq!(sealed.package.as_deref(), package.to_str());
    let detail = sealed.detail.unwrap();
    assert!(detail.contains("Interrupted at 20") && detail.contains("中断"), "{detail}");
    assert!(sealed.ended_at.is_some());
    let actions: Vec<String> = server
        .app()
        .store
        .audit_rows(None, 9)
        .await
        .unwrap()
        .into_iter()
        .map(|row| row.entry.action)
        .collect();
    assert_eq!(actions, ["recording.recovered", "recording.unrecoverable"]);

    let server = TestServer { server, folder };
    let r = Recorded { server, id: row.id, room: row.room_id, package };
    let verification = r.get("/verification", Role::Auditor).await.json();
    assert_eq!(verification["verdict"], "intact", "{verification}");
    assert_eq!(verification["head_hash"], sealed.head_hash.unwrap());
    let interruptions = verification["interruptions"].as_array().unwrap();
    assert_eq!(interruptions.len(), 1, "{verification}");
    assert_eq!(interruptions[0]["lost_bytes"], 0);
    let listed = r.tracks().await;
    // 1,500 packets of 20 ms, all but the last second.
    let duration = listed["tracks"][0]["duration_ms"].as_u64().unwrap();
    assert!(duration.abs_diff(30_000) <= 1_200, "{listed}");
    r.server.server.stop().await;
}
