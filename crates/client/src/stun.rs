//! Connectivity checks of a controlling agent against an ICE-lite one (RFC 8445 §2.5), by webrtc-rs' STUN.

use ring::rand::{SecureRandom, SystemRandom};
use rtc_crypto::RTCCryptoProvider;
use rtc_stun::{
    attributes::{ATTR_ICE_CONTROLLING, ATTR_PRIORITY, ATTR_USE_CANDIDATE, ATTR_USERNAME},
    fingerprint::FINGERPRINT,
    integrity::MessageIntegrity,
    message::{BINDING_REQUEST, BINDING_SUCCESS, Message, Setter, TransactionId},
    textattrs::TextAttribute,
};

/// A host candidate (RFC 8445 §5.1.2), seen from us as peer-reflexive.
const PRIORITY: u32 = (110 << 24) | (65_535 << 8) | 255;

/// Names of the two sides.
pub(crate) struct Credentials {
    pub(crate) local_ufrag: String,
    pub(crate) remote_ufrag: String,
    pub(crate) remote_pwd: String,
}

/// Bytes that nobody can guess.
///
/// # Panics
/// When the system has no randomness, without which there is no security either.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).expect("the system gives randomness");
    bytes
}

/// A binding request, with which the path it takes is nominated or only tried; and its transaction, by which the answer
/// is known.
pub(crate) fn request(
    credentials: &Credentials,
    provider: &dyn RTCCryptoProvider,
    nominate: bool,
) -> rtc_shared::error::Result<(TransactionId, Vec<u8>)> {
    let mut request = Message::new();
    let transaction = TransactionId(random());
    let username = format!("{}:{}", credentials.remote_ufrag, credentials.local_ufrag);
    let setters: Vec<Box<dyn Setter>> = vec![
        Box::new(BINDING_REQUEST),
        Box::new(transaction),
        Box::new(TextAttribute::new(ATTR_USERNAME, username)),
    ];
    request.build(&setters)?;
    request.add(ATTR_PRIORITY, &PRIORITY.to_be_bytes());
    request.add(ATTR_ICE_CONTROLLING, &random::<8>());
    if nominate {
        request.add(ATTR_USE_CANDIDATE, &[]);
    }
    MessageIntegrity::new_short_term_integrity_with_provider(
        credentials.remote_pwd.clone(),
        provider.crypto(),
    )
    .add_to(&mut request)?;
    FINGERPRINT.add_to(&mut request)?;
    Ok((transaction, request.raw))
}

/// The transaction that a datagram answers with success and the right integrity.
pub(crate) fn answered(
    credentials: &Credentials,
    provider: &dyn RTCCryptoProvider,
    datagram: &[u8],
) -> Option<TransactionId> {
    let mut answer = Message::new();
    answer.write(datagram).ok()?;
    if answer.typ != BINDING_SUCCESS {
        return None;
    }
    MessageIntegrity::check(&mut answer, credentials.remote_pwd.as_bytes(), provider.crypto()).ok()?;
    Some(answer.transaction_id)
}
