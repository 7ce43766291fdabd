//! What happens next, by the dice.

use std::collections::{BTreeMap, BTreeSet};

use hewei_model::MediaKind;

use super::{CAMERAS, CODECS, KINDS, LATE_MAX, Offers, PEOPLE, SINKS, SLOTS, SOURCES_MAX, Step, World};
use crate::model::{HEIGHT, Packet, Set, Who, Wish};

impl World {
    /// `None` when what was drawn cannot be done just now.
    pub(super) fn draw(&mut self) -> Option<Step> {
        Some(match self.noise.below(100) {
            0..2 => {
                let (sink, person) = (self.noise.below(SINKS), self.noise.below(PEOPLE));
                let wish = match self.noise.below(6) {
                    0 => Wish::Now,
                    1 => Wish::Of(self.who()),
                    _ => Wish::All,
                };
                Step::Join { sink, person, wish }
            }
            2..5 => Step::Connect { sink: self.sink()? },
            5 => Step::Leave { sink: self.sink()? },
            6..9 => {
                let sink = self.sink()?;
                Step::Offer { sink, offers: self.offers(sink) }
            }
            9..12 if self.model.sources.len() < SOURCES_MAX => self.begin(),
            9..13 => Step::End { source: self.source()? },
            13..15 => Step::Restart { source: self.source()? },
            15..30 => self.change()?,
            30 => Step::Move { person: self.noise.below(PEOPLE) },
            31 => Step::Forget { who: self.who() },
            32..76 => {
                let of: BTreeMap<_, _> = (0..=self.noise.below(4)).filter_map(|_| self.packets()).collect();
                let of = of.into_iter().map(|((source, _), packets)| (source, packets)).collect();
                let meanwhile = match self.noise.below(40) {
                    0 => Some(Step::Leave { sink: self.sink()? }),
                    1 => Some(Step::End { source: self.source()? }),
                    2 if self.model.sources.len() < SOURCES_MAX => Some(self.begin()),
                    3 | 4 => Some(self.change()?),
                    _ => None,
                };
                Step::Packets { of, meanwhile: meanwhile.map(Box::new) }
            }
            76..96 => {
                // Also of those who are not there.
                let (sink, slot) = match self.playing() {
                    Some(place) if !self.noise.once_in(3) => place,
                    _ => (self.noise.below(SINKS), self.noise.below(SLOTS) as u16),
                };
                Step::Again { sink, slot, seqs: self.numbers(sink, slot) }
            }
            96 if self.noise.once_in(2) => Step::Clock { source: self.source()? },
            96 => Step::Review { source: self.source()? },
            _ => {
                let bits = [0, 0, 300_000, 1_500_000, 10_000_000, u64::MAX];
                Step::Line {
                    sink: self.sink()?,
                    tiles: self.tiles(),
                    bits: self.noise.pick(&bits)?,
                    stays: self.noise.once_in(2),
                }
            }
        })
    }

    fn who(&mut self) -> Who {
        match self.noise.below(PEOPLE + CAMERAS) {
            person @ 0..PEOPLE => Who::Person(person),
            camera => Who::Camera(camera - PEOPLE),
        }
    }

    fn sink(&mut self) -> Option<u32> {
        let sinks: Vec<u32> = self.model.sinks.keys().copied().collect();
        self.noise.pick(&sinks)
    }

    fn source(&mut self) -> Option<u32> {
        let sources: Vec<u32> = self.model.sources.keys().copied().collect();
        self.noise.pick(&sources)
    }

    /// A slot in which something plays.
    fn playing(&mut self) -> Option<(u32, u16)> {
        let mut places = Vec::new();
        for (key, sink) in &self.model.sinks {
            let playing =
                sink.slots.iter().filter(|(_, slot)| slot.highest.is_some() && slot.playing.is_some());
            places.extend(playing.map(|(id, _)| (*key, *id)));
        }
        self.noise.pick(&places)
    }

    fn change(&mut self) -> Option<Step> {
        let (who, kind) = (self.who(), self.noise.pick(&KINDS)?);
        Some(Step::Audience { who, kind, set: self.set(who, kind) })
    }

    fn begin(&mut self) -> Step {
        let codec = CODECS[self.noise.below(CODECS.len() as u32) as usize];
        let layers = match codec.kind() {
            MediaKind::Video => 1 + self.noise.below(3) as usize,
            MediaKind::Audio => 1,
        };
        Step::Begin { who: self.who(), codec, layers }
    }

    fn tiles(&mut self) -> Vec<(Who, u16)> {
        let heights = [0, HEIGHT, 2 * HEIGHT, 1_000];
        (0..self.noise.below(12)).filter_map(|_| Some((self.who(), self.noise.pick(&heights)?))).collect()
    }

    /// The slots of a sink, most of them as they are: some more, some fewer, some with other codecs, now and then one of
    /// the other kind.
    fn offers(&mut self, sink: u32) -> Offers {
        let slots = &self.model.sinks[&sink].slots;
        let mut offers: Offers =
            slots.iter().map(|(id, slot)| (*id, (slot.kind, slot.codecs.clone()))).collect();
        for id in 0..SLOTS as u16 {
            if offers.contains_key(&id) && self.noise.once_in(12) {
                offers.remove(&id);
            } else if !offers.contains_key(&id) && !self.noise.once_in(3) || self.noise.once_in(12) {
                let kind = if id.is_multiple_of(2) != self.noise.once_in(20) { KINDS[1] } else { KINDS[0] };
                let of_kind = CODECS.into_iter().filter(|codec| codec.kind() == kind);
                let codecs = of_kind.filter(|_| !self.noise.once_in(6)).collect();
                offers.insert(id, (kind, codecs));
            }
        }
        offers
    }

    /// Every kind of audience that there is.
    fn set(&mut self, who: Who, kind: MediaKind) -> Set {
        let before = self.model.sets.get(&(who, kind)).cloned().unwrap_or_default();
        let recorder = self.noise.once_in(2);
        let everybody = || (0..PEOPLE).collect();
        match self.noise.below(9) {
            // The lobby, hold.
            0 => Set::default(),
            // Muted: nobody hears, and what the recorder may is as it was.
            1 => Set { people: BTreeSet::new(), ..before },
            2 => Set { people: everybody(), recorder },
            // One role.
            3 => {
                let role = self.noise.below(3);
                Set { people: (0..PEOPLE).filter(|person| person % 3 == role).collect(), recorder }
            }
            // One more or one less.
            4 | 5 => {
                let mut set = before;
                let person = self.noise.below(PEOPLE);
                if !set.people.remove(&person) {
                    set.people.insert(person);
                }
                set
            }
            6 => Set { recorder: !before.recorder, ..before },
            _ => Set { people: (0..PEOPLE).filter(|_| self.noise.once_in(2)).collect(), recorder },
        }
    }

    /// Some packets of one layer of a source: in order but for a few, with holes, copies, and now and then a leap.
    fn packets(&mut self) -> Option<((u32, usize), Vec<Packet>)> {
        // Often what was asked for, and a keyframe then.
        self.asked.retain(|(source, _)| self.model.sources.contains_key(source));
        let asked = if self.noise.once_in(3) { self.asked.pop_first() } else { None };
        let source = match asked {
            Some((source, _)) => source,
            None => self.source()?,
        };
        let layer = match asked {
            Some((_, layer)) => layer,
            None => self.noise.below(self.model.sources[&source].layers.len() as u32) as usize,
        };
        let audio = self.model.sources[&source].codec.kind() == MediaKind::Audio;
        let mut seq = self.model.sources[&source].layers[layer].seq;
        let mut holes = self.model.sources[&source].layers[layer].holes.clone();
        let (mut packets, mut leapt) = (Vec::new(), false);
        for _ in 0..=self.noise.below(8) {
            let keyframe = audio || (asked.is_some() && packets.is_empty()) || self.noise.once_in(6);
            let late = if self.noise.once_in(4) { self.noise.pick(&holes) } else { None };
            // Older ones are forgotten with what is remembered of the source.
            let late = late.filter(|late| seq - late < LATE_MAX);
            let number = match late {
                Some(late) => {
                    holes.retain(|hole| *hole != late);
                    late
                }
                None => {
                    let skipped = match self.noise.below(120) {
                        // Not onto the place of what is still to be flushed (the ring remembers 1,024).
                        0 if !leapt => {
                            leapt = true;
                            2_560 + 1_024 * u64::from(self.noise.below(60))
                        }
                        1..12 => 1 + u64::from(self.noise.below(3)),
                        _ => 0,
                    };
                    holes.extend((1..=skipped.min(4)).map(|back| seq + skipped + 1 - back));
                    seq += skipped + 1;
                    seq
                }
            };
            packets.push(Packet { layer, seq: number, keyframe });
        }
        Some(((source, layer), packets))
    }

    /// Numbers to ask for again: of late, of long ago, of another source's time in the slot, and any at all.
    fn numbers(&mut self, sink: u32, slot: u16) -> Vec<u16> {
        let highest = self.model.sinks.get(&sink).and_then(|sink| sink.slots.get(&slot)?.highest);
        let highest = highest.unwrap_or_default() as u16;
        let count = 1 + self.noise.below(6);
        let back = match self.noise.below(4) {
            0 | 1 => 12,
            2 => 400,
            _ => 65_536,
        };
        (0..count).map(|_| highest.wrapping_add(2).wrapping_sub(self.noise.below(back) as u16)).collect()
    }
}
