//! What datagrams need besides, whose sender may lie about where it is.

/// How much longer than the request an answer to somebody without credentials may be, in bytes: the challenge, which is
/// error, realm and nonce. It is no more than the heads of a datagram and of a request, so that a liar gains nothing worth
/// its trouble.
pub const CHALLENGE_LEN_MAX: usize = 64;

/// Whether it begins as a request (RFC 8489 §5), which is answered; nothing else is.
pub fn is_request(bytes: &[u8]) -> bool {
    // Two bits of zero, and the class 0b00 between the bits of the method.
    matches!(bytes, [high, low, ..] if high & 0xc1 == 0 && low & 0x10 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_from_what_is_not_answered() {
        for request in [[0, 1], [0, 3], [0, 4], [0, 8], [0, 9]] {
            assert!(is_request(&request));
        }
        // Send, success, error, channel data, media, too short.
        for other in [&[0, 0x16][..], &[1, 3], &[1, 0x13], &[0x40, 0], &[0x80, 0x60], &[0], &[]] {
            assert!(!is_request(other), "{other:?}");
        }
    }
}
