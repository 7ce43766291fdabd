//! `hewei_recorder`: whatever a participant's browser sends, the package is sealed and verifies.

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use hewei_evidence::verify::{Options, Verdict};
use hewei_model::{
    CaseId, Codec, MediaKind, MonoNs, ParticipantId, RecordingId, Role, RoomId, SessionId, TrackId,
};
use hewei_recorder::{Identity, Recording, RecordingMeta, Sealed, TrackMeta, package};
use time::OffsetDateTime;

use crate::input::Input;

const START: MonoNs = MonoNs(1_000_000_000);
const CODECS: [Codec; 5] = [Codec::H264, Codec::Vp8, Codec::Opus, Codec::Pcma, Codec::Pcmu];
const TRACKS: usize = 4;

/// A place in memory, where there is one, that lasts as long as the process.
struct Bench {
    folder: PathBuf,
    identity: Arc<Identity>,
    recordings: AtomicU64,
}

fn bench() -> &'static Bench {
    static BENCH: OnceLock<Bench> = OnceLock::new();
    BENCH.get_or_init(|| {
        let root = [PathBuf::from("/dev/shm"), std::env::temp_dir()].into_iter().find(|root| root.is_dir());
        let folder = root.unwrap_or_default().join(format!("hewei-fuzz-{}", std::process::id()));
        let identity = Identity::load_or_create(&folder.join("keys"), utc()).expect("keys can be made");
        Bench { folder, identity: Arc::new(identity), recordings: AtomicU64::new(1) }
    })
}

fn utc() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_790_000_000).expect("a time")
}

/// A recording in a place of its own.
pub(crate) fn begin() -> Recording {
    let bench = bench();
    let number = u128::from(bench.recordings.fetch_add(1, Ordering::Relaxed));
    let meta = RecordingMeta {
        recording: RecordingId::from_u128(number),
        session: SessionId::from_u128(2),
        case_id: CaseId::from_u128(3),
        case_number: "2026-1".into(),
        case_title: "灌溉".into(),
        room: RoomId::from_u128(4),
        room_name: "调解室".into(),
        started_at: utc(),
        started_mono: START,
        continues: None,
    };
    Recording::create(&bench.folder, meta, bench.identity.clone()).expect("a folder can be made")
}

/// The certificate that recordings made by [`begin`] are signed under.
pub(crate) fn ca_pem() -> &'static str {
    bench().identity.ca_pem()
}

/// Opens a track.
pub(crate) fn open(recording: &mut Recording, track: TrackId, codec: Codec, at: MonoNs) {
    let participant = ParticipantId::from_u128(9);
    let meta =
        TrackMeta { track, participant, name: "张三".into(), role: Role::Party, kind: codec.kind(), codec };
    recording.track_opened(meta, at);
}

/// Seals at `now`.
pub(crate) fn close(recording: Recording, now: MonoNs) -> Sealed {
    let after = Duration::from_nanos(now.0 - START.0);
    recording.close(now, utc() + after).expect("the disk takes it")
}

/// Packets of some tracks, with mutes, consent withdrawn and time passing between them.
pub fn recording(data: &[u8]) {
    let mut input = Input(data);
    let mut recording = begin();
    let mut now = START;
    let participant = ParticipantId::from_u128(9);
    recording.person_joined(participant, "张三", Role::Party, now);
    recording.consent(participant, "张三", true, now);
    let mut sequences = [0u16; TRACKS];
    let mut open_codecs = [None; TRACKS];
    // Longer inputs say nothing new, and would be slow.
    for _ in 0..256 {
        let (Some(what), Some(step)) = (input.byte(), input.byte()) else { break };
        now = now + Duration::from_millis(u64::from(step));
        let number = usize::from(what) % TRACKS;
        let track = TrackId::from_u128(number as u128);
        match what >> 4 {
            0 => {
                let codec = CODECS[usize::from(step) % CODECS.len()];
                if open_codecs[number].is_none() {
                    open_codecs[number] = Some(codec);
                    open(&mut recording, track, codec, now);
                }
            }
            1 => recording.mute(participant, MediaKind::Audio, step & 1 == 0, now),
            2 => recording.consent(participant, "张三", step & 1 == 0, now),
            3 => recording.sender_report(track, u64::from(step) << 32, u32::from(step), now),
            4 => {
                now = now + Duration::from_millis(u64::from(step) * 40);
                recording.tick(now, utc()).expect("the disk takes it");
            }
            5 => {
                let Some(packet) = input.piece() else { break };
                recording.packet(track, now, packet);
            }
            kind => {
                let Some(payload) = input.piece() else { break };
                // Mostly the next number, at times a leap.
                let leap = if kind == 15 { u16::from(step) << 8 } else { 1 };
                sequences[number] = sequences[number].wrapping_add(leap);
                let mut packet = vec![0x80, u8::from(kind & 1 == 0) << 7 | 96];
                packet.extend(sequences[number].to_be_bytes());
                let ticks = (now.0 - START.0) / 1_000_000 * if kind < 10 { 90 } else { 48 };
                packet.extend((ticks as u32).to_be_bytes());
                packet.extend(7u32.to_be_bytes());
                packet.extend(payload);
                recording.packet(track, now, &packet);
            }
        }
    }
    let sealed = close(recording, now);
    let options = Options { ca_pem: Some(ca_pem()), receipt: Some(&sealed.head_hash) };
    let verification = package::verify(&sealed.package, &options).expect("the package can be read");
    assert_eq!(verification.verdict, Verdict::Intact, "{:?}", verification.findings);
    for track in package::tracks(&sealed.package).expect("a sealed package lists its tracks") {
        let files = package::track_files(&sealed.package, &track).expect("a listed track has its files");
        assert!(files.bytes() > 0);
    }
    fs::remove_dir_all(&sealed.package).expect("the package can be removed");
}
