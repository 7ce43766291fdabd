//! `hewei_peer`: what reaches a peer before anybody is trusted, and the packets of one who is.

use std::{
    net::SocketAddr,
    sync::OnceLock,
    time::{Duration, Instant},
};

use hewei_media::rtp::Header;
use hewei_model::Codec;
use hewei_peer::{
    Candidate, Credentials, Identity, Peer, Secrets,
    sdp::{LAYERS_MAX, Offer},
    sdpfrag::{CANDIDATES_MAX, Fragment},
    srtp::{self as secure, Profile},
    stun::{self as checks, BindingRequest},
};

use crate::input::Input;

const CHROMIUM: &str = include_str!("../../crates/peer/tests/offers/chromium-156.sdp");
const PREFERENCE: [Codec; 5] = [Codec::H264, Codec::Vp8, Codec::Opus, Codec::Pcma, Codec::Pcmu];

fn identity() -> Identity {
    static IDENTITY: OnceLock<Identity> = OnceLock::new();
    IDENTITY.get_or_init(|| Identity::generate().expect("a key can be made")).clone()
}

fn peer(now: Instant, offer: &Offer) -> Peer {
    let secrets = Secrets {
        ice: Credentials { ufrag: "ours".into(), pwd: "our-password-of-some-length".into() },
        first_ssrc: 1_000,
    };
    Peer::new(now, identity(), secrets, offer)
}

/// An offer, and a second one after it (the input may hold both, with a zero byte between): each is answered line
/// by line, or refused.
pub fn sdp(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut offers = text.splitn(2, '\0').map(Offer::parse);
    let Some(Ok(first)) = offers.next() else { return };
    let mut peer = peer(Instant::now(), &first);
    for offer in [Ok(first)].into_iter().chain(offers).flatten() {
        let address = ([192, 0, 2, 1], 8443).into();
        let candidates = [Candidate::Udp(address), Candidate::Tcp(address)];
        let restart = peer.is_restart(&offer.ice).then(renewed);
        if let Ok(answer) = peer.answer(&offer, &PREFERENCE, |_| 8, false, &candidates, restart) {
            assert!(answer.lines().all(|line| line.as_bytes().get(1) == Some(&b'=')), "{answer}");
            let sections = answer.lines().filter(|line| line.starts_with("m=")).count();
            assert_eq!(sections, offer.media.len(), "an answer has the offer's m-lines");
            let layers = answer.lines().filter(|line| line.starts_with("a=rid:")).count();
            assert!(layers <= LAYERS_MAX, "one picture comes in a few layers at the most");
        }
    }
}

fn renewed() -> Credentials {
    Credentials { ufrag: "renewed".into(), pwd: "another-password-of-some-length".into() }
}

/// A fragment of ICE, as WHIP and WHEP send it: what is read begins a session, and our side of that can be read too.
pub fn sdpfrag(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(fragment) = Fragment::parse(text) else { return };
    assert!(fragment.candidates <= CANDIDATES_MAX);
    let offer = Offer::parse(CHROMIUM).expect("Chromium's offer");
    let mut peer = peer(Instant::now(), &offer);
    let ours = peer.restart_ice(renewed(), fragment.ice, &[Candidate::Udp(([192, 0, 2, 1], 8443).into())]);
    assert_eq!(Fragment::parse(&ours), Ok(Fragment { ice: renewed(), candidates: 1 }));
}

/// A STUN datagram from anybody.
pub fn stun(data: &[u8]) {
    checks::is_stun(data);
    let Some(request) = BindingRequest::parse(data) else { return };
    request.remote_ufrag();
    let key = checks::password_key("our-password-of-some-length");
    if request.authenticates(&key) {
        let mut out = [0; checks::RESPONSE_LEN_MAX];
        let length = request.write_success(([192, 0, 2, 7], 9).into(), &key, &mut out);
        assert!(checks::is_stun(&out[..length]));
    }
    let offer = Offer::parse(CHROMIUM).expect("Chromium's offer");
    let now = Instant::now();
    peer(now, &offer).receive_stun(now, SocketAddr::from(([192, 0, 2, 7], 9)).into(), &request);
}

/// DTLS datagrams, one piece each, with time passing between them.
pub fn dtls(data: &[u8]) {
    let offer = Offer::parse(CHROMIUM).expect("Chromium's offer");
    let mut now = Instant::now();
    let mut peer = peer(now, &offer);
    let mut input = Input(data);
    while let (Some(wait), Some(datagram)) = (input.byte(), input.piece()) {
        now += Duration::from_millis(u64::from(wait) * 8);
        peer.receive_dtls(now, datagram);
        if peer.poll_timeout().is_some_and(|at| at <= now) {
            peer.handle_timeout(now);
        }
        while peer.poll_transmit().is_some() {}
        while peer.poll_event().is_some() {}
        assert!(!peer.is_connected(), "nobody gets through without the certificate of the offer");
    }
}

/// SRTP and SRTCP packets, one piece each: none opens that was not sealed.
pub fn srtp(data: &[u8]) {
    let mut input = Input(data);
    let profile = match input.byte() {
        Some(choice) if choice & 1 == 0 => Profile::AeadAes128Gcm,
        Some(_) => Profile::Aes128CmHmacSha1_80,
        None => return,
    };
    let material: Vec<u8> = (0..profile.keying_material_len()).map(|at| at as u8).collect();
    let Some((_, mut opener)) = secure::server_contexts(profile, &material) else {
        panic!("the length is the profile's own");
    };
    while let Some(packet) = input.piece() {
        let mut packet = packet.to_vec();
        let opened = match Header::parse(&packet) {
            Ok(header) => opener.open_rtp(&mut packet, header.len, header.ssrc, header.seq),
            Err(_) => opener.open_rtcp(&mut packet),
        };
        assert!(opened.is_err(), "a forged tag");
    }
}
