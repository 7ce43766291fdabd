//! The peers of a shard: offers, datagrams of control, time-outs, and their end.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use hewei_model::{Codec, MediaKind, ParticipantId, PeerId, Publisher};
use hewei_peer::{
    Credentials, Event as PeerEvent, Feedback, MediaIndex, Path, Peer, Refused, Secrets, Transport, Use, sdp,
    sdpfrag::Fragment, stun,
};
use hewei_sfu::{Fill, SlotId, SlotOffer, SourceKey, SubscriberKey};
use ring::rand::SecureRandom;

use super::{
    rooms::{Origin, Packet, on_the_wire},
    run::{Shard, State},
};
use crate::{CloseReason, Event, IceUpdate, Offer, OfferError, SlotFill, counters::Counter, mono_now};

/// Peers of one shard: more than one core can serve.
const PEERS_MAX: usize = 4_096;
/// Paths by which one peer may be reached at a time.
const PATHS_MAX: usize = 8;
/// How long after its last packet a peer holds the address where it is against another that claims it.
const ADDRESS_HELD: Duration = Duration::from_secs(5);
/// Packets sent again to one peer in a second: what a link with 20 % loss needs of 2 Mbit/s, five times.
const RETRANSMISSIONS_A_SECOND: u32 = 250;
/// A packet is not sent again within this time, however often it is asked for.
const RETRANSMIT_AGAIN: Duration = Duration::from_millis(20);
const SENDER_REPORT_EVERY: Duration = Duration::from_secs(1);
/// How often it is decided what a line that is too narrow has to do without.
const SHARE_OUT_EVERY: Duration = Duration::from_millis(200);
/// A peer that offers to tell what arrives begins with it in this time, if anything comes.
const TELLS_MAX: Duration = Duration::from_secs(10);
/// Packets of padding at one turn: 20 Mbit/s for 5 ms.
const PADDING_MAX: usize = 43;
/// The first report comes soon, for it ties sound to picture.
const FIRST_SENDER_REPORT: Duration = Duration::from_millis(150);

pub(super) struct PeerEntry {
    pub(super) peer: Peer,
    pub(super) id: PeerId,
    pub(super) participant: ParticipantId,
    /// Index of its room.
    pub(super) room: usize,
    pub(super) published: Vec<Published>,
    paths: Vec<Path>,
    /// The user-name fragments under which the directories know it: two between a restart and its first check.
    ufrags: Vec<String>,
    sender_reports_due: Option<Instant>,
    share_out_due: Instant,
    /// It is waited for so long for the first word of what arrives.
    tells_until: Instant,
    retransmissions: Retransmissions,
}

/// What a peer was sent again lately.
struct Retransmissions {
    left: u32,
    second: Instant,
    recent: [Option<(MediaIndex, u16, Instant)>; 64],
    next: usize,
}

impl Retransmissions {
    fn new(now: Instant) -> Self {
        Self { left: RETRANSMISSIONS_A_SECOND, second: now, recent: [None; 64], next: 0 }
    }

    /// Whether this packet of a slot may be sent again now.
    fn allow(&mut self, now: Instant, media: MediaIndex, seq: u16) -> bool {
        if now.saturating_duration_since(self.second) >= Duration::from_secs(1) {
            (self.left, self.second) = (RETRANSMISSIONS_A_SECOND, now);
        }
        let again = self.recent.iter().flatten().any(|(known, known_seq, at)| {
            (*known, *known_seq) == (media, seq) && now.saturating_duration_since(*at) < RETRANSMIT_AGAIN
        });
        if again || self.left == 0 {
            return false;
        }
        self.left -= 1;
        self.recent[self.next] = Some((media, seq, now));
        self.next = (self.next + 1) % self.recent.len();
        true
    }
}

/// A publication whose first packet has come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Published {
    pub(super) media: MediaIndex,
    pub(super) source: SourceKey,
}

impl Shard {
    pub(super) fn offer(
        &mut self,
        now: Instant,
        room: usize,
        offer: &Offer,
        parsed: &sdp::Offer,
    ) -> Result<String, OfferError> {
        let publish: Vec<Codec> = if offer.publish {
            let audio = [Codec::Opus, Codec::Pcma, Codec::Pcmu];
            self.config.video_codecs.iter().copied().chain(audio).collect()
        } else {
            Vec::new()
        };
        if offer.fill == SlotFill::Nothing {
            parsed
                .only_publishes(&publish)
                .map_err(|(line, why)| OfferError::Partial(format!("m-line {line} {why}")))?;
        }
        let index = match self.state.by_id.get(&offer.peer) {
            Some(index) => *index,
            None => self.new_peer(now, room, offer, parsed)?,
        };
        let state = &mut self.state;
        let entry = state.peers[index as usize].as_mut().ok_or(OfferError::Stopped)?;
        let room_entry = state.rooms[entry.room].as_mut().ok_or(OfferError::NoRoom)?;
        let subscriber = SubscriberKey(index);
        let (audio, video) = match offer.fill {
            SlotFill::Now => room_entry.room.available(subscriber),
            SlotFill::Follow | SlotFill::Only(_) => (usize::MAX, usize::MAX),
            SlotFill::Nothing => (0, 0),
        };
        let open_slots = |kind| match kind {
            MediaKind::Audio => audio,
            MediaKind::Video => video,
        };
        let one_stream = matches!(offer.fill, SlotFill::Only(_));
        let restart = entry.peer.is_restart(&parsed.ice).then(|| random_credentials(&self.random));
        let answer = entry.peer.answer(parsed, &publish, open_slots, one_stream, &self.candidates, restart);
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                if entry.peer.media().next().is_none() {
                    self.close(now, index, CloseReason::ClosedByServer);
                }
                return Err(OfferError::Invalid(error.to_string()));
            }
        };

        // Publications that became another stream end, and begin anew with their first packet.
        let mut events = Vec::new();
        let kept = |published: &Published| {
            entry.peer.media().any(|(at, _, _, used)| {
                at == published.media
                    && matches!(used, Use::Publication(publication) if !publication.is_fresh())
            })
        };
        let (stays, ended): (Vec<_>, Vec<_>) = entry.published.iter().copied().partition(kept);
        for published in ended {
            room_entry.remove_source(published.source, &mut events);
        }
        let slots = entry
            .peer
            .media()
            .filter_map(|(at, _, kind, used)| match (used, kind) {
                (Use::Slot(slot), Some(kind)) => Some(SlotOffer {
                    id: SlotId(at.0),
                    kind,
                    codecs: slot.codecs.iter().map(|codec| codec.codec).collect(),
                }),
                _ => None,
            })
            .collect();
        // Who was away may not have heard which layers somebody takes.
        stays.iter().for_each(|published| room_entry.room.retell_layers(published.source));
        entry.published = stays;
        let random = &self.random;
        room_entry.room.set_slots(subscriber, slots, |_| random_u32(random) as u16);
        room_entry.settle(&mut state.peers, &mut events);
        state.backlog.extend(events);
        self.sync_ufrags(index);
        Ok(answer)
    }

    /// What a WHIP or WHEP client sends by `PATCH`.
    pub(super) fn ice(&mut self, peer: PeerId, fragment: Fragment) -> Result<IceUpdate, OfferError> {
        let index = *self.state.by_id.get(&peer).ok_or(OfferError::NoPeer)?;
        let entry = self.state.peers[index as usize].as_mut().ok_or(OfferError::NoPeer)?;
        if !entry.peer.is_restart(&fragment.ice) {
            return Ok(IceUpdate::Candidates);
        }
        let local = random_credentials(&self.random);
        let text = entry.peer.restart_ice(local, fragment.ice, &self.candidates);
        self.sync_ufrags(index);
        Ok(IceUpdate::Restarted(text))
    }

    /// Has the directories know the fragments that the peer answers to, and no other.
    fn sync_ufrags(&mut self, index: u32) {
        let Some(entry) = self.state.peers[index as usize].as_mut() else { return };
        let (directory, by_ufrag) = (&self.directory, &mut self.state.by_ufrag);
        entry.ufrags.retain(|ufrag| {
            let stays = entry.peer.answers_to(ufrag);
            if !stays {
                directory.ufrags.remove(ufrag);
                by_ufrag.remove(ufrag);
            }
            stays
        });
        let local = entry.peer.local_ufrag();
        if !entry.ufrags.iter().any(|known| known == local) {
            directory.ufrags.insert(local.to_owned(), self.index);
            by_ufrag.insert(local.to_owned(), index);
            entry.ufrags.push(local.to_owned());
        }
    }

    fn new_peer(
        &mut self,
        now: Instant,
        room: usize,
        offer: &Offer,
        parsed: &sdp::Offer,
    ) -> Result<u32, OfferError> {
        let index = match self.state.peers.iter().position(Option::is_none) {
            Some(free) => free,
            None if self.state.peers.len() < PEERS_MAX => {
                self.state.peers.push(None);
                self.state.peers.len() - 1
            }
            None => return Err(OfferError::TooMany("connections on this server")),
        };
        let secrets = Secrets { ice: random_credentials(&self.random), first_ssrc: random_u32(&self.random) };
        let peer = Peer::new(now, self.identity.clone(), secrets, parsed);
        self.state.by_id.insert(offer.peer, index as u32);
        self.state.peers[index] = Some(PeerEntry {
            peer,
            id: offer.peer,
            participant: offer.participant,
            room,
            published: Vec::new(),
            paths: Vec::new(),
            ufrags: Vec::with_capacity(2),
            sender_reports_due: None,
            share_out_due: now,
            tells_until: now + TELLS_MAX,
            retransmissions: Retransmissions::new(now),
        });
        if let Some(room) = &mut self.state.rooms[room] {
            let fill = match offer.fill {
                SlotFill::Follow | SlotFill::Nothing => Fill::Follow,
                SlotFill::Only(publisher) => Fill::Only(publisher),
                SlotFill::Now => Fill::Now,
            };
            room.room.add_subscriber(SubscriberKey(index as u32), offer.participant, fill);
        }
        self.sync_ufrags(index as u32);
        Ok(index as u32)
    }

    /// A binding request for a peer of this shard. Whether it was a good one.
    pub(super) fn stun(
        &mut self,
        now: Instant,
        path: Path,
        index: u32,
        request: &stun::BindingRequest<'_>,
    ) -> bool {
        let Some(entry) = self.state.peers[index as usize].as_mut() else { return false };
        if !entry.peer.receive_stun(now, path, request) {
            self.counters.add(Counter::StunRefused, 1);
            return false;
        }
        self.counters.add(Counter::StunAnswered, 1);
        if entry.ufrags.len() > 1 {
            self.sync_ufrags(index);
        }
        let Some(entry) = self.state.peers[index as usize].as_mut() else { return true };
        if !entry.paths.contains(&path) {
            self.door.check_passed(path.address);
            if entry.paths.len() == PATHS_MAX {
                // Never the path in use: a check can be a copy, and copies from many ports would push it out.
                let in_use = entry.peer.remote();
                let oldest = entry.paths.iter().position(|path| Some(*path) != in_use).unwrap_or(0);
                let oldest = entry.paths.remove(oldest);
                self.forget_path(oldest, index);
            }
            if let Some(entry) = &mut self.state.peers[index as usize] {
                entry.paths.push(path);
            }
        }
        if path.transport == Transport::Udp {
            self.hold_address(now, path.address, index);
        }
        self.drain(now, index);
        true
    }

    /// Has datagrams from an address be those of a peer on which a check came from there.
    fn hold_address(&mut self, now: Instant, from: SocketAddr, index: u32) {
        // An address is taken over from a peer that is gone, or elsewhere, and not from one that is heard there.
        let holder = self.state.by_address.get(&from).filter(|holder| **holder != index);
        let heard =
            holder.and_then(|holder| self.state.peers[*holder as usize].as_ref()).is_some_and(|holder| {
                let opened =
                    holder.peer.last_opened().filter(|_| holder.peer.remote() == Some(Path::from(from)));
                opened.is_some_and(|at| now.saturating_duration_since(at) < ADDRESS_HELD)
            });
        if !heard {
            self.state.by_address.insert(from, index);
            self.directory.addresses.insert(from, self.index);
        }
    }

    pub(super) fn dtls(&mut self, now: Instant, index: u32, datagram: &[u8]) {
        let Some(entry) = self.state.peers[index as usize].as_mut() else { return };
        if !entry.peer.is_connected() && !self.door.admit_handshake(now, index) {
            return self.counters.add(Counter::DtlsDeferred, 1);
        }
        if !entry.peer.receive_dtls(now, datagram) {
            self.counters.add(Counter::DtlsIgnored, 1);
        }
        self.drain(now, index);
    }

    fn refused(&self, refused: Refused) {
        let counter = match refused {
            Refused::NotConnected | Refused::Unexpected => Counter::RtpRefused,
            Refused::Unauthentic => Counter::Unauthentic,
            Refused::Replayed => Counter::Replayed,
            Refused::TooMany => Counter::PeerLimited,
        };
        self.counters.add(counter, 1);
    }

    pub(super) fn rtp(&mut self, now: Instant, from: Path, index: u32, packet: &mut [u8]) {
        let State { peers, rooms, backlog, .. } = &mut self.state;
        let Some(entry) = peers[index as usize].as_mut() else { return };
        let Some(room) = rooms[entry.room].as_mut() else { return };
        let (published, counters) = (&mut entry.published, &self.counters);
        let publisher = Publisher::Participant(entry.participant);
        let mut events = Vec::new();
        let received = entry.peer.receive_rtp(now, from, packet, |rtp| {
            let known = published.iter().find(|published| published.media == rtp.media);
            let source = known.map(|known| known.source).unwrap_or_else(|| {
                let origin = Origin::Peer { peer: index, media: rtp.media };
                let source = room.add_source(publisher, rtp.codec, rtp.layers, origin, &mut events);
                published.push(Published { media: rtp.media, source });
                source
            });
            let packet = Packet {
                now,
                arrival: mono_now(),
                layer: rtp.layer,
                seq: rtp.seq,
                level: rtp.level,
                header: &rtp.header,
                bytes: rtp.packet,
            };
            room.ingest(counters, source, &packet);
        });
        if !events.is_empty() {
            room.settle(peers, &mut events);
            backlog.extend(events);
        }
        if let Err(refused) = received {
            self.refused(refused);
        }
    }

    pub(super) fn rtcp(&mut self, now: Instant, from: Path, index: u32, packet: &mut [u8]) {
        let State { peers, rooms, .. } = &mut self.state;
        let Some(entry) = peers[index as usize].as_mut() else { return };
        let Some(room) = rooms[entry.room].as_mut() else { return };
        let subscriber = SubscriberKey(index);
        // What is asked is done after the compound is read, for the peer is busy reading it. What a compound asks
        // beyond this many packets is for the next one.
        let mut missing = [(MediaIndex(0), 0u16); 512];
        let mut missing_count = 0;
        let mut keyframes = [None; 32];
        let mut keyframe_count = 0;
        let published = &entry.published;
        let told = entry.peer.receive_rtcp(now, from, packet, |feedback| match feedback {
            Feedback::SenderReport { media, layer, ntp, rtp_timestamp } => {
                if let Some(published) = published.iter().find(|published| published.media == media) {
                    room.sender_report(now, mono_now(), published.source, layer, ntp, rtp_timestamp);
                }
            }
            Feedback::Missing { media, seq } => {
                if missing_count < missing.len() {
                    missing[missing_count] = (media, seq);
                    missing_count += 1;
                }
            }
            Feedback::KeyframeWanted { media } => {
                if keyframe_count < keyframes.len() {
                    let slot = SlotId(media.0);
                    let layers = room.room.layers_of(subscriber, slot);
                    let layer = layers.map_or(0, |(playing, target)| playing.unwrap_or(target));
                    keyframes[keyframe_count] =
                        room.room.source_of(subscriber, slot).map(|source| (source, layer));
                    keyframe_count += 1;
                }
            }
        });
        if let Err(refused) = told {
            return self.refused(refused);
        }
        for (media, seq) in &missing[..missing_count] {
            let Some(to) = entry.peer.remote() else { continue };
            if !entry.retransmissions.allow(now, *media, *seq) {
                continue;
            }
            let Some(out) = room.room.sent(now, subscriber, SlotId(media.0), *seq) else { continue };
            let peer = &mut entry.peer;
            self.egress.media(&self.socket, &self.counters, to, |room| {
                peer.seal_rtx(now, *media, *seq, &on_the_wire(&out), room)
            });
            self.counters.add(Counter::Retransmissions, 1);
        }
        for (source, layer) in keyframes[..keyframe_count].iter().flatten() {
            room.request_keyframe(*source, *layer, peers);
        }
    }

    /// Does what is due for each peer, and returns when the next thing is.
    pub(super) fn tick_peers(&mut self, now: Instant) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        for index in 0..self.state.peers.len() {
            let Some(entry) = &mut self.state.peers[index] else { continue };
            if entry.peer.poll_timeout().is_some_and(|due| due <= now) {
                entry.peer.handle_timeout(now);
                let (to, peer) = (entry.peer.remote(), &mut entry.peer);
                if let Some(to) = to {
                    let counters = &self.counters;
                    self.egress.datagram(&self.socket, counters, to, |room| {
                        let (len, kind) = peer.write_rtcp(now, room)?;
                        counters.add(Counter::NacksSent, u64::from(kind.nacked));
                        counters.add(Counter::KeyframeRequestsSent, u64::from(kind.keyframe_requests));
                        Some(len)
                    });
                }
                self.drain(now, index as u32);
            }
            self.sender_reports(now, index);
            self.share_out(now, index);
            self.padding(now, index);
            if let Some(entry) = &self.state.peers[index] {
                let due = entry.peer.poll_timeout().into_iter().chain(entry.sender_reports_due).min();
                next = next.into_iter().chain(due).min();
            }
        }
        next
    }

    /// Decides what a peer is sent of what it may have, by what its line carries.
    fn share_out(&mut self, now: Instant, index: usize) {
        let State { peers, rooms, backlog, .. } = &mut self.state;
        let Some(entry) = peers[index].as_mut().filter(|entry| now >= entry.share_out_due) else { return };
        entry.share_out_due = now + SHARE_OUT_EVERY;
        let Some(room) = rooms[entry.room].as_mut() else { return };
        let mut events = Vec::new();
        for published in &entry.published {
            // What was recorded comes no more, and who watches needs no keyframe of what does.
            if let Some(layer) = room.tap_lacks(now, published.source) {
                entry.peer.request_keyframe(published.media, layer);
            }
            let Some(taken) = room.room.review_layers(now, published.source) else { continue };
            let Some(publication) = entry.peer.publication(published.media) else { continue };
            let taken = (0..publication.layers()).filter(|layer| taken[*layer]);
            events.push(Event::Layers {
                room: room.id,
                participant: entry.participant,
                peer: entry.id,
                taken: taken.filter_map(|layer| publication.rid(layer).map(str::to_owned)).collect(),
            });
        }
        let estimate = entry.peer.estimate().map(|estimate| estimate.bits_per_second);
        if estimate.is_some() || !entry.peer.is_to_tell() || now >= entry.tells_until {
            // Who tells nothing about what arrives is sent all of it.
            let bits_per_second = estimate.unwrap_or(u64::MAX);
            let wanted = room.room.share_out(now, SubscriberKey(index as u32), bits_per_second);
            // With room to spare, so that what is held back comes back.
            entry.peer.set_wanted(wanted + wanted / 4);
        }
        room.settle(peers, &mut events);
        backlog.extend(events);
    }

    /// Tries by padding whether more goes through.
    fn padding(&mut self, now: Instant, index: usize) {
        let Some(entry) = &mut self.state.peers[index] else { return };
        let Some(to) = entry.peer.remote() else { return };
        let peer = &mut entry.peer;
        for _ in 0..peer.padding_due(now).min(PADDING_MAX) {
            self.egress.media(&self.socket, &self.counters, to, |room| peer.seal_padding(now, room));
            self.counters.add(Counter::PaddingSent, 1);
        }
    }

    fn sender_reports(&mut self, now: Instant, index: usize) {
        let Some(entry) = &mut self.state.peers[index] else { return };
        if entry.sender_reports_due.is_none_or(|due| due > now) {
            return;
        }
        entry.sender_reports_due = Some(now + SENDER_REPORT_EVERY);
        let (Some(room), Some(to)) = (&self.state.rooms[entry.room], entry.peer.remote()) else { return };
        let peer = &mut entry.peer;
        let subscriber = SubscriberKey(index as u32);
        for playing in room.room.playing(subscriber) {
            let Some((ntp, timestamp)) = room.room.slot_clock(now, subscriber, playing.slot) else {
                continue;
            };
            self.egress.datagram(&self.socket, &self.counters, to, |room| {
                peer.write_sender_report(MediaIndex(playing.slot.0), ntp, timestamp, room)
            });
        }
    }

    /// Sends what the peer has to send and tells what happened to it.
    fn drain(&mut self, now: Instant, index: u32) {
        loop {
            let Some(entry) = &mut self.state.peers[index as usize] else { return };
            while let Some(transmit) = entry.peer.poll_transmit() {
                self.egress.datagram(&self.socket, &self.counters, transmit.to, |room| {
                    room.get_mut(..transmit.data.len())?.copy_from_slice(&transmit.data);
                    Some(transmit.data.len())
                });
            }
            let reason = match entry.peer.poll_event() {
                None => return,
                Some(PeerEvent::Connected(profile)) => {
                    self.counters.add(Counter::PeersConnected, 1);
                    self.door.handshake_over(index);
                    entry.sender_reports_due = Some(now + FIRST_SENDER_REPORT);
                    let (participant, peer) = (entry.participant, entry.id);
                    tracing::debug!(%peer, %participant, ?profile, "media connected");
                    if let Some(room) = &mut self.state.rooms[entry.room] {
                        self.state.backlog.push_back(Event::PeerConnected {
                            room: room.id,
                            participant,
                            peer,
                        });
                        room.room.set_ready(SubscriberKey(index));
                        room.request_keyframes(&mut self.state.peers);
                    }
                    continue;
                }
                Some(PeerEvent::ClosedByPeer) => CloseReason::ClosedByPeer,
                Some(PeerEvent::DtlsFailed) => CloseReason::DtlsFailed,
                Some(PeerEvent::ConsentExpired) => CloseReason::ConsentExpired,
            };
            self.close(now, index, reason);
        }
    }

    /// A connection of the peer has ended.
    pub(super) fn path_ended(&mut self, index: u32, path: Path) {
        if let Some(entry) = &mut self.state.peers[index as usize] {
            entry.paths.retain(|known| *known != path);
            entry.peer.lost(path);
        }
    }

    fn forget_path(&mut self, path: Path, index: u32) {
        let address = match path.transport {
            Transport::Udp => path.address,
            Transport::Tcp(id) => {
                if self.egress.streams.close(id).is_some() {
                    self.counters.add(Counter::StreamsEnded, 1);
                    self.path_ended(index, path);
                }
                return;
            }
        };
        if self.state.by_address.get(&address) == Some(&index) {
            self.state.by_address.remove(&address);
            self.directory.addresses.remove_if(&address, |_, shard| *shard == self.index);
        }
    }

    /// Takes a peer out, with its tracks.
    pub(super) fn close(&mut self, now: Instant, index: u32, reason: CloseReason) {
        let Some(mut entry) = self.state.peers[index as usize].take() else { return };
        self.door.handshake_over(index);
        entry.peer.close(now);
        while let Some(transmit) = entry.peer.poll_transmit() {
            self.egress.datagram(&self.socket, &self.counters, transmit.to, |room| {
                room.get_mut(..transmit.data.len())?.copy_from_slice(&transmit.data);
                Some(transmit.data.len())
            });
        }
        self.counters.add(Counter::PeersClosed, 1);
        for ufrag in &entry.ufrags {
            self.directory.ufrags.remove(ufrag);
            self.state.by_ufrag.remove(ufrag);
        }
        self.state.by_id.remove(&entry.id);
        for path in &entry.paths {
            self.forget_path(*path, index);
        }
        let mut events = Vec::new();
        if let Some(room) = &mut self.state.rooms[entry.room] {
            room.room.remove_subscriber(SubscriberKey(index));
            for published in &entry.published {
                room.remove_source(published.source, &mut events);
            }
            let (participant, peer) = (entry.participant, entry.id);
            events.push(Event::PeerClosed { room: room.id, participant, peer, reason });
            room.settle(&mut self.state.peers, &mut events);
        }
        self.state.backlog.extend(events);
    }
}

fn random_u32(random: &ring::rand::SystemRandom) -> u32 {
    let mut bytes = [0; 4];
    random.fill(&mut bytes).expect("the system has randomness");
    u32::from_ne_bytes(bytes)
}

/// Our side of a new ICE session.
fn random_credentials(random: &ring::rand::SystemRandom) -> Credentials {
    Credentials { ufrag: random_text(random, 8), pwd: random_text(random, 26) }
}

/// Letters and digits that ICE allows, five bits each.
fn random_text(random: &ring::rand::SystemRandom, len: usize) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut bytes = vec![0; len];
    random.fill(&mut bytes).expect("the system has randomness");
    bytes.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect()
}
