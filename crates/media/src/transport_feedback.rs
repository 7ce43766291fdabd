//! Transport-wide feedback as a receiver sends it (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1): which of
//! the packets that were sent have arrived, and when.
//!
//! ```text
//! |      base sequence number     |      packet status count      |
//! |                 reference time                | fb. pkt. count|
//! |          packet chunk         |              …                |
//! |          receive deltas, one byte or two for each that arrived
//! ```

/// One feedback packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransportFeedback<'a> {
    base_seq: u16,
    count: usize,
    /// Units of 250 µs.
    reference: u32,
    chunks: &'a [u8],
    deltas: &'a [u8],
}

impl<'a> TransportFeedback<'a> {
    /// Reads what stands behind the two SSRCs. `None` when the chunks do not cover what they should.
    pub(crate) fn parse(body: &'a [u8]) -> Option<Self> {
        let (fixed, rest) = body.split_first_chunk::<8>()?;
        let count = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
        let (mut covered, mut chunks_len) = (0, 0);
        while covered < count {
            let chunk = rest[chunks_len..].first_chunk()?;
            covered += Chunk::new(*chunk).left;
            chunks_len += 2;
        }
        let (chunks, deltas) = rest.split_at(chunks_len);
        Some(Self {
            base_seq: u16::from_be_bytes([fixed[0], fixed[1]]),
            count,
            // 24 bits in units of 64 ms.
            reference: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], 0]),
            chunks,
            deltas,
        })
    }

    /// How many packets it tells of: a few bytes can tell of 65,535, so that it is known before they are read.
    pub fn statuses(&self) -> usize {
        self.count
    }

    /// The transport-wide sequence numbers it tells of, in order, each with when it arrived: on the receiver's clock in
    /// units of 250 µs, which wraps. `None` for one that has not come. Ends early where the deltas do.
    pub fn arrivals(self) -> impl Iterator<Item = (u16, Option<u32>)> + 'a {
        let mut chunks = self.chunks.as_chunks::<2>().0.iter();
        let mut chunk = Chunk { bits: 0, left: 0 };
        let (mut arrival, mut deltas) = (self.reference, self.deltas);
        let mut seq = self.base_seq;
        let statuses = std::iter::from_fn(move || {
            while chunk.left == 0 {
                chunk = Chunk::new(*chunks.next()?);
            }
            let delta = match chunk.next_symbol() {
                1 => {
                    let (delta, rest) = deltas.split_first()?;
                    deltas = rest;
                    Some(i16::from(*delta))
                }
                2 => {
                    let (delta, rest) = deltas.split_first_chunk()?;
                    deltas = rest;
                    Some(i16::from_be_bytes(*delta))
                }
                _ => None,
            };
            let told = delta.map(|delta| {
                arrival = arrival.wrapping_add_signed(delta.into());
                arrival
            });
            let this = seq;
            seq = seq.wrapping_add(1);
            Some((this, told))
        });
        statuses.take(self.count)
    }
}

/// The statuses of one chunk that are still to be read.
struct Chunk {
    bits: u16,
    left: usize,
}

impl Chunk {
    fn new(bytes: [u8; 2]) -> Self {
        let bits = u16::from_be_bytes(bytes);
        let left = match bits >> 14 {
            0b10 => 14,
            0b11 => 7,
            _ => usize::from(bits & 0x1fff),
        };
        Self { bits, left }
    }

    /// 0: has not come; 1: came, its delta is a byte; 2: its delta is two bytes.
    fn next_symbol(&mut self) -> u16 {
        self.left -= 1;
        match self.bits >> 14 {
            0b10 => (self.bits >> self.left) & 1,
            0b11 => (self.bits >> (2 * self.left)) & 3,
            _ => self.bits >> 13,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rtcp::{Packet, Writer, packets};

    fn read(compound: &[u8]) -> Vec<(u16, Option<u32>)> {
        let feedback = packets(compound).find_map(|packet| match packet {
            Packet::TransportFeedback(feedback) => Some(feedback),
            _ => None,
        });
        feedback.expect("feedback").arrivals().collect()
    }

    #[test]
    fn a_run_and_a_vector_of_bits_are_read() {
        let body = [
            0xff,
            0xff,
            0,
            18,
            0,
            0,
            2,
            0, // from 65535, eighteen statuses, reference 512
            0x20,
            4, // four that came, a byte each
            0b1010_0000,
            1, // fourteen bits, of which the first and the last
            1,
            0,
            255,
            3,
            10,
            20,
        ];
        let feedback = TransportFeedback::parse(&body).expect("whole");
        let told: Vec<_> = feedback.arrivals().collect();
        assert_eq!((told.len(), feedback.statuses()), (18, 18));
        assert_eq!(told[..4], [(65_535, Some(513)), (0, Some(513)), (1, Some(768)), (2, Some(771))]);
        assert_eq!((told[4], told[17]), ((3, Some(781)), (16, Some(801))));
        assert!(told[5..17].iter().all(|(_, arrival)| arrival.is_none()));
        assert!(TransportFeedback::parse(&body[..10]).is_none(), "a chunk is missing");
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
            base in any::<u16>(),
            steps in proptest::collection::vec(proptest::option::of(-300i64..600), 1..120),
        ) {
            let mut at = 1_000_000i64;
            let arrivals: Vec<Option<u64>> = steps
                .iter()
                .map(|step| step.map(|step| { at += step; at as u64 }))
                .collect();
            let mut buf = [0; 1_000];
            let mut writer = Writer::new(&mut buf);
            let covered = writer.transport_feedback(1, 2, base, 0, &arrivals);
            let len = writer.len();
            if arrivals.iter().any(Option::is_some) {
                prop_assert_eq!(covered, arrivals.len());
                let told = read(&buf[..len]);
                for (offset, (seq, arrival)) in told.into_iter().enumerate() {
                    prop_assert_eq!(seq, base.wrapping_add(offset as u16));
                    prop_assert_eq!(arrival.map(u64::from), arrivals[offset]);
                }
            } else {
                prop_assert_eq!(covered, 0);
            }
        }

        #[test]
        fn never_panics(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Some(feedback) = TransportFeedback::parse(&body) {
                prop_assert!(feedback.arrivals().count() <= usize::from(u16::MAX));
            }
        }
    }
}
