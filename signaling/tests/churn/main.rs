//! Fifty robots come and go in seven rooms of a whole server, over UDP and TCP, by WebSocket, WHIP and WHEP. They mute
//! themselves, draw each other large and small, change their network, lose their socket, are sent out and let in again,
//! take over their own seat, leave in good order or drop. After each of that a robot has to hear the one who stays in its
//! room, and be heard: a track that is stuck shows by a robot that waits in vain. At every roll call all are to hear all.
//!
//! Twice: once for what is made once, then for `CHURN_SECONDS` (180 unless told; 900 by hand). When all are gone there
//! must be nothing of them: no peer, no connection, no task, no file, no thread, no memory. `CHURN_SEED` repeats the
//! robots' choices, though not the machine's.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "../live/client.rs"]
#[allow(dead_code, reason = "it is shared")]
mod client;
mod hall;
mod held;
mod packets;
mod person;
mod player;
mod robot;
#[path = "../live/server.rs"]
#[allow(dead_code, reason = "it is shared")]
mod server;

use std::{
    alloc::System,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use hewei::auth::Claims;
use hewei_model::{Role, RoomId};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use time::OffsetDateTime;
use tokio::task::JoinSet;

use crate::{
    hall::{Hall, Member, Phase},
    held::Held,
    packets::Noise,
    server::TestServer,
};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Robots at a browser, of each room: one of them needs more slots than are offered at first.
const ROBOTS: [usize; 7] = [10, 5, 5, 5, 5, 5, 5];
/// Robots that publish by WHIP and that watch by WHEP: one each in the first rooms.
const PUBLISHERS: usize = 5;
const WATCHERS: usize = 5;
const WARM: Duration = Duration::from_secs(15);
const ROLL_CALL_EVERY: Duration = Duration::from_secs(60);
/// More than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// What may be held at a roll call beyond the first one: there is a call over TCP more or less, and a line is fuller.
const HEAP_GROWTH_IN_CALLS_MAX: i64 = 24 << 20;
/// What may be held when all are gone beyond the first time.
const HEAP_GROWTH_MAX: i64 = 1 << 20;
/// The allocator keeps what was freed, and how much of it is chance.
const RESIDENT_GROWTH_MAX: i64 = 64 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "an offer of a robot's is refused now and then, and why is not known yet"]
async fn fifty_robots_come_and_go_and_leave_nothing() {
    let seconds = std::env::var("CHURN_SECONDS").map_or(180, |seconds| seconds.parse().unwrap());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64;
    let seed = std::env::var("CHURN_SEED").map_or(now, |seed| seed.parse().unwrap());
    println!("CHURN_SEED={seed}");
    let mut noise = Noise::new(seed);
    let server = TestServer::start().await;
    let rooms = add_rooms(&server).await;
    let engine = server.server.app().engine.clone();

    let new = Held::now(&engine);
    println!("{:<12} {new}", "new");
    churn(&server, &rooms, &mut noise, WARM).await;
    let warm = Held::when_all_left(&engine, &new).await;
    println!("{:<12} {warm}", "warm");

    churn(&server, &rooms, &mut noise, Duration::from_secs(seconds)).await;
    let end = Held::when_all_left(&engine, &warm).await;
    println!("{:<12} {end}; {} s of processor", "end", held::processor_s());
    let (heap, resident) = (end.heap - warm.heap, end.resident - warm.resident);
    assert!(heap < HEAP_GROWTH_MAX, "{heap} bytes were not given back");
    assert!(resident < RESIDENT_GROWTH_MAX, "the process is {resident} bytes larger");
    server.server.stop().await;
}

async fn add_rooms(server: &TestServer) -> Vec<RoomId> {
    let mut rooms = vec![server.room];
    while rooms.len() < ROBOTS.len() {
        let (id, name) = (RoomId::generate(), format!("调解室 {}", rooms.len()));
        let created_at = OffsetDateTime::now_utc();
        let room = hewei_store::Room { id, case_id: server.case, name, created_at };
        server.server.app().store.add_room(&room).await.unwrap();
        rooms.push(id);
    }
    rooms
}

/// Everybody comes, does what robots do for so long, with roll calls, and leaves; the sessions end.
async fn churn(server: &TestServer, rooms: &[RoomId], noise: &mut Noise, time: Duration) {
    let engine = &server.server.app().engine;
    let http = |at: usize| usize::from(at < PUBLISHERS) + usize::from(at < WATCHERS);
    let sizes = ROBOTS.iter().enumerate().map(|(at, robots)| 1 + robots + http(at));
    let hall = Arc::new(Hall::new(server.address(), rooms, sizes));
    let mut tasks = JoinSet::new();
    for (at, room) in rooms.iter().enumerate() {
        let token = |role, who: &str| server.issue(&claims(role, *room, format!("{who} {at}")));
        let mut member = |token| Member::new(&hall, at, token, noise.fork());
        tasks.spawn(robot::host(member(token(Role::Mediator, "host"))));
        for robot in 0..ROBOTS[at] {
            tasks.spawn(robot::robot(member(token(Role::Party, &format!("robot {robot} of")))));
        }
        if at < PUBLISHERS {
            tasks.spawn(player::publisher(member(token(Role::Lawyer, "publisher"))));
        }
        if at < WATCHERS {
            tasks.spawn(player::watcher(member(token(Role::Leader, "watcher"))));
        }
    }
    let (began, mut first) = (Instant::now(), None);
    for roll in 1.. {
        let left = time.saturating_sub(began.elapsed());
        if left.is_zero() {
            break;
        }
        hall.set(Phase::Churn { until: Instant::now() + left.min(ROLL_CALL_EVERY) });
        watch(&mut tasks, tokio::time::sleep(left.min(ROLL_CALL_EVERY))).await;
        hall.call_roll(roll);
        watch(&mut tasks, hall.all_answered()).await;
        let held = watch(&mut tasks, Held::with_peers(engine, hall.people())).await;
        println!("{:<12} {held}; {}", format!("{} s", began.elapsed().as_secs()), hall.tally);
        held.check_against(first.get_or_insert(held));
    }
    hall.set(Phase::Leave);
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    let (came_back, resumed) = hall.tally.came_back();
    assert!(came_back < 10 || resumed > 0, "none of {came_back} who came back found their media");
}

/// Waits, and fails at once if one of them does: none ends before it is told to.
async fn watch<T>(tasks: &mut JoinSet<()>, wait: impl Future<Output = T>) -> T {
    tokio::select! {
        done = wait => done,
        Some(ended) = tasks.join_next() => {
            ended.unwrap();
            panic!("one of them left too early");
        }
    }
}

fn claims(role: Role, room: RoomId, name: String) -> Claims {
    let room = (role == Role::Party).then_some(room);
    Claims::of_link(name, role, room, OffsetDateTime::now_utc() + time::Duration::hours(2))
}
