//! To be written.

/// Whether a decoder can start at this RTP payload.
pub fn starts_keyframe(_payload: &[u8]) -> bool {
    false
}
