//! Broken RTSP: a camera that answers, at some step, with what no camera should say.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use hewei_cameras::{Camera, Cameras, Settings, Sink, State};
use hewei_model::{CameraId, Codec, MediaKind};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::noise::Noise;

/// Cameras at a time.
const WAVE: usize = 250;
const PATIENCE: Duration = Duration::from_secs(120);
const SDP: &str = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\n\
    m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\na=control:v\r\n\
    m=audio 0 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=control:a\r\n";

/// How many answers of each step were broken.
#[derive(Default)]
struct Said([AtomicU64; 4]);

struct Nobody;

impl Sink for Nobody {
    fn track(&mut self, _: MediaKind, _: Codec) {}
    fn packet(&mut self, _: MediaKind, _: Instant, _: &[u8]) {}
    fn sender_report(&mut self, _: MediaKind, _: u64, _: u32) {}
    fn end(&mut self) {}
}

/// Has `count` cameras pulled that answer wrongly, and tells how they ended.
pub async fn storm(count: usize, seed: u64) -> Vec<(String, u64)> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("rtsp://{}/cam", listener.local_addr().unwrap());
    let said = Arc::new(Said::default());
    let serving = tokio::spawn(serve(listener, seed, Arc::clone(&said)));
    let settings = Settings {
        connect_timeout: Duration::from_secs(10),
        media_timeout: Duration::from_millis(500),
        linger: Duration::ZERO,
        connects_per_second: 1_000,
    };
    let cameras = Cameras::new(settings, |_| Box::new(Nobody));
    let mut done = 0;
    while done < count {
        let wave: Vec<CameraId> = (0..WAVE.min(count - done)).map(|_| CameraId::generate()).collect();
        let mut demands = Vec::new();
        for id in &wave {
            let address = address.parse().unwrap();
            cameras.register(Camera { id: *id, address, credentials: None });
            demands.push(cameras.demand(*id).unwrap());
        }
        let until = Instant::now() + PATIENCE;
        let failed = |id: &CameraId| {
            matches!(
                cameras.status(*id).unwrap().state,
                State::Unreachable | State::AuthFailed | State::NoMedia
            )
        };
        while !wave.iter().all(failed) {
            assert!(Instant::now() < until, "some cameras neither play nor fail");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        drop(demands);
        wave.iter().for_each(|id| cameras.remove(*id).unwrap());
        done += wave.len();
    }
    let counts = cameras.counts();
    cameras.shutdown().await;
    serving.abort();
    let mut table = vec![("cameras with broken RTSP".to_owned(), count as u64)];
    for (step, said) in ["DESCRIBE", "SETUP", "PLAY", "interleaved media"].iter().zip(&said.0) {
        table.push((format!("  broken answers to {step}"), said.load(Ordering::Relaxed)));
    }
    let broken: u64 = said.0.iter().map(|said| said.load(Ordering::Relaxed)).sum();
    assert!(broken >= count as u64, "every camera was answered wrongly: {table:?}");
    for (name, count) in counts {
        table.push((format!("  {name}"), count));
    }
    let failures: u64 =
        counts.iter().filter(|(name, _)| name.contains("failed")).map(|(_, count)| count).sum();
    assert!(failures >= count as u64, "every failure is counted: {table:?}");
    table
}

async fn serve(listener: TcpListener, seed: u64, said: Arc<Said>) {
    for connection in 0.. {
        let (stream, _) = listener.accept().await.unwrap();
        let said = Arc::clone(&said);
        // A broken pipe is the other side's good right.
        tokio::spawn(async move { _ = camera(stream, Noise::new(seed << 32 | connection), &said).await });
    }
}

/// Right up to one step, and wrong from there.
async fn camera(mut stream: TcpStream, mut noise: Noise, said: &Said) -> std::io::Result<()> {
    let wrong_at = [0, 0, 0, 1, 2, 3][noise.below(6)];
    let mut step = 0;
    loop {
        let mut request = vec![0; 4_096];
        let len = stream.read(&mut request).await?;
        if len == 0 {
            return Ok(());
        }
        let request = String::from_utf8_lossy(&request[..len]).into_owned();
        let sequence = request.lines().find_map(|line| line.strip_prefix("CSeq:")).unwrap_or("1").trim();
        let method = request.split(' ').next().unwrap_or_default();
        let more = match method {
            "DESCRIBE" => {
                format!("Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{SDP}", SDP.len())
            }
            "SETUP" => {
                step = 1;
                let channels = if request.contains("/v RTSP") { "0-1" } else { "2-3" };
                format!("Session: s\r\nTransport: RTP/AVP/TCP;unicast;interleaved={channels}\r\n\r\n")
            }
            _ => {
                step = 2;
                "Session: s\r\n\r\n".to_owned()
            }
        };
        let good = format!("RTSP/1.0 200 OK\r\nCSeq: {sequence}\r\n{more}");
        if step == wrong_at {
            said.0[step].fetch_add(1, Ordering::Relaxed);
            return wrong(&mut stream, &good, &mut noise).await;
        }
        stream.write_all(good.as_bytes()).await?;
        if step == 2 {
            said.0[3].fetch_add(1, Ordering::Relaxed);
            // Lies on the interleaved channels: lengths, channels, and what is in them.
            for _ in 0..noise.below(40) {
                let len = noise.below(1_500);
                let told = if noise.below(4) == 0 { noise.next() as u16 } else { len as u16 };
                let mut frame = vec![b'$', noise.below(6) as u8];
                frame.extend(told.to_be_bytes());
                frame.extend(noise.bytes(len));
                if let Some(first) = frame.get_mut(4) {
                    *first = 0x80;
                }
                stream.write_all(&frame).await?;
            }
            return Ok(());
        }
    }
}

async fn wrong(stream: &mut TcpStream, good: &str, noise: &mut Noise) -> std::io::Result<()> {
    let bytes = match noise.below(10) {
        0 => format!("RTSP/1.0 200 OK\r\nCSeq: 1\r\nX: {}\r\n\r\n", "x".repeat(noise.below(200_000)))
            .into_bytes(),
        1 => format!("RTSP/1.0 200 OK\r\n{}\r\n", "X: y\r\n".repeat(noise.below(20_000))).into_bytes(),
        2 => b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: 99999999999\r\n\r\n".to_vec(),
        3 => {
            let media = "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n".repeat(noise.below(2_000));
            let sdp = format!("v=0\r\no=- 0 0 IN IP4 0\r\ns=x\r\nt=0 0\r\n{media}");
            let head = "RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Type: application/sdp\r\nContent-Length";
            format!("{head}: {}\r\n\r\n{sdp}", sdp.len()).into_bytes()
        }
        4 => {
            let len = noise.below(5_000);
            noise.bytes(len)
        }
        5 => format!("RTSP/1.0 {} No\r\nCSeq: 1\r\n\r\n", 100 + noise.below(600)).into_bytes(),
        // Broken well enough that chance does not make it whole again.
        _ => (noise.broken(good) + "\u{0}").replace("RTSP/1.0 2", "RTSP/1.O 2").into_bytes(),
    };
    stream.write_all(&bytes).await
}
