//! The m-lines of a peer: what it publishes, and the slots it receives in.

use std::time::Instant;

use hewei_media::seq::SeqExtender;
use hewei_model::{Codec, MediaKind};

use crate::{
    nack::NackGenerator,
    reception::StreamReception,
    redundancy::{Given, Repeats},
    sdp::{Extensions, OfferedCodec},
};

/// An m-line of a peer, counted from 0 in the order of the offer. It never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MediaIndex(pub u16);

pub(crate) struct Media {
    pub(crate) mid: String,
    pub(crate) kind: Option<MediaKind>,
    pub(crate) stopped: bool,
    pub(crate) used: Use,
}

impl Media {
    /// The streams that come on it.
    pub(crate) fn streams(&mut self) -> &mut [Stream] {
        match &mut self.used {
            Use::Publication(publication) => &mut publication.streams,
            _ => &mut [],
        }
    }
}

/// What an m-line is for.
pub enum Use {
    /// Nothing, for now or for good.
    Unused,
    /// The peer sends, we receive.
    Publication(Box<Publication>),
    /// We send, the peer receives.
    Slot(Box<Slot>),
}

/// A track that the peer publishes.
pub struct Publication {
    /// Its codec.
    pub codec: Codec,
    /// Begun by the last offer.
    pub(crate) is_new: bool,
    pub(crate) payload_type: u8,
    pub(crate) rtx_payload_type: Option<u8>,
    /// Packets that carry earlier frames once more: their payload type, and which frames need no other.
    pub(crate) red: Option<(u8, Given)>,
    pub(crate) extensions: Extensions,
    pub(crate) takes_pli: bool,
    /// One, or the layers of a simulcast picture in the order of the offer.
    pub(crate) streams: Vec<Stream>,
}

/// One RTP stream of a publication.
pub(crate) struct Stream {
    /// The name of its layer; `None` when it is the only one.
    pub(crate) rid: Option<String>,
    /// Its SSRC: signalled, or that of its first packet.
    pub(crate) ssrc: Option<u32>,
    pub(crate) rtx_ssrc: Option<u32>,
    pub(crate) nack: Option<NackGenerator>,
    pub(crate) seq: SeqExtender,
    pub(crate) reception: StreamReception,
    pub(crate) keyframe_wanted: bool,
    pub(crate) keyframe_asked_at: Option<Instant>,
    pub(crate) fir_count: u8,
}

impl Publication {
    /// Whether no packet of it has come yet.
    pub fn is_fresh(&self) -> bool {
        self.streams.iter().all(|stream| stream.seq.highest().is_none())
    }

    /// How many layers it comes in; 1 when it is no simulcast.
    pub fn layers(&self) -> usize {
        self.streams.len()
    }

    /// The name of a layer; `None` when it is no simulcast.
    pub fn rid(&self, layer: usize) -> Option<&str> {
        self.streams.get(layer)?.rid.as_deref()
    }

    /// Whether it is of these layers.
    pub(crate) fn is_of(&self, rids: &[String]) -> bool {
        let own = self.streams.iter().filter_map(|stream| stream.rid.as_ref());
        own.eq(rids)
    }

    /// `rids` are the layers, if there are any; those have no signalled SSRC.
    pub(crate) fn new(
        codec: &OfferedCodec,
        ssrc: Option<u32>,
        rtx_ssrc: Option<u32>,
        rids: Vec<String>,
        extensions: Extensions,
    ) -> Self {
        let takes = |wanted: &str| codec.feedback.iter().any(|feedback| feedback == wanted);
        let video = codec.codec.kind() == MediaKind::Video;
        let stream = |rid: Option<String>| Stream {
            ssrc: ssrc.filter(|_| rid.is_none()),
            rtx_ssrc: rtx_ssrc.filter(|_| rid.is_none()),
            rid,
            nack: (video && takes("nack")).then(NackGenerator::default),
            seq: SeqExtender::default(),
            reception: StreamReception::default(),
            keyframe_wanted: false,
            keyframe_asked_at: None,
            fir_count: 0,
        };
        Self {
            codec: codec.codec,
            is_new: true,
            payload_type: codec.payload_type,
            rtx_payload_type: codec.rtx_payload_type,
            red: codec.red_payload_type.map(|payload_type| (payload_type, Given::default())),
            extensions,
            takes_pli: takes("nack pli"),
            streams: if rids.is_empty() {
                vec![stream(None)]
            } else {
                rids.into_iter().map(|rid| stream(Some(rid))).collect()
            },
        }
    }
}

/// A place where any source of the right kind can play.
pub struct Slot {
    /// The codecs that may play in it.
    pub codecs: Vec<OfferedCodec>,
    /// The id of the transport-wide sequence number, when the peer tells what arrives.
    pub(crate) transport_cc: Option<u8>,
    pub(crate) ssrc: u32,
    pub(crate) rtx_ssrc: u32,
    pub(crate) rtx_seq: u64,
    /// What went out last, when the peer takes it once more.
    pub(crate) repeats: Option<Box<Repeats>>,
    pub(crate) packets: u32,
    pub(crate) octets: u32,
}

impl Slot {
    /// How this codec is to be sent, if the peer takes it.
    pub(crate) fn offered(&self, codec: Codec) -> Option<&OfferedCodec> {
        self.codecs.iter().find(|offered| offered.codec == codec)
    }

    /// The payload type of its retransmissions, if the peer tells which of them arrive.
    pub(crate) fn padding_payload_type(&self) -> Option<u8> {
        self.transport_cc?;
        self.codecs.iter().find_map(|codec| codec.rtx_payload_type)
    }
}
