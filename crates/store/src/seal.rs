//! Camera credentials at rest: AES-256-GCM under a key that does not lie in the database.
//!
//! ```text
//! +---------------+------------------------------------------+-----------+
//! | nonce (12 B)  | u16 length of user name, it, the password | tag (16 B)|
//! +---------------+------------------------------------------+-----------+
//! ```
//! The camera's id is the additional data, so that a sealed value cannot be moved to another row.

use hewei_model::CameraId;
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand::{SecureRandom, SystemRandom},
};

use crate::{Credentials, Error, Result};

/// The key that seals credentials.
pub struct SealingKey {
    key: LessSafeKey,
    random: SystemRandom,
}

impl SealingKey {
    /// The key made of these 32 bytes of good randomness.
    pub fn new(bytes: &[u8; 32]) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, bytes).expect("AES-256 takes 32 bytes");
        Self { key: LessSafeKey::new(key), random: SystemRandom::new() }
    }

    pub(crate) fn seal(&self, camera: CameraId, credentials: &Credentials) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).expect("the system gives randomness");
        let user = credentials.username.as_bytes();
        let user = &user[..user.len().min(usize::from(u16::MAX))];
        let mut text = (user.len() as u16).to_be_bytes().to_vec();
        text.extend_from_slice(user);
        text.extend_from_slice(credentials.password.as_bytes());
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad(camera), &mut text)
            .expect("credentials are far below the limit of AES-GCM");
        let mut sealed = nonce.to_vec();
        sealed.append(&mut text);
        sealed
    }

    pub(crate) fn open(&self, camera: CameraId, sealed: &[u8]) -> Result<Credentials> {
        let unsealable = || Error::Unsealable(camera);
        let (nonce, text) = sealed.split_at_checked(NONCE_LEN).ok_or_else(unsealable)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| unsealable())?;
        let mut text = text.to_vec();
        let plain = self.key.open_in_place(nonce, aad(camera), &mut text).map_err(|_| unsealable())?;
        let (length, rest) = plain.split_first_chunk::<2>().ok_or_else(unsealable)?;
        let (user, password) =
            rest.split_at_checked(usize::from(u16::from_be_bytes(*length))).ok_or_else(unsealable)?;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| unsealable());
        Ok(Credentials { username: text(user)?, password: text(password)? })
    }
}

fn aad(camera: CameraId) -> Aad<[u8; 16]> {
    Aad::from(camera.as_u128().to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_for_the_same_camera_and_key_only() {
        let key = SealingKey::new(&[7; 32]);
        let camera = CameraId::generate();
        let credentials = Credentials { username: "管理员".into(), password: "p:@/秘".into() };
        let sealed = key.seal(camera, &credentials);
        assert_eq!(key.open(camera, &sealed).expect("opens"), credentials);
        assert_ne!(sealed, key.seal(camera, &credentials), "a nonce is used once");
        assert!(key.open(CameraId::generate(), &sealed).is_err());
        assert!(SealingKey::new(&[8; 32]).open(camera, &sealed).is_err());
        for cut in 0..sealed.len() {
            assert!(key.open(camera, &sealed[..cut]).is_err());
        }
    }
}
