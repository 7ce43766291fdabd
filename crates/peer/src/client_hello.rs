//! Which SRTP profiles a DTLS ClientHello offers, read before the handshake begins.
//!
//! Chromium lists AES_CM before GCM, and rtc-dtls takes the *client's* first match. To answer with GCM the
//! server must know the offer before it chooses its configuration. The hello comes in fragments, since a
//! post-quantum key share does not fit one datagram.

/// The longest ClientHello taken in, in bytes.
const HELLO_LEN_MAX: usize = 8_192;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const RECORD_HEADER_LEN: usize = 13;
const FRAGMENT_HEADER_LEN: usize = 12;
const USE_SRTP: u16 = 14;

/// Puts the fragments of one ClientHello together.
#[derive(Debug, Default)]
pub struct HelloReader {
    body: Vec<u8>,
    /// Ranges of `body` that have come, in order, not touching.
    have: Vec<(usize, usize)>,
}

impl HelloReader {
    /// Takes a datagram in. `Some` once the hello is whole: the protection profiles it offers, in its order.
    ///
    /// ```text
    /// record:    type(1) version(2) epoch(2) sequence(6) length(2)
    /// handshake: type(1) length(3) message_seq(2) fragment_offset(3) fragment_length(3) fragment…
    /// ```
    pub fn read(&mut self, mut datagram: &[u8]) -> Option<Vec<u16>> {
        while let Some(record) = datagram.first_chunk::<RECORD_HEADER_LEN>() {
            let record_len = usize::from(u16::from_be_bytes([record[11], record[12]]));
            let mut fragments = datagram.get(RECORD_HEADER_LEN..RECORD_HEADER_LEN + record_len)?;
            let plain = record[0] == HANDSHAKE && record[3..5] == [0, 0];
            while let Some(head) = fragments.first_chunk::<FRAGMENT_HEADER_LEN>().filter(|_| plain) {
                let (len, offset, fragment_len) = (u24(&head[1..4]), u24(&head[6..9]), u24(&head[9..12]));
                let fragment = fragments.get(FRAGMENT_HEADER_LEN..FRAGMENT_HEADER_LEN + fragment_len)?;
                if head[0] == CLIENT_HELLO {
                    self.insert(len, offset, fragment)?;
                }
                fragments = &fragments[FRAGMENT_HEADER_LEN + fragment_len..];
            }
            datagram = &datagram[RECORD_HEADER_LEN + record_len..];
        }
        let whole = !self.body.is_empty() && self.have == [(0, self.body.len())];
        whole.then(|| profiles(&self.body).unwrap_or_default())
    }

    fn insert(&mut self, len: usize, offset: usize, fragment: &[u8]) -> Option<()> {
        if len > HELLO_LEN_MAX || offset + fragment.len() > len {
            return None;
        }
        if self.body.len() != len {
            self.body = vec![0; len];
            self.have.clear();
        }
        self.body[offset..offset + fragment.len()].copy_from_slice(fragment);
        self.have.push((offset, offset + fragment.len()));
        self.have.sort_unstable();
        let mut merged: Vec<(usize, usize)> = Vec::with_capacity(self.have.len());
        for (from, to) in self.have.drain(..) {
            match merged.last_mut() {
                Some(last) if from <= last.1 => last.1 = last.1.max(to),
                _ => merged.push((from, to)),
            }
        }
        self.have = merged;
        Some(())
    }
}

/// The `use_srtp` extension (RFC 5764 §4.1.1) of a ClientHello's body. `None` when it has none or is malformed.
fn profiles(body: &[u8]) -> Option<Vec<u16>> {
    let mut rest = Reader(body);
    rest.take(2 + 32)?; // version, random
    let len = rest.u8()?;
    rest.take(len)?; // session id
    let len = rest.u8()?;
    rest.take(len)?; // cookie
    let len = rest.u16()?;
    rest.take(len)?; // cipher suites
    let len = rest.u8()?;
    rest.take(len)?; // compression methods
    let len = rest.u16()?;
    let mut extensions = Reader(rest.take(len)?);
    while let Some(extension) = extensions.u16() {
        let len = extensions.u16()?;
        let mut data = Reader(extensions.take(len)?);
        if extension == usize::from(USE_SRTP) {
            let len = data.u16()?;
            let list = data.take(len)?;
            return Some(list.as_chunks::<2>().0.iter().map(|pair| u16::from_be_bytes(*pair)).collect());
        }
    }
    None
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<usize> {
        self.take(1).map(|bytes| usize::from(bytes[0]))
    }

    fn u16(&mut self) -> Option<usize> {
        self.take(2).map(|bytes| usize::from(u16::from_be_bytes([bytes[0], bytes[1]])))
    }
}

fn u24(bytes: &[u8]) -> usize {
    usize::from(bytes[0]) << 16 | usize::from(bytes[1]) << 8 | usize::from(bytes[2])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hello_body(profiles: &[u16]) -> Vec<u8> {
        let mut body = vec![0xfe, 0xfd];
        body.extend([1; 32]);
        body.extend([0, 0]); // session id, cookie
        body.extend([0, 2, 0xc0, 0x2b, 1, 0]); // one suite, no compression
        let mut extensions = vec![0, 10, 0, 4, 0, 2, 0, 29]; // some other extension first
        extensions.extend([0, 14, 0, (3 + 2 * profiles.len()) as u8, 0, (2 * profiles.len()) as u8]);
        extensions.extend(profiles.iter().flat_map(|profile| profile.to_be_bytes()));
        extensions.push(0); // MKI
        body.extend((extensions.len() as u16).to_be_bytes());
        body.extend(extensions);
        body
    }

    fn datagram(body: &[u8], from: usize, to: usize) -> Vec<u8> {
        let mut out = vec![22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0];
        out.extend(((12 + to - from) as u16).to_be_bytes());
        out.push(1);
        out.extend(&(body.len() as u32).to_be_bytes()[1..]);
        out.extend([0, 0]);
        out.extend(&(from as u32).to_be_bytes()[1..]);
        out.extend(&((to - from) as u32).to_be_bytes()[1..]);
        out.extend(&body[from..to]);
        out
    }

    #[test]
    fn reads_a_whole_hello() {
        let body = hello_body(&[1, 7]);
        assert_eq!(HelloReader::default().read(&datagram(&body, 0, body.len())), Some(vec![1, 7]));
    }

    #[test]
    fn reads_fragments_in_any_order_and_twice() {
        let body = hello_body(&[1, 8, 7]);
        let mut reader = HelloReader::default();
        assert_eq!(reader.read(&datagram(&body, 30, body.len())), None);
        assert_eq!(reader.read(&datagram(&body, 30, body.len())), None);
        assert_eq!(reader.read(&datagram(&body, 0, 40)), Some(vec![1, 8, 7]));
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..120), cut in 0usize..90) {
            HelloReader::default().read(&bytes);
            let body = hello_body(&[7]);
            let mut broken = datagram(&body, 0, body.len());
            broken.truncate(cut);
            broken.extend(&bytes);
            HelloReader::default().read(&broken);
            let _ = profiles(&bytes);
        }
    }
}
