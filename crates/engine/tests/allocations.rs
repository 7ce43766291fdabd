//! No allocation a packet in the steady state: receive, open, keep for retransmission, tap, route, seal, send.
//! Alone in its process, for it counts every allocation there.

mod support;

use std::{
    alloc::System,
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use hewei_engine::{Config, Engine, tap};
use hewei_model::{Audience, Codec, MediaKind, Publisher, RoomId};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use support::{Client, Shape};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const VIEWERS: usize = 3;
const WARM_UP: usize = 1_500;
const MEASURED: usize = 1_500;

#[test]
fn forwarding_a_packet_allocates_nothing() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let (engine, _events) = Engine::start(Config {
        port: 0,
        bind: [127, 0, 0, 1].into(),
        candidates: vec![[127, 0, 0, 1].into()],
        tcp_candidates: Vec::new(),
        shards: 1,
        video_codecs: vec![Codec::Vp8],
    })
    .expect("starts");
    let room = RoomId::generate();
    engine.open_room(room);
    let mut tap = engine.open_tap(room).expect("open");
    let tapped = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&tapped);
    let reader = std::thread::spawn(move || {
        let mut open = true;
        while open {
            tap.read(Duration::from_millis(100), |record| match record {
                tap::Record::Packet { .. } => _ = counted.fetch_add(1, Ordering::Relaxed),
                tap::Record::Closed => open = false,
                _ => {}
            });
        }
    });
    let shape = Shape { publish: true, slots: 0, gcm: true, lost: None };
    let mut publisher = runtime.block_on(Client::join(&engine, room, shape));
    let viewer = Shape { publish: false, slots: 1, gcm: true, lost: None };
    let viewers: Vec<Client> =
        (0..VIEWERS).map(|_| runtime.block_on(Client::join(&engine, room, viewer))).collect();
    let participants: BTreeSet<_> = viewers.iter().map(|viewer| viewer.participant).collect();
    runtime.block_on(engine.set_audience(
        room,
        Publisher::Participant(publisher.participant),
        MediaKind::Video,
        Audience { participants, recorder: true },
    ));

    let packets: Vec<Vec<u8>> = (0..WARM_UP + MEASURED)
        .map(|at| publisher.sealed(at as u16, 3_000 * (at / 8) as u32, at == 0, 1_172))
        .collect();
    let send = |packets: &[Vec<u8>]| {
        for frame in packets.chunks(8) {
            for packet in frame {
                publisher.socket.send_to(packet, publisher.server).expect("sends");
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    let wait_for = |packets: usize| {
        let until = Instant::now() + Duration::from_secs(10);
        while tapped.load(Ordering::Relaxed) < packets as u64 {
            assert!(Instant::now() < until, "{} of {packets} packets", tapped.load(Ordering::Relaxed));
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    send(&packets[..WARM_UP]);
    wait_for(WARM_UP);
    let region = Region::new(ALLOCATOR);
    send(&packets[WARM_UP..]);
    wait_for(WARM_UP + MEASURED);
    let change = region.change();

    assert_eq!((change.allocations, change.reallocations), (0, 0), "{change:?}");
    let counters = engine.counters();
    let sent = counters.iter().find(|(name, _)| *name == "media_datagrams_sent_total").expect("known").1;
    assert!(sent >= (VIEWERS * (WARM_UP + MEASURED)) as u64, "{sent} datagrams were sent");
    engine.shutdown();
    reader.join().expect("the tap ends");
}
