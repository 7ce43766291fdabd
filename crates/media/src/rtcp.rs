//! RTCP (RFC 3550 §6, RFC 4585, RFC 5104, transport-wide feedback), read and written in place.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |V=2|P| RC/FMT  |       PT      |  length in 32-bit words − 1   |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                        SSRC of the sender                     |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use crate::transport_feedback::TransportFeedback;

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const BYE: u8 = 203;
const TRANSPORT_FEEDBACK: u8 = 205;
const PAYLOAD_FEEDBACK: u8 = 206;

/// One packet of a compound. Those of no use here are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packet<'a> {
    /// SR: this NTP time is that RTP timestamp.
    SenderReport {
        /// Whose.
        ssrc: u32,
        /// NTP timestamp, 32.32 fixed point, seconds since 1900.
        ntp: u64,
        /// RTP timestamp of the same moment.
        rtp_timestamp: u32,
    },
    /// BYE of one source.
    Bye {
        /// Which.
        ssrc: u32,
    },
    /// Generic NACK (RFC 4585 §6.2.1): pairs of packet id and bitmask, 4 bytes each.
    Nack {
        /// Which stream.
        media_ssrc: u32,
        /// The pairs.
        pairs: &'a [u8],
    },
    /// Which of the packets that were sent have come, and when.
    TransportFeedback(TransportFeedback<'a>),
    /// Picture loss indication (RFC 4585 §6.3.1).
    PictureLoss {
        /// Which stream.
        media_ssrc: u32,
    },
    /// Full intra request (RFC 5104 §4.3.1), one entry.
    FullIntraRequest {
        /// Which stream.
        media_ssrc: u32,
    },
}

/// The packets of a compound. Ends at the first that is malformed; what came before it stands.
pub fn packets(mut compound: &[u8]) -> impl Iterator<Item = Packet<'_>> {
    std::iter::from_fn(move || {
        while let Some(head) = compound.first_chunk::<4>() {
            let len = 4 * (usize::from(u16::from_be_bytes([head[2], head[3]])) + 1);
            if head[0] >> 6 != 2 || compound.len() < len {
                return None;
            }
            let (packet, rest) = compound.split_at(len);
            compound = rest;
            if let Some(parsed) = parse(packet) {
                return Some(parsed);
            }
        }
        None
    })
}

/// The sequence numbers that a NACK's pairs ask for.
pub fn nacked(pairs: &[u8]) -> impl Iterator<Item = u16> + '_ {
    pairs.as_chunks::<4>().0.iter().flat_map(|pair| {
        let first = u16::from_be_bytes([pair[0], pair[1]]);
        let mask = u16::from_be_bytes([pair[2], pair[3]]);
        std::iter::once(first).chain(
            (0..16).filter(move |bit| mask & (1 << bit) != 0).map(move |bit| first.wrapping_add(bit + 1)),
        )
    })
}

fn parse(packet: &[u8]) -> Option<Packet<'_>> {
    let format = packet[0] & 0x1f;
    match (packet[1], format) {
        (SENDER_REPORT, _) => Some(Packet::SenderReport {
            ssrc: word(packet, 4)?,
            ntp: (u64::from(word(packet, 8)?) << 32) | u64::from(word(packet, 12)?),
            rtp_timestamp: word(packet, 16)?,
        }),
        (BYE, 1..) => Some(Packet::Bye { ssrc: word(packet, 4)? }),
        (TRANSPORT_FEEDBACK, 1) => {
            Some(Packet::Nack { media_ssrc: word(packet, 8)?, pairs: packet.get(12..)? })
        }
        (TRANSPORT_FEEDBACK, 15) => {
            TransportFeedback::parse(packet.get(12..)?).map(Packet::TransportFeedback)
        }
        (PAYLOAD_FEEDBACK, 1) => Some(Packet::PictureLoss { media_ssrc: word(packet, 8)? }),
        (PAYLOAD_FEEDBACK, 4) => Some(Packet::FullIntraRequest { media_ssrc: word(packet, 12)? }),
        _ => None,
    }
}

fn word(packet: &[u8], at: usize) -> Option<u32> {
    packet.get(at..).and_then(<[u8]>::first_chunk).map(|bytes| u32::from_be_bytes(*bytes))
}

/// What a receiver says about one stream (RFC 3550 §6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReportBlock {
    /// Which stream.
    pub ssrc: u32,
    /// Share lost since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost since the beginning, 24 bits.
    pub lost: u32,
    /// Extended highest sequence number.
    pub highest_seq: u32,
    /// Interarrival jitter in timestamp units.
    pub jitter: u32,
    /// Middle 32 bits of the last SR's NTP time; 0 for none.
    pub last_sr: u32,
    /// Time since that SR in 1/65536 s.
    pub delay_since_last_sr: u32,
}

/// Writes a compound packet into a fixed buffer. What does not fit is left out whole.
pub struct Writer<'a> {
    buf: &'a mut [u8],
    len: usize,
}

impl<'a> Writer<'a> {
    /// Begins an empty compound.
    pub fn new(buf: &'a mut [u8]) -> Self {
        Self { buf, len: 0 }
    }

    /// Length so far.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Room left in bytes.
    pub fn room(&self) -> usize {
        self.buf.len() - self.len
    }

    /// SR without report blocks, and the SDES with the CNAME that a compound owes (RFC 3550 §6.1).
    pub fn sender_report(
        &mut self,
        ssrc: u32,
        ntp: u64,
        rtp_timestamp: u32,
        packets: u32,
        octets: u32,
        cname: &str,
    ) -> bool {
        let start = self.len;
        let fits = self.packet(0, SENDER_REPORT, 28, |body| {
            put(body, 0, ssrc);
            body[4..12].copy_from_slice(&ntp.to_be_bytes());
            put(body, 12, rtp_timestamp);
            put(body, 16, packets);
            put(body, 20, octets);
        }) && self.source_description(ssrc, cname);
        if !fits {
            self.len = start;
        }
        fits
    }

    /// RR with up to 31 blocks, and its SDES.
    pub fn receiver_report(&mut self, ssrc: u32, blocks: &[ReportBlock], cname: &str) -> bool {
        let start = self.len;
        let blocks = &blocks[..blocks.len().min(31)];
        let fits = self.packet(blocks.len() as u8, RECEIVER_REPORT, 8 + 24 * blocks.len(), |body| {
            put(body, 0, ssrc);
            for (block, out) in blocks.iter().zip(body[4..].chunks_exact_mut(24)) {
                put(out, 0, block.ssrc);
                put(out, 4, (u32::from(block.fraction_lost) << 24) | (block.lost & 0x00ff_ffff));
                put(out, 8, block.highest_seq);
                put(out, 12, block.jitter);
                put(out, 16, block.last_sr);
                put(out, 20, block.delay_since_last_sr);
            }
        }) && self.source_description(ssrc, cname);
        if !fits {
            self.len = start;
        }
        fits
    }

    /// PLI (RFC 4585 §6.3.1).
    pub fn picture_loss(&mut self, sender_ssrc: u32, media_ssrc: u32) -> bool {
        self.packet(1, PAYLOAD_FEEDBACK, 12, |body| {
            put(body, 0, sender_ssrc);
            put(body, 4, media_ssrc);
        })
    }

    /// FIR (RFC 5104 §4.3.1) for a publisher that takes no PLI. `count` goes up by one a new request.
    pub fn full_intra_request(&mut self, sender_ssrc: u32, media_ssrc: u32, count: u8) -> bool {
        self.packet(4, PAYLOAD_FEEDBACK, 20, |body| {
            put(body, 0, sender_ssrc);
            put(body, 4, 0);
            put(body, 8, media_ssrc);
            put(body, 12, u32::from(count) << 24);
        })
    }

    /// Generic NACK for ascending sequence numbers.
    pub fn nack(&mut self, sender_ssrc: u32, media_ssrc: u32, seqs: &[u16]) -> bool {
        let mut pairs = [(0u16, 0u16); 64];
        let mut count = 0;
        for &seq in seqs {
            if count > 0 {
                let (first, mask) = &mut pairs[count - 1];
                let distance = seq.wrapping_sub(*first);
                if (1..=16).contains(&distance) {
                    *mask |= 1 << (distance - 1);
                    continue;
                }
            }
            if count == pairs.len() {
                break;
            }
            pairs[count] = (seq, 0);
            count += 1;
        }
        self.packet(1, TRANSPORT_FEEDBACK, 12 + 4 * count, |body| {
            put(body, 0, sender_ssrc);
            put(body, 4, media_ssrc);
            for ((first, mask), out) in pairs[..count].iter().zip(body[8..].chunks_exact_mut(4)) {
                put(out, 0, (u32::from(*first) << 16) | u32::from(*mask));
            }
        })
    }

    /// Transport-wide feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1). Returns how many numbers
    /// it covers: what does not fit is for the next one.
    ///
    /// `arrivals` are arrival times in units of 250 µs since the engine's zero for consecutive sequence numbers
    /// from `base_seq`; `None` for one not received. At least one must be received.
    pub fn transport_feedback(
        &mut self,
        sender_ssrc: u32,
        media_ssrc: u32,
        base_seq: u16,
        count: u8,
        arrivals: &[Option<u64>],
    ) -> usize {
        let Some(first) = arrivals.iter().flatten().next().copied() else { return 0 };
        // Reference time in units of 64 ms, 24 bits.
        let reference = first / 256;
        let mut last = reference * 256;
        let mut deltas = [0u8; 1024];
        let mut deltas_len = 0;
        let mut symbols = [0u8; 512];
        let mut status_count = 0;
        for arrival in arrivals.iter().take(symbols.len()) {
            let symbol = match arrival {
                None => 0,
                Some(arrival) => {
                    let delta = *arrival as i64 - last as i64;
                    let Ok(large) = i16::try_from(delta) else { break };
                    let wide = usize::from(!(0..=255).contains(&delta)) + 1;
                    if deltas_len + wide > deltas.len() {
                        break;
                    }
                    if wide == 1 {
                        deltas[deltas_len] = delta as u8;
                    } else {
                        deltas[deltas_len..deltas_len + 2].copy_from_slice(&large.to_be_bytes());
                    }
                    deltas_len += wide;
                    last = *arrival;
                    wide as u8
                }
            };
            symbols[status_count] = symbol;
            status_count += 1;
        }
        // Status vector chunks of seven two-bit symbols each.
        let chunks = status_count.div_ceil(7);
        let unpadded = 20 + 2 * chunks + deltas_len;
        let padding = (4 - unpadded % 4) % 4;
        let fits = self.packet(15, TRANSPORT_FEEDBACK, unpadded + padding, |body| {
            put(body, 0, sender_ssrc);
            put(body, 4, media_ssrc);
            body[8..10].copy_from_slice(&base_seq.to_be_bytes());
            body[10..12].copy_from_slice(&(status_count as u16).to_be_bytes());
            put(body, 12, ((reference as u32) << 8) | u32::from(count));
            for (group, out) in symbols[..status_count].chunks(7).zip(body[16..].chunks_exact_mut(2)) {
                let mut chunk = 0b11 << 14;
                for (place, symbol) in group.iter().enumerate() {
                    chunk |= u16::from(*symbol) << (12 - 2 * place);
                }
                out.copy_from_slice(&chunk.to_be_bytes());
            }
            let at = 16 + 2 * chunks;
            body[at..at + deltas_len].copy_from_slice(&deltas[..deltas_len]);
        });
        if fits { status_count } else { 0 }
    }

    fn source_description(&mut self, ssrc: u32, cname: &str) -> bool {
        let cname = &cname.as_bytes()[..cname.len().min(64)];
        // SSRC, item type, length, text, at least one zero; padded to a word.
        let len = (4 + 4 + 2 + cname.len() + 1).next_multiple_of(4);
        self.packet(1, SOURCE_DESCRIPTION, len, |body| {
            put(body, 0, ssrc);
            body[4] = 1; // CNAME
            body[5] = cname.len() as u8;
            body[6..6 + cname.len()].copy_from_slice(cname);
        })
    }

    /// One packet of `len` bytes in all (a multiple of four); `fill` gets the zeroed bytes behind the header.
    fn packet(&mut self, format: u8, packet_type: u8, len: usize, fill: impl FnOnce(&mut [u8])) -> bool {
        debug_assert!(len.is_multiple_of(4));
        if self.room() < len {
            return false;
        }
        let out = &mut self.buf[self.len..self.len + len];
        out.fill(0);
        out[0] = 0x80 | format;
        out[1] = packet_type;
        out[2..4].copy_from_slice(&((len / 4 - 1) as u16).to_be_bytes());
        fill(&mut out[4..]);
        self.len += len;
        true
    }
}

fn put(out: &mut [u8], at: usize, word: u32) {
    out[at..at + 4].copy_from_slice(&word.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sender_report_and_feedback_read_back() {
        let mut buf = [0u8; 256];
        let mut writer = Writer::new(&mut buf);
        assert!(writer.sender_report(1, 0x1234_5678_9abc_def0, 42, 7, 8, "hewei"));
        assert!(writer.picture_loss(1, 2));
        assert!(writer.full_intra_request(1, 3, 9));
        assert!(writer.nack(1, 4, &[65_535, 0, 15, 16, 100]));
        let len = writer.len();
        let all: Vec<_> = packets(&buf[..len]).collect();
        assert_eq!(all[0], Packet::SenderReport { ssrc: 1, ntp: 0x1234_5678_9abc_def0, rtp_timestamp: 42 });
        assert_eq!(all[1], Packet::PictureLoss { media_ssrc: 2 });
        assert_eq!(all[2], Packet::FullIntraRequest { media_ssrc: 3 });
        let Packet::Nack { media_ssrc: 4, pairs } = all[3] else { panic!("{:?}", all[3]) };
        assert_eq!(nacked(pairs).collect::<Vec<_>>(), [65_535, 0, 15, 16, 100]);
    }

    #[test]
    fn transport_feedback_has_the_drafts_layout() {
        let mut buf = [0u8; 128];
        let mut writer = Writer::new(&mut buf);
        // Reference 2 × 64 ms = 512 units; then +3 units, a loss, +400 units (two bytes).
        assert_eq!(writer.transport_feedback(1, 2, 10, 5, &[Some(515), None, Some(915)]), 3);
        let len = writer.len();
        assert_eq!(len, 28);
        assert_eq!(&buf[..4], &[0x8f, 205, 0, 6]);
        assert_eq!(&buf[12..16], &[0, 10, 0, 3]);
        assert_eq!(&buf[16..20], &[0, 0, 2, 5]);
        // 11 01 00 10 00…: two-bit vector of small, lost, large.
        assert_eq!(&buf[20..22], &[0b1101_0010, 0]);
        assert_eq!(&buf[22..25], &[3, 1, 144]);
    }

    #[test]
    fn a_full_buffer_leaves_whole_packets_only() {
        let mut buf = [0u8; 20];
        let mut writer = Writer::new(&mut buf);
        assert!(writer.picture_loss(1, 2));
        assert!(!writer.picture_loss(1, 2));
        assert_eq!(writer.len(), 12);
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for packet in packets(&bytes) {
                if let Packet::Nack { pairs, .. } = packet {
                    prop_assert!(nacked(pairs).count() <= pairs.len() / 4 * 17);
                }
            }
        }
    }
}
