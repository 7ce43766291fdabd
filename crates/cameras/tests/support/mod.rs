//! Real cameras for the tests: gst-rtsp-server processes on loopback, and a sink that keeps what it gets.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::{
    io::{BufRead, BufReader, Read},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use hewei_cameras::{Camera, Cameras, Credentials, Settings, Sink, State, Status};
use hewei_model::{CameraId, Codec, MediaKind};

pub const USER: &str = "village";
pub const PASSWORD: &str = "s3cret-of-the-village";
pub const CAMERA: CameraId = CameraId::from_u128(7);
/// For what has to happen at all; generous, since other work may load the machine.
pub const SOON: Duration = Duration::from_secs(20);

/// A camera's process. Killed when dropped.
pub struct Source {
    child: Child,
    pub port: u16,
    arguments: Vec<String>,
}

impl Source {
    pub fn start(arguments: &[&str]) -> Self {
        Self::spawn(0, arguments.iter().map(|a| a.to_string()).collect())
    }

    fn spawn(port: u16, arguments: Vec<String>) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../signaling/demo/cameras.py");
        let mut child = Command::new("/usr/bin/python3")
            .arg(script)
            .args(["--port", &port.to_string(), "--user", USER, "--password-from-env"])
            .args(&arguments)
            .env("HEWEI_DEMO_CAMERA_PASSWORD", PASSWORD)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 with gst-rtsp-server is needed; see scripts/install.sh");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let port = if port == 0 {
            let line = lines.next().expect("the camera process ended before it listened");
            line.strip_prefix("port ").unwrap().parse().unwrap()
        } else {
            port
        };
        assert_eq!(lines.next().as_deref(), Some("ready"));
        Self { child, port, arguments }
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// The same camera at the same address again.
    pub fn restart(&mut self) {
        self.kill();
        *self = Self::spawn(self.port, self.arguments.clone());
    }

    pub fn stop(&self) {
        self.signal("-STOP");
    }

    pub fn go_on(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    pub fn camera(&self) -> Camera {
        camera_at(self.port)
    }

    /// Open TCP connections to it from this process's side.
    pub fn connections(&self) -> usize {
        connections_to(self.port)
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn camera_at(port: u16) -> Camera {
    Camera {
        id: CAMERA,
        address: format!("rtsp://127.0.0.1:{port}/cam").parse().unwrap(),
        credentials: Some(Credentials { user: USER.into(), password: PASSWORD.into() }),
    }
}

pub fn connections_to(port: u16) -> usize {
    const ESTABLISHED: &str = "01";
    let remote = format!("0100007F:{port:04X}");
    std::fs::read_to_string("/proc/net/tcp")
        .unwrap()
        .lines()
        .filter(|line| {
            let mut fields = line.split_whitespace().skip(2);
            fields.next() == Some(&remote) && fields.next() == Some(ESTABLISHED)
        })
        .count()
}

/// What the sinks of one test got.
#[derive(Default)]
pub struct Got {
    pub pulls: usize,
    pub ended: usize,
    pub tracks: Vec<(MediaKind, Codec)>,
    pub video: Vec<Vec<u8>>,
    pub audio: Vec<Vec<u8>>,
    /// Kind, NTP time, RTP timestamp, and when it came.
    pub reports: Vec<(MediaKind, u64, u32, Instant)>,
}

#[derive(Clone, Default)]
pub struct Collector(Arc<Mutex<Got>>);

impl Collector {
    pub fn got(&self) -> MutexGuard<'_, Got> {
        self.0.lock().unwrap()
    }

    /// How many began and how many ended.
    pub fn pulls(&self) -> (usize, usize) {
        let got = self.got();
        (got.pulls, got.ended)
    }

    pub fn sinks(&self) -> impl Fn(CameraId) -> Box<dyn Sink> + Send + Sync + 'static {
        let collector = self.clone();
        move |id| {
            assert_eq!(id, CAMERA);
            collector.got().pulls += 1;
            Box::new(collector.clone())
        }
    }
}

impl Sink for Collector {
    fn track(&mut self, kind: MediaKind, codec: Codec) {
        self.got().tracks.push((kind, codec));
    }

    fn packet(&mut self, kind: MediaKind, arrival: Instant, rtp: &[u8]) {
        assert!(arrival.elapsed() < Duration::from_secs(5));
        let mut got = self.got();
        assert!(got.tracks.iter().any(|(k, _)| *k == kind), "a packet ahead of its track");
        match kind {
            MediaKind::Video => got.video.push(rtp.to_vec()),
            MediaKind::Audio => got.audio.push(rtp.to_vec()),
        }
    }

    fn sender_report(&mut self, kind: MediaKind, ntp: u64, rtp_timestamp: u32) {
        self.got().reports.push((kind, ntp, rtp_timestamp, Instant::now()));
    }

    fn end(&mut self) {
        self.got().ended += 1;
    }
}

/// As in the product, but with a short linger.
pub fn settings() -> Settings {
    Settings { linger: Duration::from_secs(1), ..Settings::default() }
}

/// One registered camera and its sink.
pub fn cameras(camera: Camera, settings: Settings) -> (Cameras, Collector) {
    let collector = Collector::default();
    let cameras = Cameras::new(settings, collector.sinks());
    cameras.register(camera);
    (cameras, collector)
}

pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < SOON, "not within {SOON:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits for a state; gives the status and how long it took.
pub async fn until_state(cameras: &Cameras, state: State) -> (Status, Duration) {
    let start = Instant::now();
    loop {
        let status = cameras.status(CAMERA).unwrap();
        if status.state == state {
            return (status, start.elapsed());
        }
        assert!(start.elapsed() < SOON, "not {state:?} within {SOON:?} but {status:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub fn sequence(rtp: &[u8]) -> u16 {
    u16::from_be_bytes(rtp[2..4].try_into().unwrap())
}

pub fn timestamp(rtp: &[u8]) -> u32 {
    u32::from_be_bytes(rtp[4..8].try_into().unwrap())
}

/// Plain headers, one SSRC, no gap, small payloads.
pub fn check_rtp(packets: &[Vec<u8>]) {
    for rtp in packets {
        assert_eq!(rtp[0], 0x80, "version 2 and nothing else");
        assert!((13..=1_212).contains(&rtp.len()), "{} bytes", rtp.len());
        assert_eq!(rtp[8..12], packets[0][8..12], "one SSRC");
    }
    for pair in packets.windows(2) {
        assert_eq!(sequence(&pair[1]), sequence(&pair[0]).wrapping_add(1), "no gap");
        let step = timestamp(&pair[1]).wrapping_sub(timestamp(&pair[0]));
        assert!(step < u32::MAX / 2, "time goes on");
    }
}

/// An access unit: its NAL units. Reassembled by a reader of its own, not the crate's.
pub fn pictures(packets: &[Vec<u8>]) -> Vec<Vec<Vec<u8>>> {
    let mut pictures = vec![Vec::<Vec<u8>>::new()];
    for rtp in packets {
        let payload = &rtp[12..];
        let picture = pictures.last_mut().unwrap();
        match payload[0] & 0x1F {
            24 => {
                let mut rest = &payload[1..];
                while !rest.is_empty() {
                    let length = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
                    picture.push(rest[2..2 + length].to_vec());
                    rest = &rest[2 + length..];
                }
            }
            28 if payload[1] & 0x80 != 0 => {
                let mut nal = vec![payload[0] & 0xE0 | payload[1] & 0x1F];
                nal.extend_from_slice(&payload[2..]);
                picture.push(nal);
            }
            28 => picture.last_mut().expect("begins with a start").extend_from_slice(&payload[2..]),
            1..=23 => picture.push(payload.to_vec()),
            other => panic!("NAL unit type {other}"),
        }
        if rtp[1] & 0x80 != 0 {
            pictures.push(Vec::new());
        }
    }
    // The last one may be on its way.
    pictures.pop();
    pictures
}

pub fn kinds(picture: &[Vec<u8>]) -> Vec<u8> {
    picture.iter().map(|nal| nal[0] & 0x1F).collect()
}

/// Decodes from the first IDR on with ffmpeg, which must have nothing to say; returns the number of pictures.
pub fn decode(pictures: &[Vec<Vec<u8>>]) -> usize {
    let first = pictures.iter().position(|p| kinds(p).contains(&5)).expect("an IDR picture");
    let file = tempfile::NamedTempFile::with_suffix(".h264").unwrap();
    let stream: Vec<u8> =
        pictures[first..].iter().flatten().flat_map(|nal| [&[0, 0, 0, 1], nal.as_slice()].concat()).collect();
    std::fs::write(file.path(), stream).unwrap();
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-xerror", "-i"])
        .arg(file.path())
        .args(["-fps_mode", "passthrough", "-f", "framemd5", "-"])
        .output()
        .expect("ffmpeg is needed; see scripts/install.sh");
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let decoded =
        String::from_utf8(output.stdout).unwrap().lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(decoded, pictures.len() - first, "each picture decodes");
    decoded
}

/// A server of our own that answers each request by `answer`.
pub fn serve(answer: impl Fn(String, &mut TcpStream) + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4_096];
            while let Ok(length @ 1..) = stream.read(&mut request) {
                answer(String::from_utf8_lossy(&request[..length]).into_owned(), &mut stream);
            }
        }
    });
    port
}

/// A header of an RTSP request, empty when it is not there.
pub fn header<'a>(request: &'a str, name: &str) -> &'a str {
    request.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim()
}
