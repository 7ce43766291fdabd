//! One shard: its loop, and the way of a datagram into it.

use std::{
    collections::{HashMap, VecDeque},
    net::{SocketAddr, UdpSocket},
    sync::Arc,
    time::{Duration, Instant},
};

use crossbeam_channel::Receiver;
use hewei_media::framing;
use hewei_model::{PeerId, RoomId};
use hewei_peer::{Candidate, Identity, Path, StreamId, Transport, stun};
use hewei_sfu::SubscriberKey;
use ring::rand::SystemRandom;
use socket2::SockRef;
use tokio::sync::mpsc;

use super::{Directory, Waker, door::Door, peers::PeerEntry, rooms::RoomEntry, stray};
use crate::{
    CloseReason, Config, Event, OfferError, byte_ring,
    command::{Addressed, Command},
    counters::{Counter, Counters},
    egress::Egress,
    streams::Newcomer,
    sys,
};

/// How often timers are looked at while there are peers. NACKs are due after 5 ms, feedback after 50.
const TICK: Duration = Duration::from_millis(5);
/// And when there are none.
const IDLE: Duration = Duration::from_millis(500);
/// Records of one camera taken in at one turn.
const FEED_BATCH: usize = 48;
/// How often the system is asked what it dropped.
const OVERFLOW_EVERY: Duration = Duration::from_millis(250);
/// Frames of one connection taken in before the rooms send on what they brought: one read can bring hundreds, and a room
/// keeps no more than 64 packets of one stream until then. With RED each may bring several.
const FRAMES_BATCH: usize = 16;
/// Receive calls at one turn, before timers and commands have their turn.
const RECEIVE_ROUNDS: usize = 4;

pub(super) struct Parts {
    pub(super) index: usize,
    pub(super) socket: UdpSocket,
    pub(super) strays_out: Vec<Option<(byte_ring::Writer, Arc<Waker>)>>,
    pub(super) commands: Receiver<Addressed>,
    pub(super) waker: Arc<Waker>,
    pub(super) counters: Arc<Counters>,
}

pub(super) struct Shard {
    pub(super) index: usize,
    pub(super) config: Config,
    pub(super) identity: Identity,
    pub(super) candidates: Vec<Candidate>,
    pub(super) socket: UdpSocket,
    pub(super) egress: Egress,
    pub(super) counters: Arc<Counters>,
    pub(super) directory: Arc<Directory>,
    pub(super) random: SystemRandom,
    pub(super) state: State,
    pub(super) door: Door,
    waker: Arc<Waker>,
    commands: Receiver<Addressed>,
    events: mpsc::Sender<Event>,
    strays_in: Vec<byte_ring::Reader>,
    strays_out: Vec<Option<(byte_ring::Writer, Arc<Waker>)>>,
}

/// The peers and rooms of a shard.
#[derive(Default)]
pub(super) struct State {
    pub(super) peers: Vec<Option<PeerEntry>>,
    pub(super) by_id: HashMap<PeerId, u32>,
    pub(super) by_ufrag: HashMap<String, u32>,
    pub(super) by_address: HashMap<SocketAddr, u32>,
    pub(super) rooms: Vec<Option<RoomEntry>>,
    pub(super) rooms_by_id: HashMap<RoomId, usize>,
    /// Events that the server has not taken yet. As long as what happened; the server drains it.
    pub(super) backlog: VecDeque<Event>,
}

impl Shard {
    pub(super) fn new(
        parts: Parts,
        strays_in: Vec<byte_ring::Reader>,
        config: Config,
        identity: Identity,
        candidates: Vec<Candidate>,
        events: mpsc::Sender<Event>,
        directory: Arc<Directory>,
    ) -> Self {
        let door = Door::new(Instant::now(), config.bind);
        Self {
            index: parts.index,
            config,
            identity,
            candidates,
            socket: parts.socket,
            egress: Egress::new(),
            counters: parts.counters,
            directory,
            random: SystemRandom::new(),
            state: State::default(),
            door,
            waker: parts.waker,
            commands: parts.commands,
            events,
            strays_in,
            strays_out: parts.strays_out,
        }
    }

    /// Runs until told to stop.
    pub(super) fn run(mut self) {
        let mut buffers = sys::ReceiveBuffers::new();
        let mut watched = sys::Watched::default();
        let mut next_tick = Instant::now();
        let (mut next_look, mut overflow) = (next_tick, 0);
        let buffer = SockRef::from(&self.socket).recv_buffer_size().unwrap_or(0);
        self.counters.add(Counter::ReceiveBuffer, buffer as u64);
        loop {
            let now = Instant::now();
            let time =
                if self.state.backlog.is_empty() { next_tick.saturating_duration_since(now) } else { TICK };
            self.egress.streams.watch(&mut watched);
            self.waker.wait(&self.socket, &mut watched, time);

            let mut more = self.drain_strays();
            for _ in 0..RECEIVE_ROUNDS {
                if !self.receive(&mut buffers) {
                    break;
                }
            }
            self.read_streams(&watched);
            more |= self.drain_feeds();
            while let Ok(addressed) = self.commands.try_recv() {
                if matches!(addressed.command, Command::Stop) {
                    self.stop();
                    return;
                }
                self.command(addressed);
            }
            let now = Instant::now();
            if now >= next_tick || more {
                let due = self.tick_peers(now);
                let latest = now + IDLE;
                next_tick = due.map_or(latest, |due| due.clamp(now + TICK, latest));
            } else if self.state.by_id.is_empty() {
                next_tick = now + IDLE;
            } else {
                next_tick = next_tick.min(now + TICK);
            }
            if now >= next_look {
                next_look = now + OVERFLOW_EVERY;
                let seen = sys::overflow(&self.socket).unwrap_or(overflow);
                self.counters.add(Counter::ReceiveOverflow, u64::from(seen.wrapping_sub(overflow)));
                overflow = seen;
            }
            self.egress.flush(&self.socket, &self.counters);
            self.end_streams();
            while let Some(event) = self.state.backlog.pop_front() {
                if let Err(mpsc::error::TrySendError::Full(event)) = self.events.try_send(event) {
                    self.state.backlog.push_front(event);
                    break;
                }
            }
        }
    }

    /// Takes one batch of datagrams in and sends on what they bring. `false` when there may be no more.
    fn receive(&mut self, buffers: &mut sys::ReceiveBuffers) -> bool {
        let count = match sys::receive(&self.socket, buffers) {
            Ok(count) => count,
            // An ICMP error of an earlier send; the next call goes on.
            Err(_) => return true,
        };
        if count == 0 {
            return false;
        }
        self.counters.add(Counter::DatagramsReceived, count as u64);
        let now = Instant::now();
        for at in 0..count {
            let (from, datagram) = buffers.datagram(at);
            self.datagram(now, from, datagram, false);
        }
        self.flush_rooms(now);
        count == sys::RECEIVE_BATCH
    }

    /// The way of one datagram (RFC 7983 §7). `stray` when another shard sent it here.
    fn datagram(&mut self, now: Instant, from: SocketAddr, datagram: &mut [u8], stray: bool) {
        let Some(first) = datagram.first() else { return self.counters.add(Counter::StrangersDropped, 1) };
        match first {
            128..=191 => match self.state.by_address.get(&from).copied() {
                Some(peer) if is_rtcp(datagram) => self.rtcp(now, from.into(), peer, datagram),
                Some(peer) => self.rtp(now, from.into(), peer, datagram),
                None => self.forward(from, datagram, stray),
            },
            20..=63 => match self.state.by_address.get(&from).copied() {
                Some(peer) => self.dtls(now, peer, datagram),
                None => self.forward(from, datagram, stray),
            },
            0..=3 if stun::is_stun(datagram) => {
                let Some(request) = stun::BindingRequest::parse(datagram) else {
                    return self.counters.add(Counter::StrangersDropped, 1);
                };
                let own = self.state.by_ufrag.get(request.local_ufrag()).copied();
                let owner = match own {
                    Some(_) => None,
                    None => self.directory.ufrags.get(request.local_ufrag()).map(|shard| *shard),
                };
                if (own.is_some() || owner.is_some()) && !stray && !self.admits_check(now, from) {
                    return self.counters.add(Counter::StunLimited, 1);
                }
                match own {
                    Some(peer) => _ = self.stun(now, from.into(), peer, &request),
                    None => self.forward_to(owner, from, datagram, stray),
                }
            }
            _ => self.counters.add(Counter::StrangersDropped, 1),
        }
    }

    /// Reads from the connections that have something, and sends on what it brings.
    fn read_streams(&mut self, watched: &sys::Watched) {
        let mut buffer = [0; framing::FRAME_LEN_MAX];
        for at in 0..watched.len() {
            let Some(id) = watched.seen(at).map(StreamId) else { continue };
            let now = Instant::now();
            self.egress.streams.read(id);
            let mut frames = 0;
            while let Some((peer, path, len)) =
                self.egress.streams.next_frame(id, &self.counters, &mut buffer)
            {
                self.frame(now, path, peer, &mut buffer[..len]);
                frames += 1;
                if frames % FRAMES_BATCH == 0 {
                    self.flush_rooms(now);
                }
            }
            self.flush_rooms(now);
        }
    }

    /// The way of one frame over TCP: it is of the peer that the connection belongs to, or of nobody.
    fn frame(&mut self, now: Instant, path: Path, peer: u32, frame: &mut [u8]) {
        match frame.first() {
            Some(128..=191) if is_rtcp(frame) => self.rtcp(now, path, peer, frame),
            Some(128..=191) => self.rtp(now, path, peer, frame),
            Some(20..=63) => self.dtls(now, peer, frame),
            Some(0..=3) => match stun::BindingRequest::parse(frame) {
                Some(check) if self.state.by_ufrag.get(check.local_ufrag()) == Some(&peer) => {
                    self.stun(now, path, peer, &check);
                }
                _ => self.counters.add(Counter::StrangersDropped, 1),
            },
            _ => self.counters.add(Counter::StrangersDropped, 1),
        }
    }

    /// Takes a connection in, if its first frame is a good check.
    fn adopt(&mut self, now: Instant, newcomer: Newcomer) {
        let (from, frame) = (newcomer.from, newcomer.frame.clone());
        let check = stun::BindingRequest::parse(&frame);
        let found = check.and_then(|check| Some((*self.state.by_ufrag.get(check.local_ufrag())?, check)));
        let Some((peer, check)) = found else { return self.counters.add(Counter::StreamsRefused, 1) };
        if !self.admits_check(now, from) {
            self.counters.add(Counter::StreamsRefused, 1);
            return self.counters.add(Counter::StunLimited, 1);
        }
        let Some(path) = self.egress.streams.add(newcomer, peer) else {
            return self.counters.add(Counter::StreamsRefused, 1);
        };
        if self.stun(now, path, peer, &check) {
            self.counters.add(Counter::StreamsTaken, 1);
        } else {
            self.counters.add(Counter::StreamsRefused, 1);
            if let Transport::Tcp(id) = path.transport {
                self.egress.streams.close(id);
            }
        }
    }

    /// Sees to the connections that have ended: their peers go on with what other paths they have.
    fn end_streams(&mut self) {
        while let Some(id) = self.egress.streams.poll_ended() {
            if let Some((peer, path)) = self.egress.streams.close(id) {
                self.counters.add(Counter::StreamsEnded, 1);
                self.path_ended(peer, path);
            }
        }
    }

    /// Whether a check for somebody here may be looked at: always from an address on which one has passed.
    fn admits_check(&mut self, now: Instant, from: SocketAddr) -> bool {
        self.state.by_address.contains_key(&from)
            || self.directory.addresses.contains_key(&from)
            || self.door.admit_check(now, from)
    }

    fn forward(&mut self, from: SocketAddr, datagram: &[u8], stray: bool) {
        let owner = self.directory.addresses.get(&from).map(|shard| *shard);
        self.forward_to(owner, from, datagram, stray);
    }

    /// Sends a datagram to the shard whose peer it is from. A stray is not forwarded again.
    fn forward_to(&mut self, owner: Option<usize>, from: SocketAddr, datagram: &[u8], stray: bool) {
        let way = owner.filter(|_| !stray).and_then(|owner| self.strays_out[owner].as_mut());
        let Some((ring, waker)) = way else {
            return self.counters.add(Counter::StrangersDropped, 1);
        };
        if ring.write(&[&stray::write(from), datagram]) {
            self.counters.add(Counter::StraysForwarded, 1);
        } else {
            self.counters.add(Counter::StraysDropped, 1);
        }
        waker.wake();
    }

    fn drain_strays(&mut self) -> bool {
        let mut rings = std::mem::take(&mut self.strays_in);
        let now = Instant::now();
        let mut buffer = [0; sys::DATAGRAM_LEN_MAX];
        let mut left = false;
        for ring in &mut rings {
            let mut taken = 0;
            while taken < 2 * sys::RECEIVE_BATCH {
                let got = ring.read(|record| {
                    let (from, datagram) = record.split_first_chunk()?;
                    buffer[..datagram.len()].copy_from_slice(datagram);
                    Some((stray::read(from), datagram.len()))
                });
                let Some(record) = got else { break };
                if let Some((from, len)) = record {
                    self.datagram(now, from, &mut buffer[..len], true);
                }
                taken += 1;
                if taken % sys::RECEIVE_BATCH == 0 {
                    self.flush_rooms(now);
                }
            }
            left |= taken == 2 * sys::RECEIVE_BATCH;
        }
        self.strays_in = rings;
        self.flush_rooms(now);
        if left {
            self.waker.wake();
        }
        left
    }

    fn drain_feeds(&mut self) -> bool {
        let now = Instant::now();
        let mut left = false;
        let State { peers, rooms, backlog, .. } = &mut self.state;
        for room in rooms.iter_mut().flatten() {
            let mut events = Vec::new();
            left |= room.drain_feeds(now, &self.counters, FEED_BATCH, &mut events);
            room.settle(peers, &mut events);
            backlog.extend(events);
        }
        self.flush_rooms(now);
        if left {
            self.waker.wake();
        }
        left
    }

    fn flush_rooms(&mut self, now: Instant) {
        let State { peers, rooms, .. } = &mut self.state;
        for room in rooms.iter_mut().flatten() {
            room.flush(now, peers, &mut self.egress, &self.socket, &self.counters);
            room.request_keyframes(peers);
        }
        self.egress.flush(&self.socket, &self.counters);
    }

    fn command(&mut self, addressed: Addressed) {
        let now = Instant::now();
        let Addressed { room: id, command } = addressed;
        let room = self.state.rooms_by_id.get(&id).copied();
        match command {
            Command::OpenRoom => {
                if room.is_none() {
                    let free = self.state.rooms.iter().position(Option::is_none);
                    let index = free.unwrap_or_else(|| {
                        self.state.rooms.push(None);
                        self.state.rooms.len() - 1
                    });
                    self.state.rooms[index] = Some(RoomEntry::new(id));
                    self.state.rooms_by_id.insert(id, index);
                }
            }
            Command::CloseRoom => {
                let Some(index) = room else { return };
                let peers = (0u32..).zip(&self.state.peers);
                let inside: Vec<u32> = peers
                    .filter(|(_, entry)| entry.as_ref().is_some_and(|entry| entry.room == index))
                    .map(|(peer, _)| peer)
                    .collect();
                for peer in inside {
                    self.close(now, peer, CloseReason::ClosedByServer);
                }
                self.state.rooms_by_id.remove(&id);
                self.state.rooms[index] = None;
            }
            Command::Offer { offer, parsed, reply } => {
                let answer = match room {
                    Some(room) => self.offer(now, room, &offer, &parsed),
                    None => Err(OfferError::NoRoom),
                };
                // The one who asked may have gone.
                let _ = reply.send(answer);
            }
            Command::Ice { peer, fragment, reply } => {
                let update = self.ice(peer, *fragment);
                // The one who asked may have gone.
                let _ = reply.send(update);
            }
            Command::ClosePeer { peer } => {
                if let Some(index) = self.state.by_id.get(&peer).copied() {
                    self.close(now, index, CloseReason::ClosedByServer);
                }
            }
            Command::SetView { peer, view } => {
                let index = self.state.by_id.get(&peer).copied();
                if let (Some(index), Some(room)) =
                    (index, room.and_then(|room| self.state.rooms[room].as_mut()))
                {
                    room.room.set_view(SubscriberKey(index), view);
                }
            }
            Command::SetAudience { publisher, kind, audience, done } => {
                let State { peers, rooms, backlog, .. } = &mut self.state;
                if let Some(room) = room.and_then(|room| rooms[room].as_mut()) {
                    let mut events = Vec::new();
                    room.set_audience(publisher, kind, audience);
                    room.settle(peers, &mut events);
                    backlog.extend(events);
                }
                let _ = done.send(());
            }
            Command::OpenTap { tap } => {
                if let Some(room) = room.and_then(|room| self.state.rooms[room].as_mut()) {
                    room.open_tap(tap);
                }
            }
            Command::RequestKeyframe { track } => {
                let State { peers, rooms, .. } = &mut self.state;
                if let Some(room) = room.and_then(|room| rooms[room].as_mut())
                    && let Some(source) = room.room.source_by_track(track)
                {
                    room.request_recorder_keyframe(now, source, peers);
                }
            }
            Command::OpenSource { publisher, reader } => {
                let State { peers, rooms, backlog, .. } = &mut self.state;
                if let Some(room) = room.and_then(|room| rooms[room].as_mut()) {
                    let mut events = Vec::new();
                    room.open_feed(publisher, reader, &mut events);
                    room.settle(peers, &mut events);
                    backlog.extend(events);
                }
            }
            Command::Adopt { newcomer } => self.adopt(now, *newcomer),
            Command::Ping { reply } => {
                // Whoever asked may have given up.
                let _ = reply.send(());
            }
            Command::Stop => {}
        }
    }

    fn stop(&mut self) {
        let now = Instant::now();
        for peer in 0..self.state.peers.len() as u32 {
            self.close(now, peer, CloseReason::ClosedByServer);
        }
        self.egress.flush(&self.socket, &self.counters);
    }
}

/// RTCP among what has an RTP first byte: packet types 192–223 (RFC 5761 §4).
fn is_rtcp(datagram: &[u8]) -> bool {
    datagram.get(1).is_some_and(|second| (192..=223).contains(second))
}
