//! What it costs to forward one packet of 1,200 bytes to one subscriber through the whole engine, beside its floor.
//!
//! The engine: a socket, one shard, SRTP opened and sealed, history for retransmission and a tap, all real; one
//! publisher in frames of eight packets, subscribers over DTLS on loopback that do not read. Measured is the CPU
//! time of the shard's thread.
//!
//! The floor: header, copy, AES-128-GCM and `sendmmsg` of 64 to the same number of sockets, no SFU, in the same
//! run; without and with UDP segmentation. What others load the machine with moves both, so read the ratios.
//!
//! Run: `cargo run --release -p hewei-benches --bin forward [SUBSCRIBERS] [ROUNDS]`

#[path = "../../crates/engine/tests/support/mod.rs"]
mod support;

use std::{
    collections::BTreeSet,
    io::IoSlice,
    net::UdpSocket,
    os::fd::AsRawFd,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use hewei_engine::{Config, Engine, tap};
use hewei_model::{Audience, Codec, MediaKind, Publisher, RoomId};
use nix::sys::socket::{ControlMessage, MsgFlags, MultiHeaders, SockaddrIn, sendmmsg};
use ring::aead;
use support::{Client, Shape};

const PAYLOAD: usize = 1_200 - 12;
const FRAME: usize = 8;
const FRAMES: usize = 150;
const BATCH: usize = 64;
const TAG: usize = 16;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let subscribers: usize =
        arguments.next().map_or(Ok(50), |text| text.parse()).context("SUBSCRIBERS is a number")?;
    let rounds: usize = arguments.next().map_or(Ok(5), |text| text.parse()).context("ROUNDS is a number")?;
    ensure!(
        (1..=500).contains(&subscribers) && (1..=100).contains(&rounds),
        "1–500 subscribers, 1–100 rounds"
    );

    println!("ns of CPU per packet of 1,200 bytes per subscriber, {subscribers} subscribers");
    println!(
        "{:>6} {:>10} {:>10} {:>10} {:>8} {:>8} {:>6}",
        "round", "engine", "floor", "floor+GSO", "ratio", "to GSO", "run"
    );
    let mut ratios = Vec::new();
    for round in 1..=rounds {
        let plain = floor(subscribers, 1)?;
        let segmented = floor(subscribers, FRAME)?;
        let (engine, run) = engine(subscribers)?;
        ratios.push(engine / plain);
        println!(
            "{round:>6} {engine:>10.0} {plain:>10.0} {segmented:>10.0} {:>8.2} {:>8.2} {run:>6.1}",
            engine / plain,
            engine / segmented
        );
    }
    ratios.sort_by(f64::total_cmp);
    let median = ratios[ratios.len() / 2];
    println!("median ratio of the engine to its floor (GCM + sendmmsg): {median:.2}; the limit is 1.4");
    ensure!(median <= 1.4, "the engine costs more than 1.4 times its floor");
    Ok(())
}

/// ns per packet per subscriber through the engine, and the mean run length it reached.
fn engine(subscribers: usize) -> Result<(f64, f64)> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let (engine, _events) = Engine::start(Config {
        port: 0,
        bind: [127, 0, 0, 1].into(),
        candidates: vec![[127, 0, 0, 1].into()],
        tcp_candidates: Vec::new(),
        shards: 1,
        video_codecs: vec![Codec::Vp8],
    })?;
    let room = RoomId::generate();
    engine.open_room(room);
    let mut tap = engine.open_tap(room).context("the room is open")?;
    let reader = std::thread::spawn(move || {
        let (mut packets, mut open) = (0u64, true);
        while open {
            tap.read(Duration::from_millis(100), |record| match record {
                tap::Record::Packet { .. } => packets += 1,
                tap::Record::Closed => open = false,
                _ => {}
            });
        }
        packets
    });
    let join = |publish, slots| {
        runtime.block_on(Client::join(&engine, room, Shape { publish, slots, gcm: true, lost: None }))
    };
    let mut publisher = join(true, 0);
    let viewers: Vec<Client> = (0..subscribers).map(|_| join(false, 1)).collect();
    let participants: BTreeSet<_> = viewers.iter().map(|viewer| viewer.participant).collect();
    runtime.block_on(engine.set_audience(
        room,
        Publisher::Participant(publisher.participant),
        MediaKind::Video,
        Audience { participants, recorder: true },
    ));
    let packets: Vec<Vec<u8>> = (0..FRAME * FRAMES)
        .map(|at| publisher.sealed(at as u16, 3_000 * (at / FRAME) as u32, at == 0, PAYLOAD))
        .collect();
    let counter = |name: &str| {
        engine.counters().iter().find(|(known, _)| *known == name).map_or(0, |(_, count)| *count)
    };
    let settled = |sent: u64| -> Result<()> {
        let until = Instant::now() + Duration::from_secs(20);
        while counter("media_rtp_received_total") < sent {
            ensure!(Instant::now() < until, "the engine did not take all packets");
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    };
    // The first frames warm up caches and buffers.
    let send = |packets: &[Vec<u8>]| -> Result<()> {
        for frame in packets.chunks(FRAME) {
            for packet in frame {
                publisher.socket.send_to(packet, publisher.server)?;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    };
    let (warm_up, measured) = packets.split_at(FRAME * FRAMES / 5);
    send(warm_up)?;
    settled(warm_up.len() as u64)?;
    let sent = counter("media_datagrams_sent_total");
    let runs = counter("media_send_runs_total");
    let before = thread_cpu("media-0")?;
    send(measured)?;
    settled(packets.len() as u64)?;
    let cpu = thread_cpu("media-0")? - before;
    let sent = counter("media_datagrams_sent_total") - sent;
    let runs = counter("media_send_runs_total") - runs;
    let forwarded = (measured.len() * subscribers) as u64;
    ensure!(sent >= forwarded, "{sent} datagrams left, of {forwarded}");
    engine.shutdown();
    let tapped = reader.join().map_err(|_| anyhow::anyhow!("the tap's reader ended by a panic"))?;
    ensure!(tapped == packets.len() as u64, "the tap got {tapped} of {} packets", packets.len());
    Ok((cpu as f64 / forwarded as f64, sent as f64 / runs.max(1) as f64))
}

/// ns per packet per subscriber of the least that any forwarder over DTLS-SRTP does.
fn floor(subscribers: usize, segments: usize) -> Result<f64> {
    let sockets = (0..subscribers).map(|_| UdpSocket::bind("127.0.0.1:0")).collect::<Result<Vec<_>, _>>()?;
    let addresses = sockets
        .iter()
        .map(|socket| match socket.local_addr()? {
            std::net::SocketAddr::V4(v4) => Ok(SockaddrIn::from(v4)),
            std::net::SocketAddr::V6(_) => anyhow::bail!("bound to IPv4"),
        })
        .collect::<Result<Vec<_>>>()?;
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let keys = (0..subscribers as u8)
        .map(|at| aead::UnboundKey::new(&aead::AES_128_GCM, &[at; 16]).map(aead::LessSafeKey::new))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| anyhow::anyhow!("sixteen bytes are a key"))?;
    let payload = [7u8; PAYLOAD];
    let datagram = 12 + PAYLOAD + TAG;
    let mut buffers = vec![vec![0u8; datagram * segments]; BATCH];
    let mut targets = Vec::with_capacity(BATCH);
    let mut headers =
        MultiHeaders::<SockaddrIn>::preallocate(BATCH, (segments > 1).then(|| nix::cmsg_space!(u16)));
    let segment = datagram as u16;
    let control = [ControlMessage::UdpGsoSegments(&segment)];
    let mut flush = |buffers: &[Vec<u8>], targets: &mut Vec<Option<SockaddrIn>>| -> Result<()> {
        let slices: Vec<[IoSlice<'_>; 1]> =
            buffers[..targets.len()].iter().map(|buffer| [IoSlice::new(buffer)]).collect();
        let control = if segments > 1 { &control[..] } else { &[] };
        sendmmsg(socket.as_raw_fd(), &mut headers, &slices, &*targets, control, MsgFlags::empty())?;
        targets.clear();
        Ok(())
    };

    let mut index = 0u64;
    let before = own_cpu()?;
    let packets = FRAME * FRAMES * 4 / 5;
    for _ in 0..packets / segments {
        for (key, address) in keys.iter().zip(&addresses) {
            let buffer = &mut buffers[targets.len()];
            for segment in buffer.chunks_exact_mut(datagram) {
                index += 1;
                segment[..2].copy_from_slice(&[0x80, 96]);
                segment[4..12].copy_from_slice(&index.to_be_bytes());
                segment[12..12 + PAYLOAD].copy_from_slice(&payload);
                let (header, rest) = segment.split_at_mut(12);
                let (body, tag_room) = rest.split_at_mut(PAYLOAD);
                let mut nonce = [0; 12];
                nonce[4..].copy_from_slice(&index.to_be_bytes());
                let nonce = aead::Nonce::assume_unique_for_key(nonce);
                let tag = key
                    .seal_in_place_separate_tag(nonce, aead::Aad::from(&*header), body)
                    .map_err(|_| anyhow::anyhow!("seals"))?;
                tag_room.copy_from_slice(tag.as_ref());
            }
            targets.push(Some(*address));
            if targets.len() == BATCH {
                flush(&buffers, &mut targets)?;
            }
        }
    }
    if !targets.is_empty() {
        flush(&buffers, &mut targets)?;
    }
    Ok((own_cpu()? - before) as f64 / (packets * subscribers) as f64)
}

/// CPU time of this thread, in ns.
fn own_cpu() -> Result<u64> {
    cpu_of("/proc/thread-self/schedstat".as_ref())
}

/// CPU time of the one thread with this name, in ns.
fn thread_cpu(name: &str) -> Result<u64> {
    for task in std::fs::read_dir("/proc/self/task")? {
        let path = task?.path();
        if std::fs::read_to_string(path.join("comm"))?.trim() == name {
            return cpu_of(&path.join("schedstat"));
        }
    }
    anyhow::bail!("no thread named {name}")
}

fn cpu_of(schedstat: &std::path::Path) -> Result<u64> {
    let stat = std::fs::read_to_string(schedstat)?;
    Ok(stat.split(' ').next().context("schedstat has a first word")?.parse()?)
}
