//! The RTP header of what a pull passes on.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |V=2|0|0|  0    |M|     PT      |  ours, counts up by one       |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |        the camera's timestamp + an offset a connection        |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                ours, one a kind for the whole pull            |
//! +=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+
//! ```

use std::time::Instant;

use hewei_model::Codec;

/// The largest RTP payload passed on, in bytes.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 1_200;
const HEADER_BYTES: usize = 12;
/// The longest gap in the camera's numbers that is passed on as it is. Beyond it the gap's length says nothing
/// more, and half the number space would be ambiguous.
const GAP_MAX: u16 = 1_000;

/// Writes one kind's headers: one SSRC, sequence numbers that count on, and timestamps that go on over
/// reconnects by the time that passed.
#[derive(Debug)]
pub(crate) struct Stamp {
    payload_type: u8,
    clock_rate_hz: u32,
    ssrc: u32,
    sequence: u16,
    offset: Offset,
    last: Option<(u32, Instant)>,
    buffer: Vec<u8>,
}

/// What is added to the camera's timestamps on this connection.
#[derive(Debug, Clone, Copy)]
enum Offset {
    Known(u32),
    /// The first packet of the new connection decides it.
    Open,
}

impl Stamp {
    /// `random` gives SSRC and first sequence number.
    pub(crate) fn new(codec: Codec, random: u64) -> Self {
        Self {
            payload_type: match codec {
                Codec::Pcmu => 0,
                Codec::Pcma => 8,
                Codec::H264 | Codec::Vp8 | Codec::Opus => 96,
            },
            clock_rate_hz: codec.clock_rate_hz(),
            ssrc: random as u32,
            // The upper quarter is left out, so that a first wrap does not come within a receiver's first packets.
            sequence: (random >> 32) as u16 & 0x3FFF,
            offset: Offset::Known(0),
            last: None,
            buffer: Vec::with_capacity(HEADER_BYTES + PAYLOAD_BYTES_MAX),
        }
    }

    /// A new connection begins: its timestamps have nothing to do with those before.
    pub(crate) fn reconnected(&mut self) {
        if self.last.is_some() {
            self.offset = Offset::Open;
        }
    }

    /// The camera left out `packets`.
    pub(crate) fn skip(&mut self, packets: u16) {
        self.sequence = self.sequence.wrapping_add(packets.min(GAP_MAX));
    }

    /// The packet with this payload, complete. `timestamp` is the camera's.
    pub(crate) fn packet(&mut self, marker: bool, timestamp: u32, arrival: Instant, payload: &[u8]) -> &[u8] {
        let timestamp = self.place(timestamp, arrival);
        let header = &mut self.buffer;
        header.clear();
        header.extend_from_slice(&[0x80, u8::from(marker) << 7 | self.payload_type]);
        header.extend_from_slice(&self.sequence.to_be_bytes());
        header.extend_from_slice(&timestamp.to_be_bytes());
        header.extend_from_slice(&self.ssrc.to_be_bytes());
        header.extend_from_slice(payload);
        self.sequence = self.sequence.wrapping_add(1);
        &self.buffer
    }

    /// The camera's timestamp as passed on; `None` until the connection's first packet has decided.
    pub(crate) fn translate(&self, timestamp: u32) -> Option<u32> {
        match self.offset {
            Offset::Known(offset) => Some(timestamp.wrapping_add(offset)),
            Offset::Open => None,
        }
    }

    fn place(&mut self, timestamp: u32, arrival: Instant) -> u32 {
        let placed = match (self.offset, self.last) {
            (Offset::Known(offset), _) => timestamp.wrapping_add(offset),
            (Offset::Open, None) => timestamp,
            (Offset::Open, Some((last, at))) => {
                let away = arrival.saturating_duration_since(at).as_micros();
                let ticks = away * u128::from(self.clock_rate_hz) / 1_000_000;
                last.wrapping_add((ticks as u32).max(1))
            }
        };
        self.offset = Offset::Known(placed.wrapping_sub(timestamp));
        self.last = Some((placed, arrival));
        placed
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn timestamp(rtp: &[u8]) -> u32 {
        u32::from_be_bytes(rtp[4..8].try_into().unwrap())
    }

    fn sequence(rtp: &[u8]) -> u16 {
        u16::from_be_bytes(rtp[2..4].try_into().unwrap())
    }

    #[test]
    fn writes_a_plain_header() {
        let mut stamp = Stamp::new(Codec::H264, 0x0000_0007_DEAD_BEEF);
        let rtp = stamp.packet(true, 0x0102_0304, Instant::now(), b"xy");
        assert_eq!(rtp, b"\x80\xE0\x00\x07\x01\x02\x03\x04\xDE\xAD\xBE\xEFxy");
        let rtp = stamp.packet(false, 0x0102_0304, Instant::now(), b"z");
        assert_eq!(rtp, b"\x80\x60\x00\x08\x01\x02\x03\x04\xDE\xAD\xBE\xEFz");
    }

    #[test]
    fn time_goes_on_over_a_reconnect() {
        let mut stamp = Stamp::new(Codec::H264, 1);
        let start = Instant::now();
        let before = stamp.packet(true, 5_000, start, b"a").to_vec();
        stamp.reconnected();
        assert_eq!(stamp.translate(9), None);
        let back = start + Duration::from_secs(3);
        let after = stamp.packet(true, u32::MAX - 10, back, b"b").to_vec();
        assert_eq!(timestamp(&after), 5_000 + 270_000);
        assert_eq!(sequence(&after), sequence(&before).wrapping_add(1));
        assert_eq!(before[8..12], after[8..12]);
        // From there on the camera's own steps count, over its wrap too.
        assert_eq!(stamp.translate(89), Some(5_000 + 270_000 + 100));
        assert_eq!(timestamp(stamp.packet(true, 89, back, b"c")), 5_000 + 270_000 + 100);
    }

    #[test]
    fn a_gap_stays_a_gap() {
        let mut stamp = Stamp::new(Codec::Pcma, 1 << 32);
        assert_eq!(sequence(stamp.packet(false, 0, Instant::now(), b"a")), 1);
        stamp.skip(3);
        assert_eq!(sequence(stamp.packet(false, 0, Instant::now(), b"a")), 5);
        stamp.skip(u16::MAX);
        assert_eq!(sequence(stamp.packet(false, 0, Instant::now(), b"a")), 6 + GAP_MAX);
    }
}
