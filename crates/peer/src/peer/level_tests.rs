//! How loud a packet is, as it comes out of a peer.

use super::*;

/// Chromium's ids: the level of sound, Opus, frames that come once more, VP8.
const LEVEL: u8 = 1;
const OPUS: u8 = 111;
const RED: u8 = 63;
const VP8: u8 = 96;

fn peer(sdp: &str) -> Peer {
    let offer = Offer::parse(sdp).expect("an offer");
    let ice = Credentials { ufrag: "ours".into(), pwd: "our-password-of-some-length".into() };
    let identity = Identity::generate().expect("generates");
    let mut peer = Peer::new(Instant::now(), identity, Secrets { ice, first_ssrc: 1 }, &offer);
    peer.answer(&offer, &[Codec::Vp8, Codec::Opus], |_| 0, false, &[], None).expect("answers");
    peer
}

fn chromium() -> String {
    include_str!("../../tests/offers/chromium-156.sdp").to_owned()
}

/// A packet that says 37 dB below full scale, with the V bit.
fn packet(payload_type: u8, seq: u16, extension: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x90, payload_type];
    packet.extend(seq.to_be_bytes());
    packet.extend(96_000u32.to_be_bytes());
    packet.extend([0, 0, 0, 7]);
    packet.extend(extension);
    packet.extend(payload);
    packet
}

/// Sequence number and level of what the packet brings.
fn brings(peer: &mut Peer, mut packet: Vec<u8>) -> Vec<(u16, Option<u8>)> {
    let header = rtp::Header::parse(&packet).expect("a packet");
    for media in &mut peer.media {
        let Use::Publication(publication) = &mut media.used else { continue };
        let redundant = publication.red.as_ref().map(|(payload_type, _)| *payload_type);
        if [Some(publication.payload_type), redundant].contains(&Some(header.payload_type)) {
            publication.streams[0].ssrc = Some(header.ssrc);
        }
    }
    let mut brought = Vec::new();
    let opened = peer.opened_rtp(Instant::now(), header, &mut packet, |rtp| {
        brought.push((rtp.header.seq, rtp.level.map(AudioLevel::below_full_scale_db)));
    });
    assert_eq!(opened, Some(()));
    brought
}

const ONE_BYTE: [u8; 8] = [0xbe, 0xde, 0, 1, LEVEL << 4, 0x80 | 37, 0, 0];
const TWO_BYTE: [u8; 8] = [0x10, 0, 0, 1, LEVEL, 1, 37, 0];

#[test]
fn sound_says_how_loud_it_is_in_either_form() {
    let mut peer = peer(&chromium());
    assert_eq!(brings(&mut peer, packet(OPUS, 1, &ONE_BYTE, &[0x78])), [(1, Some(37))]);
    assert_eq!(brings(&mut peer, packet(OPUS, 2, &TWO_BYTE, &[0x78])), [(2, Some(37))]);
    let other = [0xbe, 0xde, 0, 1, 5 << 4, 37, 0, 0];
    assert_eq!(brings(&mut peer, packet(OPUS, 3, &other, &[0x78])), [(3, None)]);
}

#[test]
fn frames_that_come_once_more_are_not_as_loud_as_the_one_they_come_with() {
    let mut peer = peer(&chromium());
    assert_eq!(brings(&mut peer, packet(OPUS, 1, &ONE_BYTE, &[0x78])), [(1, Some(37))]);
    // Packet 2 is lost, and its frame, of 960 samples before and one byte, is in packet 3.
    let redundant = [0x80 | OPUS, 0x0f, 0x00, 0x01, OPUS, 0x78, 0x78];
    assert_eq!(brings(&mut peer, packet(RED, 3, &ONE_BYTE, &redundant)), [(3, Some(37)), (2, None)]);
}

#[test]
fn what_was_not_offered_is_not_read() {
    let without = chromium().replace("a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n", "");
    let mut peer = peer(&without);
    assert_eq!(brings(&mut peer, packet(OPUS, 1, &ONE_BYTE, &[0x78])), [(1, None)]);
}

#[test]
fn pictures_are_not_loud() {
    let level = "a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n";
    let video = chromium().replace("a=mid:1\r\n", &format!("a=mid:1\r\n{level}"));
    assert_ne!(video, chromium());
    let mut peer = peer(&video);
    assert_eq!(brings(&mut peer, packet(VP8, 1, &ONE_BYTE, &[0x10, 0x11])), [(1, None)]);
}
