//! One direction of a line.
//!
//! A packet meets, in this order: an outage, loss, the queue before a slow line, the slow line itself, delay and
//! jitter. Give it each packet when it comes ([`Direction::accept`]); then take what arrives until there is no more
//! ([`Direction::poll_output`]), and come again at [`Direction::poll_timeout`].

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    time::{Duration, Instant},
};

use crate::{conditions::Conditions, random::Random};

/// Packets on their way at once. 300 ms of 160 Mbit/s in full packets, which is more than a call or the loading of a
/// page makes; some 6 MB.
const PACKETS_MAX: usize = 4_096;

/// What became of the packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// They came.
    pub accepted: u64,
    /// They went on to the other side.
    pub delivered: u64,
    /// Bytes of those.
    pub delivered_bytes: u64,
    /// The line lost them.
    pub lost: u64,
    /// They came during an outage.
    pub outage: u64,
    /// They would have waited too long before a slow line.
    pub queue_full: u64,
    /// There were too many on their way: the emulator's own limit, which no measurement should meet.
    pub overflow: u64,
    /// How much later than it should have one was taken at most: the emulator's own fault, on a busy machine.
    pub late_max: Duration,
}

/// One direction of a line, and the packets on it.
#[derive(Debug)]
pub struct Direction {
    conditions: Conditions,
    random: Random,
    /// In the state that loses all, where loss comes in bursts.
    bad: bool,
    /// When the slow line has sent what waits before it.
    free_at: Option<Instant>,
    /// When the last packet arrives, of those that keep the order.
    arrives_last: Option<Instant>,
    outage_until: Option<Instant>,
    packets: BinaryHeap<Reverse<Packet>>,
    /// Of the next packet.
    number: u64,
    counts: Counts,
}

/// Ordered by arrival; at one moment, as they came.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Packet {
    arrives: Instant,
    number: u64,
    bytes: Vec<u8>,
}

impl Direction {
    /// A clean line. What it does later by chance follows from the seed.
    pub fn new(seed: u64) -> Self {
        Self {
            conditions: Conditions::default(),
            random: Random::new(seed),
            bad: false,
            free_at: None,
            arrives_last: None,
            outage_until: None,
            packets: BinaryHeap::new(),
            number: 0,
            counts: Counts::default(),
        }
    }

    /// From now on the line is so. Packets that are on their way arrive as they would have.
    pub fn set_conditions(&mut self, conditions: Conditions) {
        self.conditions = conditions;
        self.bad = false;
    }

    /// What comes before `until` is lost.
    pub fn set_outage(&mut self, until: Instant) {
        self.outage_until = Some(until);
    }

    /// Takes a packet that was sent at `now`.
    pub fn accept(&mut self, bytes: Vec<u8>, now: Instant) {
        self.counts.accepted += 1;
        if self.outage_until.is_some_and(|until| now < until) {
            self.counts.outage += 1;
        } else if self.loses() {
            self.counts.lost += 1;
        } else if self.packets.len() == PACKETS_MAX {
            self.counts.overflow += 1;
        } else if let Some(sent) = self.sent(bytes.len(), now) {
            let arrives = self.arrives(sent);
            self.packets.push(Reverse(Packet { arrives, number: self.number, bytes }));
            self.number += 1;
        } else {
            self.counts.queue_full += 1;
        }
    }

    /// The next packet that has arrived by `now`.
    pub fn poll_output(&mut self, now: Instant) -> Option<Vec<u8>> {
        self.packets.peek().filter(|next| next.0.arrives <= now)?;
        let Reverse(packet) = self.packets.pop()?;
        self.counts.delivered += 1;
        self.counts.delivered_bytes += packet.bytes.len() as u64;
        self.counts.late_max = self.counts.late_max.max(now - packet.arrives);
        Some(packet.bytes)
    }

    /// When the next packet arrives.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.packets.peek().map(|next| next.0.arrives)
    }

    /// What became of the packets since this was last asked. Those on their way count as accepted, and when they arrive
    /// as delivered.
    pub fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    fn loses(&mut self) -> bool {
        let Conditions { loss, burst, .. } = self.conditions;
        let drawn = self.random.unit();
        if burst <= 1.0 || loss >= 1.0 {
            return drawn < loss;
        }
        // The share of time in the bad state is to be `loss`, and a stay in it `burst` packets long.
        let leave = 1.0 / burst;
        let enter = loss * leave / (1.0 - loss);
        self.bad = if self.bad { drawn >= leave } else { drawn < enter };
        self.bad
    }

    /// When the last bit of a packet has left the slow line; `None` where too much waits before it.
    fn sent(&mut self, length: usize, now: Instant) -> Option<Instant> {
        let Some(rate) = self.conditions.rate_bps else { return Some(now) };
        let begins = self.free_at.map_or(now, |free| free.max(now));
        if begins - now > self.conditions.queue {
            return None;
        }
        let sent = begins + Duration::from_nanos(length as u64 * 8 * 1_000_000_000 / rate);
        self.free_at = Some(sent);
        Some(sent)
    }

    fn arrives(&mut self, sent: Instant) -> Instant {
        let Conditions { delay, jitter, reorder, .. } = self.conditions;
        let mut arrives = sent + delay;
        if !jitter.is_zero() {
            arrives = (arrives + jitter.mul_f64(2.0 * self.random.unit()))
                .checked_sub(jitter)
                .map_or(sent, |at| at.max(sent));
        }
        if !reorder {
            arrives = self.arrives_last.map_or(arrives, |last| last.max(arrives));
            self.arrives_last = Some(arrives);
        }
        arrives
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// The line, and a clock that goes from packet to packet.
    struct Line {
        start: Instant,
        direction: Direction,
        /// Number of each packet that arrived, and when.
        arrived: Vec<(u32, Duration)>,
    }

    impl Line {
        fn new(seed: u64, conditions: Conditions) -> Self {
            let mut direction = Direction::new(seed);
            direction.set_conditions(conditions);
            Self { start: Instant::now(), direction, arrived: Vec::new() }
        }

        /// Sends `count` packets of `length`, one each `every`, from `from` on, and takes what arrives meanwhile.
        fn send(&mut self, count: u32, length: usize, from: Duration, every: Duration) {
            for number in 0..count {
                let at = from + every * number;
                self.take_until(at);
                let mut packet = vec![0; length];
                packet[..4].copy_from_slice(&number.to_be_bytes());
                self.direction.accept(packet, self.start + at);
            }
        }

        fn take_until(&mut self, until: Duration) {
            while let Some(at) = self.direction.poll_timeout().filter(|&at| at <= self.start + until) {
                let packet = self.direction.poll_output(at).expect("it arrives when it is said to");
                let number = u32::from_be_bytes(packet[..4].try_into().expect("four bytes"));
                self.arrived.push((number, at - self.start));
            }
        }

        fn take_all(&mut self) -> &[(u32, Duration)] {
            self.take_until(Duration::from_secs(1_000_000));
            &self.arrived
        }
    }

    fn lossy(loss: f64, burst: f64) -> Conditions {
        Conditions { loss, burst, ..Conditions::default() }
    }

    fn slow(rate_bps: u64, queue: Duration) -> Conditions {
        Conditions { rate_bps: NonZeroU64::new(rate_bps), queue, ..Conditions::default() }
    }

    #[test]
    fn a_clean_line_does_nothing() {
        let mut line = Line::new(1, Conditions::default());
        line.send(100, 1_200, Duration::ZERO, MS);
        let want: Vec<_> = (0..100).map(|number| (number, MS * number)).collect();
        assert_eq!(line.take_all(), want);
        let counts = line.direction.take_counts();
        let all = Counts { accepted: 100, delivered: 100, delivered_bytes: 120_000, ..Counts::default() };
        assert_eq!(counts, all);
        assert_eq!(line.direction.take_counts(), Counts::default());
    }

    #[test]
    fn nothing_arrives_before_its_time() {
        let mut line = Line::new(1, Conditions { delay: 150 * MS, ..Conditions::default() });
        line.send(1, 100, Duration::ZERO, MS);
        let arrives = line.direction.poll_timeout().expect("on its way");
        assert_eq!(arrives - line.start, 150 * MS);
        assert_eq!(line.direction.poll_output(arrives - Duration::from_nanos(1)), None);
        assert!(line.direction.poll_output(arrives).is_some());
        assert_eq!(line.direction.poll_timeout(), None);
    }

    #[test]
    fn what_is_taken_late_is_told() {
        let mut line = Line::new(1, Conditions::default());
        line.send(2, 100, Duration::ZERO, MS);
        assert!(line.direction.poll_output(line.start + 8 * MS).is_some());
        assert_eq!(line.direction.take_counts().late_max, 7 * MS);
    }

    #[test]
    fn as_many_are_lost_as_said() {
        for share in [0.0, 0.01, 0.05, 0.1, 0.2, 1.0] {
            let mut line = Line::new(7, lossy(share, 1.0));
            line.send(100_000, 100, Duration::ZERO, MS);
            line.take_all();
            let lost = line.direction.take_counts().lost as f64 / 100_000.0;
            assert!((lost - share).abs() < 0.003, "{share}: {lost}");
        }
    }

    #[test]
    fn bursts_are_as_long_as_said_and_no_more_is_lost() {
        let mut line = Line::new(7, lossy(0.05, 4.0));
        line.send(200_000, 100, Duration::ZERO, MS);
        let numbers: Vec<u32> = line.take_all().iter().map(|&(number, _)| number).collect();
        let bursts: Vec<u32> =
            numbers.windows(2).map(|pair| pair[1] - pair[0] - 1).filter(|&lost| lost > 0).collect();
        let lost: u32 = bursts.iter().sum();
        assert!((f64::from(lost) / 200_000.0 - 0.05).abs() < 0.005, "{lost} lost");
        let length = f64::from(lost) / bursts.len() as f64;
        assert!((length - 4.0).abs() < 0.3, "{length} in a row");
    }

    #[test]
    fn the_seed_decides() {
        let fate = |seed| {
            let conditions = Conditions { jitter: 30 * MS, delay: 50 * MS, reorder: true, ..lossy(0.1, 2.0) };
            let mut line = Line::new(seed, conditions);
            line.send(1_000, 100, Duration::ZERO, MS);
            line.take_all().to_vec()
        };
        assert_eq!(fate(1), fate(1));
        assert_ne!(fate(1), fate(2));
    }

    #[test]
    fn jitter_keeps_the_order_unless_told() {
        for reorder in [false, true] {
            let conditions = Conditions { delay: 50 * MS, jitter: 30 * MS, reorder, ..Conditions::default() };
            let mut line = Line::new(3, conditions);
            line.send(10_000, 100, Duration::ZERO, 5 * MS);
            let arrived = line.take_all();
            assert_eq!(arrived.len(), 10_000);
            let took: Vec<Duration> = arrived.iter().map(|&(number, at)| at - 5 * MS * number).collect();
            assert!(took.iter().all(|&took| (20 * MS..=80 * MS).contains(&took)));
            // In order, hardly one is as early as it could be: one before it was late.
            let earliest = if reorder { 22 * MS } else { 50 * MS };
            assert!(took.iter().min() < Some(&earliest) && took.iter().max() > Some(&(78 * MS)));
            assert_eq!(arrived.is_sorted_by_key(|&(number, _)| number), !reorder);
        }
    }

    #[test]
    fn jitter_beyond_the_delay_is_no_time_travel() {
        let mut line = Line::new(3, Conditions { jitter: 30 * MS, reorder: true, ..Conditions::default() });
        line.send(1_000, 100, Duration::ZERO, 5 * MS);
        assert!(line.take_all().iter().all(|&(number, at)| at >= 5 * MS * number));
    }

    #[test]
    fn a_slow_line_sends_one_after_the_other() {
        let mut line = Line::new(1, slow(1_000_000, 300 * MS));
        line.send(5, 1_250, Duration::ZERO, Duration::ZERO);
        let want: Vec<_> = (0..5).map(|number| (number, 10 * MS * (number + 1))).collect();
        assert_eq!(line.take_all(), want);
    }

    #[test]
    fn a_slow_line_drops_what_would_wait_too_long() {
        // Twice as much as it carries, for ten seconds.
        let mut line = Line::new(1, slow(1_000_000, 300 * MS));
        line.send(2_000, 1_250, Duration::ZERO, 5 * MS);
        let arrived = line.take_all();
        let longest = arrived.iter().map(|&(number, at)| at - 5 * MS * number).max();
        assert_eq!(longest, Some(310 * MS), "the queue, and the packet itself");
        let during = arrived.iter().filter(|&&(_, at)| at <= Duration::from_secs(10)).count();
        assert_eq!(during, 1_000, "the rate is used in full");
        let counts = line.direction.take_counts();
        assert_eq!(counts.accepted, counts.delivered + counts.queue_full);
        assert!((960..=970).contains(&counts.queue_full), "{counts:?}");
    }

    #[test]
    fn a_cap_that_is_lifted_is_gone_and_nothing_overtakes() {
        let mut line = Line::new(1, slow(100_000, 500 * MS));
        line.send(5, 1_250, Duration::ZERO, Duration::ZERO);
        line.direction.set_conditions(Conditions::default());
        line.send(10, 1_250, 200 * MS, 100 * MS);
        let times: Vec<u64> = line.take_all().iter().map(|(_, at)| at.as_millis() as u64).collect();
        assert_eq!(times, [100, 200, 300, 400, 500, 500, 500, 500, 500, 600, 700, 800, 900, 1_000, 1_100]);
    }

    #[test]
    fn an_outage_loses_what_is_sent_meanwhile_alone() {
        let mut line = Line::new(1, Conditions { delay: 50 * MS, ..Conditions::default() });
        line.send(1, 100, Duration::ZERO, MS);
        line.direction.set_outage(line.start + Duration::from_secs(3));
        line.send(400, 100, 10 * MS, 10 * MS);
        let times: Vec<Duration> = line.take_all().iter().map(|&(_, at)| at).collect();
        assert_eq!(times[..2], [50 * MS, 3_050 * MS]);
        assert_eq!(times.len(), 102);
        assert_eq!(line.direction.take_counts().outage, 299);
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut line = Line::new(1, Conditions { delay: Duration::from_secs(60), ..Conditions::default() });
        line.send(PACKETS_MAX as u32 + 100, 100, Duration::ZERO, Duration::ZERO);
        assert_eq!(line.direction.take_counts().overflow, 100);
        assert_eq!(line.take_all().len(), PACKETS_MAX);
    }

    #[test]
    fn every_packet_is_accounted_for() {
        let conditions = Conditions {
            delay: 80 * MS,
            jitter: 40 * MS,
            rate_bps: NonZeroU64::new(400_000),
            ..lossy(0.1, 3.0)
        };
        let mut line = Line::new(5, conditions);
        for round in 0..20 {
            line.send(500, 900, Duration::from_secs(10 * round), 10 * MS);
            line.direction.set_outage(line.start + Duration::from_secs(10 * (round + 1) + 1));
        }
        line.take_all();
        let counts = line.direction.take_counts();
        assert!(counts.lost > 0 && counts.outage > 0 && counts.queue_full > 0, "{counts:?}");
        assert_eq!(counts.accepted, counts.delivered + counts.lost + counts.outage + counts.queue_full);
        assert_eq!(counts.accepted, 10_000);
    }
}
