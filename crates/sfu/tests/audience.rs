//! Whatever happens in a room, a packet goes to the audience of its source and to nobody else, and no outgoing
//! number is used twice.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    time::{Duration, Instant},
};

use hewei_model::{Audience, Codec, MediaKind, ParticipantId, Publisher, TrackId};
use hewei_sfu::{Fill, Incoming, Output, Room, SlotId, SlotOffer, SourceKey, SubscriberKey};
use proptest::prelude::*;

const PEOPLE: u32 = 6;

#[derive(Debug, Clone)]
enum Step {
    Join { who: u32, slots: u16, only: Option<u32> },
    Leave { who: u32 },
    Publish { who: u32, codec: Codec },
    Unpublish { who: u32, kind: MediaKind },
    Admit { who: u32, kind: MediaKind, to: BTreeSet<u32>, recorder: bool },
    Packets { who: u32, kind: MediaKind, count: u8, keyframe: bool },
    Missing { who: u32, slot: u16, back: u16 },
}

fn step() -> impl Strategy<Value = Step> {
    let who = 0..PEOPLE;
    let kind = prop_oneof![Just(MediaKind::Audio), Just(MediaKind::Video)];
    let codec = prop_oneof![Just(Codec::Vp8), Just(Codec::H264), Just(Codec::Opus)];
    prop_oneof![
        2 => (who.clone(), 0..5u16, proptest::option::of(0..PEOPLE))
            .prop_map(|(who, slots, only)| Step::Join { who, slots, only }),
        1 => who.clone().prop_map(|who| Step::Leave { who }),
        2 => (who.clone(), codec).prop_map(|(who, codec)| Step::Publish { who, codec }),
        1 => (who.clone(), kind.clone()).prop_map(|(who, kind)| Step::Unpublish { who, kind }),
        4 => (who.clone(), kind.clone(), proptest::collection::btree_set(0..PEOPLE, 0..6), any::<bool>())
            .prop_map(|(who, kind, to, recorder)| Step::Admit { who, kind, to, recorder }),
        8 => (who.clone(), kind, 1..9u8, any::<bool>())
            .prop_map(|(who, kind, count, keyframe)| Step::Packets { who, kind, count, keyframe }),
        3 => (who, 0..5u16, 0..20u16).prop_map(|(who, slot, back)| Step::Missing { who, slot, back }),
    ]
}

fn person(who: u32) -> ParticipantId {
    ParticipantId::from_u128(u128::from(who) + 1)
}

/// A payload that names its publisher, so that whoever gets it can be told whose it is.
fn payload(who: u32, codec: Codec, keyframe: bool) -> Vec<u8> {
    let mut payload = match (codec, keyframe) {
        (Codec::Vp8, true) => vec![0x10, 0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a, 64, 0, 64, 0],
        (Codec::Vp8, false) => vec![0x10, 0x11, 0x02, 0x00],
        (Codec::H264, true) => vec![0x65, 0x88],
        (Codec::H264, false) => vec![0x41, 0x88],
        _ => vec![0x78],
    };
    payload.extend([0xab; 40]);
    payload.extend(who.to_be_bytes());
    payload
}

fn publisher_of(payload: &[u8]) -> u32 {
    u32::from_be_bytes(*payload.last_chunk().expect("four bytes name the publisher"))
}

/// What the room should be, kept apart from it.
#[derive(Default)]
struct Model {
    audiences: BTreeMap<(u32, MediaKind), BTreeSet<u32>>,
    sources: BTreeMap<(u32, MediaKind), (SourceKey, Codec, u64)>,
    last_sent: BTreeMap<(u32, u16), u64>,
    used: HashSet<(u32, u32, u16, u64)>,
    /// A new number each time somebody joins: a new peer has new keys.
    generation: BTreeMap<u32, u32>,
}

impl Model {
    fn check(&self, to: u32, codec: Codec, payload: &[u8]) -> Result<(), TestCaseError> {
        let from = publisher_of(payload);
        let admitted =
            self.audiences.get(&(from, codec.kind())).is_some_and(|audience| audience.contains(&to));
        prop_assert!(admitted, "{to} got a packet of {from} and is not in its audience");
        prop_assert!(from != to, "{to} got its own packet");
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn nothing_reaches_anyone_outside(steps in proptest::collection::vec(step(), 1..200)) {
        let mut room = Room::new();
        let mut model = Model::default();
        let mut now = Instant::now();
        for step in steps {
            now += Duration::from_millis(7);
            match step {
                Step::Join { who, slots, only } => {
                    let key = SubscriberKey(who);
                    room.remove_subscriber(key);
                    *model.generation.entry(who).or_default() += 1;
                    let fill = only.map_or(Fill::Follow, |only| Fill::Only(Publisher::Participant(person(only))));
                    room.add_subscriber(key, person(who), fill);
                    let offer = |id: u16| {
                        let (kind, codecs) = if id.is_multiple_of(2) {
                            (MediaKind::Video, vec![Codec::H264, Codec::Vp8])
                        } else {
                            (MediaKind::Audio, vec![Codec::Opus])
                        };
                        SlotOffer { id: SlotId(id), kind, codecs }
                    };
                    room.set_slots(key, (0..slots).map(offer).collect(), |_| 0);
                    room.set_ready(key);
                }
                Step::Leave { who } => room.remove_subscriber(SubscriberKey(who)),
                Step::Publish { who, codec } => {
                    let kind = codec.kind();
                    if let Some((key, ..)) = model.sources.remove(&(who, kind)) {
                        room.remove_source(key);
                    }
                    let key = room.add_source(Publisher::Participant(person(who)), TrackId::generate(), codec);
                    model.sources.insert((who, kind), (key, codec, 70_000));
                }
                Step::Unpublish { who, kind } => {
                    if let Some((key, ..)) = model.sources.remove(&(who, kind)) {
                        room.remove_source(key);
                    }
                }
                Step::Admit { who, kind, to, recorder } => {
                    let participants = to.iter().copied().map(person).collect();
                    let audience = Audience { participants, recorder };
                    room.set_audience(Publisher::Participant(person(who)), kind, audience);
                    model.audiences.insert((who, kind), to);
                    if let Some((key, ..)) = model.sources.get(&(who, kind)) {
                        prop_assert_eq!(room.is_recorded(*key), recorder);
                    }
                }
                Step::Packets { who, kind, count, keyframe } => {
                    let Some((key, codec, seq)) = model.sources.get_mut(&(who, kind)) else { continue };
                    for at in 0..count {
                        *seq += 1;
                        let payload = payload(who, *codec, keyframe && at == 0);
                        let timestamp = *seq as u32 * 3_000;
                        room.ingest(*key, Incoming { seq: *seq, timestamp, marker: true, payload: &payload });
                    }
                    let mut sent = Vec::new();
                    room.flush(now, |out| {
                        sent.push((out.subscriber.0, out.slot.0, out.codec, out.index, out.payload.to_vec()));
                    });
                    for (to, slot, codec, index, payload) in sent {
                        model.check(to, codec, &payload)?;
                        let generation = model.generation[&to];
                        prop_assert!(model.used.insert((to, generation, slot, index)), "number {} twice", index);
                        model.last_sent.insert((to, slot), index);
                    }
                }
                Step::Missing { who, slot, back } => {
                    let Some(last) = model.last_sent.get(&(who, slot)) else { continue };
                    let asked = (*last as u16).wrapping_sub(back);
                    if let Some(out) = room.sent(now, SubscriberKey(who), SlotId(slot), asked) {
                        model.check(who, out.codec, out.payload)?;
                        prop_assert_eq!(out.index as u16, asked);
                    }
                }
            }
            // Nobody is told of more slots than it has, nor of a source outside its audience.
            while let Some(output) = room.poll_output() {
                if let Output::SlotsChanged(subscriber) = output {
                    for playing in room.playing(subscriber) {
                        let Publisher::Participant(from) = playing.publisher else { continue };
                        let from = (from.as_u128() - 1) as u32;
                        let audience = model.audiences.get(&(from, playing.kind));
                        prop_assert!(audience.is_some_and(|audience| audience.contains(&subscriber.0)));
                    }
                }
            }
        }
    }
}
