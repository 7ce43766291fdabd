//! RTCP, as much of it as a client says and hears (RFC 3550, 4585, 5104).

const CNAME: &[u8] = b"client";

/// What the other side said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said {
    /// Send this packet again.
    Nack { ssrc: u32, seq: u16 },
    /// Send a keyframe.
    Keyframe { ssrc: u32 },
    /// So many packets were lost so far.
    Lost { ssrc: u32, packets: u32 },
    /// A sender report: its middle 32 NTP bits, for the echo in a receiver report.
    SenderReport { ssrc: u32, ntp_middle: u32 },
}

/// Reads a compound. What it does not know it passes over.
pub(crate) fn read(mut compound: &[u8]) -> Vec<Said> {
    let mut said = Vec::new();
    while let [first, kind, high, low, ..] = *compound {
        let len = 4 * (usize::from(u16::from_be_bytes([high, low])) + 1);
        let Some((packet, rest)) = compound.split_at_checked(len) else { break };
        compound = rest;
        let count = first & 0x1f;
        let word = |at: usize| {
            packet
                .get(at..at + 4)
                .and_then(|bytes| bytes.first_chunk())
                .map(|bytes| u32::from_be_bytes(*bytes))
        };
        match (kind, count) {
            (200 | 201, _) => {
                if let (200, Some(ssrc), Some(high), Some(low)) = (kind, word(4), word(8), word(12)) {
                    said.push(Said::SenderReport { ssrc, ntp_middle: (high << 16) | (low >> 16) });
                }
                let blocks = if kind == 200 { 28 } else { 8 };
                for at in (0..usize::from(count)).map(|block| blocks + 24 * block) {
                    let (Some(ssrc), Some(lost)) = (word(at), word(at + 4)) else { break };
                    // 24 bits with a sign; below zero when retransmissions outnumber losses.
                    let packets = ((lost << 8) as i32 >> 8).max(0) as u32;
                    said.push(Said::Lost { ssrc, packets });
                }
            }
            (205, 1) => {
                let Some(ssrc) = word(8) else { continue };
                for pair in packet[12..].chunks_exact(4) {
                    let (first, mask) =
                        (u16::from_be_bytes([pair[0], pair[1]]), u16::from_be_bytes([pair[2], pair[3]]));
                    said.push(Said::Nack { ssrc, seq: first });
                    for bit in (0..16).filter(|bit| mask & (1 << bit) != 0) {
                        said.push(Said::Nack { ssrc, seq: first.wrapping_add(bit + 1) });
                    }
                }
            }
            (206, 1) => said.extend(word(8).map(|ssrc| Said::Keyframe { ssrc })),
            (206, 4) => {
                let entries = packet.get(12..).unwrap_or_default().chunks_exact(8);
                said.extend(entries.map(|entry| Said::Keyframe {
                    ssrc: u32::from_be_bytes([entry[0], entry[1], entry[2], entry[3]]),
                }));
            }
            _ => {}
        }
    }
    said
}

fn header(out: &mut Vec<u8>, count: u8, kind: u8, body_len: usize) {
    out.extend([0x80 | count, kind]);
    out.extend(((body_len / 4) as u16).to_be_bytes());
}

/// A sender report without report blocks.
pub(crate) fn sender_report(ssrc: u32, ntp: u64, timestamp: u32, packets: u32, octets: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(48);
    header(&mut out, 0, 200, 24);
    out.extend(ssrc.to_be_bytes());
    out.extend(ntp.to_be_bytes());
    for word in [timestamp, packets, octets] {
        out.extend(word.to_be_bytes());
    }
    describe(&mut out, ssrc);
    out
}

/// One block of a receiver report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) ssrc: u32,
    pub(crate) fraction_lost: u8,
    pub(crate) lost: u32,
    pub(crate) highest: u32,
    pub(crate) jitter: u32,
    pub(crate) last_report: u32,
    /// In 1/65,536 s.
    pub(crate) since_last_report: u32,
}

/// A receiver report; 31 blocks at most.
pub(crate) fn receiver_report(ssrc: u32, blocks: &[Block]) -> Vec<u8> {
    let blocks = &blocks[..blocks.len().min(31)];
    let mut out = Vec::with_capacity(24 + 24 * blocks.len());
    header(&mut out, blocks.len() as u8, 201, 4 + 24 * blocks.len());
    out.extend(ssrc.to_be_bytes());
    for block in blocks {
        out.extend(block.ssrc.to_be_bytes());
        out.extend(((u32::from(block.fraction_lost) << 24) | (block.lost & 0xff_ffff)).to_be_bytes());
        for word in [block.highest, block.jitter, block.last_report, block.since_last_report] {
            out.extend(word.to_be_bytes());
        }
    }
    describe(&mut out, ssrc);
    out
}

/// Asks for a keyframe (RFC 4585 §6.3.1).
pub(crate) fn picture_loss(from: u32, of: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(12);
    header(&mut out, 1, 206, 8);
    out.extend(from.to_be_bytes());
    out.extend(of.to_be_bytes());
    out
}

/// Asks for packets again (RFC 4585 §6.2.1), one entry each.
pub(crate) fn nack(from: u32, of: u32, seqs: &[u16]) -> Vec<u8> {
    let mut out = Vec::with_capacity(12 + 4 * seqs.len());
    header(&mut out, 1, 205, 8 + 4 * seqs.len());
    out.extend(from.to_be_bytes());
    out.extend(of.to_be_bytes());
    for seq in seqs {
        out.extend(seq.to_be_bytes());
        out.extend([0, 0]);
    }
    out
}

/// Every compound names its sender (RFC 3550 §6.1).
fn describe(out: &mut Vec<u8>, ssrc: u32) {
    // SSRC, item type 1, length, text, and zeros to a whole word, one at least.
    let item = 4 + 2 + CNAME.len() + 1;
    let padded = item.next_multiple_of(4);
    header(out, 1, 202, padded);
    out.extend(ssrc.to_be_bytes());
    out.extend([1, CNAME.len() as u8]);
    out.extend_from_slice(CNAME);
    out.resize(out.len() + padded - item + 1, 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_says_is_read() {
        let mut compound = vec![0x81, 201, 0, 7, 0, 0, 0, 9];
        compound.extend(5u32.to_be_bytes());
        compound.extend([12, 0xff, 0xff, 0xfe]);
        compound.extend([0; 16]);
        compound.extend(nack(9, 5, &[65_535]));
        let last = compound.len() - 1;
        compound[last] = 0b101;
        compound.extend(picture_loss(9, 6));
        assert_eq!(
            read(&compound),
            [
                Said::Lost { ssrc: 5, packets: 0 },
                Said::Nack { ssrc: 5, seq: 65_535 },
                Said::Nack { ssrc: 5, seq: 0 },
                Said::Nack { ssrc: 5, seq: 2 },
                Said::Keyframe { ssrc: 6 },
            ]
        );
    }

    #[test]
    fn reports_are_whole_words_and_read_back() {
        let report = sender_report(7, 0x1111_2222_3333_4444, 1, 2, 3);
        assert_eq!(report.len() % 4, 0);
        assert_eq!(read(&report), [Said::SenderReport { ssrc: 7, ntp_middle: 0x2222_3333 }]);
        let block = Block {
            ssrc: 8,
            fraction_lost: 3,
            lost: 4,
            highest: 70_000,
            jitter: 5,
            last_report: 6,
            since_last_report: 7,
        };
        assert_eq!(read(&receiver_report(7, &[block])), [Said::Lost { ssrc: 8, packets: 4 }]);
    }

    #[test]
    fn what_breaks_off_is_passed_over() {
        for len in 0..16 {
            let whole = nack(1, 2, &[3]);
            let _ = read(&whole[..len.min(whole.len())]);
        }
        assert_eq!(read(&[0x81, 205, 0, 200]), []);
        assert_eq!(read(&[0x81, 205, 0, 1, 0, 0, 0, 1]), []);
    }
}
