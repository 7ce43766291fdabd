//! DTLS by webrtc-rs: always the server, always with the certificate that the offer announced.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use bytes::BytesMut;
use ring::digest;
use rtc_dtls::{
    config::{ClientAuthType, ConfigBuilder, ExtendedMasterSecretType, HandshakeConfig},
    crypto::Certificate,
    endpoint::{Endpoint, EndpointEvent},
    extension::extension_use_srtp::SrtpProtectionProfile,
};
use rtc_shared::TransportProtocol;

use crate::{
    client_hello::HelloReader,
    srtp::{self, Profile},
};

/// The endpoint tells its associations apart by address; a peer has one, whatever path it takes just now.
const THE_PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 1);
const MTU: usize = 1_200;
/// Datagrams kept while the ClientHello is not whole.
const EARLY_MAX: usize = 8;

/// The server's certificate and the configurations made from it. Shared by all peers of an engine.
#[derive(Clone)]
pub struct Identity {
    gcm: Arc<HandshakeConfig>,
    cm: Arc<HandshakeConfig>,
    fingerprint: String,
}

/// The identity could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot make a DTLS certificate: {0}")]
pub struct IdentityError(String);

impl Identity {
    /// A new self-signed certificate, as WebRTC endpoints use (RFC 8827 §6.5).
    pub fn generate() -> Result<Self, IdentityError> {
        let to_error = |error: &dyn std::fmt::Display| IdentityError(error.to_string());
        let provider = rtc_crypto::default_provider().map_err(|error| to_error(&error))?;
        let certificate = Certificate::generate_self_signed(vec!["hewei".to_owned()], provider.crypto())
            .map_err(|error| to_error(&error))?;
        let fingerprint = fingerprint(certificate.certificate.first().map_or(&[][..], |der| der.as_ref()));
        let config = |profile| {
            ConfigBuilder::default()
                .with_crypto_provider(Arc::clone(&provider))
                .with_certificates(vec![certificate.clone()])
                .with_srtp_protection_profiles(vec![profile])
                .with_client_auth(ClientAuthType::RequireAnyClientCert)
                .with_insecure_skip_verify(true) // the fingerprint is compared below instead
                .with_extended_master_secret(ExtendedMasterSecretType::Require)
                .with_mtu(MTU)
                .build(false, None)
                .map(Arc::new)
                .map_err(|error| to_error(&error))
        };
        Ok(Identity {
            gcm: config(SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm)?,
            cm: config(SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80)?,
            fingerprint,
        })
    }

    /// SHA-256 fingerprint for `a=fingerprint` (RFC 8122).
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}

fn fingerprint(der: &[u8]) -> String {
    let hash = digest::digest(&digest::SHA256, der);
    hash.as_ref().iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}

/// What a datagram led to.
pub(crate) enum Progress {
    /// Nothing to tell.
    Pending,
    /// The handshake is through and the certificate is the right one.
    Connected(Box<(srtp::Sealer, srtp::Opener)>),
    /// The peer said goodbye.
    Closed,
    /// The handshake, or the peer's certificate, failed.
    Failed,
}

pub(crate) struct Dtls {
    identity: Identity,
    remote_fingerprint: String,
    hello: HelloReader,
    early: Vec<BytesMut>,
    endpoint: Option<Endpoint>,
    profile: Profile,
}

impl Dtls {
    /// `remote_fingerprint` is the value of `a=fingerprint:sha-256` in the offer.
    pub(crate) fn new(identity: Identity, remote_fingerprint: &str) -> Self {
        Self {
            identity,
            remote_fingerprint: remote_fingerprint.to_ascii_uppercase(),
            hello: HelloReader::default(),
            early: Vec::new(),
            endpoint: None,
            profile: Profile::AeadAes128Gcm,
        }
    }

    pub(crate) fn read(&mut self, now: Instant, datagram: &[u8]) -> Progress {
        if self.endpoint.is_some() {
            return self.feed(now, datagram.into());
        }
        if self.early.len() == EARLY_MAX {
            self.early.clear();
            self.hello = HelloReader::default();
        }
        self.early.push(datagram.into());
        let Some(offered) = self.hello.read(datagram) else { return Progress::Pending };
        let gcm = SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm as u16;
        let (profile, config) = if offered.contains(&gcm) {
            (Profile::AeadAes128Gcm, &self.identity.gcm)
        } else {
            (Profile::Aes128CmHmacSha1_80, &self.identity.cm)
        };
        self.profile = profile;
        self.endpoint = Some(Endpoint::new(THE_PEER, TransportProtocol::UDP, Some(Arc::clone(config))));
        for datagram in std::mem::take(&mut self.early) {
            match self.feed(now, datagram) {
                Progress::Pending => {}
                progress => return progress,
            }
        }
        Progress::Pending
    }

    fn feed(&mut self, now: Instant, datagram: BytesMut) -> Progress {
        let Some(endpoint) = &mut self.endpoint else { return Progress::Pending };
        // A datagram that does not parse is not the end: it may be anybody's. Retransmission goes on.
        let Ok(events) = endpoint.read(now, THE_PEER, None, datagram) else { return Progress::Pending };
        for event in events {
            match event {
                EndpointEvent::HandshakeComplete => return self.connected(),
                EndpointEvent::PeerClosed => return Progress::Closed,
                _ => {}
            }
        }
        Progress::Pending
    }

    fn connected(&self) -> Progress {
        let contexts = || {
            let state = self.endpoint.as_ref()?.get_connection_state(THE_PEER)?;
            if fingerprint(state.peer_certificates.first()?) != self.remote_fingerprint {
                return None;
            }
            let material = state
                .export_keying_material("EXTRACTOR-dtls_srtp", &[], self.profile.keying_material_len())
                .ok()?;
            srtp::server_contexts(self.profile, material.as_ref())
        };
        contexts().map_or(Progress::Failed, |contexts| Progress::Connected(Box::new(contexts)))
    }

    pub(crate) fn poll_transmit(&mut self) -> Option<BytesMut> {
        self.endpoint.as_mut()?.poll_transmit().map(|transmit| transmit.message)
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.endpoint.as_ref()?.poll_timeout(&THE_PEER)
    }

    /// `false` when the handshake has run out of tries.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> bool {
        self.endpoint.as_mut().is_none_or(|endpoint| endpoint.handle_timeout(THE_PEER, now).is_ok())
    }

    /// Queues a close_notify.
    pub(crate) fn close(&mut self, now: Instant) {
        if let Some(endpoint) = &mut self.endpoint {
            endpoint.stop(now, THE_PEER);
        }
    }
}
