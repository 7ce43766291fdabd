//! One receiver with its slots.

use hewei_media::vp8::Numbers;
use hewei_model::{Codec, MediaKind, ParticipantId, Publisher};

use crate::{
    holding::Holding,
    layers::{Choice, LAYERS_MAX},
    pictures::Pictures,
    rewrite::Rewriter,
    source::SourceKey,
    speaker::Speaker,
};

/// A subscriber, by the number the caller gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SubscriberKey(pub u32);

/// A slot of a subscriber, by the number the caller gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SlotId(pub u16);

/// Which of the sources it may receive a subscriber gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fill {
    /// All, as they come and go.
    Follow,
    /// Those of one publisher.
    Only(Publisher),
    /// Those there were when its slots were first set.
    Now,
}

/// A slot as the subscriber offers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotOffer {
    /// Number.
    pub id: SlotId,
    /// Sound or picture.
    pub kind: MediaKind,
    /// The codecs that may play in it.
    pub codecs: Vec<Codec>,
}

/// What plays in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Playing {
    /// Slot.
    pub slot: SlotId,
    /// Sound or picture.
    pub kind: MediaKind,
    /// Whose.
    pub publisher: Publisher,
    /// The line is too narrow for it now.
    pub held: bool,
}

/// A packet on its way to a subscriber.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// To whom.
    pub subscriber: SubscriberKey,
    /// Into which slot.
    pub slot: SlotId,
    /// Codec.
    pub codec: Codec,
    /// Marker bit.
    pub marker: bool,
    /// Extended outgoing sequence number.
    pub index: u64,
    /// Outgoing timestamp.
    pub timestamp: u32,
    /// Payload.
    pub payload: &'a [u8],
    /// What stands in the payload in place of its own numbers.
    pub numbers: Numbers,
    /// Bytes of padding to add.
    pub pad: u8,
    /// The extended outgoing sequence number with which what plays now began to play in the slot.
    pub run_start: u64,
}

pub(crate) struct Slot {
    pub(crate) offer: SlotOffer,
    pub(crate) playing: Option<SourceKey>,
    /// The layer that shall play.
    pub(crate) target: usize,
    /// The layer that plays, while a run is on.
    pub(crate) layer: usize,
    /// What each layer of the source had written when it began to play here. What came before is not for the subscriber:
    /// it may not have been in the audience then.
    pub(crate) since: [u64; LAYERS_MAX],
    pub(crate) rewriter: Rewriter,
    pub(crate) pictures: Pictures,
    pub(crate) holding: Holding,
    pub(crate) choice: Choice,
}

impl Slot {
    /// `first_index` as of [`Rewriter::new`].
    pub(crate) fn new(offer: SlotOffer, first_index: u16) -> Self {
        Self {
            offer,
            playing: None,
            target: 0,
            layer: 0,
            since: [0; LAYERS_MAX],
            rewriter: Rewriter::new(first_index),
            pictures: Pictures::default(),
            holding: Holding::default(),
            choice: Choice::default(),
        }
    }

    /// Nothing plays any more.
    pub(crate) fn clear(&mut self) {
        self.playing = None;
        self.rewriter.stop();
        self.holding = Holding::default();
        self.choice = Choice::default();
    }

    /// The layer that plays now.
    pub(crate) fn running(&self) -> Option<usize> {
        self.rewriter.is_running().then_some(self.layer)
    }
}

/// Publishers in a view at the most; those beyond are drawn large.
pub(crate) const VIEW_MAX: usize = 64;

pub(crate) struct Subscriber {
    pub(crate) participant: ParticipantId,
    pub(crate) fill: Fill,
    /// Connected.
    pub(crate) ready: bool,
    /// No source is placed any more (`Fill::Now`, after the first time).
    pub(crate) frozen: bool,
    pub(crate) slots: Vec<Slot>,
    /// How high each publisher's picture is drawn, in pixels. Who is not here is drawn large.
    pub(crate) view: Vec<(Publisher, u16)>,
    pub(crate) speaker: Speaker,
    /// The last number of slots asked for.
    pub(crate) asked: (u32, u32),
}

impl Subscriber {
    pub(crate) fn view_of(&self, publisher: Publisher) -> Option<u16> {
        self.view.iter().find(|(known, _)| *known == publisher).map(|(_, height)| *height)
    }
}
