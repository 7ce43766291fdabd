//! Codecs and kinds of media.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Sound or picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MediaKind {
    /// Sound.
    Audio,
    /// Picture.
    Video,
}

impl MediaKind {
    /// The name on the wire and in SDP (`m=audio`, `m=video`).
    pub const fn as_str(self) -> &'static str {
        match self {
            MediaKind::Audio => "audio",
            MediaKind::Video => "video",
        }
    }
}

/// A codec that passes through Hewei.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Codec {
    /// H.264 (RFC 6184), packetization mode 1.
    H264,
    /// VP8 (RFC 7741).
    Vp8,
    /// Opus (RFC 7587).
    Opus,
    /// G.711 A-law (RFC 3551).
    Pcma,
    /// G.711 µ-law (RFC 3551).
    Pcmu,
}

impl Codec {
    /// Sound or picture.
    pub const fn kind(self) -> MediaKind {
        match self {
            Codec::H264 | Codec::Vp8 => MediaKind::Video,
            Codec::Opus | Codec::Pcma | Codec::Pcmu => MediaKind::Audio,
        }
    }

    /// RTP clock rate in hertz.
    pub const fn clock_rate_hz(self) -> u32 {
        match self {
            Codec::H264 | Codec::Vp8 => 90_000,
            Codec::Opus => 48_000,
            Codec::Pcma | Codec::Pcmu => 8_000,
        }
    }

    /// The encoding name of `a=rtpmap` (compared without case).
    pub const fn rtpmap_name(self) -> &'static str {
        match self {
            Codec::H264 => "H264",
            Codec::Vp8 => "VP8",
            Codec::Opus => "opus",
            Codec::Pcma => "PCMA",
            Codec::Pcmu => "PCMU",
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.rtpmap_name())
    }
}
