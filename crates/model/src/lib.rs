//! The nouns of Hewei: typed ids, roles, regions, codecs and units.
//!
//! Owns the words every other crate speaks in. Never does I/O, reads no clock and knows no wire format.

mod codec;
mod id;
mod origin;
mod role;
mod time;

pub use codec::{Codec, MediaKind};
pub use id::*;
pub use origin::{InvalidOrigin, Origin};
pub use role::{Audience, Publisher, Role};
pub use time::{Bitrate, MediaTime, MonoNs};
