//! Media shards: sockets, timers, the run loop and taps.
//!
//! A shard is one OS thread with its own socket on the one UDP port. A room lives whole on one shard, so a
//! packet is received, routed and sent without a lock (`docs/design/shards.md`). [`Engine`] is the handle the
//! rest of the server holds; its calls travel to the shard as commands, and what happens there comes back as
//! [`Event`]s.

mod byte_ring;
mod command;
mod config;
mod counters;
mod egress;
mod event;
mod handle;
mod shard;
mod source;
mod streams;
mod sys;
pub mod tap;

pub use config::Config;
pub use event::{CloseReason, Event, Slot};
pub use handle::{Engine, IceUpdate, Offer, OfferError, SlotFill, StartError};
pub use hewei_peer::sdpfrag::FRAGMENT_LEN_MAX;
pub use source::SourceWriter;
pub use streams::Unwanted;
pub use sys::{KernelClock, kernel_clock, mono_now};
