//! The layers of a simulcast picture, and which of them is right for a tile and a line.

use std::time::{Duration, Instant};

/// Layers of one source at the most.
pub const LAYERS_MAX: usize = 3;

/// A layer goes on while there is room for this share of it: encoders breathe.
const ENOUGH: f64 = 0.8;
/// And a higher one is taken when there is room for so much more than it needs.
const COMFORTABLE: f64 = 1.2;
/// A line is short of room for so long before a lower layer is taken.
const SHORT: Duration = Duration::from_secs(1);
/// With room for less than half of it, for so long.
const VERY_SHORT: Duration = Duration::from_millis(250);
/// Nothing higher is taken for this time after a fall, twice as long each time, up to the most.
const STAYS: Duration = Duration::from_secs(3);
const STAYS_MAX: Duration = Duration::from_secs(12);
/// A layer that held for so long begins anew.
const FORGIVEN: Duration = Duration::from_secs(30);

/// What no line carries: so much is let through to who tells nothing of what arrives.
const UNLIMITED: u64 = 1 << 60;

/// A layer that could be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Rung {
    pub(crate) layer: usize,
    /// Pixels; 0 when no layer of the source has told it.
    pub(crate) height: u16,
    /// What it takes, in bits a second.
    pub(crate) bits: u64,
}

/// The layers that could be taken, the smallest picture first. There is at least one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ladder {
    rungs: [Rung; LAYERS_MAX],
    len: usize,
}

impl Ladder {
    /// With the layers for which there is a rung.
    pub(crate) fn new(rungs: impl Iterator<Item = Rung>) -> Self {
        let mut ladder = Self { rungs: [Rung::default(); LAYERS_MAX], len: 0 };
        for (place, rung) in ladder.rungs.iter_mut().zip(rungs) {
            *place = rung;
            ladder.len += 1;
        }
        ladder.len = ladder.len.max(1);
        ladder.rungs[..ladder.len].sort_by_key(|rung| (rung.height, rung.layer));
        ladder
    }

    pub(crate) fn rungs(&self) -> &[Rung] {
        &self.rungs[..self.len]
    }

    pub(crate) fn lowest(&self) -> Rung {
        self.rungs[0]
    }

    /// The index of the highest that is of use in a tile of so many pixels: a picture may be drawn a quarter larger.
    pub(crate) fn highest_for(&self, tile: Option<u16>) -> usize {
        let enough = |rung: &Rung| tile.is_some_and(|tile| u32::from(rung.height) * 5 >= u32::from(tile) * 4);
        let highest = self.len - 1;
        if self.rungs[highest].height == 0 {
            return highest;
        }
        self.rungs().iter().position(enough).unwrap_or(highest)
    }

    /// The index of the highest, up to that one, for which there is room; the lowest when there is for none.
    pub(crate) fn fitting(&self, highest: usize, left: u64) -> usize {
        self.rungs[..=highest].iter().rposition(|rung| rung.bits <= left).unwrap_or(0)
    }
}

/// How the layer in a slot was chosen so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Choice {
    decided: bool,
    short_since: Option<Instant>,
    fell_at: Option<Instant>,
    climbed_at: Option<Instant>,
    stays: Duration,
}

impl Choice {
    /// A higher one may be taken without patience: what kept it from that need not be the line.
    pub(crate) fn hurry(&mut self) {
        self.fell_at = None;
    }

    /// The layer to take next, with `left` bits a second for it. `highest` is an index of the ladder, `current` the layer
    /// that was taken so far. One that `gives_way` is short of room since another picture takes it, not because of the
    /// line: it goes down at once, and up again as soon as there is room.
    pub(crate) fn decide(
        &mut self,
        now: Instant,
        ladder: &Ladder,
        highest: usize,
        current: usize,
        left: u64,
        gives_way: bool,
    ) -> usize {
        let rungs = ladder.rungs();
        let at = rungs.iter().position(|rung| rung.layer == current);
        let next = match at {
            _ if !self.decided => {
                // While nothing is known of the line there is nothing to be patient about.
                self.decided = left < UNLIMITED;
                ladder.fitting(highest, left)
            }
            // It flows no more.
            None => {
                self.fall(now);
                ladder.fitting(highest, left)
            }
            Some(at) if at > highest => ladder.fitting(highest, left),
            Some(at) => self.step(now, rungs, highest, at, left, gives_way),
        };
        rungs[next].layer
    }

    fn step(
        &mut self,
        now: Instant,
        rungs: &[Rung],
        highest: usize,
        at: usize,
        left: u64,
        gives_way: bool,
    ) -> usize {
        let room_for = |share: f64, rung: &Rung| left as f64 >= share * rung.bits as f64;
        if at > 0 && !room_for(ENOUGH, &rungs[at]) {
            let short_since = *self.short_since.get_or_insert(now);
            let short = if room_for(0.5, &rungs[at]) { SHORT } else { VERY_SHORT };
            if gives_way {
                self.short_since = None;
            } else if now.saturating_duration_since(short_since) < short {
                return at;
            } else {
                self.fall(now);
            }
            return rungs[..at].iter().rposition(|rung| rung.bits <= left).unwrap_or(0);
        }
        self.short_since = None;
        if self.fell_at.is_some_and(|fell| now.saturating_duration_since(fell) < self.stays) {
            return at;
        }
        let better = (at + 1..=highest).rev().find(|higher| room_for(COMFORTABLE, &rungs[*higher]));
        if better.is_some() {
            self.climbed_at = Some(now);
        }
        better.unwrap_or(at)
    }

    fn fall(&mut self, now: Instant) {
        let forgiven = self.climbed_at.is_none_or(|at| now.saturating_duration_since(at) >= FORGIVEN);
        self.stays = if forgiven { STAYS } else { (2 * self.stays).clamp(STAYS, STAYS_MAX) };
        (self.fell_at, self.short_since) = (Some(now), None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ladder(known: &[(usize, u16, u64)]) -> Ladder {
        Ladder::new(known.iter().map(|(layer, height, bits)| Rung {
            layer: *layer,
            height: *height,
            bits: *bits,
        }))
    }

    #[test]
    fn a_tile_gets_the_smallest_picture_that_fills_it() {
        let ladder = ladder(&[(0, 720, 9), (1, 360, 5), (2, 180, 1)]);
        let layer = |tile| ladder.rungs()[ladder.highest_for(tile)].layer;
        assert_eq!(
            [Some(0), Some(180), Some(225), Some(226), Some(450), Some(451), Some(4_000), None].map(layer),
            [2, 2, 2, 1, 1, 0, 0, 0],
            "whatever order they were offered in"
        );
        let unknown = super::tests::ladder(&[(0, 0, 1), (1, 0, 5)]);
        assert_eq!(unknown.highest_for(Some(10)), 1);
    }

    #[test]
    fn falls_when_the_line_is_short_and_climbs_when_it_is_not() {
        let ladder = ladder(&[(0, 180, 100), (1, 360, 500)]);
        let (mut choice, mut now, mut current) = (Choice::default(), Instant::now(), 1);
        let mut decide = |ms, left| {
            now += Duration::from_millis(ms);
            current = choice.decide(now, &ladder, 1, current, left, false);
            current
        };
        assert_eq!(decide(0, 450), 0, "the first choice takes what goes through");
        assert_eq!([decide(200, 599), decide(200, 600)], [0, 1], "a higher one needs room to spare");
        assert_eq!([decide(200, 400), decide(5_000, 400)], [1, 1], "nearly enough is enough");
        assert_eq!(
            [decide(200, 300), decide(900, 300), decide(200, 300)],
            [1, 1, 0],
            "short of it for a second"
        );
        assert_eq!([decide(2_900, 900), decide(200, 900)], [0, 1], "not at once");
        assert_eq!([decide(200, 100), decide(300, 100)], [1, 0], "far too little");
        assert_eq!([decide(5_900, 900), decide(200, 900)], [0, 1], "twice as long this time");
    }

    #[test]
    fn a_layer_that_stops_is_left_at_once() {
        let (mut choice, now) = (Choice::default(), Instant::now());
        let both = ladder(&[(0, 180, 100), (1, 360, 500)]);
        assert_eq!(choice.decide(now, &both, 1, 1, 9_000, false), 1);
        assert_eq!(choice.decide(now, &ladder(&[(0, 180, 100)]), 0, 1, 9_000, false), 0);
        assert_eq!(choice.decide(now, &both, 1, 0, 9_000, false), 0, "it may stop again");
        assert_eq!(choice.decide(now + STAYS, &both, 1, 0, 9_000, false), 1);
        assert_eq!(choice.decide(now + STAYS, &both, 0, 1, 9_000, false), 0, "a smaller tile");
        assert_eq!(choice.decide(now + STAYS, &both, 1, 0, 9_000, false), 1, "and a larger one again");
    }
    #[test]
    fn a_layer_that_gives_way_falls_at_once_and_climbs_again_without_patience() {
        let ladder = ladder(&[(0, 180, 100), (1, 360, 500)]);
        let (mut choice, now) = (Choice::default(), Instant::now());
        assert_eq!(choice.decide(now, &ladder, 1, 1, 9_000, false), 1);
        assert_eq!(choice.decide(now, &ladder, 1, 1, 400, true), 1, "there is nearly enough");
        assert_eq!(choice.decide(now, &ladder, 1, 1, 300, true), 0);
        assert_eq!(choice.decide(now, &ladder, 1, 0, 500, false), 0, "enough is not room to spare");
        assert_eq!(choice.decide(now, &ladder, 1, 0, 600, false), 1);
        choice.decide(now, &ladder, 1, 1, 100, false);
        assert_eq!(choice.decide(now + VERY_SHORT, &ladder, 1, 1, 100, false), 0);
        assert_eq!(choice.decide(now + VERY_SHORT, &ladder, 1, 0, 600, false), 0, "a line that fell");
        choice.hurry();
        assert_eq!(choice.decide(now + VERY_SHORT, &ladder, 1, 0, 600, false), 1);
    }
}
