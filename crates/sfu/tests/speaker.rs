//! Who speaks has room on a line before the others, and nobody learns by it of somebody whom they may not hear.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::time::{Duration, Instant};

use hewei_media::audio_level::AudioLevel;
use hewei_model::{Audience, Codec, MediaKind, ParticipantId, Publisher, TrackId};
use hewei_sfu::{Fill, Incoming, Output, Playing, Room, SlotId, SlotOffer, SourceKey, SubscriberKey};
use proptest::prelude::*;

const ME: SubscriberKey = SubscriberKey(1);
const FRAME: Duration = Duration::from_millis(20);
const SECOND: Duration = Duration::from_secs(1);
const SHARED_OUT_EVERY: u32 = 10;
const WIDE: u64 = 10_000_000;
const SPEECH: u8 = 20;
const SILENCE: u8 = 127;
const SOUND_LEN: usize = 100;
/// Bytes of the packets of each layer, 50 a second: about 55 and 415 kbit/s.
const PICTURE_LENS: [usize; 2] = [100, 1_000];
const HEIGHTS: [u16; 2] = [180, 360];

fn id(who: usize) -> ParticipantId {
    ParticipantId::from_u128(who as u128 + 1)
}

fn person(who: usize) -> Publisher {
    Publisher::Participant(id(who))
}

/// What the one who receives had of a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Had {
    speaker: Option<Publisher>,
    playing: Vec<Playing>,
    layers: Vec<Option<(Option<usize>, usize)>>,
    /// Slot and number of each packet.
    packets: Vec<(u16, u64)>,
    told: Vec<Output>,
    wants: u64,
}

/// People with a sound and a picture each, and somebody who has a slot for each of them: those of person *n* are in the
/// slots 2*n* and 2*n* + 1.
struct Story {
    room: Room,
    now: Instant,
    frame: u32,
    people: Vec<(SourceKey, SourceKey)>,
    layers: usize,
    had: Vec<Had>,
}

impl Story {
    /// The last so many people are `hidden`: nobody may see or hear them.
    fn new(people: usize, hidden: usize, layers: usize) -> Self {
        let mut room = Room::new();
        let people = (0..people)
            .map(|who| {
                let keys = [(Codec::Opus, 1), (Codec::Vp8, layers)].map(|(codec, layers)| {
                    if who < people - hidden {
                        room.set_audience(person(who), codec.kind(), to_me());
                    }
                    room.add_source(person(who), TrackId::from_u128(who as u128), codec, layers)
                });
                (keys[0], keys[1])
            })
            .collect::<Vec<_>>();
        room.add_subscriber(ME, id(99), Fill::Follow);
        let offers = (0..2 * people.len() as u16).map(|slot| {
            let codec = if slot % 2 == 0 { Codec::Opus } else { Codec::Vp8 };
            SlotOffer { id: SlotId(slot), kind: codec.kind(), codecs: vec![codec] }
        });
        room.set_slots(ME, offers.collect(), |_| 1);
        room.set_ready(ME);
        Self { room, now: Instant::now(), frame: 0, people, layers, had: Vec::new() }
    }

    fn runs(&mut self, time: Duration, bits_per_second: u64, levels: &[u8]) {
        let until = self.now + time;
        while self.now < until {
            self.frame(bits_per_second, levels);
        }
    }

    /// A packet of each, and every tenth time the line is shared out.
    fn frame(&mut self, bits_per_second: u64, levels: &[u8]) {
        self.now += FRAME;
        self.frame += 1;
        let seq = 70_000 + u64::from(self.frame);
        for (who, (sound, picture)) in self.people.clone().into_iter().enumerate() {
            let payload = [0x78; SOUND_LEN];
            let timestamp = self.frame * 960;
            let packet = Incoming { seq, timestamp, marker: false, payload: &payload };
            assert!(self.room.ingest(sound, 0, packet));
            self.room.heard(self.now, sound, AudioLevel::read(&[levels[who]]).unwrap());
            for layer in 0..self.layers {
                let at = HEIGHTS.len() - self.layers + layer;
                let mut payload = vec![0x11; PICTURE_LENS[at]];
                let [low, high] = HEIGHTS[at].to_le_bytes();
                let keyframe = self.frame % SHARED_OUT_EVERY == 1;
                payload[..11].copy_from_slice(&[
                    0x10,
                    u8::from(!keyframe),
                    0x02,
                    0x00,
                    0x9d,
                    0x01,
                    0x2a,
                    64,
                    0,
                    low,
                    high,
                ]);
                let packet = Incoming { seq, timestamp: self.frame * 1_800, marker: true, payload: &payload };
                assert!(self.room.ingest(picture, layer, packet));
            }
        }
        let mut packets = Vec::new();
        self.room.flush(self.now, |out| packets.push((out.slot.0, out.index)));
        let mut wants = 0;
        if self.frame.is_multiple_of(SHARED_OUT_EVERY) {
            wants = self.room.share_out(self.now, ME, bits_per_second);
        }
        while self.room.poll_keyframe_wanted().is_some() {}
        self.had.push(Had {
            speaker: self.room.speaker(ME),
            playing: self.room.playing(ME).collect(),
            layers: (0..2 * self.people.len() as u16)
                .map(|slot| self.room.layers_of(ME, SlotId(slot)))
                .collect(),
            packets,
            told: std::iter::from_fn(|| self.room.poll_output()).collect(),
            wants,
        });
    }

    fn speaker(&self) -> Option<Publisher> {
        self.room.speaker(ME)
    }

    /// Whose pictures are held back.
    fn held(&self) -> Vec<Publisher> {
        self.room.playing(ME).filter(|playing| playing.held).map(|playing| playing.publisher).collect()
    }

    /// The layer that plays of each person's picture.
    fn playing(&self) -> Vec<Option<usize>> {
        let slots = (0..self.people.len() as u16).map(|who| SlotId(2 * who + 1));
        slots.map(|slot| self.room.layers_of(ME, slot).and_then(|(playing, _)| playing)).collect()
    }
}

fn to_me() -> Audience {
    Audience { participants: [id(99)].into(), recorder: false }
}

#[test]
fn a_line_that_takes_one_picture_takes_that_of_who_speaks() {
    let mut story = Story::new(3, 0, 1);
    // Sound takes about 163 kbit/s, a picture about 415.
    let one_picture = 700_000;
    let quiet = [SILENCE; 3];
    let speaks = |who: usize| std::array::from_fn::<_, 3, _>(|at| if at == who { SPEECH } else { SILENCE });
    story.runs(5 * SECOND, WIDE, &quiet);
    story.runs(2 * SECOND, one_picture, &quiet);
    assert_eq!((story.speaker(), story.held()), (None, vec![person(1), person(2)]), "in order of the slots");
    story.runs(2 * SECOND, one_picture, &speaks(2));
    assert_eq!((story.speaker(), story.held()), (Some(person(2)), vec![person(0), person(1)]));
    // The line had held it back for four seconds at least. Back and forth, with no more patience each time; the line never has to take two.
    for who in [1, 2, 0, 1, 0, 2, 1] {
        let before = story.had.len();
        story.runs(2 * SECOND, one_picture, &speaks(who));
        let others: Vec<_> = (0..3).filter(|other| *other != who).map(person).collect();
        assert_eq!((story.speaker(), story.held()), (Some(person(who)), others));
        let since = &story.had[before..];
        assert!(since.iter().all(|had| had.packets.iter().filter(|(slot, _)| slot % 2 == 0).count() == 3));
        assert!(since.iter().all(|had| had.packets.iter().filter(|(slot, _)| slot % 2 == 1).count() <= 1));
        let without = since.iter().filter(|had| had.packets.iter().all(|(slot, _)| slot % 2 == 0)).count();
        assert!(without <= SHARED_OUT_EVERY as usize, "{without} frames without a picture");
    }
    story.runs(5 * SECOND, WIDE, &quiet);
    assert_eq!((story.speaker(), story.held()), (Some(person(1)), vec![]));
}

#[test]
fn the_picture_of_who_speaks_grows_first_and_no_larger_than_it_is_drawn() {
    let mut story = Story::new(3, 0, 2);
    let speaks = |who: usize| std::array::from_fn::<_, 3, _>(|at| if at == who { SPEECH } else { SILENCE });
    story.runs(5 * SECOND, WIDE, &[SILENCE; 3]);
    assert_eq!(story.playing(), [Some(1); 3]);
    // Sound about 163 kbit/s, three small pictures as much, and the step to a large one about 360.
    let one_large = 163_000 + 163_000 + 500_000;
    story.runs(SECOND, one_large, &[SILENCE; 3]);
    assert_eq!(story.playing(), [Some(1), Some(0), Some(0)]);
    // After a fall the line would have to be better for three seconds. It never has to take two large ones.
    for who in [2, 1, 2, 0] {
        let before = story.had.len();
        story.runs(2 * SECOND, one_large, &speaks(who));
        let expected: Vec<_> = (0..3).map(|at| Some(usize::from(at == who))).collect();
        assert_eq!((story.playing(), story.held()), (expected, vec![]), "{who} speaks");
        let large = |had: &Had| had.layers.iter().flatten().filter(|layers| layers.0 == Some(1)).count();
        assert!(story.had[before..].iter().all(|had| large(had) <= 1));
    }
    story.room.set_view(ME, vec![(person(2), 150)]);
    story.runs(5 * SECOND, one_large, &speaks(2));
    assert_eq!(story.speaker(), Some(person(2)));
    assert_eq!(story.playing(), [Some(1), Some(0), Some(0)], "what it cannot use is the others'");
}

#[test]
fn who_is_muted_or_gone_is_not_the_speaker_when_the_call_returns() {
    let mut story = Story::new(2, 0, 1);
    let muted = |story: &mut Story, who| {
        story.room.set_audience(person(who), MediaKind::Audio, Audience::nobody());
    };
    story.runs(2 * SECOND, WIDE, &[SPEECH, SILENCE]);
    assert_eq!(story.speaker(), Some(person(0)));
    muted(&mut story, 0);
    assert_eq!(story.speaker(), None);
    story.runs(2 * SECOND, WIDE, &[0, SILENCE]);
    assert_eq!(story.speaker(), None, "whatever comes while muted");
    story.runs(2 * SECOND, WIDE, &[0, SPEECH]);
    assert_eq!(story.speaker(), Some(person(1)));
    story.room.set_audience(person(0), MediaKind::Audio, to_me());
    story.runs(Duration::from_millis(400), WIDE, &[0, SILENCE]);
    assert_eq!(story.speaker(), Some(person(1)), "what was said before counts for nothing");
    story.runs(SECOND, WIDE, &[0, SILENCE]);
    assert_eq!(story.speaker(), Some(person(0)));
    story.room.remove_source(story.people[0].0);
    assert_eq!(story.speaker(), None);
}

#[test]
fn sound_does_not_wait_for_the_pictures_that_came_with_it() {
    let mut story = Story::new(3, 0, 1);
    story.runs(SECOND, WIDE, &[SILENCE; 3]);
    for had in &story.had[10..] {
        let kinds: Vec<_> = had.packets.iter().map(|(slot, _)| slot % 2).collect();
        assert_eq!(kinds, [0, 0, 0, 1, 1, 1]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Two calls that differ in nothing but how loud somebody is whom one may not hear are the same call, and go on as the
    /// same when one may.
    #[test]
    fn whom_one_may_not_hear_changes_nothing(
        turns in proptest::collection::vec(([0u8..60, 0u8..60], 20u32..80), 2..12),
        later in proptest::collection::vec(([0u8..60, 0u8..60, 0u8..60], 20u32..80), 2..8),
        hidden in proptest::collection::vec(0u8..128, 40),
        bits_per_second in 300_000u64..2_500_000,
        layers in 1usize..3,
    ) {
        let call = |level: &dyn Fn(usize) -> u8| {
            let mut story = Story::new(3, 1, layers);
            let mut at = 0;
            for ([one, other], frames) in &turns {
                for _ in 0..*frames {
                    at += 1;
                    story.frame(bits_per_second, &[*one, *other, level(at)]);
                    assert_ne!(story.speaker(), Some(person(2)));
                }
            }
            for kind in [MediaKind::Audio, MediaKind::Video] {
                story.room.set_audience(person(2), kind, to_me());
            }
            for (levels, frames) in &later {
                for _ in 0..*frames {
                    story.frame(bits_per_second, levels);
                }
            }
            story.had
        };
        let silent = call(&|_| SILENCE);
        let loud = call(&|_| 0);
        let other = call(&|at| hidden[at % hidden.len()]);
        prop_assert_eq!(&silent, &loud);
        prop_assert_eq!(&silent, &other);
    }
}
