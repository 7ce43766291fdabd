//! Which packets of a publisher's video are missing, and when to ask for them (RFC 4585 §6.2.1).

use std::time::{Duration, Instant};

/// Missing packets followed at a time; more is not a hole but an outage, and a keyframe mends it sooner.
const MISSING_MAX: usize = 256;
const TRIES_MAX: u8 = 10;
/// A packet that was only overtaken usually comes within this time; ask after it.
const REORDER_GRACE: Duration = Duration::from_millis(5);
const RETRY: Duration = Duration::from_millis(40);

#[derive(Debug, Clone, Copy)]
struct Missing {
    seq: u64,
    next_ask: Instant,
    tries: u8,
}

/// The holes of one stream.
#[derive(Debug, Default)]
pub(crate) struct NackGenerator {
    highest: Option<u64>,
    missing: Vec<Missing>,
}

impl NackGenerator {
    /// Counts a packet in. `true` when the loss is beyond mending and a keyframe is needed.
    pub(crate) fn received(&mut self, now: Instant, seq: u64) -> bool {
        let Some(highest) = self.highest else {
            self.highest = Some(seq);
            self.missing.reserve_exact(MISSING_MAX);
            return false;
        };
        if seq <= highest {
            self.missing.retain(|missing| missing.seq != seq);
            return false;
        }
        self.highest = Some(seq);
        let hole = (seq - highest - 1) as usize;
        if self.missing.len() + hole > MISSING_MAX {
            self.missing.clear();
            return true;
        }
        let next_ask = now + REORDER_GRACE;
        self.missing.extend((highest + 1..seq).map(|seq| Missing { seq, next_ask, tries: 0 }));
        false
    }

    /// When to ask next.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.missing.iter().map(|missing| missing.next_ask).min()
    }

    /// Puts the sequence numbers to ask for now into `out`, ascending, and returns how many. The second value is
    /// `true` when some packet was given up.
    pub(crate) fn due(&mut self, now: Instant, out: &mut [u16]) -> (usize, bool) {
        let (mut count, before) = (0, self.missing.len());
        self.missing.retain_mut(|missing| {
            if missing.next_ask > now || count == out.len() {
                return true;
            }
            if missing.tries == TRIES_MAX {
                return false;
            }
            out[count] = missing.seq as u16;
            count += 1;
            missing.tries += 1;
            missing.next_ask = now + RETRY * u32::from(missing.tries);
            true
        });
        (count, self.missing.len() < before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_for_holes_until_they_are_filled_or_given_up() {
        let start = Instant::now();
        let mut nack = NackGenerator::default();
        let mut out = [0; 16];
        assert!(!nack.received(start, 65_534));
        assert!(!nack.received(start, 65_538));
        assert_eq!(nack.due(start, &mut out), (0, false), "perhaps only overtaken");
        assert!(!nack.received(start, 65_536));
        let later = start + REORDER_GRACE;
        assert_eq!(nack.due(later, &mut out), (2, false));
        assert_eq!(&out[..2], &[65_535, 1]);
        assert_eq!(nack.due(later, &mut out).0, 0);
        nack.received(later, 65_535);
        let mut asked = 1;
        let mut now = later;
        while let Some(at) = nack.poll_timeout() {
            now = at;
            let (count, gave_up) = nack.due(now, &mut out);
            asked += count;
            assert_eq!(gave_up, count == 0);
        }
        assert_eq!(asked, usize::from(TRIES_MAX));
        assert!(now > later);
    }

    #[test]
    fn an_outage_wants_a_keyframe() {
        let mut nack = NackGenerator::default();
        let now = Instant::now();
        nack.received(now, 1);
        assert!(nack.received(now, 1000));
        assert!(nack.poll_timeout().is_none());
    }
}
