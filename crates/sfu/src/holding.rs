//! Which pictures a narrow line has to do without: sound goes first, then pictures in the order of their slots.

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

    /// Decides anew, with `left` bits a second for a picture of `needed`. Returns whether it changed.
    pub(crate) fn decide(&mut self, now: Instant, needed: u64, left: u64) -> bool {
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
        if now.saturating_duration_since(short_since) < SHORT {
            return false;
        }
        let forgiven = self.back_at.is_none_or(|at| now.saturating_duration_since(at) >= FORGIVEN);
        let time = if forgiven { HELD } else { (2 * self.time).min(HELD_MAX) };
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
            holding.decide(now, 1_000, left)
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
}
