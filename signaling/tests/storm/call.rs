//! The call: two who publish sound and picture and three who receive, each a thread with a client that we did not write
//! the cryptography of. Every packet has a number, and who received it is written down.

use std::{
    fmt,
    net::UdpSocket,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime},
};

use hewei_client::{Connection, Event, Outgoing, Shape, Track};
use hewei_engine::{Engine, Offer, SlotFill};
use hewei_model::{Audience, Codec, MediaKind, ParticipantId, PeerId, Publisher, RoomId};
use socket2::SockRef;

const PUBLISHERS: usize = 2;
const PARTIES: usize = 3;
/// Sound and picture.
const INTERVALS: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(5)];
const PAYLOADS: [usize; 2] = [80, 900];
/// An hour of pictures.
const PACKETS_MAX: usize = 800_000;
/// Kept of each kind of datagram, for the storm to be made of.
const CAPTURED_MAX: usize = 64;
const PATIENCE: Duration = Duration::from_secs(60);
/// What the clients' own sockets hold while the machine is busy with others.
const SOCKET_BUFFER: usize = 4 << 20;

/// Numbers of the packets of one track.
#[derive(Default)]
struct Numbers {
    sent: AtomicU32,
    /// From here on every packet counts.
    first: AtomicU32,
}

struct Shared {
    tracks: [[Numbers; 2]; PUBLISHERS],
    quiet: AtomicBool,
    over: AtomicBool,
    /// Outgoing datagrams of each class: checks, DTLS, RTCP, RTP.
    captured: Mutex<[Vec<Vec<u8>>; 4]>,
}

/// What one party got of one track: how often directly, and how often as a retransmission.
struct Got(Vec<(u8, u8)>);

pub struct Call {
    shared: Arc<Shared>,
    sockets: Vec<UdpSocket>,
    parties: Vec<JoinHandle<Vec<[Got; 2]>>>,
    pub server: std::net::SocketAddr,
}

/// What became of the call's packets.
pub struct Outcome {
    pub sent: u64,
    pub expected: u64,
    pub recovered: u64,
    pub lost: u64,
    pub doubled: u64,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, count) in [
            ("call packets sent by its publishers", self.sent),
            ("call packets that had to arrive", self.expected),
            ("  of these, by retransmission", self.recovered),
            ("  lost", self.lost),
            ("  twice, unasked", self.doubled),
        ] {
            writeln!(f, "{what:<58} {count:>10}")?;
        }
        Ok(())
    }
}

impl Call {
    pub async fn start(engine: &Engine) -> Call {
        let room = RoomId::generate();
        engine.open_room(room);
        let shared = Arc::new(Shared {
            tracks: Default::default(),
            quiet: false.into(),
            over: false.into(),
            captured: Mutex::default(),
        });
        let participants: Vec<_> = (0..PARTIES).map(|_| ParticipantId::generate()).collect();
        for publisher in &participants[..PUBLISHERS] {
            let others = participants.iter().filter(|other| *other != publisher).copied().collect();
            let audience = Audience { participants: others, recorder: false };
            for kind in [MediaKind::Audio, MediaKind::Video] {
                let publisher = Publisher::Participant(*publisher);
                engine.set_audience(room, publisher, kind, audience.clone()).await;
            }
        }
        let (mut sockets, mut parties) = (Vec::new(), Vec::new());
        for (at, participant) in participants.into_iter().enumerate() {
            let tracks = match at < PUBLISHERS {
                true => vec![Track::new(Codec::Opus), Track::new(Codec::Vp8)],
                false => Vec::new(),
            };
            let shape = Shape { tracks, audio_slots: PUBLISHERS, video_slots: PUBLISHERS, gcm: at != 1 };
            let mut connection = Connection::new(shape, Instant::now(), SystemTime::now()).unwrap();
            let sdp = connection.offer();
            let peer = PeerId::generate();
            let offer = Offer { room, participant, peer, publish: true, fill: SlotFill::Follow, sdp };
            connection.answer(Instant::now(), &engine.offer(offer).await.unwrap()).unwrap();
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            SockRef::from(&socket).set_recv_buffer_size(SOCKET_BUFFER).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
            sockets.push(socket.try_clone().unwrap());
            let shared = Arc::clone(&shared);
            parties.push(std::thread::spawn(move || Party::new(at, connection, socket, shared).run()));
        }
        let server = ([127, 0, 0, 1], engine.port()).into();
        let call = Call { shared, sockets, parties, server };
        call.settle().await;
        call
    }

    /// Waits until everything flows, and counts from there.
    async fn settle(&self) {
        let until = Instant::now() + PATIENCE;
        let tracks = || self.shared.tracks.iter().flatten();
        // Half a thousand pictures after the start every slot has long been filled.
        while tracks().any(|track| track.sent.load(Ordering::Relaxed) < 150) {
            assert!(Instant::now() < until, "the call does not begin");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tracks().for_each(|track| track.first.store(track.sent.load(Ordering::Relaxed), Ordering::Relaxed));
    }

    /// The sockets that the call itself uses.
    pub fn sockets(&self) -> &[UdpSocket] {
        &self.sockets
    }

    /// What the call has sent: checks, DTLS, RTCP and RTP, some of each.
    pub fn captured(&self) -> Vec<Vec<u8>> {
        let until = Instant::now() + PATIENCE;
        loop {
            let captured = self.shared.captured.lock().unwrap().clone();
            if captured.iter().all(|class| class.len() >= 4) {
                return captured.concat();
            }
            assert!(Instant::now() < until, "the call sends not all kinds of datagrams");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Publishes nothing more, waits for what is under way, and tells.
    pub fn finish(self) -> Outcome {
        self.shared.quiet.store(true, Ordering::Relaxed);
        // What is missing is asked for once something comes after it, or not at all: a second of quiet is the end.
        std::thread::sleep(Duration::from_secs(2));
        self.shared.over.store(true, Ordering::Relaxed);
        let mut outcome = Outcome { sent: 0, expected: 0, recovered: 0, lost: 0, doubled: 0 };
        let got: Vec<_> = self.parties.into_iter().map(|party| party.join().unwrap()).collect();
        for (publisher, tracks) in self.shared.tracks.iter().enumerate() {
            for (kind, track) in tracks.iter().enumerate() {
                let (first, sent) = (track.first.load(Ordering::Relaxed), track.sent.load(Ordering::Relaxed));
                // The last hundred of a picture have nothing behind them by which a loss would show.
                let last = sent.saturating_sub([10, 100][kind]);
                outcome.sent += u64::from(sent);
                for (party, got) in got.iter().enumerate().filter(|(party, _)| *party != publisher) {
                    for number in first..last {
                        let (directly, again) = got[publisher][kind].0[number as usize];
                        outcome.expected += 1;
                        outcome.lost += u64::from(directly + again == 0);
                        outcome.recovered += u64::from(directly == 0 && again > 0);
                        outcome.doubled += u64::from(directly > 1);
                        if directly + again == 0 && outcome.lost < 10 {
                            println!("party {party} lacks packet {number} of {publisher}, kind {kind}");
                        }
                    }
                }
            }
        }
        outcome
    }
}

struct Party {
    at: usize,
    connection: Connection,
    socket: UdpSocket,
    shared: Arc<Shared>,
    got: Vec<[Got; 2]>,
}

impl Party {
    fn new(at: usize, connection: Connection, socket: UdpSocket, shared: Arc<Shared>) -> Self {
        let none = || Got(vec![(0, 0); PACKETS_MAX]);
        let got = (0..PUBLISHERS).map(|_| [none(), none()]).collect();
        Self { at, connection, socket, shared, got }
    }

    fn run(mut self) -> Vec<[Got; 2]> {
        let mut due = [Instant::now(); 2];
        let mut buffer = [0; 2_048];
        while !self.shared.over.load(Ordering::Relaxed) {
            if self.at < PUBLISHERS
                && self.connection.is_connected()
                && !self.shared.quiet.load(Ordering::Relaxed)
            {
                let now = Instant::now();
                for (kind, due) in due.iter_mut().enumerate().filter(|(_, due)| **due <= now) {
                    // Late is late: no burst makes up for it.
                    *due = now + INTERVALS[kind];
                    self.publish(now, kind);
                }
            }
            self.flush();
            // Until there is something to send, or nothing comes for a moment.
            while let Ok((len, from)) = self.socket.recv_from(&mut buffer) {
                let now = Instant::now();
                self.connection.receive(now, from, &buffer[..len]);
                if now >= due[0].min(due[1]) {
                    break;
                }
            }
            self.connection.handle_timeout(Instant::now());
            while let Some(event) = self.connection.poll_event() {
                match event {
                    Event::Packet { rtx, packet, .. } => self.note(rtx, &packet),
                    Event::Over(error) => panic!("party {}: {error}", self.at),
                    _ => {}
                }
            }
        }
        self.got
    }

    fn publish(&mut self, now: Instant, kind: usize) {
        let number = self.shared.tracks[self.at][kind].sent.fetch_add(1, Ordering::Relaxed);
        // A VP8 keyframe in one packet (RFC 7741 §4.2), so that no picture waits for another; in Opus it means nothing.
        let mut payload = vec![0x10, 0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a, 64, 0, 64, 0];
        payload.extend([self.at as u8, kind as u8]);
        payload.extend(number.to_be_bytes());
        payload.resize(PAYLOADS[kind], number as u8);
        let timestamp = number.wrapping_mul([960, 450][kind]);
        let outgoing = Outgoing { timestamp, marker: kind == 1, payload: &payload };
        self.connection.send(now, kind, outgoing).unwrap();
    }

    fn flush(&mut self) {
        while let Some(transmit) = self.connection.poll_transmit() {
            self.socket.send_to(&transmit.datagram, transmit.to).unwrap();
            let class = match transmit.datagram[..2] {
                [0..=3, _] => 0,
                [20..=63, _] => 1,
                [_, 192..=223] => 2,
                _ => 3,
            };
            let mut captured = self.shared.captured.lock().unwrap();
            if captured[class].len() < CAPTURED_MAX {
                captured[class].push(transmit.datagram);
            }
        }
    }

    fn note(&mut self, rtx: bool, packet: &[u8]) {
        let payload = &packet[if rtx { 14 } else { 12 }..];
        let [publisher, kind, number @ ..] = &payload[11..17] else { panic!("short packet") };
        let number = u32::from_be_bytes(number.try_into().unwrap()) as usize;
        let (directly, again) = &mut self.got[usize::from(*publisher)][usize::from(*kind)].0[number];
        *if rtx { again } else { directly } += 1;
    }
}
