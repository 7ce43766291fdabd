//! What a sink gets from a camera that works.

#![allow(clippy::unwrap_used, reason = "a test may stop at what it did not expect")]

mod support;

use hewei_cameras::State;
use hewei_model::{Codec, MediaKind};
use support::*;

#[tokio::test]
async fn picture_and_sound_arrive_whole() {
    let source = Source::start(&["--index", "0"]);
    let (cameras, collector) = cameras(source.camera(), settings());
    let demand = cameras.demand(CAMERA).unwrap();
    until_state(&cameras, State::Live).await;
    until("pictures, sound and a report", || {
        let got = collector.got();
        pictures(&got.video).len() > 50 && got.audio.len() > 50 && !got.reports.is_empty()
    })
    .await;
    drop(demand);
    until_state(&cameras, State::Idle).await;

    let got = collector.got();
    assert_eq!((got.pulls, got.ended), (1, 1));
    assert_eq!(got.tracks, [(MediaKind::Video, Codec::H264), (MediaKind::Audio, Codec::Pcma)]);
    check_rtp(&got.video);
    check_rtp(&got.audio);

    let pictures = pictures(&got.video);
    let idrs: Vec<_> = pictures.iter().map(|p| kinds(p)).filter(|kinds| kinds.contains(&5)).collect();
    assert!(idrs.len() >= 2, "a keyframe a second");
    assert!(idrs.iter().all(|kinds| kinds.starts_with(&[7, 8])), "SPS and PPS ahead of each IDR: {idrs:?}");
    assert!(decode(&pictures) > 40);
    assert!(got.video.iter().any(|rtp| rtp[12] & 0x1F == 28), "the scene is large enough to be cut");
    assert!(got.video.iter().all(|rtp| rtp.len() <= 1_212));

    // Where the routing path sees the start of a keyframe, parameter sets begin.
    let starts = got.video.iter().filter(|rtp| hewei_media::h264::starts_keyframe(&rtp[12..])).count();
    assert!(starts >= idrs.len());

    // 160 samples, 20 ms.
    assert!(got.audio.iter().all(|rtp| rtp.len() == 172 && rtp[1] & 0x7F == 8));
    for &(kind, ntp, rtp_timestamp, _) in &got.reports {
        let unix_seconds = (ntp >> 32).wrapping_sub(2_208_988_800);
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        assert!(unix_seconds.abs_diff(now) < 60);
        let (packets, rate) = match kind {
            MediaKind::Video => (&got.video, 90_000),
            MediaKind::Audio => (&got.audio, 8_000),
        };
        let near = packets.iter().any(|rtp| (timestamp(rtp).wrapping_sub(rtp_timestamp) as i32).abs() < rate);
        assert!(near, "the report is on the packets' timeline");
    }
}

#[tokio::test]
async fn parameter_sets_in_band_are_not_doubled() {
    let source = Source::start(&["--index", "1", "--parameter-sets", "in-band", "--mtu", "9000"]);
    let (cameras, collector) = cameras(source.camera(), settings());
    let _demand = cameras.demand(CAMERA).unwrap();
    until("pictures", || pictures(&collector.got().video).len() > 30).await;

    let got = collector.got();
    assert_eq!(got.tracks, [(MediaKind::Video, Codec::H264)]);
    check_rtp(&got.video);
    let pictures = pictures(&got.video);
    decode(&pictures);
    for kinds in pictures.iter().map(|p| kinds(p)).filter(|kinds| kinds.contains(&5)) {
        assert_eq!(kinds.iter().filter(|kind| **kind == 7).count(), 1, "{kinds:?}");
        assert_eq!(kinds.iter().filter(|kind| **kind == 8).count(), 1, "{kinds:?}");
    }
}
