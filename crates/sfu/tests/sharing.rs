//! A line that is too narrow: sound goes on, a picture is held back and comes back with a keyframe.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::time::{Duration, Instant};

use hewei_model::{Audience, Codec, MediaKind, ParticipantId, Publisher, TrackId};
use hewei_sfu::{Fill, Incoming, Output, Room, SlotId, SlotOffer, SourceKey, SubscriberKey};

const ME: SubscriberKey = SubscriberKey(1);
const FRAME: Duration = Duration::from_millis(20);
/// 50 packets a second: 400 kbit/s.
const PICTURE: usize = 1_000;
const SOUND: usize = 100;
/// Two megabits a second of it.
const LOUD: usize = 5_000;

struct Story {
    room: Room,
    now: Instant,
    sources: Vec<(SourceKey, Codec)>,
    seq: u64,
    keyframe: bool,
    sound: usize,
}

impl Story {
    /// One person's sound and picture, another's picture, and somebody who gets them in the slots 0, 1 and 2.
    fn new() -> Self {
        let mut room = Room::new();
        let person = |who| Publisher::Participant(ParticipantId::from_u128(who));
        let me = ParticipantId::from_u128(9);
        let sources = [(1, Codec::Opus), (1, Codec::Vp8), (2, Codec::Vp8)]
            .into_iter()
            .map(|(who, codec)| {
                let audience = Audience { participants: [me].into(), recorder: false };
                room.set_audience(person(who), codec.kind(), audience);
                (room.add_source(person(who), TrackId::generate(), codec, 1), codec)
            })
            .collect();
        room.add_subscriber(ME, me, Fill::Follow);
        let offer = |id, codec: Codec| SlotOffer { id: SlotId(id), kind: codec.kind(), codecs: vec![codec] };
        room.set_slots(ME, vec![offer(0, Codec::Opus), offer(1, Codec::Vp8), offer(2, Codec::Vp8)], |_| 1);
        room.set_ready(ME);
        Self { room, now: Instant::now(), sources, seq: 70_000, keyframe: true, sound: SOUND }
    }

    /// What came in each slot in so much time with so many bits a second.
    fn runs(&mut self, time: Duration, bits_per_second: u64) -> [u32; 3] {
        let mut came = [0; 3];
        let until = self.now + time;
        while self.now < until {
            self.now += FRAME;
            self.seq += 1;
            for (source, codec) in &self.sources {
                let mut payload = vec![0x78; self.sound];
                if codec.kind() == MediaKind::Video {
                    payload = vec![0x11; PICTURE];
                    let head = [0x10, u8::from(!self.keyframe), 0x02, 0x00, 0x9d, 0x01, 0x2a, 64, 0, 64, 0];
                    payload[..head.len()].copy_from_slice(&head);
                }
                let timestamp = self.seq as u32 * 960;
                let packet = Incoming { seq: self.seq, timestamp, marker: true, payload: &payload };
                assert!(self.room.ingest(*source, 0, packet));
            }
            self.keyframe = false;
            self.room.flush(self.now, |out| came[usize::from(out.slot.0)] += 1);
            self.room.share_out(self.now, ME, bits_per_second);
        }
        came
    }

    fn held(&self) -> Vec<u16> {
        self.room.playing(ME).filter(|playing| playing.held).map(|playing| playing.slot.0).collect()
    }

    fn told(&mut self) -> bool {
        let outputs = std::iter::from_fn(|| self.room.poll_output());
        outputs.filter(|output| *output == Output::SlotsChanged(ME)).count() > 0
    }

    fn keyframes_wanted(&mut self) -> Vec<SourceKey> {
        std::iter::from_fn(|| self.room.poll_keyframe_wanted()).map(|(source, _)| source).collect()
    }
}

#[test]
fn the_last_picture_is_held_back_and_comes_back() {
    let mut story = Story::new();
    let second = Duration::from_secs(1);
    assert_eq!(story.runs(3 * second, 5_000_000), [150; 3]);
    story.told();
    story.keyframes_wanted();

    // Sound takes 54 kbit/s, a picture about 415.
    assert_eq!(story.runs(second, 500_000), [50; 3], "not for a moment");
    let came = story.runs(2 * second, 500_000);
    assert!(came[0] == 100 && came[1] == 100 && came[2] < 10, "{came:?}");
    assert_eq!((story.held(), story.told()), (vec![2], true));
    assert!(story.room.sent(story.now, ME, SlotId(2), 1).is_none(), "nor by retransmission");

    let came = story.runs(3 * second, 100_000);
    assert!(came[0] == 150 && came[1] < 60 && came[2] == 0, "{came:?}");
    assert_eq!(story.held(), [1, 2]);
    assert_eq!(story.room.share_out(story.now, ME, 0) / 100_000, 8, "all of it would take so much");

    story.told();
    let came = story.runs(9 * second, 5_000_000);
    assert_eq!((came[0], came[1], came[2]), (450, 0, 0), "without a keyframe there is nothing to begin with");
    assert_eq!((story.held(), story.told()), (vec![], true));
    let wanted = story.keyframes_wanted();
    assert!(story.sources[1..].iter().all(|(source, _)| wanted.contains(source)), "{wanted:?}");
    story.keyframe = true;
    assert_eq!(story.runs(second, 5_000_000), [50; 3]);
}

#[test]
fn sound_that_is_far_too_much_darkens_no_picture() {
    let mut story = Story::new();
    let second = Duration::from_secs(1);
    story.sound = LOUD;
    assert_eq!(story.runs(6 * second, 1_500_000), [300; 3]);
    assert!(story.held().is_empty());
}

#[test]
fn who_was_silent_takes_no_room() {
    let mut story = Story::new();
    let second = Duration::from_secs(1);
    story.runs(3 * second, 5_000_000);
    let other = story.sources.remove(1);
    story.runs(4 * second, 5_000_000);
    let all = story.room.share_out(story.now, ME, 5_000_000);
    assert!((400_000..520_000).contains(&all), "{all}");
    assert!(!story.sources.contains(&other));
}
