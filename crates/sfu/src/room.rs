//! The room: sources, subscribers, audiences, and the routes that follow from them.

mod sharing;

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use hewei_media::{audio_level::AudioLevel, picture_height, vp8::Numbers};
use hewei_model::{Audience, Codec, MediaKind, ParticipantId, Publisher, TrackId};

use crate::{
    layers::LAYERS_MAX,
    source::{ClockPoint, Incoming, PENDING_MAX, Pending, Route, Source, SourceKey},
    speaker::{Loudness, Speaker},
    subscriber::{Fill, Outgoing, Playing, Slot, SlotId, SlotOffer, Subscriber, SubscriberKey, VIEW_MAX},
};

/// While a slot waits for a keyframe it is asked for this often.
const KEYFRAME_AGAIN: Duration = Duration::from_secs(1);

/// What a change led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// What plays in a subscriber's slots has changed; read it by [`Room::playing`].
    SlotsChanged(SubscriberKey),
    /// A subscriber needs this many slots in all.
    NeedSlots {
        /// Who.
        subscriber: SubscriberKey,
        /// For sound.
        audio: u32,
        /// For picture.
        video: u32,
    },
}

/// Sends what came of one layer into one slot. Whether the slot waits for a keyframe of it.
fn send_layer(
    now: Instant,
    source: &Source,
    at: usize,
    route: &Route,
    slot: &mut Slot,
    send: &mut impl FnMut(Outgoing<'_>),
) -> bool {
    let (codec, layer) = (source.codec, &source.layers[at]);
    let mut waits = false;
    for pending in &layer.pending {
        let kept = layer.history.get(pending.seq).filter(|kept| kept.at >= slot.since[at]);
        let Some(kept) = kept else { continue };
        if slot.running() == Some(at) && slot.rewriter.leaps(pending.seq) {
            slot.rewriter.stop();
        }
        if slot.running() != Some(at) {
            // A slot in which nothing plays begins with a lower layer if that is what comes first.
            if at != slot.target && (slot.rewriter.is_running() || !source.is_below(at, slot.target)) {
                continue;
            }
            if !kept.keyframe {
                waits |= at == slot.target || source.stand_in(now, slot.target) == Some(at);
                continue;
            }
            slot.rewriter.start(now, pending.seq, kept.timestamp, codec.clock_rate_hz());
            slot.pictures.start(numbers(codec, kept.payload));
            slot.layer = at;
        }
        let Some((index, timestamp)) = slot.rewriter.rewrite(now, pending.seq, kept.timestamp) else {
            continue;
        };
        send(Outgoing {
            subscriber: route.subscriber,
            slot: slot.offer.id,
            codec,
            marker: kept.marker,
            index,
            timestamp,
            payload: kept.payload,
            numbers: slot.pictures.rewrite(numbers(codec, kept.payload)),
            pad: pending.pad,
            run_start: slot.rewriter.run_start(),
        });
    }
    waits
}

fn numbers(codec: Codec, payload: &[u8]) -> Numbers {
    if codec == Codec::Vp8 { Numbers::read(payload) } else { Numbers::default() }
}

/// One room. See the crate's contract.
#[derive(Default)]
pub struct Room {
    sources: BTreeMap<u32, Source>,
    subscribers: BTreeMap<u32, Subscriber>,
    /// Who may receive what. What is not here is for nobody.
    audiences: BTreeMap<(Publisher, MediaKind), Audience>,
    next_key: u32,
    /// Sources with packets to flush.
    touched: Vec<u32>,
    outputs: VecDeque<Output>,
    keyframes_wanted: VecDeque<(SourceKey, usize)>,
    /// The last time that was told.
    now: Option<Instant>,
}

impl Room {
    /// An empty room.
    pub fn new() -> Self {
        Self::default()
    }

    fn key(&mut self) -> u32 {
        self.next_key += 1;
        self.next_key
    }

    /// Adds a track that comes in so many layers, one at least and [`LAYERS_MAX`] at most. It goes to those its audience
    /// admits.
    pub fn add_source(
        &mut self,
        publisher: Publisher,
        track: TrackId,
        codec: Codec,
        layers: usize,
    ) -> SourceKey {
        let key = self.key();
        let mut source = Source::new(track, publisher, codec, layers, u64::from(key));
        source.recorded = self.audience(publisher, codec.kind()).is_some_and(|audience| audience.recorder);
        self.sources.insert(key, source);
        self.touched.reserve(self.sources.len());
        self.replan();
        SourceKey(key)
    }

    /// Takes a track away.
    pub fn remove_source(&mut self, source: SourceKey) {
        if self.sources.remove(&source.0).is_some() {
            self.touched.retain(|touched| *touched != source.0);
            self.replan();
        }
    }

    /// Adds a subscriber, with no slots yet.
    pub fn add_subscriber(&mut self, key: SubscriberKey, participant: ParticipantId, fill: Fill) {
        let subscriber = Subscriber {
            participant,
            fill,
            ready: false,
            frozen: false,
            slots: Vec::new(),
            view: Vec::new(),
            speaker: Speaker::default(),
            asked: (0, 0),
        };
        self.subscribers.insert(key.0, subscriber);
    }

    /// The subscriber is connected: from now on packets can be sent to it.
    pub fn set_ready(&mut self, key: SubscriberKey) {
        let Some(subscriber) = self.subscribers.get_mut(&key.0) else { return };
        subscriber.ready = true;
        let playing = subscriber.slots.iter().filter(|slot| slot.offer.kind == MediaKind::Video);
        let playing: Vec<_> = playing.filter_map(|slot| Some((slot.playing?, slot.target))).collect();
        for (source, target) in playing {
            self.want_keyframe(source, target);
        }
    }

    /// Has a slot begin in which this layer shall play: asks for a keyframe of it, and while it does not come, of what
    /// can stand in for it.
    fn want_keyframe(&mut self, key: SourceKey, target: usize) {
        let stand_in = self.now.and_then(|now| self.sources.get(&key.0)?.stand_in(now, target));
        self.keyframes_wanted.push_back((key, target));
        self.keyframes_wanted.extend(stand_in.map(|layer| (key, layer)));
    }

    /// Takes a subscriber away.
    pub fn remove_subscriber(&mut self, subscriber: SubscriberKey) {
        if self.subscribers.remove(&subscriber.0).is_some() {
            self.replan();
        }
    }

    /// Sets the slots of a subscriber. Those it had before go on playing; those that are not in `offers` are
    /// gone. `first_index` gives the first outgoing sequence number of a new slot.
    pub fn set_slots(
        &mut self,
        key: SubscriberKey,
        offers: Vec<SlotOffer>,
        mut first_index: impl FnMut(SlotId) -> u16,
    ) {
        let Some(subscriber) = self.subscribers.get_mut(&key.0) else { return };
        let mut known = std::mem::take(&mut subscriber.slots);
        for offer in offers {
            let slot = match known.iter().position(|slot| slot.offer.id == offer.id) {
                Some(at) => Slot { offer, ..known.swap_remove(at) },
                None => {
                    let first_index = first_index(offer.id);
                    Slot::new(offer, first_index)
                }
            };
            subscriber.slots.push(slot);
        }
        self.replan();
        if let Some(subscriber) = self.subscribers.get_mut(&key.0) {
            subscriber.frozen = subscriber.fill == Fill::Now;
        }
        // The caller wants to know the plan even when nothing plays.
        self.outputs.push_back(Output::SlotsChanged(key));
    }

    /// Says how high each publisher's picture is drawn, in pixels: what is sent need not be larger. Who is not in it is
    /// drawn large. In effect with the next [`Room::share_out`].
    pub fn set_view(&mut self, key: SubscriberKey, mut view: Vec<(Publisher, u16)>) {
        let Some(subscriber) = self.subscribers.get_mut(&key.0) else { return };
        view.truncate(VIEW_MAX);
        subscriber.view = view;
    }

    /// How many sources of each kind the subscriber would get now: sound, picture.
    pub fn available(&self, key: SubscriberKey) -> (usize, usize) {
        let Some(subscriber) = self.subscribers.get(&key.0) else { return (0, 0) };
        let count = |kind| {
            self.sources
                .values()
                .filter(|source| source.kind() == kind && self.may_receive(subscriber, source))
                .count()
        };
        (count(MediaKind::Audio), count(MediaKind::Video))
    }

    /// Sets who may receive one kind of one publisher. In effect on return: no packet that is routed later goes
    /// to anybody else, retransmissions included.
    pub fn set_audience(&mut self, publisher: Publisher, kind: MediaKind, audience: Audience) {
        let changes = self.audience(publisher, kind) != Some(&audience);
        for source in self.sources.values_mut() {
            if source.publisher == publisher && source.kind() == kind {
                source.recorded = audience.recorder;
                if changes {
                    // How loud somebody was before is not for those who hear them from now on.
                    source.loudness = Loudness::default();
                }
            }
        }
        // What is not there is for nobody, so that nothing is left of who has left.
        if audience == Audience::nobody() {
            self.audiences.remove(&(publisher, kind));
        } else {
            self.audiences.insert((publisher, kind), audience);
        }
        self.replan();
    }

    /// Who may receive one kind of one publisher; `None` when nobody may.
    pub fn audience(&self, publisher: Publisher, kind: MediaKind) -> Option<&Audience> {
        self.audiences.get(&(publisher, kind))
    }

    /// Whether the recorder may keep the packets of a source.
    pub fn is_recorded(&self, source: SourceKey) -> bool {
        self.sources.get(&source.0).is_some_and(|source| source.recorded)
    }

    /// What plays in the slots of a subscriber.
    pub fn playing(&self, key: SubscriberKey) -> impl Iterator<Item = Playing> {
        let slots = self.subscribers.get(&key.0).map_or(&[][..], |subscriber| &subscriber.slots);
        slots.iter().filter_map(|slot| {
            let source = self.sources.get(&slot.playing?.0)?;
            let (kind, publisher) = (source.kind(), source.publisher);
            Some(Playing { slot: slot.offer.id, kind, publisher, held: slot.holding.is_held() })
        })
    }

    /// The source that plays in a slot.
    pub fn source_of(&self, key: SubscriberKey, id: SlotId) -> Option<SourceKey> {
        self.slot(key, id)?.1.playing
    }

    /// Of a slot: the layer that plays in it, if one does, and the one that shall play.
    pub fn layers_of(&self, key: SubscriberKey, id: SlotId) -> Option<(Option<usize>, usize)> {
        let (_, slot) = self.slot(key, id)?;
        Some((slot.running(), slot.target))
    }

    /// The source with this track.
    pub fn source_by_track(&self, track: TrackId) -> Option<SourceKey> {
        self.sources.iter().find(|(_, source)| source.track == track).map(|(key, _)| SourceKey(*key))
    }

    fn slot(&self, key: SubscriberKey, id: SlotId) -> Option<(&Subscriber, &Slot)> {
        let subscriber = self.subscribers.get(&key.0)?;
        Some((subscriber, subscriber.slots.iter().find(|slot| slot.offer.id == id)?))
    }

    /// Takes a packet of a layer in. `false` when it is a duplicate or one too many before the next flush.
    pub fn ingest(&mut self, key: SourceKey, layer: usize, packet: Incoming<'_>) -> bool {
        let Some(source) = self.sources.get_mut(&key.0) else { return false };
        let (codec, simulcast) = (source.codec, source.is_simulcast());
        let untouched = source.layers.iter().all(|layer| layer.pending.is_empty());
        let keyframe = source.begins(packet.payload);
        let Some(layer) = source.layers.get_mut(layer) else { return false };
        if layer.pending.len() == PENDING_MAX
            || !layer.history.keep(packet.seq, packet.timestamp, packet.marker, keyframe, packet.payload)
        {
            return false;
        }
        if keyframe && simulcast {
            layer.height = picture_height(codec, packet.payload).unwrap_or(layer.height);
        }
        layer.pending.push(Pending { seq: packet.seq, pad: 0 });
        if untouched {
            self.touched.push(key.0);
        }
        true
    }

    /// The sound that was just taken in is so loud, as its sender says.
    pub fn heard(&mut self, now: Instant, key: SourceKey, level: AudioLevel) {
        if let Some(source) = self.sources.get_mut(&key.0) {
            source.loudness.heard(now, level);
        }
    }

    /// Who speaks, for this subscriber: the one that stood out for half a second of those that it hears, and the last one
    /// while nobody does. Decided with [`Room::share_out`]; who is heard no more is never it.
    pub fn speaker(&self, key: SubscriberKey) -> Option<Publisher> {
        let source = self.subscribers.get(&key.0)?.speaker.current()?;
        self.sources.get(&source.0).map(|source| source.publisher)
    }

    /// Gives every packet taken in since the last time to `send`, once for each slot it plays in, those of one
    /// slot one behind the other, sound before pictures.
    pub fn flush(&mut self, now: Instant, mut send: impl FnMut(Outgoing<'_>)) {
        self.now = Some(now);
        // From the end: sound does not wait for the pictures that came with it.
        let sources = &self.sources;
        self.touched.sort_unstable_by_key(|key| {
            sources.get(key).is_some_and(|source| source.kind() == MediaKind::Audio)
        });
        while let Some(key) = self.touched.pop() {
            let Some(source) = self.sources.get_mut(&key) else { continue };
            // The highest first: who shall have it does not begin with a lower one of the same batch.
            for at in (0..source.layers.len()).rev() {
                if source.layers[at].pending.is_empty() {
                    continue;
                }
                source.layers[at].pad_pending();
                source.layers[at].measure_pending(now);
                let mut waits = false;
                for route in &source.routes {
                    let slot = self
                        .subscribers
                        .get_mut(&route.subscriber.0)
                        .filter(|subscriber| subscriber.ready)
                        .and_then(|subscriber| subscriber.slots.get_mut(route.slot));
                    let plays =
                        |slot: &&mut Slot| slot.playing == Some(SourceKey(key)) && !slot.holding.is_held();
                    let Some(slot) = slot.filter(plays) else { continue };
                    waits |= send_layer(now, source, at, route, slot, &mut send);
                }
                let layer = &mut source.layers[at];
                layer.pending.clear();
                // A request is one datagram that may be lost, and a slot without a picture has nobody else to ask.
                let asked_lately = layer.keyframe_wanted_at.is_some_and(|at| now < at + KEYFRAME_AGAIN);
                if waits && !asked_lately {
                    layer.keyframe_wanted_at = Some(now);
                    self.keyframes_wanted.push_back((SourceKey(key), at));
                }
            }
        }
    }

    /// The packet that went into a slot with sequence number `seq`, for retransmission. `None` when it is gone,
    /// its source or its layer no longer plays there, or it came before its source played there: a run that begins with
    /// a late packet has such numbers in it.
    pub fn sent(&mut self, now: Instant, key: SubscriberKey, id: SlotId, seq: u16) -> Option<Outgoing<'_>> {
        let subscriber = self.subscribers.get_mut(&key.0)?;
        let slot = subscriber.slots.iter_mut().find(|slot| slot.offer.id == id)?;
        let source = self.sources.get(&slot.playing?.0)?;
        let incoming = slot.rewriter.incoming(seq)?;
        let layer = source.layers.get(slot.layer)?;
        let kept = layer.history.get(incoming).filter(|kept| kept.at >= slot.since[slot.layer])?;
        let (index, timestamp) = slot.rewriter.rewrite(now, incoming, kept.timestamp)?;
        Some(Outgoing {
            subscriber: key,
            slot: id,
            codec: source.codec,
            marker: kept.marker,
            index,
            timestamp,
            payload: kept.payload,
            numbers: slot.pictures.rewrite(numbers(source.codec, kept.payload)),
            pad: 0,
            run_start: slot.rewriter.run_start(),
        })
    }

    /// Which layers of a simulcast picture are to be sent, when that is no longer what its publisher was told: a layer
    /// that nobody takes need not be, and one that somebody takes must.
    pub fn review_layers(&mut self, now: Instant, key: SourceKey) -> Option<[bool; LAYERS_MAX]> {
        let source = self.sources.get_mut(&key.0).filter(|source| source.is_simulcast())?;
        let mut taken = [false; LAYERS_MAX];
        for route in &source.routes {
            let slot = self.subscribers.get(&route.subscriber.0).and_then(|to| to.slots.get(route.slot));
            if let Some(slot) = slot.filter(|slot| !slot.holding.is_held()) {
                taken[slot.target] = true;
                slot.running().into_iter().for_each(|layer| taken[layer] = true);
            }
        }
        source.review(now, taken)
    }

    /// Has the next [`Room::review_layers`] of a source tell its publisher once more: what it was told may not have come.
    pub fn retell_layers(&mut self, key: SourceKey) {
        if let Some(source) = self.sources.get_mut(&key.0) {
            source.retell = true;
        }
    }

    /// Whether a packet that is about to be taken in is for the recorder, which takes one layer of each source.
    /// [`Room::is_recorded`] is asked apart from this.
    pub fn records(&mut self, now: Instant, key: SourceKey, layer: usize, payload: &[u8]) -> bool {
        self.sources.get_mut(&key.0).is_some_and(|source| source.records(now, layer, payload))
    }

    /// The layer of a source that the recorder takes, and the one it should take.
    pub fn recorder_layers(&self, now: Instant, key: SourceKey) -> (usize, usize) {
        let source = self.sources.get(&key.0);
        source.map_or((0, 0), |source| (source.recorder_takes(), source.recorder_wants(now)))
    }

    /// The layer of a source of which the recorder lacks a keyframe, to go on with it: what it took before comes no more,
    /// or a larger one does.
    pub fn recorder_lacks(&self, now: Instant, key: SourceKey) -> Option<usize> {
        self.sources.get(&key.0)?.recorder_lacks(now)
    }

    /// Learns the publisher's clocks from a sender report.
    pub fn sender_report(
        &mut self,
        now: Instant,
        key: SourceKey,
        layer: usize,
        ntp: u64,
        rtp_timestamp: u32,
    ) {
        let source = self.sources.get_mut(&key.0);
        if let Some(layer) = source.and_then(|source| source.layers.get_mut(layer)) {
            layer.sender_report = Some(ClockPoint { ntp, rtp_timestamp, at: now });
        }
    }

    /// What a sender report for a slot says at `now`: NTP time and RTP timestamp, on the publisher's own clock, since
    /// that ties its sound to its picture. `None` before the publisher has told it.
    pub fn slot_clock(&self, now: Instant, key: SubscriberKey, id: SlotId) -> Option<(u64, u32)> {
        let (_, slot) = self.slot(key, id)?;
        let source = self.sources.get(&slot.playing?.0)?;
        let point = source.layers.get(slot.layer)?.sender_report?;
        let passed = now.saturating_duration_since(point.at).as_secs_f64();
        let ntp = point.ntp.wrapping_add((passed * 4_294_967_296.0) as u64);
        let ticks = (passed * f64::from(source.codec.clock_rate_hz())) as u32;
        Some((ntp, slot.rewriter.timestamp(point.rtp_timestamp.wrapping_add(ticks))?))
    }

    /// What changes and packets led to.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The next source, and the layer of it, of which somebody waits for a keyframe.
    pub fn poll_keyframe_wanted(&mut self) -> Option<(SourceKey, usize)> {
        self.keyframes_wanted.pop_front()
    }

    fn may_receive(&self, subscriber: &Subscriber, source: &Source) -> bool {
        let admitted = self
            .audience(source.publisher, source.kind())
            .is_some_and(|audience| audience.admits(subscriber.participant));
        let own = source.publisher == Publisher::Participant(subscriber.participant);
        let wanted = match subscriber.fill {
            Fill::Follow | Fill::Now => true,
            Fill::Only(publisher) => source.publisher == publisher,
        };
        admitted && !own && wanted
    }

    /// Derives the routes anew from audiences, sources and slots.
    fn replan(&mut self) {
        let mut in_order: Vec<u32> = self.sources.keys().copied().collect();
        in_order.sort_by_key(|key| self.sources[key].order);

        let mut subscribers = std::mem::take(&mut self.subscribers);
        for (key, subscriber) in &mut subscribers {
            self.replan_subscriber(SubscriberKey(*key), subscriber, &in_order);
        }
        self.subscribers = subscribers;

        for source in self.sources.values_mut() {
            source.routes.clear();
        }
        for (key, subscriber) in &self.subscribers {
            for (slot, playing) in subscriber.slots.iter().enumerate() {
                if let Some(source) = playing.playing.and_then(|key| self.sources.get_mut(&key.0)) {
                    source.routes.push(Route { subscriber: SubscriberKey(*key), slot });
                }
            }
        }
    }

    fn replan_subscriber(&mut self, key: SubscriberKey, subscriber: &mut Subscriber, in_order: &[u32]) {
        let wanted: Vec<u32> = in_order
            .iter()
            .copied()
            .filter(|source| self.may_receive(subscriber, &self.sources[source]))
            .collect();
        let mut changed = false;
        for slot in &mut subscriber.slots {
            let Some(playing) = slot.playing else { continue };
            let stays =
                wanted.contains(&playing.0) && slot.offer.codecs.contains(&self.sources[&playing.0].codec);
            if !stays {
                slot.clear();
                changed = true;
            }
        }
        let (mut audio, mut video) = (0, 0);
        for source_key in wanted {
            let source = &self.sources[&source_key];
            let placed = subscriber.slots.iter().any(|slot| slot.playing == Some(SourceKey(source_key)));
            if !placed && subscriber.frozen {
                continue;
            }
            match source.kind() {
                MediaKind::Audio => audio += 1,
                MediaKind::Video => video += 1,
            }
            let tile = subscriber.view_of(source.publisher);
            let free = subscriber.slots.iter_mut().find(|slot| {
                slot.playing.is_none()
                    && slot.offer.kind == source.kind()
                    && slot.offer.codecs.contains(&source.codec)
            });
            if let Some(slot) = free.filter(|_| !placed) {
                slot.playing = Some(SourceKey(source_key));
                for (since, layer) in slot.since.iter_mut().zip(&source.layers) {
                    *since = layer.history.written();
                }
                slot.target = source.first_layer(self.now, tile);
                changed = true;
                if source.kind() == MediaKind::Video {
                    let target = slot.target;
                    self.want_keyframe(SourceKey(source_key), target);
                }
            }
        }
        let slots = &subscriber.slots;
        subscriber.speaker.retain(|source| slots.iter().any(|slot| slot.playing == Some(source)));
        if changed {
            self.outputs.push_back(Output::SlotsChanged(key));
        }
        let slots = |kind| subscriber.slots.iter().filter(|slot| slot.offer.kind == kind).count() as u32;
        let short = audio > slots(MediaKind::Audio) || video > slots(MediaKind::Video);
        if !short {
            subscriber.asked = (0, 0);
        } else if subscriber.fill == Fill::Follow && subscriber.asked != (audio, video) {
            subscriber.asked = (audio, video);
            self.outputs.push_back(Output::NeedSlots { subscriber: key, audio, video });
        }
    }
}
