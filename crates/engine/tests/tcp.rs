//! Clients that we did not write come over TCP (RFC 6544), and others over UDP beside them.

mod support;

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use hewei_client::{Connection, Event as ClientEvent, Shape as Offered, Track};
use hewei_engine::{CloseReason, Config, Engine, Event, Offer, SlotFill, Unwanted};
use hewei_model::{Audience, Codec, MediaKind, ParticipantId, PeerId, Publisher, RoomId};
use support::{Client, Shape, VIDEO_SSRC, vp8_packet};
use tokio::sync::mpsc::Receiver;

const WAIT: Duration = Duration::from_secs(20);
const NOTHING: Duration = Duration::from_millis(300);

/// An engine of two shards, and a door that gives it what comes over TCP.
fn start() -> (Engine, Receiver<Event>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let (engine, events) = Engine::start(Config {
        port: 0,
        bind: [127, 0, 0, 1].into(),
        candidates: vec![[127, 0, 0, 1].into()],
        tcp_candidates: vec![listener.local_addr().expect("bound")],
        shards: 2,
        video_codecs: vec![Codec::Vp8],
    })
    .expect("starts");
    let door = engine.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("comes");
            let frame = read_frame(&mut stream);
            // What is refused is closed, which the other side sees.
            let _ = door.adopt(stream, frame, Box::new(()));
        }
    });
    (engine, events)
}

fn read_frame(stream: &mut TcpStream) -> Vec<u8> {
    let mut len = [0; 2];
    stream.read_exact(&mut len).expect("a length");
    let mut frame = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut frame).expect("a frame");
    frame
}

fn counter(engine: &Engine, name: &str) -> u64 {
    engine.counters().into_iter().find(|(known, _)| *known == name).expect("it is counted").1
}

/// A client with a connection for a socket.
struct OverTcp {
    connection: Connection,
    stream: Option<TcpStream>,
    /// A check was sent on it.
    begun: bool,
    unread: Vec<u8>,
    participant: ParticipantId,
    peer: PeerId,
    server: SocketAddr,
}

impl OverTcp {
    async fn join(engine: &Engine, room: RoomId, publishes: bool) -> OverTcp {
        let track = Track { ssrc: VIDEO_SSRC, ..Track::new(Codec::Vp8) };
        let offered = Offered {
            tracks: publishes.then_some(track).into_iter().collect(),
            audio_slots: 0,
            video_slots: usize::from(!publishes),
            gcm: true,
        };
        let mut connection =
            Connection::new(offered, Instant::now(), SystemTime::now()).expect("a certificate");
        connection.over_tcp();
        let (participant, peer) = (ParticipantId::generate(), PeerId::generate());
        let sdp = connection.offer();
        let offer = Offer { room, participant, peer, publish: true, fill: SlotFill::Follow, sdp };
        let answer = engine.offer(offer).await.expect("answered");
        connection.answer(Instant::now(), &answer).expect("a good answer");
        let server = connection.candidates()[0];
        let mut client =
            OverTcp { connection, stream: None, begun: false, unread: Vec::new(), participant, peer, server };
        client.connect();
        client.until_connected();
        client
    }

    fn connect(&mut self) {
        let stream = TcpStream::connect(self.server).expect("connects");
        stream.set_read_timeout(Some(Duration::from_millis(20))).expect("sets");
        stream.set_nodelay(true).expect("sets");
        (self.stream, self.begun, self.unread) = (Some(stream), false, Vec::new());
    }

    fn until_connected(&mut self) {
        let until = Instant::now() + WAIT;
        while !self.connection.is_connected() {
            assert!(Instant::now() < until, "no connection");
            self.turn();
            if let Some(ClientEvent::Over(error)) = self.connection.poll_event() {
                panic!("{error}");
            }
        }
        self.turn();
    }

    fn send(&mut self, datagram: &[u8]) {
        let frame = [&(datagram.len() as u16).to_be_bytes(), datagram].concat();
        self.stream.as_mut().expect("connected").write_all(&frame).expect("sends");
    }

    /// One look at the connection and at the clock.
    fn turn(&mut self) {
        while let Some(transmit) = self.connection.poll_transmit() {
            assert_eq!(transmit.to, self.server);
            // As a browser does: a connection begins with a check.
            self.begun |= transmit.datagram[0] < 4;
            if !self.begun {
                continue;
            }
            self.send(&transmit.datagram);
        }
        let mut buffer = [0; 4_096];
        if let Ok(count) = self.stream.as_mut().expect("connected").read(&mut buffer) {
            self.unread.extend(&buffer[..count]);
        }
        while let Some((len, rest)) = self.unread.split_first_chunk::<2>() {
            let len = usize::from(u16::from_be_bytes(*len));
            let Some(frame) = rest.get(..len) else { break };
            self.connection.receive(Instant::now(), self.server, frame);
            self.unread.drain(..2 + len);
        }
        self.connection.handle_timeout(Instant::now());
    }

    fn receive_rtp(&mut self, time: Duration) -> Option<Vec<u8>> {
        let until = Instant::now() + time;
        loop {
            match self.connection.poll_event() {
                Some(ClientEvent::Packet { packet, .. }) => return Some(packet),
                Some(ClientEvent::Over(error)) => panic!("{error}"),
                Some(_) => {}
                None if Instant::now() >= until => return None,
                None => self.turn(),
            }
        }
    }

    fn publish(&mut self, seq: u16) {
        let packet = vp8_packet(seq, 3_000 * u32::from(seq), true, 1_000);
        let sealed = self.connection.seal_rtp(&packet).expect("seals");
        self.send(&sealed);
    }
}

async fn started(events: &mut Receiver<Event>, source: Publisher) {
    let wanted = async {
        while let Some(event) = events.recv().await {
            if matches!(event, Event::TrackStarted { publisher, .. } if publisher == source) {
                return;
            }
        }
        panic!("the engine ended");
    };
    tokio::time::timeout(WAIT, wanted).await.expect("the track starts");
}

fn to(participants: &[ParticipantId]) -> Audience {
    Audience { participants: participants.iter().copied().collect(), recorder: false }
}

#[tokio::test(flavor = "multi_thread")]
async fn media_goes_both_ways_over_tcp_and_between_tcp_and_udp() {
    let (engine, mut events) = start();
    // Several rooms, so that both shards have some.
    for _ in 0..2 {
        let room = RoomId::generate();
        engine.open_room(room);
        let mut publisher = OverTcp::join(&engine, room, true).await;
        let mut near = OverTcp::join(&engine, room, false).await;
        let viewer = Shape { publish: false, slots: 1, gcm: true, lost: None };
        let mut far = Client::join(&engine, room, viewer).await;
        let source = Publisher::Participant(publisher.participant);
        publisher.publish(1);
        started(&mut events, source).await;
        assert_eq!(near.receive_rtp(NOTHING), None, "nobody has decided");
        engine.set_audience(room, source, MediaKind::Video, to(&[near.participant, far.participant])).await;
        for seq in 2..40 {
            publisher.publish(seq);
        }
        for seq in 2..40 {
            let expected = vp8_packet(seq, 0, true, 1_000);
            assert_eq!(near.receive_rtp(WAIT).expect("comes")[12..1_012], expected[12..], "{seq}");
            assert_eq!(far.receive_rtp(WAIT).expect("comes")[12..1_012], expected[12..], "{seq}");
        }
    }
    assert_eq!(counter(&engine, "media_tcp_taken_total"), 4);
    assert_eq!(counter(&engine, "media_tcp_refused_total"), 0);
    assert!(counter(&engine, "media_tcp_frames_sent_total") > 76);
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_frames_that_come_at_once_are_all_sent_on() {
    const FRAMES: u16 = 400;
    let (engine, mut events) = start();
    let room = RoomId::generate();
    engine.open_room(room);
    let mut publisher = OverTcp::join(&engine, room, true).await;
    let mut viewer = OverTcp::join(&engine, room, false).await;
    let source = Publisher::Participant(publisher.participant);
    publisher.publish(1);
    started(&mut events, source).await;
    engine.set_audience(room, source, MediaKind::Video, to(&[viewer.participant])).await;
    let mut frames = Vec::new();
    for seq in 2..2 + FRAMES {
        let sealed = publisher.connection.seal_rtp(&vp8_packet(seq, 0, true, 30)).expect("seals");
        frames.extend((sealed.len() as u16).to_be_bytes());
        frames.extend(sealed);
    }
    publisher.stream.as_mut().expect("connected").write_all(&frames).expect("sends");
    for seq in 2..2 + FRAMES {
        assert!(viewer.receive_rtp(WAIT).is_some(), "{seq}");
    }
    assert_eq!(counter(&engine, "media_rtp_dropped_total"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_dies_leaves_the_peer_and_its_next_one_goes_on_where_it_was() {
    let (engine, mut events) = start();
    let room = RoomId::generate();
    engine.open_room(room);
    let mut publisher = OverTcp::join(&engine, room, true).await;
    let mut viewer = OverTcp::join(&engine, room, false).await;
    let source = Publisher::Participant(publisher.participant);
    publisher.publish(1);
    started(&mut events, source).await;
    engine.set_audience(room, source, MediaKind::Video, to(&[viewer.participant])).await;
    publisher.publish(2);
    assert!(viewer.receive_rtp(WAIT).is_some());

    viewer.stream.take().expect("connected").shutdown(Shutdown::Both).expect("shuts");
    let until = Instant::now() + WAIT;
    while counter(&engine, "media_tcp_ended_total") == 0 {
        assert!(Instant::now() < until, "nobody noticed");
        std::thread::sleep(Duration::from_millis(5));
    }
    publisher.publish(3);
    // Its renewals of consent nominate; no keys are made again.
    viewer.connect();
    let until = Instant::now() + WAIT;
    let mut seq = 4;
    while viewer.receive_rtp(Duration::from_millis(100)).is_none() {
        assert!(Instant::now() < until, "media does not come back");
        publisher.publish(seq);
        seq += 1;
    }
    assert_eq!(counter(&engine, "media_peers_connected_total"), 2);
    assert_eq!(counter(&engine, "media_peers_closed_total"), 0);
    engine.close_peer(room, viewer.peer);
    let wanted = async {
        while let Some(event) = events.recv().await {
            if let Event::PeerClosed { peer, reason, .. } = event {
                return (peer, reason);
            }
        }
        panic!("the engine ended");
    };
    let closed = tokio::time::timeout(WAIT, wanted).await.expect("it is told");
    assert_eq!(closed, (viewer.peer, CloseReason::ClosedByServer));
    // The connection ends with its peer.
    let stream = viewer.stream.as_mut().expect("connected");
    let until = Instant::now() + WAIT;
    while !matches!(stream.read(&mut [0; 4_096]), Ok(0)) {
        assert!(Instant::now() < until, "it stays open");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_no_peer_is_sent_away_and_what_was_held_is_let_go() {
    let (engine, _events) = start();
    let room = RoomId::generate();
    engine.open_room(room);
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let pair = || {
        let far = TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
        (far, listener.accept().expect("comes").0)
    };
    for frame in [vec![], vec![0; 20], b"GET / HTTP/1.1\r\n\r\n".to_vec()] {
        let (_far, near) = pair();
        assert!(matches!(engine.adopt(near, frame, Box::new(())), Err(Unwanted::Stranger)));
    }

    // The name of somebody who is here, and not the password.
    let shape = Offered { tracks: Vec::new(), audio_slots: 0, video_slots: 1, gcm: true };
    let mut connection = Connection::new(shape, Instant::now(), SystemTime::now()).expect("a certificate");
    connection.over_tcp();
    let offer = Offer {
        room,
        participant: ParticipantId::generate(),
        peer: PeerId::generate(),
        publish: true,
        fill: SlotFill::Follow,
        sdp: connection.offer(),
    };
    let answer = engine.offer(offer).await.expect("answered");
    let forged: String = answer
        .lines()
        .map(
            |line| {
                if line.starts_with("a=ice-pwd:") { "a=ice-pwd:not-the-password-of-anybody" } else { line }
            },
        )
        .map(|line| format!("{line}\r\n"))
        .collect();
    connection.answer(Instant::now(), &forged).expect("reads");
    let check = connection.poll_transmit().expect("a check").datagram;
    let (mut far, near) = pair();
    let held = Arc::new(());
    engine.adopt(near, check, Box::new(Arc::clone(&held))).expect("its name is known");
    assert_eq!(far.read(&mut [0; 16]).expect("ends"), 0, "it is closed without a word");
    let until = Instant::now() + WAIT;
    while Arc::strong_count(&held) > 1 {
        assert!(Instant::now() < until, "it is held for ever");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(counter(&engine, "media_tcp_refused_total"), 1);
    assert_eq!(counter(&engine, "media_stun_refused_total"), 1);
}
