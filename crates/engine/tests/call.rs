//! Clients that we did not write publish and receive through the engine, over real sockets.

mod support;

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket},
    time::Duration,
};

use hewei_client::SrtpProtectionProfile;
use hewei_engine::{CloseReason, Config, Engine, Event, Offer, OfferError, SlotFill, tap};
use hewei_model::{Audience, Codec, MediaKind, ParticipantId, PeerId, Publisher, RoomId};
use support::{Client, Shape};
use tokio::sync::mpsc::Receiver;

const WAIT: Duration = Duration::from_secs(10);
/// Long enough for a packet on its way to arrive, when the test is that none does.
const NOTHING: Duration = Duration::from_millis(300);

fn start(shards: usize) -> (Engine, Receiver<Event>) {
    start_at([127, 0, 0, 1].into(), vec![[127, 0, 0, 1].into()], shards)
}

fn start_at(bind: IpAddr, candidates: Vec<IpAddr>, shards: usize) -> (Engine, Receiver<Event>) {
    let video_codecs = vec![Codec::H264, Codec::Vp8];
    let tcp_candidates = Vec::new();
    Engine::start(Config { port: 0, bind, candidates, tcp_candidates, shards, video_codecs }).expect("starts")
}

fn to(clients: &[&Client], recorder: bool) -> Audience {
    Audience { participants: clients.iter().map(|client| client.participant).collect(), recorder }
}

async fn event<T>(events: &mut Receiver<Event>, mut wanted: impl FnMut(Event) -> Option<T>) -> T {
    tokio::time::timeout(WAIT, async {
        loop {
            let event = events.recv().await.expect("the engine runs");
            if let Some(found) = wanted(event) {
                return found;
            }
        }
    })
    .await
    .expect("the event comes")
}

const PUBLISHER: Shape = Shape { publish: true, slots: 0, gcm: true, lost: None };
const VIEWER: Shape = Shape { publish: false, slots: 1, gcm: true, lost: None };

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_several_addresses_is_reached_at_one() {
    let loopback: Vec<IpAddr> = (1..=4).map(|host| [127, 0, 0, host].into()).collect();
    let (engine, _events) = start_at([0, 0, 0, 0].into(), loopback, 2);
    let room = RoomId::generate();
    engine.open_room(room);
    for _ in 0..3 {
        // It joins when it is through, and panics otherwise.
        Client::join(&engine, room, PUBLISHER).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_socket_serves_both_families() {
    for reached in [IpAddr::V6(Ipv6Addr::LOCALHOST), IpAddr::V4(Ipv4Addr::LOCALHOST)] {
        let (engine, _events) = start_at(Ipv6Addr::UNSPECIFIED.into(), vec![reached], 2);
        let room = RoomId::generate();
        engine.open_room(room);
        let mut publisher = Client::join(&engine, room, PUBLISHER).await;
        assert_eq!(publisher.server.ip(), reached);
        let mut viewer = Client::join(&engine, room, VIEWER).await;
        let source = Publisher::Participant(publisher.participant);
        engine.set_audience(room, source, MediaKind::Video, to(&[&viewer], false)).await;
        let packet = publisher.sealed(1, 3_000, true, 1_000);
        publisher.socket.send_to(&packet, publisher.server).expect("sends");
        assert!(viewer.receive_rtp(WAIT).is_some(), "{reached}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_go_to_the_audience_and_to_nobody_else() {
    let (engine, mut events) = start(2);
    let room = RoomId::generate();
    engine.open_room(room);
    let mut tap = engine.open_tap(room).expect("open");
    let mut publisher = Client::join(&engine, room, PUBLISHER).await;
    let mut viewer = Client::join(&engine, room, VIEWER).await;
    let mut foreign = Client::join(&engine, room, Shape { gcm: false, ..VIEWER }).await;
    assert_eq!(
        viewer.profile,
        SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
        "though the client lists it second"
    );
    assert_eq!(foreign.profile, SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80);
    let source = Publisher::Participant(publisher.participant);

    // Nobody has decided: nobody receives.
    let packet = publisher.sealed(1, 3_000, true, 1_000);
    publisher.socket.send_to(&packet, publisher.server).expect("sends");
    let track = event(&mut events, |event| match event {
        Event::TrackStarted { track, publisher, codec: Codec::Vp8, .. } if publisher == source => Some(track),
        _ => None,
    })
    .await;
    assert_eq!(viewer.receive_rtp(NOTHING), None);
    let mut recorded = 0;
    tap.read(Duration::ZERO, |_| recorded += 1);
    assert_eq!(recorded, 0);

    // Admitted, but not before a keyframe.
    engine.set_audience(room, source, MediaKind::Video, to(&[&viewer, &foreign], true)).await;
    for (seq, keyframe) in [(2, false), (3, true), (4, false)] {
        let packet = publisher.sealed(seq, 3_000 * u32::from(seq), keyframe, 1_000);
        publisher.socket.send_to(&packet, publisher.server).expect("sends");
    }
    for client in [&mut viewer, &mut foreign] {
        let first = client.receive_rtp(WAIT).expect("comes");
        let second = client.receive_rtp(WAIT).expect("comes");
        let seq = |packet: &[u8]| u16::from_be_bytes([packet[2], packet[3]]);
        assert_eq!(&first[12..], &support::vp8_packet(3, 0, true, 1_000)[12..]);
        assert_eq!(&second[12..], &support::vp8_packet(4, 0, false, 1_000)[12..]);
        assert_eq!(seq(&second), seq(&first).wrapping_add(1));
        assert_eq!(first[8..12], client.slot_ssrcs[0].to_be_bytes());
    }
    let mut records = Vec::new();
    tap.read(WAIT, |record| {
        records.push(match record {
            tap::Record::TrackStarted { track: started, codec: Codec::Vp8, .. } if started == track => {
                "started"
            }
            tap::Record::Packet { track: of, rtp, .. } if of == track && rtp.len() == 1_012 => "packet",
            other => panic!("{other:?}"),
        });
    });
    assert_eq!(records, ["started", "packet", "packet", "packet"]);

    // Taken out again: in effect when the call returns.
    engine.set_audience(room, source, MediaKind::Video, to(&[&foreign], false)).await;
    let packet = publisher.sealed(5, 15_000, true, 1_000);
    publisher.socket.send_to(&packet, publisher.server).expect("sends");
    assert!(foreign.receive_rtp(WAIT).is_some());
    assert_eq!(viewer.receive_rtp(NOTHING), None);
    let mut ended = 0;
    tap.read(Duration::ZERO, |record| match record {
        tap::Record::TrackEnded { .. } => ended += 1,
        other => panic!("{other:?}"),
    });
    assert_eq!(ended, 1);
    engine.shutdown();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_packet_is_sent_again_to_who_asks_while_it_may_have_it() {
    let (engine, _events) = start(1);
    let room = RoomId::generate();
    engine.open_room(room);
    let mut publisher = Client::join(&engine, room, PUBLISHER).await;
    let mut viewer = Client::join(&engine, room, VIEWER).await;
    let source = Publisher::Participant(publisher.participant);
    engine.set_audience(room, source, MediaKind::Video, to(&[&viewer], false)).await;
    let packet = publisher.sealed(9, 3_000, true, 700);
    publisher.socket.send_to(&packet, publisher.server).expect("sends");
    let first = viewer.receive_rtp(WAIT).expect("comes");

    let mut nack = vec![0x81, 205, 0, 3];
    nack.extend(1u32.to_be_bytes());
    nack.extend(viewer.slot_ssrcs[0].to_be_bytes());
    nack.extend(&first[2..4]);
    nack.extend([0, 0]);
    let sealed = viewer.connection.seal_rtcp(&nack).expect("seals");
    viewer.socket.send_to(&sealed, viewer.server).expect("sends");
    let again = viewer.receive_rtp(WAIT).expect("comes again");
    assert_eq!(again[1] & 0x7f, 97, "on the RTX payload type");
    assert_eq!(again[12..14], first[2..4], "with the original sequence number");
    assert_eq!(&again[14..], &first[12..]);

    engine.set_audience(room, source, MediaKind::Video, Audience::nobody()).await;
    let sealed = viewer.connection.seal_rtcp(&nack).expect("seals");
    viewer.socket.send_to(&sealed, viewer.server).expect("sends");
    assert_eq!(viewer.receive_rtp(NOTHING), None);
    engine.shutdown();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_closed_is_told_of_and_its_track_ends() {
    let (engine, mut events) = start(1);
    let room = RoomId::generate();
    engine.open_room(room);
    let mut publisher = Client::join(&engine, room, PUBLISHER).await;
    let packet = publisher.sealed(1, 0, true, 100);
    publisher.socket.send_to(&packet, publisher.server).expect("sends");
    event(&mut events, |event| matches!(event, Event::TrackStarted { .. }).then_some(())).await;
    engine.close_peer(room, publisher.peer);
    event(&mut events, |event| matches!(event, Event::TrackEnded { .. }).then_some(())).await;
    event(&mut events, |event| match event {
        Event::PeerClosed { peer, reason: CloseReason::ClosedByServer, .. } => {
            (peer == publisher.peer).then_some(())
        }
        _ => None,
    })
    .await;
    engine.shutdown();
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_disturbs_nobody() {
    let (engine, _events) = start(2);
    let room = RoomId::generate();
    engine.open_room(room);
    let mut publisher = Client::join(&engine, room, PUBLISHER).await;
    let mut viewer = Client::join(&engine, room, VIEWER).await;
    let source = Publisher::Participant(publisher.participant);
    engine.set_audience(room, source, MediaKind::Video, to(&[&viewer], false)).await;

    let stranger = UdpSocket::bind("127.0.0.1:0").expect("binds");
    let mut noise: u32 = 12_345;
    let mut next = || {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (noise >> 16) as u8
    };
    for round in 0..3_000u32 {
        let mut datagram: Vec<u8> = (0..round % 200 + 1).map(|_| next()).collect();
        // Each class of RFC 7983 in turn, from a stranger and from a known address.
        datagram[0] = [0, 22, 128, 200, 64][round as usize % 5];
        stranger.send_to(&datagram, publisher.server).expect("sends");
        publisher.socket.send_to(&datagram, publisher.server).expect("sends");
    }
    for sdp in
        ["", "v=0", "v=0\r\no=- 1 1 IN IP4 0\r\ns=-\r\nt=0 0\r\nm=video 9 X 1\r\n", &"a=".repeat(100_000)]
    {
        let (participant, peer) = (ParticipantId::generate(), PeerId::generate());
        let offer =
            Offer { room, participant, peer, publish: true, fill: SlotFill::Follow, sdp: sdp.to_owned() };
        assert!(matches!(engine.offer(offer).await, Err(OfferError::Invalid(_))));
    }
    for seq in 1..=50u16 {
        let packet = publisher.sealed(seq, 3_000 * u32::from(seq), seq == 1, 900);
        publisher.socket.send_to(&packet, publisher.server).expect("sends");
        assert!(viewer.receive_rtp(WAIT).is_some(), "packet {seq}");
    }
    let counters = engine.counters();
    let count = |name: &str| counters.iter().find(|(known, _)| *known == name).expect("known").1;
    assert!(count("media_strangers_dropped_total") > 0);
    assert!(count("media_unauthentic_total") > 0);
    engine.shutdown();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_plays_in_slots_as_a_person_does() {
    let (engine, mut events) = start(1);
    let room = RoomId::generate();
    engine.open_room(room);
    let camera = Publisher::Camera(hewei_model::CameraId::generate());
    let mut viewer = Client::join(&engine, room, VIEWER).await;
    let mut writer = engine.open_source(room, camera).expect("open");
    engine.set_audience(room, camera, MediaKind::Video, to(&[&viewer], false)).await;
    writer.track(Codec::Vp8);
    let slots = event(&mut events, |event| match event {
        Event::Slots { slots, .. } if !slots.is_empty() => Some(slots),
        _ => None,
    })
    .await;
    assert_eq!((slots[0].publisher, slots[0].mid.as_str()), (camera, "0"));
    for seq in 0..200u16 {
        writer.packet(MediaKind::Video, &support::vp8_packet(seq, 6_000 * u32::from(seq), seq == 0, 600));
        assert!(viewer.receive_rtp(WAIT).is_some(), "packet {seq}");
    }
    drop(writer);
    event(&mut events, |event| match event {
        Event::Slots { slots, .. } => slots.is_empty().then_some(()),
        _ => None,
    })
    .await;
    engine.shutdown();
}

#[tokio::test(flavor = "multi_thread")]
async fn more_sources_than_slots_ask_for_more() {
    let (engine, mut events) = start(1);
    let room = RoomId::generate();
    engine.open_room(room);
    let viewer = Client::join(&engine, room, VIEWER).await;
    let everyone = Audience { participants: BTreeSet::from([viewer.participant]), recorder: false };
    for _ in 0..3 {
        let mut publisher = Client::join(&engine, room, PUBLISHER).await;
        let source = Publisher::Participant(publisher.participant);
        engine.set_audience(room, source, MediaKind::Video, everyone.clone()).await;
        let packet = publisher.sealed(1, 0, true, 100);
        publisher.socket.send_to(&packet, publisher.server).expect("sends");
    }
    event(&mut events, |event| match event {
        Event::NeedSlots { peer, audio: 0, video: 3, .. } => (peer == viewer.peer).then_some(()),
        _ => None,
    })
    .await;
    engine.shutdown();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_datagram_of_the_handshake_is_sent_again() {
    let (engine, _events) = start(1);
    let room = RoomId::generate();
    engine.open_room(room);
    for lost in 0..5 {
        Client::join(&engine, room, Shape { lost: Some(lost), ..VIEWER }).await;
    }
    engine.shutdown();
}
