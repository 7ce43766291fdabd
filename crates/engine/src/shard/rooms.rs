//! The rooms of a shard: their sources, their tap, and the events that their changes cause.

#[cfg(test)]
mod tests;

use std::{collections::HashMap, net::UdpSocket, time::Instant};

use hewei_media::{rtp, seq::SeqExtender};
use hewei_model::{Audience, Codec, MediaKind, MonoNs, Publisher, RoomId, TrackId};
use hewei_peer::MediaIndex;
use hewei_sfu::{Incoming, Output, Playing, Room, SlotId, SourceKey};

use super::peers::PeerEntry;
use crate::{
    Event, Slot,
    counters::{Counter, Counters},
    egress::Egress,
    mono_now, source, tap,
};

/// Where a source's packets come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Peer { peer: u32, media: MediaIndex },
    Feed,
}

/// What a room sends, as a peer takes it.
pub(super) fn on_the_wire<'a>(out: &hewei_sfu::Outgoing<'a>) -> hewei_peer::Outgoing<'a> {
    hewei_peer::Outgoing {
        codec: out.codec,
        marker: out.marker,
        timestamp: out.timestamp,
        payload: out.payload,
        numbers: out.numbers,
        pad: out.pad,
        run_start: out.run_start,
    }
}

/// An opened packet on its way into a room.
#[derive(Clone, Copy)]
pub(super) struct Packet<'a> {
    pub(super) now: Instant,
    pub(super) arrival: MonoNs,
    /// Of a simulcast picture.
    pub(super) layer: usize,
    /// Extended sequence number.
    pub(super) seq: u64,
    pub(super) header: &'a rtp::Header,
    pub(super) bytes: &'a [u8],
}

pub(super) struct SourceEntry {
    pub(super) track: TrackId,
    pub(super) publisher: Publisher,
    pub(super) codec: Codec,
    pub(super) origin: Origin,
    /// The tap was told of it, and gets its packets.
    tapped: bool,
}

impl SourceEntry {
    fn announce(&mut self, tap: &mut tap::Writer) {
        let (track, publisher, codec) = (self.track, self.publisher, self.codec);
        self.tapped = tap.write(tap::Record::TrackStarted { track, publisher, codec, at: mono_now() });
    }
}

/// A publisher that writes into a ring: a camera.
struct Feed {
    publisher: Publisher,
    reader: Box<source::Reader>,
    tracks: Vec<FeedTrack>,
}

struct FeedTrack {
    kind: MediaKind,
    source: SourceKey,
    seq: SeqExtender,
}

pub(super) struct RoomEntry {
    pub(super) id: RoomId,
    pub(super) room: Room,
    pub(super) sources: HashMap<SourceKey, SourceEntry>,
    tap: Option<Box<tap::Writer>>,
    feeds: Vec<Feed>,
    /// Packets were taken in since the last flush.
    dirty: bool,
}

impl RoomEntry {
    pub(super) fn new(id: RoomId) -> Self {
        Self { id, room: Room::new(), sources: HashMap::new(), tap: None, feeds: Vec::new(), dirty: false }
    }

    pub(super) fn add_source(
        &mut self,
        publisher: Publisher,
        codec: Codec,
        layers: usize,
        origin: Origin,
        events: &mut Vec<Event>,
    ) -> SourceKey {
        let track = TrackId::generate();
        let source = self.room.add_source(publisher, track, codec, layers);
        self.sources.insert(source, SourceEntry { track, publisher, codec, origin, tapped: false });
        events.push(Event::TrackStarted { room: self.id, track, publisher, codec });
        self.sync_tap();
        source
    }

    pub(super) fn remove_source(&mut self, source: SourceKey, events: &mut Vec<Event>) {
        let Some(entry) = self.sources.remove(&source) else { return };
        self.room.remove_source(source);
        if entry.tapped
            && let Some(tap) = &mut self.tap
        {
            tap.write(tap::Record::TrackEnded { track: entry.track, at: mono_now() });
        }
        events.push(Event::TrackEnded {
            room: self.id,
            track: entry.track,
            publisher: entry.publisher,
            kind: entry.codec.kind(),
        });
    }

    /// Who may receive one kind of one publisher from now on, the tap included.
    pub(super) fn set_audience(&mut self, publisher: Publisher, kind: MediaKind, audience: Audience) {
        self.room.set_audience(publisher, kind, audience);
        self.sync_tap();
    }

    pub(super) fn open_tap(&mut self, tap: Box<tap::Writer>) {
        self.tap = Some(tap);
        for source in self.sources.values_mut() {
            source.tapped = false;
        }
        self.sync_tap();
    }

    /// Tells the tap which tracks it gets from now on, and which no more.
    fn sync_tap(&mut self) {
        let Some(tap) = &mut self.tap else { return };
        if tap.is_abandoned() {
            self.tap = None;
            self.sources.values_mut().for_each(|source| source.tapped = false);
            return;
        }
        for (key, source) in &mut self.sources {
            let wanted = self.room.is_recorded(*key);
            if wanted && !source.tapped {
                source.announce(tap);
            } else if !wanted && source.tapped {
                tap.write(tap::Record::TrackEnded { track: source.track, at: mono_now() });
                source.tapped = false;
            }
        }
    }

    /// Takes a packet of a source in: into the tap, and into the room until the next flush.
    pub(super) fn ingest(&mut self, counters: &Counters, source: SourceKey, packet: &Packet<'_>) {
        let Packet { now, arrival, layer, seq, header, bytes } = *packet;
        let Ok(payload) = header.payload(bytes) else { return };
        if let Some(tap) = &mut self.tap
            && let Some(entry) = self.sources.get_mut(&source)
        {
            // A full ring may have kept the tap from hearing of the track.
            if !entry.tapped && self.room.is_recorded(source) {
                entry.announce(tap);
            }
            if entry.tapped
                && self.room.records(now, source, layer, payload)
                && !tap.write(tap::Record::Packet { track: entry.track, arrival, rtp: bytes })
            {
                counters.add(Counter::TapLost, 1);
            }
        }
        counters.add(Counter::RtpReceived, 1);
        self.dirty = true;
        let incoming = Incoming { seq, timestamp: header.timestamp, marker: header.marker, payload };
        if !self.room.ingest(source, layer, incoming) {
            counters.add(Counter::RtpDropped, 1);
        }
    }

    pub(super) fn sender_report(
        &mut self,
        now: Instant,
        arrival: MonoNs,
        source: SourceKey,
        layer: usize,
        ntp: u64,
        rtp_timestamp: u32,
    ) {
        self.room.sender_report(now, source, layer, ntp, rtp_timestamp);
        if let Some(tap) = &mut self.tap
            && self.room.recorder_layers(now, source).0 == layer
            && let Some(entry) = self.sources.get(&source).filter(|entry| entry.tapped)
        {
            let track = entry.track;
            tap.write(tap::Record::SenderReport { track, arrival, ntp, rtp_timestamp });
        }
    }

    /// Opens a feed; an earlier one of the same publisher ends.
    pub(super) fn open_feed(
        &mut self,
        publisher: Publisher,
        reader: Box<source::Reader>,
        events: &mut Vec<Event>,
    ) {
        self.end_feeds(events, |feed| feed.publisher == publisher);
        self.feeds.push(Feed { publisher, reader, tracks: Vec::new() });
    }

    /// Takes in what the feeds have written, each up to `count` records, and ends those whose writer is gone.
    /// Returns whether something is left.
    pub(super) fn drain_feeds(
        &mut self,
        now: Instant,
        counters: &Counters,
        count: usize,
        events: &mut Vec<Event>,
    ) -> bool {
        let (mut left, mut over) = (false, false);
        let mut feeds = std::mem::take(&mut self.feeds);
        for feed in &mut feeds {
            let gone = feed.reader.is_abandoned();
            let mut taken = 0;
            while taken < count {
                let (publisher, tracks) = (feed.publisher, &mut feed.tracks);
                if feed
                    .reader
                    .read(|record| self.take(now, counters, publisher, tracks, record, events))
                    .is_none()
                {
                    break;
                }
                taken += 1;
            }
            left |= taken == count;
            over |= gone && taken < count;
        }
        self.feeds = feeds;
        if over {
            self.end_feeds(events, |feed| feed.reader.is_abandoned());
        }
        left
    }

    fn take(
        &mut self,
        now: Instant,
        counters: &Counters,
        publisher: Publisher,
        tracks: &mut Vec<FeedTrack>,
        record: source::Record<'_>,
        events: &mut Vec<Event>,
    ) {
        match record {
            source::Record::Track(codec) => {
                tracks.retain(|track| {
                    let stays = track.kind != codec.kind();
                    if !stays {
                        self.remove_source(track.source, events);
                    }
                    stays
                });
                let source = self.add_source(publisher, codec, 1, Origin::Feed, events);
                tracks.push(FeedTrack { kind: codec.kind(), source, seq: SeqExtender::default() });
            }
            source::Record::Packet { kind, arrival, rtp } => {
                let track = tracks.iter_mut().find(|track| track.kind == kind);
                if let Some(track) = track
                    && let Ok(header) = rtp::Header::parse(rtp)
                {
                    let seq = track.seq.extend(header.seq);
                    self.ingest(
                        counters,
                        track.source,
                        &Packet { now, arrival, layer: 0, seq, header: &header, bytes: rtp },
                    );
                }
            }
            source::Record::Lost(records) => counters.add(Counter::SourceLost, records),
            source::Record::SenderReport { kind, ntp, rtp_timestamp } => {
                if let Some(track) = tracks.iter().find(|track| track.kind == kind) {
                    self.sender_report(now, mono_now(), track.source, 0, ntp, rtp_timestamp);
                }
            }
        }
    }

    fn end_feeds(&mut self, events: &mut Vec<Event>, over: impl Fn(&Feed) -> bool) {
        let (ended, kept) = std::mem::take(&mut self.feeds).into_iter().partition(over);
        self.feeds = kept;
        for feed in ended {
            for track in feed.tracks {
                self.remove_source(track.source, events);
            }
        }
    }

    /// Sends on what was taken in.
    pub(super) fn flush(
        &mut self,
        now: Instant,
        peers: &mut [Option<PeerEntry>],
        egress: &mut Egress,
        socket: &UdpSocket,
        counters: &Counters,
    ) {
        if !std::mem::take(&mut self.dirty) {
            return;
        }
        self.room.flush(now, |out| {
            let peer = peers.get_mut(out.subscriber.0 as usize).and_then(Option::as_mut);
            if let Some(entry) = peer
                && let Some(to) = entry.peer.remote()
            {
                egress.media(socket, counters, to, |room| {
                    entry.peer.seal_rtp(now, MediaIndex(out.slot.0), out.index, &on_the_wire(&out), room)
                });
            }
        });
    }

    /// Turns what the room has to say into events and keyframe requests.
    pub(super) fn settle(&mut self, peers: &mut [Option<PeerEntry>], events: &mut Vec<Event>) {
        while let Some(output) = self.room.poll_output() {
            match output {
                Output::SlotsChanged(subscriber) => {
                    let Some(entry) = peers.get(subscriber.0 as usize).and_then(Option::as_ref) else {
                        continue;
                    };
                    let mid_of = |slot: SlotId| {
                        entry.peer.media().find(|(at, ..)| at.0 == slot.0).map(|(_, mid, ..)| mid.to_owned())
                    };
                    let slots = self
                        .room
                        .playing(subscriber)
                        .filter_map(|playing| {
                            let Playing { slot, kind, publisher, held } = playing;
                            Some(Slot { mid: mid_of(slot)?, kind, publisher, held })
                        })
                        .collect();
                    let (participant, peer) = (entry.participant, entry.id);
                    events.push(Event::Slots { room: self.id, participant, peer, slots });
                }
                Output::NeedSlots { subscriber, audio, video } => {
                    let Some(entry) = peers.get(subscriber.0 as usize).and_then(Option::as_ref) else {
                        continue;
                    };
                    let (participant, peer) = (entry.participant, entry.id);
                    events.push(Event::NeedSlots { room: self.id, participant, peer, audio, video });
                }
            }
        }
        self.request_keyframes(peers);
    }

    /// Does nothing but ask for the keyframes that are wanted since the last time; what else the room has to say
    /// waits for [`RoomEntry::settle`].
    pub(super) fn request_keyframes(&mut self, peers: &mut [Option<PeerEntry>]) {
        while let Some((source, layer)) = self.room.poll_keyframe_wanted() {
            self.request_keyframe(source, layer, peers);
        }
    }

    /// Asks for a keyframe for the recorder: of the layer that it takes, and of the one that it should take.
    pub(super) fn request_recorder_keyframe(
        &self,
        now: Instant,
        source: SourceKey,
        peers: &mut [Option<PeerEntry>],
    ) {
        let (taken, wanted) = self.room.recorder_layers(now, source);
        self.request_keyframe(source, wanted, peers);
        if taken != wanted {
            self.request_keyframe(source, taken, peers);
        }
    }

    /// The layer of a source of which the tap lacks a keyframe.
    pub(super) fn tap_lacks(&self, now: Instant, source: SourceKey) -> Option<usize> {
        self.sources.get(&source).filter(|entry| entry.tapped)?;
        self.room.recorder_lacks(now, source)
    }

    /// Asks the publisher for a keyframe of a layer. A camera cannot be asked.
    pub(super) fn request_keyframe(&self, source: SourceKey, layer: usize, peers: &mut [Option<PeerEntry>]) {
        if let Some(Origin::Peer { peer, media }) = self.sources.get(&source).map(|entry| entry.origin)
            && let Some(entry) = peers.get_mut(peer as usize).and_then(Option::as_mut)
        {
            entry.peer.request_keyframe(media, layer);
        }
    }
}
