//! What is recorded decodes to its end, lasts as long as it was live, and says where it has gaps and why.

mod support;

use std::time::Duration;

use hewei_model::{Codec, MediaKind, ParticipantId, Role};
use support::*;

const SECONDS: u32 = 12;

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn assert_lasts(duration: f64, expected: f64) {
    assert!((duration - expected).abs() <= 0.5, "lasts {duration} s instead of {expected} s");
}

fn participant(number: u128) -> ParticipantId {
    ParticipantId::from_u128(number)
}

fn frames_of(codec: Codec) -> Vec<Frame> {
    match codec {
        Codec::H264 => h264_frames("320x180", SECONDS),
        Codec::Vp8 => vp8_frames("320x180", SECONDS),
        Codec::Opus => opus_frames(SECONDS),
        _ => pcma_frames(SECONDS),
    }
}

#[test]
fn a_bad_network_that_resends_costs_no_frame() {
    let mut session = Session::begin();
    let network = Network { lost: 0, doubled: 30, swapped: 100, resent: 40 };
    let mut random = Random(1);
    let mut packets = Vec::new();
    let mut tracks = Vec::new();
    for (number, codec) in [Codec::H264, Codec::Vp8, Codec::Opus, Codec::Pcma].into_iter().enumerate() {
        let frames = frames_of(codec);
        let mut sender = Sender::new(codec, "张三", Role::Party, participant(number as u128));
        session.open(&sender);
        packets.extend(network.pass(sender.send(START + seconds(0.3), &frames), &mut random));
        tracks.push((sender.meta.track, frames.len() as u64));
    }
    session.play(packets, START + seconds(12.3));
    let first_asked: Vec<_> = session.keyframes_asked.iter().map(|(_, track)| *track).take(2).collect();
    assert!(first_asked.contains(&tracks[0].0) && first_asked.contains(&tracks[1].0), "asked at the start");
    let closed = session.close();
    for (track, frames) in tracks {
        let (decoded, duration) = closed.decode(track);
        assert_eq!(decoded, frames, "{:?}", closed.track(track).codec);
        assert_lasts(duration, 12.0);
        assert_lasts(closed.track(track).duration_ms as f64 / 1e3, 12.0);
        assert!(closed.track(track).starts_ms.abs_diff(300) < 150);
        assert_eq!(closed.gaps(track), []);
    }
    let (passes, text) =
        run_script(&closed.sealed.package.join("verify.sh"), &closed.ca, &closed.sealed.package);
    assert!(passes, "{text}");
    assert!(text.contains(&closed.sealed.head_hash), "{text}");
    let verification = run_verifier(closed.identity.ca_pem(), &closed.sealed.package);
    assert_eq!(verification.findings, []);
    assert_eq!(verification.head_hash.as_deref(), Some(closed.sealed.head_hash.as_str()));
    assert!(verification.seals >= 3, "a head at least each five seconds: {}", verification.seals);
}

#[test]
fn what_is_lost_for_good_is_a_gap_and_breaks_no_decoder() {
    for codec in [Codec::H264, Codec::Vp8, Codec::Opus] {
        let mut session = Session::begin();
        let mut sender = Sender::new(codec, "李四", Role::Lawyer, participant(1));
        session.open(&sender);
        let network = Network { lost: 15, doubled: 30, swapped: 50, resent: 20 };
        let packets = network.pass(sender.send(START, &frames_of(codec)), &mut Random(7));
        session.play(packets, START + seconds(12.0));
        let asked = session.keyframes_asked.len();
        let closed = session.close();
        let (frames, duration) = closed.decode(sender.meta.track);
        let gaps = closed.gaps(sender.meta.track);
        assert!(!gaps.is_empty() && gaps.iter().all(|(kind, ..)| kind == "loss"), "{codec}: {gaps:?}");
        assert!(gaps.iter().map(|gap| gap.3).sum::<u64>() > 0);
        assert_lasts(duration, 12.0);
        if codec.kind() == MediaKind::Video {
            assert!(frames > 20 && frames < 180, "{codec}: {frames} frames are left");
            assert!(
                asked >= 3,
                "a keyframe is asked for after a loss, and not only each ten seconds: {asked}"
            );
        } else {
            let missing: u64 = gaps.iter().map(|gap| gap.2 - gap.1).sum();
            assert!(
                (600 - frames).abs_diff(missing / 20) <= 1 + gaps.len() as u64 / 4,
                "{missing} ms, {frames}"
            );
        }
    }
}

#[test]
fn nothing_is_written_before_the_first_keyframe() {
    let mut session = Session::begin();
    let frames = h264_frames("320x180", SECONDS);
    let mut sender = Sender::new(Codec::H264, "张三", Role::Party, participant(1));
    session.open(&sender);
    // The keyframes are at frames 0, 30, 60, …
    let packets = sender.send(START, &frames[7..]);
    session.play(packets, START + seconds(12.0));
    let closed = session.close();
    let (decoded, duration) = closed.decode(sender.meta.track);
    assert_eq!(decoded, 150);
    assert_lasts(duration, 10.0);
    assert!(closed.track(sender.meta.track).starts_ms.abs_diff(23 * 1_000 / 15) < 50);
    let gaps = closed.gaps(sender.meta.track);
    assert_eq!((gaps.len(), gaps[0].0.as_str(), gaps[0].1), (1, "loss", 0), "{gaps:?}");
}

#[test]
fn pictures_closer_than_a_millisecond_stay_apart() {
    for codec in [Codec::H264, Codec::Vp8] {
        let mut session = Session::begin();
        let mut frames = frames_of(codec);
        for at in (1..frames.len()).step_by(3) {
            frames[at].ticks = frames[at - 1].ticks + 20;
        }
        let mut sender = Sender::new(codec, "张三", Role::Party, participant(1));
        session.open(&sender);
        let packets = sender.send(START, &frames);
        session.play(packets, START + seconds(12.0));
        let closed = session.close();
        let (decoded, duration) = closed.decode(sender.meta.track);
        assert_eq!(decoded, frames.len() as u64, "{codec}");
        assert_lasts(duration, 12.0);
    }
}

#[test]
fn a_track_without_media_is_named_and_takes_no_room() {
    let mut session = Session::begin();
    let sender = Sender::new(Codec::Vp8, "张三", Role::Party, participant(1));
    session.open(&sender);
    session.recording.document("minutes.txt", "笔录".as_bytes(), START).expect("written");
    assert!(session.recording.document("../minutes.txt", b"x", START).is_err());
    session.play(Vec::new(), START + seconds(5.0));
    let closed = session.close();
    assert!(closed.sealed.tracks.is_empty());
    assert_eq!(closed.gaps(sender.meta.track), [("unpublished".to_owned(), 0, 5_000, 0)]);
    assert_eq!(run_verifier(closed.identity.ca_pem(), &closed.sealed.package).findings, []);
}

#[test]
fn a_muted_track_is_a_gap_of_kind_mute_whether_its_clock_runs_on_or_not() {
    for codec in [Codec::Opus, Codec::Vp8] {
        let frames = frames_of(codec);
        for clock_runs_on in [true, false] {
            let mut session = Session::begin();
            let mut sender = Sender::new(codec, "王五", Role::Mediator, participant(1));
            session.open(&sender);
            let half = frames.len() / 2;
            let mut packets = sender.send(START, &frames[..half]);
            if clock_runs_on {
                sender.timestamp = sender.timestamp.wrapping_add(4 * codec.clock_rate_hz());
            }
            packets.extend(sender.send(START + seconds(10.0), &frames[half..]));
            session.play(Vec::new(), START);
            session.recording.mute(sender.meta.participant, sender.meta.kind, true, START + seconds(6.0));
            session.recording.mute(sender.meta.participant, sender.meta.kind, false, START + seconds(10.0));
            session.play(packets, START + seconds(16.0));
            let closed = session.close();
            let (decoded, duration) = closed.decode(sender.meta.track);
            assert_eq!(decoded, frames.len() as u64, "{codec} {clock_runs_on}");
            assert_lasts(duration, 16.0);
            let gaps = closed.gaps(sender.meta.track);
            assert_eq!(gaps.len(), 1, "{codec} {clock_runs_on}: {gaps:?}");
            assert_eq!(gaps[0].0, "mute");
            assert!(gaps[0].1.abs_diff(6_000) < 200 && gaps[0].2.abs_diff(10_000) < 200, "{gaps:?}");
        }
    }
}

#[test]
fn a_sender_that_begins_anew_goes_on_in_the_same_track() {
    for codec in [Codec::H264, Codec::Opus] {
        let mut session = Session::begin();
        let frames = frames_of(codec);
        let mut sender = Sender::new(codec, "张三", Role::Party, participant(1));
        session.open(&sender);
        let half = frames.len() / 2;
        let mut packets = sender.send(START, &frames[..half]);
        sender.ssrc = 0x9999;
        sender.sequence = 30_000;
        sender.timestamp = 5;
        packets.extend(sender.send(START + seconds(8.0), &frames[half..]));
        session.play(packets, START + seconds(14.0));
        let closed = session.close();
        let (decoded, duration) = closed.decode(sender.meta.track);
        assert_eq!(decoded, frames.len() as u64);
        assert_lasts(duration, 14.0);
        assert_eq!(closed.gaps(sender.meta.track).len(), 1);
    }
}

#[test]
fn another_resolution_opens_a_new_epoch_and_plays_on() {
    for codec in [Codec::H264, Codec::Vp8] {
        let mut session = Session::begin();
        let make = if codec == Codec::H264 { h264_frames } else { vp8_frames };
        let (small, large) = (make("320x180", 6), make("640x360", 6));
        let mut sender = Sender::new(codec, "张三", Role::Party, participant(1));
        session.open(&sender);
        let mut packets = sender.send(START, &small);
        packets.extend(sender.send(START + seconds(6.0), &large));
        session.play(packets, START + seconds(12.0));
        let closed = session.close();
        let (decoded, duration) = closed.decode(sender.meta.track);
        assert_eq!(decoded, 180);
        assert_lasts(duration, 12.0);
        let layers: Vec<_> = closed
            .journal()
            .iter()
            .filter(|line| line["t"] == "layer")
            .map(|line| (line["epoch"].as_u64(), line["width"].as_u64()))
            .collect();
        assert_eq!(layers, [(Some(0), Some(320)), (Some(1), Some(640))]);
    }
}

/// The layers of a picture are streams of their own: the tap goes from one to another at a keyframe.
#[test]
fn another_layer_opens_a_new_epoch_and_leaves_no_gap() {
    for codec in [Codec::H264, Codec::Vp8] {
        let mut session = Session::begin();
        let make = if codec == Codec::H264 { h264_frames } else { vp8_frames };
        let sizes = ["320x180", "640x360", "320x180"];
        let mut sender = Sender::new(codec, "张三", Role::Party, participant(1));
        session.open(&sender);
        let mut packets = Vec::new();
        for (number, size) in (0u16..).zip(sizes) {
            (sender.ssrc, sender.sequence) = (0x5000 + u32::from(number), 9_000 * number);
            sender.timestamp = 777_777 * u32::from(number);
            packets.extend(sender.send(START + seconds(4.0 * f64::from(number)), &make(size, 4)));
        }
        session.play(packets, START + seconds(12.0));
        let closed = session.close();
        let (decoded, duration) = closed.decode(sender.meta.track);
        assert_eq!(decoded, 180);
        assert_lasts(duration, 12.0);
        let layers: Vec<_> = closed
            .journal()
            .iter()
            .filter(|line| line["t"] == "layer")
            .map(|line| (line["epoch"].as_u64(), line["width"].as_u64()))
            .collect();
        assert_eq!(layers, [(Some(0), Some(320)), (Some(1), Some(640)), (Some(2), Some(320))]);
        assert_eq!(closed.gaps(sender.meta.track), []);
    }
}

/// With another layer's parameter sets its pictures would decode to nonsense.
#[test]
fn a_layer_without_parameter_sets_of_its_own_is_not_recorded() {
    let mut session = Session::begin();
    let mut sender = Sender::new(Codec::H264, "张三", Role::Party, participant(1));
    session.open(&sender);
    let mut packets = sender.send(START, &h264_frames("320x180", 4));
    sender.ssrc += 1;
    let is_parameter_set = |sent: &Sent| matches!(sent.rtp[12] & 0x1f, 7 | 8);
    let larger = sender.send(START + seconds(4.0), &h264_frames("640x360", 4));
    packets.extend(larger.into_iter().filter(|sent| !is_parameter_set(sent)));
    session.play(packets, START + seconds(8.0));
    let closed = session.close();
    assert_eq!(closed.decode(sender.meta.track).0, 60);
}

#[test]
fn withdrawn_consent_stops_the_recording_of_that_person() {
    let mut session = Session::begin();
    let frames = opus_frames(SECONDS);
    let mut sender = Sender::new(Codec::Opus, "张三", Role::Party, participant(1));
    session.open(&sender);
    let mut packets = sender.send(START, &frames);
    let later = packets.split_off(200);
    let last = packets.len();
    session.play(packets, START + seconds(4.0));
    session.recording.consent(participant(1), "张三", false, START + seconds(4.0));
    let (unrecorded, rest): (Vec<_>, Vec<_>) =
        later.into_iter().partition(|packet| packet.arrival < START + seconds(8.0));
    session.play(unrecorded, START + seconds(8.0));
    session.recording.consent(participant(1), "张三", true, START + seconds(8.0));
    session.play(rest, START + seconds(12.0));
    let closed = session.close();
    let (decoded, duration) = closed.decode(sender.meta.track);
    assert_eq!((last, decoded), (200, 400));
    assert_lasts(duration, 12.0);
    let gaps = closed.gaps(sender.meta.track);
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert_eq!(gaps[0].0, "consent_withdrawn");
    assert!(gaps[0].1.abs_diff(4_000) < 50 && gaps[0].2.abs_diff(8_000) < 50);
}

#[test]
fn all_of_many_tracks_are_found_at_the_journals_end() {
    let mut session = Session::begin();
    let frames = opus_frames(1);
    let mut packets = Vec::new();
    for number in 0..600 {
        let name = "调解员".repeat(20);
        let mut sender = Sender::new(Codec::Opus, &name, Role::Mediator, participant(number));
        session.open(&sender);
        packets.extend(sender.send(START + Duration::from_millis(number as u64), &frames));
    }
    session.play(packets, START + seconds(2.0));
    let closed = session.close();
    let journal = closed.sealed.package.join("data/journal/journal.jsonl");
    let text = std::fs::read_to_string(journal).expect("journal");
    let lines: usize = text.lines().filter(|line| line.contains("\"t\":\"track\"")).map(str::len).sum();
    assert!(lines > 1 << 18, "more than is read at first: {lines}");
    assert!(text.lines().last().expect("a line").len() < 1_000, "the close line is short");
    let tracks = hewei_recorder::package::tracks(&closed.sealed.package).expect("read");
    assert_eq!(tracks.len(), 600);
    assert_eq!(tracks, closed.sealed.tracks);
    closed.join(tracks[599].track);
}

#[test]
fn g711_is_kept_bit_for_bit() {
    let mut session = Session::begin();
    let frames = pcma_frames(3);
    let mut sender = Sender::new(Codec::Pcma, "摄像头", Role::Party, participant(1));
    session.open(&sender);
    let packets = sender.send(START, &frames);
    session.play(packets, START + seconds(3.0));
    let closed = session.close();
    let path = closed.join(sender.meta.track);
    let out = std::process::Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(&path)
        .args(["-c:a", "pcm_alaw", "-f", "alaw", "-"])
        .output()
        .expect("ffmpeg");
    let sent: Vec<u8> = frames.iter().flat_map(|frame| frame.data.clone()).collect();
    assert_eq!(out.stdout.len(), sent.len());
    assert!(out.stdout == sent, "decoded and encoded again it is what was sent");
}

#[test]
fn an_interrupted_recording_is_readable_and_named_incomplete() {
    let mut session = Session::begin();
    let mut sender = Sender::new(Codec::H264, "张三", Role::Party, participant(1));
    session.open(&sender);
    let packets = sender.send(START, &h264_frames("320x180", SECONDS));
    session.play(packets, START + seconds(12.0));
    let package = session.recording.package().to_owned();
    let ca = session.identity.ca_pem().to_owned();
    drop(session.recording);
    let verification = run_verifier(&ca, &package);
    assert_eq!(
        verification.verdict,
        hewei_evidence::verify::Verdict::Incomplete,
        "{:?}",
        verification.findings
    );
    assert!(hewei_recorder::package::tracks(&package).is_err());
    // What a stranger would do with the media that is there.
    let folder = walk(&package, "-e0");
    let mut names: Vec<_> =
        std::fs::read_dir(&folder).expect("folder").map(|e| e.expect("entry").path()).collect();
    names.sort();
    let init = names.pop().expect("init.mp4 sorts last");
    let whole: Vec<u8> =
        std::iter::once(init).chain(names).flat_map(|path| std::fs::read(path).expect("file")).collect();
    let file = folder.join("whole.mp4");
    std::fs::write(&file, whole).expect("written");
    let out = std::process::Command::new("ffmpeg")
        .args(["-v", "error", "-xerror", "-i"])
        .arg(&file)
        .args(["-f", "null", "-"])
        .output()
        .expect("ffmpeg");
    assert!(out.status.success() && out.stderr.is_empty(), "{}", String::from_utf8_lossy(&out.stderr));
}

fn walk(folder: &std::path::Path, ending: &str) -> std::path::PathBuf {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        if folder.to_string_lossy().ends_with(ending) {
            return folder;
        }
        for entry in std::fs::read_dir(&folder).expect("folder") {
            let path = entry.expect("entry").path();
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
    panic!("no folder ends with {ending}");
}
