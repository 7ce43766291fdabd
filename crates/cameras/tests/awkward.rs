//! A camera that does what cameras do and gst-rtsp-server does not: it begins amid a group of pictures, loses
//! packets inside itself, marks the end of a picture where there is none, and sends µ-law in long packets.

#![allow(clippy::unwrap_used, reason = "a test may stop at what it did not expect")]

mod support;

use std::{io::Write, net::TcpStream};

use hewei_cameras::State;
use hewei_model::{Codec, MediaKind};
use support::*;

const SDP: &str = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\n\
    m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\na=control:v\r\n\
    m=audio 0 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=control:a\r\n";

const SPS: &[u8] = &[0x67, 0x42, 0xC0, 0x1E, 0xDA, 0x02, 0x80, 0xBF, 0xE5, 0xC0, 0x44];
const PPS: &[u8] = &[0x68, 0xCE, 0x3C, 0x80];
const IDR: &[u8] = &[0x65, 0x88, 0x84, 1, 2, 3];
const FIRST_SEQUENCE: u16 = 65_533;
const FIRST_TIMESTAMP: u32 = u32::MAX - 6_000;

/// Answers the requests of a session, and sends `media` once it plays.
fn awkward_camera(media: impl Fn(&mut TcpStream) + Send + 'static) -> u16 {
    serve(move |request, stream| {
        let sequence = header(&request, "CSeq:");
        let method = request.split(' ').next().unwrap_or_default();
        let more = match method {
            "DESCRIBE" => {
                format!("Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{SDP}", SDP.len())
            }
            "SETUP" => {
                let channels = if request.contains("/v RTSP") { "0-1" } else { "2-3" };
                // A session id of its own for each track, as some makes have it.
                format!(
                    "Session: s{channels}\r\nTransport: RTP/AVP/TCP;unicast;interleaved={channels}\r\n\r\n"
                )
            }
            _ => "Session: s0-1\r\n\r\n".to_owned(),
        };
        let _ = write!(stream, "RTSP/1.0 200 OK\r\nCSeq: {sequence}\r\n{more}");
        if method == "PLAY" {
            media(stream);
        }
    })
}

fn send(stream: &mut TcpStream, channel: u8, number: u16, picture: u32, marker: bool, payload: &[u8]) {
    let mut packet = vec![b'$', channel];
    packet.extend_from_slice(&(payload.len() as u16 + 12).to_be_bytes());
    packet.extend_from_slice(&[0x80, if marker { 0x80 } else { 0 } | if channel == 0 { 96 } else { 0 }]);
    packet.extend_from_slice(&FIRST_SEQUENCE.wrapping_add(number).to_be_bytes());
    packet.extend_from_slice(&FIRST_TIMESTAMP.wrapping_add(picture * 3_000).to_be_bytes());
    packet.extend_from_slice(&[0, 0, 0, channel + 1]);
    packet.extend_from_slice(payload);
    let _ = stream.write_all(&packet);
}

#[tokio::test]
async fn is_made_good_where_it_can_be() {
    let port = awkward_camera(|stream| {
        send(stream, 0, 0, 0, true, b"\x41amid");
        send(stream, 0, 1, 1, true, b"\x41a group");
        send(stream, 0, 2, 2, true, SPS);
        send(stream, 0, 3, 2, true, PPS);
        send(stream, 0, 4, 2, true, IDR);
        send(stream, 0, 5, 3, true, b"\x41next");
        // Two are missing.
        send(stream, 0, 8, 4, true, b"\x41after the loss");
        // A keyframe without its parameter sets.
        send(stream, 0, 9, 5, true, IDR);
        send(stream, 2, 0, 0, true, &[0xD5; 2_500]);
    });
    let (cameras, collector) = cameras(camera_at(port), settings());
    let _demand = cameras.demand(CAMERA).unwrap();
    until_state(&cameras, State::Live).await;
    until("all of it", || collector.got().audio.len() == 3).await;

    let got = collector.got();
    assert_eq!(got.tracks, [(MediaKind::Video, Codec::H264), (MediaKind::Audio, Codec::Pcmu)]);
    let start = sequence(&got.video[0]);
    let sets = [&[0x78, 0, SPS.len() as u8], SPS, &[0, PPS.len() as u8], PPS].concat();
    let expected: [(u16, u32, bool, &[u8]); 7] = [
        (0, 2, false, SPS),
        (1, 2, false, PPS),
        (2, 2, true, IDR),
        (3, 3, true, b"\x41next"),
        (6, 4, true, b"\x41after the loss"),
        (7, 5, false, &sets),
        (8, 5, true, IDR),
    ];
    assert_eq!(got.video.len(), expected.len());
    for (rtp, (number, picture, marker, payload)) in got.video.iter().zip(expected) {
        assert_eq!(sequence(rtp).wrapping_sub(start), number);
        assert_eq!(timestamp(rtp), FIRST_TIMESTAMP.wrapping_add(picture * 3_000), "the camera's own");
        assert_eq!(rtp[1] >> 7 == 1, marker, "{payload:?}");
        assert_eq!(&rtp[12..], payload);
    }
    let samples: Vec<usize> = got.audio.iter().map(|rtp| rtp.len() - 12).collect();
    assert_eq!(samples, [1_200, 1_200, 100]);
    check_rtp(&got.audio);
    assert_eq!(timestamp(&got.audio[2]).wrapping_sub(timestamp(&got.audio[0])), 2_400);
}
