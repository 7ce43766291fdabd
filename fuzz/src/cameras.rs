//! `hewei_cameras`: addresses that people type, and payloads that cameras send.

use hewei_cameras::{Address, h264::Rewriter};
use hewei_media::h264::PAYLOAD_BYTES_MAX;

use crate::input::Input;

/// A camera's address: what is shown of it holds nothing of path or query.
pub fn camera_address(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(address) = text.parse::<Address>() else { return };
    let url = address.as_url();
    assert!(url.scheme() == "rtsp" && url.username().is_empty() && url.password().is_none());
    assert_eq!(address.to_string(), format!("rtsp://{}/…", address.host_and_port()));
}

/// H.264 payloads of a camera, one piece each.
pub fn camera_h264(data: &[u8]) {
    let mut input = Input(data);
    let mut rewriter = match (input.byte(), input.piece(), input.piece()) {
        (Some(1), Some(sps), Some(pps)) => Rewriter::new(Some((sps, pps))),
        _ => Rewriter::new(None),
    };
    let mut out = |payload: &[u8], _: bool, _: u32| {
        assert!((1..=PAYLOAD_BYTES_MAX).contains(&payload.len()));
    };
    while let (Some(flags), Some(payload)) = (input.byte(), input.piece()) {
        if flags & 0x80 != 0 {
            rewriter.lost(&mut out);
        }
        rewriter.push(payload, flags & 0x10 != 0, u32::from(flags & 0x0f), &mut out);
    }
}
