//! The storm of datagrams: from strangers, from strangers who copy, and from the very addresses of the call.

use std::{
    net::UdpSocket,
    time::{Duration, Instant},
};

use hewei_engine::Engine;

use crate::{call::Call, counter, noise::Noise};

/// Where a datagram that did not help anybody is counted.
const COUNTED: [&str; 12] = [
    "media_strangers_dropped_total",
    "media_stun_answered_total",
    "media_stun_refused_total",
    "media_stun_limited_total",
    "media_dtls_deferred_total",
    "media_dtls_ignored_total",
    "media_rtp_refused_total",
    "media_unauthentic_total",
    "media_replayed_total",
    "media_peer_limited_total",
    "media_strays_dropped_total",
    "media_receive_overflow_total",
];
const STRANGERS: usize = 8;
const BATCH: usize = 256;
/// What the system books for a datagram that fills a page.
const BOOKED: u64 = 2_304;
/// Every so manieth comes from an address of the call; more would fill the rings between shards, as no stranger can.
const FROM_THE_CALL: usize = 8;
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends `count` datagrams, never more ahead of the server than its sockets hold, and tells how each was counted.
pub fn storm(engine: &Engine, call: &Call, count: usize, seed: u64) -> Vec<(String, u64)> {
    let counts = || COUNTED.map(|name| counter(engine, name));
    let before = counts();
    let strangers: Vec<UdpSocket> = (0..STRANGERS).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    let mut captured = call.captured();
    // A goodbye in the clear, which anybody can write.
    captured.push(vec![21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 99, 0, 2, 1, 0]);
    let mut noise = Noise::new(seed);
    // Half of what one socket holds, as if all went to one.
    let ahead_max =
        (counter(engine, "media_receive_buffer_bytes") / 2 / 2 / BOOKED).clamp(32, 1_024) as usize;
    let refused = || counts().iter().zip(&before).map(|(now, before)| now - before).sum::<u64>() as usize;
    let mut done = 0;
    for sent in 0..count {
        if sent % BATCH.min(ahead_max / 2) == 0 {
            let until = Instant::now() + PATIENCE;
            while sent > done + ahead_max / 2 {
                done = refused();
                assert!(Instant::now() < until, "{sent} sent, {done} counted: {:?}", told(counts(), before));
                if sent > done + ahead_max / 2 {
                    std::thread::yield_now();
                }
            }
        }
        let datagram = match noise.below(8) {
            0 | 1 => {
                let len = noise.below(1_400);
                noise.bytes(len)
            }
            2 => {
                // Of each class that RFC 7983 knows, and of none.
                let len = noise.below(200) + 1;
                let mut datagram = noise.bytes(len);
                datagram[0] = *noise.pick(&[0, 1, 20, 22, 23, 64, 128, 144, 200]);
                datagram
            }
            3 => {
                let good = noise.pick(&captured);
                good[..noise.below(good.len())].to_vec()
            }
            4..=6 => {
                let good = noise.pick(&captured);
                noise.flipped(good)
            }
            _ => noise.pick(&captured).clone(),
        };
        let socket = match sent % FROM_THE_CALL {
            0 => noise.pick(call.sockets()),
            _ => noise.pick(&strangers),
        };
        // An empty datagram is one too.
        socket.send_to(&datagram, call.server).unwrap();
    }
    let until = Instant::now() + PATIENCE;
    while refused() < count {
        assert!(Instant::now() < until, "{count} sent, {} counted: {:?}", refused(), told(counts(), before));
        std::thread::sleep(Duration::from_millis(10));
    }
    told(counts(), before)
}

fn told(now: [u64; COUNTED.len()], before: [u64; COUNTED.len()]) -> Vec<(String, u64)> {
    let each = COUNTED.iter().zip(now.iter().zip(&before));
    each.map(|(name, (now, before))| (format!("  {name}"), now - before)).collect()
}
