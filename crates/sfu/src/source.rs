//! One published track.

use std::time::Instant;

use hewei_model::{Codec, MediaKind, Publisher, TrackId};

use crate::{history::History, meter::Meter, subscriber::SubscriberKey};

/// Bytes of video kept for retransmission: two seconds at 2 Mbit/s.
const VIDEO_HISTORY: usize = 512 * 1024;
/// Sound is not retransmitted; what is kept is what one batch may bring.
const AUDIO_HISTORY: usize = 32 * 1024;
/// Packets of one source between two flushes: what a receive batch may bring. More is dropped by the caller
/// flushing first.
pub(crate) const PENDING_MAX: usize = 64;

/// Header, extension and tag of a packet that goes out.
const OVERHEAD: u64 = 36;
/// What a source is taken to send before a second of it was seen, in bits a second.
const UNKNOWN_VIDEO: u64 = 600_000;
const UNKNOWN_AUDIO: u64 = 50_000;

/// A source of a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SourceKey(pub(crate) u32);

/// A packet of a source.
#[derive(Debug, Clone, Copy)]
pub struct Incoming<'a> {
    /// Extended sequence number.
    pub seq: u64,
    /// Timestamp.
    pub timestamp: u32,
    /// Marker bit.
    pub marker: bool,
    /// Payload without padding.
    pub payload: &'a [u8],
}

/// Where a source goes: into this slot of this subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) subscriber: SubscriberKey,
    pub(crate) slot: usize,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Pending {
    pub(crate) seq: u64,
    pub(crate) pad: u8,
}

/// A moment on the publisher's clocks, and when we learnt of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClockPoint {
    pub(crate) ntp: u64,
    pub(crate) rtp_timestamp: u32,
    pub(crate) at: Instant,
}

pub(crate) struct Source {
    pub(crate) track: TrackId,
    pub(crate) publisher: Publisher,
    pub(crate) codec: Codec,
    /// The order in which sources came, which is the order in which slots are filled.
    pub(crate) order: u64,
    pub(crate) recorded: bool,
    pub(crate) routes: Vec<Route>,
    pub(crate) pending: Vec<Pending>,
    pub(crate) history: History,
    pub(crate) meter: Meter,
    pub(crate) sender_report: Option<ClockPoint>,
    pub(crate) keyframe_wanted_at: Option<Instant>,
}

impl Source {
    pub(crate) fn new(track: TrackId, publisher: Publisher, codec: Codec, order: u64) -> Self {
        let capacity = match codec.kind() {
            MediaKind::Video => VIDEO_HISTORY,
            MediaKind::Audio => AUDIO_HISTORY,
        };
        Self {
            track,
            publisher,
            codec,
            order,
            recorded: false,
            routes: Vec::new(),
            pending: Vec::with_capacity(PENDING_MAX),
            history: History::new(capacity),
            meter: Meter::default(),
            sender_report: None,
            keyframe_wanted_at: None,
        }
    }

    pub(crate) fn kind(&self) -> MediaKind {
        self.codec.kind()
    }

    /// What it sends, in bits a second with headers; a guess while that is not known.
    pub(crate) fn bits_per_second(&self, now: Instant) -> u64 {
        let unknown = match self.kind() {
            MediaKind::Video => UNKNOWN_VIDEO,
            MediaKind::Audio => UNKNOWN_AUDIO,
        };
        self.meter.rate(now).unwrap_or(unknown)
    }

    /// Counts what is about to go out.
    pub(crate) fn measure_pending(&mut self, now: Instant) {
        let lens = self.pending.iter().filter_map(|pending| self.history.get(pending.seq));
        self.meter.add(now, lens.map(|kept| kept.payload.len() as u64 + OVERHEAD).sum());
    }

    /// Makes neighbours equally long where a few bytes of padding do it, so that they leave in one segmented
    /// send. A run's last packet may stay shorter.
    pub(crate) fn pad_pending(&mut self) {
        const PAD_MAX: usize = 4;
        let history = &self.history;
        let len = |pending: &Pending| history.get(pending.seq).map_or(0, |kept| kept.payload.len());
        let mut rest = &mut self.pending[..];
        while let [first, ..] = rest {
            let (mut min, mut max, mut count) = (len(first), len(first), 1);
            for next in &rest[1..] {
                let next = len(next);
                if min.min(next) + PAD_MAX < max.max(next) {
                    break;
                }
                (min, max, count) = (min.min(next), max.max(next), count + 1);
            }
            let (run, behind) = std::mem::take(&mut rest).split_at_mut(count);
            if let [padded @ .., _] = run {
                for pending in padded {
                    pending.pad = (max - len(pending)) as u8;
                }
            }
            rest = behind;
        }
    }
}
