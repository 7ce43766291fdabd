//! The room beside its model: steps are drawn, taken in both, and what comes out is held against each other.

mod check;
mod draw;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    time::{Duration, Instant},
};

use hewei_model::{Audience, Codec, MediaKind, TrackId};
use hewei_sfu::{Incoming, Room, SlotId, SlotOffer, SubscriberKey};

use crate::{
    Tally,
    model::{Layer, Model, Packet, Set, Sink, Slot, Source, Who, Wish, participant, write_payload},
    noise::Noise,
};

const PEOPLE: u32 = 6;
const CAMERAS: u32 = 2;
/// Connections, more than people: somebody may watch twice.
const SINKS: u32 = 9;
const SLOTS: u32 = 6;
const SOURCES_MAX: usize = 14;
const CODECS: [Codec; 4] = [Codec::Vp8, Codec::H264, Codec::Opus, Codec::Pcma];
const KINDS: [MediaKind; 2] = [MediaKind::Audio, MediaKind::Video];
/// How late a packet may be, in packets.
const LATE_MAX: u64 = 500;
const LINE_STAYS: Duration = Duration::from_millis(1_100);
const STEP_TIME: Duration = Duration::from_millis(7);
/// The clock of a source tells which source it is: it runs from so many seconds times its number.
const CLOCK_S: u64 = 4_096;

type Offers = BTreeMap<u16, (MediaKind, Vec<Codec>)>;

/// What can happen in a room. Whatever is added to the room gets a step here, a weight in
/// `draw` and its meaning in `take`; everything else follows.
#[derive(Debug, Clone)]
enum Step {
    Join {
        sink: u32,
        person: u32,
        wish: Wish,
    },
    Connect {
        sink: u32,
    },
    Leave {
        sink: u32,
    },
    Offer {
        sink: u32,
        offers: Offers,
    },
    Begin {
        who: Who,
        codec: Codec,
        layers: usize,
    },
    End {
        source: u32,
    },
    Restart {
        source: u32,
    },
    Audience {
        who: Who,
        kind: MediaKind,
        set: Set,
    },
    /// Everybody in one of two groups that do not hear each other, and this person into the other.
    Move {
        person: u32,
    },
    Forget {
        who: Who,
    },
    /// Packets of some sources, and what happens in the middle of the batch.
    Packets {
        of: Vec<(u32, Vec<Packet>)>,
        meanwhile: Option<Box<Step>>,
    },
    Again {
        sink: u32,
        slot: u16,
        seqs: Vec<u16>,
    },
    Clock {
        source: u32,
    },
    /// How high somebody draws the pictures, what their line takes, in bits a second, and whether it stays so for a while.
    Line {
        sink: u32,
        tiles: Vec<(Who, u16)>,
        bits: u64,
        stays: bool,
    },
    /// Whether all the layers of a source have to be sent.
    Review {
        source: u32,
    },
}

pub struct World {
    seed: u64,
    step: u64,
    lately: VecDeque<Step>,
    room: Room,
    model: Model,
    noise: Noise,
    now: Instant,
    group: BTreeSet<u32>,
    switches: u64,
    /// Of which layers of which sources a keyframe is wanted.
    asked: BTreeSet<(u32, usize)>,
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("AUDIENCE_SEED={} repeats it; step {}, the last of these:", self.seed, self.step);
            self.lately.iter().for_each(|step| eprintln!("  {step:?}"));
        }
    }
}

impl World {
    pub fn new(seed: u64) -> Self {
        World {
            seed,
            step: 0,
            lately: VecDeque::new(),
            room: Room::new(),
            model: Model::default(),
            noise: Noise::new(seed),
            now: Instant::now(),
            group: BTreeSet::new(),
            switches: 0,
            asked: BTreeSet::new(),
        }
    }

    pub fn run(mut self, steps: u64, tally: &mut Tally) {
        for _ in 0..steps {
            let Some(step) = self.draw() else { continue };
            self.step += 1;
            self.now += STEP_TIME;
            self.lately.push_back(step.clone());
            if self.lately.len() > 12 {
                self.lately.pop_front();
            }
            self.take(step, tally);
        }
        tally.steps += self.step;
        tally.switches += self.switches;
        tally.layers += self.model.layer_switches;
    }

    fn take(&mut self, step: Step, tally: &mut Tally) {
        // Sinks to be told of their slots, though these may be what they were.
        let mut asked = None;
        match step {
            Step::Join { sink, person, wish } => {
                tally.joins += 1;
                self.remove_sink(sink);
                self.room.add_subscriber(SubscriberKey(sink), participant(person), wish.fill());
                let new = Sink { person, wish, ready: false, fixed: None, slots: BTreeMap::new() };
                self.model.sinks.insert(sink, new);
            }
            Step::Connect { sink } => {
                self.room.set_ready(SubscriberKey(sink));
                self.model.sinks.get_mut(&sink).unwrap().ready = true;
                let pictures =
                    self.model.sinks[&sink].slots.values().filter(|slot| slot.kind == MediaKind::Video);
                asked = pictures.filter_map(|slot| slot.playing).next();
            }
            Step::Leave { sink } => {
                tally.leaves += 1;
                self.remove_sink(sink);
            }
            Step::Offer { sink, offers } => self.offer(sink, offers),
            Step::Begin { who, codec, layers } => {
                tally.tracks += 1;
                self.begin_source(who, codec, layers);
            }
            Step::End { source } => self.end_source(source),
            Step::Restart { source } => {
                tally.tracks += 1;
                let before = &self.model.sources[&source];
                let (who, codec, layers) = (before.who, before.codec, before.layers.len());
                self.end_source(source);
                self.settle(None);
                self.begin_source(who, codec, layers);
            }
            Step::Audience { who, kind, set } => {
                tally.audiences += 1;
                self.set_audience(who, kind, set);
            }
            Step::Move { person } => {
                tally.moves += 1;
                if !self.group.remove(&person) {
                    self.group.insert(person);
                }
                for other in 0..PEOPLE {
                    let inside = self.group.contains(&other);
                    let people = (0..PEOPLE).filter(|one| self.group.contains(one) == inside).collect();
                    let set = Set { people, recorder: !inside };
                    for kind in KINDS {
                        self.set_audience(Who::Person(other), kind, set.clone());
                        self.settle(None);
                    }
                }
            }
            Step::Forget { who } => {
                for kind in KINDS {
                    self.set_audience(who, kind, Set::default());
                    self.settle(None);
                }
                self.model.sets.retain(|(known, _), _| *known != who);
            }
            Step::Packets { of, meanwhile } => return self.batch(of, meanwhile, tally),
            Step::Again { sink, slot, seqs } => {
                for seq in seqs {
                    self.again(sink, slot, seq, tally);
                }
            }
            Step::Clock { source } => self.clock(source),
            Step::Line { sink, tiles, bits, stays } => {
                tally.lines += 1;
                let view = tiles.into_iter().map(|(who, height)| (who.publisher(), height)).collect();
                self.room.set_view(SubscriberKey(sink), view);
                if stays {
                    self.room.share_out(self.now, SubscriberKey(sink), bits);
                    self.settle(None);
                    self.now += LINE_STAYS;
                }
                self.room.share_out(self.now, SubscriberKey(sink), bits);
                tally.held +=
                    self.room.playing(SubscriberKey(sink)).filter(|playing| playing.held).count() as u64;
            }
            Step::Review { source } => self.review(source),
        }
        self.settle(asked);
    }

    fn remove_sink(&mut self, sink: u32) {
        self.room.remove_subscriber(SubscriberKey(sink));
        self.model.sinks.remove(&sink);
    }

    fn offer(&mut self, sink_key: u32, offers: Offers) {
        let first = self.noise.next() as u16;
        let slot_offer = |(id, (kind, codecs)): (&u16, &(MediaKind, Vec<Codec>))| SlotOffer {
            id: SlotId(*id),
            kind: *kind,
            codecs: codecs.clone(),
        };
        let now_there: BTreeSet<u32> = {
            let person = self.model.sinks[&sink_key].person;
            self.model.sources.keys().copied().filter(|source| self.model.may_hear(person, *source)).collect()
        };
        let slot_offers = offers.iter().map(slot_offer).collect();
        self.room.set_slots(SubscriberKey(sink_key), slot_offers, |_| first);
        let sink = self.model.sinks.get_mut(&sink_key).unwrap();
        if sink.wish == Wish::Now && sink.fixed.is_none() {
            sink.fixed = Some(now_there);
        }
        sink.slots.retain(|id, _| offers.contains_key(id));
        for (id, (kind, codecs)) in offers {
            let slot = sink.slots.entry(id).or_insert_with(|| Slot {
                kind,
                codecs: Vec::new(),
                playing: None,
                target: 0,
                held: false,
                since: 0,
                run: None,
                base: (0, 0),
                sent: HashMap::new(),
                highest: None,
            });
            (slot.kind, slot.codecs) = (kind, codecs);
        }
    }

    fn begin_source(&mut self, who: Who, codec: Codec, layers: usize) {
        let track = TrackId::generate();
        let key = self.room.add_source(who.publisher(), track, codec, layers);
        assert_eq!(self.room.source_by_track(track), Some(key));
        self.model.last_source += 1;
        let number = self.model.last_source;
        let mut layer = || Layer {
            seq: 70_000 + u64::from(self.noise.below(70_000)),
            holes: Vec::new(),
            pending: Vec::new(),
            taken: HashMap::new(),
        };
        let layers = (0..layers).map(|_| layer()).collect();
        self.model.sources.insert(number, Source { key, who, codec, layers, recorder: None });
        assert_eq!(self.model.by_key.insert(key, number), None, "a key twice");
    }

    fn end_source(&mut self, source: u32) {
        let ended = self.model.sources.remove(&source).unwrap();
        self.room.remove_source(ended.key);
        assert!(!self.room.is_recorded(ended.key), "the recorder may keep what has ended");
    }

    fn set_audience(&mut self, who: Who, kind: MediaKind, set: Set) {
        self.room.set_audience(who.publisher(), kind, set.audience());
        // Nothing is left of who left.
        let expected = Some(set.audience()).filter(|audience| *audience != Audience::nobody());
        assert_eq!(self.room.audience(who.publisher(), kind), expected.as_ref());
        self.model.sets.insert((who, kind), set);
    }

    /// Packets in, perhaps something in between, and what they become.
    fn batch(&mut self, of: Vec<(u32, Vec<Packet>)>, meanwhile: Option<Box<Step>>, tally: &mut Tally) {
        for (source, packets) in of {
            for packet in packets {
                self.ingest(source, packet, tally);
            }
        }
        if let Some(step) = meanwhile {
            self.take(*step, tally);
        }
        self.flush(tally);
        self.settle(None);
    }

    fn ingest(&mut self, number: u32, packet: Packet, tally: &mut Tally) {
        let Some(source) = self.model.sources.get_mut(&number) else { return };
        let seq = packet.seq;
        let payload = write_payload(number, source.codec, packet);
        let incoming = Incoming { seq, timestamp: timestamp(seq), marker: true, payload: &payload };
        if self.room.records(self.now, source.key, packet.layer, &payload)
            && source.recorder != Some(packet.layer)
        {
            assert!(
                packet.keyframe || source.layers.len() == 1,
                "the recorder goes to {packet:?} of {number}"
            );
            tally.recorder_layers += u64::from(source.recorder.is_some());
            source.recorder = Some(packet.layer);
        }
        let taken = self.room.ingest(source.key, packet.layer, incoming);
        let layer = &mut source.layers[packet.layer];
        if seq <= layer.seq && !layer.holes.contains(&seq) {
            assert!(!taken, "packet {seq} of {number} was taken in twice");
            return;
        }
        assert!(taken, "packet {seq} of {number} was not taken in");
        assert!(!self.room.ingest(source.key, packet.layer, incoming), "a copy was taken in");
        tally.taken_in += 1;
        layer.holes.retain(|hole| *hole != seq);
        if seq > layer.seq {
            layer.holes.extend((layer.seq + 1..seq).rev().take(4));
            layer.holes.retain(|hole| seq - hole < LATE_MAX);
            layer.seq = seq;
        }
        layer.pending.push(packet);
        layer.taken.insert(seq, (self.model.taken, packet));
        self.model.taken += 1;
        let (person, recorded) = (source.who, self.model.is_recorded(&self.model.sources[&number]));
        tally.recorded += u64::from(recorded);
        let nobody = (0..PEOPLE).all(|one| !self.model.may_hear(one, number) || person == Who::Person(one));
        tally.to_nobody += u64::from(nobody);
    }
}

/// What a packet says of its time: its number decides, so that one that is sent again can be held against it.
fn timestamp(seq: u64) -> u32 {
    (seq as u32).wrapping_mul(3_000)
}
