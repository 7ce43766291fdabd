//! Wherever a recording was interrupted, what is whole of it is sealed, plays and verifies, and the journal says what is
//! not.

mod support;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
    time::Duration,
};

use hewei_evidence::{
    bag,
    hash::Hash,
    journal::{self, Head, Line},
    verify::{Package, Verdict},
};
use hewei_model::{Codec, ParticipantId, Role, RoomId, TrackId};
use hewei_recorder::{Expected, RecorderError, Recovered, package::Directory, recover};
use support::*;

const CODECS: [Codec; 4] = [Codec::H264, Codec::Vp8, Codec::Opus, Codec::Pcma];
const SECONDS: u32 = 13;

/// A session of all codecs. The packets stop a fraction after a second, so that something waits.
fn session() -> (Session, Vec<TrackId>) {
    // Encoded once for all tests.
    static FRAMES: LazyLock<[Vec<Frame>; 4]> = LazyLock::new(|| {
        CODECS.map(|codec| match codec {
            Codec::H264 => h264_frames("160x90", SECONDS),
            Codec::Vp8 => vp8_frames("160x90", SECONDS),
            Codec::Opus => opus_frames(SECONDS),
            _ => pcma_frames(SECONDS),
        })
    });
    let mut session = Session::begin();
    let mut packets = Vec::new();
    let mut tracks = Vec::new();
    for (number, (codec, frames)) in CODECS.into_iter().zip(FRAMES.iter()).enumerate() {
        let mut sender = Sender::new(codec, "张三", Role::Party, ParticipantId::from_u128(number as u128));
        session.open(&sender);
        packets.extend(sender.send(START + Duration::from_millis(30 * number as u64), frames));
        tracks.push(sender.meta.track);
    }
    let until = START + Duration::from_millis(12_700);
    packets.retain(|packet| packet.arrival < until);
    session.play(packets, until);
    (session, tracks)
}

/// Length of the journal and of each file as its lines say, and how many lines there are.
struct Says {
    lines: u64,
    files: BTreeMap<String, u64>,
}

fn says(package: &Path) -> Says {
    let text = fs::read_to_string(package.join(journal::PATH)).expect("journal");
    let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
    let mut says = Says { lines: 0, files: BTreeMap::new() };
    for line in whole.lines() {
        says.lines += 1;
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let (Some(file), Some(bytes)) = (line["file"].as_str(), line["bytes"].as_u64()) else { continue };
        let end = bytes + line["offset"].as_u64().unwrap_or(0);
        let known = says.files.entry(file.to_owned()).or_default();
        *known = end.max(*known);
    }
    says
}

/// The media of a package, without what only a closed one has.
fn media(package: &Path) -> Vec<String> {
    let files = Directory::new(package).files().expect("listed");
    files.into_iter().filter(|path| path.starts_with("data/sessions/")).collect()
}

fn truncate(path: &Path, bytes: u64) {
    fs::OpenOptions::new().write(true).open(path).and_then(|file| file.set_len(bytes)).expect("cut");
}

/// Takes heads away that sign lines which are not there: they were signed later.
fn drop_later_heads(package: &Path) {
    let lines = says(package).lines;
    for number in 1.. {
        let text = package.join(format!("{}.txt", bag::head_stem(number)));
        let Ok(head) = fs::read_to_string(&text) else { break };
        if Head::parse(&head).expect("a head").count > lines {
            fs::remove_file(&text).expect("removed");
            fs::remove_file(text.with_extension("p7s")).expect("removed");
        }
    }
}

/// Every track of a recovered package plays, and both verifiers pass.
fn assert_sound(interrupted: &Interrupted, recovered: &Recovered, what: &str) -> Closed {
    let closed = interrupted.closed(recovered);
    for track in &closed.sealed.tracks {
        let (frames, duration) = closed.decode(track.track);
        assert!(frames > 0, "{what}");
        let said = track.duration_ms as f64 / 1e3;
        assert!((duration - said).abs() < 0.1, "{what}: lasts {duration} s, and the summary says {said} s");
    }
    let verification = run_verifier(closed.identity.ca_pem(), &closed.sealed.package);
    assert_eq!(verification.findings, [], "{what}");
    assert_eq!(verification.verdict, Verdict::Intact, "{what}");
    assert_eq!(verification.head_hash.as_deref(), Some(closed.sealed.head_hash.as_str()), "{what}");
    assert_eq!(
        verification.interruptions.first().map(|found| found.lost_bytes),
        recovered.interruption.map(|found| found.lost_bytes),
        "{what}"
    );
    let tracks = hewei_recorder::package::tracks(&closed.sealed.package).expect("read");
    assert_eq!(tracks, closed.sealed.tracks, "{what}");
    closed
}

fn assert_script_passes(closed: &Closed, what: &str) -> String {
    let package = &closed.sealed.package;
    let (passes, text) = run_script(&package.join("verify.sh"), &closed.ca, package);
    assert!(passes && text.ends_with("OK\n"), "{what}: {text}");
    text
}

#[test]
fn what_a_kill_leaves_is_kept_to_the_last_whole_fragment() {
    let (session, tracks) = session();
    let interrupted = session.interrupt();
    let recovered = interrupted.recover("killed", |_| {}).expect("recovered");
    let cost = recovered.interruption.expect("it was interrupted");
    assert_eq!((cost.lost_bytes, cost.cut_bytes), (0, 0));
    let closed = assert_sound(&interrupted, &recovered, "killed");
    let text = assert_script_passes(&closed, "killed");
    assert!(text.contains("NOTE:   interrupted at 2026-"), "{text}");
    let verification = run_verifier(closed.identity.ca_pem(), &closed.sealed.package);
    let [interruption] = verification.interruptions.as_slice() else { panic!("{verification:?}") };
    assert!(interruption.interrupted_at.starts_with("2026-09-21T"), "{interruption:?}");
    assert_eq!(interruption.recovered_at, journal::format_utc(recovered_at()));
    for track in tracks {
        let summary = closed.track(track);
        let media: u64 = lines_of(&closed, "seg", track)
            .iter()
            .map(|line| line["duration_ms"].as_u64().expect("ms"))
            .sum();
        assert!((11_000..12_700).contains(&media), "{:?}: {media} ms", summary.codec);
        assert!(summary.starts_ms < 200, "{}", summary.starts_ms);
        // A track that was cut off says so.
        assert_eq!(lines_of(&closed, "track_close", track).len(), 1);
        for gap in closed.gaps(track) {
            assert_eq!(gap.0, "recorder_fault");
        }
    }
    let folder = fs::read_dir(closed.sealed.package.join("data/docs")).expect("listed");
    assert_eq!(folder.count(), 1, "the consents are there as after a normal end");
}

/// Pictures that are left when a recording is interrupted at `until`, milliseconds after its start, of a sender of 15
/// pictures a second with a keyframe every other second that loses a packet for good after 6.3 seconds.
fn pictures_left(until: u64) -> u64 {
    static FRAMES: LazyLock<Vec<Frame>> = LazyLock::new(|| h264_frames("160x90", SECONDS));
    let mut session = Session::begin();
    let mut sender = Sender::new(Codec::H264, "张三", Role::Party, ParticipantId::from_u128(1));
    session.open(&sender);
    let at = |ms| START + Duration::from_millis(ms);
    let mut packets = sender.send(START, &FRAMES);
    let lost = packets.iter().position(|packet| packet.arrival >= at(6_300)).expect("it goes on");
    packets.remove(lost);
    packets.retain(|packet| packet.arrival < at(until));
    session.play(packets, at(until));
    let interrupted = session.interrupt();
    let recovered = interrupted.recover("after", |_| ()).expect("recovered");
    let closed = assert_sound(&interrupted, &recovered, "after a loss");
    closed.decode(sender.meta.track).0
}

#[test]
fn a_loss_just_before_a_kill_costs_little_more_than_what_was_lost() {
    // The packet is still waited for: what came before it is there.
    let left = pictures_left(6_900);
    assert!((92..=95).contains(&left), "{left}");
    // It was given up, and a keyframe came after 8 seconds: that is there soon.
    let left = pictures_left(8_500);
    assert!((96..=103).contains(&left), "{left}");
}

fn lines_of(closed: &Closed, kind: &str, track: TrackId) -> Vec<serde_json::Value> {
    let track = track.to_string();
    closed.journal().into_iter().filter(|line| line["t"] == kind && line["track"] == track.as_str()).collect()
}

/// What may be on a disk at some moment of a recording: the journal ends anywhere, each file has what the journal says
/// of it, and anything that came after it.
fn cut_anywhere(package: &Path, random: &mut Random) {
    let path = package.join(journal::PATH);
    let text = fs::read(&path).expect("journal");
    let first_lines: usize = text.split_inclusive(|byte| *byte == b'\n').take(3).map(<[u8]>::len).sum();
    truncate(&path, (first_lines + random.next() as usize % (text.len() - first_lines)) as u64);
    drop_later_heads(package);
    let says = says(package);
    for file in media(package) {
        let full = package.join(&file);
        let length = fs::metadata(&full).expect("file").len();
        match says.files.get(&file) {
            Some(least) => truncate(&full, least + random.next() % (length - least + 1)),
            None if random.chance(500) => fs::remove_file(&full).expect("removed"),
            None => truncate(&full, random.next() % (length + 1)),
        }
    }
}

#[test]
fn a_recording_cut_at_any_point_is_sealed_and_plays() {
    let (session, _) = session();
    let interrupted = session.interrupt();
    let mut random = Random(11);
    let (mut tracks, mut kept, mut cut) = (0, 0, 0);
    for number in 0..8 {
        let name = format!("cut-{number}");
        let recovered = interrupted.recover(&name, |package| cut_anywhere(package, &mut random));
        let recovered = recovered.unwrap_or_else(|error| panic!("{name}: {error}"));
        let closed = assert_sound(&interrupted, &recovered, &name);
        if number % 4 == 0 {
            assert_script_passes(&closed, &name);
        }
        tracks += closed.sealed.tracks.len();
        let cost = recovered.interruption.expect("it was interrupted");
        (kept, cut) = (kept + cost.kept_bytes, cut + cost.cut_bytes);
        assert_eq!(cost.lost_bytes, 0, "{name}");
        fs::remove_dir_all(interrupted.folder.path().join(&name)).expect("removed");
    }
    assert!(tracks > 12 && kept > 0 && cut > 0, "the cuts are of all kinds: {tracks} {kept} {cut}");
}

/// What a power cut leaves: nothing that was not brought to the disk.
#[test]
fn what_a_power_cut_leaves_is_sealed_and_plays() {
    let (session, tracks) = session();
    let interrupted = session.interrupt();
    let recovered = interrupted.recover("power", |package| {
        let says = says(package);
        for file in media(package) {
            match says.files.get(&file) {
                Some(bytes) => truncate(&package.join(&file), *bytes),
                None => fs::remove_file(package.join(&file)).expect("removed"),
            }
        }
    });
    let recovered = recovered.expect("recovered");
    let cost = recovered.interruption.expect("it was interrupted");
    assert_eq!((cost.kept_bytes, cost.cut_bytes, cost.lost_bytes), (0, 0, 0));
    let closed = assert_sound(&interrupted, &recovered, "power cut");
    assert_script_passes(&closed, "power cut");
    assert_eq!(closed.sealed.tracks.len(), tracks.len());
}

#[test]
fn media_that_a_disk_said_it_had_is_named_as_lost_and_the_rest_is_sealed() {
    let (session, tracks) = session();
    let interrupted = session.interrupt();
    let recovered = interrupted.recover("lost", |package| {
        for (number, track) in tracks.iter().enumerate() {
            let theirs = |path: &&String| path.contains(&track.to_string()) && !path.contains("/init.");
            let files = media(package);
            let mut files: Vec<_> = files.iter().filter(theirs).collect();
            files.sort();
            let last = package.join(files[files.len() - 1]);
            let before = package.join(files[files.len() - 2]);
            match number {
                0 => truncate(&last, fs::metadata(&last).expect("file").len() / 3),
                1 => fs::remove_file(last).expect("removed"),
                2 => {
                    fs::remove_file(last).expect("removed");
                    truncate(&before, fs::metadata(&before).expect("file").len() / 2);
                }
                _ => truncate(&last, 0),
            }
        }
    });
    let recovered = recovered.expect("recovered");
    assert!(recovered.interruption.expect("it was interrupted").lost_bytes > 0);
    let closed = assert_sound(&interrupted, &recovered, "lost");
    assert_script_passes(&closed, "lost");
    for track in tracks {
        let gaps = closed.gaps(track);
        assert!(gaps.iter().any(|gap| gap.0 == "recorder_fault" && gap.2 > 10_000), "{gaps:?}");
    }
}

/// A whole, closed package as an interrupted one.
fn closed_session() -> Interrupted {
    let (session, _) = session();
    let (identity, package) = (session.identity.clone(), session.recording.package().to_owned());
    let closed = session.close();
    Interrupted { folder: closed.folder, identity, package }
}

#[test]
fn a_seal_that_was_interrupted_is_finished() {
    let interrupted = closed_session();
    let heads = (1..)
        .take_while(|number| interrupted.package.join(format!("{}.txt", bag::head_stem(*number))).exists());
    let last = bag::head_stem(heads.last().expect("heads"));
    let (text, seal) = (format!("{last}.txt"), format!("{last}.p7s"));
    let manifests = [bag::TAG_MANIFEST, bag::MANIFEST_SM3, bag::MANIFEST_SHA256];
    // In the order in which they are written, from the last back.
    let mut missing: Vec<&str> = Vec::new();
    let whole = interrupted.recover("whole", |_| {}).expect("sealed already");
    assert_eq!(whole.interruption, None);
    for file in manifests.into_iter().chain([seal.as_str(), text.as_str()]) {
        missing.push(file);
        let name = format!("without-{}", missing.len());
        let half = interrupted.recover(&name, |package| {
            for file in &missing[..missing.len() - 1] {
                fs::remove_file(package.join(file)).expect("removed");
            }
            let full = package.join(file);
            truncate(&full, fs::metadata(&full).expect("file").len() / 2);
        });
        let half = half.unwrap_or_else(|error| panic!("half a {file}: {error}"));
        assert_eq!((half.interruption, &half.sealed.tracks), (None, &whole.sealed.tracks), "{file}");
        assert_eq!(half.sealed.head_hash, whole.sealed.head_hash);
        assert_sound(&interrupted, &half, file);
        let name = format!("gone-{}", missing.len());
        let gone = interrupted.recover(&name, |package| {
            missing.iter().for_each(|file| fs::remove_file(package.join(file)).expect("removed"));
        });
        assert_sound(&interrupted, &gone.unwrap_or_else(|error| panic!("no {file}: {error}")), file);
    }
}

#[test]
fn an_end_that_was_interrupted_before_its_last_line_is_recovered() {
    let interrupted = closed_session();
    let text = fs::read_to_string(interrupted.package.join(journal::PATH)).expect("journal");
    let closing = text.find("\"t\":\"track_close\"").expect("a track ends");
    let mut random = Random(5);
    for number in 0..5 {
        let at = match number {
            // All but the newline.
            0 => text.len() - 1,
            // All but the last line.
            1 => text.trim_end().rfind('\n').expect("lines") + 1,
            _ => closing + random.next() as usize % (text.len() - closing),
        };
        let name = format!("end-{number}");
        let recovered = interrupted.recover(&name, |package| {
            truncate(&package.join(journal::PATH), at as u64);
            drop_later_heads(package);
            if number % 2 == 0 {
                fs::remove_file(package.join(bag::TAG_MANIFEST)).expect("removed");
            }
        });
        let recovered = recovered.unwrap_or_else(|error| panic!("{at} of {}: {error}", text.len()));
        let closed = assert_sound(&interrupted, &recovered, &name);
        assert_eq!(closed.sealed.tracks.len(), CODECS.len());
        assert!(closed.journal().iter().any(|line| line["t"] == "recovered"));
    }
}

#[test]
fn a_recovery_that_was_interrupted_is_run_again() {
    let (session, tracks) = session();
    let mut random = Random(3);
    let interrupted = session.interrupt();
    let first =
        interrupted.recover("first", |package| cut_anywhere(package, &mut random)).expect("recovered");
    let again = Interrupted {
        folder: interrupted.folder,
        identity: interrupted.identity,
        package: first.sealed.package.clone(),
    };
    let text = fs::read_to_string(again.package.join(journal::PATH)).expect("journal");
    let recovery = text.find("\"t\":\"recovered\"").expect("it was recovered");
    let recovery = text[..recovery].rfind('\n').expect("lines") + 1;
    for number in 0..4 {
        let at = recovery + random.next() as usize % (text.len() - recovery);
        let name = format!("again-{number}");
        let recovered = again.recover(&name, |package| {
            truncate(&package.join(journal::PATH), at as u64);
            drop_later_heads(package);
        });
        let recovered = recovered.unwrap_or_else(|error| panic!("{at} of {}: {error}", text.len()));
        let closed = assert_sound(&again, &recovered, &name);
        assert_eq!(closed.sealed.tracks.len(), first.sealed.tracks.len());
        // And once more: it is sealed, and stays as it is.
        let sealed = again.recover(&format!("{name}-sealed"), |package| {
            fs::remove_dir_all(package).expect("removed");
            copy(&recovered.sealed.package, package);
        });
        let sealed = sealed.expect("sealed already");
        assert_eq!(sealed.sealed.head_hash, recovered.sealed.head_hash);
    }
    assert!(first.sealed.tracks.len() <= tracks.len());
}

fn all(package: &Path) -> BTreeMap<String, Hash> {
    let files = Directory::new(package).files().expect("listed");
    files
        .into_iter()
        .map(|path| (path.clone(), Hash::sha256(&fs::read(package.join(path)).expect("file"))))
        .collect()
}

/// Recovery must fail with such words, and leave every file as it was.
fn assert_refused(interrupted: &Interrupted, name: &str, words: &[&str], change: impl FnOnce(&Path)) {
    let mut before = BTreeMap::new();
    let result = interrupted.recover(name, |package| {
        change(package);
        before = all(package);
    });
    let error = result.expect_err(name).to_string();
    for word in words {
        assert!(error.contains(word), "{name}: {error}");
    }
    assert_eq!(before, all(&interrupted.folder.path().join(name)), "{name}: it is left as it is");
}

#[test]
fn what_was_changed_is_not_repaired() {
    let (session, _) = session();
    let interrupted = session.interrupt();
    let edit = |package: &Path, edit: &dyn Fn(&mut Vec<&str>)| {
        let path = package.join(journal::PATH);
        let text = fs::read_to_string(&path).expect("journal");
        let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
        edit(&mut lines);
        fs::write(path, lines.concat()).expect("written");
    };
    assert_refused(&interrupted, "no-line", &[journal::PATH, "line 9 is no journal line"], |package| {
        edit(package, &|lines| lines[8] = "{}\n");
    });
    assert_refused(&interrupted, "missing-line", &["line 9 has number 10"], |package| {
        edit(package, &|lines| {
            lines.remove(8);
        });
    });
    assert_refused(&interrupted, "edited-line", &["line 10 was changed"], |package| {
        let path = package.join(journal::PATH);
        let text = fs::read_to_string(&path).expect("journal");
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        let edited = lines[9].replace("2026-09", "2026-08");
        assert_ne!(edited, lines[9]);
        fs::write(&path, text.replace(lines[9], &edited)).expect("written");
    });
    assert_refused(&interrupted, "cut-journal", &["signs", "lines are missing"], |package| {
        edit(package, &|lines| lines.truncate(12));
    });
    assert_refused(&interrupted, "no-head", &["head-000002.txt", "head-000003"], |package| {
        fs::remove_file(package.join("data/seals/head-000002.p7s")).expect("removed");
    });
    let segment =
        media(&interrupted.package).into_iter().find(|path| path.ends_with("000000.m4s")).expect("one");
    assert_refused(&interrupted, "flipped", &[&segment, "was changed: see byte 0"], |package| {
        let path = package.join(&segment);
        let mut bytes = fs::read(&path).expect("file");
        bytes[200] ^= 1;
        fs::write(path, bytes).expect("written");
    });
    assert_refused(&interrupted, "other-keys", &["another key"], |package| {
        let keys = interrupted.folder.path().join("foreign");
        hewei_recorder::Identity::load_or_create(&keys, started_at()).expect("identity");
        fs::copy(keys.join("recorder.pem"), package.join(bag::RECORDER_PATH)).expect("copied");
    });
    // Whoever has no key writes no heads.
    assert_refused(&interrupted, "no-heads", &["no head was signed in more than 30 s"], |package| {
        fs::remove_dir_all(package.join("data/seals")).expect("removed");
        // A line of half a minute later, chained as it should be.
        let path = package.join(journal::PATH);
        let mut text = fs::read_to_string(&path).expect("journal");
        let last = text.lines().next_back().expect("a line");
        let line = Line::parse(last.as_bytes()).expect("a journal line");
        text += &format!(
            "{{\"seq\":{},\"prev\":\"{}\",\"t\":\"leave\",\"at\":\"{}\",\"mono_ns\":{},\"participant\":\"{}\"}}\n",
            line.seq + 1,
            Hash::sha256(format!("{last}\n").as_bytes()),
            line.at,
            line.mono_ns + 31_000 * MS,
            ParticipantId::from_u128(1),
        );
        fs::write(path, text).expect("written");
    });
    let other = Expected { room: RoomId::generate(), ..interrupted.expected() };
    let refused = recover(&interrupted.package, &other, &interrupted.identity, recovered_at());
    let error = refused.expect_err("another room's").to_string();
    assert!(error.contains("it is of room") && error.contains(&other.room.to_string()), "{error}");
    assert_refused(&interrupted, "empty", &["before anything was recorded"], |package| {
        truncate(&package.join(journal::PATH), 20);
        fs::remove_dir_all(package.join("data/seals")).expect("removed");
    });
    let gone = interrupted.recover("gone", |package| fs::remove_dir_all(package).expect("removed"));
    assert!(matches!(gone, Err(RecorderError::File { .. })), "{gone:?}");
}

#[test]
fn files_that_nobody_knows_are_taken_away_and_named() {
    let (session, tracks) = session();
    let interrupted = session.interrupt();
    let epoch: PathBuf = media(&interrupted.package)
        .iter()
        .find(|path| path.contains(&tracks[0].to_string()))
        .and_then(|path| Path::new(path).parent().map(Path::to_owned))
        .expect("a folder");
    let strange = ["data/docs/evil.pdf".to_owned(), format!("{}/000009.m4s", epoch.display())];
    let recovered = interrupted.recover("strange", |package| {
        for path in &strange {
            fs::create_dir_all(package.join(path).parent().expect("a folder")).expect("made");
            fs::write(package.join(path), "strange").expect("written");
        }
    });
    let closed = assert_sound(&interrupted, &recovered.expect("recovered"), "strange");
    for path in &strange {
        assert!(!closed.sealed.package.join(path).exists());
        let cut =
            closed.journal().into_iter().find(|line| line["t"] == "cut" && line["file"] == path.as_str());
        let cut = cut.expect("it is named");
        assert_eq!(cut["sha256"], Hash::sha256(b"strange").to_string());
    }
}

#[test]
fn a_muted_track_ends_muted_and_not_in_a_fault() {
    let mut session = Session::begin();
    let mut sender = Sender::new(Codec::Opus, "张三", Role::Party, ParticipantId::from_u128(1));
    let mut other = Sender::new(Codec::Opus, "李四", Role::Party, ParticipantId::from_u128(2));
    session.open(&sender);
    session.open(&other);
    let frames = opus_frames(8);
    let mut packets = sender.send(START, &frames[..150]);
    packets.extend(other.send(START, &frames));
    let (before, after): (Vec<_>, Vec<_>) =
        packets.into_iter().partition(|packet| packet.arrival < START + Duration::from_secs(3));
    session.play(before, START + Duration::from_secs(3));
    session.recording.mute(sender.meta.participant, sender.meta.kind, true, START + Duration::from_secs(3));
    session.play(after, START + Duration::from_secs(8));
    let interrupted = session.interrupt();
    let recovered = interrupted.recover("muted", |_| {}).expect("recovered");
    let closed = assert_sound(&interrupted, &recovered, "muted");
    let gaps = closed.gaps(sender.meta.track);
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert_eq!(gaps[0].0, "mute");
    assert!(gaps[0].1.abs_diff(3_000) < 100 && gaps[0].2 > 6_500, "{gaps:?}");
}

#[test]
fn who_withdrew_consent_stays_unrecorded_after_a_crash() {
    let mut session = Session::begin();
    let mut sender = Sender::new(Codec::Opus, "张三", Role::Party, ParticipantId::from_u128(1));
    session.open(&sender);
    let packets = sender.send(START, &opus_frames(8));
    let at = START + Duration::from_millis(3_100);
    let (before, after): (Vec<_>, Vec<_>) = packets.into_iter().partition(|packet| packet.arrival < at);
    session.play(before, at);
    session.recording.consent(sender.meta.participant, "张三", false, at);
    // The next tick brings it to the disk, whenever the last one did.
    session.play(Vec::new(), at + Duration::from_millis(10));
    let says = fs::read_to_string(session.recording.package().join(journal::PATH)).expect("journal");
    assert!(says.contains("\"granted\":false"), "a withdrawal does not wait for its second");
    session.play(after, START + Duration::from_secs(8));
    let interrupted = session.interrupt();
    let recovered = interrupted.recover("withdrawn", |_| {}).expect("recovered");
    let closed = assert_sound(&interrupted, &recovered, "withdrawn");
    let (frames, _) = closed.decode(sender.meta.track);
    assert_eq!(frames, 155);
}
