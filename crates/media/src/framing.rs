//! Datagrams over a connection: each behind its length (RFC 4571 §2).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |             length            |  RTP, RTCP, STUN or DTLS ...   |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

/// Length of the length before each frame.
pub const PREFIX_LEN: usize = 2;
/// The longest frame taken in: more than any datagram of WebRTC. RFC 4571 allows 65,535.
pub const FRAME_LEN_MAX: usize = 2_048;
/// What is read at a time: eight frames of the longest.
const BUFFER_LEN: usize = 8 * (PREFIX_LEN + FRAME_LEN_MAX);

/// A frame is longer than [`FRAME_LEN_MAX`]. Where the next one begins is of no more interest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {0} bytes")]
pub struct TooLong(pub usize);

/// Takes bytes as they come and gives the frames in them. Holds a fixed number of bytes: drain it before it is given
/// more.
pub struct Deframer {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Default for Deframer {
    fn default() -> Self {
        Self { buffer: vec![0; BUFFER_LEN].into(), start: 0, end: 0 }
    }
}

impl Deframer {
    /// Where the next bytes go; then say how many they were by [`Deframer::filled`]. Never empty once all frames are
    /// taken, for a part of one does not fill the buffer.
    pub fn room(&mut self) -> &mut [u8] {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        &mut self.buffer[self.end..]
    }

    /// So many bytes were written to [`Deframer::room`].
    pub fn filled(&mut self, count: usize) {
        self.end = (self.end + count).min(self.buffer.len());
    }

    /// The next whole frame. `None` until more bytes come.
    ///
    /// # Errors
    /// [`TooLong`]: nothing sensible follows.
    pub fn next_frame(&mut self) -> Result<Option<&mut [u8]>, TooLong> {
        let Some((prefix, rest)) = self.buffer[self.start..self.end].split_first_chunk::<PREFIX_LEN>() else {
            return Ok(None);
        };
        let len = usize::from(u16::from_be_bytes(*prefix));
        if len > FRAME_LEN_MAX {
            return Err(TooLong(len));
        }
        if rest.len() < len {
            return Ok(None);
        }
        let at = self.start + PREFIX_LEN;
        self.start = at + len;
        Ok(Some(&mut self.buffer[at..at + len]))
    }
}

/// The length to send before a datagram. `None` for one that no frame can hold.
pub fn prefix(len: usize) -> Option<[u8; PREFIX_LEN]> {
    u16::try_from(len).ok().map(u16::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Gives `bytes` in pieces of these lengths, over and over, and collects the frames.
    fn frames(bytes: &[u8], pieces: &[usize]) -> Result<Vec<Vec<u8>>, TooLong> {
        let (mut deframer, mut out, mut rest) = (Deframer::default(), Vec::new(), bytes);
        for piece in pieces.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let room = deframer.room();
            let count = (*piece).min(rest.len()).min(room.len());
            room[..count].copy_from_slice(&rest[..count]);
            rest = &rest[count..];
            deframer.filled(count);
            while let Some(frame) = deframer.next_frame()? {
                out.push(frame.to_vec());
            }
        }
        Ok(out)
    }

    fn framed(datagrams: &[Vec<u8>]) -> Vec<u8> {
        datagrams
            .iter()
            .flat_map(|datagram| {
                prefix(datagram.len()).expect("short").into_iter().chain(datagram.iter().copied())
            })
            .collect()
    }

    proptest! {
        #[test]
        fn datagrams_come_out_as_they_went_in_however_the_bytes_come(
            lens in proptest::collection::vec(0..=FRAME_LEN_MAX, 0..40),
            pieces in proptest::collection::vec(1..5_000usize, 1..8),
        ) {
            let datagrams: Vec<Vec<u8>> = (0..).zip(lens).map(|(at, len): (usize, _)| vec![at as u8; len]).collect();
            prop_assert_eq!(frames(&framed(&datagrams), &pieces), Ok(datagrams));
        }

        #[test]
        fn anything_is_frames_or_the_end(bytes in proptest::collection::vec(any::<u8>(), 0..20_000)) {
            if let Ok(found) = frames(&bytes, &[999]) {
                prop_assert!(found.iter().map(|frame| frame.len() + PREFIX_LEN).sum::<usize>() <= bytes.len());
            }
        }
    }

    #[test]
    fn a_frame_that_is_too_long_is_the_end() {
        let mut bytes = framed(&[vec![1; 10], vec![2; FRAME_LEN_MAX]]);
        assert_eq!(frames(&bytes, &[7]).map(|frames| frames.len()), Ok(2));
        bytes.extend([0x08, 0x01]);
        assert_eq!(frames(&bytes, &[7]), Err(TooLong(FRAME_LEN_MAX + 1)));
        assert_eq!(prefix(70_000), None);
    }
}
