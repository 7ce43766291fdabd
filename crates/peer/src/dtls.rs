//! DTLS by webrtc-rs: always the server, always with the certificate that the offer announced.

use std::{
    collections::VecDeque,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
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
/// Handshake bytes taken in over a peer's life. A real handshake has about 6 KB, repeated a few times; rtc-dtls
/// keeps fragments without a limit of its own.
const HANDSHAKE_BYTES_MAX: usize = 64 * 1024;
/// Our flight is repeated after this time, doubled each time. rtc-dtls repeats after a second, and not at all once
/// the browser has repeated its own, which it does after 50 ms.
const RESEND_AFTER: Duration = Duration::from_millis(100);
const RESENDS_MAX: u32 = 8;
const ALERT: u8 = 21;
const HELLO_VERIFY_REQUEST: u8 = 3;

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
    connected: bool,
    handshake_bytes: usize,
    outgoing: VecDeque<BytesMut>,
    /// What the peer has not answered yet.
    flight: Vec<BytesMut>,
    resend_at: Option<Instant>,
    resends: u32,
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
            connected: false,
            handshake_bytes: 0,
            outgoing: VecDeque::new(),
            flight: Vec::new(),
            resend_at: None,
            resends: 0,
        }
    }

    pub(crate) fn read(&mut self, now: Instant, datagram: &[u8]) -> Progress {
        if !self.connected || datagram.first() != Some(&ALERT) {
            self.handshake_bytes += datagram.len();
            if self.handshake_bytes > HANDSHAKE_BYTES_MAX {
                return if self.connected { Progress::Pending } else { Progress::Failed };
            }
        }
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
        let events = endpoint.read(now, THE_PEER, None, datagram);
        self.collect(now);
        // A datagram that does not parse is not the end: it may be anybody's. Retransmission goes on.
        for event in events.unwrap_or_default() {
            match event {
                EndpointEvent::HandshakeComplete => return self.complete(),
                EndpointEvent::PeerClosed => return Progress::Closed,
                _ => {}
            }
        }
        Progress::Pending
    }

    /// Takes over what the endpoint has to send; it is a new flight until the handshake is through.
    fn collect(&mut self, now: Instant) {
        let Some(endpoint) = &mut self.endpoint else { return };
        let mut flight = Vec::new();
        while let Some(transmit) = endpoint.poll_transmit() {
            flight.push(transmit.message);
        }
        self.outgoing.extend(flight.iter().cloned());
        // A HelloVerifyRequest is not repeated: it answers each ClientHello (RFC 6347 §4.2.1).
        let repeats = flight.first().is_some_and(|first| first.get(13) != Some(&HELLO_VERIFY_REQUEST));
        if repeats && !self.connected {
            self.flight = flight;
            self.resends = 0;
            self.resend_at = Some(now + RESEND_AFTER);
        }
    }

    fn complete(&mut self) -> Progress {
        self.connected = true;
        self.flight.clear();
        self.resend_at = None;
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
        self.outgoing.pop_front()
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let endpoint = self.endpoint.as_ref().and_then(|endpoint| endpoint.poll_timeout(&THE_PEER));
        self.resend_at.into_iter().chain(endpoint).min()
    }

    /// `false` when the handshake has run out of tries.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> bool {
        if self.resend_at.is_some_and(|due| due <= now) {
            self.outgoing.extend(self.flight.iter().cloned());
            self.resends += 1;
            self.resend_at =
                (self.resends < RESENDS_MAX).then(|| now + RESEND_AFTER * (1 << self.resends.min(4)));
        }
        let goes_on =
            self.endpoint.as_mut().is_none_or(|endpoint| endpoint.handle_timeout(THE_PEER, now).is_ok());
        self.collect(now);
        goes_on
    }

    /// Queues a close_notify.
    pub(crate) fn close(&mut self, now: Instant) {
        if let Some(endpoint) = &mut self.endpoint {
            endpoint.stop(now, THE_PEER);
        }
        self.connected = true; // nothing to repeat
        self.collect(now);
    }
}
