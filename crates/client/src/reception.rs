//! What came in a slot, counted.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use hewei_model::Codec;

use crate::rtcp::Block;

/// Missing packets that may still come. More at once is an interruption, and asking for each would not mend it.
const MISSING_MAX: usize = 256;
/// A packet is asked for this often, and then given up.
const ASK_EVERY: Duration = Duration::from_millis(60);
const ASK_MAX: u32 = 8;

/// What came in a slot so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reception {
    /// Packets, retransmissions of missing ones included, doubles not.
    pub packets: u64,
    /// Bytes of payload.
    pub bytes: u64,
    /// Packets that are missing: neither came nor were retransmitted.
    pub lost: u64,
    /// Missing packets that came by retransmission.
    pub recovered: u64,
    /// First packets of keyframes.
    pub keyframes: u64,
    /// Markers: the ends of pictures, or the beginnings of talkspurts.
    pub marked: u64,
    /// The codec of the last packet.
    pub codec: Option<Codec>,
}

#[derive(Debug, Default)]
pub(crate) struct Receiving {
    pub(crate) counts: Reception,
    first: Option<u64>,
    highest: u64,
    missing: BTreeSet<u64>,
    given_up: u64,
    asked: Option<(Instant, u32)>,
    transit: Option<f64>,
    jitter: f64,
    started: Option<Instant>,
    pub(crate) sender_report: Option<(u32, Instant)>,
    /// Expected and received at the last report.
    reported: (u64, u64),
}

impl Receiving {
    /// Takes in a packet. `rtx`: it is a retransmission of `seq`.
    pub(crate) fn packet(&mut self, now: Instant, codec: Codec, rtx: bool, packet: &Packet<'_>) {
        let seq = match self.first {
            Some(_) => extend(self.highest, packet.seq),
            // Room below for what comes out of order at first.
            None => (1 << 16) + u64::from(packet.seq),
        };
        let first = *self.first.get_or_insert(seq);
        if seq < first {
            return;
        }
        if seq > self.highest || self.counts.packets == 0 {
            let gap = self.highest.max(first.saturating_sub(1)) + 1..seq;
            self.missing.extend(gap);
            while self.missing.len() > MISSING_MAX {
                self.missing.pop_first();
                self.given_up += 1;
            }
            self.highest = seq;
        } else if self.missing.remove(&seq) {
            self.counts.recovered += u64::from(rtx);
        } else {
            return;
        }
        if !rtx {
            self.measure(now, codec, packet.timestamp);
        }
        self.counts.packets += 1;
        self.counts.bytes += packet.payload.len() as u64;
        self.counts.keyframes += u64::from(is_keyframe(codec, packet.payload));
        self.counts.marked += u64::from(packet.marker);
        self.counts.codec = Some(codec);
        self.counts.lost = self.given_up + self.missing.len() as u64;
    }

    /// Interarrival jitter (RFC 3550 §6.4.1).
    fn measure(&mut self, now: Instant, codec: Codec, timestamp: u32) {
        let started = *self.started.get_or_insert(now);
        let arrival = now.saturating_duration_since(started).as_secs_f64() * f64::from(codec.clock_rate_hz());
        let transit = arrival - f64::from(timestamp);
        if let Some(last) = self.transit.replace(transit) {
            let difference = (transit - last).abs();
            // A source that changes, or a timestamp that wraps, is no jitter.
            if difference < f64::from(codec.clock_rate_hz()) {
                self.jitter += (difference - self.jitter) / 16.0;
            }
        }
    }

    /// Packets to ask for now.
    pub(crate) fn due_again(&mut self, now: Instant) -> Vec<u16> {
        if self.missing.is_empty() {
            self.asked = None;
            return Vec::new();
        }
        let times = match self.asked {
            Some((at, _)) if now < at + ASK_EVERY => return Vec::new(),
            Some((_, times)) => times,
            None => 0,
        };
        if times >= ASK_MAX {
            self.given_up += self.missing.len() as u64;
            self.missing.clear();
            self.asked = None;
            return Vec::new();
        }
        self.asked = Some((now, times + 1));
        self.missing.iter().map(|seq| *seq as u16).collect()
    }

    /// When to ask again.
    pub(crate) fn ask_at(&self) -> Option<Instant> {
        self.asked.map(|(at, _)| at + ASK_EVERY)
    }

    /// A block of a receiver report.
    pub(crate) fn block(&mut self, now: Instant, ssrc: u32) -> Option<Block> {
        let first = self.first?;
        let (expected, received) = (self.highest - first + 1, self.counts.packets);
        let (expected_before, received_before) = std::mem::replace(&mut self.reported, (expected, received));
        let expected_since = expected - expected_before;
        let lost_since = expected_since.saturating_sub(received - received_before);
        let (last_report, since) = self.sender_report.map_or((0, 0), |(middle, at)| {
            (middle, (now.saturating_duration_since(at).as_secs_f64() * 65_536.0) as u32)
        });
        Some(Block {
            ssrc,
            fraction_lost: (256 * lost_since).checked_div(expected_since).unwrap_or(0).min(255) as u8,
            lost: self.counts.lost.min(0x7f_ffff) as u32,
            highest: (self.highest - (1 << 16)) as u32,
            jitter: self.jitter as u32,
            last_report,
            since_last_report: since,
        })
    }
}

/// The number nearest to `highest` that ends in `seq`.
fn extend(highest: u64, seq: u16) -> u64 {
    let ahead = seq.wrapping_sub(highest as u16);
    if ahead < 0x8000 {
        highest + u64::from(ahead)
    } else {
        highest.saturating_sub(u64::from(0u16.wrapping_sub(ahead)))
    }
}

/// A packet, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Packet<'a> {
    pub(crate) payload_type: u8,
    pub(crate) marker: bool,
    pub(crate) seq: u16,
    pub(crate) timestamp: u32,
    pub(crate) ssrc: u32,
    pub(crate) payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// RFC 3550 §5.1.
    pub(crate) fn read(packet: &'a [u8]) -> Option<Packet<'a>> {
        let (header, _) = packet.split_first_chunk::<12>()?;
        if header[0] >> 6 != 2 {
            return None;
        }
        let mut start = 12 + 4 * usize::from(header[0] & 0x0f);
        if header[0] & 0x10 != 0 {
            let words = packet.get(start + 2..start + 4)?;
            start += 4 + 4 * usize::from(u16::from_be_bytes([words[0], words[1]]));
        }
        let padding = if header[0] & 0x20 != 0 { usize::from(*packet.last()?) } else { 0 };
        Some(Packet {
            payload_type: header[1] & 0x7f,
            marker: header[1] & 0x80 != 0,
            seq: u16::from_be_bytes([header[2], header[3]]),
            timestamp: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
            ssrc: u32::from_be_bytes([header[8], header[9], header[10], header[11]]),
            payload: packet.get(start..packet.len().checked_sub(padding)?)?,
        })
    }
}

/// Whether this payload begins a keyframe.
pub fn is_keyframe(codec: Codec, payload: &[u8]) -> bool {
    match codec {
        // RFC 6184 §5: an IDR slice alone, in a STAP-A, or beginning in a FU-A.
        Codec::H264 => match payload {
            [header, rest @ ..] => match header & 0x1f {
                5 => true,
                24 => {
                    let mut rest = rest;
                    while let [high, low, nal, ..] = *rest {
                        if nal & 0x1f == 5 {
                            return true;
                        }
                        let len = usize::from(u16::from_be_bytes([high, low]));
                        rest = rest.get(2 + len.max(1)..).unwrap_or_default();
                    }
                    false
                }
                28 => rest.first().is_some_and(|fragment| fragment & 0x9f == 0x85),
                _ => false,
            },
            [] => false,
        },
        // RFC 7741 §4: S bit and partition 0 in the descriptor, no P bit in the frame.
        Codec::Vp8 => {
            let [descriptor, rest @ ..] = payload else { return false };
            if descriptor & 0x17 != 0x10 {
                return false;
            }
            let mut rest = rest;
            if descriptor & 0x80 != 0 {
                let [extension, after @ ..] = rest else { return false };
                let long_id = extension & 0x80 != 0 && after.first().is_some_and(|id| id & 0x80 != 0);
                let skip = usize::from(extension >> 7)
                    + usize::from(long_id)
                    + usize::from(extension & 0x40 != 0)
                    + usize::from(extension & 0x30 != 0);
                rest = after.get(skip..).unwrap_or_default();
            }
            rest.first().is_some_and(|frame| frame & 1 == 0)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(receiving: &mut Receiving, now: Instant, seq: u16, rtx: bool) {
        let packet =
            Packet { payload_type: 96, marker: true, seq, timestamp: 0, ssrc: 1, payload: &[0x10, 0x11] };
        receiving.packet(now, Codec::Vp8, rtx, &packet);
    }

    #[test]
    fn losses_are_counted_over_the_wrap_and_mended() {
        let (mut receiving, now) = (Receiving::default(), Instant::now());
        for seq in [65_533, 65_534, 1, 2] {
            take(&mut receiving, now, seq, false);
        }
        assert_eq!((receiving.counts.packets, receiving.counts.lost), (4, 2));
        assert_eq!(receiving.due_again(now), [65_535, 0]);
        assert_eq!(receiving.due_again(now), [] as [u16; 0]);
        take(&mut receiving, now, 0, true);
        take(&mut receiving, now, 0, true);
        assert_eq!((receiving.counts.packets, receiving.counts.lost, receiving.counts.recovered), (5, 1, 1));
        let block = receiving.block(now, 1).expect("something came");
        assert_eq!((block.highest, block.lost, block.fraction_lost), (65_536 + 2, 1, 42));
        let mut later = now;
        for _ in 0..=ASK_MAX {
            later += ASK_EVERY;
            receiving.due_again(later);
        }
        assert!(receiving.missing.is_empty());
        take(&mut receiving, later, 3, false);
        assert_eq!(receiving.counts.lost, 1, "given up is lost");
    }

    #[test]
    fn keyframes_are_told() {
        for (codec, payload, wanted) in [
            (Codec::H264, &[0x65, 1][..], true),
            (Codec::H264, &[0x41, 1], false),
            (Codec::H264, &[0x7c, 0x85, 1], true),
            (Codec::H264, &[0x7c, 0x05, 1], false),
            (Codec::H264, &[0x78, 0, 2, 0x67, 1, 0, 1, 0x65], true),
            (Codec::H264, &[0x78, 0, 2, 0x67, 1, 0, 1, 0x41], false),
            (Codec::H264, &[0x78, 0, 0, 0], false),
            (Codec::H264, &[], false),
            (Codec::Vp8, &[0x10, 0x10], true),
            (Codec::Vp8, &[0x10, 0x11], false),
            (Codec::Vp8, &[0x00, 0x10], false),
            (Codec::Vp8, &[0x90, 0x80, 0x81, 0x02, 0x10], true),
            (Codec::Vp8, &[0x90, 0xe0, 0x81, 0x02, 0x03, 0x04, 0x11], false),
            (Codec::Opus, &[0x78, 0x10], false),
        ] {
            assert_eq!(is_keyframe(codec, payload), wanted, "{codec} {payload:02x?}");
        }
    }
}
