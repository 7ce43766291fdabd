//! DTLS by webrtc-rs, as the client, and the SRTP keys that come of it (RFC 5764).

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use bytes::BytesMut;
use rtc_crypto::RTCCryptoProvider;
use rtc_dtls::{
    config::{ConfigBuilder, ExtendedMasterSecretType},
    crypto::Certificate,
    endpoint::{Endpoint, EndpointEvent},
    extension::extension_use_srtp::SrtpProtectionProfile,
};
use rtc_shared::TransportProtocol;
use rtc_srtp::{context::Context, protection_profile::ProtectionProfile};

use crate::connection::Error;

/// The endpoint tells its associations apart by address; there is one.
const THE_SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

/// What a datagram led to.
pub(crate) enum Progress {
    Pending,
    Connected(Box<Keys>),
    Closed,
}

/// Both directions, and how they are protected.
pub(crate) struct Keys {
    pub(crate) profile: SrtpProtectionProfile,
    pub(crate) sealing: Context,
    pub(crate) opening: Context,
}

pub(crate) struct Dtls {
    provider: Arc<dyn RTCCryptoProvider>,
    certificate: Certificate,
    fingerprint: String,
    gcm: bool,
    endpoint: Option<Endpoint>,
}

fn error(error: impl std::fmt::Display) -> Error {
    Error::Dtls(error.to_string())
}

impl Dtls {
    pub(crate) fn new(provider: Arc<dyn RTCCryptoProvider>, gcm: bool) -> Result<Self, Error> {
        let certificate = Certificate::generate_self_signed(vec!["client".to_owned()], provider.crypto());
        let certificate = certificate.map_err(error)?;
        let fingerprint = fingerprint(certificate.certificate.first().map_or(&[][..], |der| der.as_ref()));
        Ok(Self { provider, certificate, fingerprint, gcm, endpoint: None })
    }

    pub(crate) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    pub(crate) fn connect(&mut self, now: Instant) -> Result<(), Error> {
        let mut profiles = vec![SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80];
        if self.gcm {
            profiles.push(SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm);
        }
        let config = ConfigBuilder::default()
            .with_crypto_provider(Arc::clone(&self.provider))
            .with_certificates(vec![self.certificate.clone()])
            .with_srtp_protection_profiles(profiles)
            .with_insecure_skip_verify(true) // the fingerprint is compared below instead
            .with_extended_master_secret(ExtendedMasterSecretType::Require)
            .build(true, Some(THE_SERVER))
            .map_err(error)?;
        let mut endpoint = Endpoint::new(THE_SERVER, TransportProtocol::UDP, None);
        endpoint.connect(now, THE_SERVER, Arc::new(config), None).map_err(error)?;
        self.endpoint = Some(endpoint);
        Ok(())
    }

    /// `remote` is the fingerprint in the answer.
    pub(crate) fn read(&mut self, now: Instant, datagram: &[u8], remote: &str) -> Result<Progress, Error> {
        let Some(endpoint) = &mut self.endpoint else { return Ok(Progress::Pending) };
        // What does not parse may be anybody's.
        let events = endpoint.read(now, THE_SERVER, None, BytesMut::from(datagram)).unwrap_or_default();
        for event in events {
            match event {
                EndpointEvent::HandshakeComplete => {
                    return self.keys(remote).map(|keys| Progress::Connected(Box::new(keys)));
                }
                EndpointEvent::PeerClosed => return Ok(Progress::Closed),
                _ => {}
            }
        }
        Ok(Progress::Pending)
    }

    fn keys(&self, remote: &str) -> Result<Keys, Error> {
        let state = self.endpoint.as_ref().and_then(|endpoint| endpoint.get_connection_state(THE_SERVER));
        let state = state.ok_or_else(|| error("no connection"))?;
        let certificate = state.peer_certificates.first().ok_or_else(|| error("no certificate"))?;
        if fingerprint(certificate) != remote {
            return Err(error("the server's certificate is not the one in its answer"));
        }
        let profile = state.srtp_protection_profile();
        let (protection, salt) = match profile {
            SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm => (ProtectionProfile::AeadAes128Gcm, 12),
            SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80 => {
                (ProtectionProfile::Aes128CmHmacSha1_80, 14)
            }
            other => return Err(error(format!("{other:?} was not offered"))),
        };
        let keys = state.export_keying_material("EXTRACTOR-dtls_srtp", &[], 32 + 2 * salt).map_err(error)?;
        let keys = keys.as_ref();
        let context = |key: &[u8], salt: &[u8]| {
            Context::new(key, salt, protection, None, None, self.provider.crypto()).map_err(error)
        };
        Ok(Keys {
            profile,
            sealing: context(&keys[..16], &keys[32..32 + salt])?,
            opening: context(&keys[16..32], &keys[32 + salt..])?,
        })
    }

    pub(crate) fn poll_transmit(&mut self) -> Option<BytesMut> {
        Some(self.endpoint.as_mut()?.poll_transmit()?.message)
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.endpoint.as_ref()?.poll_timeout(&THE_SERVER)
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Result<(), Error> {
        match &mut self.endpoint {
            Some(endpoint) => endpoint.handle_timeout(THE_SERVER, now).map_err(error),
            None => Ok(()),
        }
    }

    /// Queues a close_notify.
    pub(crate) fn close(&mut self, now: Instant) {
        if let Some(endpoint) = &mut self.endpoint {
            endpoint.stop(now, THE_SERVER);
        }
    }
}

fn fingerprint(der: &[u8]) -> String {
    let hash = ring::digest::digest(&ring::digest::SHA256, der);
    hash.as_ref().iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}
