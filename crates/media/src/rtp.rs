//! RTP packets (RFC 3550 §5.1), read and written in place.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |V=2|P|X|  CC   |M|     PT      |       sequence number         |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                           timestamp                           |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                             SSRC                              |
//! +=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+
//! |               CSRC identifiers (CC times 32 bits)             |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |  0xBEDE / 0x100X (RFC 8285)   |    length in 32-bit words     |
//! |                     header extensions …                       |
//! ```

use std::ops::Range;

/// Length of a header without CSRCs and extensions.
pub const FIXED_HEADER_LEN: usize = 12;

/// The largest RTP packet taken in, in bytes: what fits an Ethernet frame.
pub const PACKET_LEN_MAX: usize = 1_500;

/// Bytes that are not an RTP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Fewer bytes than the header says.
    #[error("RTP packet of {0} bytes ends within its header")]
    Short(usize),
    /// Not version 2.
    #[error("RTP version {0} is not 2")]
    Version(u8),
    /// The padding count is zero or larger than what follows the header.
    #[error("RTP padding count {0} is impossible")]
    Padding(u8),
}

/// A parsed header. Offsets refer to the packet it was parsed from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// M: for video the last packet of a frame, for audio the first after silence.
    pub marker: bool,
    /// Payload type, 0–127.
    pub payload_type: u8,
    /// Sequence number.
    pub seq: u16,
    /// Timestamp in units of the codec's clock.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
    /// P: the last byte counts padding.
    pub padding: bool,
    /// Where the payload begins.
    pub len: usize,
    extensions: Range<usize>,
    two_byte_extensions: bool,
}

impl Header {
    /// Parses the header at the start of `packet`, which may still be encrypted behind it.
    pub fn parse(packet: &[u8]) -> Result<Header, ParseError> {
        let short = ParseError::Short(packet.len());
        let fixed: &[u8; FIXED_HEADER_LEN] = packet.first_chunk().ok_or(short)?;
        if fixed[0] >> 6 != 2 {
            return Err(ParseError::Version(fixed[0] >> 6));
        }
        let mut len = FIXED_HEADER_LEN + 4 * usize::from(fixed[0] & 0x0f);
        let mut extensions = 0..0;
        let mut two_byte_extensions = false;
        if fixed[0] & 0x10 != 0 {
            let head: &[u8; 4] = packet.get(len..).and_then(<[u8]>::first_chunk).ok_or(short)?;
            let profile = u16::from_be_bytes([head[0], head[1]]);
            let bytes = 4 * usize::from(u16::from_be_bytes([head[2], head[3]]));
            two_byte_extensions = profile & 0xfff0 == 0x1000;
            if profile == 0xbede || two_byte_extensions {
                extensions = len + 4..len + 4 + bytes;
            }
            len += 4 + bytes;
        }
        if packet.len() < len {
            return Err(short);
        }
        Ok(Header {
            marker: fixed[1] & 0x80 != 0,
            payload_type: fixed[1] & 0x7f,
            seq: u16::from_be_bytes([fixed[2], fixed[3]]),
            timestamp: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            ssrc: u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]),
            padding: fixed[0] & 0x20 != 0,
            len,
            extensions,
            two_byte_extensions,
        })
    }

    /// The payload of the decrypted packet this header was parsed from, without padding. Empty for a packet of
    /// padding alone.
    pub fn payload<'a>(&self, packet: &'a [u8]) -> Result<&'a [u8], ParseError> {
        let behind_header = packet.get(self.len..).ok_or(ParseError::Short(packet.len()))?;
        if !self.padding {
            return Ok(behind_header);
        }
        let count = behind_header.last().copied().unwrap_or(0);
        match behind_header.len().checked_sub(usize::from(count)) {
            Some(end) if count > 0 => Ok(&behind_header[..end]),
            _ => Err(ParseError::Padding(count)),
        }
    }

    /// The header extension element with this id (RFC 8285).
    pub fn extension<'a>(&self, packet: &'a [u8], id: u8) -> Option<&'a [u8]> {
        let mut rest = packet.get(self.extensions.clone())?;
        while let Some((&first, behind)) = rest.split_first() {
            if first == 0 {
                rest = behind; // padding byte
                continue;
            }
            let (element_id, len, data) = if self.two_byte_extensions {
                let (&len, data) = behind.split_first()?;
                (first, usize::from(len), data)
            } else {
                (first >> 4, usize::from(first & 0x0f) + 1, behind)
            };
            if element_id == 15 && !self.two_byte_extensions {
                return None; // RFC 8285 §4.2: stop
            }
            let element = data.get(..len)?;
            if element_id == id {
                return Some(element);
            }
            rest = &data[len..];
        }
        None
    }
}

/// Writes a fixed header without CSRCs and extensions.
pub fn write_header(
    buf: &mut [u8; FIXED_HEADER_LEN],
    marker: bool,
    payload_type: u8,
    seq: u16,
    timestamp: u32,
    ssrc: u32,
) {
    buf[0] = 0x80;
    buf[1] = (u8::from(marker) << 7) | (payload_type & 0x7f);
    buf[2..4].copy_from_slice(&seq.to_be_bytes());
    buf[4..8].copy_from_slice(&timestamp.to_be_bytes());
    buf[8..12].copy_from_slice(&ssrc.to_be_bytes());
}

/// Length of what [`write_transport_seq`] writes behind the fixed header.
pub const TRANSPORT_SEQ_LEN: usize = 8;

/// Writes a transport-wide sequence number as the only header extension (RFC 8285), behind the fixed header of a
/// packet that has at least [`TRANSPORT_SEQ_LEN`] bytes there.
pub fn write_transport_seq(packet: &mut [u8], id: u8, seq: u16) {
    let [high, low] = seq.to_be_bytes();
    let block = match id {
        1..=14 => [0xbe, 0xde, 0, 1, (id << 4) | 1, high, low, 0],
        _ => [0x10, 0, 0, 1, id, 2, high, low],
    };
    packet[0] |= 0x10;
    packet[FIXED_HEADER_LEN..FIXED_HEADER_LEN + TRANSPORT_SEQ_LEN].copy_from_slice(&block);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let mut packet = [0u8; 16];
        let head: &mut [u8; 12] = packet.first_chunk_mut().expect("16 bytes");
        write_header(head, true, 102, 65_535, 0xdead_beef, 7);
        let header = Header::parse(&packet).expect("valid");
        assert_eq!(
            (header.marker, header.payload_type, header.seq, header.timestamp, header.ssrc, header.len),
            (true, 102, 65_535, 0xdead_beef, 7, 12)
        );
        assert_eq!(header.payload(&packet).expect("no padding").len(), 4);
    }

    #[test]
    fn a_transport_wide_number_is_read_back_in_both_forms() {
        for id in [1, 5, 14, 15, 200] {
            let mut packet = [7u8; 21];
            write_header(packet.first_chunk_mut().expect("21 bytes"), false, 96, 1, 2, 3);
            write_transport_seq(&mut packet, id, 0xabcd);
            let header = Header::parse(&packet).expect("valid");
            assert_eq!(header.extension(&packet, id), Some(&[0xab, 0xcd][..]), "{id}");
            assert_eq!(header.payload(&packet), Ok(&[7][..]));
        }
    }

    #[test]
    fn finds_extensions_of_both_forms() {
        let one_byte = [
            0x90, 111, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0xbe, 0xde, 0, 2, 0x10, 0xaa, 0x00, 0x31, 0x01, 0x02, 0,
            0, 9,
        ];
        let header = Header::parse(&one_byte).expect("valid");
        assert_eq!(header.extension(&one_byte, 1), Some(&[0xaa][..]));
        assert_eq!(header.extension(&one_byte, 3), Some(&[1, 2][..]));
        assert_eq!(header.extension(&one_byte, 4), None);
        assert_eq!(header.payload(&one_byte), Ok(&[9][..]));

        let two_byte = [0x90, 111, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0x10, 0x00, 0, 1, 20, 1, 0xcc, 0, 0x80];
        let header = Header::parse(&two_byte).expect("valid");
        assert_eq!(header.extension(&two_byte, 20), Some(&[0xcc][..]));
    }

    #[test]
    fn strips_padding_and_refuses_impossible_padding() {
        let padded = [0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 2];
        let header = Header::parse(&padded).expect("valid");
        assert_eq!(header.payload(&padded), Ok(&[1, 2][..]));
        let mut wrong = padded;
        wrong[15] = 5;
        assert_eq!(header.payload(&wrong), Err(ParseError::Padding(5)));
        wrong[15] = 0;
        assert_eq!(header.payload(&wrong), Err(ParseError::Padding(0)));
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64), id: u8) {
            if let Ok(header) = Header::parse(&bytes) {
                let _ = header.payload(&bytes);
                let _ = header.extension(&bytes, id);
            }
        }
    }
}
