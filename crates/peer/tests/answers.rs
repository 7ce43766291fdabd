//! Offers of real clients, and what is answered.

use std::time::Instant;

use hewei_model::{Codec, MediaKind};
use hewei_peer::{Candidate, Credentials, Identity, Peer, Secrets, Use, sdp::Offer};
use proptest::prelude::*;

const CHROMIUM: &str = include_str!("offers/chromium-156.sdp");
/// Two layers, as Chromium makes them of a capture of 640×360.
const LAYERS: &str = include_str!("offers/chromium-layers.sdp");
const AIORTC: &str = include_str!("offers/aiortc-1.16.sdp");
const PREFERENCE: [Codec; 5] = [Codec::H264, Codec::Vp8, Codec::Opus, Codec::Pcma, Codec::Pcmu];

fn peer(offer: &Offer) -> Peer {
    let secrets = Secrets {
        ice: Credentials { ufrag: "ours".into(), pwd: "our-password-of-some-length".into() },
        first_ssrc: 1_000,
    };
    Peer::new(Instant::now(), Identity::generate().expect("generates"), secrets, offer)
}

fn answer(peer: &mut Peer, offer: &Offer, publish: &[Codec]) -> Vec<Vec<String>> {
    let address = ([192, 0, 2, 1], 8443).into();
    let candidates = [Candidate::Udp(address), Candidate::Tcp(address)];
    let text = peer.answer(offer, publish, |_| usize::MAX, false, &candidates, None).expect("answers");
    assert!(text.lines().all(|line| line.as_bytes().get(1) == Some(&b'=')), "{text}");
    text.split("\r\nm=").map(|section| section.lines().map(str::to_owned).collect()).collect()
}

fn has(section: &[String], line: &str) -> bool {
    section.iter().any(|known| known == line)
}

#[test]
fn chromium_publishes_h264_and_opus_and_gets_slots_for_all_codecs() {
    let offer = Offer::parse(CHROMIUM).expect("Chromium's offer");
    let sections = answer(&mut peer(&offer), &offer, &PREFERENCE);
    let [session, audio, video, audio_slot, video_slot] = &sections[..] else { panic!("{sections:?}") };
    assert!(has(session, "a=ice-lite"));
    assert!(has(session, "a=group:BUNDLE 0 1 2 3"));

    assert!(has(audio, "a=recvonly") && has(audio, "a=setup:passive"));
    assert!(audio.iter().any(|line| line.ends_with("opus/48000/2")));
    assert!(audio[0].starts_with("audio 9 UDP/TLS/RTP/SAVPF 63 111"), "redundant sound first: {}", audio[0]);
    assert!(has(audio, "a=rtpmap:63 red/48000/2") && has(audio, "a=fmtp:63 111/111"));
    assert!(has(audio, "a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level"));
    assert!(!audio_slot.iter().any(|line| line.ends_with("ssrc-audio-level")), "it is not sent on");
    assert!(has(video, "a=recvonly"));
    let rtpmaps: Vec<_> = video.iter().filter(|line| line.starts_with("a=rtpmap")).collect();
    assert_eq!(rtpmaps.len(), 2, "one codec and its RTX: {rtpmaps:?}");
    assert!(video.iter().any(|line| line.contains("packetization-mode=1;profile-level-id=42e01f")));
    for feedback in ["nack", "nack pli", "ccm fir", "transport-cc"] {
        assert!(
            video.iter().any(|line| line.starts_with("a=rtcp-fb:") && line.ends_with(feedback)),
            "{feedback}"
        );
    }
    assert!(video.iter().any(|line| line.contains("transport-wide-cc")));

    assert!(has(audio_slot, "a=sendonly") && has(video_slot, "a=sendonly"));
    for codec in ["H264/90000", "VP8/90000"] {
        assert!(
            video_slot.iter().any(|line| line.starts_with("a=rtpmap") && line.ends_with(codec)),
            "{codec}"
        );
    }
    for (what, line) in [("its number", "transport-wide-cc"), ("what it tells", "transport-cc")] {
        assert!(video_slot.iter().any(|said| said.contains(line)), "each packet has {what}");
    }
    assert!(has(video_slot, "a=ssrc-group:FID 1003 1004"));
    assert!(
        video_slot
            .iter()
            .any(|line| line.starts_with("a=candidate:0 1 udp") && line.contains("192.0.2.1 8443"))
    );
}

#[test]
fn who_may_not_publish_is_answered_inactive() {
    let offer = Offer::parse(CHROMIUM).expect("Chromium's offer");
    let sections = answer(&mut peer(&offer), &offer, &[]);
    assert!(has(&sections[1], "a=inactive") && has(&sections[2], "a=inactive"));
    assert!(has(&sections[3], "a=sendonly"));
}

#[test]
fn a_server_that_prefers_vp8_gets_vp8() {
    let offer = Offer::parse(CHROMIUM).expect("Chromium's offer");
    let sections = answer(&mut peer(&offer), &offer, &[Codec::Vp8, Codec::H264, Codec::Opus]);
    assert!(sections[2].iter().any(|line| line.ends_with("VP8/90000")));
    assert!(!sections[2].iter().any(|line| line.contains("H264")));
}

#[test]
fn layers_are_taken_by_name() {
    let offer = Offer::parse(LAYERS).expect("Chromium's offer");
    let mut peer = peer(&offer);
    let sections = answer(&mut peer, &offer, &PREFERENCE);
    let video = &sections[2];
    assert!(has(video, "a=recvonly") && has(video, "a=simulcast:recv h;f"), "{video:?}");
    assert!(has(video, "a=rid:h recv") && has(video, "a=rid:f recv"));
    for name in ["sdes:mid", "sdes:rtp-stream-id", "sdes:repaired-rtp-stream-id"] {
        assert!(video.iter().any(|line| line.starts_with("a=extmap:") && line.ends_with(name)), "{name}");
    }
    let layers = |peer: &Peer| {
        peer.media().find_map(|(_, _, _, used)| match used {
            Use::Publication(publication) if publication.codec.kind() == MediaKind::Video => Some(
                (0..publication.layers()).map(|layer| publication.rid(layer).map(str::to_owned)).collect(),
            ),
            _ => None,
        })
    };
    let known: Option<Vec<Option<String>>> = layers(&peer);
    assert_eq!(known, Some(vec![Some("h".to_owned()), Some("f".to_owned())]));
    assert_eq!(answer(&mut peer, &offer, &PREFERENCE)[2], *video, "and kept");
    let plain = Offer::parse(CHROMIUM).expect("Chromium's offer");
    assert!(plain.media.iter().all(|media| media.layers.is_empty()));
}

#[test]
fn a_stranger_offers_three_layers_at_the_most() {
    let said = |simulcast: &str, rids: &str| {
        let rids: String =
            rids.split(' ').map(|rid| format!("a=rid:{}\r\n", rid.replace('+', " "))).collect();
        let text = LAYERS
            .replace("a=simulcast:send h;f\r\n", &format!("a=simulcast:{simulcast}\r\n{rids}"))
            .replace("a=rid:h send\r\na=rid:f send\r\n", "");
        assert_ne!(text, LAYERS);
        let offer = Offer::parse(&text).expect("parses");
        let answered = answer(&mut peer(&offer), &offer, &PREFERENCE).remove(2);
        answered.into_iter().find_map(|line| line.strip_prefix("a=simulcast:recv ").map(str::to_owned))
    };
    let all = "1+send 2+send 3+send 4+send";
    assert_eq!(said("send 1;2;3;4", all).as_deref(), Some("1;2;3"));
    assert_eq!(
        said("send 1,2;~3", all).as_deref(),
        Some("1;3"),
        "the first of alternatives, paused ones too"
    );
    assert_eq!(said("recv 4 send 1;2", all).as_deref(), Some("1;2"));
    for (simulcast, rids) in [
        ("send 1", "1+send"),
        ("recv 1;2", all),
        ("send 1;2", "1+send 2+recv"),
        ("send 1;1;1", all),
        ("send 5;6", all),
        ("send a/b;c", "a/b+send c+send"),
        ("send 0123456789abcdefg;1", "0123456789abcdefg+send 1+send"),
        ("send 1;2", "1+send+pt=5 2+send"),
        ("send", all),
        (&"send 1;2 ".repeat(3_000), "9+send"),
        (&format!("send {}", ";,~".repeat(9_000)), all),
    ] {
        assert_eq!(said(simulcast, rids), None, "{simulcast:.40} {rids}");
    }
    let nameless = LAYERS.replace("sdes:rtp-stream-id", "sdes:x-stream-id");
    let offer = Offer::parse(&nameless).expect("parses");
    assert!(offer.media.iter().all(|media| media.layers.is_empty()), "no packet could be told apart");
}

#[test]
fn a_new_offer_keeps_slots_and_their_ssrcs() {
    let first = Offer::parse(CHROMIUM).expect("Chromium's offer");
    let mut peer = peer(&first);
    let before = answer(&mut peer, &first, &PREFERENCE);
    let section = CHROMIUM.rsplit_once("m=video").expect("has a slot").1.replace("a=mid:3", "a=mid:4");
    let more = format!("{CHROMIUM}m=video{section}");
    let after = answer(&mut peer, &Offer::parse(&more).expect("one more"), &PREFERENCE);
    assert_eq!(after.len(), before.len() + 1);
    let ssrcs = |section: &[String]| {
        section.iter().filter(|line| line.starts_with("a=ssrc")).cloned().collect::<Vec<_>>()
    };
    assert_eq!(ssrcs(&before[4]), ssrcs(&after[4]));
    assert_ne!(ssrcs(&after[4]), ssrcs(&after[5]));

    let swapped = CHROMIUM.replacen("m=audio", "m=video", 1);
    let swapped = Offer::parse(&swapped).expect("parses");
    assert!(
        peer.answer(&swapped, &PREFERENCE, |_| 1, false, &[], None).is_err(),
        "an m-line does not change its kind"
    );
}

#[test]
fn aiortc_is_answered_too() {
    let offer = Offer::parse(AIORTC).expect("aiortc's offer");
    let mut peer = peer(&offer);
    answer(&mut peer, &offer, &PREFERENCE);
    let uses: Vec<_> = peer
        .media()
        .map(|(_, _, kind, used)| match used {
            Use::Publication(publication) => (kind, Some(publication.codec)),
            Use::Slot(_) => (kind, None),
            Use::Unused => panic!("nothing is unused"),
        })
        .collect();
    assert_eq!(
        uses,
        [
            (Some(MediaKind::Audio), Some(Codec::Opus)),
            (Some(MediaKind::Video), Some(Codec::H264)),
            (Some(MediaKind::Video), None)
        ]
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Offers with lines taken out, doubled, cut and scrambled are answered or refused; they never panic.
    #[test]
    fn broken_offers_are_answered_or_refused(
        edits in proptest::collection::vec((0usize..400, 0u8..5, any::<u16>()), 1..12),
        client in 0usize..3,
    ) {
        let mut lines: Vec<String> = [CHROMIUM, AIORTC, LAYERS][client].lines().map(str::to_owned).collect();
        for (at, edit, with) in edits {
            let at = at % lines.len().max(1);
            let Some(line) = lines.get(at).cloned() else { break };
            match edit {
                0 => _ = lines.remove(at),
                1 => lines.insert(at, line),
                4 => {
                    let cut = usize::from(with) % (line.chars().count() + 1);
                    lines[at] = line.chars().take(cut).chain("€和".chars()).chain(line.chars().skip(cut)).collect();
                }
                2 => lines[at] = line.chars().take(usize::from(with) % (line.len() + 1)).collect(),
                _ => lines[at] = line.chars().map(|c| if c.is_ascii_digit() { char::from(b'0' + (with % 10) as u8) } else { c }).collect(),
            }
        }
        let text = lines.join("\r\n") + "\r\n";
        if let Ok(offer) = Offer::parse(&text) {
            let mut peer = peer(&offer);
            let _ = peer.answer(&offer, &PREFERENCE, |_| usize::MAX, false, &[Candidate::Udp(([127, 0, 0, 1], 1).into())], None);
        }
    }
}

#[test]
fn a_peer_publishes_one_sound_and_one_picture_and_begins_few_streams() {
    let section = CHROMIUM.split("m=video").nth(1).expect("publishes video");
    let two =
        format!("{CHROMIUM}m=video{}", section.replace("a=mid:1", "a=mid:4").replace("a=ssrc", "a=x-ssrc"));
    let offer = Offer::parse(&two).expect("one more");
    let mut peer = peer(&offer);
    let sections = answer(&mut peer, &offer, &PREFERENCE);
    assert!(has(&sections[2], "a=recvonly") && has(&sections[5], "a=inactive"));

    let mut publishing = 0;
    for ssrc in 0..200 {
        let mut offer = offer.clone();
        offer.media[1].ssrc = Some(ssrc);
        let sections = answer(&mut peer, &offer, &PREFERENCE);
        publishing += u32::from(has(&sections[2], "a=recvonly"));
    }
    assert!(publishing < 64, "{publishing} streams");
}

#[test]
fn hostile_offers_are_read_in_no_time_and_without_a_panic() {
    let section = CHROMIUM.split("m=audio").next().expect("a session");
    let fingerprint = CHROMIUM.lines().find(|line| line.starts_with("a=fingerprint")).expect("has one");
    let head = format!("{section}m=video 9 UDP/TLS/RTP/SAVPF");
    let tail = format!("\r\na=ice-ufrag:x\r\na=ice-pwd:y\r\n{fingerprint}\r\na=rtpmap:96 VP8/90000\r\n");
    let odd = format!("{head} 96{tail}a=rtpmap:97 abc€\r\na=fmtp:97 apt=96\r\n");
    assert_eq!(Offer::parse(&odd).expect("parses").media[0].codecs.len(), 1);
    // Quadratic reading takes seconds here; linear reading is through at once.
    let long = format!("{head}{}{tail}{}", " 96".repeat(5_300), "a=rtpmap:9 rtx/\r\n".repeat(1_800));
    assert_eq!(Offer::parse(&long).expect("parses").media[0].codecs.len(), 1);
}

#[test]
fn a_stopped_m_line_is_refused_and_may_come_back_as_another() {
    let first = Offer::parse(CHROMIUM).expect("Chromium's offer");
    let mut peer = peer(&first);
    answer(&mut peer, &first, &PREFERENCE);
    let (before, slot) = CHROMIUM.rsplit_once("m=video 9").expect("has a slot");
    let stopped = Offer::parse(&format!("{before}m=video 0{slot}")).expect("parses");
    let sections = answer(&mut peer, &stopped, &PREFERENCE);
    assert!(sections[4][0].starts_with("video 0"), "{:?}", sections[4][0]);
    assert!(has(&sections[0], "a=group:BUNDLE 0 1 2"));

    let (before, audio_slot) = CHROMIUM.split_once("m=audio 9").expect("has sound");
    let audio_slot = audio_slot.split("m=").next().expect("a section").replace("a=mid:0", "a=mid:9");
    let recycled = Offer::parse(&format!(
        "{before}m=audio 9{}m=audio 9{}",
        CHROMIUM.split_once("m=audio 9").expect("has sound").1.rsplit_once("m=video").expect("has a slot").0,
        audio_slot.replace("a=sendonly", "a=recvonly")
    ))
    .expect("parses");
    let sections = answer(&mut peer, &recycled, &PREFERENCE);
    assert!(has(&sections[4], "a=mid:9") && has(&sections[4], "a=sendonly"));
}
