//! STUN binding requests (RFC 8489), parsed in place, and their answers.
//!
//! Nothing is allocated and no hash is computed for a request that does not name one of our user-name
//! fragments: strangers cost a comparison.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |0 0|     message type          |         message length        |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                  magic cookie 0x2112A442                      |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                transaction id (96 bits)                       |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |  attribute type, length, value padded to 32 bits, repeated    |
//! ```

use std::net::{IpAddr, SocketAddr};

use ring::hmac;

const HEADER_LEN: usize = 20;
const COOKIE: u32 = 0x2112_a442;
const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;
const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const USE_CANDIDATE: u16 = 0x0025;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const FINGERPRINT: u16 = 0x8028;
const INTEGRITY_LEN: usize = 20;

/// The longest answer in bytes: IPv6 address, integrity, fingerprint.
pub const RESPONSE_LEN_MAX: usize = HEADER_LEN + 24 + 24 + 8;

/// A binding request, parsed but not yet authenticated.
#[derive(Debug, Clone, Copy)]
pub struct BindingRequest<'a> {
    datagram: &'a [u8],
    username: &'a str,
    integrity_at: usize,
    fingerprint_at: Option<usize>,
    /// The controlling agent nominates this path (RFC 8445 §7.1.2).
    pub use_candidate: bool,
}

/// Whether a datagram's first byte and length let it be STUN (RFC 7983 §7).
pub fn is_stun(datagram: &[u8]) -> bool {
    datagram.len() >= HEADER_LEN && datagram[0] < 4
}

impl<'a> BindingRequest<'a> {
    /// Parses a datagram. `None` for everything that is not a binding request with user name and integrity. Nothing
    /// is computed over it yet.
    pub fn parse(datagram: &'a [u8]) -> Option<Self> {
        let header: &[u8; HEADER_LEN] = datagram.first_chunk()?;
        let message_len = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if u16::from_be_bytes([header[0], header[1]]) != BINDING_REQUEST
            || u32::from_be_bytes([header[4], header[5], header[6], header[7]]) != COOKIE
            || datagram.len() != HEADER_LEN + message_len
        {
            return None;
        }
        let (mut username, mut integrity_at, mut fingerprint_at, mut use_candidate) =
            (None, None, None, false);
        let mut at = HEADER_LEN;
        while at < datagram.len() {
            let head: &[u8; 4] = datagram.get(at..)?.first_chunk()?;
            let len = usize::from(u16::from_be_bytes([head[2], head[3]]));
            let value = datagram.get(at + 4..at + 4 + len)?;
            match u16::from_be_bytes([head[0], head[1]]) {
                // The last attribute (RFC 8489 §14.7).
                FINGERPRINT if len == 4 && at + 8 == datagram.len() => fingerprint_at = Some(at),
                FINGERPRINT => return None,
                // What comes behind the integrity is not protected by it and does not count (RFC 8489 §14.5).
                _ if integrity_at.is_some() => {}
                USERNAME => username = std::str::from_utf8(value).ok(),
                USE_CANDIDATE => use_candidate = true,
                MESSAGE_INTEGRITY if len == INTEGRITY_LEN => integrity_at = Some(at),
                _ => {}
            }
            at += 4 + len.next_multiple_of(4);
        }
        let (username, integrity_at) = (username?, integrity_at?);
        Some(BindingRequest { datagram, username, integrity_at, fingerprint_at, use_candidate })
    }

    /// The fragment that the receiver of this request gave out.
    pub fn local_ufrag(&self) -> &'a str {
        self.username.split_once(':').map_or(self.username, |(local, _)| local)
    }

    /// The fragment of the sender.
    pub fn remote_ufrag(&self) -> Option<&'a str> {
        self.username.split_once(':').map(|(_, remote)| remote)
    }

    /// Whether the request was made with this password, and its fingerprint, if it has one, is right.
    pub fn authenticates(&self, password: &hmac::Key) -> bool {
        if let Some(at) = self.fingerprint_at
            && self.datagram[at + 4..] != (crc32(&self.datagram[..at]) ^ 0x5354_554e).to_be_bytes()
        {
            return false;
        }
        let value_at = self.integrity_at + 4;
        // The length in the header counts up to and with the integrity attribute.
        let mut head = [self.datagram[0], self.datagram[1], 0, 0];
        let counted = (value_at + INTEGRITY_LEN - HEADER_LEN) as u16;
        head[2..].copy_from_slice(&counted.to_be_bytes());
        let mut mac = hmac::Context::with_key(password);
        mac.update(&head);
        mac.update(&self.datagram[4..self.integrity_at]);
        let expected = mac.sign();
        let given = &self.datagram[value_at..value_at + INTEGRITY_LEN];
        expected.as_ref().iter().zip(given).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
    }

    /// Writes the success response to a request from `from` (RFC 8489 §7.3.1), and returns its length.
    pub fn write_success(
        &self,
        from: SocketAddr,
        password: &hmac::Key,
        out: &mut [u8; RESPONSE_LEN_MAX],
    ) -> usize {
        out[..2].copy_from_slice(&BINDING_SUCCESS.to_be_bytes());
        out[4..HEADER_LEN].copy_from_slice(&self.datagram[4..HEADER_LEN]);
        let mut len = HEADER_LEN;

        // XOR-MAPPED-ADDRESS (RFC 8489 §14.2).
        let mut address = [0; 20];
        address[2..4].copy_from_slice(&(from.port() ^ (COOKIE >> 16) as u16).to_be_bytes());
        let address_len = match from.ip().to_canonical() {
            IpAddr::V4(ip) => {
                address[1] = 1;
                address[4..8].copy_from_slice(&(u32::from(ip) ^ COOKIE).to_be_bytes());
                8
            }
            IpAddr::V6(ip) => {
                address[1] = 2;
                for (at, byte) in ip.octets().iter().enumerate() {
                    address[4 + at] = byte ^ self.datagram[4 + at];
                }
                20
            }
        };
        len += attribute(&mut out[len..], XOR_MAPPED_ADDRESS, &address[..address_len]);

        set_message_len(out, len + 24);
        let mac = hmac::sign(password, &out[..len]);
        len += attribute(&mut out[len..], MESSAGE_INTEGRITY, mac.as_ref());
        set_message_len(out, len + 8);
        let fingerprint = crc32(&out[..len]) ^ 0x5354_554e;
        len += attribute(&mut out[len..], FINGERPRINT, &fingerprint.to_be_bytes());
        len
    }
}

/// The key that a password stands for (RFC 8489 §9.1.1; ICE passwords are ASCII).
pub fn password_key(password: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes())
}

fn set_message_len(out: &mut [u8], len: usize) {
    out[2..4].copy_from_slice(&((len - HEADER_LEN) as u16).to_be_bytes());
}

fn attribute(out: &mut [u8], attribute_type: u16, value: &[u8]) -> usize {
    out[..2].copy_from_slice(&attribute_type.to_be_bytes());
    out[2..4].copy_from_slice(&(value.len() as u16).to_be_bytes());
    out[4..4 + value.len()].copy_from_slice(value);
    4 + value.len()
}

/// CRC-32 of ITU V.42, bit by bit: a request has a hundred bytes and comes every few seconds.
fn crc32(data: &[u8]) -> u32 {
    !data.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rtc_stun::{
        attributes::{ATTR_USE_CANDIDATE, ATTR_USERNAME},
        fingerprint::FINGERPRINT as FINGERPRINT_SETTER,
        integrity::MessageIntegrity,
        message::{BINDING_REQUEST as REQUEST, Getter, Message, Setter, TransactionId},
        textattrs::TextAttribute,
        xoraddr::XorMappedAddress,
    };

    use super::*;

    fn request(password: &str) -> Vec<u8> {
        let provider = rtc_crypto::default_provider().expect("ring");
        let mut message = Message::new();
        let integrity =
            MessageIntegrity::new_short_term_integrity_with_provider(password.to_owned(), provider.crypto());
        let setters: Vec<Box<dyn Setter>> = vec![
            Box::new(REQUEST),
            Box::new(TransactionId([7; 12])),
            Box::new(TextAttribute::new(ATTR_USERNAME, "ours:theirs".to_owned())),
        ];
        message.build(&setters).expect("builds");
        message.add(ATTR_USE_CANDIDATE, &[]);
        integrity.add_to(&mut message).expect("adds");
        FINGERPRINT_SETTER.add_to(&mut message).expect("adds");
        message.raw.to_vec()
    }

    #[test]
    fn takes_a_foreign_request_and_answers_what_a_foreign_parser_reads() {
        let datagram = request("secret-password-of-ours");
        let parsed = BindingRequest::parse(&datagram).expect("valid");
        assert_eq!((parsed.local_ufrag(), parsed.remote_ufrag()), ("ours", Some("theirs")));
        assert!(parsed.use_candidate);
        let key = password_key("secret-password-of-ours");
        assert!(parsed.authenticates(&key));
        assert!(!parsed.authenticates(&password_key("another")));

        for from in ["192.0.2.7:4321", "[2001:db8::7]:4321"] {
            let from: SocketAddr = from.parse().expect("address");
            let mut out = [0; RESPONSE_LEN_MAX];
            let len = parsed.write_success(from, &key, &mut out);
            let mut answer = Message::new();
            answer.write(&out[..len]).expect("parses");
            let mut mapped = XorMappedAddress::default();
            mapped.get_from(&answer).expect("has an address");
            assert_eq!(SocketAddr::new(mapped.ip, mapped.port), from);
            FINGERPRINT_SETTER.check(&answer).expect("fingerprint is right");
            let provider = rtc_crypto::default_provider().expect("ring");
            MessageIntegrity::check(&mut answer, b"secret-password-of-ours", provider.crypto())
                .expect("integrity is right");
        }
    }

    #[test]
    fn a_changed_byte_is_refused() {
        let datagram = request("pw");
        let key = password_key("pw");
        let attribute_type = datagram.len() - 8..datagram.len() - 6;
        // A fingerprint that became another attribute is none; it protects against chance, not against people.
        for at in (0..datagram.len()).filter(|at| !attribute_type.contains(at)) {
            let mut broken = datagram.clone();
            broken[at] ^= 1;
            assert!(
                !BindingRequest::parse(&broken).is_some_and(|request| request.authenticates(&key)),
                "{at}"
            );
        }
    }

    proptest! {
        #[test]
        fn never_panics(mut bytes in proptest::collection::vec(any::<u8>(), 20..120)) {
            let len = (bytes.len() - 20) as u16;
            bytes[..4].copy_from_slice(&[0, 1, (len >> 8) as u8, len as u8]);
            bytes[4..8].copy_from_slice(&COOKIE.to_be_bytes());
            if let Some(request) = BindingRequest::parse(&bytes) {
                prop_assert!(!request.authenticates(&password_key("pw")));
            }
        }
    }
}
