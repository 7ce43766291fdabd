//! One track: packets in, fragments and gaps out.
//!
//! Owns the way from RTP to a container's fragments: order, frames, the timeline, where a gap is and why, when a
//! keyframe is needed. Opens no file and reads no clock. [`crate::recording`] drives it: it gives it packets and
//! the time, then drains [`Track::pop`].

use std::{collections::VecDeque, time::Duration};

use hewei_evidence::journal::GapKind;
use hewei_media::{
    h264, opus,
    reorder::{Released, ReorderBuffer},
    rtp::Header,
    seq::SeqExtender,
    vp8,
};
use hewei_model::{Codec, MediaKind, MonoNs};

use crate::{
    flac, mp4,
    sample::Sample,
    timeline::{Step, Timeline},
    webm,
};

/// How long a missing packet is waited for: some round trips of NACK and RTX on a bad line. What waits behind it is not
/// on the disk yet, so this and a fragment must stay below the two seconds that a crash may cost.
const REORDER_WAIT: Duration = Duration::from_millis(800);
/// Packets kept behind a hole: as long as it is waited for, at 49 Mbit/s in packets of 1,200 bytes.
const REORDER_PACKETS_MAX: usize = 4_096;
const SECOND_NS: u64 = 1_000_000_000;
/// How long a fragment is.
const FRAGMENT: Duration = Duration::from_secs(1);
/// And the first after a loss, so that what was waited for is soon written.
const FRAGMENT_AFTER_LOSS: Duration = Duration::from_millis(200);
/// While a hole is waited for longer than this, what came before it is written.
const HOLE_SHORT: Duration = Duration::from_millis(200);
/// When a fragment is written though nothing follows.
const FRAGMENT_LATE: Duration = Duration::from_millis(1_500);
/// A keyframe is asked for at least so often.
const KEYFRAME_EVERY: Duration = Duration::from_secs(10);
/// A keyframe is asked for when a packet is missing for so long: it is on its way when the packet is given up.
const HOLE_MAX: Duration = Duration::from_millis(500);
/// How long an answer to a request is waited for.
const KEYFRAME_RETRY: Duration = Duration::from_secs(1);
/// A picture that is shown for longer than this is a gap, not a slow camera.
const PICTURE_MAX: Duration = Duration::from_secs(2);
/// A new epoch begins only when the last one is so old.
const EPOCH_MIN: Duration = Duration::from_secs(2);
/// How far back a packet can be and still be a resent one: some seconds of 10 Mbit/s.
const RESENT_PACKETS_MAX: u64 = 3_000;
/// So many resent packets in a row are too many: the sender has begun anew. One from further back counts for many.
const STRAYS_MAX: u32 = 512;
const STRAY_FROM_AFAR: u32 = 32;

/// What breaks a track's run of fragments takes from a store: a gap one, a new clock or sender eight. The store
/// refills by so many a second, so there are two restarts or sixteen gaps a second for long, three times as many at
/// once. A network that loses half of all sound makes twelve gaps a second.
const BREAKS_A_SECOND: u64 = 16;
const BREAKS_MAX: u64 = 48;
const RESTART: u64 = 8;
const GAP: u64 = 1;
/// How long nothing is recorded of a track that broke off more often: the store is half full again.
const CHOKED: Duration = Duration::from_millis(1_500);
/// Why then nothing is recorded.
pub(crate) const TOO_MANY_BREAKS: &str = "the sender's clock or stream broke off too often";
/// Epochs of one track, each ten seconds of a steadily changing picture and far more of a real one. Later changes
/// stay in the last one, as those do that come too soon after another.
const EPOCHS_MAX: u32 = 256;

/// What a track has to say.
#[derive(Debug)]
pub(crate) enum Output {
    /// A new epoch: its init segment, and the size of its pictures.
    Init { epoch: u32, data: Vec<u8>, size: Option<(u16, u16)> },
    /// A fragment, on the track's timeline in ticks.
    Fragment { start: u64, duration: u64, sync: bool, data: Vec<u8> },
    /// No media between two places of the timeline, in ticks.
    Gap { kind: GapKind, from: u64, to: u64, packets: u64 },
    /// The timeline was anchored: this RTP timestamp, which arrived then, is at this place.
    Anchor { rtp: u32, place: u64, arrival: MonoNs },
    /// A fragment could not be made.
    Fault(String),
}

#[derive(Debug)]
struct Packet {
    timestamp: u32,
    marker: bool,
    arrival: MonoNs,
    payload: Vec<u8>,
}

#[derive(Debug)]
struct Pending {
    place: u64,
    duration: u32,
    sync: bool,
    data: Vec<u8>,
}

#[derive(Debug)]
enum Frames {
    H264(h264::Depacketizer),
    Vp8(vp8::Depacketizer),
    Audio,
}

/// What was last seen of the parameters a decoder needs.
#[derive(Debug, Default)]
struct Parameters {
    sps: Option<Vec<u8>>,
    pps: Vec<Vec<u8>>,
}

/// One track.
#[derive(Debug)]
pub(crate) struct Track {
    codec: Codec,
    ssrc: Option<u32>,
    first_packet_at: Option<MonoNs>,
    extender: SeqExtender,
    reorder: ReorderBuffer<Packet>,
    strays: u32,
    timeline: Timeline,
    frames: Frames,
    parameters: Parameters,
    /// Packets that never came since the last frame that was kept.
    lost: u64,
    lost_before: bool,
    waits_for_keyframe: bool,
    keyframe_at: Option<MonoNs>,
    keyframe_asked_at: Option<MonoNs>,
    /// Why nothing is recorded just now, by order.
    paused: Option<GapKind>,
    /// Why nothing was recorded until just now, by order.
    was_paused: Option<GapKind>,
    /// How many breaks are left, times the nanoseconds of a second, and as of when.
    breaks: (u64, MonoNs),
    /// Nothing is recorded until then: it broke off too often.
    choked_until: Option<MonoNs>,
    muted: bool,
    /// The sender was muted at some time since the last frame.
    was_muted: bool,
    /// The timeline was corrected: what looks like a gap is the sender's clock.
    drifted: bool,
    last_was_dtx: bool,
    epoch: Option<(u32, Epoch, u64)>,
    sequence: u32,
    /// Something was lost before what is pending.
    after_loss: bool,
    pending: Vec<Pending>,
    pending_since: MonoNs,
    /// Where the last frame ends.
    end: u64,
    /// How long the last picture before that was shown.
    picture_ticks: u32,
    outputs: VecDeque<Output>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Epoch {
    Mp4(mp4::Format),
    WebM { width: u16, height: u16 },
}

impl Epoch {
    /// Whether a decoder that was set up for the one goes on with the other: parameter sets are in the samples.
    fn is_like(&self, other: &Epoch) -> bool {
        match (self, other) {
            (
                Epoch::Mp4(mp4::Format::H264 { info, .. }),
                Epoch::Mp4(mp4::Format::H264 { info: other, .. }),
            ) => (info.profile, info.width, info.height) == (other.profile, other.width, other.height),
            _ => self == other,
        }
    }
}

impl Track {
    pub(crate) fn new(codec: Codec) -> Self {
        Self {
            codec,
            ssrc: None,
            first_packet_at: None,
            extender: SeqExtender::default(),
            reorder: ReorderBuffer::new(REORDER_WAIT, REORDER_PACKETS_MAX),
            strays: 0,
            timeline: Timeline::new(codec.clock_rate_hz()),
            frames: match codec {
                Codec::H264 => Frames::H264(h264::Depacketizer::default()),
                Codec::Vp8 => Frames::Vp8(vp8::Depacketizer::default()),
                Codec::Opus | Codec::Pcma | Codec::Pcmu => Frames::Audio,
            },
            parameters: Parameters::default(),
            lost: 0,
            lost_before: false,
            waits_for_keyframe: codec.kind() == MediaKind::Video,
            keyframe_at: None,
            keyframe_asked_at: None,
            paused: None,
            was_paused: None,
            breaks: (BREAKS_MAX * SECOND_NS, MonoNs(0)),
            choked_until: None,
            muted: false,
            was_muted: false,
            drifted: false,
            last_was_dtx: false,
            epoch: None,
            sequence: 0,
            after_loss: false,
            pending: Vec::new(),
            pending_since: MonoNs(0),
            end: 0,
            picture_ticks: codec.clock_rate_hz() / 25,
            outputs: VecDeque::new(),
        }
    }

    /// The next thing to write.
    pub(crate) fn pop(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When the timeline's zero was; `None` before the first media.
    pub(crate) fn begins(&self) -> Option<MonoNs> {
        self.timeline.begins().filter(|_| self.epoch.is_some())
    }

    /// When its first packet came.
    pub(crate) fn first_packet_at(&self) -> Option<MonoNs> {
        self.first_packet_at
    }

    /// Where the last frame ends, in ticks; of a closed track, where the gap after it ends.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// What the first epoch needs, for the head of the finished track.
    pub(crate) fn codec(&self) -> Codec {
        self.codec
    }

    /// The format in force.
    pub(crate) fn epoch(&self) -> Option<&Epoch> {
        self.epoch.as_ref().map(|(_, epoch, _)| epoch)
    }

    /// Takes a whole RTP packet as received.
    pub(crate) fn packet(&mut self, arrival: MonoNs, rtp: &[u8]) {
        let Ok(header) = Header::parse(rtp) else { return };
        let Ok(payload) = header.payload(rtp) else { return };
        if self.paused.is_some() {
            return;
        }
        self.first_packet_at.get_or_insert(arrival);
        if self.is_choked(arrival) {
            self.lost += 1;
            return;
        }
        if self.ssrc.is_some_and(|ssrc| ssrc != header.ssrc) {
            if !self.sender_restarts(arrival) {
                return;
            }
            // They were another sender's.
            self.parameters = Parameters::default();
        }
        self.ssrc = Some(header.ssrc);
        let sequence = self.extender.peek(header.seq).unwrap_or_else(|| self.extender.extend(header.seq));
        let packet =
            Packet { timestamp: header.timestamp, marker: header.marker, arrival, payload: payload.to_vec() };
        match self.reorder.push(sequence, arrival, packet) {
            hewei_media::reorder::Pushed::Late => {
                let far =
                    self.extender.highest().is_some_and(|highest| sequence + RESENT_PACKETS_MAX < highest);
                self.strays += if far { STRAY_FROM_AFAR } else { 1 };
                if self.strays > STRAYS_MAX {
                    self.sender_restarts(arrival);
                }
                return;
            }
            hewei_media::reorder::Pushed::Duplicate => return,
            hewei_media::reorder::Pushed::Kept => {
                self.extender.extend(header.seq);
                self.strays = 0;
            }
        }
        while let Some(released) = self.reorder.pop(arrival) {
            self.take(released);
        }
    }

    /// Lets time pass: gives up holes, writes what is due.
    pub(crate) fn tick(&mut self, now: MonoNs) {
        while let Some(released) = self.reorder.pop(now) {
            self.take(released);
        }
        self.resolve(now, now.since(self.pending_since) >= FRAGMENT_LATE);
        let late = now.since(self.pending_since) >= FRAGMENT_LATE;
        let waits = self.reorder.waited(now).is_some_and(|waited| waited >= HOLE_SHORT);
        if !self.pending.is_empty() && (late || (waits && !self.timeline.holds())) {
            self.flush(None);
        }
    }

    /// Whether a keyframe must be asked for now. Counts as asked.
    pub(crate) fn takes_keyframe_request(&mut self, now: MonoNs) -> bool {
        if self.codec.kind() != MediaKind::Video || self.paused.is_some() || self.choked_until.is_some() {
            return false;
        }
        let has_hole = self.reorder.waited(now).is_some_and(|waited| waited >= HOLE_MAX);
        let (last, every) = if self.waits_for_keyframe || has_hole {
            (self.keyframe_asked_at, KEYFRAME_RETRY)
        } else {
            (self.keyframe_at.max(self.keyframe_asked_at), KEYFRAME_EVERY)
        };
        let due = last.is_none_or(|last| now.since(last) >= every);
        if due {
            self.keyframe_asked_at = Some(now);
        }
        due
    }

    /// The sender says whether it is muted; a gap is then its own will.
    pub(crate) fn mute(&mut self, muted: bool) {
        self.muted = muted;
        self.was_muted |= muted;
    }

    /// Stops recording, by order.
    pub(crate) fn pause(&mut self, kind: GapKind, now: MonoNs) {
        if self.paused.is_none() {
            self.drain(now);
            self.paused = Some(kind);
        }
    }

    /// Records again.
    pub(crate) fn resume(&mut self) {
        if let Some(kind) = self.paused.take() {
            self.was_paused = Some(kind);
            self.begin_anew();
        }
    }

    /// Nothing more will come: writes what is left. The track ended at `now`.
    pub(crate) fn close(&mut self, now: MonoNs) {
        self.drain(now);
        let Some(begins) = self.timeline.begins() else { return };
        let rate = u128::from(self.codec.clock_rate_hz());
        let live = u64::try_from(now.since(begins).as_nanos() * rate / 1_000_000_000).unwrap_or(u64::MAX);
        if live > self.end + u64::from(self.codec.clock_rate_hz() / 2) {
            let choked = self.choked_until.map(|_| GapKind::RecorderFault);
            let ordered = self.paused.or(choked).or(self.was_paused);
            let kind = ordered.unwrap_or(self.gap_kind(self.waits_for_keyframe));
            self.outputs.push_back(Output::Gap { kind, from: self.end, to: live, packets: self.lost });
            self.end = live;
        }
    }

    fn drain(&mut self, now: MonoNs) {
        while let Some(released) = self.reorder.pop_any() {
            self.take(released);
        }
        self.resolve(now, true);
        self.flush(None);
    }

    /// False when it did so too often.
    fn sender_restarts(&mut self, now: MonoNs) -> bool {
        if !self.takes_break(RESTART, now) {
            return false;
        }
        self.drain(now);
        self.begin_anew();
        self.timeline.restart();
        true
    }

    /// Whether the track may break off once more. If not it is choked.
    fn takes_break(&mut self, cost: u64, now: MonoNs) -> bool {
        let (left, since) = self.breaks;
        let passed = u64::try_from(now.since(since).as_nanos()).unwrap_or(u64::MAX);
        let left = left.saturating_add(passed.saturating_mul(BREAKS_A_SECOND)).min(BREAKS_MAX * SECOND_NS);
        let taken = left.checked_sub(cost * SECOND_NS);
        self.breaks = (taken.unwrap_or(left), now.max(since));
        if taken.is_none() && self.choked_until.is_none() {
            // First, since what is drained now is not taken any more.
            self.choked_until = Some(now + CHOKED);
            self.drain(now);
        }
        taken.is_some()
    }

    /// Whether packets are dropped just now. If they were until now, the sender begins anew.
    fn is_choked(&mut self, now: MonoNs) -> bool {
        let Some(until) = self.choked_until else { return false };
        if now < until {
            return true;
        }
        self.choked_until = None;
        self.was_paused.get_or_insert(GapKind::RecorderFault);
        self.ssrc = None;
        self.begin_anew();
        self.timeline.restart();
        false
    }

    fn begin_anew(&mut self) {
        self.reorder.reset();
        self.extender = SeqExtender::default();
        self.strays = 0;
        self.lost_before = false;
        match &mut self.frames {
            Frames::H264(frames) => frames.reset(),
            Frames::Vp8(frames) => frames.reset(),
            Frames::Audio => {}
        }
        self.waits_for_keyframe = self.codec.kind() == MediaKind::Video;
        self.keyframe_asked_at = None;
    }

    fn take(&mut self, released: Released<Packet>) {
        match released {
            Released::Hole { count, .. } => {
                self.lost += count;
                self.lost_before = true;
                if self.codec.kind() == MediaKind::Video {
                    self.waits_for_keyframe = true;
                }
            }
            Released::Packet { item, .. } => self.in_order(item),
        }
    }

    fn in_order(&mut self, packet: Packet) {
        if self.choked_until.is_some() {
            self.lost += 1;
            return;
        }
        match &mut self.frames {
            Frames::H264(frames) => {
                let mut units = Vec::new();
                let lost_before = std::mem::take(&mut self.lost_before);
                frames.push(packet.timestamp, packet.marker, lost_before, &packet.payload, &mut units);
                for unit in units {
                    self.access_unit(unit, packet.arrival);
                }
            }
            Frames::Vp8(frames) => {
                let mut out = Vec::new();
                let lost_before = std::mem::take(&mut self.lost_before);
                frames.push(packet.timestamp, packet.marker, lost_before, &packet.payload, &mut out);
                for frame in out {
                    self.vp8_frame(frame, packet.arrival);
                }
            }
            Frames::Audio => {
                self.lost_before = false;
                self.audio(packet);
            }
        }
    }

    fn access_unit(&mut self, unit: h264::AccessUnit, arrival: MonoNs) {
        let mut has_sps = false;
        for nal in unit.nals() {
            match h264::nal_type(nal) {
                h264::NAL_SPS => {
                    has_sps = true;
                    if self.parameters.sps.as_deref() != Some(nal) {
                        self.parameters.sps = Some(nal.to_vec());
                        self.parameters.pps.clear();
                    }
                }
                // The avcC counts them in a byte; a sender has one or two.
                h264::NAL_PPS
                    if self.parameters.pps.len() < 8 && !self.parameters.pps.iter().any(|pps| pps == nal) =>
                {
                    self.parameters.pps.push(nal.to_vec());
                }
                _ => {}
            }
        }
        if unit.damaged {
            // Parameter sets alone are no picture, and none was lost.
            if unit.nals().any(|nal| (1..=5).contains(&h264::nal_type(nal))) || self.lost_before {
                self.waits_for_keyframe = true;
            }
            return;
        }
        let mut data = unit.data;
        if unit.keyframe {
            let Parameters { sps: Some(sps), pps } = &self.parameters else { return };
            let Some(info) = h264::Sps::parse(sps).filter(|_| !pps.is_empty()) else { return };
            let format = mp4::Format::H264 { sps: sps.clone(), pps: pps.clone(), info };
            if !has_sps {
                let mut whole = Vec::with_capacity(data.len() + 256);
                for nal in std::iter::once(sps).chain(pps) {
                    whole.extend_from_slice(&(nal.len() as u32).to_be_bytes());
                    whole.extend_from_slice(nal);
                }
                whole.append(&mut data);
                data = whole;
            }
            self.picture(unit.rtp_timestamp, arrival, Some(Epoch::Mp4(format)), data);
        } else {
            self.picture(unit.rtp_timestamp, arrival, None, data);
        }
    }

    fn vp8_frame(&mut self, frame: vp8::Frame, arrival: MonoNs) {
        if frame.damaged {
            self.waits_for_keyframe = true;
            return;
        }
        let epoch = if frame.keyframe {
            let Some((width, height)) = vp8::dimensions(&frame.data) else { return };
            Some(Epoch::WebM { width, height })
        } else {
            None
        };
        self.picture(frame.rtp_timestamp, arrival, epoch, frame.data);
    }

    /// A whole picture; `key` when it is a keyframe.
    fn picture(&mut self, timestamp: u32, arrival: MonoNs, key: Option<Epoch>, data: Vec<u8>) {
        let sync = key.is_some();
        if (self.waits_for_keyframe && !sync) || self.choked_until.is_some() {
            return;
        }
        let waited = std::mem::take(&mut self.waits_for_keyframe);
        let (place, step) = self.timeline.place(timestamp, arrival, self.end);
        // Decoding order is all there is: a picture is never before the last one, and at least a millisecond after
        // it, for WebM counts in milliseconds.
        let rate = self.codec.clock_rate_hz();
        let after_last = self.pending.last().map_or(self.end, |last| last.place + u64::from(rate / 1_000));
        let mut place = u64::try_from(place).unwrap_or(0).max(after_last);
        let first = self.epoch.is_none();
        let silent = place.saturating_sub(self.end) > PICTURE_MAX.as_secs() * u64::from(rate);
        let gap = !first && (waited || silent || step != Step::Follows);
        if gap {
            let cost = if step == Step::Restarts { RESTART } else { GAP };
            if !self.takes_break(cost, arrival) {
                return;
            }
            self.flush(None);
            place = place.max(self.end);
            self.gap(place, waited);
        } else if self.is_fragment_full(place) {
            self.flush(Some(place));
        }
        if let Some(epoch) = key {
            self.keyframe_at = Some(arrival);
            self.begin_epoch(epoch, place, arrival);
        }
        if step == Step::Restarts {
            self.outputs.push_back(Output::Anchor { rtp: timestamp, place, arrival });
        }
        self.push(Pending { place, duration: self.picture_ticks, sync, data }, arrival);
    }

    fn audio(&mut self, packet: Packet) {
        if packet.payload.is_empty() {
            return;
        }
        let (samples, dtx) = match self.codec {
            Codec::Opus => {
                let Some(samples) = opus::duration_samples(&packet.payload) else { return };
                (samples, opus::is_dtx(&packet.payload))
            }
            _ => (packet.payload.len() as u32, false),
        };
        let (place, step) = self.timeline.place(packet.timestamp, packet.arrival, self.end);
        let mut place = u64::try_from(place).unwrap_or(0);
        if place + u64::from(samples) <= self.end && step != Step::Restarts {
            return;
        }
        let slack = u64::from(self.codec.clock_rate_hz() / 200);
        let first = self.epoch.is_none();
        if first {
            self.begin_epoch(self.audio_epoch(), 0, packet.arrival);
        }
        if place <= self.end + slack && step == Step::Follows {
            place = self.end;
            if self.is_fragment_full(place) {
                self.flush(Some(place));
            }
        } else if !first {
            let cost = if step == Step::Restarts { RESTART } else { GAP };
            if !self.takes_break(cost, packet.arrival) {
                return;
            }
            self.flush(None);
            place = place.max(self.end);
            self.gap(place, false);
        }
        if step == Step::Restarts {
            self.outputs.push_back(Output::Anchor { rtp: packet.timestamp, place, arrival: packet.arrival });
        }
        let data = match self.codec {
            Codec::Pcma => {
                flac::frame(place, &packet.payload.iter().map(|byte| flac::a_law(*byte)).collect::<Vec<_>>())
            }
            Codec::Pcmu => {
                flac::frame(place, &packet.payload.iter().map(|byte| flac::mu_law(*byte)).collect::<Vec<_>>())
            }
            _ => packet.payload,
        };
        self.last_was_dtx = dtx;
        self.end = place + u64::from(samples);
        self.push(Pending { place, duration: samples, sync: true, data }, packet.arrival);
    }

    fn audio_epoch(&self) -> Epoch {
        Epoch::Mp4(match self.codec {
            Codec::Pcma | Codec::Pcmu => mp4::Format::Flac { rate_hz: self.codec.clock_rate_hz() },
            _ => mp4::Format::Opus,
        })
    }

    fn push(&mut self, pending: Pending, arrival: MonoNs) {
        let video = self.codec.kind() == MediaKind::Video;
        if video {
            if let Some(last) = self.pending.last_mut() {
                last.duration = u32::try_from(pending.place - last.place).unwrap_or(u32::MAX);
                self.picture_ticks =
                    last.duration.clamp(self.codec.clock_rate_hz() / 120, self.codec.clock_rate_hz());
            }
            self.end = pending.place + u64::from(pending.duration);
        }
        self.pending_since = arrival;
        self.pending.push(pending);
        self.lost = 0;
        self.was_paused = None;
        self.was_muted = self.muted;
        self.drifted = false;
        self.resolve(arrival, false);
        if self.timeline.drift(arrival).is_some() {
            self.drifted = true;
            self.flush(None);
        }
    }

    /// Whether what is pending is to be written before a frame at `place`.
    fn is_fragment_full(&self, place: u64) -> bool {
        let begins = self.pending.first().map_or(place, |first| first.place);
        let least = if self.after_loss { FRAGMENT_AFTER_LOSS } else { FRAGMENT };
        let ticks = least.as_millis() as u64 * u64::from(self.codec.clock_rate_hz()) / 1_000;
        place.saturating_sub(begins) >= ticks && !self.timeline.holds()
    }

    /// Moves what is pending when it has turned out that the sender had paused.
    fn resolve(&mut self, now: MonoNs, last_chance: bool) {
        let Some(shift) = self.timeline.resolve(now, last_chance) else { return };
        let shift = u64::try_from(shift).unwrap_or(0);
        let Some(first) = self.pending.first().map(|first| first.place) else { return };
        if shift == 0 {
            return;
        }
        let kind = if self.last_was_dtx { GapKind::Dtx } else { GapKind::Mute };
        self.outputs.push_back(Output::Gap { kind, from: first, to: first + shift, packets: 0 });
        for pending in &mut self.pending {
            pending.place += shift;
        }
        self.end += shift;
    }

    /// Says that there is nothing between the last frame's end and `until`.
    fn gap(&mut self, until: u64, waited_for_keyframe: bool) {
        // How long the last picture of a run is shown is a guess: less than a frame more is no gap.
        let least = match self.codec.kind() {
            MediaKind::Audio => 0,
            MediaKind::Video => u64::from(self.picture_ticks),
        };
        if self.lost == 0 && (until <= self.end + least || self.drifted) {
            return;
        }
        self.after_loss |= self.lost > 0 || waited_for_keyframe;
        let kind = self.was_paused.take().unwrap_or(self.gap_kind(waited_for_keyframe));
        self.outputs.push_back(Output::Gap { kind, from: self.end, to: until, packets: self.lost });
    }

    /// Why there is a gap that nobody ordered.
    fn gap_kind(&self, waits_for_keyframe: bool) -> GapKind {
        if self.was_muted {
            GapKind::Mute
        } else if self.lost > 0 || waits_for_keyframe {
            GapKind::Loss
        } else if self.last_was_dtx {
            GapKind::Dtx
        } else {
            GapKind::Mute
        }
    }

    fn begin_epoch(&mut self, epoch: Epoch, place: u64, arrival: MonoNs) {
        let (number, since) = match &self.epoch {
            None => (0, place),
            Some((number, current, since)) => {
                let old_enough = place.saturating_sub(*since)
                    >= EPOCH_MIN.as_secs() * u64::from(self.codec.clock_rate_hz());
                if current.is_like(&epoch) || !old_enough || number + 1 >= EPOCHS_MAX {
                    return;
                }
                (number + 1, place)
            }
        };
        self.flush(Some(place));
        let (data, size) = match &epoch {
            Epoch::Mp4(format) => match mp4::init(format, None) {
                Ok(data) => (data, format.size()),
                Err(error) => {
                    if self.takes_break(RESTART, arrival) {
                        self.outputs.push_back(Output::Fault(format!("init segment: {error}")));
                    }
                    return;
                }
            },
            Epoch::WebM { width, height } => (webm::init(*width, *height, None), Some((*width, *height))),
        };
        self.epoch = Some((number, epoch, since));
        self.outputs.push_back(Output::Init { epoch: number, data, size });
    }

    /// Writes what is pending as one fragment. `next`: where the next frame begins, when that is known.
    fn flush(&mut self, next: Option<u64>) {
        let Some((_, format, _)) = &self.epoch else {
            self.pending.clear();
            return;
        };
        let Some(first) = self.pending.first() else { return };
        self.after_loss = false;
        let (start, sync) = (first.place, first.sync);
        let mut pending = std::mem::take(&mut self.pending);
        if let (Some(next), Some(last)) = (next, pending.last_mut())
            && self.codec.kind() == MediaKind::Video
        {
            last.duration = u32::try_from(next.saturating_sub(last.place)).unwrap_or(u32::MAX).max(1);
            self.end = next;
        }
        let samples: Vec<Sample> = pending
            .into_iter()
            .map(|pending| Sample { data: pending.data, duration: pending.duration, sync: pending.sync })
            .collect();
        let duration = samples.iter().map(|sample| u64::from(sample.duration)).sum();
        self.sequence += 1;
        let data = match format {
            Epoch::Mp4(_) => mp4::fragment(self.sequence, start, &samples),
            Epoch::WebM { .. } => Ok(webm::cluster(start, &samples)),
        };
        self.outputs.push_back(match data {
            Ok(data) => Output::Fragment { start, duration, sync, data },
            Err(error) => Output::Fault(format!("fragment: {error}")),
        });
    }
}
