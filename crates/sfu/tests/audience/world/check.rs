//! What the room says and sends, held against the model.

use std::collections::{BTreeMap, HashSet, VecDeque};

use hewei_model::MediaKind;
use hewei_sfu::{Output, SlotId, SubscriberKey};

use super::{CLOCK_S, World};
use crate::{
    Tally,
    model::{Due, Sent, Wish},
};

impl World {
    /// What was taken in goes out: to each who is due to have it, in order, and to nobody else.
    pub(super) fn flush(&mut self, tally: &mut Tally) {
        // What the batch led to may have changed who plays where.
        self.settle(None);
        let mut due: BTreeMap<(u32, u16), VecDeque<Due>> = BTreeMap::new();
        for one in self.model.due() {
            due.entry((one.sink, one.slot)).or_default().push_back(one);
        }
        let mut sent: Vec<((u32, u16), u64, Sent)> = Vec::new();
        let model = &self.model;
        self.room.flush(self.now, |out| {
            sent.push(((out.subscriber.0, out.slot.0), out.index, model.admit(&out, out.payload)));
        });
        tally.forwarded += sent.len() as u64;
        for (place, index, what) in sent {
            let next = due.get_mut(&place).and_then(VecDeque::pop_front);
            let next = next.unwrap_or_else(|| panic!("{place:?} got {what:?}, which is not due there"));
            self.model.note(&next, index, what);
        }
        let left: Vec<_> = due.values().flatten().collect();
        assert!(left.is_empty(), "who is in the audience and has a slot did not get {left:?}");
    }

    /// Asks for a packet again: what comes is what went out under this number in this slot, if its source plays there
    /// still, to somebody who is still in its audience.
    pub(super) fn again(&mut self, sink: u32, slot: u16, seq: u16, tally: &mut Tally) {
        let slot = SlotId(slot);
        let may = self.model.again(sink, slot, seq);
        let Some(out) = self.room.sent(self.now, SubscriberKey(sink), slot, seq) else {
            assert!(may.is_none_or(|(.., must)| !must), "{may:?} is not sent again");
            tally.not_sent_again += 1;
            return;
        };
        assert_eq!((out.subscriber.0, out.slot, out.index as u16), (sink, slot, seq));
        let sent = self.model.admit(&out, out.payload);
        let (index, source, packet, _) =
            may.unwrap_or_else(|| panic!("{sink} is sent again {sent:?}, which was never for it"));
        assert_eq!((out.index, sent.source, sent.packet), (index, source, packet));
        let before = self.model.sinks[&sink].slots[&slot.0].sent.get(&index);
        assert!(before.is_none_or(|before| *before == sent), "{before:?} became {sent:?} by the same number");
        tally.sent_again += 1;
    }

    /// The clock of a source reaches those in whose slots it plays.
    pub(super) fn clock(&mut self, source: u32) {
        let key = self.model.sources[&source].key;
        for layer in 0..self.model.sources[&source].layers.len() {
            self.room.sender_report(self.now, key, layer, (u64::from(source) * CLOCK_S) << 32, 0);
        }
        for (sink, state) in &self.model.sinks {
            for (id, slot) in &state.slots {
                let clock = self.room.slot_clock(self.now, SubscriberKey(*sink), SlotId(*id));
                let told = clock.map(|(ntp, _)| ((ntp >> 32) / CLOCK_S) as u32);
                assert!(
                    told.is_none() || told == slot.playing,
                    "{sink} has the clock of {told:?} in slot {id}"
                );
            }
        }
    }

    /// A layer that somebody takes has to be sent, and the lowest always.
    pub(super) fn review(&mut self, source: u32) {
        let key = self.model.sources[&source].key;
        let Some(sent) = self.room.review_layers(self.now, key) else { return };
        assert!(sent[0], "the lowest layer of {source} need not be sent");
        let slots = self.model.sinks.values().flat_map(|sink| sink.slots.values());
        for slot in slots.filter(|slot| slot.playing == Some(source) && !slot.held) {
            assert!(sent[slot.target], "layer {} of {source} is taken and need not be sent", slot.target);
            assert!(
                slot.run.is_none_or(|run| sent[run.layer]),
                "{:?} of {source} need not be sent",
                slot.run
            );
        }
    }

    /// After every change: what plays is what may play, what may play and has a slot does, the recorder keeps what it
    /// may, and who has to know is told. A keyframe of `asked` has to be wanted.
    pub(super) fn settle(&mut self, asked: Option<u32>) {
        let mut wanted: HashSet<u32> = HashSet::new();
        let mut layers = HashSet::new();
        while let Some((key, layer)) = self.room.poll_keyframe_wanted() {
            wanted.insert(self.model.by_key[&key]);
            layers.insert((self.model.by_key[&key], layer));
        }
        let mut told = HashSet::new();
        while let Some(output) = self.room.poll_output() {
            match output {
                Output::SlotsChanged(sink) => _ = told.insert(sink.0),
                Output::NeedSlots { subscriber, audio, video } => {
                    let sink = &self.model.sinks[&subscriber.0];
                    assert_eq!(sink.wish, Wish::All, "who did not ask for all is asked for more slots");
                    let may = [MediaKind::Audio, MediaKind::Video].map(|kind| self.model.wanted(sink, kind));
                    assert_eq!([audio as usize, video as usize], may, "slots for what it may not have");
                }
            }
        }
        self.asked.extend(&layers);
        let changed = self.observe(&layers);
        for (sink, playing) in changed {
            assert!(told.contains(&sink), "{sink} is not told that its slots changed");
            let video = playing.filter(|source| self.model.sources[source].codec.kind() == MediaKind::Video);
            assert!(
                video.is_none_or(|source| wanted.contains(&source)),
                "no keyframe is asked of {playing:?}"
            );
        }
        assert!(asked.is_none_or(|source| wanted.contains(&source)), "no keyframe is asked of {asked:?}");
        for source in &wanted {
            let mut slots = self.model.sinks.values().flat_map(|sink| sink.slots.values());
            assert!(slots.any(|slot| slot.playing == Some(*source)), "a keyframe of {source} for nobody");
        }
        for (number, source) in &self.model.sources {
            let may = self.model.is_recorded(source);
            assert_eq!(self.room.is_recorded(source.key), may, "whether the recorder may keep {number}");
        }
        for (key, sink) in &self.model.sinks {
            self.check_sink(*key, sink);
        }
    }

    /// Looks at what plays in each slot now. Gives the sinks where that has changed, and to what. `asked` are the layers of
    /// which a keyframe is wanted.
    fn observe(&mut self, asked: &HashSet<(u32, usize)>) -> Vec<(u32, Option<u32>)> {
        let mut changed = Vec::new();
        for (key, sink) in &mut self.model.sinks {
            for (id, slot) in &mut sink.slots {
                let playing = self.room.source_of(SubscriberKey(*key), SlotId(*id));
                let playing = playing.map(|source| self.model.by_key[&source]);
                if playing != slot.playing {
                    self.switches += u64::from(slot.playing.is_some() && !slot.sent.is_empty());
                    (slot.playing, slot.run, slot.since) = (playing, None, self.model.taken);
                    changed.push((*key, playing));
                }
                let Some((_, target)) = self.room.layers_of(SubscriberKey(*key), SlotId(*id)) else {
                    continue;
                };
                let other = std::mem::replace(&mut slot.target, target) != target;
                if let Some(source) =
                    playing.filter(|source| other && self.model.sources[source].layers.len() > 1)
                {
                    assert!(
                        asked.contains(&(source, target)),
                        "no keyframe of layer {target} of {source} is asked"
                    );
                }
                let plan = self.room.playing(SubscriberKey(*key)).find(|playing| playing.slot.0 == *id);
                slot.held = plan.is_some_and(|plan| plan.held);
                if slot.held {
                    slot.run = None;
                }
            }
        }
        changed
    }

    fn check_sink(&self, key: u32, sink: &crate::model::Sink) {
        let mut playing = HashSet::new();
        for (id, slot) in &sink.slots {
            let Some(source) = slot.playing else { continue };
            assert!(
                self.model.wants(sink, source),
                "{source} plays in slot {id} of {key}, which may not have it"
            );
            assert!(
                slot.codecs.contains(&self.model.sources[&source].codec),
                "slot {id} of {key} cannot have {source}"
            );
            assert!(playing.insert(source), "{source} plays twice for {key}");
        }
        let subscriber = SubscriberKey(key);
        let listed: HashSet<_> =
            self.room.playing(subscriber).map(|playing| (playing.slot.0, playing.publisher)).collect();
        let slots = sink.slots.iter();
        let expected: HashSet<_> = slots
            .filter_map(|(id, slot)| Some((*id, self.model.sources[&slot.playing?].who.publisher())))
            .collect();
        assert_eq!(listed, expected, "the plan of {key}");
        if let Some(speaker) = self.room.speaker(subscriber) {
            let heard = playing.iter().map(|source| &self.model.sources[source]);
            let mut sounds = heard.filter(|source| source.codec.kind() == MediaKind::Audio);
            assert!(
                sounds.any(|source| source.who.publisher() == speaker),
                "{key} is told that {speaker} speaks, whom it does not hear"
            );
        }
        if sink.wish == Wish::Now {
            return;
        }
        let available = self.room.available(subscriber);
        let may = [MediaKind::Audio, MediaKind::Video].map(|kind| self.model.wanted(sink, kind));
        assert_eq!([available.0, available.1], may, "what {key} may have");
        for (number, source) in &self.model.sources {
            if playing.contains(number) || !self.model.wants(sink, *number) {
                continue;
            }
            let free = sink.slots.iter().find(|(_, slot)| {
                slot.playing.is_none()
                    && slot.kind == source.codec.kind()
                    && slot.codecs.contains(&source.codec)
            });
            assert!(free.is_none(), "{key} may have {number} and has a free slot for it");
        }
    }
}
