//! A call goes on, and meanwhile strangers and members send everything a server should never get: datagrams by the
//! million, broken offers, JSON and RTSP by ten thousands. The call loses nothing, memory stays flat, and every refusal
//! is counted.
//!
//! Nothing here is timed. The storm is as fast as the server refuses: what is sent and not yet counted by the server is
//! bounded by what its sockets hold (`docs/limits.md` says what happens above that).

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod call;
mod cameras;
mod datagrams;
mod messages;
mod noise;
#[path = "../live/server.rs"]
#[allow(dead_code, reason = "it is shared")]
mod server;
// What the shared server enters rooms with.
#[path = "../live/client.rs"]
#[allow(dead_code, reason = "it is shared")]
mod client;

use std::sync::Arc;

use call::Call;
use hewei_engine::Engine;
use server::TestServer;

const DATAGRAMS: usize = 1_000_000;
const MESSAGES: usize = 10_000;
const GROWTH_MAX: u64 = 16 << 20;

/// What the shards have counted of this name.
pub fn counter(engine: &Engine, name: &str) -> u64 {
    engine
        .counters()
        .iter()
        .find(|(known, _)| *known == name)
        .unwrap_or_else(|| panic!("no counter {name}"))
        .1
}

/// What this process holds in memory, in bytes.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4_096
}

/// CPU time of the media threads so far, in nanoseconds.
fn media_cpu() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    let media = tasks.filter(|task| {
        std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.starts_with("media-"))
    });
    media
        .map(|task| {
            let stat = std::fs::read_to_string(task.join("schedstat")).unwrap();
            stat.split(' ').next().unwrap().parse::<u64>().unwrap()
        })
        .sum()
}

/// CPU time of the media threads and datagrams that they sent, while `work` goes on.
async fn measured<T>(engine: &Engine, work: impl Future<Output = T>) -> (T, f64, f64) {
    let now = || (media_cpu(), counter(engine, "media_datagrams_sent_total"));
    let before = now();
    let done = work.await;
    let after = now();
    (done, (after.0 - before.0) as f64, (after.1 - before.1) as f64)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_in_a_storm_loses_nothing() {
    let server = TestServer::start_with(|config| {
        config.media.shards = 2;
        // What is recorded would grow, and is tested elsewhere.
        config.recording.enabled = false;
    })
    .await;
    let app = server.server.app();
    let call = Arc::new(Call::start(&app.engine).await);
    let mut table = Vec::new();

    // Once through everything in small, so that what is allocated once is allocated.
    let storm = |count, seed| {
        let (engine, call) = (app.engine.clone(), Arc::clone(&call));
        tokio::task::spawn_blocking(move || datagrams::storm(&engine, &call, count, seed))
    };
    storm(DATAGRAMS / 50, 1).await.unwrap();
    messages::storm(&server, MESSAGES / 10, 1).await;
    cameras::storm(MESSAGES / 10, 1).await;
    let before = resident();

    let calm = tokio::time::sleep(std::time::Duration::from_secs(3));
    let ((), calm_cpu, calm_sent) = measured(&app.engine, calm).await;
    let started = std::time::Instant::now();
    let (of_datagrams, storm_cpu, storm_sent) = measured(&app.engine, storm(DATAGRAMS, 2)).await;
    let of_datagrams = of_datagrams.unwrap();
    let rate = DATAGRAMS as f64 / started.elapsed().as_secs_f64();
    table.push(("datagrams".to_owned(), DATAGRAMS as u64));
    table.extend(of_datagrams);
    let after_datagrams = resident();
    table.extend(messages::storm(&server, MESSAGES, 2).await);
    table.extend(cameras::storm(MESSAGES, 2).await);
    let after = resident();

    let call = Arc::into_inner(call).unwrap();
    let outcome = tokio::task::spawn_blocking(move || call.finish()).await.unwrap();
    println!("{:<58} {:>10}", "sent, and what became of it", "count");
    for (what, count) in &table {
        println!("{what:<58} {count:>10}");
    }
    println!("{outcome}");
    let forwarded = calm_cpu / calm_sent;
    let refused = (storm_cpu - storm_sent * forwarded) / DATAGRAMS as f64;
    println!(
        "media CPU: {forwarded:.0} ns a forwarded packet, {refused:.0} ns a datagram of the storm, {rate:.0} a second"
    );
    for (what, bytes) in
        [("before", before), ("after the datagrams", after_datagrams), ("after everything", after)]
    {
        println!("{:<58} {:>10}", format!("resident {what}, KiB"), bytes / 1_024);
    }
    assert_eq!(counter(&app.engine, "media_receive_overflow_total"), 0, "the sockets were full: see above");
    assert_eq!((outcome.lost, outcome.doubled), (0, 0), "{outcome}");
    assert!(after.saturating_sub(before) < GROWTH_MAX, "memory grows: {before} to {after}");
    server.server.stop().await;
}
