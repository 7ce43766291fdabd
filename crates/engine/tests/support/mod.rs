//! A WebRTC client of foreign parts: DTLS, SRTP and STUN by webrtc-rs, over a real socket. It shares no code with
//! what it tests.
#![allow(dead_code, reason = "each test uses its part")]

use std::{
    net::{SocketAddr, UdpSocket},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use hewei_engine::{Engine, Offer, SlotFill};
use hewei_model::{ParticipantId, PeerId, RoomId};
use rtc_crypto::RTCCryptoProvider;
use rtc_dtls::{
    config::{ConfigBuilder, ExtendedMasterSecretType},
    crypto::Certificate,
    endpoint::{Endpoint, EndpointEvent},
    extension::extension_use_srtp::SrtpProtectionProfile,
};
use rtc_shared::TransportProtocol;
use rtc_srtp::{context::Context, protection_profile::ProtectionProfile};
use rtc_stun::{
    attributes::{ATTR_USE_CANDIDATE, ATTR_USERNAME},
    fingerprint::FINGERPRINT,
    integrity::MessageIntegrity,
    message::{BINDING_REQUEST, Message, Setter, TransactionId},
    textattrs::TextAttribute,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// The payload type and SSRC that a client publishes video with.
pub const VIDEO_PT: u8 = 96;
pub const VIDEO_SSRC: u32 = 0x1111_0001;

/// What a client offers.
#[derive(Clone, Copy)]
pub struct Shape {
    /// Publishes VP8.
    pub publish: bool,
    /// Slots for video.
    pub slots: usize,
    /// Offers GCM besides AES_CM.
    pub gcm: bool,
    /// The DTLS datagram of the server that is lost, counted from 0.
    pub lost: Option<usize>,
}

pub struct Client {
    pub socket: UdpSocket,
    pub participant: ParticipantId,
    pub peer: PeerId,
    pub server: SocketAddr,
    /// SSRC of each slot, as answered.
    pub slot_ssrcs: Vec<u32>,
    pub profile: SrtpProtectionProfile,
    pub sealing: Context,
    pub opening: Context,
    server_ufrag: String,
    server_pwd: String,
}

fn provider() -> Arc<dyn RTCCryptoProvider> {
    rtc_crypto::default_provider().expect("ring")
}

fn offer_sdp(shape: Shape, fingerprint: &str) -> String {
    let mut sdp = String::from("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n");
    let mut mid = 0;
    let mut section = |direction: &str, extra: &str| {
        sdp += &format!(
            "m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\nc=IN IP4 0.0.0.0\r\na=mid:{mid}\r\na=ice-ufrag:clnt\r\n\
             a=ice-pwd:clientclientclientclient\r\na=fingerprint:sha-256 {fingerprint}\r\na=setup:actpass\r\n\
             a={direction}\r\na=rtcp-mux\r\na=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\n\
             a=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n{extra}"
        );
        mid += 1;
    };
    if shape.publish {
        section("sendonly", &format!("a=ssrc:{VIDEO_SSRC} cname:client\r\n"));
    }
    for _ in 0..shape.slots {
        section("recvonly", "");
    }
    sdp
}

fn value<'a>(sdp: &'a str, key: &str) -> &'a str {
    sdp.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_else(|| panic!("no {key} in {sdp}"))
}

impl Client {
    /// Offers, and goes through ICE and DTLS until media may flow.
    pub async fn join(engine: &Engine, room: RoomId, shape: Shape) -> Client {
        let certificate = Certificate::generate_self_signed(vec!["client".to_owned()], provider().crypto())
            .expect("certificate");
        let hash = ring::digest::digest(&ring::digest::SHA256, &certificate.certificate[0]);
        let fingerprint =
            hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":");
        let (participant, peer) = (ParticipantId::generate(), PeerId::generate());
        let sdp = offer_sdp(shape, &fingerprint);
        let offer = Offer { room, participant, peer, publish: true, fill: SlotFill::Follow, sdp };
        let answer = engine.offer(offer).await.expect("answered");

        let socket = UdpSocket::bind("127.0.0.1:0").expect("binds");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("sets");
        let server = SocketAddr::from(([127, 0, 0, 1], engine.port()));
        let slot_ssrcs = answer
            .lines()
            .filter_map(|line| line.strip_prefix("a=ssrc-group:FID "))
            .map(|group| group.split(' ').next().expect("two").parse().expect("a number"))
            .collect();
        let (server_ufrag, server_pwd) =
            (value(&answer, "a=ice-ufrag:").to_owned(), value(&answer, "a=ice-pwd:").to_owned());
        stun(&socket, server, &server_ufrag, &server_pwd);

        let mut profiles = vec![SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80];
        if shape.gcm {
            // Second, as Chromium lists it.
            profiles.push(SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm);
        }
        let config = ConfigBuilder::default()
            .with_crypto_provider(provider())
            .with_certificates(vec![certificate])
            .with_srtp_protection_profiles(profiles)
            .with_insecure_skip_verify(true)
            // Browsers repeat sooner than the second of RFC 6347.
            .with_flight_interval(Duration::from_millis(60))
            .with_extended_master_secret(ExtendedMasterSecretType::Require)
            .build(true, Some(server))
            .expect("config");
        let local = socket.local_addr().expect("bound");
        let mut dtls = Endpoint::new(local, TransportProtocol::UDP, None);
        dtls.connect(Instant::now(), server, Arc::new(config), None).expect("begins");
        let until = Instant::now() + PATIENCE;
        let mut buffer = [0; 2048];
        let mut connected = false;
        let mut received = 0;
        while !connected {
            assert!(Instant::now() < until, "no DTLS connection");
            while let Some(transmit) = dtls.poll_transmit() {
                socket.send_to(&transmit.message, server).expect("sends");
            }
            if let Ok((len, _)) = socket.recv_from(&mut buffer)
                && (20..=63).contains(&buffer[0])
            {
                received += 1;
                if shape.lost == Some(received - 1) {
                    continue;
                }
                let events =
                    dtls.read(Instant::now(), server, None, BytesMut::from(&buffer[..len])).expect("reads");
                connected = events.iter().any(|event| matches!(event, EndpointEvent::HandshakeComplete));
            }
            dtls.handle_timeout(server, Instant::now()).expect("goes on");
        }
        while let Some(transmit) = dtls.poll_transmit() {
            socket.send_to(&transmit.message, server).expect("sends");
        }
        let state = dtls.get_connection_state(server).expect("connected");
        let profile = state.srtp_protection_profile();
        let (protection, salt) = match profile {
            SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm => (ProtectionProfile::AeadAes128Gcm, 12),
            _ => (ProtectionProfile::Aes128CmHmacSha1_80, 14),
        };
        let keys = state.export_keying_material("EXTRACTOR-dtls_srtp", &[], 32 + 2 * salt).expect("exports");
        let keys = keys.as_ref();
        let context = |key: &[u8], salt: &[u8]| {
            Context::new(key, salt, protection, None, None, provider().crypto()).expect("context")
        };
        Client {
            sealing: context(&keys[..16], &keys[32..32 + salt]),
            opening: context(&keys[16..32], &keys[32 + salt..]),
            socket,
            participant,
            peer,
            server,
            slot_ssrcs,
            profile,
            server_ufrag,
            server_pwd,
        }
    }

    /// Renews consent.
    pub fn check(&self) {
        stun(&self.socket, self.server, &self.server_ufrag, &self.server_pwd);
    }

    /// A sealed VP8 packet; the first of a keyframe when `keyframe`.
    pub fn sealed(&mut self, seq: u16, timestamp: u32, keyframe: bool, len: usize) -> Vec<u8> {
        let packet = vp8_packet(seq, timestamp, keyframe, len);
        self.sealing.encrypt_rtp(&packet).expect("seals").to_vec()
    }

    /// The next RTP packet, opened. `None` when none comes in time.
    pub fn receive_rtp(&mut self, time: Duration) -> Option<Vec<u8>> {
        let until = Instant::now() + time;
        let mut buffer = [0; 2048];
        while Instant::now() < until {
            let Ok((len, _)) = self.socket.recv_from(&mut buffer) else { continue };
            if (128..=191).contains(&buffer[0]) && !(192..=223).contains(&buffer[1]) {
                return Some(self.opening.decrypt_rtp(&buffer[..len]).expect("opens").to_vec());
            }
        }
        None
    }
}

/// A plain VP8 packet with a payload of `len` bytes (RFC 7741 §4.2: S bit, partition 0, then the frame).
pub fn vp8_packet(seq: u16, timestamp: u32, keyframe: bool, len: usize) -> Vec<u8> {
    let mut packet = vec![0x80, 0x80 | VIDEO_PT];
    packet.extend(seq.to_be_bytes());
    packet.extend(timestamp.to_be_bytes());
    packet.extend(VIDEO_SSRC.to_be_bytes());
    packet.extend([0x10, if keyframe { 0x10 } else { 0x11 }, 0x02, 0x00, 0x9d, 0x01, 0x2a, 64, 0, 64, 0]);
    packet.resize(12 + len, seq as u8);
    packet
}

fn stun(socket: &UdpSocket, server: SocketAddr, ufrag: &str, pwd: &str) {
    let mut request = Message::new();
    let setters: Vec<Box<dyn Setter>> = vec![
        Box::new(BINDING_REQUEST),
        Box::new(TransactionId::new()),
        Box::new(TextAttribute::new(ATTR_USERNAME, format!("{ufrag}:clnt"))),
    ];
    request.build(&setters).expect("builds");
    request.add(ATTR_USE_CANDIDATE, &[]);
    let provider = provider();
    MessageIntegrity::new_short_term_integrity_with_provider(pwd.to_owned(), provider.crypto())
        .add_to(&mut request)
        .expect("adds");
    FINGERPRINT.add_to(&mut request).expect("adds");
    let until = Instant::now() + PATIENCE;
    let mut buffer = [0; 2048];
    loop {
        assert!(Instant::now() < until, "no STUN answer");
        socket.send_to(&request.raw, server).expect("sends");
        if let Ok((len, _)) = socket.recv_from(&mut buffer)
            && buffer[..2] == [1, 1]
        {
            let mut answer = Message::new();
            answer.write(&buffer[..len]).expect("parses");
            MessageIntegrity::check(&mut answer, pwd.as_bytes(), provider.crypto())
                .expect("integrity is right");
            return;
        }
    }
}
