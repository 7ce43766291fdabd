//! Real media from ffmpeg, made into RTP, sent over a seeded bad network into a recording.
#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use hewei_evidence::{
    journal::{self, Event, Line},
    verify::{Options, Verification, verify},
};
use hewei_media::{h264, vp8};
use hewei_model::{
    Audience, CaseId, Codec, MonoNs, ParticipantId, Publisher, RecordingId, Role, RoomId, SessionId, TrackId,
};
use hewei_recorder::{
    Expected, Identity, RecorderError, Recording, RecordingMeta, Recovered, Sealed, TrackMeta, TrackSummary,
    package, recover,
};
use tempfile::TempDir;
use time::OffsetDateTime;

pub const MS: u64 = 1_000_000;
pub const START: MonoNs = MonoNs(77_000 * MS);

pub fn started_at() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_790_000_000).expect("a time")
}

/// A frame of real media: when it is shown, in ticks, and its bytes (NAL units with start codes for H.264).
pub struct Frame {
    pub ticks: u64,
    pub data: Vec<u8>,
}

/// A folder that goes away, in memory where there is one: the tests wait for no disk.
fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("folder")
}

fn ffmpeg(args: &[&str], out: &Path) {
    let status = Command::new("ffmpeg")
        .args(["-v", "error", "-y", "-nostdin"])
        .args(args)
        .arg(out)
        .status()
        .expect("ffmpeg is installed");
    assert!(status.success(), "ffmpeg {args:?}");
}

/// H.264 at 15 frames a second with a keyframe each two seconds.
pub fn h264_frames(size: &str, seconds: u32) -> Vec<Frame> {
    let folder = folder();
    let file = folder.path().join("v.h264");
    let source = format!("testsrc2=size={size}:rate=15:duration={seconds}");
    ffmpeg(
        &[
            "-f",
            "lavfi",
            "-i",
            &source,
            "-c:v",
            "libx264",
            "-preset",
            "ultrafast",
            "-profile:v",
            "baseline",
            "-pix_fmt",
            "yuv420p",
            "-g",
            "30",
            "-x264-params",
            "aud=1:scenecut=0",
            "-f",
            "h264",
        ],
        &file,
    );
    let stream = fs::read(&file).expect("file");
    let mut frames: Vec<Frame> = Vec::new();
    for nal in h264::split_annex_b(&stream) {
        if h264::nal_type(nal) == 9 {
            frames.push(Frame { ticks: frames.len() as u64 * 6_000, data: Vec::new() });
            continue;
        }
        let frame = frames.last_mut().expect("an AUD first");
        frame.data.extend_from_slice(&[0, 0, 0, 1]);
        frame.data.extend_from_slice(nal);
    }
    assert_eq!(frames.len() as u32, seconds * 15);
    frames
}

/// VP8 at 15 frames a second with a keyframe each two seconds.
pub fn vp8_frames(size: &str, seconds: u32) -> Vec<Frame> {
    let folder = folder();
    let file = folder.path().join("v.ivf");
    let source = format!("testsrc2=size={size}:rate=15:duration={seconds}");
    ffmpeg(
        &[
            "-f",
            "lavfi",
            "-i",
            &source,
            "-c:v",
            "libvpx",
            "-deadline",
            "realtime",
            "-cpu-used",
            "8",
            "-b:v",
            "600k",
            "-g",
            "30",
            "-auto-alt-ref",
            "0",
            "-f",
            "ivf",
        ],
        &file,
    );
    let stream = fs::read(&file).expect("file");
    let mut frames = Vec::new();
    let mut at = 32;
    while at + 12 <= stream.len() {
        let size = u32::from_le_bytes(stream[at..at + 4].try_into().expect("four bytes")) as usize;
        frames.push(Frame {
            ticks: frames.len() as u64 * 6_000,
            data: stream[at + 12..at + 12 + size].to_vec(),
        });
        at += 12 + size;
    }
    assert_eq!(frames.len() as u32, seconds * 15);
    frames
}

/// Opus in packets of 20 ms.
pub fn opus_frames(seconds: u32) -> Vec<Frame> {
    let folder = folder();
    let file = folder.path().join("a.ogg");
    let source = format!("sine=frequency=440:sample_rate=48000:duration={seconds}");
    ffmpeg(&["-f", "lavfi", "-i", &source, "-ac", "2", "-c:a", "libopus", "-b:a", "48k"], &file);
    let stream = fs::read(&file).expect("file");
    let mut packets: Vec<Vec<u8>> = Vec::new();
    let mut packet = Vec::new();
    let mut at = 0;
    while at + 27 <= stream.len() {
        assert_eq!(&stream[at..at + 4], b"OggS");
        let lacing = stream[at + 27..at + 27 + usize::from(stream[at + 26])].to_vec();
        at += 27 + lacing.len();
        for size in lacing {
            packet.extend_from_slice(&stream[at..at + usize::from(size)]);
            at += usize::from(size);
            if size < 255 {
                packets.push(std::mem::take(&mut packet));
            }
        }
    }
    packets
        .split_off(2)
        .into_iter()
        .enumerate()
        .map(|(index, data)| Frame { ticks: index as u64 * 960, data })
        .take(seconds as usize * 50)
        .collect()
}

/// G.711 A-law in packets of 20 ms.
pub fn pcma_frames(seconds: u32) -> Vec<Frame> {
    let folder = folder();
    let file = folder.path().join("a.al");
    let source = format!("sine=frequency=440:sample_rate=8000:duration={seconds}");
    ffmpeg(&["-f", "lavfi", "-i", &source, "-c:a", "pcm_alaw", "-f", "alaw"], &file);
    fs::read(&file)
        .expect("file")
        .chunks_exact(160)
        .enumerate()
        .map(|(index, data)| Frame { ticks: index as u64 * 160, data: data.to_vec() })
        .collect()
}

/// A packet under way.
#[derive(Clone)]
pub struct Sent {
    pub arrival: MonoNs,
    pub track: TrackId,
    pub rtp: Vec<u8>,
}

/// One sender of one track.
pub struct Sender {
    pub meta: TrackMeta,
    pub sequence: u16,
    pub timestamp: u32,
    pub ssrc: u32,
}

impl Sender {
    pub fn new(codec: Codec, name: &str, role: Role, participant: ParticipantId) -> Self {
        Self {
            meta: TrackMeta {
                track: TrackId::generate(),
                participant,
                name: name.into(),
                role,
                kind: codec.kind(),
                codec,
            },
            // Both wrap soon.
            sequence: 65_500,
            timestamp: u32::MAX - 100_000,
            ssrc: 0x1234,
        }
    }

    /// Sends frames in real time, the first at `at`.
    pub fn send(&mut self, at: MonoNs, frames: &[Frame]) -> Vec<Sent> {
        let mut sent = Vec::new();
        let rate = u64::from(self.meta.codec.clock_rate_hz());
        let base = frames.first().map_or(0, |frame| frame.ticks);
        for (index, frame) in frames.iter().enumerate() {
            let ticks = frame.ticks - base;
            let arrival = at + Duration::from_nanos(ticks * 1_000_000_000 / rate);
            let timestamp = self.timestamp.wrapping_add(ticks as u32);
            let mut payloads: Vec<Vec<u8>> = Vec::new();
            match self.meta.codec {
                Codec::H264 => {
                    for nal in h264::split_annex_b(&frame.data) {
                        h264::fragment(nal, 1_100, &mut |payload, _| payloads.push(payload.to_vec()));
                    }
                }
                Codec::Vp8 => {
                    vp8::packetize(&frame.data, 1_100, &mut |payload, _| payloads.push(payload.to_vec()))
                }
                _ => payloads.push(frame.data.clone()),
            }
            let last = payloads.len() - 1;
            for (part, payload) in payloads.iter().enumerate() {
                let marker = part == last && self.meta.kind == hewei_model::MediaKind::Video;
                // Every third packet is padded.
                let padding = usize::from((index + part) % 3 == 0) * 4;
                let mut rtp = vec![0x80 | if padding > 0 { 0x20 } else { 0 }, 96 | u8::from(marker) << 7];
                rtp.extend_from_slice(&self.sequence.to_be_bytes());
                rtp.extend_from_slice(&timestamp.to_be_bytes());
                rtp.extend_from_slice(&self.ssrc.to_be_bytes());
                rtp.extend_from_slice(payload);
                if padding > 0 {
                    rtp.extend_from_slice(&[0, 0, 0, 4]);
                }
                self.sequence = self.sequence.wrapping_add(1);
                let arrival = arrival + Duration::from_micros(200 * part as u64);
                sent.push(Sent { arrival, track: self.meta.track, rtp });
            }
        }
        let length = frames.last().map_or(0, |frame| frame.ticks - base);
        let step = frames.get(1).map_or(0, |frame| frame.ticks - base);
        self.timestamp = self.timestamp.wrapping_add((length + step) as u32);
        sent
    }
}

/// A seeded generator (SplitMix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ value >> 31
    }

    pub fn chance(&mut self, per_thousand: u64) -> bool {
        self.next() % 1_000 < per_thousand
    }
}

/// What the network does to packets, per thousand.
#[derive(Clone, Copy, Default)]
pub struct Network {
    pub lost: u64,
    pub doubled: u64,
    pub swapped: u64,
    /// Lost at first and sent again up to 600 ms later.
    pub resent: u64,
}

impl Network {
    /// Passes packets on; never loses the first few of a track, and sends the last on at once: one that comes late with
    /// nothing behind it is a pause.
    pub fn pass(&self, mut sent: Vec<Sent>, random: &mut Random) -> Vec<Sent> {
        let mut passed = Vec::new();
        let last = sent.len().saturating_sub(1);
        for (index, mut packet) in sent.drain(..).enumerate() {
            if index > 40 && random.chance(self.lost) {
                continue;
            }
            // A track begins with the first packet that comes.
            if index == 0 {
                passed.push(packet);
                continue;
            }
            let stays = index == last;
            if random.chance(self.resent) && !stays {
                packet.arrival = packet.arrival + Duration::from_millis(50 + random.next() % 550);
            } else if random.chance(self.swapped) && !stays {
                packet.arrival = packet.arrival + Duration::from_millis(random.next() % 80);
            }
            if random.chance(self.doubled) {
                let mut twin = packet.clone();
                twin.arrival = twin.arrival + Duration::from_millis(random.next() % 100);
                passed.push(twin);
            }
            passed.push(packet);
        }
        passed
    }
}

/// A recording in a folder of its own.
pub struct Session {
    pub folder: TempDir,
    pub identity: Arc<Identity>,
    pub recording: Recording,
    pub session: SessionId,
    pub now: MonoNs,
    pub keyframes_asked: Vec<(MonoNs, TrackId)>,
}

impl Session {
    pub fn begin() -> Self {
        let folder = folder();
        let identity = Identity::load_or_create(&folder.path().join("keys"), started_at()).expect("identity");
        let identity = Arc::new(identity);
        let meta = RecordingMeta {
            recording: RecordingId::generate(),
            session: SessionId::generate(),
            case_id: CaseId::generate(),
            case_number: "2026-民调-0017".into(),
            case_title: "灌溉渠占用 \"sha256\":\"00\"".into(),
            room: RoomId::generate(),
            room_name: "第一调解室".into(),
            started_at: started_at(),
            started_mono: START,
            continues: None,
        };
        let session = meta.session;
        let recording =
            Recording::create(&folder.path().join("recordings"), meta, identity.clone()).expect("created");
        Self { folder, identity, recording, session, now: START, keyframes_asked: Vec::new() }
    }

    pub fn open(&mut self, sender: &Sender) {
        let meta = sender.meta.clone();
        self.recording.person_joined(meta.participant, &meta.name, meta.role, self.now);
        self.recording.consent(meta.participant, &meta.name, true, self.now);
        self.recording.audience(
            Publisher::Participant(meta.participant),
            meta.kind,
            Audience { participants: [ParticipantId::from_u128(9)].into(), recorder: true },
            self.now,
        );
        self.recording.track_opened(meta, self.now);
    }

    /// Plays packets and lets time pass until `until`.
    pub fn play(&mut self, mut packets: Vec<Sent>, until: MonoNs) {
        packets.sort_by_key(|packet| packet.arrival);
        let mut next_tick = self.now;
        for packet in packets {
            while next_tick < packet.arrival {
                self.tick(next_tick);
                next_tick = next_tick + Duration::from_millis(200);
            }
            self.recording.packet(packet.track, packet.arrival, &packet.rtp);
        }
        while next_tick <= until {
            self.tick(next_tick);
            next_tick = next_tick + Duration::from_millis(200);
        }
        self.now = until;
    }

    fn tick(&mut self, now: MonoNs) {
        self.recording.tick(now, utc(now)).expect("written");
        for track in self.recording.take_keyframe_requests(now) {
            self.keyframes_asked.push((now, track));
        }
    }

    pub fn close(self) -> Closed {
        let sealed = self.recording.close(self.now, utc(self.now)).expect("sealed");
        let ca = self.folder.path().join("keys/ca.pem");
        Closed { folder: self.folder, identity: self.identity, ca, sealed }
    }
}

fn utc(now: MonoNs) -> OffsetDateTime {
    started_at() + now.since(START)
}

/// A recording whose process has died: nothing is written any more, and nothing was closed.
pub struct Interrupted {
    pub folder: TempDir,
    pub identity: Arc<Identity>,
    pub package: PathBuf,
}

impl Session {
    pub fn interrupt(self) -> Interrupted {
        let package = self.recording.package().to_owned();
        Interrupted { folder: self.folder, identity: self.identity, package }
    }
}

impl Interrupted {
    /// Recovers a copy of it, after `change` was done to that.
    pub fn recover(&self, name: &str, change: impl FnOnce(&Path)) -> Result<Recovered, RecorderError> {
        let package = self.folder.path().join(name);
        copy(&self.package, &package);
        change(&package);
        recover(&package, &self.expected(), &self.identity, recovered_at())
    }

    /// What its own journal says it is.
    pub fn expected(&self) -> Expected {
        let journal = fs::read_to_string(self.package.join(journal::PATH)).expect("journal");
        let first = journal.lines().next().expect("a line");
        let Event::Open { recording, session, case, room, .. } =
            Line::parse(first.as_bytes()).expect("a journal line").event
        else {
            panic!("{first}");
        };
        Expected { recording, session, room, case_id: case }
    }

    /// What a recovered package is held against.
    pub fn closed(&self, recovered: &Recovered) -> Closed {
        let keys = self.folder.path().join("keys");
        let folder = folder();
        copy(&keys, &folder.path().join("keys"));
        let mut sealed = recovered.sealed.clone();
        sealed.package = folder.path().join("package");
        copy(&recovered.sealed.package, &sealed.package);
        Closed { identity: self.identity.clone(), ca: folder.path().join("keys/ca.pem"), folder, sealed }
    }
}

/// An hour after the recording's start.
pub fn recovered_at() -> OffsetDateTime {
    started_at() + Duration::from_secs(3_600)
}

/// A sealed package in a folder of its own.
pub struct Closed {
    pub folder: TempDir,
    pub identity: Arc<Identity>,
    pub ca: PathBuf,
    pub sealed: Sealed,
}

impl Closed {
    pub fn track(&self, track: TrackId) -> &TrackSummary {
        self.sealed.tracks.iter().find(|summary| summary.track == track).expect("it has media")
    }

    /// The track as one file.
    pub fn join(&self, track: TrackId) -> PathBuf {
        let summary = self.track(track);
        let files = package::track_files(&self.sealed.package, summary).expect("files");
        assert_eq!(files.bytes(), summary.bytes);
        let path = self.folder.path().join(format!("{track}.media"));
        let mut out = fs::File::create(&path).expect("file");
        let copied = std::io::copy(&mut files.open(0, u64::MAX), &mut out).expect("copied");
        assert_eq!(copied, summary.bytes);
        path
    }

    /// Decodes a track to its end, without a message; gives the number of frames and the duration in seconds.
    pub fn decode(&self, track: TrackId) -> (u64, f64) {
        let path = self.plays(track);
        let out = Command::new("ffprobe")
            .args(["-v", "error", "-count_packets", "-show_entries"])
            .args(["stream=nb_read_packets:format=duration", "-of", "default=nw=1:nk=1"])
            .arg(&path)
            .output()
            .expect("ffprobe is installed");
        let text = String::from_utf8_lossy(&out.stdout);
        let mut words = text.split_whitespace();
        let frames = words.next().and_then(|word| word.parse().ok()).expect("a count");
        let duration = words.next().and_then(|word| word.parse().ok()).expect("a duration");
        (frames, duration)
    }

    /// Decodes a track to its end, without a message. Gives the track as one file.
    ///
    /// `-enc_time_base -1` keeps the file's ticks up to the sink. Without it ffmpeg counts in ticks of the frame rate
    /// it guessed, and the sink complains when two frames of an uneven rate fall into one.
    pub fn plays(&self, track: TrackId) -> PathBuf {
        let path = self.join(track);
        let out = Command::new("ffmpeg")
            .args(["-v", "error", "-xerror", "-nostdin", "-i"])
            .arg(&path)
            .args(["-enc_time_base", "-1", "-f", "null", "-"])
            .output()
            .expect("ffmpeg is installed");
        let message = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success() && message.is_empty(), "{}: {message}", path.display());
        path
    }

    /// The journal's lines.
    pub fn journal(&self) -> Vec<serde_json::Value> {
        fs::read_to_string(self.sealed.package.join("data/journal/journal.jsonl"))
            .expect("journal")
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    }

    /// The gaps of a track: kind, from and to in milliseconds after the recording's start, packets.
    pub fn gaps(&self, track: TrackId) -> Vec<(String, u64, u64, u64)> {
        self.journal()
            .iter()
            .filter(|line| line["t"] == "gap" && line["track"] == track.to_string())
            .map(|line| {
                let number = |key: &str| line[key].as_u64().expect("a number");
                let kind = line["kind"].as_str().expect("a kind").to_owned();
                (kind, number("from_ms"), number("to_ms"), number("packets"))
            })
            .collect()
    }
}

/// What `verify.sh` says of a package: whether it passes, and its text.
pub fn run_script(script: &Path, ca: &Path, package: &Path) -> (bool, String) {
    let out = Command::new("sh").arg(script).arg(ca).arg(package).output().expect("sh");
    let text = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    (out.status.success(), text)
}

/// What the Rust verifier says of a package.
pub fn run_verifier(ca_pem: &str, package: &Path) -> Verification {
    verify(&package::Directory::new(package), &Options { ca_pem: Some(ca_pem), receipt: None })
        .expect("it can be read")
}

/// Copies a folder.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("folder");
    for entry in fs::read_dir(from).expect("folder") {
        let entry = entry.expect("entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}
