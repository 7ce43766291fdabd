//! What a peer tells of what arrives, and who can be limited by it. Compounds are sealed by webrtc-rs' SRTP.

use std::time::Duration;

use super::{
    restart_tests::{CHROMIUM, World, address},
    *,
};

/// Feedback that tells of so many packets from 0 on, none of which has come: at most 36 bytes.
fn none_came(count: u16) -> Vec<u8> {
    const RUN: u16 = 0x1fff;
    let mut packet = vec![0x8f, 205, 0, 0];
    packet.extend([0; 8]);
    packet.extend([[0; 2], count.to_be_bytes()].concat());
    packet.extend([0, 0, 1, 0]);
    let mut left = count;
    while left > 0 {
        let run = left.min(RUN);
        packet.extend(run.to_be_bytes());
        left -= run;
    }
    packet.resize(packet.len().next_multiple_of(4), 0);
    packet[3] = (packet.len() / 4 - 1) as u8;
    packet
}

fn tells(world: &mut World, compound: &[u8]) -> Result<(), Refused> {
    // What is sealed begins with a report.
    let report = [&[0x80, 201, 0, 1, 0, 0, 0, 9][..], compound].concat();
    let mut sealed = world.sealing.encrypt_rtcp(&report).expect("seals").to_vec();
    world.peer.receive_rtcp(world.now, address(1), &mut sealed, |_| {})
}

fn chromium() -> World {
    World::with(Offer::parse(CHROMIUM).expect("Chromium's offer"))
}

#[test]
fn no_more_packets_are_told_of_in_a_second_than_could_be_sent() {
    let mut world = chromium();
    let most = none_came(65_528);
    assert_eq!(most.len(), 36);
    assert_eq!(tells(&mut world, &most), Err(Refused::TooMany));
    assert_eq!(tells(&mut world, &none_came(16_384)), Ok(()));
    // In one compound as in several.
    let two = [none_came(8_192), none_came(8_193)].concat();
    assert_eq!(tells(&mut world, &two), Err(Refused::TooMany));
    assert_eq!(tells(&mut world, &none_came(8_192)), Ok(()));
    assert_eq!(tells(&mut world, &none_came(1)), Err(Refused::TooMany));
    world.now += Duration::from_secs(1);
    assert_eq!(tells(&mut world, &none_came(1)), Ok(()));
}

/// Packets of padding that are due within ten seconds in which far more is wanted than may be sent.
fn padding(world: &mut World) -> usize {
    world.peer.set_wanted(5_000_000);
    let mut due = 0;
    for _ in 0..2_000 {
        world.now += Duration::from_millis(5);
        for _ in 0..world.peer.padding_due(world.now) {
            assert!(world.peer.seal_padding(world.now, &mut [0; 1_200]).is_some(), "it can be sent");
            due += 1;
        }
    }
    due
}

#[test]
fn who_cannot_be_padded_is_not_limited() {
    let mut world = chromium();
    assert!(world.peer.is_to_tell());
    assert!(padding(&mut world) > 0);

    let mut offer = Offer::parse(CHROMIUM).expect("Chromium's offer");
    for codec in offer.media.iter_mut().flat_map(|media| &mut media.codecs) {
        codec.rtx_payload_type = None;
    }
    let mut world = World::with(offer);
    assert!(world.peer.bandwidth.is_some(), "it tells all the same");
    assert!(!world.peer.is_to_tell(), "nobody waits for it");
    assert_eq!(padding(&mut world), 0);
    // A packet that has come, as its number 0.
    world.peer.bandwidth.as_mut().expect("there").sent(world.now, 1_200);
    let came = [0x8f, 205, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0x20, 1, 4, 0];
    assert_eq!(tells(&mut world, &came), Ok(()));
    assert!(world.peer.bandwidth.as_ref().expect("there").was_told());
    assert_eq!(world.peer.estimate(), None);
}
