//! Messages and channel data over a connection (RFC 8656 §12.5): each says how long it is, and channel data is padded.

use crate::message::{COOKIE, HEADER_LEN};

/// The longest message taken in: a datagram of media with its head.
pub const MESSAGE_LEN_MAX: usize = 2_048;

/// What comes is neither a message nor channel data, or too long. Where the next begins cannot be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// How many of these bytes are the next message, padding included. `None` when more have to come.
///
/// # Errors
/// [`Malformed`].
pub fn next_len(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    let Some(head) = bytes.first_chunk::<4>() else { return Ok(None) };
    let len = usize::from(u16::from_be_bytes([head[2], head[3]]));
    let whole = match head[0] {
        0..=0x3f => HEADER_LEN + len,
        0x40..=0x4f => 4 + len.next_multiple_of(4),
        _ => return Err(Malformed),
    };
    if whole > MESSAGE_LEN_MAX {
        return Err(Malformed);
    }
    // Whatever is no STUN is told before all of it has come.
    if head[0] <= 0x3f && bytes.len() >= 8 && bytes[4..8] != COOKIE.to_be_bytes() {
        return Err(Malformed);
    }
    Ok((bytes.len() >= whole).then_some(whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_channel_data_say_how_long_they_are() {
        let mut message = vec![0, 3, 0, 8, 0x21, 0x12, 0xa4, 0x42];
        assert_eq!(next_len(&message[..3]), Ok(None));
        assert_eq!(next_len(&message), Ok(None));
        message.resize(28, 0);
        assert_eq!(next_len(&message), Ok(Some(28)));
        message[4] = 0;
        assert_eq!(next_len(&message), Err(Malformed));
        assert_eq!(next_len(&[0x40, 0, 0, 5, 1, 2, 3, 4, 5]), Ok(None), "the padding belongs to it");
        assert_eq!(next_len(&[0x40, 0, 0, 5, 1, 2, 3, 4, 5, 0, 0, 0, 9]), Ok(Some(12)));
        assert_eq!(next_len(b"GET / HTTP/1.1"), Err(Malformed));
        assert_eq!(next_len(&[0, 3, 255, 252]), Err(Malformed));
    }
}
