//! SRTP and SRTCP (RFC 3711, RFC 7714), sealed and opened in place.
//!
//! AEAD_AES_128_GCM is what browsers get; AES_CM_128_HMAC_SHA1_80 is there for clients that know nothing else.

use aes::{
    Aes128,
    cipher::{BlockEncrypt, KeyInit, KeyIvInit, StreamCipher},
};
use hmac::{Hmac, Mac};
use ring::aead;
use sha1::Sha1;

/// The most that sealing adds to an RTP packet, in bytes.
pub const RTP_OVERHEAD_MAX: usize = 16;
/// The most that sealing adds to an RTCP compound, in bytes.
pub const RTCP_OVERHEAD_MAX: usize = 20;

const TAG_LEN_GCM: usize = 16;
const TAG_LEN_CM: usize = 10;
const RTCP_HEADER_LEN: usize = 8;
/// Streams a peer may send in its life; a stranger cannot open more, for a stream counts once it authenticates. Three
/// layers of a picture with their retransmissions, sixty-four times over: each time a camera is turned on or another is
/// chosen, its streams are new ones.
const STREAMS_MAX: usize = 64 * 6;

/// An SRTP protection profile (RFC 5764 §4.1.2, RFC 7714 §14.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// SRTP_AEAD_AES_128_GCM.
    AeadAes128Gcm,
    /// SRTP_AES128_CM_HMAC_SHA1_80.
    Aes128CmHmacSha1_80,
}

impl Profile {
    const fn salt_len(self) -> usize {
        match self {
            Profile::AeadAes128Gcm => 12,
            Profile::Aes128CmHmacSha1_80 => 14,
        }
    }

    /// How many bytes to export from DTLS.
    pub const fn keying_material_len(self) -> usize {
        2 * (16 + self.salt_len())
    }
}

/// A packet that does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Too short for its header and tag.
    #[error("shorter than its header and tag")]
    Short,
    /// The tag does not match.
    #[error("does not authenticate")]
    Authentication,
    /// Seen before, or too old to tell.
    #[error("replayed")]
    Replay,
    /// More streams than a peer may send.
    #[error("too many streams")]
    TooManyStreams,
}

/// Splits the keying material exported by the DTLS *server* into its sealer and opener
/// (RFC 5764 §4.2: client key, server key, client salt, server salt). `None` when the length is wrong.
pub fn server_contexts(profile: Profile, material: &[u8]) -> Option<(Sealer, Opener)> {
    if material.len() != profile.keying_material_len() {
        return None;
    }
    let (keys, salts) = material.split_at(32);
    let (client_salt, server_salt) = salts.split_at(profile.salt_len());
    let client = Cipher::derive(profile, keys[..16].try_into().ok()?, client_salt)?;
    let server = Cipher::derive(profile, keys[16..].try_into().ok()?, server_salt)?;
    Some((
        Sealer { cipher: server, rtcp_index: 0 },
        Opener { cipher: client, rtp: Vec::new(), rtcp: Vec::new() },
    ))
}

#[expect(clippy::large_enum_variant, reason = "two a peer, and GCM is what nearly all have")]
enum Cipher {
    Gcm { rtp: aead::LessSafeKey, rtp_salt: [u8; 12], rtcp: aead::LessSafeKey, rtcp_salt: [u8; 12] },
    Cm { rtp: CmKeys, rtcp: CmKeys },
}

struct CmKeys {
    encryption: [u8; 16],
    authentication: Hmac<Sha1>,
    salt: [u8; 14],
}

impl Cipher {
    fn derive(profile: Profile, master_key: [u8; 16], master_salt: &[u8]) -> Option<Cipher> {
        let gcm = |label| {
            let mut key = [0; 16];
            derive(&master_key, master_salt, label, &mut key);
            Some(aead::LessSafeKey::new(aead::UnboundKey::new(&aead::AES_128_GCM, &key).ok()?))
        };
        Some(match profile {
            Profile::AeadAes128Gcm => {
                let (mut rtp_salt, mut rtcp_salt) = ([0; 12], [0; 12]);
                derive(&master_key, master_salt, 2, &mut rtp_salt);
                derive(&master_key, master_salt, 5, &mut rtcp_salt);
                Cipher::Gcm { rtp: gcm(0)?, rtp_salt, rtcp: gcm(3)?, rtcp_salt }
            }
            Profile::Aes128CmHmacSha1_80 => Cipher::Cm {
                rtp: CmKeys::derive(&master_key, master_salt, 0)?,
                rtcp: CmKeys::derive(&master_key, master_salt, 3)?,
            },
        })
    }

    const fn profile(&self) -> Profile {
        match self {
            Cipher::Gcm { .. } => Profile::AeadAes128Gcm,
            Cipher::Cm { .. } => Profile::Aes128CmHmacSha1_80,
        }
    }
}

impl CmKeys {
    fn derive(master_key: &[u8; 16], master_salt: &[u8], first_label: u8) -> Option<CmKeys> {
        let (mut encryption, mut authentication, mut salt) = ([0; 16], [0; 20], [0; 14]);
        derive(master_key, master_salt, first_label, &mut encryption);
        derive(master_key, master_salt, first_label + 1, &mut authentication);
        derive(master_key, master_salt, first_label + 2, &mut salt);
        Some(CmKeys {
            encryption,
            authentication: <Hmac<Sha1> as Mac>::new_from_slice(&authentication).ok()?,
            salt,
        })
    }

    /// Encrypts or decrypts (RFC 3711 §4.1.1).
    fn apply(&self, ssrc: u32, index: u64, data: &mut [u8]) {
        let mut iv = [0; 16];
        iv[..14].copy_from_slice(&self.salt);
        xor(&mut iv[4..8], &ssrc.to_be_bytes());
        xor(&mut iv[8..14], &index.to_be_bytes()[2..]);
        ctr::Ctr128BE::<Aes128>::new(&self.encryption.into(), &iv.into()).apply_keystream(data);
    }

    /// The tag over `data` and `trailer` (RFC 3711 §4.2).
    fn tag(&self, data: &[u8], trailer: &[u8]) -> [u8; 20] {
        let mut mac = self.authentication.clone();
        mac.update(data);
        mac.update(trailer);
        mac.finalize().into_bytes().into()
    }
}

/// AES-CM key derivation with a derivation rate of zero (RFC 3711 §4.3.1; for GCM RFC 7714 §11).
fn derive(master_key: &[u8; 16], master_salt: &[u8], label: u8, out: &mut [u8]) {
    let mut block = [0; 16];
    block[..master_salt.len()].copy_from_slice(master_salt);
    block[7] ^= label;
    let aes = Aes128::new(master_key.into());
    for (counter, chunk) in out.chunks_mut(16).enumerate() {
        let mut keystream = block;
        keystream[15] = counter as u8;
        let mut keystream = keystream.into();
        aes.encrypt_block(&mut keystream);
        chunk.copy_from_slice(&keystream[..chunk.len()]);
    }
}

fn xor(target: &mut [u8], with: &[u8]) {
    target.iter_mut().zip(with).for_each(|(byte, other)| *byte ^= other);
}

/// RFC 7714 §8.1: two zero bytes, SSRC, 48-bit index.
fn gcm_rtp_nonce(salt: &[u8; 12], ssrc: u32, index: u64) -> aead::Nonce {
    let mut nonce = *salt;
    xor(&mut nonce[2..6], &ssrc.to_be_bytes());
    xor(&mut nonce[6..12], &index.to_be_bytes()[2..]);
    aead::Nonce::assume_unique_for_key(nonce)
}

/// RFC 7714 §9.1: two zero bytes, SSRC, two zero bytes, 31-bit index.
fn gcm_rtcp_nonce(salt: &[u8; 12], ssrc: u32, index: u32) -> aead::Nonce {
    let mut nonce = *salt;
    xor(&mut nonce[2..6], &ssrc.to_be_bytes());
    xor(&mut nonce[8..12], &index.to_be_bytes());
    aead::Nonce::assume_unique_for_key(nonce)
}

fn ssrc_at(packet: &[u8], at: usize) -> Option<u32> {
    packet.get(at..).and_then(<[u8]>::first_chunk).map(|bytes| u32::from_be_bytes(*bytes))
}

/// Seals what we send.
pub struct Sealer {
    cipher: Cipher,
    rtcp_index: u32,
}

impl Sealer {
    /// The profile in use.
    pub const fn profile(&self) -> Profile {
        self.cipher.profile()
    }

    /// Seals the RTP packet in `buf[..len]`, whose header is `header_len` bytes, and returns the sealed length.
    /// `index` is the 48-bit packet index: the sequence number with its roll-overs above it; it must never
    /// repeat for an SSRC. `buf` must have [`RTP_OVERHEAD_MAX`] bytes of room behind `len`.
    pub fn seal_rtp(&self, buf: &mut [u8], header_len: usize, len: usize, ssrc: u32, index: u64) -> usize {
        match &self.cipher {
            Cipher::Gcm { rtp, rtp_salt, .. } => {
                let (header, rest) = buf.split_at_mut(header_len);
                let (payload, room) = rest.split_at_mut(len - header_len);
                let tag = rtp
                    .seal_in_place_separate_tag(
                        gcm_rtp_nonce(rtp_salt, ssrc, index),
                        aead::Aad::from(&*header),
                        payload,
                    )
                    .expect("a datagram is far below the limit of GCM");
                room[..TAG_LEN_GCM].copy_from_slice(tag.as_ref());
                len + TAG_LEN_GCM
            }
            Cipher::Cm { rtp, .. } => {
                rtp.apply(ssrc, index, &mut buf[header_len..len]);
                let tag = rtp.tag(&buf[..len], &((index >> 16) as u32).to_be_bytes());
                buf[len..len + TAG_LEN_CM].copy_from_slice(&tag[..TAG_LEN_CM]);
                len + TAG_LEN_CM
            }
        }
    }

    /// Seals the RTCP compound in `buf[..len]` and returns the sealed length. `buf` must have
    /// [`RTCP_OVERHEAD_MAX`] bytes of room behind `len`. Nothing when `len` is shorter than a header.
    pub fn seal_rtcp(&mut self, buf: &mut [u8], len: usize) -> Option<usize> {
        let ssrc = ssrc_at(buf.get(..len)?, 4)?;
        self.rtcp_index = (self.rtcp_index + 1) & 0x7fff_ffff;
        let trailer = (0x8000_0000 | self.rtcp_index).to_be_bytes();
        Some(match &self.cipher {
            Cipher::Gcm { rtcp, rtcp_salt, .. } => {
                let mut aad = [0; 12];
                aad[..8].copy_from_slice(&buf[..8]);
                aad[8..].copy_from_slice(&trailer);
                let nonce = gcm_rtcp_nonce(rtcp_salt, ssrc, self.rtcp_index);
                let tag = rtcp
                    .seal_in_place_separate_tag(nonce, aead::Aad::from(aad), &mut buf[RTCP_HEADER_LEN..len])
                    .ok()?;
                buf[len..len + TAG_LEN_GCM].copy_from_slice(tag.as_ref());
                buf[len + TAG_LEN_GCM..len + TAG_LEN_GCM + 4].copy_from_slice(&trailer);
                len + TAG_LEN_GCM + 4
            }
            Cipher::Cm { rtcp, .. } => {
                rtcp.apply(ssrc, u64::from(self.rtcp_index), &mut buf[RTCP_HEADER_LEN..len]);
                let tag = rtcp.tag(&buf[..len], &trailer);
                buf[len..len + 4].copy_from_slice(&trailer);
                buf[len + 4..len + 4 + TAG_LEN_CM].copy_from_slice(&tag[..TAG_LEN_CM]);
                len + 4 + TAG_LEN_CM
            }
        })
    }
}

/// Opens what we receive.
pub struct Opener {
    cipher: Cipher,
    rtp: Vec<(u32, ReplayWindow)>,
    rtcp: Vec<(u32, ReplayWindow)>,
}

impl Opener {
    /// Opens an RTP packet in place, and returns the length of the plain packet. The packet must have been
    /// parsed: `header_len`, `ssrc` and `seq` are its own.
    pub fn open_rtp(
        &mut self,
        packet: &mut [u8],
        header_len: usize,
        ssrc: u32,
        seq: u16,
    ) -> Result<usize, OpenError> {
        let known = self.rtp.iter().position(|(known, _)| *known == ssrc);
        let window = known.map(|at| self.rtp[at].1).unwrap_or_default();
        let index = window.guess(seq);
        window.check(index)?;
        let len = match &self.cipher {
            Cipher::Gcm { rtp, rtp_salt, .. } => {
                let len = packet.len().checked_sub(TAG_LEN_GCM).filter(|len| *len >= header_len);
                let len = len.ok_or(OpenError::Short)?;
                let (header, sealed) = packet.split_at_mut(header_len);
                rtp.open_in_place(gcm_rtp_nonce(rtp_salt, ssrc, index), aead::Aad::from(&*header), sealed)
                    .map_err(|_| OpenError::Authentication)?;
                len
            }
            Cipher::Cm { rtp, .. } => {
                let len = packet.len().checked_sub(TAG_LEN_CM).filter(|len| *len >= header_len);
                let len = len.ok_or(OpenError::Short)?;
                let (data, tag) = packet.split_at_mut(len);
                let expected = rtp.tag(data, &((index >> 16) as u32).to_be_bytes());
                constant_time_eq(tag, &expected[..TAG_LEN_CM])?;
                rtp.apply(ssrc, index, &mut data[header_len..]);
                len
            }
        };
        ReplayWindow::accept(&mut self.rtp, known, ssrc, window, index)?;
        Ok(len)
    }

    /// Opens an RTCP compound in place, and returns the length of the plain compound.
    pub fn open_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, OpenError> {
        let ssrc = ssrc_at(packet, 4).ok_or(OpenError::Short)?;
        let known = self.rtcp.iter().position(|(known, _)| *known == ssrc);
        let window = known.map(|at| self.rtcp[at].1).unwrap_or_default();
        let (len, index) = match &self.cipher {
            Cipher::Gcm { rtcp, rtcp_salt, .. } => {
                let sealed_len = packet.len().checked_sub(4).ok_or(OpenError::Short)?;
                let len = sealed_len.checked_sub(TAG_LEN_GCM).filter(|len| *len >= RTCP_HEADER_LEN);
                let len = len.ok_or(OpenError::Short)?;
                let trailer = ssrc_at(packet, sealed_len).ok_or(OpenError::Short)?;
                let index = trailer & 0x7fff_ffff;
                window.check(u64::from(index))?;
                // An unencrypted compound (E = 0) is authenticated alone; nobody sends it over DTLS-SRTP.
                if trailer >> 31 == 0 {
                    return Err(OpenError::Authentication);
                }
                let mut aad = [0; 12];
                aad[..8].copy_from_slice(&packet[..8]);
                aad[8..].copy_from_slice(&trailer.to_be_bytes());
                rtcp.open_in_place(
                    gcm_rtcp_nonce(rtcp_salt, ssrc, index),
                    aead::Aad::from(aad),
                    &mut packet[RTCP_HEADER_LEN..sealed_len],
                )
                .map_err(|_| OpenError::Authentication)?;
                (len, index)
            }
            Cipher::Cm { rtcp, .. } => {
                let len = packet.len().checked_sub(4 + TAG_LEN_CM).filter(|len| *len >= RTCP_HEADER_LEN);
                let len = len.ok_or(OpenError::Short)?;
                let trailer = ssrc_at(packet, len).ok_or(OpenError::Short)?;
                let index = trailer & 0x7fff_ffff;
                window.check(u64::from(index))?;
                let expected = rtcp.tag(&packet[..len], &trailer.to_be_bytes());
                constant_time_eq(&packet[len + 4..], &expected[..TAG_LEN_CM])?;
                if trailer >> 31 == 1 {
                    rtcp.apply(ssrc, u64::from(index), &mut packet[RTCP_HEADER_LEN..len]);
                }
                (len, index)
            }
        };
        ReplayWindow::accept(&mut self.rtcp, known, ssrc, window, u64::from(index))?;
        Ok(len)
    }
}

fn constant_time_eq(tag: &[u8], expected: &[u8]) -> Result<(), OpenError> {
    let difference = tag.iter().zip(expected).fold(0, |difference, (a, b)| difference | (a ^ b));
    if tag.len() == expected.len() && difference == 0 { Ok(()) } else { Err(OpenError::Authentication) }
}

/// The 64 packet indices up to the highest seen (RFC 3711 §3.3.2).
#[derive(Debug, Clone, Copy, Default)]
struct ReplayWindow {
    /// Highest index plus one; 0 before the first packet.
    next: u64,
    /// Bit n: index `next - 1 - n` was seen.
    seen: u64,
}

impl ReplayWindow {
    /// The index nearest to the highest one with this sequence number (RFC 3711 §3.3.1, appendix A).
    fn guess(self, seq: u16) -> u64 {
        if self.next == 0 {
            return u64::from(seq);
        }
        let highest = self.next - 1;
        let delta = seq.wrapping_sub(highest as u16) as i16;
        highest.checked_add_signed(i64::from(delta)).unwrap_or(u64::from(seq))
    }

    fn check(self, index: u64) -> Result<(), OpenError> {
        if index >= self.next {
            return Ok(());
        }
        let age = self.next - 1 - index;
        if age < 64 && self.seen & (1 << age) == 0 { Ok(()) } else { Err(OpenError::Replay) }
    }

    fn accept(
        all: &mut Vec<(u32, ReplayWindow)>,
        known: Option<usize>,
        ssrc: u32,
        mut window: ReplayWindow,
        index: u64,
    ) -> Result<(), OpenError> {
        if index >= window.next {
            let ahead = index + 1 - window.next;
            window.seen = if ahead < 64 { window.seen << ahead } else { 0 } | 1;
            window.next = index + 1;
        } else {
            window.seen |= 1 << (window.next - 1 - index);
        }
        match known {
            Some(at) => all[at].1 = window,
            None if all.len() < STREAMS_MAX => all.push((ssrc, window)),
            None => return Err(OpenError::TooManyStreams),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rtc_srtp::{context::Context, protection_profile::ProtectionProfile};

    use super::*;

    /// The client's side of the same keys by rtc-srtp, which we did not write.
    struct Oracle {
        sealing: Context,
        opening: Context,
    }

    fn pair(profile: Profile) -> (Sealer, Opener, Oracle) {
        let material: Vec<u8> = (0..profile.keying_material_len()).map(|byte| (byte * 7 + 3) as u8).collect();
        let (sealer, opener) = server_contexts(profile, &material).expect("length is right");
        let salt = profile.salt_len();
        let theirs = match profile {
            Profile::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
            Profile::Aes128CmHmacSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
        };
        let provider = rtc_crypto::default_provider().expect("ring");
        let context = |key: &[u8], salt: &[u8]| {
            Context::new(key, salt, theirs, None, None, provider.crypto()).expect("keys are valid")
        };
        let oracle = Oracle {
            sealing: context(&material[..16], &material[32..32 + salt]),
            opening: context(&material[16..32], &material[32 + salt..]),
        };
        (sealer, opener, oracle)
    }

    fn packet(seq: u16, len: usize) -> Vec<u8> {
        let mut packet = vec![0; 12];
        hewei_media::rtp::write_header(packet.first_chunk_mut().expect("12"), true, 96, seq, 5, 0xcafe);
        packet.extend((0..len).map(|byte| byte as u8));
        packet
    }

    #[test]
    fn rtp_and_rtcp_agree_with_rtc_srtp_over_a_roll_over() {
        for profile in [Profile::AeadAes128Gcm, Profile::Aes128CmHmacSha1_80] {
            let (mut sealer, mut opener, mut oracle) = pair(profile);
            for step in 0..200u64 {
                let index = 65_500 + step;
                let plain = packet(index as u16, 100 + step as usize);
                let mut buf = plain.clone();
                buf.resize(plain.len() + RTP_OVERHEAD_MAX, 0);
                let len = sealer.seal_rtp(&mut buf, 12, plain.len(), 0xcafe, index);
                assert_eq!(&oracle.opening.decrypt_rtp(&buf[..len]).expect("opens")[..], &plain[..]);

                let mut sealed = oracle.sealing.encrypt_rtp(&plain).expect("seals").to_vec();
                let again = sealed.clone();
                let len = opener.open_rtp(&mut sealed, 12, 0xcafe, index as u16).expect("opens");
                assert_eq!(&sealed[..len], &plain[..]);
                let mut again = again;
                assert_eq!(opener.open_rtp(&mut again, 12, 0xcafe, index as u16), Err(OpenError::Replay));

                let mut rtcp = [0u8; 128];
                let mut writer = hewei_media::rtcp::Writer::new(&mut rtcp);
                assert!(writer.receiver_report(1, &[], "hewei"));
                let plain_len = writer.len();
                let plain = rtcp[..plain_len].to_vec();
                let len = sealer.seal_rtcp(&mut rtcp, plain_len).expect("fits");
                assert_eq!(&oracle.opening.decrypt_rtcp(&rtcp[..len]).expect("opens")[..], &plain[..]);
                let mut sealed = oracle.sealing.encrypt_rtcp(&plain).expect("seals").to_vec();
                let len = opener.open_rtcp(&mut sealed).expect("opens");
                assert_eq!(&sealed[..len], &plain[..]);
            }
        }
    }

    #[test]
    fn a_changed_byte_does_not_open_and_changes_nothing() {
        for profile in [Profile::AeadAes128Gcm, Profile::Aes128CmHmacSha1_80] {
            let (_, mut opener, mut oracle) = pair(profile);
            let plain = packet(1, 50);
            let sealed = oracle.sealing.encrypt_rtp(&plain).expect("seals").to_vec();
            for at in 12..sealed.len() {
                let mut broken = sealed.clone();
                broken[at] ^= 0x40;
                assert_eq!(opener.open_rtp(&mut broken, 12, 0xcafe, 1), Err(OpenError::Authentication));
            }
            let mut whole = sealed.clone();
            assert_eq!(opener.open_rtp(&mut whole, 12, 0xcafe, 1), Ok(plain.len()));
        }
    }

    proptest! {
        #[test]
        fn nonsense_is_refused(mut bytes in proptest::collection::vec(any::<u8>(), 12..80)) {
            for profile in [Profile::AeadAes128Gcm, Profile::Aes128CmHmacSha1_80] {
                let (_, mut opener, _) = pair(profile);
                prop_assert!(opener.open_rtp(&mut bytes, 12, 1, 2).is_err());
                prop_assert!(opener.open_rtcp(&mut bytes).is_err());
            }
        }
    }
}
