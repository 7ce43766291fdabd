//! A STUN binding request with short-term credentials, and whether an answer fits (RFC 8489), to see over which
//! addresses the media port hears.

use ring::hmac;

const HEADER_LEN: usize = 20;
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const BINDING_REQUEST: [u8; 2] = [0x00, 0x01];
const BINDING_SUCCESS: [u8; 2] = [0x01, 0x01];
const USERNAME: [u8; 2] = [0x00, 0x06];
const MESSAGE_INTEGRITY: [u8; 2] = [0x00, 0x08];
const INTEGRITY_LEN: usize = 20;

/// A request to whoever gave out this user-name fragment and password.
pub(super) fn request(transaction: [u8; 12], ufrag: &str, password: &str) -> Vec<u8> {
    let username = format!("{ufrag}:doctor");
    let mut message = Vec::with_capacity(128);
    message.extend(BINDING_REQUEST);
    message.extend([0, 0]);
    message.extend(COOKIE);
    message.extend(transaction);
    message.extend(USERNAME);
    message.extend((username.len() as u16).to_be_bytes());
    message.extend(username.as_bytes());
    message.resize(message.len().next_multiple_of(4), 0);
    // The length counts the integrity as well when that is computed.
    let counted = (message.len() + 4 + INTEGRITY_LEN - HEADER_LEN) as u16;
    message[2..4].copy_from_slice(&counted.to_be_bytes());
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
    let tag = hmac::sign(&key, &message);
    message.extend(MESSAGE_INTEGRITY);
    message.extend((INTEGRITY_LEN as u16).to_be_bytes());
    message.extend(tag.as_ref());
    message
}

/// Whether a datagram says yes to the request with this transaction id.
pub(super) fn is_success(datagram: &[u8], transaction: [u8; 12]) -> bool {
    datagram.len() >= HEADER_LEN
        && datagram[..2] == BINDING_SUCCESS
        && datagram[4..8] == COOKIE
        && datagram[8..HEADER_LEN] == transaction
}
