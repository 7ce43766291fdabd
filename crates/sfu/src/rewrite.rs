//! Sequence numbers and timestamps of one slot: continuous whatever plays in it.

use std::time::Instant;

/// A source that leaps ahead by more than this begins a new run. A receiver guesses the roll-over of sequence
/// numbers from the last it got, and loses a stream for good that leaps by 2¹⁵ (RFC 3711 §3.3.1).
const LEAP_MAX: u64 = 1_000;

/// How the packets of the source now playing are renumbered. A *run* is the time one source plays in a slot
/// without interruption; within it both numbers are shifted by a constant, so that holes, and the order of late
/// packets, are the subscriber's to see.
#[derive(Debug)]
pub(crate) struct Rewriter {
    /// The next outgoing number that was never used.
    next_index: u64,
    /// The timestamp of the highest outgoing number, and when it went out.
    last: Option<(u32, Instant)>,
    run: Option<Run>,
}

#[derive(Debug, Clone, Copy)]
struct Run {
    first_seq: u64,
    first_index: u64,
    timestamp_shift: u32,
}

impl Rewriter {
    /// `first_index` is the first outgoing sequence number; below 2¹⁵, so that a receiver's roll-over counter
    /// begins as ours (RFC 3711 §3.3.1).
    pub(crate) fn new(first_index: u16) -> Self {
        Self { next_index: u64::from(first_index & 0x7fff), last: None, run: None }
    }

    /// Whether a run is on.
    pub(crate) fn is_running(&self) -> bool {
        self.run.is_some()
    }

    /// Whether a packet is so far ahead that the run must end before it.
    pub(crate) fn leaps(&self, seq: u64) -> bool {
        self.run.is_some_and(|run| {
            run.first_index + seq.saturating_sub(run.first_seq) > self.next_index.saturating_add(LEAP_MAX)
        })
    }

    /// Ends the run: something else will play, or nothing.
    pub(crate) fn stop(&mut self) {
        self.run = None;
    }

    /// Begins a run with this packet. The timestamp goes on by the time that passed.
    pub(crate) fn start(&mut self, now: Instant, seq: u64, timestamp: u32, clock_hz: u32) {
        let timestamp_shift = self.last.map_or(0, |(last, at)| {
            let passed = now.saturating_duration_since(at).as_secs_f64() * f64::from(clock_hz);
            // At least one tick, for two frames never share a timestamp.
            last.wrapping_add((passed as u32).max(1)).wrapping_sub(timestamp)
        });
        self.run = Some(Run { first_seq: seq, first_index: self.next_index, timestamp_shift });
    }

    /// The first outgoing number of the run that is on, or of the next.
    pub(crate) fn run_start(&self) -> u64 {
        self.run.map_or(self.next_index, |run| run.first_index)
    }

    /// The outgoing number and timestamp of a packet of the run. `None` for one from before it.
    pub(crate) fn rewrite(&mut self, now: Instant, seq: u64, timestamp: u32) -> Option<(u64, u32)> {
        let run = self.run?;
        let index = run.first_index + seq.checked_sub(run.first_seq)?;
        let timestamp = timestamp.wrapping_add(run.timestamp_shift);
        if index >= self.next_index {
            self.next_index = index + 1;
            self.last = Some((timestamp, now));
        }
        Some((index, timestamp))
    }

    /// The incoming number that went out with this sequence number in the run that is on.
    pub(crate) fn incoming(&self, outgoing: u16) -> Option<u64> {
        let run = self.run?;
        let highest = self.next_index.checked_sub(1)?;
        let back = (highest as u16).wrapping_sub(outgoing);
        let index = highest.checked_sub(u64::from(back))?;
        Some(run.first_seq + index.checked_sub(run.first_index)?)
    }

    /// The outgoing timestamp for an incoming one.
    pub(crate) fn timestamp(&self, timestamp: u32) -> Option<u32> {
        Some(timestamp.wrapping_add(self.run?.timestamp_shift))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_switch_is_seamless() {
        let mut now = Instant::now();
        let mut rewriter = Rewriter::new(9);
        rewriter.start(now, 100_000, 5_000, 90_000);
        assert_eq!(rewriter.rewrite(now, 100_000, 5_000), Some((9, 5_000)));
        assert_eq!(rewriter.rewrite(now, 100_002, 8_000), Some((11, 8_000)));
        assert_eq!(rewriter.rewrite(now, 100_001, 8_000), Some((10, 8_000)), "late packets keep their place");
        rewriter.stop();
        now += Duration::from_secs(1);
        rewriter.start(now, 700, 1, 90_000);
        assert_eq!(rewriter.rewrite(now, 700, 1), Some((12, 98_000)));
        assert_eq!(rewriter.rewrite(now, 699, 1), None, "from before the keyframe");
        assert_eq!(rewriter.incoming(12), Some(700));
        assert_eq!(rewriter.incoming(11), None, "of another source");
        assert_eq!(rewriter.incoming(13), None, "never sent");
    }

    #[test]
    fn a_leap_ends_the_run() {
        let now = Instant::now();
        let mut rewriter = Rewriter::new(0);
        rewriter.start(now, 100, 0, 90_000);
        rewriter.rewrite(now, 100, 0);
        assert!(!rewriter.leaps(101) && !rewriter.leaps(600) && !rewriter.leaps(7));
        assert!(rewriter.leaps(100 + 30_000));
        rewriter.stop();
        assert!(!rewriter.leaps(100 + 30_000));
    }

    proptest! {
        /// No outgoing number is used twice over any series of runs and packets.
        #[test]
        fn numbers_never_repeat(steps in proptest::collection::vec((any::<bool>(), 0u64..20), 1..300)) {
            let now = Instant::now();
            let mut rewriter = Rewriter::new(0);
            let (mut seq, mut sent) = (70_000, std::collections::HashSet::new());
            rewriter.start(now, seq, 0, 90_000);
            for (switch, jump) in steps {
                if switch {
                    rewriter.stop();
                    rewriter.start(now, seq, seq as u32, 90_000);
                }
                if let Some((index, _)) = rewriter.rewrite(now, seq, seq as u32) {
                    prop_assert!(sent.insert(index));
                    prop_assert_eq!(rewriter.incoming(index as u16), Some(seq));
                }
                seq += jump + 1;
            }
        }
    }
}
