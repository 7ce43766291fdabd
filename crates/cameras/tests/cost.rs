//! What a pull costs. A measurement, not a test: run it with
//! `cargo test --release -p hewei-cameras --test cost -- --ignored --nocapture`.

#![allow(clippy::unwrap_used, reason = "a measurement may stop at what it did not expect")]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use hewei_cameras::{Cameras, Settings, Sink, State};
use hewei_model::{CameraId, Codec, MediaKind};
use support::Source;

const PULLS: u128 = 10;
const MEASURED: Duration = Duration::from_secs(20);

#[derive(Clone, Default)]
struct Counter(Arc<AtomicU64>);

impl Sink for Counter {
    fn track(&mut self, _: MediaKind, _: Codec) {}
    fn packet(&mut self, _: MediaKind, _: Instant, _: &[u8]) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
    fn sender_report(&mut self, _: MediaKind, _: u64, _: u32) {}
    fn end(&mut self) {}
}

/// Of this process, in seconds.
fn cpu() -> f64 {
    const TICKS_A_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = &stat[stat.rfind(')').unwrap()..];
    let ticks: u64 = after_name.split_whitespace().skip(12).take(2).map(|n| n.parse::<u64>().unwrap()).sum();
    ticks as f64 / TICKS_A_SECOND
}

fn resident_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test]
#[ignore = "a measurement of 25 s"]
async fn cpu_of_a_pull() {
    let source = Source::start(&["--index", "3"]);
    let counter = Counter::default();
    let sink = counter.clone();
    let cameras = Cameras::new(Settings::default(), move |_| Box::new(sink.clone()));
    let ids: Vec<CameraId> = (1..=PULLS).map(CameraId::from_u128).collect();
    let resident_before = resident_kb();
    let demands: Vec<_> = ids
        .iter()
        .map(|&id| {
            cameras.register(hewei_cameras::Camera { id, ..source.camera() });
            cameras.demand(id).unwrap()
        })
        .collect();
    support::until("all live", || ids.iter().all(|&id| cameras.status(id).unwrap().state == State::Live))
        .await;
    tokio::time::sleep(Duration::from_secs(2)).await;

    let (packets, used) = (counter.0.load(Ordering::Relaxed), cpu());
    tokio::time::sleep(MEASURED).await;
    let (packets, used) = (counter.0.load(Ordering::Relaxed) - packets, cpu() - used);
    let pulls = PULLS as f64;
    println!(
        "{PULLS} pulls of 640x360@15 for {} s: {:.5} core a pull, {:.1} us of CPU a packet, {:.0} packets/s a pull, {:.0} kB a pull",
        MEASURED.as_secs(),
        used / MEASURED.as_secs_f64() / pulls,
        used / packets as f64 * 1e6,
        packets as f64 / MEASURED.as_secs_f64() / pulls,
        (resident_kb() - resident_before) as f64 / pulls,
    );
    assert!(packets > 0);
    drop(demands);
}
