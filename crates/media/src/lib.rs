//! Bytes: RTP, RTCP, codecs and clocks, read and written in place.
//!
//! Owns the formats of media on the wire. Never opens a socket, reads a clock or knows who may see what.
//! `peer` and `sfu` call it for every packet, `cameras` and `recorder` for packets and frames.

pub mod audio_level;
pub mod framing;
pub mod h264;
pub mod opus;
pub mod red;
pub mod reorder;
pub mod rtcp;
pub mod rtp;
pub mod seq;
pub mod transport_feedback;
pub mod vp8;

use hewei_model::Codec;

/// Whether a decoder can start at this RTP payload: an IDR with its parameter sets ahead of it in the same
/// packet or alone (H.264), a keyframe's first packet (VP8), anything at all (audio).
pub fn starts_keyframe(codec: Codec, payload: &[u8]) -> bool {
    match codec {
        Codec::H264 => h264::starts_keyframe(payload),
        Codec::Vp8 => vp8::starts_keyframe(payload),
        Codec::Opus | Codec::Pcma | Codec::Pcmu => true,
    }
}

/// The height in pixels of the pictures that begin with this RTP payload, where it says so: a keyframe's first packet
/// (VP8), a sequence parameter set (H.264).
pub fn picture_height(codec: Codec, payload: &[u8]) -> Option<u16> {
    match codec {
        Codec::H264 => h264::picture_height(payload),
        Codec::Vp8 => {
            let descriptor = vp8::Descriptor::parse(payload).filter(vp8::Descriptor::starts_frame)?;
            vp8::dimensions(&payload[descriptor.len..]).map(|(_, height)| height)
        }
        Codec::Opus | Codec::Pcma | Codec::Pcmu => None,
    }
}
