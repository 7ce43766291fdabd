//! Cameras that die, hang, refuse or talk nonsense: the right state, within 6 s, and back by themselves.

#![allow(clippy::unwrap_used, reason = "a test may stop at what it did not expect")]

mod support;

use std::{
    io::Write,
    net::TcpListener,
    time::{Duration, SystemTime},
};

use hewei_cameras::{Credentials, Settings, State};
use support::*;

const RIGHT_WITHIN: Duration = Duration::from_secs(6);

#[tokio::test]
async fn killed_and_back() {
    let mut source = Source::start(&["--index", "0"]);
    let (cameras, collector) = cameras(source.camera(), settings());
    let _demand = cameras.demand(CAMERA).unwrap();
    until_state(&cameras, State::Live).await;
    until("pictures", || pictures(&collector.got().video).len() > 20).await;

    source.kill();
    let (status, took) = until_state(&cameras, State::Unreachable).await;
    assert!(took < RIGHT_WITHIN, "{took:?}");
    let wait = status.next_try.unwrap().duration_since(SystemTime::now()).unwrap_or_default();
    assert!(wait < Duration::from_millis(1_300), "a camera that was live is tried again soon: {wait:?}");
    assert!(status.detail.is_some());
    // It stays so, without flickering, while tries fail.
    let mut changes = cameras.subscribe();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let mut tries = 0;
    while let Ok((_, status)) = changes.try_recv() {
        assert_eq!(status.state, State::Unreachable);
        tries += usize::from(status.next_try.is_none());
    }
    assert!(tries >= 1);

    source.restart();
    until_state(&cameras, State::Live).await;
    let before = collector.got().video.len();
    until("pictures again", || pictures(&collector.got().video[before..]).len() > 20).await;

    // For whoever receives it, it is one stream with a pause.
    let got = collector.got();
    assert_eq!((got.pulls, got.ended, got.tracks.len()), (1, 0, 2));
    check_rtp(&got.video);
    check_rtp(&got.audio);
    let steps = got.video.windows(2).map(|pair| timestamp(&pair[1]).wrapping_sub(timestamp(&pair[0])));
    let pause = f64::from(steps.max().unwrap()) / 90_000.0;
    assert!((1.4..40.0).contains(&pause), "the time away is on the timeline: {pause} s");
}

#[tokio::test]
async fn stopped_and_back() {
    let source = Source::start(&["--index", "1"]);
    let (cameras, _collector) = cameras(source.camera(), settings());
    let _demand = cameras.demand(CAMERA).unwrap();
    until_state(&cameras, State::Live).await;

    source.stop();
    let (status, took) = until_state(&cameras, State::NoMedia).await;
    assert!(took < RIGHT_WITHIN, "{took:?}");
    assert_eq!(status.detail.as_deref(), Some("no H264 for 5 s"));

    source.go_on();
    until_state(&cameras, State::Live).await;
    until("no more than the one connection", || source.connections() == 1).await;
}

#[tokio::test]
async fn wrong_password() {
    let source = Source::start(&["--index", "2"]);
    let wrong = Credentials { user: USER.into(), password: "a-wrong-password".into() };
    let mut camera = source.camera();
    camera.credentials = Some(wrong);
    let (cameras, collector) = cameras(camera.clone(), settings());
    let _demand = cameras.demand(CAMERA).unwrap();
    let (status, _) = until_state(&cameras, State::AuthFailed).await;
    let wait = status.next_try.unwrap().duration_since(SystemTime::now()).unwrap();
    assert!((25..=60).contains(&wait.as_secs()), "cameras lock out who tries too often: {wait:?}");
    let shown = format!("{status:?} {camera:?} {cameras:?}");
    assert!(!shown.contains("a-wrong-password") && !shown.contains(USER), "{shown}");

    camera.credentials = None;
    cameras.update(camera).unwrap();
    let start = std::time::Instant::now();
    while !cameras.status(CAMERA).unwrap().detail.is_some_and(|detail| detail.contains("none are set")) {
        assert!(start.elapsed() < SOON);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    // The right one helps at once.
    cameras.update(source.camera()).unwrap();
    until_state(&cameras, State::Live).await;
    assert_eq!(collector.got().pulls, 1);
}

#[tokio::test]
async fn nothing_listens() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (cameras, collector) = cameras(camera_at(port), settings());
    let demand = cameras.demand(CAMERA).unwrap();
    let (status, took) = until_state(&cameras, State::Unreachable).await;
    assert!(took < RIGHT_WITHIN, "{took:?}");
    assert!(status.next_try.is_some());
    assert!(status.detail.unwrap().contains("refused"));

    // Each wait is longer than the one before.
    let mut changes = cameras.subscribe();
    let mut waits = Vec::new();
    while waits.len() < 2 {
        let (_, status) = tokio::time::timeout(SOON, changes.recv()).await.unwrap().unwrap();
        if let Some(next) = status.next_try {
            waits.push(next.duration_since(SystemTime::now()).unwrap_or_default());
        }
    }
    assert!(waits[0] < waits[1], "{waits:?}");

    // Demands that end while it waits end the pull too.
    drop(demand);
    until_state(&cameras, State::Idle).await;
    assert_eq!(collector.got().ended, 1);
    assert_eq!(collector.got().tracks, []);
}

#[tokio::test]
async fn garbage_is_an_error_and_no_more() {
    let garbage: Vec<Vec<u8>> = vec![
        (0..3_000).map(|i| (i * 31 % 251) as u8).collect(),
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".to_vec(),
        b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: 99999999999\r\n\r\n".to_vec(),
        b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Type: application/sdp\r\nContent-Length: 4\r\n\r\nv=0\n"
            .to_vec(),
        b"$\x00\xFF\xFF".to_vec(),
        b"\r\n".repeat(2_000),
    ];
    for bytes in garbage {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
        let port = serve(move |_, stream| {
            let _ = stream.write_all(&bytes);
            let _ = stream.shutdown(std::net::Shutdown::Both);
        });
        let (cameras, collector) = cameras(camera_at(port), settings());
        let _demand = cameras.demand(CAMERA).unwrap();
        until(&shown, || {
            let status = cameras.status(CAMERA).unwrap();
            matches!(status.state, State::Unreachable | State::NoMedia) && status.detail.is_some()
        })
        .await;
        cameras.shutdown().await;
        assert_eq!(collector.got().ended, 1);
    }
}

#[tokio::test]
async fn silence_is_no_answer() {
    let port = serve(|_, _| {});
    let settings = Settings { connect_timeout: Duration::from_secs(1), ..settings() };
    let (cameras, _collector) = cameras(camera_at(port), settings);
    let _demand = cameras.demand(CAMERA).unwrap();
    let (status, took) = until_state(&cameras, State::Unreachable).await;
    assert!(took < RIGHT_WITHIN, "{took:?}");
    assert_eq!(status.detail.unwrap(), format!("127.0.0.1:{port} did not answer within 1 s"));
}

#[tokio::test]
async fn what_a_browser_cannot_show_is_no_media() {
    let port = serve(|request, stream| {
        let sdp = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H265/90000\r\n\
                   a=control:a\r\nm=audio 0 RTP/AVP 97\r\na=rtpmap:97 MPEG4-GENERIC/16000\r\na=control:b\r\n";
        let head = format!(
            "RTSP/1.0 200 OK\r\nCSeq: {}\r\nContent-Type: application/sdp",
            header(&request, "CSeq:")
        );
        let _ = write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{sdp}", sdp.len());
    });
    let (cameras, _collector) = cameras(camera_at(port), settings());
    let _demand = cameras.demand(CAMERA).unwrap();
    let (status, _) = until_state(&cameras, State::NoMedia).await;
    let detail = status.detail.unwrap();
    assert!(detail.contains("video/h265, audio/mpeg4-generic"), "{detail}");
}

#[tokio::test]
async fn a_server_that_echoes_credentials_does_not_get_them_shown() {
    // Asks for Basic, then sends what it got back where retina quotes it.
    let port = serve(|request, stream| {
        let sequence = header(&request, "CSeq:");
        let authorization = header(&request, "Authorization:");
        let _ = if authorization.is_empty() {
            let ask = "WWW-Authenticate: Basic realm=\"x\"";
            write!(
                stream,
                "RTSP/1.0 401 Unauthorized\r\nCSeq: {sequence}\r\n{ask}\r\nContent-Length: 0\r\n\r\n"
            )
        } else {
            assert!(authorization.starts_with("Basic "));
            write!(stream, "RTSP/1.0 200 {authorization}\r\nCSeq: 77\r\nContent-Length: 0\r\n\r\n")
        };
    });
    let (cameras, _collector) = cameras(camera_at(port), settings());
    let _demand = cameras.demand(CAMERA).unwrap();
    let (status, _) = until_state(&cameras, State::Unreachable).await;
    let detail = status.detail.unwrap();
    assert_eq!(detail, format!("what answers at 127.0.0.1:{port} does not speak RTSP as it should"));
}
