//! Rooms, audience sets and routes: who receives which packet, rewritten how.
//!
//! A [`Room`] has *sources*, each one track of a publisher, and *subscribers*, each with *slots* in which any
//! source of the right kind can play. A picture may come in *layers* (simulcast), of which a slot plays one. The audience of a source decides who may receive it; a change of the
//! audience has taken effect when the call returns. Knows nothing of sockets, encryption or time but what it is
//! given. The engine calls it.
//!
//! **The contract.** Change the room, then drain [`Room::poll_output`] and
//! [`Room::poll_keyframe_wanted`]. Give packets to [`Room::ingest`], take
//! what they became by [`Room::flush`] before the next change, and drain the outputs again.

mod history;
mod holding;
mod layers;
mod meter;
mod pictures;
mod rewrite;
mod room;
mod source;
mod speaker;
mod subscriber;

pub use layers::LAYERS_MAX;
pub use room::{Output, Room};
pub use source::{Incoming, SourceKey};
pub use subscriber::{Fill, Outgoing, Playing, SlotId, SlotOffer, SubscriberKey};
