//! The task of one camera.
//!
//! Idle until somebody demands the camera; then one connection after another, with a wait between, until
//! nobody has wanted it for the linger or the camera is removed. All it is told comes as one value
//! ([`Orders`]), not a queue: only the latest counts.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime},
};

use hewei_model::{Codec, MediaKind};
use tokio::{
    sync::{broadcast, watch},
    time::{Instant, sleep_until},
};
use tracing::{debug, info};

use crate::{
    Camera, Settings, Sink, State, Status,
    backoff::{Backoff, random},
    counts::Counts,
    gate::Gate,
    h264,
    registry::Change,
    session::{Failure, Received, Session},
    stamp::{PAYLOAD_BYTES_MAX, Stamp},
};

/// How long a connection waits for its first keyframe. Some cameras renew the picture bit by bit and never send
/// one; theirs is passed on as it comes after this.
const KEYFRAME_WAIT_MAX: Duration = Duration::from_secs(10);

/// What the camera's task shall do.
#[derive(Debug)]
pub(crate) struct Orders {
    pub(crate) camera: Camera,
    /// Counts changes of address or credentials.
    pub(crate) revision: u64,
    pub(crate) demands: usize,
    /// When the last demand was dropped.
    pub(crate) unwanted_since: Option<Instant>,
    pub(crate) removed: bool,
}

/// The task's side of a camera.
pub(crate) struct Puller {
    pub(crate) settings: Settings,
    pub(crate) gate: Arc<Gate>,
    pub(crate) counts: Arc<Counts>,
    pub(crate) sinks: Arc<dyn Fn(hewei_model::CameraId) -> Box<dyn Sink> + Send + Sync>,
    pub(crate) orders: watch::Receiver<Orders>,
    pub(crate) status: watch::Sender<Status>,
    pub(crate) changes: broadcast::Sender<Change>,
}

/// Why a pull is interrupted.
enum Interrupt {
    /// Nobody wants it any more, or the camera is gone.
    End,
    /// The address or the credentials changed.
    Changed,
}

impl Puller {
    /// Runs until the camera is removed or every handle is gone.
    pub(crate) async fn run(mut self) {
        let id = self.orders.borrow().camera.id;
        while self.wanted().await {
            let mut media = Media { sink: (self.sinks)(id), video: None, audio: None };
            self.pull(&mut media).await;
            media.sink.end();
            self.set(State::Idle, None, None);
        }
    }

    /// Waits for the first demand; false when the camera is gone.
    async fn wanted(&mut self) -> bool {
        match self.orders.wait_for(|orders| orders.removed || orders.demands > 0).await {
            Ok(orders) => !orders.removed,
            Err(_) => false,
        }
    }

    /// One pull: from the first demand to the end of the linger.
    async fn pull(&mut self, media: &mut Media) {
        let mut backoff = Backoff::default();
        self.set(State::Connecting, None, None);
        loop {
            let (camera, revision) = {
                let orders = self.orders.borrow_and_update();
                (orders.camera.clone(), orders.revision)
            };
            let mut interrupts = self.orders.clone();
            let interrupted = interrupted(&mut interrupts, revision, self.settings.linger);
            let attempt = async {
                let failure = self.connect_and_play(&camera, media, &mut backoff).await;
                self.counts.failed(failure.state);
                let wait = match failure.state {
                    State::AuthFailed => backoff.next_after_refusal(random()),
                    _ => backoff.next(random()),
                };
                self.set(failure.state, Some(SystemTime::now() + wait), Some(failure.detail));
                tokio::time::sleep(wait).await;
                // Trying again: the state stays, only the wait is over.
                self.status.send_if_modified(|status| status.next_try.take().is_some());
                self.publish();
            };
            tokio::select! {
                () = attempt => {}
                why = interrupted => match why {
                    Interrupt::End => return,
                    Interrupt::Changed => {
                        backoff.reset();
                        self.set(State::Connecting, None, None);
                    }
                },
            }
        }
    }

    /// One connection, from the connect until it fails.
    async fn connect_and_play(&self, camera: &Camera, media: &mut Media, backoff: &mut Backoff) -> Failure {
        self.gate.pass().await;
        self.counts.connects.fetch_add(1, Ordering::Relaxed);
        let mut session =
            match Session::open(camera, self.settings.connect_timeout, self.settings.media_timeout).await {
                Ok(session) => session,
                Err(failure) => return failure,
            };
        for track in session.tracks() {
            media.begin(track.codec, &session);
        }
        let mut live = false;
        loop {
            match session.next().await {
                Ok(Received::Packet { codec, packet }) => {
                    let passed = media.packet(codec, &packet);
                    if passed && !live && session.watches(codec) {
                        live = true;
                        backoff.reset();
                        self.set(State::Live, None, None);
                    }
                }
                Ok(Received::SenderReport { codec, ntp, rtp_timestamp }) => {
                    media.sender_report(codec, ntp, rtp_timestamp);
                }
                Err(failure) => {
                    let malformed = media.malformed();
                    self.counts.malformed.fetch_add(malformed, Ordering::Relaxed);
                    debug!(malformed, "connection over");
                    return failure;
                }
            }
        }
    }

    fn set(&self, state: State, next_try: Option<SystemTime>, detail: Option<String>) {
        let mut entered = false;
        self.status.send_modify(|status| {
            entered = status.state != state;
            if entered {
                status.state = state;
                status.since = SystemTime::now();
            }
            status.next_try = next_try;
            status.detail = detail;
        });
        if entered {
            let detail = self.status.borrow().detail.clone().unwrap_or_default();
            info!(?state, detail, "state");
        }
        self.publish();
    }

    fn publish(&self) {
        let id = self.orders.borrow().camera.id;
        let status = self.status.borrow().clone();
        // An error only says that nobody listens.
        let _ = self.changes.send((id, status));
    }
}

/// Resolves when the pull has to stop or begin anew.
async fn interrupted(orders: &mut watch::Receiver<Orders>, revision: u64, linger: Duration) -> Interrupt {
    loop {
        let until = {
            let orders = orders.borrow_and_update();
            if orders.removed {
                return Interrupt::End;
            }
            if orders.revision != revision {
                return Interrupt::Changed;
            }
            orders.unwanted_since.map(|since| since + linger)
        };
        let changed = match until {
            None => orders.changed().await,
            Some(until) => tokio::select! {
                changed = orders.changed() => changed,
                () = sleep_until(until) => return Interrupt::End,
            },
        };
        if changed.is_err() {
            return Interrupt::End;
        }
    }
}

/// The media of one pull on their way into the sink.
struct Media {
    sink: Box<dyn Sink>,
    video: Option<Video>,
    audio: Option<(Codec, Stamp)>,
}

struct Video {
    stamp: Stamp,
    rewriter: h264::Rewriter,
    start: Start,
}

/// A connection's picture begins with a keyframe. What comes ahead of it cannot be decoded, and after a
/// reconnect it would be decoded wrongly, since the sequence numbers show no gap.
#[derive(Clone, Copy)]
enum Start {
    Waiting {
        /// The connection's first packet.
        since: Option<std::time::Instant>,
    },
    Done,
}

impl Media {
    /// A connection with this track begins.
    fn begin(&mut self, codec: Codec, session: &Session) {
        match codec.kind() {
            MediaKind::Video => {
                let stamp = match self.video.take() {
                    Some(mut before) => {
                        before.stamp.reconnected();
                        before.stamp
                    }
                    None => {
                        self.sink.track(MediaKind::Video, codec);
                        Stamp::new(codec, random())
                    }
                };
                let rewriter = h264::Rewriter::new(session.parameter_sets());
                self.video = Some(Video { stamp, rewriter, start: Start::Waiting { since: None } });
            }
            MediaKind::Audio => match &mut self.audio {
                Some((before, stamp)) if *before == codec => stamp.reconnected(),
                _ => {
                    self.sink.track(MediaKind::Audio, codec);
                    self.audio = Some((codec, Stamp::new(codec, random())));
                }
            },
        }
    }

    /// Passes a packet on; false if it was held back.
    fn packet(&mut self, codec: Codec, packet: &retina::rtp::ReceivedPacket) -> bool {
        let header = packet.header();
        let (marker, timestamp, arrival) = (header.mark(), header.timestamp(), packet.ctx().received());
        let lost = packet.loss();
        match codec.kind() {
            MediaKind::Video => {
                let Some(Video { stamp, rewriter, start }) = &mut self.video else { return false };
                let sink = &mut self.sink;
                if let Start::Waiting { since } = start {
                    let waited = arrival.saturating_duration_since(*since.get_or_insert(arrival));
                    if !hewei_media::h264::starts_keyframe(packet.payload()) {
                        if waited < KEYFRAME_WAIT_MAX {
                            return false;
                        }
                        // No clean start: let the receivers see that something is missing.
                        stamp.skip(1);
                    }
                    *start = Start::Done;
                }
                let mut send = |stamp: &mut Stamp, payload: &[u8], marker, timestamp| {
                    sink.packet(MediaKind::Video, arrival, stamp.packet(marker, timestamp, arrival, payload));
                };
                if lost > 0 {
                    rewriter.lost(&mut |payload: &[u8], marker, timestamp| {
                        send(stamp, payload, marker, timestamp);
                    });
                    stamp.skip(lost);
                }
                rewriter.push(
                    packet.payload(),
                    marker,
                    timestamp,
                    &mut |payload: &[u8], marker, timestamp| {
                        send(stamp, payload, marker, timestamp);
                    },
                );
            }
            MediaKind::Audio => {
                let Some((_, stamp)) = &mut self.audio else { return false };
                stamp.skip(lost);
                // G.711 is one byte a tick, so a long packet can be cut anywhere.
                for (i, piece) in packet.payload().chunks(PAYLOAD_BYTES_MAX).enumerate() {
                    let timestamp = timestamp.wrapping_add((i * PAYLOAD_BYTES_MAX) as u32);
                    let rtp = stamp.packet(marker && i == 0, timestamp, arrival, piece);
                    self.sink.packet(MediaKind::Audio, arrival, rtp);
                }
            }
        }
        true
    }

    fn sender_report(&mut self, codec: Codec, ntp: u64, rtp_timestamp: u32) {
        let stamp = match codec.kind() {
            MediaKind::Video => self.video.as_ref().map(|video| &video.stamp),
            MediaKind::Audio => self.audio.as_ref().map(|(_, stamp)| stamp),
        };
        if let Some(rtp_timestamp) = stamp.and_then(|stamp| stamp.translate(rtp_timestamp)) {
            self.sink.sender_report(codec.kind(), ntp, rtp_timestamp);
        }
    }

    fn malformed(&self) -> u64 {
        self.video.as_ref().map_or(0, |video| video.rewriter.malformed())
    }
}
