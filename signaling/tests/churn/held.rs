//! What the process holds.

use std::{
    collections::HashMap,
    fmt,
    time::{Duration, Instant},
};

use hewei_engine::Engine;
use tokio::runtime::Handle;

use crate::{ALLOCATOR, HEAP_GROWTH_IN_CALLS_MAX, PATIENCE};

/// Connections of the database and to the server come and go by themselves, but never in numbers.
const TASKS_STRAY: usize = 3;
const FILES_STRAY: usize = 6;
/// Idle ones end after a while.
const THREADS_STRAY: usize = 3;
/// Calls over TCP have one more, and with fifty of them it is chance how many those are.
const FILES_IN_CALLS_STRAY: usize = 60;

#[derive(Debug, Clone, Copy)]
pub struct Held {
    pub tasks: usize,
    pub files: usize,
    pub threads: usize,
    /// Media connections, and those over TCP of the engine.
    pub peers: u64,
    pub streams: u64,
    /// Bytes that are allocated in Rust.
    pub heap: i64,
    /// Bytes of the process in memory.
    pub resident: i64,
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Held { tasks, files, threads, peers, streams, heap, resident } = self;
        let (heap, resident) = (heap / 1_024, resident / 1_024);
        write!(
            f,
            "{tasks:>4} tasks {files:>4} files {threads:>3} threads {peers:>3} peers {streams:>3} streams \
             {heap:>7} KiB heap {resident:>7} KiB resident"
        )
    }
}

impl Held {
    pub fn now(engine: &Engine) -> Held {
        let count = |path: &str| std::fs::read_dir(path).unwrap().count();
        let counters: HashMap<_, _> = engine.counters().into_iter().collect();
        let there = |begun: &str, ended: &str| counters[begun].saturating_sub(counters[ended]);
        let allocated = ALLOCATOR.stats();
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        Held {
            tasks: Handle::current().metrics().num_alive_tasks(),
            files: count("/proc/self/fd"),
            threads: count("/proc/self/task"),
            peers: there("media_peers_connected_total", "media_peers_closed_total"),
            streams: there("media_tcp_taken_total", "media_tcp_ended_total"),
            heap: allocated.bytes_allocated as i64 - allocated.bytes_deallocated as i64,
            resident: pages.split(' ').nth(1).unwrap().parse::<i64>().unwrap() * 4_096,
        }
    }

    /// Once there are as many peers as there are people, and no other.
    pub async fn with_peers(engine: &Engine, people: u64) -> Held {
        Self::once(engine, &format!("{people} peers"), |held| held.peers == people).await
    }

    /// Once nothing is left of those who were there, compared to `before`.
    pub async fn when_all_left(engine: &Engine, before: &Held) -> Held {
        let what = format!("what there was before: {before}");
        Self::once(engine, &what, |held| {
            (held.peers, held.streams) == (0, 0)
                && held.tasks <= before.tasks + TASKS_STRAY
                && held.files <= before.files + FILES_STRAY
                && held.threads <= before.threads + THREADS_STRAY
        })
        .await
    }

    async fn once(engine: &Engine, what: &str, so: impl Fn(&Held) -> bool) -> Held {
        let until = Instant::now() + PATIENCE;
        loop {
            let held = Self::now(engine);
            if so(&held) {
                return held;
            }
            assert!(Instant::now() < until, "there is {held}; and not {what}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// At two roll calls the same people are there, doing the same.
    pub fn check_against(&self, first: &Held) {
        assert!(self.tasks <= first.tasks + TASKS_STRAY, "tasks grow: {first}; {self}");
        assert!(self.files <= first.files + FILES_IN_CALLS_STRAY, "files grow: {first}; {self}");
        assert!(self.heap <= first.heap + HEAP_GROWTH_IN_CALLS_MAX, "memory grows: {first}; {self}");
    }
}

/// Processor time of the whole process so far.
pub fn processor_s() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // utime and stime, in hundredths, counted from behind the name.
    let after = stat.rsplit_once(") ").unwrap().1;
    after.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum::<u64>() / 100
}
