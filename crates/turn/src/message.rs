//! STUN messages (RFC 8489 §5), read in place and written.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |0 0|  method and class         |         message length        |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                  magic cookie 0x2112A442                      |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                transaction id (96 bits)                       |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |  attribute type, length, value padded to 32 bits, repeated    |
//! ```

use std::net::{IpAddr, SocketAddr};

use ring::hmac;

pub(crate) const HEADER_LEN: usize = 20;
pub(crate) const COOKIE: u32 = 0x2112_a442;
const INTEGRITY_LEN: usize = 20;
/// Class bits of the type: request, indication, success, error (RFC 8489 §5).
const CLASS_MASK: u16 = 0x0110;

pub(crate) const MESSAGE_INTEGRITY: u16 = 0x0008;
pub(crate) const ERROR_CODE: u16 = 0x0009;
const FINGERPRINT: u16 = 0x8028;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Request = 0x0000,
    Indication = 0x0010,
    Success = 0x0100,
    Error = 0x0110,
}

/// A message whose attributes lie within it. Nothing is verified yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message<'a> {
    bytes: &'a [u8],
    pub(crate) class: Class,
    pub(crate) method: u16,
    integrity_at: Option<usize>,
}

impl<'a> Message<'a> {
    /// `None` for what is none.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let header: &[u8; HEADER_LEN] = bytes.first_chunk()?;
        let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let (kind, len) = (word(0), usize::from(word(2)));
        let cookie = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        if kind & 0xc000 != 0 || cookie != COOKIE || len % 4 != 0 || bytes.len() != HEADER_LEN + len {
            return None;
        }
        let class = match kind & CLASS_MASK {
            0x0000 => Class::Request,
            0x0010 => Class::Indication,
            0x0100 => Class::Success,
            _ => Class::Error,
        };
        let mut integrity_at = None;
        let mut at = HEADER_LEN;
        while at < bytes.len() {
            let (attribute, value, next) = attribute_at(bytes, at)?;
            if attribute == MESSAGE_INTEGRITY && integrity_at.is_none() {
                if value.len() != INTEGRITY_LEN {
                    return None;
                }
                integrity_at = Some(at);
            }
            at = next;
        }
        Some(Self { bytes, class, method: kind & !CLASS_MASK, integrity_at })
    }

    pub(crate) fn transaction(&self) -> [u8; 12] {
        let mut id = [0; 12];
        id.copy_from_slice(&self.bytes[8..HEADER_LEN]);
        id
    }

    /// The attributes that count: what comes behind the integrity is not protected by it (RFC 8489 §14.5).
    pub(crate) fn attributes(&self) -> impl Iterator<Item = (u16, &'a [u8])> {
        let bytes = &self.bytes[..self.integrity_at.unwrap_or(self.bytes.len())];
        let mut at = HEADER_LEN;
        std::iter::from_fn(move || {
            let (attribute, value, next) = attribute_at(bytes, at)?;
            at = next;
            Some((attribute, value))
        })
        .filter(|(attribute, _)| *attribute != FINGERPRINT)
    }

    pub(crate) fn attribute(&self, wanted: u16) -> Option<&'a [u8]> {
        self.attributes().find(|(attribute, _)| *attribute == wanted).map(|(_, value)| value)
    }

    pub(crate) fn text(&self, wanted: u16) -> Option<&'a str> {
        std::str::from_utf8(self.attribute(wanted)?).ok()
    }

    pub(crate) fn has_integrity(&self) -> bool {
        self.integrity_at.is_some()
    }

    /// Whether the message was made with this key.
    pub(crate) fn authenticates(&self, key: &hmac::Key) -> bool {
        let Some(at) = self.integrity_at else { return false };
        let value_at = at + 4;
        // The length in the header counts up to and with the integrity attribute.
        let counted = (value_at + INTEGRITY_LEN - HEADER_LEN) as u16;
        let mut mac = hmac::Context::with_key(key);
        mac.update(&self.bytes[..2]);
        mac.update(&counted.to_be_bytes());
        mac.update(&self.bytes[4..at]);
        let given = &self.bytes[value_at..value_at + INTEGRITY_LEN];
        mac.sign().as_ref().iter().zip(given).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
    }

    /// An address that was written with the cookie laid over it (RFC 8489 §14.2).
    pub(crate) fn address(&self, value: &[u8]) -> Option<SocketAddr> {
        let (head, rest) = value.split_first_chunk::<4>()?;
        let port = u16::from_be_bytes([head[2], head[3]]) ^ (COOKIE >> 16) as u16;
        let ip: IpAddr = match (head[1], rest.len()) {
            (1, 4) => (u32::from_be_bytes(*rest.first_chunk()?) ^ COOKIE).to_be_bytes().into(),
            (2, 16) => {
                let mut octets: [u8; 16] = *rest.first_chunk()?;
                octets.iter_mut().zip(&self.bytes[4..]).for_each(|(octet, mask)| *octet ^= mask);
                octets.into()
            }
            _ => return None,
        };
        Some(SocketAddr::new(ip, port))
    }
}

/// The attribute at `at`, and where the next one begins. `None` past the end, and for one that is not whole.
fn attribute_at(bytes: &[u8], at: usize) -> Option<(u16, &[u8], usize)> {
    let head: &[u8; 4] = bytes.get(at..)?.first_chunk()?;
    let len = usize::from(u16::from_be_bytes([head[2], head[3]]));
    let value = bytes.get(at + 4..at + 4 + len)?;
    Some((u16::from_be_bytes([head[0], head[1]]), value, at + 4 + len.next_multiple_of(4)))
}

/// A message under way.
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn new(class: Class, method: u16, transaction: [u8; 12]) -> Self {
        let mut out = Vec::with_capacity(160);
        out.extend((method | class as u16).to_be_bytes());
        out.extend([0; 2]);
        out.extend(COOKIE.to_be_bytes());
        out.extend(transaction);
        Self(out)
    }

    pub(crate) fn attribute(mut self, attribute: u16, value: &[u8]) -> Self {
        self.0.extend(attribute.to_be_bytes());
        self.0.extend((value.len() as u16).to_be_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    pub(crate) fn address(self, attribute: u16, address: SocketAddr) -> Self {
        let port = (address.port() ^ (COOKIE >> 16) as u16).to_be_bytes();
        let mut value = vec![0, 0, port[0], port[1]];
        match address.ip().to_canonical() {
            IpAddr::V4(ip) => {
                value[1] = 1;
                value.extend((u32::from(ip) ^ COOKIE).to_be_bytes());
            }
            IpAddr::V6(ip) => {
                value[1] = 2;
                value
                    .extend(ip.octets().iter().zip(&self.0[4..HEADER_LEN]).map(|(octet, mask)| octet ^ mask));
            }
        }
        self.attribute(attribute, &value)
    }

    pub(crate) fn error(self, code: u16) -> Self {
        let reason: &str = match code {
            400 => "Bad Request",
            401 => "Unauthenticated",
            403 => "Forbidden",
            420 => "Unknown Attribute",
            437 => "Allocation Mismatch",
            438 => "Stale Nonce",
            440 => "Address Family not Supported",
            441 => "Wrong Credentials",
            442 => "Unsupported Transport Protocol",
            486 => "Allocation Quota Reached",
            _ => "Insufficient Capacity",
        };
        let value = [&[0, 0, (code / 100) as u8, (code % 100) as u8], reason.as_bytes()].concat();
        self.attribute(ERROR_CODE, &value)
    }

    /// The whole message, with integrity when there is a key.
    pub(crate) fn finish(mut self, key: Option<&hmac::Key>) -> Vec<u8> {
        if let Some(key) = key {
            self.set_len(4 + INTEGRITY_LEN);
            let mac = hmac::sign(key, &self.0);
            self = self.attribute(MESSAGE_INTEGRITY, mac.as_ref());
        }
        self.set_len(0);
        self.0
    }

    fn set_len(&mut self, more: usize) {
        let len = (self.0.len() - HEADER_LEN + more) as u16;
        self.0[2..4].copy_from_slice(&len.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use md5::{Digest, Md5};

    use super::*;

    /// The sample request with long-term authentication of RFC 5769 §2.4.
    const SAMPLE: [u8; 116] = [
        0x00, 0x01, 0x00, 0x60, 0x21, 0x12, 0xa4, 0x42, 0x78, 0xad, 0x34, 0x33, 0xc6, 0xad, 0x72, 0xc0, 0x29,
        0xda, 0x41, 0x2e, 0x00, 0x06, 0x00, 0x12, 0xe3, 0x83, 0x9e, 0xe3, 0x83, 0x88, 0xe3, 0x83, 0xaa, 0xe3,
        0x83, 0x83, 0xe3, 0x82, 0xaf, 0xe3, 0x82, 0xb9, 0x00, 0x00, 0x00, 0x15, 0x00, 0x1c, 0x66, 0x2f, 0x2f,
        0x34, 0x39, 0x39, 0x6b, 0x39, 0x35, 0x34, 0x64, 0x36, 0x4f, 0x4c, 0x33, 0x34, 0x6f, 0x4c, 0x39, 0x46,
        0x53, 0x54, 0x76, 0x79, 0x36, 0x34, 0x73, 0x41, 0x00, 0x14, 0x00, 0x0b, 0x65, 0x78, 0x61, 0x6d, 0x70,
        0x6c, 0x65, 0x2e, 0x6f, 0x72, 0x67, 0x00, 0x00, 0x08, 0x00, 0x14, 0xf6, 0x70, 0x24, 0x65, 0x6d, 0xd6,
        0x4a, 0x3e, 0x02, 0xb8, 0xe0, 0x71, 0x2e, 0x85, 0xc9, 0xa2, 0x8c, 0xa8, 0x96, 0x66,
    ];

    #[test]
    fn the_long_term_sample_of_rfc_5769_authenticates() {
        let key = |password: &str| {
            let key = Md5::digest(format!("マトリックス:example.org:{password}"));
            hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &key)
        };
        let message = Message::parse(&SAMPLE).expect("a message");
        assert_eq!((message.class, message.method), (Class::Request, 1));
        let texts = [0x0006, 0x0014, 0x0015].map(|attribute| message.text(attribute));
        assert_eq!(texts, [Some("マトリックス"), Some("example.org"), Some("f//499k954d6OL34oL9FSTvy64sA")]);
        assert!(message.authenticates(&key("TheMatrIX")) && !message.authenticates(&key("TheMatrix")));

        // And what we write with the same content is the same.
        let written = Writer::new(Class::Request, 1, message.transaction());
        let written = message
            .attributes()
            .fold(written, |written, (attribute, value)| written.attribute(attribute, value));
        assert_eq!(written.finish(Some(&key("TheMatrIX"))), SAMPLE);
    }

    #[test]
    fn addresses_are_written_as_in_the_samples_of_rfc_5769() {
        let transaction = [0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae];
        let v4 = [0x00, 0x01, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43];
        let v6 = [
            0x00, 0x02, 0xa1, 0x47, 0x01, 0x13, 0xa9, 0xfa, 0xa5, 0xd3, 0xf1, 0x79, 0xbc, 0x25, 0xf4, 0xb5,
            0xbe, 0xd2, 0xb9, 0xd9,
        ];
        for (address, value) in
            [("192.0.2.1:32853", &v4[..]), ("[2001:db8:1234:5678:11:2233:4455:6677]:32853", &v6[..])]
        {
            let address = address.parse().expect("an address");
            let bytes = Writer::new(Class::Success, 1, transaction).address(0x0020, address).finish(None);
            assert_eq!(&bytes[HEADER_LEN + 4..], value);
            let message = Message::parse(&bytes).expect("a message");
            assert_eq!(message.attribute(0x0020).and_then(|value| message.address(value)), Some(address));
        }
    }
}
