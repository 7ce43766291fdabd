//! From RTP timestamps to a track's own timeline.
//!
//! The timeline begins at 0 with the first media and is anchored on monotonic arrival: no Sender Report is waited
//! for. RTP timestamps give the distances between frames; arrival decides where they begin, and again after the
//! sender's clock stood still, jumped or drifted. A position is in ticks of the codec's clock.

use std::time::Duration;

use hewei_media::seq::TimestampExtender;
use hewei_model::MonoNs;

/// How long to look at what follows a pause before saying whether the sender paused or the network did.
const HOLD: Duration = Duration::from_secs(1);
/// How often slow drift is corrected.
const DRIFT_WINDOW: Duration = Duration::from_secs(10);

/// What a placement means for what was placed before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// It follows on.
    Follows,
    /// The sender's clock began anew, or stood still for long: the place comes from arrival.
    Restarts,
    /// It arrived late for its timestamp. Whether the sender paused is not known yet: ask [`Timeline::resolve`]
    /// before writing anything from here on.
    Suspect,
}

#[derive(Debug)]
struct Hold {
    since: MonoNs,
    late_min: i64,
}

/// The mapping of one track.
#[derive(Debug)]
pub(crate) struct Timeline {
    rate_hz: u32,
    extender: TimestampExtender,
    begins: Option<MonoNs>,
    /// Position minus extended timestamp.
    offset: i64,
    last: Option<(i64, MonoNs)>,
    restart: bool,
    hold: Option<Hold>,
    window: Option<(MonoNs, i64)>,
}

impl Timeline {
    pub(crate) fn new(rate_hz: u32) -> Self {
        Self {
            rate_hz,
            extender: TimestampExtender::default(),
            begins: None,
            offset: 0,
            last: None,
            restart: false,
            hold: None,
            window: None,
        }
    }

    /// When the timeline's zero was.
    pub(crate) fn begins(&self) -> Option<MonoNs> {
        self.begins
    }

    /// The next timestamp is of another sender's clock.
    pub(crate) fn restart(&mut self) {
        self.restart = true;
    }

    /// Whether a pause is being looked at.
    pub(crate) fn holds(&self) -> bool {
        self.hold.is_some()
    }

    /// The place of a frame with this timestamp that arrived then. `end` is where the last frame ends: nothing
    /// is placed before it after a restart.
    pub(crate) fn place(&mut self, timestamp: u32, arrival: MonoNs, end: u64) -> (i64, Step) {
        let rate = i64::from(self.rate_hz);
        let extended = i64::try_from(self.extender.extend(timestamp)).unwrap_or(i64::MAX / 2);
        let Some(begins) = self.begins else {
            self.begins = Some(arrival);
            self.offset = -extended;
            self.last = Some((extended, arrival));
            self.restart = false;
            return (0, Step::Restarts);
        };
        let now = self.ticks(arrival.since(begins));
        let late = now - (extended + self.offset);
        let (last, last_arrival) = self.last.unwrap_or((extended, arrival));
        let moved = extended - last;
        let waited = self.ticks(arrival.since(last_arrival));
        self.last = Some((extended, arrival));

        if self.restart || moved < -rate / 2 || late < -2 * rate || late > 5 * rate {
            self.restart = false;
            self.hold = None;
            self.window = None;
            let place = now.max(i64::try_from(end).unwrap_or(i64::MAX));
            self.offset = place - extended;
            return (place, Step::Restarts);
        }
        let mut step = Step::Follows;
        match &mut self.hold {
            Some(hold) => hold.late_min = hold.late_min.min(late),
            None if late > rate / 2 && waited > moved + rate / 2 => {
                self.hold = Some(Hold { since: arrival, late_min: late });
                step = Step::Suspect;
            }
            None => {}
        }
        (extended + self.offset, step)
    }

    /// By how many ticks everything since the suspect frame, and from now on, comes later. `None` while that is
    /// not known yet. `last_chance`: nothing more will come.
    pub(crate) fn resolve(&mut self, now: MonoNs, last_chance: bool) -> Option<i64> {
        let rate = i64::from(self.rate_hz);
        let hold = self.hold.as_ref()?;
        if hold.late_min >= rate / 4 && !last_chance && now.since(hold.since) < HOLD {
            return None;
        }
        let shift = if hold.late_min > rate * 2 / 5 { hold.late_min } else { 0 };
        self.hold = None;
        self.window = None;
        self.offset += shift;
        Some(shift)
    }

    /// By how many ticks the sender's clock has fallen behind for good, now that a window of time has passed.
    /// Corrects what is placed from now on.
    pub(crate) fn drift(&mut self, arrival: MonoNs) -> Option<i64> {
        let begins = self.begins?;
        let (extended, _) = self.last?;
        if self.hold.is_some() {
            return None;
        }
        let late = self.ticks(arrival.since(begins)) - (extended + self.offset);
        let (since, late_min) = self.window.get_or_insert((arrival, late));
        *late_min = late.min(*late_min);
        if arrival.since(*since) < DRIFT_WINDOW {
            return None;
        }
        let shift = *late_min;
        self.window = None;
        (shift > i64::from(self.rate_hz) * 3 / 10).then(|| {
            self.offset += shift;
            shift
        })
    }

    fn ticks(&self, duration: Duration) -> i64 {
        i64::try_from(duration.as_nanos() * u128::from(self.rate_hz) / 1_000_000_000).unwrap_or(i64::MAX / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn at(ms: u64) -> MonoNs {
        MonoNs(ms * MS + 5_000 * MS)
    }

    #[test]
    fn timestamps_wrap_without_a_seam() {
        let mut timeline = Timeline::new(90_000);
        let first = u32::MAX - 4_500;
        for frame in 0..100u32 {
            let (place, _) = timeline.place(
                first.wrapping_add(frame * 3_000),
                at(u64::from(frame) * 33),
                u64::from(frame),
            );
            assert_eq!(place, i64::from(frame) * 3_000);
        }
    }

    #[test]
    fn a_pause_of_the_sender_moves_what_follows() {
        let mut timeline = Timeline::new(48_000);
        timeline.place(0, at(0), 0);
        timeline.place(960, at(20), 960);
        // Three seconds of silence, and the timestamps go on as if there had been none.
        let (place, step) = timeline.place(1_920, at(3_020), 1_920);
        assert_eq!((place, step), (1_920, Step::Suspect));
        for packet in 1..60u64 {
            timeline.place(1_920 + 960 * packet as u32, at(3_020 + 20 * packet), 0);
            if let Some(shift) = timeline.resolve(at(3_020 + 20 * packet), false) {
                assert_eq!(shift, 48 * 3_000 - 960);
                assert!(packet >= 50);
                return;
            }
        }
        panic!("never resolved");
    }

    #[test]
    fn a_stall_of_the_network_moves_nothing() {
        let mut timeline = Timeline::new(48_000);
        timeline.place(0, at(0), 0);
        timeline.place(960, at(20), 960);
        assert_eq!(timeline.place(1_920, at(1_520), 0).1, Step::Suspect);
        for packet in 1..75u64 {
            timeline.place(1_920 + 960 * packet as u32, at(1_520 + packet / 10), 0);
            if let Some(shift) = timeline.resolve(at(1_520 + packet / 10), false) {
                assert_eq!(shift, 0);
                return;
            }
        }
        panic!("never resolved");
    }

    #[test]
    fn another_clock_is_placed_by_arrival() {
        let mut timeline = Timeline::new(90_000);
        timeline.place(1_000, at(0), 0);
        timeline.place(4_000, at(33), 3_000);
        timeline.restart();
        assert_eq!(timeline.place(3_000_000_000, at(1_000), 6_000), (90_000, Step::Restarts));
        assert_eq!(timeline.place(3_000_003_000, at(1_033), 93_000), (93_000, Step::Follows));
        // And a jump that nobody announced.
        assert_eq!(timeline.place(17, at(2_000), 96_000), (180_000, Step::Restarts));
    }

    #[test]
    fn a_slow_clock_is_corrected() {
        let mut timeline = Timeline::new(90_000);
        let mut shifted = 0;
        for frame in 0..1_200u64 {
            // Two per cent slow.
            timeline.place((frame * 2_940) as u32, at(frame * 1_000 / 30), 0);
            shifted += timeline.drift(at(frame * 1_000 / 30)).unwrap_or(0);
        }
        let missing = 1_200 * 60 - shifted;
        assert!((0..90_000 / 2).contains(&missing), "{missing} ticks are missing");
    }
}
