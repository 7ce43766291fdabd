//! What somebody can do who sees the datagrams of a call, or guesses its addresses: nothing that the call notices.

mod support;

use std::{net::UdpSocket, time::Duration};

use hewei_engine::{Config, Engine};
use hewei_model::{Audience, Codec, MediaKind, Publisher, RoomId};
use support::{Client, Shape};

const WAIT: Duration = Duration::from_secs(10);
const PUBLISHER: Shape = Shape { publish: true, slots: 0, gcm: true, lost: None };
const VIEWER: Shape = Shape { publish: false, slots: 1, gcm: true, lost: None };

async fn call() -> (Engine, Client, Client) {
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
    let publisher = Client::join(&engine, room, PUBLISHER).await;
    let viewer = Client::join(&engine, room, VIEWER).await;
    let audience = Audience { participants: [viewer.participant].into(), recorder: false };
    let source = Publisher::Participant(publisher.participant);
    engine.set_audience(room, source, MediaKind::Video, audience).await;
    (engine, publisher, viewer)
}

fn count(engine: &Engine, name: &str) -> u64 {
    engine.counters().iter().find(|(known, _)| *known == name).expect("known").1
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let end = std::time::Instant::now() + WAIT;
    while !holds() {
        assert!(std::time::Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A check as the client has just made it, and not sent.
fn check(client: &mut Client) -> Vec<u8> {
    client.connection.check(std::time::Instant::now());
    client.connection.poll_transmit().expect("a check").datagram
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copied_check_moves_nobodys_media_and_pushes_nobody_out() {
    let (engine, mut publisher, mut viewer) = call().await;
    let copies = [check(&mut viewer), check(&mut publisher)];
    let thieves: Vec<UdpSocket> = (0..20).map(|_| UdpSocket::bind("127.0.0.1:0").expect("binds")).collect();
    let answered = count(&engine, "media_stun_answered_total");
    for thief in &thieves {
        for copy in &copies {
            thief.send_to(copy, viewer.server).expect("sends");
        }
    }
    until("each copy is a valid check", || count(&engine, "media_stun_answered_total") >= answered + 40);
    for seq in 1..=20u16 {
        let packet = publisher.sealed(seq, 3_000 * u32::from(seq), true, 700);
        publisher.socket.send_to(&packet, publisher.server).expect("sends");
        assert!(viewer.receive_rtp(WAIT).is_some(), "packet {seq}");
    }
    engine.shutdown();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_moves_with_something_that_authenticates_on_it() {
    let (engine, mut publisher, mut viewer) = call().await;
    let moved = UdpSocket::bind("127.0.0.1:0").expect("binds");
    moved.set_read_timeout(Some(Duration::from_millis(20))).expect("sets");
    let before = std::mem::replace(&mut viewer.socket, moved);
    let answered = count(&engine, "media_stun_answered_total");
    let nominated = check(&mut viewer);
    viewer.socket.send_to(&nominated, viewer.server).expect("sends");
    until("the check is answered", || count(&engine, "media_stun_answered_total") > answered);
    // An empty receiver report.
    let report = viewer.connection.seal_rtcp(&[0x80, 201, 0, 1, 0, 0, 0, 1]).expect("seals");
    viewer.socket.send_to(&report, viewer.server).expect("sends");
    let packet = publisher.sealed(1, 3_000, true, 700);
    let end = std::time::Instant::now() + WAIT;
    let mut seq = 0u16;
    publisher.socket.send_to(&packet, publisher.server).expect("sends");
    while viewer.receive_rtp(Duration::from_millis(100)).is_none() {
        assert!(std::time::Instant::now() < end, "media follows to the new address");
        seq += 1;
        let packet = publisher.sealed(1 + seq, 3_000 * u32::from(seq), true, 700);
        publisher.socket.send_to(&packet, publisher.server).expect("sends");
    }
    drop(before);
    engine.shutdown();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_takes_media_to_another_address_and_no_copied_check_does() {
    let (engine, mut publisher, mut viewer) = call().await;
    let old = check(&mut viewer);
    viewer.restart(&engine).await;
    let thieves: Vec<UdpSocket> = (0..20).map(|_| UdpSocket::bind("127.0.0.1:0").expect("binds")).collect();
    let server = viewer.server;
    let copied = |copy: &[u8]| {
        let answered = count(&engine, "media_stun_answered_total");
        for thief in &thieves {
            thief.send_to(copy, server).expect("sends");
        }
        until("each copy is a valid check", || {
            count(&engine, "media_stun_answered_total") >= answered + thieves.len() as u64
        });
    };
    copied(&old);
    let mut seq = 0u16;
    let mut publish = |publisher: &mut Client| {
        seq += 1;
        let packet = publisher.sealed(seq, 3_000 * u32::from(seq), true, 700);
        publisher.socket.send_to(&packet, publisher.server).expect("sends");
    };
    // Until a check of the new session comes, media goes where it went.
    for _ in 0..10 {
        publish(&mut publisher);
        let end = std::time::Instant::now() + WAIT;
        let mut buffer = [0; 2048];
        while !viewer.socket.recv(&mut buffer).is_ok_and(|len| len > 700 && buffer[0] >> 6 == 2) {
            assert!(std::time::Instant::now() < end, "a packet at the old address");
        }
    }

    let moved = UdpSocket::bind("127.0.0.1:0").expect("binds");
    moved.set_read_timeout(Some(Duration::from_millis(20))).expect("sets");
    let before = std::mem::replace(&mut viewer.socket, moved);
    let end = std::time::Instant::now() + WAIT;
    while viewer.receive_rtp(Duration::from_millis(100)).is_none() {
        assert!(std::time::Instant::now() < end, "media follows to the new address");
        publish(&mut publisher);
    }
    let new = check(&mut viewer);
    copied(&new);
    for packet in 0..20 {
        publish(&mut publisher);
        assert!(viewer.receive_rtp(WAIT).is_some(), "packet {packet}");
    }
    let refused = count(&engine, "media_stun_refused_total");
    thieves[0].send_to(&old, server).expect("sends");
    publish(&mut publisher);
    assert!(viewer.receive_rtp(WAIT).is_some());
    assert_eq!(count(&engine, "media_peers_connected_total"), 2, "nobody shook hands again");
    // The old name is known no more: it is a stranger's now, and costs not even a hash.
    until("the old check is dropped", || count(&engine, "media_strangers_dropped_total") >= 1);
    assert_eq!(count(&engine, "media_stun_refused_total"), refused);
    assert_eq!(count(&engine, "media_replayed_total") + count(&engine, "media_unauthentic_total"), 0);
    drop(before);
    engine.shutdown();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_somebody_has_left_is_the_next_ones() {
    let (engine, mut publisher, mut viewer) = call().await;
    publisher.restart(&engine).await;
    let moved = UdpSocket::bind("127.0.0.1:0").expect("binds");
    moved.set_read_timeout(Some(Duration::from_millis(20))).expect("sets");
    let left = std::mem::replace(&mut publisher.socket, moved);
    let end = std::time::Instant::now() + WAIT;
    for seq in 1.. {
        assert!(std::time::Instant::now() < end, "media come from the new address");
        publisher.receive_rtp(Duration::from_millis(20));
        let packet = publisher.sealed(seq, 3_000 * u32::from(seq), true, 700);
        publisher.socket.send_to(&packet, publisher.server).expect("sends");
        if viewer.receive_rtp(Duration::from_millis(20)).is_some() {
            break;
        }
    }
    let next = Client::join_over(&engine, viewer.room, VIEWER, |sdp| sdp, Some(left)).await;
    assert_eq!(next.server, viewer.server);
    let misled = ["media_dtls_ignored_total", "media_unauthentic_total"].map(|name| count(&engine, name));
    assert_eq!(misled, [0; 2], "nothing of it was taken for the publisher's");
    engine.shutdown();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_address_uses_up_nothing_and_ends_nothing() {
    let (engine, mut publisher, mut viewer) = call().await;
    let packet = publisher.sealed(1, 3_000, true, 700);
    publisher.socket.send_to(&packet, publisher.server).expect("sends");
    assert!(viewer.receive_rtp(WAIT).is_some());
    // More than a peer may send in a second, none of it the peer's: and a goodbye in the clear.
    let mut forged = packet.clone();
    forged[2] ^= 1;
    let goodbye = [21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 1, 0];
    let mut sent = 0;
    for _ in 0..100 {
        for _ in 0..64 {
            publisher.socket.send_to(&forged, publisher.server).expect("sends");
        }
        publisher.socket.send_to(&goodbye, publisher.server).expect("sends");
        sent += 64;
        until("all are refused", || count(&engine, "media_unauthentic_total") >= sent);
    }
    until("goodbyes lead to nothing", || count(&engine, "media_dtls_ignored_total") == 100);
    for seq in 2..=50u16 {
        let packet = publisher.sealed(seq, 3_000 * u32::from(seq), true, 700);
        publisher.socket.send_to(&packet, publisher.server).expect("sends");
        assert!(viewer.receive_rtp(WAIT).is_some(), "packet {seq}");
    }
    assert_eq!(count(&engine, "media_peers_closed_total"), 0);
    engine.shutdown();
}
