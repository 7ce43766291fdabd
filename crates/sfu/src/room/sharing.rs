//! What each subscriber's line carries, shared out among what it may have.

use std::time::Instant;

use hewei_model::MediaKind;

use super::{Output, Room};
use crate::subscriber::{Slot, SubscriberKey};

/// Sound of one source counts for so much at the most, in bits a second: far more than a voice takes, so that nobody who
/// sends more than that leaves the others without a picture.
const SOUND_MAX: u64 = 512_000;

impl Room {
    /// Shares out what a subscriber may be sent, in bits a second: sound goes first, whatever it takes, then the smallest
    /// layer of each picture, then larger ones as far as their tiles can use them; that of who speaks ahead of the others,
    /// which follow in the order of their slots. A picture of which not even the smallest layer goes through is held back
    /// until it does. Returns what all of it would take.
    pub fn share_out(&mut self, now: Instant, key: SubscriberKey, bits_per_second: u64) -> u64 {
        self.now = Some(now);
        let Some(subscriber) = self.subscribers.get_mut(&key.0) else { return 0 };
        let sources = &self.sources;
        let source_of = |slot: &Slot, kind| {
            let source = slot.playing.and_then(|source| sources.get(&source.0));
            source.filter(|source| source.kind() == kind)
        };
        let heard = subscriber.slots.iter();
        let heard = heard.filter_map(|slot| Some((slot.playing?, source_of(slot, MediaKind::Audio)?)));
        let sound: u64 =
            heard.clone().map(|(_, source)| source.ladder(now).lowest().bits.min(SOUND_MAX)).sum();
        let loudness = heard.map(|(key, source)| (key, source.loudness.mean(now)));
        let another_speaks = subscriber.speaker.decide(now, loudness);
        let speaker = subscriber.speaker.current().and_then(|source| sources.get(&source.0));
        let speaker = speaker.map(|source| source.publisher);
        if another_speaks {
            let of_speaker = |slot: &&mut Slot| {
                source_of(slot, MediaKind::Video).is_some_and(|source| Some(source.publisher) == speaker)
            };
            for slot in subscriber.slots.iter_mut().filter(of_speaker) {
                slot.holding.hurry();
                slot.choice.hurry();
            }
        }

        // The pictures in the order of their turns, each with its source.
        let slots = subscriber.slots.len();
        let turns = [true, false].into_iter().flat_map(|speaks| (0..slots).map(move |at| (speaks, at)));
        let picture = |slot: &Slot, speaks| {
            source_of(slot, MediaKind::Video).filter(|source| (Some(source.publisher) == speaker) == speaks)
        };
        let (mut left, mut all, mut changed) = (bits_per_second.saturating_sub(sound), sound, false);
        // A picture takes room that those behind it had: it would not be there in time if they left it when it is clear
        // that the line is too narrow for both.
        let mut gives_way = false;
        for (speaks, at) in turns.clone() {
            let Some(source) = picture(&subscriber.slots[at], speaks) else { continue };
            let ladder = source.ladder(now);
            let highest = ladder.highest_for(subscriber.view_of(source.publisher));
            let (least, slot) = (ladder.lowest().bits, &mut subscriber.slots[at]);
            all += ladder.rungs()[highest].bits;
            if slot.holding.decide(now, least, left, gives_way) {
                changed = true;
                if slot.holding.is_held() {
                    slot.rewriter.stop();
                } else {
                    gives_way = true;
                    let stand_in = source.stand_in(now, slot.target);
                    let layers = std::iter::once(slot.target).chain(stand_in);
                    let wanted = layers.filter_map(|layer| Some((slot.playing?, layer)));
                    self.keyframes_wanted.extend(wanted);
                }
            }
            if !slot.holding.is_held() {
                left = left.saturating_sub(least);
            }
        }
        for (speaks, at) in turns {
            let Some(source) = picture(&subscriber.slots[at], speaks) else { continue };
            if !source.is_simulcast() || subscriber.slots[at].holding.is_held() {
                continue;
            }
            let ladder = source.ladder(now);
            let highest = ladder.highest_for(subscriber.view_of(source.publisher));
            let (least, slot) = (ladder.lowest().bits, &mut subscriber.slots[at]);
            let bits_of = |layer| {
                let rung = ladder.rungs().iter().find(|rung| rung.layer == layer);
                rung.map_or(least, |rung| rung.bits)
            };
            let room = left.saturating_add(least);
            let layer = slot.choice.decide(now, &ladder, highest, slot.target, room, gives_way);
            if layer != slot.target {
                gives_way |= bits_of(layer) > bits_of(slot.target);
                slot.target = layer;
                self.keyframes_wanted.extend(slot.playing.map(|source| (source, layer)));
            }
            left = room.saturating_sub(bits_of(layer));
        }
        if changed {
            self.outputs.push_back(Output::SlotsChanged(key));
        }
        all
    }
}
