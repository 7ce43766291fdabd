//! Redundant audio data (RFC 2198): a packet that carries frames of the packets before it once more.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |1|  block PT   |      timestamp offset     |   block length    |  one for each earlier frame, the oldest first
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |0|  block PT   |  the frames, in the same order …
//! +-+-+-+-+-+-+-+-+
//! ```

/// Length of the head of an earlier frame.
pub const EARLIER_HEAD_LEN: usize = 4;
/// Length of the head of the packet's own frame.
pub const OWN_HEAD_LEN: usize = 1;
/// The longest earlier frame, in bytes.
pub const EARLIER_LEN_MAX: usize = (1 << 10) - 1;
/// The furthest an earlier frame lies back, in ticks of the RTP clock.
pub const OFFSET_MAX: u32 = (1 << 14) - 1;

/// The most frames that are read of one packet: its own and the newest of the earlier ones.
const FRAMES_MAX: usize = 4;

/// One frame of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Frame {
    /// Payload type of the frame.
    pub payload_type: u8,
    /// How far its timestamp lies before the packet's.
    pub offset: u32,
    /// Where it begins in the payload.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
}

/// The frames of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frames {
    /// The oldest first, the packet's own last.
    frames: [Frame; FRAMES_MAX],
    count: usize,
}

impl Frames {
    /// Reads the heads of a payload. `None` when they say what cannot be.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let mut heads = payload;
        let mut earlier = 0;
        let mut heads_len = 0;
        let own = loop {
            let (&first, _) = heads.split_first()?;
            if first & 0x80 == 0 {
                break first;
            }
            let head: &[u8; EARLIER_HEAD_LEN] = heads.first_chunk()?;
            earlier += usize::from(u16::from_be_bytes([head[2], head[3]]) & 0x3ff);
            heads = &heads[EARLIER_HEAD_LEN..];
            heads_len += EARLIER_HEAD_LEN;
        };
        let mut start = heads_len + OWN_HEAD_LEN;
        if payload.len() < start + earlier {
            return None;
        }
        let mut frames = Self { frames: [Frame::default(); FRAMES_MAX], count: 0 };
        for head in payload[..heads_len].chunks_exact(EARLIER_HEAD_LEN) {
            let offset = u32::from(u16::from_be_bytes([head[1], head[2]]) >> 2);
            let end = start + usize::from(u16::from_be_bytes([head[2], head[3]]) & 0x3ff);
            frames.push(Frame { payload_type: head[0] & 0x7f, offset, start, end });
            start = end;
        }
        frames.push(Frame { payload_type: own, offset: 0, start, end: payload.len() });
        Some(frames)
    }

    /// The frames with how many packets ago each was the packet's own: the newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = (u64, Frame)> {
        (0..).zip(self.frames[..self.count].iter().rev().copied())
    }

    fn push(&mut self, frame: Frame) {
        if self.count == FRAMES_MAX {
            self.frames.rotate_left(1);
            self.count -= 1;
        }
        self.frames[self.count] = frame;
        self.count += 1;
    }
}

/// The head of an earlier frame, of at most [`EARLIER_LEN_MAX`] bytes and [`OFFSET_MAX`] ticks.
pub fn earlier_head(payload_type: u8, offset: u32, len: usize) -> [u8; EARLIER_HEAD_LEN] {
    let rest = ((offset & OFFSET_MAX) << 10) | (len & EARLIER_LEN_MAX) as u32;
    (u32::from(0x80 | payload_type) << 24 | rest).to_be_bytes()
}

/// The head of the packet's own frame.
pub fn own_head(payload_type: u8) -> [u8; OWN_HEAD_LEN] {
    [payload_type & 0x7f]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(earlier: &[(u32, &[u8])], own: &[u8]) -> Vec<u8> {
        let mut packet = Vec::new();
        for (offset, frame) in earlier {
            packet.extend(earlier_head(111, *offset, frame.len()));
        }
        packet.extend(own_head(111));
        earlier.iter().for_each(|(_, frame)| packet.extend(*frame));
        packet.extend(own);
        packet
    }

    fn read(packet: &[u8]) -> Option<Vec<(u64, u32, &[u8])>> {
        let frames = Frames::parse(packet)?;
        Some(
            frames
                .newest_first()
                .inspect(|(_, frame)| assert_eq!(frame.payload_type, 111))
                .map(|(back, frame)| (back, frame.offset, &packet[frame.start..frame.end]))
                .collect(),
        )
    }

    #[test]
    fn frames_are_found_behind_their_heads() {
        assert_eq!(read(&packet(&[], b"now")), Some(vec![(0, 0, &b"now"[..])]));
        let longest = [7; EARLIER_LEN_MAX];
        assert_eq!(
            read(&packet(&[(OFFSET_MAX, &longest), (960, b"before")], b"now")),
            Some(vec![(0, 0, &b"now"[..]), (1, 960, &b"before"[..]), (2, OFFSET_MAX, &longest[..])])
        );
    }

    #[test]
    fn of_many_the_newest_are_read() {
        let many: Vec<_> = (1..=30u32).rev().map(|back| (back * 320, &b"x"[..])).collect();
        let packet = packet(&many, b"now");
        let frames = read(&packet).expect("it can be");
        assert_eq!(frames.iter().map(|frame| frame.1).collect::<Vec<_>>(), [0, 320, 640, 960]);
    }

    #[test]
    fn what_ends_within_its_frames_is_refused() {
        let whole = packet(&[(960, b"before")], b"");
        assert!(read(&whole).is_some(), "an empty frame of its own");
        for len in 0..whole.len() {
            assert_eq!(read(&whole[..len]), None, "{len}");
        }
    }

    proptest! {
        #[test]
        fn nothing_lies_outside(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(frames) = Frames::parse(&bytes) {
                for (_, frame) in frames.newest_first() {
                    prop_assert!(frame.start <= frame.end && frame.end <= bytes.len());
                }
            }
        }
    }
}
