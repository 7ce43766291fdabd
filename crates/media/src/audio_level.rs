//! How loud the sound in an RTP packet is, by its sender's own measure (RFC 6464): one byte in a header extension.
//!
//! ```text
//!  0                   1                   2
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |  ID   | len=0 |V|    level    |                    one-byte header (RFC 8285 §4.2)
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |      ID       |     len=1     |V|    level    |    two-byte header (§4.3)
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

/// Decibels below the loudest there is (dBov): 0 is that, 127 is silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioLevel(u8);

impl AudioLevel {
    /// Reads the element of the header extension; `None` when it is empty. The V bit, that a voice was heard, is not read:
    /// a sender need not know (§3).
    pub fn read(element: &[u8]) -> Option<Self> {
        element.first().map(|byte| Self(byte & 0x7f))
    }

    /// Decibels below full scale, 0 to 127.
    pub const fn below_full_scale_db(self) -> u8 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp;

    #[test]
    fn is_read_in_both_forms_of_header() {
        let head = [0x90, 111, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1];
        let one_byte = [&head[..], &[0xbe, 0xde, 0, 1, 0x10, 0x80 | 37, 0, 0, 9]].concat();
        let two_byte = [&head[..], &[0x10, 0, 0, 1, 1, 1, 37, 0, 9]].concat();
        let empty = [&head[..], &[0x10, 0, 0, 1, 1, 0, 0, 0, 9]].concat();
        let level = |packet: &[u8], id| {
            let header = rtp::Header::parse(packet).expect("a packet");
            header.extension(packet, id).and_then(AudioLevel::read).map(AudioLevel::below_full_scale_db)
        };
        assert_eq!((level(&one_byte, 1), level(&two_byte, 1)), (Some(37), Some(37)));
        assert_eq!((level(&one_byte, 2), level(&empty, 1)), (None, None));
    }
}
