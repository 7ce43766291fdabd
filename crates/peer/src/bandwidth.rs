//! How much may be sent to a peer: an estimate from when its packets arrive and which of them do not
//! (draft-ietf-rmcat-gcc-02, fed by transport-wide feedback).
//!
//! Two controllers, of which the lower rules. The one on delay lowers the rate before a queue is full, and raises it
//! carefully near what the path was seen to carry, quickly far from it. The one on loss holds the rate where packets go
//! missing, and lowers it where many do. Neither raises the rate far above what really arrives: what was never sent was
//! never tried.

mod acked;
mod probe;
mod sent;
mod trend;

use std::time::{Duration, Instant};

use hewei_media::transport_feedback::TransportFeedback;

use self::{
    acked::Acked,
    probe::Probe,
    sent::Sent,
    trend::{Trend, Usage},
};

/// Where an estimate begins, in bits a second: sound for everybody and a small picture.
const START: f64 = 500e3;
/// It never falls below what sound needs.
const MIN: f64 = 40e3;
/// Nor rises above what one peer is ever sent.
const MAX: f64 = 20e6;
/// What a queue takes away at once.
const BACK_OFF: f64 = 0.85;
/// How fast it rises far from what the path was seen to carry: this share a second.
const RISE: f64 = 0.08;
/// What arrives is carried, but for how it is measured.
const CARRIED: f64 = 0.95;
/// Above what arrives by no more than this factor, and so many bits a second.
const HEADROOM: (f64, f64) = (1.5, 10e3);
/// Losses are weighed when so many packets were told of.
const LOSS_PACKETS: u32 = 20;
/// Or this time has passed, with any at all.
const LOSS_TIME: Duration = Duration::from_secs(1);
/// A share that a village line loses anyway: below it the rate may rise.
const LOSS_USUAL: f64 = 0.02;
/// A share that a queue which is full loses: above it the rate falls.
const LOSS_MUCH: f64 = 0.10;
/// So long after the last loss a line is one that loses.
const LOSES: Duration = Duration::from_secs(10);
/// A share of which one repeat of each frame leaves too much.
const LOSS_REPEATED_TWICE: f64 = 0.07;
/// A packet, for the careful rise: one more a round trip.
const PACKET_BITS: f64 = 1_200.0 * 8.0;

/// The estimate for one peer.
#[derive(Debug)]
pub(crate) struct Bandwidth {
    sent: Sent,
    acked: Acked,
    trend: Trend,
    probe: Probe,
    /// What would be sent if there were room, in bits a second.
    wanted: f64,
    /// Arrivals on one clock that does not wrap, begun with the first.
    arrival: Option<(u32, Duration)>,
    by_delay: f64,
    by_loss: f64,
    /// What the path carried when queues grew: mean and deviation, both in bits a second.
    capacity: Option<(f64, f64)>,
    round_trip: Duration,
    risen_at: Option<Instant>,
    lowered_at: Option<Instant>,
    /// Packets told of since losses were last weighed, and those that went missing.
    told: u32,
    missing: u32,
    weighed_at: Option<Instant>,
    loss_lowered_at: Option<Instant>,
    loss: f64,
    missed_at: Option<Instant>,
}

impl Bandwidth {
    pub(crate) fn new() -> Self {
        Self {
            sent: Sent::new(),
            acked: Acked::default(),
            trend: Trend::default(),
            probe: Probe::new(),
            wanted: 0.0,
            arrival: None,
            by_delay: START,
            by_loss: START,
            capacity: None,
            round_trip: Duration::from_millis(200),
            risen_at: None,
            lowered_at: None,
            told: 0,
            missing: 0,
            weighed_at: None,
            loss_lowered_at: None,
            loss: 0.0,
            missed_at: None,
        }
    }

    /// Bits a second that may be sent, headers included.
    pub(crate) fn target(&self) -> u64 {
        self.by_delay.min(self.by_loss).clamp(MIN, MAX) as u64
    }

    /// Whether the peer has told of anything yet.
    pub(crate) fn was_told(&self) -> bool {
        self.arrival.is_some()
    }

    /// The share of packets that went missing lately, 0 to 1.
    pub(crate) fn loss(&self) -> f64 {
        self.loss
    }

    /// How many frames of sound are to be sent once more with each: none on a line that was seen to lose nothing.
    pub(crate) fn repeats(&self, now: Instant) -> usize {
        match self.missed_at {
            None if self.was_told() => 0,
            Some(at) if now.saturating_duration_since(at) >= LOSES => 0,
            _ if self.loss < LOSS_REPEATED_TWICE => 1,
            _ => 2,
        }
    }

    /// From a packet to the word that it arrived.
    pub(crate) fn round_trip(&self) -> Duration {
        self.round_trip
    }

    /// A datagram goes out: gives its transport-wide sequence number.
    pub(crate) fn sent(&mut self, now: Instant, bytes: usize) -> u16 {
        self.probe.sent(bytes);
        self.sent.push(now, bytes, self.probe.is_sending())
    }

    /// Sets what would be sent if there were room, in bits a second. While that is more than may be sent, padding
    /// tries now and then whether more goes through.
    pub(crate) fn set_wanted(&mut self, bits_per_second: u64) {
        self.wanted = bits_per_second as f64;
    }

    /// Packets of padding to send now.
    pub(crate) fn padding_due(&mut self, now: Instant) -> usize {
        let target = self.target() as f64;
        self.probe.padding_due(now, self.wanted, target)
    }

    /// When [`Bandwidth::padding_due`] has something to say.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.probe.poll_timeout(self.wanted > self.target() as f64)
    }

    /// The peer tells what has come.
    pub(crate) fn feedback(&mut self, now: Instant, feedback: TransportFeedback<'_>) {
        let mut newest: Option<Duration> = None;
        for (seq, arrival) in feedback.arrivals() {
            let Some(packet) = self.sent.take(now, seq) else { continue };
            self.told += 1;
            let Some(arrival) = arrival else {
                self.missing += 1;
                self.missed_at = Some(now);
                continue;
            };
            let arrival = self.unwrapped(arrival);
            self.acked.packet(arrival, packet.bytes);
            self.trend.packet(packet.at, arrival);
            if packet.probe {
                self.probe.told(&packet, arrival);
            }
            newest = newest.max(Some(packet.at));
        }
        if let (Some(newest), Some(started)) = (newest, self.sent.started()) {
            let round_trip = now.saturating_duration_since(started + newest);
            self.round_trip = (self.round_trip * 7 + round_trip) / 8;
        }
        if newest.is_some() {
            self.weigh_delay(now);
        }
        self.weigh_loss(now);
        if let Some(shown) = self.probe.result(now)
            && self.trend.usage() != Usage::Over
        {
            self.by_delay = self.by_delay.max(shown).min(MAX);
            self.by_loss = self.by_loss.max(shown).min(MAX);
        }
    }

    /// An arrival on a clock that does not wrap. The first is an hour after its zero, for some may have come before it.
    fn unwrapped(&mut self, ticks: u32) -> Duration {
        const TICK: Duration = Duration::from_micros(250);
        let (last, at) = *self.arrival.get_or_insert((ticks, Duration::from_secs(3_600)));
        let step = ticks.wrapping_sub(last) as i32;
        let at = if step >= 0 {
            at + TICK * step.unsigned_abs()
        } else {
            at.saturating_sub(TICK * step.unsigned_abs())
        };
        self.arrival = Some((ticks, at));
        at
    }

    fn weigh_delay(&mut self, now: Instant) {
        let acked = self.acked.rate();
        let since = now.saturating_duration_since(self.risen_at.replace(now).unwrap_or(now)).min(LOSS_TIME);
        match self.trend.usage() {
            Usage::Over => self.lower(now, acked),
            // What waits in the queue goes through first.
            Usage::Under => {}
            Usage::Normal => self.raise(since.as_secs_f64(), acked),
        }
    }

    fn lower(&mut self, now: Instant, acked: Option<f64>) {
        let pause = self.round_trip.clamp(Duration::from_millis(10), Duration::from_millis(200));
        let again = self.lowered_at.is_none_or(|at| now.saturating_duration_since(at) >= pause);
        let far_below = acked.is_some_and(|acked| acked < 0.5 * self.by_delay);
        if !again && !far_below {
            return;
        }
        self.lowered_at = Some(now);
        let Some(acked) = acked else {
            self.by_delay = (self.by_delay / 2.0).max(MIN);
            return;
        };
        if let Some((mean, deviation)) = self.capacity
            && (acked - mean).abs() > 3.0 * deviation
        {
            // Another path than it was.
            self.capacity = None;
        }
        let (mean, deviation) = self.capacity.unwrap_or((acked, 0.1 * acked));
        let mean_now = mean + 0.05 * (acked - mean);
        let deviation_now = deviation + 0.05 * ((acked - mean).abs() - deviation);
        self.capacity = Some((mean_now, deviation_now.max(0.02 * mean_now)));
        self.by_delay = (BACK_OFF * acked).min(self.by_delay).max(MIN);
    }

    fn raise(&mut self, seconds: f64, acked: Option<f64>) {
        if let (Some((mean, deviation)), Some(acked)) = (self.capacity, acked)
            && acked > mean + 3.0 * deviation
        {
            // It carries more than it did.
            self.capacity = None;
        }
        let near = self.capacity.is_some_and(|(mean, deviation)| self.by_delay >= mean - 3.0 * deviation);
        let rise = if near {
            PACKET_BITS / (self.round_trip.as_secs_f64() + 0.1)
        } else {
            (RISE * self.by_delay).max(1_000.0)
        };
        let most = acked.map_or(MAX, |acked| HEADROOM.0 * acked + HEADROOM.1);
        // What was allowed before is not taken away because less was sent; and what arrives without a queue is carried,
        // however little was allowed: at the start everything is sent before anything is known.
        self.by_delay = (self.by_delay + rise * seconds).min(most.max(self.by_delay));
        self.by_delay = self.by_delay.max(CARRIED * acked.unwrap_or(0.0)).min(MAX);
    }

    fn weigh_loss(&mut self, now: Instant) {
        let weighed = *self.weighed_at.get_or_insert(now);
        let passed = now.saturating_duration_since(weighed);
        if self.told == 0 || (self.told < LOSS_PACKETS && passed < LOSS_TIME) {
            return;
        }
        let share = f64::from(self.missing) / f64::from(self.told);
        self.loss += (share - self.loss) * 0.3;
        (self.told, self.missing, self.weighed_at) = (0, 0, Some(now));
        if share <= LOSS_MUCH {
            self.by_loss = self.by_loss.max(CARRIED * self.acked.rate().unwrap_or(0.0));
        }
        if share <= LOSS_USUAL {
            self.by_loss += RISE * self.by_loss * passed.min(LOSS_TIME).as_secs_f64();
        } else if share > LOSS_MUCH {
            let pause = self.round_trip + Duration::from_millis(300);
            if self.loss_lowered_at.is_none_or(|at| now.saturating_duration_since(at) >= pause) {
                self.loss_lowered_at = Some(now);
                self.by_loss = self.by_delay.min(self.by_loss) * (1.0 - 0.5 * share);
            }
        }
        // Not far above what the other one says, so that it has not far to fall.
        self.by_loss = self.by_loss.clamp(MIN, (2.0 * self.by_delay).max(MIN));
    }
}

#[cfg(test)]
mod tests;
