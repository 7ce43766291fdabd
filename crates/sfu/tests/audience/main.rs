//! Whatever happens in a room, a packet goes to the audience of its source at that moment and to nobody else: live,
//! sent again, or into the recorder. And it does go there: each packet that somebody may have, asked for and has a slot
//! for is compared with what came, so that a room that sends nothing fails as well.
//!
//! More than a million seeded steps. A failure prints the seed; `AUDIENCE_SEED=… cargo test -p hewei-sfu --test audience`
//! repeats that room alone.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod model;
mod noise;
mod world;

use std::{
    fmt,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use hewei_model::{Audience, Codec, MediaKind, TrackId};
use hewei_sfu::{Fill, Incoming, Room, SlotId, SlotOffer, SubscriberKey};
use model::{Who, participant};
use world::World;

const ROOMS: u64 = 55;
const STEPS_A_ROOM: u64 = 20_000;

/// How often each thing happened, so that a test in which nothing happens is seen to be none.
#[derive(Debug, Default)]
pub struct Tally {
    steps: u64,
    joins: u64,
    leaves: u64,
    audiences: u64,
    moves: u64,
    tracks: u64,
    switches: u64,
    layers: u64,
    lines: u64,
    held: u64,
    speakers: u64,
    recorder_layers: u64,
    taken_in: u64,
    forwarded: u64,
    to_nobody: u64,
    sent_again: u64,
    not_sent_again: u64,
    recorded: u64,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, count) in self.rows() {
            writeln!(f, "{what:<44} {count:>10}")?;
        }
        Ok(())
    }
}

impl Tally {
    fn rows(&self) -> [(&'static str, u64); 18] {
        [
            ("steps", self.steps),
            ("joins", self.joins),
            ("leaves", self.leaves),
            ("audiences changed", self.audiences),
            ("moves between groups", self.moves),
            ("tracks begun", self.tracks),
            ("slots in which something else played", self.switches),
            ("slots in which another layer played", self.layers),
            ("lines shared out", self.lines),
            ("pictures held back", self.held),
            ("times that who spoke was heard", self.speakers),
            ("layers that the recorder went to", self.recorder_layers),
            ("packets taken in", self.taken_in),
            ("packets forwarded", self.forwarded),
            ("packets taken in that were for nobody", self.to_nobody),
            ("packets sent again", self.sent_again),
            ("packets asked for and not sent again", self.not_sent_again),
            ("packets that the recorder may keep", self.recorded),
        ]
    }
}

#[test]
fn nothing_reaches_anyone_outside_of_the_audience() {
    let given = std::env::var("AUDIENCE_SEED").ok().map(|seed| seed.parse().unwrap());
    let first =
        given.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64);
    let rooms = if given.is_some() { 1 } else { ROOMS };
    let mut tally = Tally::default();
    for seed in first..first + rooms {
        World::new(seed).run(STEPS_A_ROOM, &mut tally);
    }
    println!("seeds {first} to {}\n{tally}", first + rooms - 1);
    for (what, count) in tally.rows() {
        assert!(count >= tally.steps / 1_000, "too few {what}: {count}");
    }
}

/// A run that begins with a late packet has numbers in it of packets that came before it. Who was let in between the two
/// could ask for what was said before.
#[test]
fn what_was_said_before_somebody_was_let_in_is_not_sent_to_them() {
    let (mut room, now) = (Room::new(), Instant::now());
    let (viewer, slot, publisher) = (SubscriberKey(0), SlotId(0), Who::Person(1).publisher());
    room.add_subscriber(viewer, participant(0), Fill::Follow);
    let offer = SlotOffer { id: slot, kind: MediaKind::Audio, codecs: vec![Codec::Opus] };
    room.set_slots(viewer, vec![offer], |_| 40);
    room.set_ready(viewer);
    let source = room.add_source(publisher, TrackId::generate(), Codec::Opus, 1);
    let take = |room: &mut Room, seq: u64| {
        let payload = seq.to_be_bytes();
        assert!(room.ingest(source, 0, Incoming { seq, timestamp: 0, marker: false, payload: &payload }));
    };
    let flush = |room: &mut Room| {
        let mut sent = Vec::new();
        room.flush(now, |out| sent.push((out.index, u64::from_be_bytes(out.payload.try_into().unwrap()))));
        sent
    };

    for seq in [101, 103] {
        take(&mut room, seq);
    }
    assert_eq!(flush(&mut room), []);
    // In the batch that brings the change.
    take(&mut room, 104);
    let audience = Audience { participants: [participant(0)].into(), recorder: false };
    room.set_audience(publisher, MediaKind::Audio, audience);
    assert_eq!(flush(&mut room), []);
    for seq in [100, 102, 105] {
        take(&mut room, seq);
    }
    assert_eq!(flush(&mut room), [(40, 100), (42, 102), (45, 105)]);
    let again: Vec<u16> = (38..48).filter(|seq| room.sent(now, viewer, slot, *seq).is_some()).collect();
    assert_eq!(again, [40, 42, 45]);
}
