//! Short-lived credentials: whoever has a seat is handed some, and no list of them is kept.
//!
//! The name says until when it is good and for whom, the password proves that this server gave it out
//! (draft-uberti-behave-turn-rest). They end by themselves.

use std::{fmt, net::SocketAddr};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use md5::{Digest, Md5};
use ring::hmac;

/// A nonce is good for the span of its making and for the next one, in seconds.
const NONCE_SPAN_S: u64 = 1_800;
/// The longest name looked at, in bytes; ours have some fifty.
const USERNAME_LEN_MAX: usize = 128;

/// A name and password for TURN.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// `EXPIRY:SEAT`, the expiry in seconds since 1970.
    pub username: String,
    /// Its password.
    pub password: String,
}

impl fmt::Debug for Credentials {
    /// Never the password.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// What credentials and nonces are made with.
pub struct Secret {
    passwords: hmac::Key,
    nonces: hmac::Key,
}

impl Secret {
    /// From a key of the server that is used for other things too: what is derived here tells nothing of it.
    pub fn derive(key: &[u8]) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        let derived = |purpose: &[u8]| hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, purpose).as_ref());
        Self { passwords: derived(b"hewei turn passwords 1"), nonces: derived(b"hewei turn nonces 1") }
    }

    /// Credentials that are good until `expires_at`, in seconds since 1970.
    pub fn issue(&self, expires_at: u64, seat: &str) -> Credentials {
        let username = format!("{expires_at}:{seat}");
        Credentials { password: self.password(&username), username }
    }

    fn password(&self, username: &str) -> String {
        BASE64.encode(hmac::sign(&self.passwords, username.as_bytes()))
    }

    /// The key of a name (RFC 8489 §9.2.2), if it is one that can be good at `now`, in seconds since 1970.
    pub(crate) fn key(&self, username: &str, realm: &str, now: u64) -> Option<hmac::Key> {
        let (expires_at, _) = username.split_once(':').filter(|_| username.len() <= USERNAME_LEN_MAX)?;
        if expires_at.parse::<u64>().ok()? <= now {
            return None;
        }
        let password = self.password(username);
        let key = Md5::digest(format!("{username}:{realm}:{password}"));
        Some(hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &key))
    }

    pub(crate) fn nonce(&self, client: SocketAddr, now: u64) -> String {
        self.nonce_of(client, now / NONCE_SPAN_S)
    }

    fn nonce_of(&self, client: SocketAddr, span: u64) -> String {
        let mac = hmac::sign(&self.nonces, format!("{span} {client}").as_bytes());
        BASE64.encode(&mac.as_ref()[..18])
    }

    pub(crate) fn knows_nonce(&self, nonce: &str, client: SocketAddr, now: u64) -> bool {
        let span = now / NONCE_SPAN_S;
        [span, span.saturating_sub(1)].iter().any(|span| self.nonce_of(client, *span) == nonce)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_end_and_are_those_of_this_server() {
        let (ours, theirs) = (Secret::derive(&[1; 32]), Secret::derive(&[2; 32]));
        let given = ours.issue(1_000, "seat");
        assert_eq!(given.username, "1000:seat");
        assert!(ours.key(&given.username, "r", 999).is_some());
        assert!(ours.key(&given.username, "r", 1_000).is_none(), "it is over");
        assert_ne!(theirs.issue(1_000, "seat").password, given.password);
        assert_ne!(ours.issue(1_001, "seat").password, given.password);
        assert!(!format!("{given:?}").contains(&given.password));
        for nonsense in ["", ":", "seat", "x:seat", "-1:seat", &format!("9999999999:{}", "x".repeat(200))] {
            assert!(ours.key(nonsense, "r", 0).is_none(), "{nonsense}");
        }
    }

    #[test]
    fn a_nonce_is_of_one_client_and_goes_stale() {
        let secret = Secret::derive(&[1; 32]);
        let (client, other) = (([192, 0, 2, 1], 5).into(), ([192, 0, 2, 1], 6).into());
        let nonce = secret.nonce(client, 10_000);
        assert!(secret.knows_nonce(&nonce, client, 10_000 + NONCE_SPAN_S));
        assert!(!secret.knows_nonce(&nonce, client, 10_000 + 2 * NONCE_SPAN_S));
        assert!(!secret.knows_nonce(&nonce, other, 10_000));
    }
}
