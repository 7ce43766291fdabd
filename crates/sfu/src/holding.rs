//! Which pictures a narrow line has to do without: sound goes first, then the picture of who speaks, then the others in the
//! order of their slots.

use std::time::{Duration, Instant};

/// A picture goes on while there is room for this share of it: encoders breathe.
const ENOUGH: f64 = 0.8;
/// And comes back when there is room for so much more than it needs.
const COMFORTABLE: f64 = 1.2;
/// A line is short of room for so long before a picture is held back.
const SHORT: Duration = Duration::from_secs(1);
/// A picture that was held back stays so for at least this time, twice as long each time, up to the most.
const HELD: Duration = Duration::from_secs(4);
const HELD_MAX: Duration = Duration::from_secs(60);
/// One that went on for so long begins anew.
const FORGIVEN: Duration = Duration::from_secs(60);

/// Whether the picture in a slot is held back.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Holding {
    held_since: Option<Instant>,
    short_since: Option<Instant>,
    back_at: Option<Instant>,
    time: Duration,
}

impl Holding {
    pub(crate) fn is_held(&self) -> bool {
        self.held_since.is_some()
    }

    /// What holds it back need not be the line: there may be room that another picture has.
    pub(crate) fn hurry(&mut self) {
        self.time = if self.is_held() { Duration::ZERO } else { self.time };
    }

    /// Decides anew, with `left` bits a second for a picture of `needed`. Returns whether it changed. One that `gives_way`
    /// is short of room since another one takes it, not because of the line: it goes at once, and comes back as soon as
    /// there is room.
    pub(crate) fn decide(&mut self, now: Instant, needed: u64, left: u64, gives_way: bool) -> bool {
        let (needed, left) = (needed as f64, left as f64);
        if let Some(since) = self.held_since {
            let back = left >= COMFORTABLE * needed && now.saturating_duration_since(since) >= self.time;
            if back {
                *self = Self { back_at: Some(now), time: self.time, ..Self::default() };
            }
            return back;
        }
        if left >= ENOUGH * needed {
            self.short_since = None;
            return false;
        }
        let short_since = *self.short_since.get_or_insert(now);
        if !gives_way && now.saturating_duration_since(short_since) < SHORT {
            return false;
        }
        let forgiven = self.back_at.is_none_or(|at| now.saturating_duration_since(at) >= FORGIVEN);
        let time = match gives_way {
            true => Duration::ZERO,
            false if forgiven => HELD,
            false => (2 * self.time).clamp(HELD, HELD_MAX),
        };
        *self = Self { held_since: Some(now), time, ..Self::default() };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_held_when_there_is_no_room_and_comes_back_when_there_is() {
        let mut now = Instant::now();
        let mut holding = Holding::default();
        let mut decide = |holding: &mut Holding, ms, left| {
            now += Duration::from_millis(ms);
            holding.decide(now, 1_000, left, false)
        };
        assert!(
            !decide(&mut holding, 0, 850) && !decide(&mut holding, 5_000, 850),
            "nearly enough is enough"
        );
        assert!(!decide(&mut holding, 0, 500) && !decide(&mut holding, 900, 500) && !holding.is_held());
        assert!(decide(&mut holding, 200, 500) && holding.is_held(), "short of it for a second");
        assert!(!decide(&mut holding, 3_000, 5_000), "not at once");
        assert!(!decide(&mut holding, 2_000, 1_100), "nor with just enough");
        assert!(decide(&mut holding, 0, 1_200) && !holding.is_held());
        assert!(!decide(&mut holding, 0, 100) && decide(&mut holding, 1_000, 100));
        assert!(!decide(&mut holding, 5_000, 5_000), "twice as long this time");
        assert!(decide(&mut holding, 3_000, 5_000));
    }

    #[test]
    fn a_picture_that_gives_way_waits_for_nothing() {
        let mut now = Instant::now();
        let mut holding = Holding::default();
        assert!(!holding.decide(now, 1_000, 800, true), "there is enough for both");
        assert!(holding.decide(now, 1_000, 700, true) && holding.is_held());
        assert!(!holding.decide(now, 1_000, 1_100, false), "enough is not room to spare");
        assert!(holding.decide(now, 1_000, 1_200, false) && !holding.is_held());
        // For want of a line it waits, and not when it is asked to hurry.
        holding.decide(now, 1_000, 100, false);
        now += SHORT;
        assert!(holding.decide(now, 1_000, 100, false));
        assert!(!holding.decide(now, 1_000, 5_000, false));
        holding.hurry();
        assert!(!holding.decide(now, 1_000, 1_000, false) && holding.decide(now, 1_000, 5_000, false));
        holding.decide(now, 1_000, 100, false);
        now += SHORT;
        assert!(holding.decide(now, 1_000, 100, false));
        now += HELD - Duration::from_millis(1);
        assert!(!holding.decide(now, 1_000, 5_000, false), "as long as the first time");
    }
}
