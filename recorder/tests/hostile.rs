//! Publishers that want to fill the disk or the journal, and disks that fail for a while.

mod support;

use std::{fs, time::Duration};

use hewei_evidence::verify::Verdict;
use hewei_model::{Codec, MonoNs, ParticipantId, Role, TrackId};
use hewei_recorder::Recording;
use support::*;

const OPUS_20_MS: [u8; 4] = [0x78, 1, 2, 3];

fn participant(number: u128) -> ParticipantId {
    ParticipantId::from_u128(number)
}

/// A publisher of sound that chooses every header.
struct Publisher {
    track: TrackId,
    sequence: u16,
}

impl Publisher {
    fn send(&mut self, recording: &mut Recording, at: MonoNs, timestamp: u32, ssrc: u32) {
        let mut rtp = vec![0x80, 111];
        rtp.extend(self.sequence.to_be_bytes());
        rtp.extend(timestamp.to_be_bytes());
        rtp.extend(ssrc.to_be_bytes());
        rtp.extend(OPUS_20_MS);
        self.sequence = self.sequence.wrapping_add(1);
        recording.packet(self.track, at, &rtp);
    }
}

/// The timestamp and the sender of the packet with this number.
type Header = fn(u64) -> (u32, u32);

/// Sends five hundred packets a second for so long, each with a timestamp and a sender of the attacker's choice,
/// beside honest sound; every fifth of a second the recorder gets to write.
fn attack(session: &mut Session, seconds: u64, header: impl Fn(u64) -> (u32, u32)) -> [TrackId; 2] {
    let mut publishers = [1, 2].map(|number| {
        let sender = Sender::new(Codec::Opus, "张三", Role::Party, participant(number));
        session.open(&sender);
        Publisher { track: sender.meta.track, sequence: 0 }
    });
    let [hostile, honest] = &mut publishers;
    for packet in 0..seconds * 500 {
        let at = START + Duration::from_millis(packet * 2);
        let (timestamp, ssrc) = header(packet);
        hostile.send(&mut session.recording, at, timestamp, ssrc);
        if packet % 10 == 0 {
            honest.send(&mut session.recording, at, (packet / 10 * 960) as u32, 7);
        }
        if packet % 100 == 0 {
            // The disk may fail just then.
            let _ = session.recording.tick(at, started_at() + at.since(START));
        }
    }
    session.now = START + Duration::from_secs(seconds);
    publishers.map(|publisher| publisher.track)
}

fn lines_of(closed: &Closed, track: TrackId) -> Vec<serde_json::Value> {
    let track = track.to_string();
    let about = |line: &serde_json::Value| {
        line["track"] == track.as_str() || line["file"].as_str().is_some_and(|file| file.contains(&track))
    };
    closed.journal().into_iter().filter(about).collect()
}

#[test]
fn a_clock_that_jumps_with_every_packet_makes_no_fragment_of_every_packet() {
    let attacks: [(&str, Header); 4] = [
        ("timestamps", |packet| (if packet % 2 == 0 { 0 } else { 1 << 30 } + packet as u32 * 96, 7)),
        ("senders", |packet| (packet as u32 * 96, (packet % 2) as u32)),
        ("small steps", |packet| ((packet * 1_300) as u32, 7)),
        ("back and forth", |packet| ((packet as u32 * 96).wrapping_add(packet as u32 % 2 * 100_000), 7)),
    ];
    for (what, header) in attacks {
        let mut session = Session::begin();
        let [hostile, honest] = attack(&mut session, 20, header);
        let closed = session.close();
        let lines = lines_of(&closed, hostile).len();
        // In 20 s are 20 fragments in two files, and what breaks are allowed.
        assert!(lines < 20 * 50, "{what}: {lines} lines of {} packets", 20 * 500);
        let gaps = closed.gaps(hostile);
        assert!(gaps.iter().any(|(kind, ..)| kind == "recorder_fault"), "{what}: {gaps:?}");
        assert_eq!(closed.gaps(honest), [], "{what}");
        let (frames, _) = closed.decode(honest);
        assert_eq!(frames, 1_000, "{what}");
        assert_eq!(run_verifier(closed.identity.ca_pem(), &closed.sealed.package).findings, [], "{what}");
    }
}

#[test]
fn a_track_that_breaks_off_too_often_says_so_and_goes_on() {
    let mut session = Session::begin();
    // Two seconds of another clock with each packet, then ten seconds of an honest one.
    let [hostile, _] = attack(&mut session, 12, |packet| match packet {
        0..1_000 => ((packet as u32).wrapping_mul(0x4000_0000), 7),
        packet => (packet as u32 * 96, 7),
    });
    let closed = session.close();
    let gaps = closed.gaps(hostile);
    let fault = gaps.iter().rfind(|(kind, ..)| kind == "recorder_fault").expect("it says so");
    assert!(fault.2 < 4_500 && fault.3 > 0, "{gaps:?}");
    let summary = closed.track(hostile);
    assert!(summary.starts_ms + summary.duration_ms > 11_000, "{summary:?}");
    assert!(lines_of(&closed, hostile).iter().filter(|line| line["t"] == "seg").count() >= 8);
}

#[test]
fn reports_and_tracks_without_end_are_not_all_taken() {
    let mut session = Session::begin();
    let sender = Sender::new(Codec::Opus, "张三", Role::Party, participant(1));
    session.open(&sender);
    for report in 0..10_000_u32 {
        let at = START + Duration::from_millis(u64::from(report));
        session.recording.sender_report(sender.meta.track, u64::from(report), report, at);
    }
    for number in 0..200_u64 {
        let mut meta = Sender::new(Codec::Opus, "李四", Role::Party, participant(2)).meta;
        meta.track = TrackId::generate();
        let track = meta.track;
        let at = START + Duration::from_millis(number * 100);
        session.recording.track_opened(meta, at);
        session.recording.track_closed(track, at);
    }
    session.now = START + Duration::from_secs(20);
    // Others may still begin theirs.
    let other = Sender::new(Codec::Opus, "王五", Role::Party, participant(3));
    session.open(&other);
    // And so may they, a minute later.
    session.now = START + Duration::from_secs(70);
    let later = Sender::new(Codec::Opus, "李四", Role::Party, participant(2));
    session.open(&later);
    let closed = session.close();
    let count =
        |what: &dyn Fn(&serde_json::Value) -> bool| closed.journal().iter().filter(|line| what(line)).count();
    assert_eq!(count(&|line| line["t"] == "clk"), 20);
    let second = participant(2).to_string();
    assert_eq!(count(&|line| line["t"] == "track_open" && line["participant"] == second.as_str()), 31);
    assert_eq!(count(&|line| line["t"] == "fault"), 1);
    for track in [&other, &later] {
        let track = track.meta.track.to_string();
        assert_eq!(count(&|line| line["t"] == "track_open" && line["track"] == track.as_str()), 1);
    }
}

#[test]
fn while_the_journal_waits_one_track_does_not_take_the_others_room() {
    let mut session = Session::begin();
    session.recording.document("before.txt", b"x", START).expect("written");
    // New folders cannot be brought to the disk, so the journal must wait.
    let docs = session.recording.package().join("data/docs");
    let aside = session.folder.path().join("aside");
    fs::rename(&docs, &aside).expect("moved");
    assert!(session.recording.tick(START + Duration::from_secs(2), started_at()).is_err());
    let [hostile, honest] =
        attack(&mut session, 600, |packet| ((packet as u32).wrapping_mul(0x4000_0000), 7));
    fs::rename(&aside, &docs).expect("moved back");
    session.recording.tick(session.now, started_at() + session.now.since(START)).expect("written");
    let closed = session.close();
    let stopped: Vec<_> = lines_of(&closed, hostile);
    assert!(stopped.len() < 2_100, "{} lines", stopped.len());
    assert!(
        stopped.iter().any(
            |line| line["t"] == "gap" && line["reason"].as_str().is_some_and(|why| why.contains("waits"))
        ),
        "{:?}",
        closed.gaps(hostile)
    );
    assert_eq!(closed.gaps(honest), []);
    assert_eq!(closed.track(honest).duration_ms, 600_000);
    let verification = run_verifier(closed.identity.ca_pem(), &closed.sealed.package);
    assert_eq!(verification.findings, []);
    assert_eq!(verification.verdict, Verdict::Intact);
}

#[test]
fn a_head_that_could_not_be_signed_once_is_signed_the_next_time() {
    let mut session = Session::begin();
    session.play(Vec::new(), START + Duration::from_secs(1));
    let blocker = session.recording.package().join("data/seals/head-000002.p7s");
    fs::create_dir(&blocker).expect("made");
    let mut failed = 0;
    for second in 2..12 {
        let at = START + Duration::from_secs(second);
        session.recording.person_joined(participant(9), "张三", Role::Party, at);
        failed += u32::from(session.recording.tick(at, started_at() + at.since(START)).is_err());
    }
    assert!(failed > 0);
    fs::remove_dir(&blocker).expect("removed");
    session.now = START + Duration::from_secs(12);
    session.play(Vec::new(), START + Duration::from_secs(20));
    let closed = session.close();
    let verification = run_verifier(closed.identity.ca_pem(), &closed.sealed.package);
    assert_eq!(verification.findings, []);
    assert!(verification.seals >= 3, "{}", verification.seals);
    let (passes, text) =
        run_script(&closed.sealed.package.join("verify.sh"), &closed.ca, &closed.sealed.package);
    assert!(passes && text.ends_with("OK\n"), "{text}");
}

#[test]
fn a_segment_that_could_not_be_begun_leaves_an_honest_package() {
    let mut session = Session::begin();
    let mut sender = Sender::new(Codec::Opus, "张三", Role::Party, participant(1));
    session.open(&sender);
    let track = sender.meta.track;
    // A file stands where the track's folder must be.
    let epoch = session
        .recording
        .package()
        .join(format!("data/sessions/{}/joint/{}", session.session, sender.meta.participant));
    fs::create_dir_all(epoch.parent().expect("a folder")).expect("made");
    fs::write(&epoch, "").expect("written");
    let frames = opus_frames(12);
    let (first, rest): (Vec<_>, Vec<_>) = sender
        .send(START, &frames)
        .into_iter()
        .partition(|packet| packet.arrival < START + Duration::from_secs(3));
    session.play(first, START + Duration::from_secs(3));
    fs::remove_file(&epoch).expect("removed");
    session.play(rest, START + Duration::from_secs(12));
    let closed = session.close();
    assert!(closed.gaps(track).iter().any(|(kind, ..)| kind == "recorder_fault"), "{:?}", closed.gaps(track));
    assert_eq!(run_verifier(closed.identity.ca_pem(), &closed.sealed.package).findings, []);
    closed.decode(track);
}
