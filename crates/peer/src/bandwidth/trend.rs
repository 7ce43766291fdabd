//! Whether packets queue on the way: the slope of their delay over time, against a threshold that adapts
//! (draft-ietf-rmcat-gcc-02 §5.3–5.5, with the trendline filter in place of the Kalman filter).

use std::time::Duration;

/// Packets sent within this time are one group: bursts say nothing about a queue.
const GROUP: Duration = Duration::from_millis(5);
/// Groups that are held up together for longer are not one: a queue that drains for a second would be a single point.
const BURST_MAX: Duration = Duration::from_millis(100);
/// Groups in the regression.
const WINDOW: usize = 20;
const SMOOTHING: f64 = 0.9;
/// What the slope is multiplied with before it is held against the threshold.
const GAIN: f64 = 4.0;
/// And with as many groups as have come, up to this many.
const GROUPS_MAX: u32 = 60;
/// Delay must grow for so long before it is a queue, in milliseconds.
const OVERUSE_MS: f64 = 10.0;
const THRESHOLD_MS: f64 = 12.5;
const THRESHOLD_MIN_MS: f64 = 6.0;
const THRESHOLD_MAX_MS: f64 = 600.0;
const RISE: f64 = 0.0087;
const FALL: f64 = 0.039;
/// The clock of arrivals leaps by more than this: the receiver began anew, or slept.
const LEAP: Duration = Duration::from_secs(3);

/// What the delay says of the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Usage {
    /// No queue grows.
    #[default]
    Normal,
    /// A queue grows: more is sent than goes through.
    Over,
    /// A queue drains.
    Under,
}

#[derive(Debug, Clone, Copy)]
struct Group {
    first_sent: Duration,
    last_sent: Duration,
    first_arrival: Duration,
    last_arrival: Duration,
}

impl Group {
    fn new(sent: Duration, arrival: Duration) -> Self {
        Self { first_sent: sent, last_sent: sent, first_arrival: arrival, last_arrival: arrival }
    }
}

/// The filter and the detector.
#[derive(Debug)]
pub(super) struct Trend {
    current: Option<Group>,
    before: Option<Group>,
    /// Arrival time of the first group, for the regression's axis.
    first_arrival: Option<Duration>,
    /// Delay since the first group, as measured and smoothed, in milliseconds.
    accumulated_ms: f64,
    smoothed_ms: f64,
    /// Arrival and smoothed delay of the last groups, in milliseconds.
    points: [(f64, f64); WINDOW],
    groups: u32,
    threshold_ms: f64,
    threshold_at: Option<Duration>,
    over_ms: f64,
    over_count: u32,
    slope_before: f64,
    usage: Usage,
}

impl Default for Trend {
    fn default() -> Self {
        Self {
            current: None,
            before: None,
            first_arrival: None,
            accumulated_ms: 0.0,
            smoothed_ms: 0.0,
            points: [(0.0, 0.0); WINDOW],
            groups: 0,
            threshold_ms: THRESHOLD_MS,
            threshold_at: None,
            over_ms: 0.0,
            over_count: 0,
            slope_before: 0.0,
            usage: Usage::Normal,
        }
    }
}

impl Trend {
    /// What it says now.
    pub(super) fn usage(&self) -> Usage {
        self.usage
    }

    /// Takes a packet that arrived, in the order of sending: both times on steady clocks of their own.
    pub(super) fn packet(&mut self, sent: Duration, arrival: Duration) {
        let Some(group) = &mut self.current else {
            self.current = Some(Group::new(sent, arrival));
            return;
        };
        if sent < group.first_sent {
            // From before this group: it came late, and tells nothing more.
            return;
        }
        let burst = || {
            // Came together although sent apart: held up together.
            let arrival_delta = ms(arrival) - ms(group.last_arrival);
            let sent_delta = ms(sent) - ms(group.last_sent);
            arrival_delta <= 5.0
                && arrival_delta - sent_delta < 0.0
                && arrival.saturating_sub(group.first_arrival) < BURST_MAX
        };
        if sent - group.first_sent <= GROUP || burst() {
            group.last_sent = group.last_sent.max(sent);
            group.last_arrival = group.last_arrival.max(arrival);
            return;
        }
        let done = *group;
        self.current = Some(Group::new(sent, arrival));
        if let Some(before) = self.before.replace(done) {
            let sent_ms = ms(done.last_sent) - ms(before.last_sent);
            let arrival_ms = ms(done.last_arrival) - ms(before.last_arrival);
            if (arrival_ms - sent_ms).abs() > LEAP.as_secs_f64() * 1_000.0 || arrival_ms < 0.0 {
                *self = Self { threshold_ms: self.threshold_ms, current: self.current, ..Self::default() };
                return;
            }
            self.group(done.last_arrival, arrival_ms - sent_ms, sent_ms);
        }
    }

    fn group(&mut self, arrival: Duration, delta_ms: f64, sent_ms: f64) {
        let first = *self.first_arrival.get_or_insert(arrival);
        self.accumulated_ms += delta_ms;
        self.smoothed_ms = SMOOTHING * self.smoothed_ms + (1.0 - SMOOTHING) * self.accumulated_ms;
        self.points[self.groups as usize % WINDOW] = (ms(arrival) - ms(first), self.smoothed_ms);
        self.groups = self.groups.saturating_add(1);
        let slope = if self.groups as usize >= WINDOW { slope(&self.points).unwrap_or(0.0) } else { 0.0 };
        self.detect(slope, sent_ms, arrival);
    }

    fn detect(&mut self, slope: f64, sent_ms: f64, arrival: Duration) {
        let scaled = f64::from(self.groups.min(GROUPS_MAX)) * slope * GAIN;
        if scaled > self.threshold_ms {
            // The first of them has begun somewhere since the group before.
            self.over_ms += if self.over_count == 0 { sent_ms / 2.0 } else { sent_ms };
            self.over_count += 1;
            if self.over_ms > OVERUSE_MS && self.over_count > 1 && slope >= self.slope_before {
                (self.over_ms, self.over_count) = (0.0, 0);
                self.usage = Usage::Over;
            }
        } else {
            (self.over_ms, self.over_count) = (0.0, 0);
            self.usage = if scaled < -self.threshold_ms { Usage::Under } else { Usage::Normal };
        }
        self.slope_before = slope;
        self.adapt(scaled.abs(), arrival);
    }

    /// The threshold follows what is usual on this path, so that a loss-driven flow beside us does not starve us.
    fn adapt(&mut self, scaled: f64, arrival: Duration) {
        let since = self.threshold_at.replace(arrival).map_or(0.0, |at| ms(arrival) - ms(at));
        if scaled > self.threshold_ms + 15.0 {
            // A sudden leap, such as a change of path, is no measure.
            return;
        }
        let speed = if scaled < self.threshold_ms { FALL } else { RISE };
        self.threshold_ms += speed * (scaled - self.threshold_ms) * since.clamp(0.0, 100.0);
        self.threshold_ms = self.threshold_ms.clamp(THRESHOLD_MIN_MS, THRESHOLD_MAX_MS);
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// Least squares; `None` when all points are at one time.
fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let count = points.len() as f64;
    let (x_sum, y_sum) = points.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0, y + point.1));
    let (x_mean, y_mean) = (x_sum / count, y_sum / count);
    let (mut covariance, mut variance) = (0.0, 0.0);
    for (x, y) in points {
        covariance += (x - x_mean) * (y - y_mean);
        variance += (x - x_mean) * (x - x_mean);
    }
    (variance > 0.0).then(|| covariance / variance)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packets every 10 ms whose delay grows by so many milliseconds a second: what the detector said on the way.
    fn with_growth(growth: f64) -> Vec<Usage> {
        let mut trend = Trend::default();
        (0..300u32)
            .map(|number| {
                let sent = Duration::from_millis(u64::from(number) * 10);
                let delay = 0.2 + growth / 1_000.0 * sent.as_secs_f64();
                trend.packet(sent, sent + Duration::from_secs_f64(delay));
                trend.usage()
            })
            .collect()
    }

    #[test]
    fn a_growing_queue_is_seen_and_a_long_line_is_not_one() {
        assert!(with_growth(0.0).iter().all(|usage| *usage == Usage::Normal));
        assert!(with_growth(100.0).contains(&Usage::Over));
        assert!(with_growth(-30.0).contains(&Usage::Under));
        assert!(!with_growth(-30.0).contains(&Usage::Over));
    }

    #[test]
    fn a_queue_that_drains_in_one_burst_is_seen_while_it_does() {
        let mut trend = Trend::default();
        for number in 0..300u64 {
            // Sent over three seconds, and come in 300 ms after them.
            trend.packet(Duration::from_millis(number * 10), Duration::from_millis(3_000 + number));
        }
        assert_eq!(trend.groups, 1, "two hundreds of milliseconds are over");
    }

    #[test]
    fn a_leap_of_the_clock_begins_anew() {
        let mut trend = Trend::default();
        for number in 0..200u64 {
            let sent = Duration::from_millis(number * 10);
            let leap = if number < 100 { 0 } else { 50_000 };
            trend.packet(sent, sent + Duration::from_millis(leap));
            assert_eq!(trend.usage(), Usage::Normal);
        }
    }
}
