//! Restarts of ICE, with checks by webrtc-rs' STUN and media by its SRTP.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use hewei_media::{rtp, vp8::Numbers};
use hewei_model::Codec;
use proptest::prelude::*;
use rtc_srtp::{context::Context, protection_profile::ProtectionProfile};
use rtc_stun::{
    attributes::{ATTR_USE_CANDIDATE, ATTR_USERNAME},
    integrity::MessageIntegrity,
    message::{BINDING_REQUEST, BINDING_SUCCESS, Message, Setter, TransactionId},
    textattrs::TextAttribute,
};

use super::*;
use crate::srtp::server_contexts;

pub(super) const CHROMIUM: &str = include_str!("../../tests/offers/chromium-156.sdp");
const PREFERENCE: [Codec; 2] = [Codec::H264, Codec::Opus];
const PROFILE: Profile = Profile::AeadAes128Gcm;

fn named(name: &str) -> Credentials {
    Credentials { ufrag: name.to_owned(), pwd: format!("the-password-of-{name}-which-is-long") }
}

pub(super) fn address(port: u16) -> Path {
    SocketAddr::from(([192, 0, 2, 7], port)).into()
}

/// A peer that has answered, and what its browser knows.
pub(super) struct World {
    pub(super) peer: Peer,
    offer: Offer,
    pub(super) now: Instant,
    local: Credentials,
    /// The browser's keys.
    pub(super) sealing: Context,
    opening: Context,
}

impl World {
    /// Keys are put in place without a handshake: what is asked here is what becomes of them.
    fn connected() -> World {
        World::with(Offer::parse(CHROMIUM).expect("Chromium's offer"))
    }

    pub(super) fn with(offer: Offer) -> World {
        let now = Instant::now();
        let secrets = Secrets { ice: named("first"), first_ssrc: 1_000 };
        let mut peer = Peer::new(now, Identity::generate().expect("generates"), secrets, &offer);
        peer.answer(&offer, &PREFERENCE, |_| 8, false, &[], None).expect("answers");
        let material: Vec<u8> = (0..PROFILE.keying_material_len()).map(|byte| byte as u8).collect();
        let (sealer, opener) = server_contexts(PROFILE, &material).expect("length is right");
        peer.security = Some(Security { sealer, opener });
        let provider = rtc_crypto::default_provider().expect("ring");
        // RFC 7714 §8.1.
        let (profile, salt) = (ProtectionProfile::AeadAes128Gcm, 12);
        let context = |key: &[u8], salt: &[u8]| {
            Context::new(key, salt, profile, None, None, provider.crypto()).expect("keys are valid")
        };
        World {
            peer,
            offer,
            now,
            local: named("first"),
            sealing: context(&material[..16], &material[32..32 + salt]),
            opening: context(&material[16..32], &material[32 + salt..]),
        }
    }

    /// A check as the browser makes it now.
    fn check(&self, nominates: bool) -> Vec<u8> {
        let provider = rtc_crypto::default_provider().expect("ring");
        let mut message = Message::new();
        let name = format!("{}:{}", self.local.ufrag, self.offer.ice.ufrag);
        let setters: Vec<Box<dyn Setter>> = vec![
            Box::new(BINDING_REQUEST),
            Box::new(TransactionId([7; 12])),
            Box::new(TextAttribute::new(ATTR_USERNAME, name)),
        ];
        message.build(&setters).expect("builds");
        if nominates {
            message.add(ATTR_USE_CANDIDATE, &[]);
        }
        MessageIntegrity::new_short_term_integrity_with_provider(self.local.pwd.clone(), provider.crypto())
            .add_to(&mut message)
            .expect("adds");
        message.raw
    }

    /// Whether the peer takes this check, and answers it where it came from with the password it was made with.
    fn takes(&mut self, from: Path, check: &[u8], pwd: &str) -> bool {
        let request = stun::BindingRequest::parse(check).expect("a request");
        let taken = self.peer.receive_stun(self.now, from, &request);
        let answer = self.peer.poll_transmit();
        assert_eq!(taken, answer.is_some());
        if let Some(answer) = answer {
            let provider = rtc_crypto::default_provider().expect("ring");
            let mut message = Message::new();
            message.write(&answer.data).expect("parses");
            assert_eq!((answer.to, message.typ), (from, BINDING_SUCCESS));
            MessageIntegrity::check(&mut message, pwd.as_bytes(), provider.crypto()).expect("its password");
        }
        taken
    }

    fn checks(&mut self, from: Path, nominates: bool) -> bool {
        let (check, pwd) = (self.check(nominates), self.local.pwd.clone());
        self.takes(from, &check, &pwd)
    }

    /// The browser offers again as somebody new. Gives the answer.
    fn restart(&mut self, ours: &str, theirs: &str) -> String {
        self.offer.ice = named(theirs);
        assert!(self.peer.is_restart(&self.offer.ice));
        self.local = named(ours);
        let local = Some(self.local.clone());
        self.peer.answer(&self.offer, &PREFERENCE, |_| 8, false, &[], local).expect("answers")
    }

    /// The picture's packet with this number, sealed.
    fn picture(&mut self, seq: u16) -> Vec<u8> {
        let video = &self.offer.media[1];
        let ssrc = video.ssrc.expect("Chromium says it");
        let codec = video.codecs.iter().find(|codec| codec.codec == Codec::H264);
        let payload_type = codec.expect("Chromium has it").payload_type;
        let mut packet = vec![0; 20];
        rtp::write_header(packet.first_chunk_mut().expect("12"), true, payload_type, seq, 5, ssrc);
        self.sealing.encrypt_rtp(&packet).expect("seals").to_vec()
    }
}

#[test]
fn an_answer_to_a_restart_has_new_credentials_and_the_same_media() {
    let mut world = World::connected();
    let again = |world: &mut World| {
        let offer = world.offer.clone();
        world.peer.answer(&offer, &PREFERENCE, |_| 8, false, &[], None).expect("answers")
    };
    let before = again(&mut world);
    assert!(!world.peer.is_restart(&world.offer.ice), "the same offer again is none");
    assert!(before.contains("a=ice-ufrag:first\r\n"));
    let after = world.restart("second", "new");
    assert!(after.contains("a=ice-ufrag:second\r\na=ice-pwd:the-password-of-second"), "{after}");
    assert!(!after.contains("first"));
    let media = |answer: &str| {
        let lines = answer.lines().filter(|line| !line.starts_with("a=ice-") && !line.starts_with("o="));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(media(&before), media(&after), "SSRCs, fingerprint and m-lines stay");
    assert_eq!(again(&mut world).matches("a=ice-ufrag:second").count(), 4, "and no restart keeps them");
}

#[test]
fn the_old_session_is_answered_until_the_first_check_of_the_new_one() {
    let mut world = World::connected();
    assert!(world.checks(address(1), true));
    let old = world.check(true);
    world.restart("second", "new");
    assert!(world.peer.answers_to("first") && world.peer.answers_to("second"));
    let pwd = named("first").pwd;
    assert!(world.takes(address(1), &old, &pwd), "consent goes on");
    assert!(world.checks(address(1), false));
    assert!(!world.peer.answers_to("first"), "the browser has the new one");
    assert!(!world.takes(address(1), &old, &pwd));
}

#[test]
fn of_two_restarts_the_last_counts_and_the_one_before_the_first_stays() {
    let mut world = World::connected();
    assert!(world.checks(address(1), true));
    let old = world.check(true);
    world.restart("second", "new");
    let lost = world.check(true);
    world.restart("third", "newer");
    assert!(!world.takes(address(1), &lost, &named("second").pwd), "it was replaced before it was used");
    assert!(world.takes(address(1), &old, &named("first").pwd));
    assert!(world.checks(address(2), true));
    assert_eq!(world.peer.remote(), Some(address(2)));
}

#[test]
fn media_moves_with_the_first_nomination_of_the_new_session_and_with_no_copy() {
    let mut world = World::connected();
    assert!(world.checks(address(1), true));
    let old = world.check(true);
    world.restart("second", "new");
    let old_pwd = named("first").pwd;
    for port in 100..110 {
        world.takes(address(port), &old, &old_pwd);
        assert_eq!(world.peer.remote(), Some(address(1)), "a copy of an old check moves nothing");
    }
    // Not even when the path has long been silent.
    world.now += Duration::from_secs(10);
    assert!(world.takes(address(100), &old, &old_pwd));
    assert_eq!(world.peer.remote(), Some(address(1)));

    assert!(world.checks(address(2), false));
    assert_eq!(world.peer.remote(), Some(address(1)), "a path that is only tried is not taken");
    let new = world.check(true);
    let pwd = world.local.pwd.clone();
    assert!(world.takes(address(2), &new, &pwd));
    assert_eq!(world.peer.remote(), Some(address(2)), "media follows at once");
    for port in 100..110 {
        assert!(world.takes(address(port), &new, &pwd));
        assert_eq!(world.peer.remote(), Some(address(2)), "a copy of the new check moves nothing either");
    }
}

#[test]
fn an_offer_that_is_refused_restarts_nothing() {
    let mut world = World::connected();
    assert!(world.checks(address(1), true));
    let mut broken = world.offer.clone();
    broken.ice = named("new");
    broken.media.pop();
    assert!(world.peer.answer(&broken, &PREFERENCE, |_| 8, false, &[], Some(named("second"))).is_err());
    assert_eq!(world.peer.local_ufrag(), "first");
    assert!(world.checks(address(1), false));
}

#[test]
fn without_a_check_a_restart_ends_with_consent() {
    let mut world = World::connected();
    assert!(world.checks(address(1), true));
    world.restart("second", "new");
    world.now += CONSENT;
    world.peer.handle_timeout(world.now);
    assert_eq!(world.peer.poll_event(), Some(Event::ConsentExpired));
    assert!(!world.checks(address(1), true));
}

#[derive(Debug, Clone)]
enum Step {
    Restart,
    Check {
        port: u16,
        nominates: bool,
    },
    Receive,
    /// One of those that were received.
    Replay(usize),
    Report,
    Retransmit,
    Wait,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => Just(Step::Restart),
        2 => (1u16..4, any::<bool>()).prop_map(|(port, nominates)| Step::Check { port, nominates }),
        4 => Just(Step::Receive),
        2 => any::<usize>().prop_map(Step::Replay),
        1 => Just(Step::Report),
        2 => Just(Step::Retransmit),
        1 => Just(Step::Wait),
    ];
    proptest::collection::vec(step, 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// However restarts fall between packets: what goes out opens at the browser, whose replay window takes no index
    /// twice; and what came in once is refused for ever.
    #[test]
    fn a_restart_resets_no_srtp_index_and_no_replay_window(steps in steps()) {
        let mut world = World::connected();
        world.checks(address(1), true);
        let slot = MediaIndex(3);
        let (mut restarts, mut seq, mut received) = (0, 0u16, Vec::<Vec<u8>>::new());
        let (mut srtcp, mut rtx) = (None, None);
        for step in steps {
            match step {
                Step::Restart => {
                    restarts += 1;
                    world.restart(&format!("ours{restarts}"), &format!("theirs{restarts}"));
                }
                Step::Check { port, nominates } => {
                    prop_assert!(world.checks(address(port), nominates));
                }
                Step::Receive => {
                    seq += 1;
                    let packet = world.picture(seq);
                    received.push(packet.clone());
                    let mut packet = packet;
                    let (now, from) = (world.now, address(1));
                    let mut came = 0;
                    prop_assert!(world.peer.receive_rtp(now, from, &mut packet, |_| came += 1).is_ok());
                    prop_assert_eq!(came, 1);
                }
                Step::Replay(at) => {
                    let Some(mut packet) = received.get(at % received.len().max(1)).cloned() else { continue };
                    let (now, from) = (world.now, address(9));
                    let refused = world.peer.receive_rtp(now, from, &mut packet, |_| {}).err();
                    prop_assert_eq!(refused, Some(Refused::Replayed));
                }
                Step::Report => {
                    let mut out = [0; 1_200];
                    let len = world.peer.write_sender_report(slot, 7, 8, &mut out).expect("fits");
                    // The index is the last word (RFC 7714 §9.2).
                    let index = u32::from_be_bytes(*out[..len].last_chunk().expect("4"));
                    prop_assert!(srtcp.is_none_or(|before| index > before));
                    srtcp = Some(index);
                    prop_assert!(world.opening.decrypt_rtcp(&out[..len]).is_ok());
                }
                Step::Retransmit => {
                    let mut out = [0; 1_200];
                    let (codec, payload) = (Codec::H264, &[1, 2, 3][..]);
                    let packet = Outgoing {
                        codec,
                        marker: true,
                        timestamp: 6,
                        payload,
                        numbers: Numbers::default(),
                        pad: 0,
                        run_start: 0,
                    };
                    let len = world.peer.seal_rtx(world.now, slot, 5, &packet, &mut out).expect("fits");
                    let number = u16::from_be_bytes([out[2], out[3]]);
                    prop_assert!(rtx.is_none_or(|before| number == before + 1));
                    rtx = Some(number);
                    prop_assert!(world.opening.decrypt_rtp(&out[..len]).is_ok());
                }
                Step::Wait => world.now += Duration::from_secs(6),
            }
        }
    }
}
