//! A client at the engine without a server around it: `hewei-client`, of foreign DTLS, SRTP and STUN, over a socket that
//! blocks. It shares no code with what it tests.
#![allow(dead_code, reason = "each test uses its part")]

use std::{
    net::{SocketAddr, UdpSocket},
    time::{Duration, Instant, SystemTime},
};

use hewei_client::{Connection, Event, Shape as Offered, SrtpProtectionProfile, Track};
use hewei_engine::{Engine, Offer, SlotFill};
use hewei_model::{Codec, ParticipantId, PeerId, RoomId};

const PATIENCE: Duration = Duration::from_secs(20);

/// The payload type and SSRC that a client publishes video with.
pub const VIDEO_PT: u8 = 96;
pub const VIDEO_SSRC: u32 = 0x1111_0001;

/// What a client offers.
#[derive(Clone, Copy)]
pub struct Shape {
    /// Publishes VP8.
    pub publish: bool,
    /// Slots for video.
    pub slots: usize,
    /// Offers GCM besides AES_CM.
    pub gcm: bool,
    /// The DTLS datagram of the server that is lost, counted from 0.
    pub lost: Option<usize>,
}

pub struct Client {
    pub connection: Connection,
    pub socket: UdpSocket,
    pub participant: ParticipantId,
    pub peer: PeerId,
    pub room: RoomId,
    pub server: SocketAddr,
    /// SSRC of each slot, as answered.
    pub slot_ssrcs: Vec<u32>,
    pub profile: SrtpProtectionProfile,
}

impl Client {
    /// Offers, and goes through ICE and DTLS until media may flow.
    pub async fn join(engine: &Engine, room: RoomId, shape: Shape) -> Client {
        Client::join_as(engine, room, shape, |sdp| sdp).await
    }

    /// The same with an offer that is `said` in another way.
    pub async fn join_as(
        engine: &Engine,
        room: RoomId,
        shape: Shape,
        said: impl FnOnce(String) -> String,
    ) -> Client {
        Client::join_over(engine, room, shape, said, None).await
    }

    /// The same over a socket that was another's, if there is one.
    pub async fn join_over(
        engine: &Engine,
        room: RoomId,
        shape: Shape,
        said: impl FnOnce(String) -> String,
        socket: Option<UdpSocket>,
    ) -> Client {
        let track = Track { ssrc: VIDEO_SSRC, ..Track::new(Codec::Vp8) };
        let offered = Offered {
            tracks: shape.publish.then_some(track).into_iter().collect(),
            audio_slots: 0,
            video_slots: shape.slots,
            gcm: shape.gcm,
        };
        let mut connection =
            Connection::new(offered, Instant::now(), SystemTime::now()).expect("a certificate");
        let (participant, peer) = (ParticipantId::generate(), PeerId::generate());
        let sdp = said(connection.offer());
        let offer = Offer { room, participant, peer, publish: true, fill: SlotFill::Follow, sdp };
        let answer = engine.offer(offer).await.expect("answered");
        connection.answer(Instant::now(), &answer).expect("a good answer");
        let ipv6 = connection.candidates()[0].is_ipv6();
        let bind = || UdpSocket::bind(if ipv6 { "[::1]:0" } else { "127.0.0.1:0" }).expect("binds");
        let socket = socket.unwrap_or_else(bind);
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("sets");
        let mut received = 0;
        let until = Instant::now() + PATIENCE;
        let profile = loop {
            assert!(Instant::now() < until, "no connection");
            turn(&mut connection, &socket, |datagram| {
                let dtls = (20..=63).contains(&datagram[0]);
                received += usize::from(dtls);
                dtls && shape.lost == Some(received - 1)
            });
            match connection.poll_event() {
                Some(Event::Connected(profile)) => break profile,
                Some(Event::Over(error)) => panic!("{error}"),
                _ => {}
            }
        };
        flush(&mut connection, &socket);
        let server = connection.server().expect("connected");
        let slot_ssrcs = connection.slots().iter().filter_map(|slot| slot.ssrc).collect();
        Client { connection, socket, participant, peer, room, server, slot_ssrcs, profile }
    }

    /// Offers again with a restart of ICE. Nothing is sent yet.
    pub async fn restart(&mut self, engine: &Engine) {
        self.connection.restart();
        let (room, participant, peer) = (self.room, self.participant, self.peer);
        let sdp = self.connection.offer();
        let offer = Offer { room, participant, peer, publish: true, fill: SlotFill::Follow, sdp };
        let answer = engine.offer(offer).await.expect("answered");
        self.connection.answer(Instant::now(), &answer).expect("a good answer");
    }

    /// A sealed VP8 packet; the first of a keyframe when `keyframe`.
    pub fn sealed(&mut self, seq: u16, timestamp: u32, keyframe: bool, len: usize) -> Vec<u8> {
        self.connection.seal_rtp(&vp8_packet(seq, timestamp, keyframe, len)).expect("seals")
    }

    /// The next RTP packet, opened. `None` when none comes in time.
    pub fn receive_rtp(&mut self, time: Duration) -> Option<Vec<u8>> {
        let until = Instant::now() + time;
        loop {
            match self.connection.poll_event() {
                Some(Event::Packet { packet, .. }) => return Some(packet),
                Some(Event::Over(error)) => panic!("{error}"),
                Some(_) => {}
                None if Instant::now() >= until => return None,
                None => turn(&mut self.connection, &self.socket, |_| false),
            }
        }
    }
}

/// One look at the socket and at the clock. `lost` says whether a datagram does not arrive.
fn turn(connection: &mut Connection, socket: &UdpSocket, mut lost: impl FnMut(&[u8]) -> bool) {
    flush(connection, socket);
    let mut buffer = [0; 2048];
    if let Ok((len, from)) = socket.recv_from(&mut buffer)
        && len > 0
        && !lost(&buffer[..len])
    {
        connection.receive(Instant::now(), from, &buffer[..len]);
    }
    connection.handle_timeout(Instant::now());
}

fn flush(connection: &mut Connection, socket: &UdpSocket) {
    while let Some(transmit) = connection.poll_transmit() {
        socket.send_to(&transmit.datagram, transmit.to).expect("sends");
    }
}

/// A plain VP8 packet with a payload of `len` bytes (RFC 7741 §4.2: S bit, partition 0, then the frame).
pub fn vp8_packet(seq: u16, timestamp: u32, keyframe: bool, len: usize) -> Vec<u8> {
    let mut packet = vec![0x80, 0x80 | VIDEO_PT];
    packet.extend(seq.to_be_bytes());
    packet.extend(timestamp.to_be_bytes());
    packet.extend(VIDEO_SSRC.to_be_bytes());
    packet.extend([0x10, if keyframe { 0x10 } else { 0x11 }, 0x02, 0x00, 0x9d, 0x01, 0x2a, 64, 0, 64, 0]);
    packet.resize(12 + len, seq as u8);
    packet
}
