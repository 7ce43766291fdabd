//! VP8 over RTP (RFC 7741): where a keyframe starts, and frames put together again.
//!
//! Owns the payload descriptor and the first bytes of a frame (RFC 6386). Never decodes a picture.
//!
//! ```text
//!      0 1 2 3 4 5 6 7                      0 1 2 3 4 5 6 7
//!     +-+-+-+-+-+-+-+-+                    +-+-+-+-+-+-+-+-+
//!     |X|R|N|S|R| PID | (required)    I:   |M| PictureID   |  15 bits when M
//!     +-+-+-+-+-+-+-+-+                    +-+-+-+-+-+-+-+-+
//! X:  |I|L|T|K| RSV   |               L:   |   TL0PICIDX   |
//!     +-+-+-+-+-+-+-+-+                    +-+-+-+-+-+-+-+-+
//!                                     T/K: |TID|Y| KEYIDX  |
//!                                          +-+-+-+-+-+-+-+-+
//! then, in a frame's first packet (S = 1, PID = 0), the frame header (RFC 6386, 9.1); P = 0 is a keyframe:
//!     +-+-+-+-+-+-+-+-+                    a keyframe goes on with 9d 01 2a, then 14 bits of width and
//!     |Size0|H| VER |P|  Size1, Size2      2 of scale, 14 bits of height and 2 of scale, little-endian
//!     +-+-+-+-+-+-+-+-+
//! ```

/// The largest frame that is put together; a larger one is given up as damaged.
pub const FRAME_BYTES_MAX: usize = 8 << 20;

/// What the payload descriptor says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptor {
    /// The payload begins a partition (S).
    pub starts_partition: bool,
    /// Which partition (PID).
    pub partition: u8,
    /// How many bytes the descriptor takes.
    pub len: usize,
}

impl Descriptor {
    /// Reads the descriptor; `None` when the payload ends inside it.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let first = *payload.first()?;
        let mut len = 1;
        if first & 0x80 != 0 {
            let extension = *payload.get(len)?;
            len += 1;
            if extension & 0x80 != 0 {
                len += if payload.get(len)? & 0x80 != 0 { 2 } else { 1 };
            }
            if extension & 0x40 != 0 {
                len += 1;
            }
            if extension & 0x30 != 0 {
                len += 1;
            }
        }
        (len <= payload.len()).then_some(Self {
            starts_partition: first & 0x10 != 0,
            partition: first & 0x07,
            len,
        })
    }

    /// Whether the payload begins a frame.
    pub fn starts_frame(&self) -> bool {
        self.starts_partition && self.partition == 0
    }
}

/// The running numbers of a frame, as far as a descriptor has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Numbers {
    /// PictureID, of 15 bits or of 7.
    pub picture: Option<u16>,
    /// TL0PICIDX.
    pub tl0: Option<u8>,
}

impl Numbers {
    /// Reads them.
    pub fn read(payload: &[u8]) -> Self {
        let (picture, tl0) = places(payload);
        Self {
            picture: picture.and_then(|(at, long)| match long {
                true => Some(u16::from_be_bytes([payload.get(at)? & 0x7f, *payload.get(at + 1)?])),
                false => payload.get(at).map(|byte| u16::from(*byte)),
            }),
            tl0: tl0.and_then(|at| payload.get(at).copied()),
        }
    }

    /// Writes them in the place of those that the descriptor has, in as many bits. Where it has none, nothing changes.
    pub fn write(self, payload: &mut [u8]) {
        let (picture, tl0) = places(payload);
        if let (Some((at, long)), Some(number)) = (picture, self.picture) {
            if !long {
                payload[at] = number as u8 & 0x7f;
            } else if let Some(bytes) = payload.get_mut(at..at + 2) {
                bytes.copy_from_slice(&(number | 0x8000).to_be_bytes());
            }
        }
        if let (Some(byte), Some(number)) = (tl0.and_then(|at| payload.get_mut(at)), self.tl0) {
            *byte = number;
        }
    }
}

/// Where the picture number stands and whether it is a long one, and where TL0PICIDX stands.
fn places(payload: &[u8]) -> (Option<(usize, bool)>, Option<usize>) {
    let &[first, extension, ..] = payload else { return (None, None) };
    if first & 0x80 == 0 {
        return (None, None);
    }
    let mut at = 2;
    let mut picture = None;
    if extension & 0x80 != 0 {
        let Some(byte) = payload.get(at) else { return (None, None) };
        let long = byte & 0x80 != 0;
        picture = Some((at, long));
        at += if long { 2 } else { 1 };
    }
    (picture, (extension & 0x40 != 0).then_some(at))
}

/// Whether a decoder can start at this RTP payload: the first packet of a keyframe.
pub fn starts_keyframe(payload: &[u8]) -> bool {
    Descriptor::parse(payload)
        .filter(Descriptor::starts_frame)
        .and_then(|descriptor| payload.get(descriptor.len))
        .is_some_and(|header| header & 0x01 == 0)
}

/// Width and height in pixels, from the beginning of a keyframe; `None` for any other frame.
pub fn dimensions(frame: &[u8]) -> Option<(u16, u16)> {
    let head = frame.first_chunk::<10>()?;
    if head[0] & 0x01 != 0 || head[3..6] != [0x9d, 0x01, 0x2a] {
        return None;
    }
    let width = u16::from_le_bytes([head[6], head[7]]) & 0x3fff;
    let height = u16::from_le_bytes([head[8], head[9]]) & 0x3fff;
    (width > 0 && height > 0).then_some((width, height))
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// RTP timestamp, 90 kHz.
    pub rtp_timestamp: u32,
    /// The frame refers to no other.
    pub keyframe: bool,
    /// Packets of it are missing, so it cannot be decoded.
    pub damaged: bool,
    /// The bitstream.
    pub data: Vec<u8>,
}

/// Puts frames together from payloads in sequence order.
#[derive(Debug, Default)]
pub struct Depacketizer {
    current: Option<Frame>,
}

impl Depacketizer {
    /// Takes the next payload. `lost_before`: packets between the last payload and this one are missing.
    /// Frames that are now complete are appended to `out`.
    pub fn push(
        &mut self,
        rtp_timestamp: u32,
        marker: bool,
        lost_before: bool,
        payload: &[u8],
        out: &mut Vec<Frame>,
    ) {
        if self.current.as_ref().is_some_and(|frame| frame.rtp_timestamp != rtp_timestamp) {
            self.finish(true, out);
        }
        if let Some(frame) = &mut self.current {
            frame.damaged |= lost_before;
        }
        if payload.is_empty() {
            return;
        }
        let Some(descriptor) = Descriptor::parse(payload) else {
            if let Some(frame) = &mut self.current {
                frame.damaged = true;
            }
            return;
        };
        let bytes = &payload[descriptor.len..];
        let frame = self.current.get_or_insert_with(|| Frame {
            rtp_timestamp,
            keyframe: descriptor.starts_frame() && bytes.first().is_some_and(|header| header & 0x01 == 0),
            damaged: !descriptor.starts_frame(),
            data: Vec::with_capacity(16 * 1024),
        });
        if frame.data.len() + bytes.len() > FRAME_BYTES_MAX {
            frame.damaged = true;
        } else {
            frame.data.extend_from_slice(bytes);
        }
        if marker {
            self.finish(false, out);
        }
    }

    /// Gives up on the frame that is being put together, if any: nothing more of it will come.
    pub fn reset(&mut self) {
        self.current = None;
    }

    // A frame that ends without its marker has lost its tail.
    fn finish(&mut self, cut_short: bool, out: &mut Vec<Frame>) {
        if let Some(mut frame) = self.current.take() {
            frame.damaged |= cut_short || frame.data.is_empty();
            out.push(frame);
        }
    }
}

/// Splits `frame` into payloads of at most `payload_bytes_max`, each with the one-byte descriptor;
/// `emit(payload, last)`.
pub fn packetize(frame: &[u8], payload_bytes_max: usize, emit: &mut impl FnMut(&[u8], bool)) {
    let chunk_bytes = payload_bytes_max.max(2) - 1;
    let mut payload = Vec::with_capacity(chunk_bytes + 1);
    let count = frame.len().div_ceil(chunk_bytes);
    for (index, chunk) in frame.chunks(chunk_bytes).enumerate() {
        payload.clear();
        payload.push(if index == 0 { 0x10 } else { 0x00 });
        payload.extend_from_slice(chunk);
        emit(&payload, index + 1 == count);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_keyframe_starts_where_the_descriptor_and_the_frame_header_say_so() {
        assert!(starts_keyframe(&[0x10, 0x00]));
        assert!(!starts_keyframe(&[0x10, 0x01]), "an interframe");
        assert!(!starts_keyframe(&[0x00, 0x00]), "not the start of a partition");
        assert!(!starts_keyframe(&[0x11, 0x00]), "the second partition");
        // X, I with a 15-bit picture id, L, T and K.
        assert!(starts_keyframe(&[0x90, 0xf0, 0x81, 0x23, 0x05, 0x60, 0x50]));
        assert!(!starts_keyframe(&[0x90, 0xf0, 0x81, 0x23, 0x05, 0x60, 0x51]));
        assert!(starts_keyframe(&[0x90, 0x80, 0x11, 0x50]), "a 7-bit picture id");
        for cut in 0..6 {
            assert!(!starts_keyframe(&[0x90, 0xf0, 0x81, 0x23, 0x05, 0x60, 0x50][..cut]));
        }
    }

    #[test]
    fn numbers_are_written_where_they_stand_and_nowhere_else() {
        let numbers = |picture, tl0| Numbers { picture, tl0 };
        // X, I with a 15-bit picture id, L, T and K.
        let long = [0x90, 0xf0, 0x81, 0x23, 0x05, 0x60, 0x50];
        assert_eq!(Numbers::read(&long), numbers(Some(0x123), Some(5)));
        let mut written = long;
        numbers(Some(0x7fff), Some(255)).write(&mut written);
        assert_eq!(written, [0x90, 0xf0, 0xff, 0xff, 0xff, 0x60, 0x50]);
        let mut short = [0x90, 0xc0, 0x7f, 0x09, 0x50];
        assert_eq!(Numbers::read(&short), numbers(Some(0x7f), Some(9)));
        numbers(Some(0x180), None).write(&mut short);
        assert_eq!(short, [0x90, 0xc0, 0x00, 0x09, 0x50], "as many bits as there were");
        for without in [&mut [0x10, 0x00][..], &mut [0x90, 0x00, 0x50], &mut [0x90]] {
            let before = without.to_vec();
            assert_eq!(Numbers::read(without), numbers(None, None));
            numbers(Some(1), Some(2)).write(without);
            assert_eq!(without, before);
        }
    }

    #[test]
    fn dimensions_come_from_keyframes_alone() {
        let key = [0x50, 0x01, 0x00, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x41];
        assert_eq!(dimensions(&key), Some((640, 360)));
        assert_eq!(dimensions(&key[..9]), None);
        let mut inter = key;
        inter[0] |= 1;
        assert_eq!(dimensions(&inter), None);
    }

    #[test]
    fn a_frame_with_a_hole_is_damaged() {
        let frame: Vec<u8> = (0..100u8).map(|byte| byte << 1).collect();
        let mut payloads = Vec::new();
        packetize(&frame, 20, &mut |payload, last| payloads.push((payload.to_vec(), last)));
        for missing in 0..payloads.len() {
            let mut depacketizer = Depacketizer::default();
            let mut out = Vec::new();
            let mut lost = false;
            for (index, (payload, last)) in payloads.iter().enumerate() {
                if index == missing {
                    lost = true;
                    continue;
                }
                depacketizer.push(1, *last, std::mem::take(&mut lost), payload, &mut out);
            }
            depacketizer.push(2, true, lost, &[0x10, 0x01], &mut out);
            assert!(out[0].damaged, "packet {missing} is missing");
            assert!(!out[1].damaged);
        }
    }

    proptest! {
        #[test]
        fn what_is_split_comes_together_again(frame in proptest::collection::vec(any::<u8>(), 1..5000), max in 2usize..1400) {
            let mut depacketizer = Depacketizer::default();
            let mut out = Vec::new();
            packetize(&frame, max, &mut |payload, last| {
                assert!(payload.len() <= max);
                depacketizer.push(7, last, false, payload, &mut out);
            });
            prop_assert_eq!(out.len(), 1);
            prop_assert!(!out[0].damaged);
            prop_assert_eq!(out[0].keyframe, frame[0] & 1 == 0);
            prop_assert_eq!(&out[0].data, &frame);
        }

        #[test]
        fn nothing_panics(payloads in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..40), any::<bool>(), any::<bool>(), 0u32..3), 0..40)) {
            let mut depacketizer = Depacketizer::default();
            let mut out = Vec::new();
            for (payload, marker, lost, timestamp) in payloads {
                starts_keyframe(&payload);
                dimensions(&payload);
                let mut copy = payload.clone();
                Numbers { picture: Some(0x1234), tl0: Some(7) }.write(&mut copy);
                let (before, after) = (Numbers::read(&payload), Numbers::read(&copy));
                assert_eq!(before.picture.is_some(), after.picture.is_some());
                assert!(after.tl0.is_none_or(|tl0| tl0 == 7));
                depacketizer.push(timestamp, marker, lost, &payload, &mut out);
            }
        }
    }
}
