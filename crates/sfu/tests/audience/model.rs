//! What a room should be: who may hear whom, by the words of `model::Audience` and `sfu::Fill` and nothing else, and
//! what came of each slot so far. It shares no code with the room.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use hewei_model::{Audience, CameraId, Codec, MediaKind, ParticipantId, Publisher};
use hewei_sfu::{Fill, Outgoing, SlotId, SourceKey};

/// Of the lowest layer's pictures; each layer's is twice as high.
pub const HEIGHT: u16 = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    Person(u32),
    Camera(u32),
}

impl Who {
    pub fn publisher(self) -> Publisher {
        match self {
            Who::Person(person) => Publisher::Participant(participant(person)),
            Who::Camera(camera) => Publisher::Camera(CameraId::from_u128(u128::from(camera) + 1)),
        }
    }
}

pub fn participant(person: u32) -> ParticipantId {
    ParticipantId::from_u128(u128::from(person) + 1)
}

/// An audience, by the test's own names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Set {
    pub people: BTreeSet<u32>,
    pub recorder: bool,
}

impl Set {
    pub fn audience(&self) -> Audience {
        Audience {
            participants: self.people.iter().copied().map(participant).collect(),
            recorder: self.recorder,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    All,
    Of(Who),
    /// What there is when the slots are first set.
    Now,
}

impl Wish {
    pub fn fill(self) -> Fill {
        match self {
            Wish::All => Fill::Follow,
            Wish::Of(who) => Fill::Only(who.publisher()),
            Wish::Now => Fill::Now,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    pub layer: usize,
    pub seq: u64,
    pub keyframe: bool,
}

/// A track, by a number that none before it had.
pub struct Source {
    pub key: SourceKey,
    pub who: Who,
    pub codec: Codec,
    /// One, or those of a simulcast picture.
    pub layers: Vec<Layer>,
    /// The layer that the recorder takes.
    pub recorder: Option<usize>,
}

pub struct Layer {
    /// The highest number so far.
    pub seq: u64,
    /// Numbers that were passed over and may still come.
    pub holes: Vec<u64>,
    /// Taken in and not flushed.
    pub pending: Vec<Packet>,
    /// When each of the last packets was taken in, counted in packets of the room.
    pub taken: HashMap<u64, (u64, Packet)>,
}

/// What went out under one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    pub source: u32,
    pub packet: Packet,
    pub timestamp: u32,
}

/// One layer of a source playing in a slot without interruption, from a keyframe on.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    pub layer: usize,
    pub first_seq: u64,
    pub highest_seq: u64,
}

pub struct Slot {
    pub kind: MediaKind,
    pub codecs: Vec<Codec>,
    pub playing: Option<u32>,
    /// By the room: the layer that shall play, and that nothing is sent, since the line is too narrow.
    pub target: usize,
    pub held: bool,
    /// Packets that the room had taken in when it began to play.
    pub since: u64,
    pub run: Option<Run>,
    /// Of the run that began last: its first number as it came and as it went out.
    pub base: (u64, u64),
    pub sent: HashMap<u64, Sent>,
    pub highest: Option<u64>,
}

pub struct Sink {
    pub person: u32,
    pub wish: Wish,
    pub ready: bool,
    /// Of [`Wish::Now`], once its slots were set.
    pub fixed: Option<BTreeSet<u32>>,
    pub slots: BTreeMap<u16, Slot>,
}

/// A packet that must come, into this slot.
#[derive(Debug, Clone, Copy)]
pub struct Due {
    pub sink: u32,
    pub slot: u16,
    pub source: u32,
    pub packet: Packet,
    /// It begins a run.
    pub begins: bool,
}

#[derive(Default)]
pub struct Model {
    pub sets: BTreeMap<(Who, MediaKind), Set>,
    pub sources: BTreeMap<u32, Source>,
    pub by_key: HashMap<SourceKey, u32>,
    pub sinks: BTreeMap<u32, Sink>,
    pub last_source: u32,
    /// Packets taken in.
    pub taken: u64,
    /// How often a slot went from one layer to another.
    pub layer_switches: u64,
}

impl Model {
    /// The one question: is this person in the audience of this source.
    pub fn may_hear(&self, person: u32, source: u32) -> bool {
        let Some(source) = self.sources.get(&source) else { return false };
        source.who != Who::Person(person)
            && self
                .sets
                .get(&(source.who, source.codec.kind()))
                .is_some_and(|set| set.people.contains(&person))
    }

    /// May hear it, and asked for it.
    pub fn wants(&self, sink: &Sink, source: u32) -> bool {
        self.may_hear(sink.person, source)
            && match sink.wish {
                Wish::All => true,
                Wish::Of(who) => self.sources[&source].who == who,
                Wish::Now => sink.fixed.as_ref().is_none_or(|fixed| fixed.contains(&source)),
            }
    }

    pub fn wanted(&self, sink: &Sink, kind: MediaKind) -> usize {
        let of_kind = self.sources.iter().filter(|(_, source)| source.codec.kind() == kind);
        of_kind.filter(|(source, _)| self.wants(sink, **source)).count()
    }

    pub fn is_recorded(&self, source: &Source) -> bool {
        self.sets.get(&(source.who, source.codec.kind())).is_some_and(|set| set.recorder)
    }

    /// What the next flush must send, of each slot in this order and not a packet more.
    pub fn due(&mut self) -> Vec<Due> {
        let mut due = Vec::new();
        for (sink_key, sink) in self.sinks.iter_mut().filter(|(_, sink)| sink.ready) {
            for (slot_key, slot) in &mut sink.slots {
                let Some(source) = slot.playing else { continue };
                // Of one batch the highest layer comes first.
                let layers = &self.sources[&source].layers;
                let pending = layers.iter().rev().flat_map(|layer| &layer.pending);
                for packet in pending.filter(|_| !slot.held) {
                    let layer = packet.layer;
                    // Said before: not for who came later.
                    if layers[layer].taken[&packet.seq].0 < slot.since {
                        continue;
                    }
                    // Nobody's receiver follows a leap within a stream; it goes on at a keyframe.
                    let of_it = |run: Run| run.layer == layer;
                    if slot.run.is_some_and(|run| of_it(run) && packet.seq > run.highest_seq + 1_001) {
                        slot.run = None;
                    }
                    let begins = !slot.run.is_some_and(of_it);
                    // Another layer plays only when it shall, or is lower and nothing plays yet.
                    if begins && layer != slot.target && (slot.run.is_some() || layer > slot.target) {
                        continue;
                    }
                    if begins && !packet.keyframe {
                        continue;
                    }
                    if begins {
                        self.layer_switches += u64::from(slot.run.is_some());
                        slot.run = Some(Run { layer, first_seq: packet.seq, highest_seq: packet.seq });
                    }
                    let Some(run) = &mut slot.run else { continue };
                    if packet.seq < run.first_seq {
                        continue;
                    }
                    run.highest_seq = run.highest_seq.max(packet.seq);
                    due.push(Due { sink: *sink_key, slot: *slot_key, source, packet: *packet, begins });
                }
            }
        }
        let layers = self.sources.values_mut().flat_map(|source| &mut source.layers);
        layers.for_each(|layer| layer.pending.clear());
        due
    }

    /// A packet that goes out must go to somebody who may have it, now.
    pub fn admit(&self, out: &Outgoing<'_>, payload: &[u8]) -> Sent {
        let (source, packet) = read_payload(payload);
        let (sink_key, slot_key) = (out.subscriber.0, out.slot.0);
        let sink = self.sinks.get(&sink_key).unwrap_or_else(|| panic!("a packet for {sink_key}, who left"));
        assert!(self.sources.contains_key(&source), "{sink_key} got a packet of {source}, which has ended");
        assert!(
            self.may_hear(sink.person, source),
            "{sink_key} got {packet:?} of {source} and is not in its audience"
        );
        assert!(self.wants(sink, source), "{sink_key} got a packet of {source} and did not ask for it");
        let slot = sink.slots.get(&slot_key).unwrap_or_else(|| panic!("{sink_key} has no slot {slot_key}"));
        let codec = self.sources[&source].codec;
        assert_eq!(out.codec, codec);
        assert!(slot.codecs.contains(&codec), "{codec} in slot {slot_key}, which cannot have it");
        assert!(!slot.held, "{sink_key} got {packet:?} of {source}, which is held back");
        assert_eq!(payload, write_payload(source, codec, packet), "the content is another");
        Sent { source, packet, timestamp: out.timestamp }
    }

    /// Takes down what went out by a flush. Numbers only go up, and none is used twice.
    pub fn note(&mut self, due: &Due, index: u64, sent: Sent) {
        assert_eq!((sent.source, sent.packet), (due.source, due.packet));
        let sink = self.sinks.get_mut(&due.sink).expect("it was admitted");
        let slot = sink.slots.get_mut(&due.slot).expect("it was admitted");
        if due.begins {
            assert!(
                slot.highest.is_none_or(|highest| index > highest),
                "number {index} is not above {:?}",
                slot.highest
            );
            slot.base = (sent.packet.seq, index);
        }
        let (first_seq, first_index) = slot.base;
        assert_eq!(index - first_index, sent.packet.seq - first_seq, "holes are the subscriber's to see");
        assert_eq!(slot.sent.insert(index, sent), None, "number {index} twice");
        slot.highest = slot.highest.max(Some(index));
    }

    /// What may be sent again by this number: the number in full, source and packet, and whether it must be.
    pub fn again(&self, sink: u32, slot: SlotId, asked: u16) -> Option<(u64, u32, Packet, bool)> {
        let slot = self.sinks.get(&sink)?.slots.get(&slot.0)?;
        let highest = slot.highest?;
        let index = highest.checked_sub(u64::from((highest as u16).wrapping_sub(asked)))?;
        let (playing, run) = (slot.playing?, slot.run?);
        let layer = &self.sources[&playing].layers[run.layer];
        let (first_seq, first_index) = slot.base;
        let (at, packet) = layer.taken.get(&(first_seq + index.checked_sub(first_index)?))?;
        let sent = slot.sent.get(&index);
        assert!(sent.is_none_or(|sent| (sent.source, sent.packet) == (playing, *packet)));
        // Less than what is remembered of any source.
        (*at >= slot.since).then_some((index, playing, *packet, layer.seq - packet.seq < 100))
    }
}

/// A payload that tells its source and number, of a length of its own.
pub fn write_payload(source: u32, codec: Codec, packet: Packet) -> Vec<u8> {
    let Packet { layer, seq, keyframe } = packet;
    let mut payload = match (codec, keyframe) {
        (Codec::Vp8, true) => {
            let [low, high] = (HEIGHT << layer).to_le_bytes();
            vec![0x10, 0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a, 64, 0, low, high]
        }
        (Codec::Vp8, false) => vec![0x10, 0x11, 0x02, 0x00],
        // A STAP-A (RFC 6184 §5.7.1) with a sequence parameter set of 64 × HEIGHT << layer.
        (Codec::H264, true) => {
            let size: &[u8] =
                [&[0xda, 0x10, 0x99, 0x00], &[0xda, 0x10, 0x46, 0x40], &[0xda, 0x10, 0x21, 0x90]][layer];
            [&[0x78, 0, 8, 0x67, 0x42, 0xc0, 0x1e], size].concat()
        }
        (Codec::H264, false) => vec![0x41, 0x88],
        _ => vec![0x78],
    };
    payload.resize(payload.len() + (seq % 23) as usize, seq as u8);
    payload.extend([layer as u8, u8::from(keyframe)]);
    payload.extend(source.to_be_bytes());
    payload.extend(seq.to_be_bytes());
    payload
}

fn read_payload(payload: &[u8]) -> (u32, Packet) {
    let (rest, seq) = payload.split_last_chunk().expect("it has a number");
    let (rest, source) = rest.split_last_chunk().expect("it has a source");
    let (_, [layer, keyframe]) = rest.split_last_chunk().expect("it has a layer");
    let packet =
        Packet { layer: usize::from(*layer), seq: u64::from_be_bytes(*seq), keyframe: *keyframe == 1 };
    (u32::from_be_bytes(*source), packet)
}
