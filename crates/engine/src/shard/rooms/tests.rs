//! Whatever happens in a room, its tap gets the packets of those sources whose audience has the recorder in it at that
//! moment, and no other byte. Seeded: a failure prints the seed, and `TAP_SEED=…` repeats it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use hewei_media::{audio_level::AudioLevel, rtp};
use hewei_model::{Audience, Codec, MediaKind, MonoNs, ParticipantId, Publisher, RoomId, TrackId};
use hewei_sfu::{Fill, SlotId, SlotOffer, SourceKey, SubscriberKey};

use super::{Origin, Packet, RoomEntry};
use crate::{counters::Counters, mono_now, tap};

const STEPS: u32 = 300_000;
const PEOPLE: u32 = 4;
const SOURCES_MAX: usize = 8;
const CODECS: [Codec; 3] = [Codec::Vp8, Codec::H264, Codec::Opus];

/// xorshift64*.
struct Noise(u64);

impl Noise {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32 % limit.max(1)
    }
}

/// What a tap brings, without its times.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    Started(TrackId, Publisher),
    Ended(TrackId),
    Packet(TrackId, Vec<u8>),
    Report(TrackId),
    Lost,
    Closed,
}

fn read(tap: &mut tap::Reader) -> Vec<Told> {
    let mut told = Vec::new();
    tap.read(Duration::ZERO, |record| {
        told.push(match record {
            tap::Record::TrackStarted { track, publisher, .. } => Told::Started(track, publisher),
            tap::Record::TrackEnded { track, .. } => Told::Ended(track),
            tap::Record::Packet { track, rtp, .. } => Told::Packet(track, rtp.to_vec()),
            tap::Record::SenderReport { track, .. } => Told::Report(track),
            tap::Record::Lost { .. } => Told::Lost,
            tap::Record::Closed => Told::Closed,
        });
    });
    told
}

fn person(number: u32) -> Publisher {
    Publisher::Participant(ParticipantId::from_u128(u128::from(number) + 1))
}

/// A room with the model of what its recorder may have beside it.
struct Tapped {
    room: RoomEntry,
    counters: Counters,
    recorder: BTreeMap<(Publisher, MediaKind), bool>,
    sources: Vec<(SourceKey, TrackId, Publisher, Codec)>,
    seq: u16,
}

impl Tapped {
    fn new() -> Self {
        Tapped {
            room: RoomEntry::new(RoomId::generate()),
            counters: Counters::default(),
            recorder: BTreeMap::new(),
            sources: Vec::new(),
            seq: 0,
        }
    }

    fn may(&self, publisher: Publisher, codec: Codec) -> bool {
        self.recorder.get(&(publisher, codec.kind())).copied().unwrap_or_default()
    }

    fn begin(&mut self, publisher: Publisher, codec: Codec) -> TrackId {
        let key = self.room.add_source(publisher, codec, 1, Origin::Feed, &mut Vec::new());
        let track = self.room.sources[&key].track;
        self.sources.push((key, track, publisher, codec));
        track
    }

    fn set(&mut self, publisher: Publisher, kind: MediaKind, recorder: bool) {
        let participants = [ParticipantId::from_u128(1)].into();
        self.room.set_audience(publisher, kind, Audience { participants, recorder });
        self.recorder.insert((publisher, kind), recorder);
    }

    /// A packet like no other; gives its bytes.
    fn packet(&mut self, source: usize, len: usize) -> Vec<u8> {
        self.seq = self.seq.wrapping_add(1);
        let (key, track, ..) = self.sources[source];
        let mut bytes = vec![0x80, 96];
        bytes.extend(self.seq.to_be_bytes());
        bytes.extend([0; 8]);
        bytes.extend(track.as_u128().to_be_bytes());
        bytes.resize(bytes.len() + len, self.seq as u8);
        let header = rtp::Header::parse(&bytes).expect("it is a packet");
        let packet = Packet {
            now: Instant::now(),
            arrival: mono_now(),
            layer: 0,
            seq: u64::from(self.seq),
            level: None,
            header: &header,
            bytes: &bytes,
        };
        self.room.ingest(&self.counters, key, &packet);
        bytes
    }
}

#[test]
fn the_tap_gets_what_the_recorder_may_have_and_nothing_else() {
    let given = std::env::var("TAP_SEED").ok().map(|seed| seed.parse().expect("a number"));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let seed: u64 = given.unwrap_or(now.as_micros() as u64);
    println!("TAP_SEED={seed}");
    let mut noise = Noise(seed | 1);
    let mut tapped = Tapped::new();
    let mut tap: Option<tap::Reader> = None;
    let (mut recorded, mut kept_out) = (0, 0);
    for _ in 0..STEPS {
        let publisher = person(noise.below(PEOPLE));
        let codec = CODECS[noise.below(3) as usize];
        let source = noise.below(tapped.sources.len() as u32) as usize;
        let there = !tapped.sources.is_empty();
        let mut expected = Vec::new();
        match noise.below(1_000) {
            // Each tap is a ring of eight megabytes.
            0..5 => {
                let (writer, reader) = tap::channel();
                tapped.room.open_tap(Box::new(writer));
                if let Some(mut before) = tap.replace(reader) {
                    assert_eq!(read(&mut before), [Told::Closed], "the tap before gets nothing more");
                }
                for (_, track, publisher, codec) in &tapped.sources {
                    if tapped.may(*publisher, *codec) {
                        expected.push(Told::Started(*track, *publisher));
                    }
                }
            }
            5..8 => tap = None,
            8..60 if tapped.sources.len() < SOURCES_MAX => {
                let track = tapped.begin(publisher, codec);
                if tapped.may(publisher, codec) {
                    expected.push(Told::Started(track, publisher));
                }
            }
            8..110 if there => {
                let (key, track, publisher, codec) = tapped.sources.swap_remove(source);
                tapped.room.remove_source(key, &mut Vec::new());
                if tapped.may(publisher, codec) {
                    expected.push(Told::Ended(track));
                }
            }
            110..300 => {
                let (before, after) = (tapped.may(publisher, codec), noise.below(2) == 0);
                tapped.set(publisher, codec.kind(), after);
                for (_, track, of, its) in &tapped.sources {
                    if (*of, its.kind()) == (publisher, codec.kind()) && before != after {
                        expected.push(match after {
                            true => Told::Started(*track, *of),
                            false => Told::Ended(*track),
                        });
                    }
                }
            }
            300..400 if there => {
                let (key, track, publisher, codec) = tapped.sources[source];
                tapped.room.sender_report(Instant::now(), MonoNs(0), key, 0, 1, 2);
                if tapped.may(publisher, codec) {
                    expected.push(Told::Report(track));
                }
            }
            _ if there => {
                let (_, track, publisher, codec) = tapped.sources[source];
                let bytes = tapped.packet(source, noise.below(40) as usize + 1);
                if tapped.may(publisher, codec) {
                    expected.push(Told::Packet(track, bytes));
                    recorded += u32::from(tap.is_some());
                } else {
                    kept_out += u32::from(tap.is_some());
                }
            }
            _ => {}
        }
        if let Some(tap) = &mut tap {
            let mut told = read(tap);
            // The sources of one publisher are told of in any order.
            told.sort();
            expected.sort();
            assert_eq!(told, expected);
        }
    }
    println!("{recorded} packets recorded, {kept_out} kept out");
    assert!(recorded > STEPS / 20 && kept_out > STEPS / 20, "{recorded} recorded, {kept_out} kept out");
}

#[test]
fn a_full_tap_does_not_go_on_with_what_it_may_no_longer_have() {
    let (publisher, mut tapped) = (person(0), Tapped::new());
    let (writer, mut reader) = tap::channel();
    tapped.room.open_tap(Box::new(writer));
    tapped.set(publisher, MediaKind::Video, true);
    let track = tapped.begin(publisher, Codec::Vp8);
    // More than the ring holds: the end of the track is lost as well.
    for _ in 0..10_000 {
        tapped.packet(0, 1_100);
    }
    tapped.set(publisher, MediaKind::Video, false);
    let told = read(&mut reader);
    assert_eq!(told.first(), Some(&Told::Started(track, publisher)));
    assert!(told.len() < 10_000, "it was not full");
    for _ in 0..10 {
        tapped.packet(0, 100);
        assert!(!read(&mut reader).iter().any(|told| matches!(told, Told::Packet(..))));
    }
    // And when it may again, it is told so before the first packet.
    tapped.set(publisher, MediaKind::Video, true);
    let bytes = tapped.packet(0, 100);
    let told = read(&mut reader);
    assert!(told.ends_with(&[Told::Started(track, publisher), Told::Packet(track, bytes)]), "{told:?}");
}

#[test]
fn what_senders_say_of_their_sound_decides_who_speaks() {
    let (mut room, counters, listener) =
        (RoomEntry::new(RoomId::generate()), Counters::default(), SubscriberKey(0));
    let people = [person(1), person(2)];
    let sources = people.map(|publisher| {
        let audience = Audience { participants: [ParticipantId::from_u128(1)].into(), recorder: false };
        room.set_audience(publisher, MediaKind::Audio, audience);
        room.add_source(publisher, Codec::Opus, 1, Origin::Feed, &mut Vec::new())
    });
    room.room.add_subscriber(listener, ParticipantId::from_u128(1), Fill::Follow);
    let offer = |id| SlotOffer { id: SlotId(id), kind: MediaKind::Audio, codecs: vec![Codec::Opus] };
    room.room.set_slots(listener, vec![offer(0), offer(1)], |_| 1);
    let (mut now, mut seq) = (Instant::now(), 0u16);
    let mut speaks = |levels: [Option<u8>; 2]| {
        for _ in 0..10 {
            for _ in 0..10 {
                (now, seq) = (now + Duration::from_millis(20), seq + 1);
                for (source, level) in sources.into_iter().zip(levels) {
                    let mut bytes = vec![0x80, 111];
                    bytes.extend(seq.to_be_bytes());
                    bytes.extend([0; 9]);
                    let header = rtp::Header::parse(&bytes).expect("it is a packet");
                    let level = level.and_then(|level| AudioLevel::read(&[level]));
                    let arrival = mono_now();
                    let packet = Packet {
                        now,
                        arrival,
                        layer: 0,
                        seq: seq.into(),
                        level,
                        header: &header,
                        bytes: &bytes,
                    };
                    room.ingest(&counters, source, &packet);
                    // One that came before is nothing that anybody hears.
                    let copy = Packet { level: AudioLevel::read(&[0]), ..packet };
                    room.ingest(&counters, source, &copy);
                }
                room.room.flush(now, |_| ());
            }
            room.room.share_out(now, listener, u64::MAX);
        }
        room.room.speaker(listener)
    };
    assert_eq!(speaks([Some(127), None]), None);
    assert_eq!(speaks([Some(127), Some(20)]), Some(people[1]));
    assert_eq!(speaks([Some(20), Some(127)]), Some(people[0]));
    assert_eq!(speaks([None, Some(30)]), Some(people[1]), "who says nothing is silent");
}
