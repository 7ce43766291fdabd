//! Sound that does not miss a lost packet: each carries the frames before it once more (RFC 2198). What a publisher
//! sends so is taken apart at once, and what goes to a subscriber is put together for its own line alone, so that a
//! good line pays nothing for a bad one.

use hewei_media::{
    red::{self, EARLIER_HEAD_LEN, Frames, OWN_HEAD_LEN},
    rtp,
};

/// The longest RTP header of a packet that is taken apart, in bytes.
const HEADER_LEN_MAX: usize = 128;
/// Frames kept to be sent again, and the longest of them in bytes: Opus at 100 kbit/s.
const KEPT: usize = 2;
const KEPT_LEN_MAX: usize = 256;

/// Which of the last packets were handed on.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Given {
    highest: Option<u64>,
    /// Bit *n*: the packet *n* before the highest.
    before: u64,
}

impl Given {
    /// Notes a packet by its extended sequence number. `false` when it was noted before, or is too old to tell.
    pub(crate) fn first_time(&mut self, seq: u64) -> bool {
        let Some(highest) = self.highest else {
            (self.highest, self.before) = (Some(seq), 1);
            return true;
        };
        if let Some(ahead) = seq.checked_sub(highest).filter(|ahead| *ahead > 0) {
            let moved = u32::try_from(ahead).ok().and_then(|ahead| self.before.checked_shl(ahead));
            (self.highest, self.before) = (Some(seq), moved.unwrap_or(0) | 1);
            return true;
        }
        let Some(bit) = u32::try_from(highest - seq).ok().and_then(|back| 1u64.checked_shl(back)) else {
            return false;
        };
        let first = self.before & bit == 0;
        self.before |= bit;
        first
    }
}

/// Takes a packet apart in place: gives each of its frames that did not come before as a packet of its own, with its
/// extended sequence number; the newest first, so that one who begins to receive now begins with it. `None` for a
/// packet that says what cannot be.
pub(crate) fn take_apart(
    given: &mut Given,
    payload_type: u8,
    seq: u64,
    header: &rtp::Header,
    packet: &mut [u8],
    mut each: impl FnMut(rtp::Header, u64, &mut [u8]),
) -> Option<()> {
    let mut head = [0; HEADER_LEN_MAX];
    let head = head.get_mut(..header.len)?;
    head.copy_from_slice(&packet[..header.len]);
    let frames = Frames::parse(header.payload(packet).ok()?)?;
    for (back, frame) in frames.newest_first() {
        if frame.payload_type != payload_type || frame.start == frame.end {
            continue;
        }
        let Some(seq) = seq.checked_sub(back).filter(|seq| given.first_time(*seq)) else { continue };
        // The header goes straight before the frame, and what was there comes back after it: it is of an older one.
        let (start, end) = (frame.start, header.len + frame.end);
        let mut there = [0; HEADER_LEN_MAX];
        let there = &mut there[..header.len];
        there.copy_from_slice(&packet[start..start + header.len]);
        packet[start..start + header.len].copy_from_slice(head);
        let own = &mut packet[start..end];
        own[0] &= !0x20; // the padding is behind the frames
        own[1] = payload_type | if back == 0 { own[1] & 0x80 } else { 0 };
        own[2..4].copy_from_slice(&(seq as u16).to_be_bytes());
        own[4..8].copy_from_slice(&header.timestamp.wrapping_sub(frame.offset).to_be_bytes());
        each(rtp::Header::parse(own).ok()?, seq, own);
        packet[start..start + header.len].copy_from_slice(there);
    }
    Some(())
}

#[derive(Debug, Clone, Copy)]
struct Kept {
    index: u64,
    timestamp: u32,
    len: usize,
    bytes: [u8; KEPT_LEN_MAX],
}

/// The frames that went out last in a slot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Repeats {
    /// The newest first.
    kept: [Kept; KEPT],
}

impl Default for Repeats {
    fn default() -> Self {
        // No packet follows the last number there is.
        Self { kept: [Kept { index: u64::MAX, timestamp: 0, len: 0, bytes: [0; KEPT_LEN_MAX] }; KEPT] }
    }
}

impl Repeats {
    /// Writes a frame into `out` behind up to `most` of those before it, and keeps it. Those before lie back without a
    /// gap, for a receiver counts them so, and not before `run_start`, where the source that plays now began: what was
    /// before may not be heard any more. Returns the length; `None` when none goes along, and the frame goes alone.
    pub(crate) fn write(
        &mut self,
        most: usize,
        payload_type: u8,
        (run_start, index): (u64, u64),
        timestamp: u32,
        frame: &[u8],
        out: &mut [u8],
    ) -> Option<usize> {
        let written = self.put_together(most, payload_type, (run_start, index), timestamp, frame, out);
        self.keep(index, timestamp, frame);
        written
    }

    fn put_together(
        &self,
        most: usize,
        payload_type: u8,
        (run_start, index): (u64, u64),
        timestamp: u32,
        frame: &[u8],
        out: &mut [u8],
    ) -> Option<usize> {
        let goes_along = |(back, kept): &(u64, &Kept)| {
            index.checked_sub(*back).is_some_and(|due| due >= run_start && due == kept.index)
                && timestamp.wrapping_sub(kept.timestamp) <= red::OFFSET_MAX
        };
        let count = (1..).zip(&self.kept).take(most).take_while(goes_along).count();
        let earlier = &self.kept[..count];
        let heads = count * EARLIER_HEAD_LEN + OWN_HEAD_LEN;
        let len = heads + earlier.iter().map(|kept| kept.len).sum::<usize>() + frame.len();
        let out = out.get_mut(..len).filter(|_| count > 0)?;
        let (mut head, mut at) = (0, heads);
        let mut put = |at: &mut usize, bytes: &[u8]| {
            out[*at..*at + bytes.len()].copy_from_slice(bytes);
            *at += bytes.len();
        };
        for kept in earlier.iter().rev() {
            let offset = timestamp.wrapping_sub(kept.timestamp);
            put(&mut head, &red::earlier_head(payload_type, offset, kept.len));
            put(&mut at, &kept.bytes[..kept.len]);
        }
        put(&mut head, &red::own_head(payload_type));
        put(&mut at, frame);
        Some(len)
    }

    fn keep(&mut self, index: u64, timestamp: u32, frame: &[u8]) {
        let [newest, before] = &mut self.kept;
        let late = newest.index != u64::MAX && index <= newest.index;
        if late || frame.len() > KEPT_LEN_MAX {
            return;
        }
        *before = *newest;
        (newest.index, newest.timestamp, newest.len) = (index, timestamp, frame.len());
        newest.bytes[..frame.len()].copy_from_slice(frame);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPUS: u8 = 111;
    const RED: u8 = 63;

    fn packet(seq: u16, timestamp: u32, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; rtp::FIXED_HEADER_LEN];
        let head = packet.first_chunk_mut().expect("12 bytes");
        rtp::write_header(head, true, RED, seq, timestamp, 7);
        packet.extend(payload);
        packet
    }

    /// What is handed on of a packet: sequence number, timestamp, marker and frame of each.
    fn opened(given: &mut Given, seq: u64, mut packet: Vec<u8>) -> Vec<(u64, u32, bool, Vec<u8>)> {
        let header = rtp::Header::parse(&packet).expect("RTP");
        let mut all = Vec::new();
        take_apart(given, OPUS, seq, &header, &mut packet, |header, seq, packet| {
            assert_eq!((header.payload_type, header.seq, header.ssrc), (OPUS, seq as u16, 7));
            let frame = header.payload(packet).expect("a payload").to_vec();
            all.push((seq, header.timestamp, header.marker, frame));
        });
        all
    }

    #[test]
    fn a_lost_packet_is_found_in_the_next_and_none_comes_twice() {
        let (mut repeats, mut given) = (Repeats::default(), Given::default());
        let mut heard = Vec::new();
        for number in 0..100u64 {
            let (index, timestamp) = (70_000 + number, number as u32 * 960);
            let frame = vec![number as u8; 20 + number as usize];
            let mut out = [0; 1_200];
            let len = repeats.write(2, OPUS, (70_000, index), timestamp, &frame, &mut out);
            let packet = match len {
                Some(len) => packet(index as u16, timestamp, &out[..len]),
                None => {
                    assert_eq!(number, 0, "the first alone has none before it");
                    assert!(given.first_time(index));
                    heard.push((index, timestamp, true, frame));
                    continue;
                }
            };
            // Two of three are lost.
            if number % 3 == 0 {
                heard.extend(opened(&mut given, index, packet));
            }
        }
        heard.sort();
        assert_eq!(heard.len(), 100);
        for (number, (index, timestamp, _, frame)) in heard.into_iter().enumerate() {
            assert_eq!((index, timestamp), (70_000 + number as u64, number as u32 * 960));
            assert_eq!(frame, vec![number as u8; 20 + number]);
        }
    }

    #[test]
    fn the_newest_frame_comes_first_and_has_the_marker() {
        let (mut repeats, mut out) = (Repeats::default(), [0; 1_200]);
        repeats.write(1, OPUS, (0, 8), 960, b"before", &mut out);
        let len = repeats.write(1, OPUS, (0, 9), 1_920, b"now", &mut out).expect("with the one before");
        let opened = opened(&mut Given::default(), 9, packet(9, 1_920, &out[..len]));
        assert_eq!(opened, [(9, 1_920, true, b"now".to_vec()), (8, 960, false, b"before".to_vec())]);
    }

    #[test]
    fn what_played_before_is_never_sent_again() {
        let (mut repeats, mut out) = (Repeats::default(), [0; 1_200]);
        repeats.write(2, OPUS, (0, 8), 960, b"of another", &mut out);
        assert_eq!(repeats.write(2, OPUS, (9, 9), 1_920, b"of this", &mut out), None);
        let len = repeats.write(2, OPUS, (9, 10), 2_880, b"now", &mut out).expect("with one before");
        let opened = opened(&mut Given::default(), 10, packet(10, 2_880, &out[..len]));
        assert_eq!(opened.len(), 2);
    }

    #[test]
    fn a_gap_a_long_pause_and_a_full_packet_take_none_along() {
        let (mut repeats, mut out) = (Repeats::default(), [0; 40]);
        let mut write = |index, timestamp, frame: &[u8]| {
            repeats.write(2, OPUS, (0, index), timestamp, frame, &mut out).is_some()
        };
        assert!(!write(1, 0, b"first"));
        assert!(!write(3, 960, b"one is missing between"));
        assert!(!write(4, 960 + red::OFFSET_MAX + 1, b"after a pause"));
        assert!(write(5, 960 + red::OFFSET_MAX + 2, b"now"));
        assert!(!write(6, 960 + red::OFFSET_MAX + 3, &[1; 39]));
    }

    #[test]
    fn numbers_are_noted_once() {
        let mut given = Given::default();
        assert!(given.first_time(1_000) && !given.first_time(1_000));
        assert!(given.first_time(1_002) && given.first_time(1_001) && !given.first_time(1_001));
        assert!(given.first_time(1_002 - 63) && !given.first_time(1_002 - 64), "too old to tell");
        assert!(given.first_time(2_000) && given.first_time(1_999));
    }
}
