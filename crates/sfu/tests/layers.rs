//! A picture that comes in several layers: each subscriber gets one stream, in the size that its tile and line can take,
//! and goes from one to another at a keyframe alone.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::time::{Duration, Instant};

use hewei_media::vp8::Numbers;
use hewei_model::{Audience, Codec, MediaKind, ParticipantId, Publisher, TrackId};
use hewei_sfu::{Fill, Incoming, Room, SlotId, SlotOffer, SourceKey, SubscriberKey};

const FRAME: Duration = Duration::from_millis(40);
/// More than all of it takes.
const WIDE: u64 = 5_000_000;
const SLOT: SlotId = SlotId(0);
const SECOND: Duration = Duration::from_secs(1);
/// Heights of the layers, and bytes of a packet: about 28, 112 and 440 kbit/s with their headers.
const LAYERS: [(u16, usize); 3] = [(90, 100), (180, 500), (360, 2_000 / 2)];
/// Packets of a frame of each layer.
const PACKETS: [u64; 3] = [1, 1, 2];

/// What came: when, of which layer, and as what.
#[derive(Debug, Clone, Copy)]
struct Came {
    layer: usize,
    keyframe: bool,
    index: u64,
    timestamp: u32,
    numbers: Numbers,
}

struct Story {
    room: Room,
    now: Instant,
    source: SourceKey,
    publisher: Publisher,
    seqs: [u64; 3],
    frame: u32,
    /// Which layers are sent.
    sent: [bool; 3],
    /// Layers of which a keyframe is asked for, and sent with the next frame but one.
    asked: [u32; 3],
    recorded: Vec<(usize, bool)>,
}

impl Story {
    /// Somebody whose picture comes in three layers, and people who watch it, each in one slot.
    fn new(watching: u32) -> Self {
        let mut room = Room::new();
        let publisher = Publisher::Participant(ParticipantId::from_u128(99));
        let person = |number: u32| ParticipantId::from_u128(u128::from(number) + 1);
        let participants = (0..watching).map(person).collect();
        room.set_audience(publisher, MediaKind::Video, Audience { participants, recorder: true });
        let source = room.add_source(publisher, TrackId::generate(), Codec::Vp8, 3);
        for number in 0..watching {
            let key = SubscriberKey(number);
            room.add_subscriber(key, person(number), Fill::Follow);
            let offer = SlotOffer { id: SLOT, kind: MediaKind::Video, codecs: vec![Codec::Vp8] };
            room.set_slots(key, vec![offer], |_| 7);
            room.set_ready(key);
        }
        Self {
            room,
            now: Instant::now(),
            source,
            publisher,
            seqs: [70_000, 80_000, 90_000],
            frame: 0,
            sent: [true; 3],
            asked: [1; 3],
            recorded: Vec::new(),
        }
    }

    /// Lets so much time pass, with so many bits a second for each who watches. Gives what each got.
    fn runs(&mut self, time: Duration, lines: &[u64]) -> Vec<Vec<Came>> {
        let mut came = vec![Vec::new(); lines.len()];
        let until = self.now + time;
        while self.now < until {
            self.now += FRAME;
            self.frame += 1;
            for (number, bits) in lines.iter().enumerate() {
                self.room.share_out(self.now, SubscriberKey(number as u32), *bits);
            }
            for layer in 0..3 {
                if !self.sent[layer] {
                    continue;
                }
                self.asked[layer] = self.asked[layer].saturating_sub(1);
                let keyframe = self.asked[layer] == 0;
                self.asked[layer] = if keyframe { u32::MAX } else { self.asked[layer] };
                self.frame_of(layer, keyframe);
            }
            self.room.flush(self.now, |out| {
                let [layer, keyframe] = *out.payload.last_chunk().unwrap();
                came[out.subscriber.0 as usize].push(Came {
                    layer: usize::from(layer),
                    keyframe: keyframe == 1,
                    index: out.index,
                    timestamp: out.timestamp,
                    numbers: out.numbers,
                });
            });
            while let Some((_, layer)) = self.room.poll_keyframe_wanted() {
                self.asked[layer] = self.asked[layer].min(2);
            }
            while self.room.poll_output().is_some() {}
        }
        came
    }

    fn frame_of(&mut self, layer: usize, keyframe: bool) {
        let (height, len) = LAYERS[layer];
        // Each layer has picture numbers and a clock of its own.
        let picture = 0x8000 | (self.frame as u16 + 3_000 * layer as u16) & 0x7fff;
        for part in 0..PACKETS[layer] {
            let starts = part == 0;
            let mut payload = vec![0x80 | if starts { 0x10 } else { 0 }, 0xc0];
            payload.extend(picture.to_be_bytes());
            payload.push((self.frame as u8).wrapping_add(layer as u8));
            let [low, high] = height.to_le_bytes();
            payload.extend([u8::from(!keyframe), 0x02, 0x00, 0x9d, 0x01, 0x2a, 64, 0, low, high]);
            payload.resize(len, 0);
            payload.extend([layer as u8, u8::from(keyframe && starts)]);
            let seq = self.seqs[layer];
            self.seqs[layer] += 1;
            let timestamp = self.frame * 3_600 + 1_000_000 * layer as u32;
            if self.room.records(self.now, self.source, layer, &payload) {
                self.recorded.push((layer, keyframe && starts));
            }
            let marker = part + 1 == PACKETS[layer];
            assert!(self.room.ingest(
                self.source,
                layer,
                Incoming { seq, timestamp, marker, payload: &payload }
            ));
        }
    }

    fn draws(&mut self, number: u32, height: u16) {
        self.room.set_view(SubscriberKey(number), vec![(self.publisher, height)]);
    }
}

fn last(came: &[Came]) -> usize {
    came.last().expect("something came").layer
}

/// One stream without a seam, in which another layer begins with a keyframe.
fn is_one_stream(came: &[Came]) -> usize {
    let mut switches = 0;
    assert!(came[0].keyframe);
    for pair in came.windows(2) {
        let [before, after] = pair else { unreachable!() };
        assert_eq!(after.index, before.index + 1, "{before:?} {after:?}");
        let passed = after.timestamp.wrapping_sub(before.timestamp);
        let pictures = after.numbers.picture.unwrap().wrapping_sub(before.numbers.picture.unwrap()) & 0x7fff;
        let tl0 = after.numbers.tl0.unwrap().wrapping_sub(before.numbers.tl0.unwrap());
        assert_eq!(u16::from(tl0), pictures);
        if before.layer == after.layer {
            assert!(passed == 3_600 * u32::from(pictures) && pictures <= 1, "{before:?} {after:?}");
        } else {
            assert!(after.keyframe, "a switch within a picture: {before:?} {after:?}");
            assert!((1..=3_600).contains(&passed) && pictures == 1, "{before:?} {after:?}");
            switches += 1;
        }
    }
    switches
}

#[test]
fn each_gets_the_layer_for_its_tile_and_its_line() {
    let mut story = Story::new(3);
    let wide = [WIDE; 3];
    let mut all = story.runs(3 * SECOND, &wide);
    assert!(all.iter().all(|came| last(came) == 2), "who says nothing gets the largest");
    story.draws(1, 150);
    story.draws(2, 0);
    let mut go_on = |story: &mut Story, time, lines: &[u64]| {
        let came = story.runs(time, lines);
        all.iter_mut().zip(&came).for_each(|(all, came)| all.extend(came));
        [last(&came[0]), last(&came[1]), last(&came[2])]
    };
    assert_eq!(go_on(&mut story, SECOND, &wide), [2, 1, 0]);
    story.draws(1, 300);
    story.draws(2, 80);
    assert_eq!(go_on(&mut story, SECOND, &wide), [2, 2, 0], "on demand");
    // The first has a line that takes the middle layer, then hardly the lowest; the others do not see it.
    let narrow = |bits| [bits, WIDE, WIDE];
    assert_eq!(go_on(&mut story, 3 * SECOND, &narrow(200_000)), [1, 2, 0]);
    assert_eq!(go_on(&mut story, 3 * SECOND, &narrow(40_000)), [0, 2, 0]);
    assert_eq!(go_on(&mut story, 10 * SECOND, &wide), [2, 2, 0], "and back");
    let switches: Vec<usize> = all.iter().map(|came| is_one_stream(came)).collect();
    assert!(switches[0] >= 3 && switches[1] >= 2 && switches[2] >= 1, "{switches:?}");
}

#[test]
fn what_is_sent_again_is_of_the_layer_that_plays() {
    let mut story = Story::new(1);
    let before = *story.runs(3 * SECOND, &[WIDE])[0].last().unwrap();
    let again = |story: &mut Story, came: Came| {
        let out = story.room.sent(story.now, SubscriberKey(0), SLOT, came.index as u16)?;
        assert_eq!((out.index, out.timestamp, out.numbers), (came.index, came.timestamp, came.numbers));
        Some(usize::from(out.payload[out.payload.len() - 2]))
    };
    assert_eq!(again(&mut story, before), Some(2));
    story.draws(0, 90);
    let after = *story.runs(SECOND, &[WIDE])[0].last().unwrap();
    assert_eq!((after.layer, again(&mut story, after)), (0, Some(0)));
    assert_eq!(again(&mut story, before), None, "of a layer that no longer plays");
}

#[test]
fn a_layer_that_stops_is_left_and_taken_again_when_it_comes() {
    let mut story = Story::new(1);
    story.runs(3 * SECOND, &[WIDE]);
    story.sent[2] = false;
    let came = story.runs(4 * SECOND, &[WIDE]).remove(0);
    assert_eq!(last(&came), 1);
    story.sent[2] = true;
    let came = story.runs(5 * SECOND, &[WIDE]).remove(0);
    assert_eq!(last(&came), 2);
    is_one_stream(&came[came.iter().position(|came| came.keyframe).unwrap()..]);
}

#[test]
fn the_recorder_has_the_largest_that_comes_and_no_other_beside_it() {
    let mut story = Story::new(1);
    story.draws(0, 90);
    // At first there is only the lowest, as while a sender does not know its line.
    story.sent = [true, false, false];
    story.runs(SECOND, &[WIDE]);
    story.sent = [true; 3];
    story.asked = [1; 3];
    let keyframes = |story: &mut Story, time: Duration| {
        let until = story.now + time;
        while story.now < until {
            // The recorder asks for them.
            let (_, wanted) = story.room.recorder_layers(story.now, story.source);
            story.asked[wanted] = story.asked[wanted].min(2);
            story.runs(SECOND, &[WIDE]);
        }
    };
    keyframes(&mut story, 6 * SECOND);
    assert_eq!(story.recorded.last().unwrap().0, 2);
    story.sent[2] = false;
    keyframes(&mut story, 6 * SECOND);
    assert_eq!(story.recorded.last().unwrap().0, 1);
    story.sent[2] = true;
    keyframes(&mut story, 6 * SECOND);
    assert_eq!(story.recorded.last().unwrap().0, 2);
    let mut layers = vec![0];
    for (layer, keyframe) in &story.recorded {
        if layers.last() != Some(layer) {
            assert!(keyframe, "a layer begins within a picture");
            layers.push(*layer);
        }
    }
    // It rises by what comes first, and does not wait for the largest.
    assert_eq!(layers, [0, 1, 2, 1, 2]);
    assert!(story.recorded[0].1);
}

#[test]
fn what_nobody_takes_need_not_be_sent_until_somebody_does() {
    let mut story = Story::new(2);
    let wide = [WIDE; 2];
    story.runs(3 * SECOND, &wide);
    let review = |story: &mut Story| story.room.review_layers(story.now, story.source);
    assert_eq!(review(&mut story), None);
    story.draws(0, 90);
    story.draws(1, 90);
    story.runs(3 * SECOND, &wide);
    assert_eq!(review(&mut story), None, "all were sent until now");
    story.runs(6 * SECOND, &wide);
    assert_eq!(review(&mut story), Some([true, false, true]), "the recorder has the largest");
    assert_eq!(review(&mut story), None, "it was told");
    let participants = [ParticipantId::from_u128(1), ParticipantId::from_u128(2)].into();
    let audience = Audience { participants, recorder: false };
    story.room.set_audience(story.publisher, MediaKind::Video, audience);
    assert_eq!(review(&mut story), None);
    story.runs(6 * SECOND, &wide);
    assert_eq!(review(&mut story), Some([true, false, false]));
    story.sent = [true, false, false];
    story.runs(6 * SECOND, &wide);

    story.draws(0, 360);
    story.runs(FRAME, &wide);
    assert_eq!(review(&mut story), Some([true, false, true]), "at once");
    let came = story.runs(SECOND, &wide);
    assert!(came.iter().all(|came| last(came) == 0), "what plays goes on until the other comes");
    story.sent[2] = true;
    let came = story.runs(2 * SECOND, &wide);
    assert_eq!([last(&came[0]), last(&came[1])], [2, 0]);
}

#[test]
fn who_joins_while_the_larger_layers_are_paused_begins_with_what_comes() {
    let mut story = Story::new(2);
    let (me, participants) = (ParticipantId::from_u128(2), [1, 2].map(ParticipantId::from_u128).into());
    story.room.set_audience(story.publisher, MediaKind::Video, Audience { participants, recorder: false });
    story.room.remove_subscriber(SubscriberKey(1));
    story.draws(0, 90);
    story.runs(3 * SECOND, &[WIDE]);
    story.room.review_layers(story.now, story.source);
    story.runs(6 * SECOND, &[WIDE]);
    assert_eq!(story.room.review_layers(story.now, story.source), Some([true, false, false]));
    story.sent = [true, false, false];
    story.runs(3 * SECOND, &[WIDE]);

    let key = SubscriberKey(1);
    story.room.add_subscriber(key, me, Fill::Follow);
    let offer = SlotOffer { id: SLOT, kind: MediaKind::Video, codecs: vec![Codec::Vp8] };
    story.room.set_slots(key, vec![offer], |_| 7);
    story.room.set_ready(key);
    let came = story.runs(SECOND / 4, &[WIDE; 2]).remove(1);
    assert!(came.iter().all(|came| came.layer == 0) && came[0].keyframe, "{came:?}");
    assert_eq!(story.room.layers_of(key, SLOT), Some((Some(0), 2)), "and waits for what it shall have");
    assert_eq!(story.room.review_layers(story.now, story.source), Some([true, false, true]));
    story.sent[2] = true;
    assert_eq!(last(&story.runs(SECOND, &[WIDE; 2])[1]), 2);
}

#[test]
fn the_recorder_goes_on_with_what_comes_when_its_layer_stops() {
    let mut story = Story::new(1);
    story.draws(0, 90);
    // Keyframes come only when somebody asks.
    let go_on = |story: &mut Story, time: Duration| {
        let until = story.now + time;
        while story.now < until {
            if let Some(layer) = story.room.recorder_lacks(story.now, story.source) {
                story.asked[layer] = story.asked[layer].min(2);
            }
            story.runs(SECOND / 5, &[WIDE]);
        }
    };
    let review = |story: &mut Story| story.room.review_layers(story.now, story.source);
    go_on(&mut story, 3 * SECOND);
    assert_eq!(review(&mut story), None);
    go_on(&mut story, 6 * SECOND);
    assert_eq!(review(&mut story), Some([true, false, true]));
    story.sent = [true, false, true];
    go_on(&mut story, 3 * SECOND);
    assert_eq!(story.recorded.last().unwrap().0, 2);
    assert_eq!(story.room.recorder_lacks(story.now, story.source), None);

    story.sent[2] = false;
    go_on(&mut story, 3 * SECOND);
    assert_eq!(story.recorded.last().unwrap().0, 0, "there is no other");
    assert_eq!(review(&mut story), Some([true, true, true]), "but there could be");
    story.sent[1] = true;
    go_on(&mut story, 4 * SECOND);
    assert_eq!(story.recorded.last().unwrap().0, 1);
}

#[test]
fn the_recorder_does_not_wait_on_a_layer_that_stopped_as_soon_as_it_began() {
    let mut story = Story::new(1);
    story.draws(0, 90);
    story.sent = [true, false, false];
    story.runs(SECOND / 2, &[WIDE]);
    assert_eq!(story.recorded.last().unwrap().0, 0);
    story.sent = [false, true, false];
    for _ in 0..5 {
        if let Some(layer) = story.room.recorder_lacks(story.now, story.source) {
            story.asked[layer] = story.asked[layer].min(1);
        }
        story.runs(SECOND / 5, &[WIDE]);
    }
    assert_eq!(story.recorded.last().unwrap().0, 1, "a second after the last packet of the first");
}

#[test]
fn the_recorder_does_not_go_to_and_fro_within_a_batch() {
    let mut story = Story::new(1);
    story.draws(0, 90);
    story.sent = [true, false, true];
    story.runs(SECOND, &[WIDE]);
    story.sent[2] = false;
    story.runs(SECOND, &[WIDE]);
    story.asked[0] = 1;
    story.runs(3 * SECOND, &[WIDE]);
    assert_eq!(story.recorded.last().unwrap().0, 0);
    // Nothing of the larger one has gone out yet when the smaller one begins again too.
    story.now += FRAME;
    story.frame += 1;
    story.recorded.clear();
    story.frame_of(2, true);
    story.frame_of(0, true);
    story.frame_of(2, false);
    story.frame_of(0, true);
    assert_eq!(story.recorded, [(2, true), (2, false), (2, false), (2, false)]);
}

#[test]
fn a_publisher_is_told_again_when_what_it_was_told_may_be_lost() {
    let mut story = Story::new(1);
    let review = |story: &mut Story| story.room.review_layers(story.now, story.source);
    story.draws(0, 90);
    story.runs(SECOND, &[WIDE]);
    review(&mut story);
    story.runs(6 * SECOND, &[WIDE]);
    let told = review(&mut story);
    assert_eq!((told, review(&mut story)), (Some([true, false, true]), None));
    story.room.retell_layers(story.source);
    assert_eq!((review(&mut story), review(&mut story)), (told, None));
}
