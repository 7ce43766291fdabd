//! What a publisher is told about how its packets arrive: receiver reports (RFC 3550 §6.4) and transport-wide
//! feedback.

use std::time::{Duration, Instant};

use hewei_media::{
    rtcp::{ReportBlock, Writer},
    seq::SeqExtender,
};

/// Loss, jitter and the last sender report of one stream.
#[derive(Debug, Default)]
pub(crate) struct StreamReception {
    first: Option<u64>,
    highest: u64,
    received: u64,
    received_before: u64,
    expected_before: u64,
    jitter: f64,
    last_transit: Option<f64>,
    last_sr: Option<(u32, Instant)>,
}

impl StreamReception {
    /// Counts a packet in. `since_start` is its arrival on any steady clock.
    pub(crate) fn received(&mut self, seq: u64, timestamp: u32, clock_hz: u32, since_start: Duration) {
        self.first.get_or_insert(seq);
        self.highest = self.highest.max(seq);
        self.received += 1;
        // RFC 3550 appendix A.8, in timestamp units.
        let transit = since_start.as_secs_f64() * f64::from(clock_hz) - f64::from(timestamp);
        if let Some(last) = self.last_transit {
            let difference = (transit - last).abs();
            // A wrapped or jumping timestamp is no jitter.
            if difference < f64::from(clock_hz) {
                self.jitter += (difference - self.jitter) / 16.0;
            }
        }
        self.last_transit = Some(transit);
    }

    pub(crate) fn sender_report(&mut self, ntp: u64, now: Instant) {
        self.last_sr = Some(((ntp >> 16) as u32, now));
    }

    /// The block for this stream; `None` before its first packet.
    pub(crate) fn report(&mut self, ssrc: u32, now: Instant) -> Option<ReportBlock> {
        let expected = self.highest - self.first? + 1;
        let expected_since = expected - self.expected_before;
        let lost_since = expected_since.saturating_sub(self.received - self.received_before);
        self.expected_before = expected;
        self.received_before = self.received;
        Some(ReportBlock {
            ssrc,
            fraction_lost: (lost_since * 256).checked_div(expected_since).unwrap_or(0).min(255) as u8,
            lost: expected.saturating_sub(self.received).min(0x7f_ffff) as u32,
            highest_seq: self.highest as u32,
            jitter: self.jitter as u32,
            last_sr: self.last_sr.map_or(0, |(middle, _)| middle),
            delay_since_last_sr: self
                .last_sr
                .map_or(0, |(_, at)| (now.saturating_duration_since(at).as_secs_f64() * 65_536.0) as u32),
        })
    }
}

/// Arrivals remembered for feedback: at 50 ms and 500 packets a second twenty times what is needed.
const WINDOW: usize = 512;

/// Arrival times by transport-wide sequence number.
#[derive(Debug)]
pub(crate) struct TransportReception {
    seq: SeqExtender,
    /// First number not yet reported.
    base: u64,
    /// Arrival in units of 250 µs, for `base..base + WINDOW`, at `number % WINDOW`.
    arrivals: Box<[Option<u64>; WINDOW]>,
    highest: u64,
    pending: bool,
    feedback_count: u8,
}

impl Default for TransportReception {
    fn default() -> Self {
        Self {
            seq: SeqExtender::default(),
            base: 0,
            arrivals: Box::new([None; WINDOW]),
            highest: 0,
            pending: false,
            feedback_count: 0,
        }
    }
}

impl TransportReception {
    pub(crate) fn received(&mut self, seq: u16, since_start: Duration) {
        let seq = self.seq.extend(seq);
        if !self.pending && seq >= self.base {
            // What was lost before this one is reported with it, but not a whole outage.
            if self.base == 0 || seq - self.base >= WINDOW as u64 / 2 {
                self.base = seq;
            }
            self.highest = seq;
            self.pending = true;
        }
        if seq < self.base {
            return; // reported as lost already
        }
        if seq - self.base >= WINDOW as u64 {
            let new_base = seq + 1 - WINDOW as u64 / 2;
            for skipped in self.base..new_base.min(self.base + WINDOW as u64) {
                self.arrivals[skipped as usize % WINDOW] = None;
            }
            self.base = new_base;
        }
        self.highest = self.highest.max(seq);
        self.arrivals[seq as usize % WINDOW] = Some((since_start.as_micros() / 250) as u64);
    }

    /// Whether there is something to report.
    pub(crate) fn pending(&self) -> bool {
        self.pending
    }

    /// Writes one feedback packet over all that is pending.
    pub(crate) fn write(&mut self, writer: &mut Writer<'_>, sender_ssrc: u32, media_ssrc: u32) {
        if !self.pending {
            return;
        }
        let mut arrivals = [None; WINDOW];
        let count = (self.highest + 1 - self.base) as usize;
        for (offset, arrival) in arrivals[..count].iter_mut().enumerate() {
            *arrival = self.arrivals[(self.base as usize + offset) % WINDOW];
        }
        let base = self.base as u16;
        let covered =
            writer.transport_feedback(sender_ssrc, media_ssrc, base, self.feedback_count, &arrivals[..count]);
        for seq in self.base..self.base + covered as u64 {
            self.arrivals[seq as usize % WINDOW] = None;
        }
        self.base += covered as u64;
        self.feedback_count = self.feedback_count.wrapping_add(u8::from(covered > 0));
        self.pending = self.base <= self.highest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_counts_losses_once() {
        let mut reception = StreamReception::default();
        let start = Instant::now();
        for seq in [10, 11, 13, 14] {
            reception.received(seq, seq as u32 * 3000, 90_000, Duration::from_millis(seq * 33));
        }
        let block = reception.report(1, start).expect("packets came");
        assert_eq!((block.lost, block.fraction_lost, block.highest_seq), (1, 51, 14));
        let block = reception.report(1, start).expect("packets came");
        assert_eq!((block.lost, block.fraction_lost), (1, 0));
    }

    #[test]
    fn feedback_covers_each_number_once() {
        let mut reception = TransportReception::default();
        for seq in [65_533u16, 65_534, 1, 0] {
            reception.received(seq, Duration::from_millis(u64::from(seq % 10)));
        }
        let mut buf = [0; 256];
        let mut writer = Writer::new(&mut buf);
        reception.write(&mut writer, 1, 2);
        assert!(!reception.pending());
        let len = writer.len();
        assert!(len > 0);
        assert_eq!(&buf[12..16], &[0xff, 0xfd, 0, 5], "from 65533, five numbers, one of them lost");
        reception.received(65_535, Duration::ZERO);
        assert!(!reception.pending(), "it was reported as lost");
        for seq in 0..2000u16 {
            reception.received(seq.wrapping_mul(3), Duration::from_millis(u64::from(seq)));
        }
        let mut writer = Writer::new(&mut buf);
        reception.write(&mut writer, 1, 2);
    }
}
