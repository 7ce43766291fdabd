//! One published track.

use std::time::{Duration, Instant};

use hewei_media::{picture_height, starts_keyframe};
use hewei_model::{Codec, MediaKind, Publisher, TrackId};

use crate::{
    history::History,
    layers::{LAYERS_MAX, Ladder, Rung},
    meter::Meter,
    speaker::Loudness,
    subscriber::SubscriberKey,
};

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

/// What any line is taken to carry at first, in bits a second.
const FIRST: u64 = 500_000;
/// A layer comes when a packet of it has come within this time: slow cameras make two pictures a second.
const FLOWS: Duration = Duration::from_millis(1_500);
/// What a publisher needs to begin with a layer again.
const RESUMES: Duration = Duration::from_secs(4);
/// A layer that nobody takes for so long need not be sent.
const UNTAKEN: Duration = Duration::from_secs(5);
/// The recorder's layer has stopped when another one has gone on for so long without it. An encoder that is short of bits
/// leaves out the pictures of one layer, for seconds; where a camera is slow, all layers are.
const LEFT_BEHIND: Duration = Duration::from_millis(600);
/// When its layer stopped, the recorder stays on the one that it went to for so long, if that comes: it begins no new epoch
/// before.
const RECORDER_STAYS: Duration = Duration::from_millis(2_500);

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

/// One of the streams of a source: the only one, or a layer of a simulcast picture.
pub(crate) struct Layer {
    pub(crate) pending: Vec<Pending>,
    pub(crate) history: History,
    pub(crate) meter: Meter,
    pub(crate) sender_report: Option<ClockPoint>,
    pub(crate) keyframe_wanted_at: Option<Instant>,
    /// Of its pictures, in pixels; 0 while it is not known.
    pub(crate) height: u16,
    /// When the last packet of it went out.
    pub(crate) heard: Option<Instant>,
    /// The publisher was told that nobody takes it.
    pub(crate) paused: bool,
    /// And that somebody does again.
    pub(crate) resumed: Option<Instant>,
    pub(crate) untaken_since: Option<Instant>,
}

impl Layer {
    fn new(capacity: usize) -> Self {
        Self {
            pending: Vec::with_capacity(PENDING_MAX),
            history: History::new(capacity),
            meter: Meter::default(),
            sender_report: None,
            keyframe_wanted_at: None,
            height: 0,
            heard: None,
            paused: false,
            resumed: None,
            untaken_since: None,
        }
    }

    /// Whether packets of it come.
    pub(crate) fn flows(&self, now: Instant) -> bool {
        self.heard.is_some_and(|at| now.saturating_duration_since(at) < FLOWS)
    }

    /// Whether it comes, or would when somebody took it.
    fn is_to_be_had(&self, now: Instant) -> bool {
        let resumed = self.resumed.is_some_and(|at| now.saturating_duration_since(at) < RESUMES);
        self.flows(now) || self.paused || resumed
    }
}

/// The layer that the recorder takes.
#[derive(Debug, Clone, Copy)]
struct Recorder {
    takes: usize,
    since: Instant,
    /// When it may go to a larger one.
    rises_at: Instant,
}

pub(crate) struct Source {
    pub(crate) track: TrackId,
    pub(crate) publisher: Publisher,
    pub(crate) codec: Codec,
    /// The order in which sources came, which is the order in which slots are filled.
    pub(crate) order: u64,
    pub(crate) recorded: bool,
    /// The publisher is to be told again which layers somebody takes.
    pub(crate) retell: bool,
    pub(crate) routes: Vec<Route>,
    /// In the order of the offer.
    pub(crate) layers: Vec<Layer>,
    /// Of sound, by what its sender says, since its audience was last changed.
    pub(crate) loudness: Loudness,
    recorder: Option<Recorder>,
}

impl Source {
    pub(crate) fn new(track: TrackId, publisher: Publisher, codec: Codec, layers: usize, order: u64) -> Self {
        let capacity = match codec.kind() {
            MediaKind::Video => VIDEO_HISTORY,
            MediaKind::Audio => AUDIO_HISTORY,
        };
        let layers = layers.clamp(1, LAYERS_MAX);
        Self {
            track,
            publisher,
            codec,
            order,
            recorded: false,
            retell: false,
            routes: Vec::new(),
            // A lower layer needs less for as long.
            layers: (1..=layers).map(|at| Layer::new(capacity >> u32::from(at < layers))).collect(),
            loudness: Loudness::default(),
            recorder: None,
        }
    }

    pub(crate) fn kind(&self) -> MediaKind {
        self.codec.kind()
    }

    pub(crate) fn is_simulcast(&self) -> bool {
        self.layers.len() > 1
    }

    /// Pixels; where a layer has not told it, each is taken to be twice as high as the one before.
    fn height(&self, at: usize) -> u16 {
        let known = self.layers.iter().enumerate().filter(|(_, layer)| layer.height > 0);
        let nearest = known.min_by_key(|(other, _)| other.abs_diff(at));
        nearest.map_or(0, |(other, layer)| match at.checked_sub(other) {
            Some(above) => layer.height.saturating_mul(1 << above),
            None => layer.height >> (other - at),
        })
    }

    /// What a layer sends or would send, in bits a second with headers; a guess while that is not known.
    fn bits_per_second(&self, at: usize, now: Instant) -> u64 {
        let unknown = match self.kind() {
            MediaKind::Video => UNKNOWN_VIDEO,
            MediaKind::Audio => UNKNOWN_AUDIO,
        };
        let meter = &self.layers[at].meter;
        let rate = if self.is_simulcast() { meter.last_rate() } else { meter.rate(now) };
        rate.unwrap_or(unknown >> (self.layers.len() - 1 - at))
    }

    /// The layers that may be taken now. While none of them comes, all of them.
    pub(crate) fn ladder(&self, now: Instant) -> Ladder {
        let none = !self.layers.iter().any(|layer| layer.is_to_be_had(now));
        let layers = self.layers.iter().enumerate();
        Ladder::new(layers.filter(|(_, layer)| none || layer.is_to_be_had(now)).map(|(layer, _)| Rung {
            layer,
            height: self.height(layer),
            bits: self.bits_per_second(layer, now),
        }))
    }

    /// The layer to begin with while it is not known what a line takes.
    pub(crate) fn first_layer(&self, now: Option<Instant>, tile: Option<u16>) -> usize {
        let Some(now) = now else { return 0 };
        let ladder = self.ladder(now);
        ladder.rungs()[ladder.fitting(ladder.highest_for(tile), FIRST)].layer
    }

    /// By the height of its picture; of those of which it is not known, by the order of the offer.
    fn rank(&self, at: usize) -> (u16, usize) {
        (self.height(at), at)
    }

    /// The layer with which a slot begins in which `target` shall play and does not come: the smallest that comes.
    pub(crate) fn stand_in(&self, now: Instant, target: usize) -> Option<usize> {
        if self.layers.get(target).is_none_or(|layer| layer.flows(now)) {
            return None;
        }
        let flowing = (0..self.layers.len()).filter(|at| self.layers[*at].flows(now));
        flowing.min_by_key(|at| self.rank(*at)).filter(|at| self.is_below(*at, target))
    }

    /// Whether one layer is of a smaller picture than another.
    pub(crate) fn is_below(&self, at: usize, other: usize) -> bool {
        self.rank(at) < self.rank(other)
    }

    /// Whether a packet is for the recorder, which takes the largest picture that comes. It goes from one layer to another
    /// at a keyframe: up, though not soon after it had to go down, and to whatever comes when what it took comes no more.
    pub(crate) fn records(&mut self, now: Instant, at: usize, payload: &[u8]) -> bool {
        if !self.is_simulcast() {
            return true;
        }
        if self.recorder.is_some_and(|recorder| recorder.takes == at) {
            return true;
        }
        let goes = match self.recorder {
            None => true,
            Some(recorder) if self.goes_on(now, recorder) => {
                self.is_below(recorder.takes, at) && now >= recorder.rises_at
            }
            // Whatever comes is better than nothing.
            Some(_) => true,
        };
        let goes = goes && self.begins(payload);
        if goes {
            let rises = self.recorder.is_none_or(|recorder| self.is_below(recorder.takes, at));
            let rises_at = if rises { now } else { now + RECORDER_STAYS };
            self.recorder = Some(Recorder { takes: at, since: now, rises_at });
        }
        goes
    }

    /// The layer of which the recorder needs a keyframe: the one it should take. That is the largest that comes; while
    /// none does, the largest that would.
    pub(crate) fn recorder_wants(&self, now: Instant) -> usize {
        if let Some(largest) = self.largest_that_flows(now) {
            return largest;
        }
        let ladder = self.ladder(now);
        ladder.rungs().last().map_or(0, |rung| rung.layer)
    }

    fn largest_that_flows(&self, now: Instant) -> Option<usize> {
        let flowing = (0..self.layers.len()).filter(|at| self.layers[*at].flows(now));
        flowing.max_by_key(|at| self.rank(*at))
    }

    /// The layer with a keyframe of which the recorder would go on at once: it comes, and is not the one that the recorder
    /// takes.
    pub(crate) fn recorder_lacks(&self, now: Instant) -> Option<usize> {
        let largest = self.largest_that_flows(now).filter(|_| self.is_simulcast())?;
        let may_go = self.recorder.is_none_or(|recorder| {
            let stays = self.goes_on(now, recorder) && now < recorder.rises_at;
            recorder.takes != largest && !stays
        });
        may_go.then_some(largest)
    }

    /// Whether packets of the layer come that the recorder takes, and no other layer goes on without it.
    fn goes_on(&self, now: Instant, recorder: Recorder) -> bool {
        // What it was taken by has not gone out yet, and those behind it must not find it gone.
        let heard =
            self.layers[recorder.takes].heard.map_or(recorder.since, |heard| heard.max(recorder.since));
        let newest = self.layers.iter().filter_map(|layer| layer.heard).max();
        let behind = newest.map_or(Duration::ZERO, |newest| newest.saturating_duration_since(heard));
        now.saturating_duration_since(heard) < FLOWS && behind < LEFT_BEHIND
    }

    /// Whether a picture begins with this payload that needs nothing before it. In H.264 a layer does so with its sequence
    /// parameter set: with another layer's its pictures decode to nonsense.
    pub(crate) fn begins(&self, payload: &[u8]) -> bool {
        if self.is_simulcast() {
            picture_height(self.codec, payload).is_some()
        } else {
            starts_keyframe(self.codec, payload)
        }
    }

    /// The layer that the recorder takes.
    pub(crate) fn recorder_takes(&self) -> usize {
        self.recorder.map_or(0, |recorder| recorder.takes)
    }

    /// Which layers somebody takes, by `taken` and for the recorder. `Some` when the publisher is to be told.
    pub(crate) fn review(
        &mut self,
        now: Instant,
        mut taken: [bool; LAYERS_MAX],
    ) -> Option<[bool; LAYERS_MAX]> {
        let order = |at: usize| self.rank(at);
        let all = 0..self.layers.len();
        // The lowest always comes, so that whoever joins has a picture at once.
        if let Some(lowest) = all.clone().min_by_key(|at| order(*at)) {
            taken[lowest] = true;
        }
        if self.recorded {
            // The largest, and while the publisher cannot send that, the largest that it can.
            let to_be_had = all.clone().filter(|at| self.layers[*at].is_to_be_had(now));
            for layer in [all.max_by_key(|at| order(*at)), to_be_had.max_by_key(|at| order(*at))] {
                layer.into_iter().for_each(|layer| taken[layer] = true);
            }
        }
        let mut changed = std::mem::take(&mut self.retell);
        for (layer, taken) in self.layers.iter_mut().zip(&mut taken) {
            if *taken {
                layer.untaken_since = None;
                if std::mem::take(&mut layer.paused) {
                    (layer.resumed, changed) = (Some(now), true);
                }
            } else {
                let since = *layer.untaken_since.get_or_insert(now);
                if !layer.paused && now.saturating_duration_since(since) >= UNTAKEN {
                    (layer.paused, layer.resumed, changed) = (true, None, true);
                }
                *taken = !layer.paused;
            }
        }
        changed.then_some(taken)
    }
}

impl Layer {
    /// Counts what is about to go out.
    pub(crate) fn measure_pending(&mut self, now: Instant) {
        let lens = self.pending.iter().filter_map(|pending| self.history.get(pending.seq));
        self.meter.add(now, lens.map(|kept| kept.payload.len() as u64 + OVERHEAD).sum());
        self.heard = Some(now);
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
