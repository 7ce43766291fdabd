//! A process that records is killed at random moments: nothing of it is unreadable afterwards, at most two seconds of
//! each track are missing, and both verifiers pass.
//!
//! `HEWEI_CRASHES=200` kills so many; `HEWEI_SEED` repeats a run's random numbers, as far as an operating system lets
//! one repeat it.

mod support;

use std::{
    collections::BTreeMap,
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use hewei_evidence::verify::Verdict;
use hewei_model::{
    Audience, CaseId, Codec, MonoNs, ParticipantId, Publisher, RecordingId, Role, RoomId, SessionId,
};
use hewei_recorder::{Recording, RecordingMeta};
use support::*;
use time::OffsetDateTime;

const CODECS: [Codec; 4] = [Codec::H264, Codec::Vp8, Codec::Opus, Codec::Pcma];
/// Longer than any of the processes lives.
const SECONDS: u32 = 8;
/// They wait for the clock for most of their time.
const AT_ONCE: u64 = 4;
const MISSING_MS_MAX: u64 = 2_000;

#[derive(Debug)]
struct Crash {
    number: u64,
    /// When it was killed, after it had begun to record.
    after_ms: u64,
    was: &'static str,
    kept_bytes: u64,
    cut_bytes: u64,
    /// Of the track that misses most.
    missing_ms: u64,
    tracks: usize,
    recovery_ms: u128,
}

#[test]
fn a_recording_whose_process_is_killed_at_any_moment_is_whole_but_for_its_last_seconds() {
    let number = |name: &str| env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let crashes = number("HEWEI_CRASHES").unwrap_or(20);
    let seed = number("HEWEI_SEED").unwrap_or_else(|| {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
        since.as_nanos() as u64 % 1_000_000
    });
    println!("HEWEI_SEED={seed} HEWEI_CRASHES={crashes}");
    let folder = tempfile::tempdir().expect("folder");
    for codec in CODECS {
        write_frames(&folder.path().join(codec.to_string()), &frames_of(codec));
    }
    let (next, done) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(crashes) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= crashes {
                        return;
                    }
                    let crash = crash(folder.path(), number, &mut Random(seed + number));
                    done.lock().expect("no test has failed").push(crash);
                }
            });
        }
    });
    let mut done = done.into_inner().expect("no test has failed");
    done.sort_by_key(|crash| crash.number);
    println!("kill  after ms  while      tracks  kept B  cut B  missing ms at most  recovery ms  verdict");
    for crash in &done {
        println!(
            "{:4}  {:8}  {:9}  {:6}  {:6}  {:5}  {:18}  {:11}  intact, all play",
            crash.number,
            crash.after_ms,
            crash.was,
            crash.tracks,
            crash.kept_bytes,
            crash.cut_bytes,
            crash.missing_ms,
            crash.recovery_ms
        );
    }
    let missing = || done.iter().map(|crash| crash.missing_ms);
    println!(
        "{} kills, {} tracks: at most {} ms missing, on average {}; {} with bytes kept, {} with bytes cut",
        done.len(),
        done.iter().map(|crash| crash.tracks).sum::<usize>(),
        missing().max().unwrap_or(0),
        missing().sum::<u64>() / done.len() as u64,
        done.iter().filter(|crash| crash.kept_bytes > 0).count(),
        done.iter().filter(|crash| crash.cut_bytes > 0).count(),
    );
    assert!(
        done.iter().any(|crash| crash.kept_bytes > 0),
        "some were killed between two lines of the journal"
    );
}

/// Kills one process, and looks at what it leaves.
fn crash(frames: &Path, number: u64, random: &mut Random) -> Crash {
    let folder = tempfile::tempdir_in(frames).expect("folder");
    let identity = hewei_recorder::Identity::load_or_create(&folder.path().join("keys"), started_at());
    let identity = std::sync::Arc::new(identity.expect("identity"));
    let after_ms = 500 + random.next() % 3_500;
    let late_ms = random.next() % 4_000;
    // Every fifth is killed while it seals.
    let close_ms = if number % 5 == 4 { after_ms - random.next() % 60 } else { u64::MAX };
    let mut child = Command::new(env::current_exe().expect("this test"))
        .args(["--exact", "--ignored", "--nocapture", "the_process_that_is_killed"])
        .env("HEWEI_CRASH_FOLDER", folder.path())
        .env("HEWEI_CRASH_FRAMES", frames)
        .env("HEWEI_CRASH_MS", format!("{late_ms} {close_ms}"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("started");
    let mut says = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    while !line.ends_with("recording\n") {
        line.clear();
        assert!(says.read_line(&mut line).expect("text") > 0, "it records");
    }
    thread::sleep(Duration::from_millis(after_ms));
    child.kill().expect("killed");
    child.wait().expect("dead");
    let mut text = String::new();
    says.read_to_string(&mut text).expect("text");
    let (mut fed, mut was) = (BTreeMap::new(), "recording");
    for line in text.lines() {
        match line.split_once(' ') {
            Some((participant, until_ms)) if until_ms.bytes().all(|byte| byte.is_ascii_digit()) => {
                fed.insert(participant.to_owned(), until_ms.parse::<u64>().expect("a number"));
            }
            _ if line == "closing" => was = "closing",
            _ if line == "closed" => was = "closed",
            _ => {}
        }
    }

    let package = fs::read_dir(folder.path().join("recordings"))
        .expect("listed")
        .map(|entry| entry.expect("entry").path())
        .next()
        .expect("a package");
    let interrupted = Interrupted { folder, identity, package };
    let expected = interrupted.expected();
    let began = Instant::now();
    let recovered = hewei_recorder::recover(
        &interrupted.package,
        &expected,
        &interrupted.identity,
        OffsetDateTime::now_utc(),
    );
    let recovery_ms = began.elapsed().as_millis();
    let context = format!("kill {number} after {after_ms} ms, {was}");
    let recovered = recovered.unwrap_or_else(|error| panic!("{context}: {error}"));
    let closed = interrupted.closed(&recovered);
    let verification = run_verifier(closed.identity.ca_pem(), &closed.sealed.package);
    assert_eq!(verification.findings, [], "{context}");
    assert_eq!(verification.verdict, Verdict::Intact, "{context}");
    if Command::new("openssl").arg("version").output().is_ok() {
        let (passes, text) =
            run_script(&closed.sealed.package.join("verify.sh"), &closed.ca, &closed.sealed.package);
        assert!(passes && text.ends_with("OK\n"), "{context}: {text}");
        assert_eq!(text.contains("NOTE:"), recovered.interruption.is_some(), "{context}: {text}");
    }
    let journal = closed.journal();
    let mut missing_ms = 0;
    for (participant, fed_ms) in fed {
        let track = closed.sealed.tracks.iter().find(|track| track.participant.to_string() == participant);
        let kept_ms = track.map_or(0, |track| {
            closed.plays(track.track);
            let id = track.track.to_string();
            let segments = journal.iter().filter(|line| line["t"] == "seg" && line["track"] == id.as_str());
            segments.map(|line| line["duration_ms"].as_u64().expect("a number")).sum::<u64>()
        });
        assert!(fed_ms <= kept_ms + MISSING_MS_MAX, "{context}: {kept_ms} of {fed_ms} ms of {track:?}");
        missing_ms = missing_ms.max(fed_ms.saturating_sub(kept_ms));
    }
    let cost = recovered.interruption;
    Crash {
        number,
        after_ms,
        was,
        kept_bytes: cost.map_or(0, |cost| cost.kept_bytes),
        cut_bytes: cost.map_or(0, |cost| cost.cut_bytes),
        missing_ms,
        tracks: closed.sealed.tracks.len(),
        recovery_ms,
    }
}

/// Records in real time, and says what it has recorded, until it is killed.
#[test]
#[ignore = "a part of the test above, in a process of its own"]
fn the_process_that_is_killed() {
    let variable = |name: &str| env::var(name).unwrap_or_default();
    let (folder, frames) =
        (PathBuf::from(variable("HEWEI_CRASH_FOLDER")), PathBuf::from(variable("HEWEI_CRASH_FRAMES")));
    if folder.as_os_str().is_empty() {
        return;
    }
    let times = variable("HEWEI_CRASH_MS");
    let (late_ms, close_ms) = times.split_once(' ').expect("two numbers");
    let late = START + Duration::from_millis(late_ms.parse().expect("a number"));
    let close = Duration::from_millis(close_ms.parse().expect("a number"));
    let identity =
        hewei_recorder::Identity::load_or_create(&folder.join("keys"), started_at()).expect("identity");
    let mut senders = Vec::new();
    let mut packets = Vec::new();
    for (number, codec) in CODECS.into_iter().enumerate() {
        let mut sender = Sender::new(codec, "张三", Role::Party, ParticipantId::from_u128(number as u128));
        let at = if number == 3 { late } else { START };
        packets.extend(sender.send(at, &read_frames(&frames.join(codec.to_string()))));
        senders.push((at, sender));
    }
    packets.sort_by_key(|packet| packet.arrival);
    let rates: BTreeMap<_, _> =
        senders.iter().map(|(at, sender)| (sender.meta.track, (*at, sender.meta.participant))).collect();
    let meta = RecordingMeta {
        recording: RecordingId::generate(),
        session: SessionId::generate(),
        case_id: CaseId::generate(),
        case_number: "2026-民调-0017".into(),
        case_title: "灌溉渠占用".into(),
        room: RoomId::generate(),
        room_name: "第一调解室".into(),
        started_at: OffsetDateTime::now_utc(),
        started_mono: START,
        continues: None,
    };
    let began = Instant::now();
    let now = || START + began.elapsed();
    let mut recording =
        Recording::create(&folder.join("recordings"), meta, identity.into()).expect("created");
    let say = |text: String| {
        let mut out = std::io::stdout();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).expect("somebody listens");
    };
    say("recording\n".into());
    let mut ticked = START;
    for packet in packets {
        while now() < packet.arrival {
            thread::sleep(packet.arrival.since(now()).min(Duration::from_millis(20)));
        }
        let arrival = now();
        if began.elapsed() >= close {
            break;
        }
        senders.retain(|(at, sender)| {
            if *at <= arrival {
                open(&mut recording, sender, arrival);
            }
            *at > arrival
        });
        recording.packet(packet.track, packet.arrival, &packet.rtp);
        let (from, participant) = rates[&packet.track];
        say(format!("{participant} {}\n", packet.arrival.since(from).as_millis()));
        if arrival.since(ticked) >= Duration::from_millis(200) {
            ticked = arrival;
            recording.tick(arrival, OffsetDateTime::now_utc()).expect("written");
            recording.take_keyframe_requests(arrival);
        }
    }
    say("closing\n".into());
    recording.close(now(), OffsetDateTime::now_utc()).expect("sealed");
    say("closed\n".into());
    // Whoever started it kills it.
    thread::sleep(Duration::from_secs(30));
}

fn open(recording: &mut Recording, sender: &Sender, at: MonoNs) {
    let meta = sender.meta.clone();
    recording.person_joined(meta.participant, &meta.name, meta.role, at);
    recording.consent(meta.participant, &meta.name, true, at);
    let audience = Audience { participants: [ParticipantId::from_u128(9)].into(), recorder: true };
    recording.audience(Publisher::Participant(meta.participant), meta.kind, audience, at);
    recording.track_opened(meta, at);
}

fn frames_of(codec: Codec) -> Vec<Frame> {
    match codec {
        Codec::H264 => h264_frames("320x180", SECONDS),
        Codec::Vp8 => vp8_frames("320x180", SECONDS),
        Codec::Opus => opus_frames(SECONDS),
        _ => pcma_frames(SECONDS),
    }
}

/// Each frame as its ticks, its length and its bytes.
fn write_frames(path: &Path, frames: &[Frame]) {
    let mut bytes = Vec::new();
    for frame in frames {
        bytes.extend(frame.ticks.to_be_bytes());
        bytes.extend((frame.data.len() as u64).to_be_bytes());
        bytes.extend(&frame.data);
    }
    fs::write(path, bytes).expect("written");
}

fn read_frames(path: &Path) -> Vec<Frame> {
    let bytes = fs::read(path).expect("file");
    let mut rest = bytes.as_slice();
    let mut frames = Vec::new();
    while let Some((head, after)) = rest.split_first_chunk::<16>() {
        let number = |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().expect("eight bytes"));
        let (data, after) = after.split_at(number(&head[8..]) as usize);
        frames.push(Frame { ticks: number(&head[..8]), data: data.to_vec() });
        rest = after;
    }
    frames
}
