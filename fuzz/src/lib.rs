//! What strangers send, thrown at each parser of ours: one function a target.
//!
//! A target is a function of bytes that must return, whatever the bytes: it may not panic, run away or forget a rule
//! it states by an assertion. `cargo fuzz run NAME` looks for bytes that break it; `tests/corpus.rs` replays the
//! corpus on stable Rust, with changes drawn by a seed. A new parser gets a target here, a bin beside the others and
//! a corpus. Called by nothing else.

mod access;
mod cameras;
mod evidence;
mod input;
mod media;
mod peer;
mod recorder;
mod turn;

pub use access::{api_message, range, settings, token};
pub use cameras::{camera_address, camera_h264};
pub use evidence::{journal, package, seal};
pub use media::{framing, h264, opus, red, reorder, rtcp, rtp, vp8};
pub use peer::{dtls, sdp, sdpfrag, srtp, stun};
pub use recorder::recording;
pub use turn::turn;

/// A target: takes any bytes, and returns.
pub type Target = fn(&[u8]);

/// Every target with its name, which is that of its bin and of its corpus.
pub const TARGETS: [(&str, Target); 24] = [
    ("api_message", api_message),
    ("camera_address", camera_address),
    ("camera_h264", camera_h264),
    ("dtls", dtls),
    ("framing", framing),
    ("h264", h264),
    ("journal", journal),
    ("opus", opus),
    ("package", package),
    ("range", range),
    ("recording", recording),
    ("red", red),
    ("reorder", reorder),
    ("rtcp", rtcp),
    ("rtp", rtp),
    ("sdp", sdp),
    ("sdpfrag", sdpfrag),
    ("seal", seal),
    ("settings", settings),
    ("srtp", srtp),
    ("stun", stun),
    ("token", token),
    ("turn", turn),
    ("vp8", vp8),
];
