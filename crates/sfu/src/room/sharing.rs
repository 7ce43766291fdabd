//! What each subscriber's line carries, shared out among what it may have.

use std::time::Instant;

use hewei_model::MediaKind;

use super::{Output, Room};
use crate::subscriber::{Slot, SubscriberKey};

impl Room {
    /// Shares out what a subscriber may be sent, in bits a second: sound goes first, whatever it takes, then the smallest
    /// layer of each picture in the order of their slots, then larger ones as far as their tiles can use them. A picture
    /// of which not even the smallest layer goes through is held back until it does. Returns what all of it would take.
    pub fn share_out(&mut self, now: Instant, key: SubscriberKey, bits_per_second: u64) -> u64 {
        self.now = Some(now);
        let Some(subscriber) = self.subscribers.get_mut(&key.0) else { return 0 };
        let sources = &self.sources;
        let source_of = |slot: &Slot, kind| {
            let source = slot.playing.and_then(|source| sources.get(&source.0));
            source.filter(|source| source.kind() == kind)
        };
        let sound: u64 = subscriber
            .slots
            .iter()
            .filter_map(|slot| Some(source_of(slot, MediaKind::Audio)?.ladder(now).lowest().bits))
            .sum();
        let (mut left, mut all, mut changed) = (bits_per_second.saturating_sub(sound), sound, false);
        for at in 0..subscriber.slots.len() {
            let Some(source) = source_of(&subscriber.slots[at], MediaKind::Video) else { continue };
            let ladder = source.ladder(now);
            let highest = ladder.highest_for(subscriber.view_of(source.publisher));
            let (least, slot) = (ladder.lowest().bits, &mut subscriber.slots[at]);
            all += ladder.rungs()[highest].bits;
            if slot.holding.decide(now, least, left) {
                changed = true;
                if slot.holding.is_held() {
                    slot.rewriter.stop();
                } else {
                    self.keyframes_wanted.extend(slot.playing.map(|source| (source, slot.target)));
                }
            }
            if !slot.holding.is_held() {
                left = left.saturating_sub(least);
            }
        }
        for at in 0..subscriber.slots.len() {
            let Some(source) = source_of(&subscriber.slots[at], MediaKind::Video) else { continue };
            if !source.is_simulcast() || subscriber.slots[at].holding.is_held() {
                continue;
            }
            let ladder = source.ladder(now);
            let highest = ladder.highest_for(subscriber.view_of(source.publisher));
            let (least, slot) = (ladder.lowest().bits, &mut subscriber.slots[at]);
            let layer = slot.choice.decide(now, &ladder, highest, slot.target, left.saturating_add(least));
            if layer != slot.target {
                slot.target = layer;
                self.keyframes_wanted.extend(slot.playing.map(|source| (source, layer)));
            }
            let takes =
                ladder.rungs().iter().find(|rung| rung.layer == layer).map_or(least, |rung| rung.bits);
            left = left.saturating_add(least).saturating_sub(takes);
        }
        if changed {
            self.outputs.push_back(Output::SlotsChanged(key));
        }
        all
    }
}
