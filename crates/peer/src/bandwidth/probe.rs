//! Trying whether more would go through than is sent: a short train of padding at a higher rate, and how it arrives.

use std::time::{Duration, Instant};

use super::sent::Packet;

/// How long a train takes.
const TRAIN: Duration = Duration::from_millis(100);
/// A packet of padding on the wire.
const PACKET_BYTES: f64 = 290.0;
/// What it tries, in what is allowed now.
const STEP: f64 = 2.0;
/// It is over when so much of it was told of.
const TOLD: f64 = 0.8;
/// A train of which less than this share went out, or which was over in less than this share of its time, shows nothing:
/// a busy moment sent it late and all at once.
const WHOLE: f64 = 0.5;
/// What was not told of in this time will not be.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between trains: the first soon, each that brought nothing twice as late.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(16);
/// A receiver that gets less than this share of what was sent got what the path carries.
const SATURATED: f64 = 0.9;

#[derive(Debug, Clone, Copy, Default)]
struct Train {
    /// What it should be, in bits.
    meant: f64,
    sent_bytes: u64,
    told_bytes: u64,
    /// Of the first and the last that arrived: when they were sent, and when they came.
    first: Option<(Duration, Duration)>,
    last: Option<(Duration, Duration)>,
    /// The first one's bytes are not of the time between the two.
    first_bytes: u64,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Resting { until: Instant },
    Sending { rate: f64, until: Instant, at: Instant, credit: f64, train: Train },
    Listening { until: Instant, train: Train },
}

/// The trains of one peer.
#[derive(Debug)]
pub(super) struct Probe {
    state: Option<State>,
    pause: Duration,
}

impl Probe {
    pub(super) fn new() -> Self {
        Self { state: None, pause: PAUSE }
    }

    /// Whether packets that go out now are of a train.
    pub(super) fn is_sending(&self) -> bool {
        matches!(self.state, Some(State::Sending { .. }))
    }

    /// Packets of padding to send now. `wanted` is what would be sent if there were room, `target` what is allowed, both
    /// in bits a second; no train begins unless more is wanted.
    pub(super) fn padding_due(&mut self, now: Instant, wanted: f64, target: f64) -> usize {
        let state = *self.state.get_or_insert(State::Resting { until: now + self.pause });
        match state {
            State::Resting { until } if now >= until && wanted > target => {
                let rate = wanted.min(STEP * target);
                let meant = rate * TRAIN.as_secs_f64();
                let (until, train) = (now + TRAIN, Train { meant, ..Train::default() });
                self.state = Some(State::Sending { rate, until, at: now, credit: 0.0, train });
                0
            }
            State::Sending { until, train, .. } if now >= until => {
                self.state = Some(State::Listening { until: now + PATIENCE, train });
                0
            }
            State::Sending { rate, until, at, credit, train } => {
                let credit = credit + rate / 8.0 * now.saturating_duration_since(at).as_secs_f64();
                let packets = (credit / PACKET_BYTES).floor();
                let credit = credit - packets * PACKET_BYTES;
                self.state = Some(State::Sending { rate, until, at: now, credit, train });
                packets as usize
            }
            State::Listening { until, .. } if now >= until => {
                self.rest(now, false);
                0
            }
            _ => 0,
        }
    }

    /// When [`Probe::padding_due`] has something to say again, when more is wanted than is allowed.
    pub(super) fn poll_timeout(&self, more_is_wanted: bool) -> Option<Instant> {
        match self.state {
            None | Some(State::Resting { .. }) if !more_is_wanted => None,
            None => None,
            Some(State::Resting { until } | State::Listening { until, .. }) => Some(until),
            Some(State::Sending { at, .. }) => Some(at),
        }
    }

    /// A packet of the train goes out.
    pub(super) fn sent(&mut self, bytes: usize) {
        if let Some(State::Sending { train, .. }) = &mut self.state {
            train.sent_bytes += bytes as u64;
        }
    }

    /// A packet of the train arrived.
    pub(super) fn told(&mut self, packet: &Packet, arrival: Duration) {
        let (Some(State::Sending { train, .. }) | Some(State::Listening { train, .. })) = &mut self.state
        else {
            return;
        };
        if train.first.is_none() {
            train.first = Some((packet.at, arrival));
            train.first_bytes = packet.bytes.into();
        }
        train.last = Some((packet.at, arrival));
        train.told_bytes += u64::from(packet.bytes);
    }

    /// What the train showed, in bits a second, once it is known.
    pub(super) fn result(&mut self, now: Instant) -> Option<f64> {
        let Some(State::Listening { train, .. }) = self.state else { return None };
        if (train.told_bytes as f64) < TOLD * train.sent_bytes as f64 {
            return None;
        }
        let ((first_sent, first_came), (last_sent, last_came)) = (train.first?, train.last?);
        let span = last_sent.saturating_sub(first_sent);
        if (train.sent_bytes as f64) * 8.0 < WHOLE * train.meant || span < TRAIN.mul_f64(WHOLE) {
            self.rest(now, false);
            return None;
        }
        let bits = (train.told_bytes - train.first_bytes) as f64 * 8.0;
        let rate = |time: Duration| bits / time.max(Duration::from_millis(1)).as_secs_f64();
        let sent = rate(span);
        let came = rate(last_came.saturating_sub(first_came));
        let shown = if came < SATURATED * sent { 0.95 * came } else { sent.min(came) };
        self.rest(now, came >= SATURATED * sent);
        Some(shown)
    }

    fn rest(&mut self, now: Instant, more_went_through: bool) {
        self.pause = if more_went_through { PAUSE } else { (2 * self.pause).min(PAUSE_MAX) };
        // After one that went through, the next may follow at once.
        let pause = if more_went_through { Duration::ZERO } else { self.pause };
        self.state = Some(State::Resting { until: now + pause });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A train whose padding is asked for at these times, in milliseconds since it began, and arrives as it was sent. Gives
    /// what it showed.
    fn shows(looks: &[u64]) -> Option<f64> {
        let (start, mut probe) = (Instant::now(), Probe::new());
        assert_eq!(probe.padding_due(start, 1e6, 500e3), 0);
        let began = start + PAUSE;
        assert_eq!(probe.padding_due(began, 1e6, 500e3), 0);
        assert!(probe.is_sending());
        let mut arrived = Vec::new();
        for look in looks {
            let at = Duration::from_millis(*look);
            for _ in 0..probe.padding_due(began + at, 1e6, 500e3) {
                probe.sent(290);
                arrived.push(Packet { at, bytes: 290, probe: true });
            }
        }
        probe.padding_due(began + TRAIN, 1e6, 500e3);
        assert!(!probe.is_sending());
        for packet in arrived {
            probe.told(&packet, packet.at);
        }
        let shown = probe.result(began + TRAIN);
        assert!(shown.is_none() || matches!(probe.state, Some(State::Resting { .. })));
        shown
    }

    #[test]
    fn a_train_that_was_not_sent_as_it_was_meant_shows_nothing() {
        let whole = shows(&[5, 15, 25, 35, 45, 55, 65, 75, 85, 95]).expect("it shows");
        assert!((800e3..1.2e6).contains(&whole), "{whole}");
        assert_eq!(shows(&[]), None);
        assert_eq!(shows(&[95]), None, "late and all at once");
        assert_eq!(shows(&[60, 65, 95]), None, "within a third of its time");
        assert_eq!(shows(&[5, 40]), None, "not half of it");
    }
}
