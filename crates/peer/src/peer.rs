//! The peer itself.

mod binding;
mod negotiate;
mod outgoing;
#[cfg(test)]
mod restart_tests;
#[cfg(test)]
mod telling_tests;

pub use outgoing::{Estimate, Outgoing};

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use hewei_media::{
    rtcp::{self, Writer},
    rtp,
    seq::SeqExtender,
};
use hewei_model::{Codec, MediaKind};

use crate::{
    bandwidth::Bandwidth,
    dtls::{Dtls, Identity, Progress},
    ice::{Credentials, Ice},
    media::{Media, MediaIndex, Publication, Slot, Use},
    nack::NackGenerator,
    path::Path,
    reception::TransportReception,
    redundancy,
    sdp::Offer,
    srtp::{OpenError, Opener, Profile, RTCP_OVERHEAD_MAX, Sealer},
    stun,
};

/// RFC 7675 §5.1: consent ends 30 s after the last valid check.
const CONSENT: Duration = Duration::from_secs(30);
/// A peer that was answered and never connects is let go after this.
const CONNECT: Duration = Duration::from_secs(30);
const TRANSPORT_FEEDBACK_EVERY: Duration = Duration::from_millis(50);
const RECEIVER_REPORT_EVERY: Duration = Duration::from_secs(1);
/// One keyframe request a track in this time, however many ask.
const KEYFRAME_EVERY: Duration = Duration::from_secs(1);
const CNAME: &str = "hewei";
/// Packets a peer may send in a second: four times 1080p at 8 Mbit/s. Only what authenticates counts, so that nobody
/// who writes the peer's address on datagrams can use it up.
const PACKETS_A_SECOND: u32 = 4_000;
/// RTCP compounds a peer may send in a second: feedback every 20 ms for eight streams.
const COMPOUNDS_A_SECOND: u32 = 400;
/// Packets a peer may tell of in a second: eight times what it is ever sent. A feedback of 36 bytes can tell of 65,535.
const STATUSES_A_SECOND: u32 = 32_768;
/// Transmits waiting at a time: the largest DTLS flight is four datagrams.
const TRANSMITS_MAX: usize = 32;

/// The secrets and numbers of a peer, drawn at random by the caller.
#[derive(Clone)]
pub struct Secrets {
    /// Our side of the first ICE session.
    pub ice: Credentials,
    /// The SSRC of the first slot; the others follow it.
    pub first_ssrc: u32,
}

/// A datagram to send.
#[derive(Debug)]
pub struct Transmit {
    /// To whom.
    pub to: Path,
    /// What.
    pub data: Vec<u8>,
}

/// What happened to the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// ICE and DTLS are through; media can be sent, protected with this profile.
    Connected(Profile),
    /// The peer said goodbye (DTLS close_notify).
    ClosedByPeer,
    /// The DTLS handshake failed, or the certificate is not the one in the offer.
    DtlsFailed,
    /// No valid check for the consent period, or it never connected.
    ConsentExpired,
}

/// An opened RTP packet.
#[derive(Debug)]
pub struct Rtp<'a> {
    /// The m-line it belongs to.
    pub media: MediaIndex,
    /// The layer, counted from 0 in the order of the offer; 0 when it is no simulcast.
    pub layer: usize,
    /// How many layers there are; 1 when it is no simulcast.
    pub layers: usize,
    /// Its codec.
    pub codec: Codec,
    /// Its header. For a retransmission the header of the original.
    pub header: rtp::Header,
    /// Its extended sequence number.
    pub seq: u64,
    /// The whole packet.
    pub packet: &'a [u8],
}

/// Why a packet went no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// There are no keys yet, or no more.
    NotConnected,
    /// It is none, or does not authenticate.
    Unauthentic,
    /// It was taken in before, or is too old to tell.
    Replayed,
    /// The peer sends more than it may.
    TooMany,
    /// It authenticates, and belongs to nothing that was offered.
    Unexpected,
}

impl From<OpenError> for Refused {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Short | OpenError::Authentication => Refused::Unauthentic,
            OpenError::Replay => Refused::Replayed,
            OpenError::TooManyStreams => Refused::TooMany,
        }
    }
}

/// What an RTCP compound asks or tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feedback {
    /// The publisher's clocks.
    SenderReport {
        /// Which publication.
        media: MediaIndex,
        /// Which layer of it.
        layer: usize,
        /// NTP time.
        ntp: u64,
        /// RTP timestamp of the same moment.
        rtp_timestamp: u32,
    },
    /// The subscriber misses this packet of a slot.
    Missing {
        /// Which slot.
        media: MediaIndex,
        /// Sequence number.
        seq: u16,
    },
    /// The subscriber needs a keyframe in a slot.
    KeyframeWanted {
        /// Which slot.
        media: MediaIndex,
    },
}

/// What [`Peer::write_rtcp`] wrote, for counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RtcpKind {
    /// Keyframe requests.
    pub keyframe_requests: u32,
    /// Sequence numbers asked for again.
    pub nacked: u32,
}

struct Security {
    sealer: Sealer,
    opener: Opener,
}

/// One WebRTC peer.
pub struct Peer {
    identity: Identity,
    ice: Ice,
    remote_fingerprint: String,
    dtls: Dtls,
    security: Option<Security>,
    consent_until: Instant,
    /// The handshake must be through by then.
    connect_until: Instant,
    /// When a packet of this peer last opened.
    last_opened: Option<Instant>,
    over: bool,
    media: Vec<Media>,
    answers: u64,
    own_ssrc: u32,
    next_ssrc: u32,
    /// How much may be sent; there once a slot was offered whose packets the peer tells of.
    bandwidth: Option<Box<Bandwidth>>,
    transport: TransportReception,
    transport_due: Option<Instant>,
    report_due: Option<Instant>,
    /// RTX streams have sequence numbers of their own, of no further use.
    rtx_seq: SeqExtender,
    publications: u32,
    packets: Budget,
    compounds: Budget,
    statuses: Budget,
    started: Instant,
    events: VecDeque<Event>,
    transmits: VecDeque<Transmit>,
}

impl Peer {
    /// A peer for a first offer; answer it with [`Peer::answer`].
    pub fn new(now: Instant, identity: Identity, secrets: Secrets, offer: &Offer) -> Self {
        let own_ssrc = secrets.first_ssrc;
        Self {
            dtls: Dtls::new(identity.clone(), &offer.fingerprint),
            identity,
            ice: Ice::new(now, secrets.ice, offer.ice.clone()),
            remote_fingerprint: offer.fingerprint.clone(),
            security: None,
            consent_until: now + CONNECT,
            connect_until: now + CONNECT,
            last_opened: None,
            over: false,
            media: Vec::new(),
            answers: 0,
            own_ssrc,
            next_ssrc: own_ssrc.wrapping_add(1),
            bandwidth: None,
            transport: TransportReception::default(),
            transport_due: None,
            report_due: None,
            rtx_seq: SeqExtender::default(),
            publications: 0,
            packets: Budget::new(PACKETS_A_SECOND, now),
            compounds: Budget::new(COMPOUNDS_A_SECOND, now),
            statuses: Budget::new(STATUSES_A_SECOND, now),
            started: now,
            events: VecDeque::with_capacity(4),
            transmits: VecDeque::with_capacity(4),
        }
    }

    /// Whether media can be sent.
    pub fn is_connected(&self) -> bool {
        self.security.is_some() && !self.over
    }

    /// Where to send media.
    pub fn remote(&self) -> Option<Path> {
        self.ice.remote()
    }

    /// When a packet of this peer last opened; `None` before the first.
    pub fn last_opened(&self) -> Option<Instant> {
        self.last_opened
    }

    /// The user-name fragment that requests to this peer carry, from its last answer.
    pub fn local_ufrag(&self) -> &str {
        &self.ice.local().ufrag
    }

    /// Whether requests that carry this fragment are answered: that of the last answer, and after a restart the one
    /// before until the first valid check.
    pub fn answers_to(&self, ufrag: &str) -> bool {
        self.ice.answers_to(ufrag)
    }

    /// The m-lines with their `mid` and use, in order.
    pub fn media(&self) -> impl Iterator<Item = (MediaIndex, &str, Option<MediaKind>, &Use)> {
        (0..)
            .map(MediaIndex)
            .zip(&self.media)
            .map(|(at, media)| (at, media.mid.as_str(), media.kind, &media.used))
    }

    /// Answers a binding request that carries a fragment of this peer. `true` when it was valid.
    pub fn receive_stun(&mut self, now: Instant, from: Path, request: &stun::BindingRequest<'_>) -> bool {
        if self.over {
            return false;
        }
        let Some(answer) = self.ice.receive(now, from, request, self.security.is_some()) else {
            return false;
        };
        self.transmit(from, answer);
        self.consent_until = now + CONSENT;
        true
    }

    /// Something that only the peer can have made came on this path.
    fn heard(&mut self, now: Instant, from: Path) {
        self.last_opened = Some(now);
        self.ice.heard(now, from);
    }

    /// A path is there no more: its connection has ended. The peer keeps its others, and goes on with the one that it
    /// nominates next.
    pub fn lost(&mut self, path: Path) {
        self.ice.lost(path);
    }

    /// Takes a DTLS record in. `false` when it led to nothing: after the handshake only a goodbye does.
    pub fn receive_dtls(&mut self, now: Instant, datagram: &[u8]) -> bool {
        if self.over {
            return false;
        }
        let progress = self.dtls.read(now, datagram);
        self.drain_dtls();
        match progress {
            Progress::Pending => return self.security.is_none(),
            Progress::Connected(contexts) => {
                let (sealer, opener) = *contexts;
                let profile = sealer.profile();
                self.security = Some(Security { sealer, opener });
                self.report_due = Some(now + RECEIVER_REPORT_EVERY);
                self.events.push_back(Event::Connected(profile));
            }
            Progress::Closed => self.end(Event::ClosedByPeer),
            Progress::Failed => self.end(Event::DtlsFailed),
        }
        true
    }

    /// Opens an SRTP packet in place and gives what it brings: nothing for padding alone, which only takes up a number,
    /// and several packets when it carries frames of lost ones once more.
    ///
    /// # Errors
    /// What is refused changes nothing.
    pub fn receive_rtp(
        &mut self,
        now: Instant,
        from: Path,
        packet: &mut [u8],
        each: impl FnMut(Rtp<'_>),
    ) -> Result<(), Refused> {
        let security = self.security.as_mut().filter(|_| !self.over).ok_or(Refused::NotConnected)?;
        let header = rtp::Header::parse(packet).map_err(|_| Refused::Unauthentic)?;
        let len = security.opener.open_rtp(packet, header.len, header.ssrc, header.seq)?;
        self.heard(now, from);
        if !self.packets.take(now, 1) {
            return Err(Refused::TooMany);
        }
        self.opened_rtp(now, header, &mut packet[..len], each).ok_or(Refused::Unexpected)
    }

    /// Gives what an opened packet brings; `None` when it is nothing that was offered.
    fn opened_rtp(
        &mut self,
        now: Instant,
        mut header: rtp::Header,
        mut packet: &mut [u8],
        mut each: impl FnMut(Rtp<'_>),
    ) -> Option<()> {
        let since_start = now.saturating_duration_since(self.started);

        let (at, layer) = binding::find(&mut self.media, &header, packet)?;
        let Use::Publication(publication) = &mut self.media[usize::from(at.0)].used else { return None };
        if let Some(id) = publication.extensions.transport_cc
            && let Some(seq) = header.extension(packet, id).and_then(|bytes| bytes.first_chunk())
        {
            self.transport.received(u16::from_be_bytes(*seq), since_start);
            self.transport_due.get_or_insert(now + TRANSPORT_FEEDBACK_EVERY);
        }
        let stream = &mut publication.streams[layer];
        let payload_len = header.payload(packet).ok()?.len();
        let is_rtx = Some(header.payload_type) == publication.rtx_payload_type;
        let is_red =
            publication.red.as_ref().is_some_and(|(payload_type, _)| *payload_type == header.payload_type);
        if is_rtx {
            // RFC 4588 §4: the original sequence number stands before the original payload.
            self.rtx_seq.extend(header.seq);
            let original: [u8; 2] = packet[header.len..header.len + payload_len].first_chunk().copied()?;
            packet.copy_within(..header.len, 2);
            packet = &mut packet[2..];
            packet[1] = (packet[1] & 0x80) | publication.payload_type;
            packet[2..4].copy_from_slice(&original);
            packet[8..12].copy_from_slice(&stream.ssrc?.to_be_bytes());
            header = rtp::Header::parse(packet).ok()?;
        } else if header.payload_type != publication.payload_type && !is_red {
            return None;
        }
        let seq = stream.seq.extend(header.seq);
        if !is_rtx {
            let clock_hz = publication.codec.clock_rate_hz();
            stream.reception.received(seq, header.timestamp, clock_hz, since_start);
        }
        if let Some(nack) = &mut stream.nack {
            stream.keyframe_wanted |= nack.received(now, seq);
        }
        if payload_len == 0 || (is_rtx && payload_len == 2) {
            return Some(());
        }
        let (payload_type, codec) = (publication.payload_type, publication.codec);
        let layers = publication.streams.len();
        let mut each = |header, seq, packet: &mut [u8]| {
            each(Rtp { media: at, layer, layers, codec, header, seq, packet });
        };
        if let Some((_, given)) = &mut publication.red {
            if is_red {
                return redundancy::take_apart(given, payload_type, seq, &header, packet, each);
            }
            if !given.first_time(seq) {
                return Some(());
            }
        }
        each(header, seq, packet);
        Some(())
    }

    /// Opens an SRTCP compound in place and tells what it asks.
    ///
    /// # Errors
    /// What is refused changes nothing, but for a compound that tells of more packets than it may: that is read up to
    /// there.
    pub fn receive_rtcp(
        &mut self,
        now: Instant,
        from: Path,
        packet: &mut [u8],
        mut tell: impl FnMut(Feedback),
    ) -> Result<(), Refused> {
        let security = self.security.as_mut().filter(|_| !self.over).ok_or(Refused::NotConnected)?;
        let len = security.opener.open_rtcp(packet)?;
        self.heard(now, from);
        if !self.compounds.take(now, 1) {
            return Err(Refused::TooMany);
        }
        for packet in rtcp::packets(&packet[..len]) {
            match packet {
                rtcp::Packet::SenderReport { ssrc, ntp, rtp_timestamp } => {
                    for (at, media) in (0..).map(MediaIndex).zip(&mut self.media) {
                        let Use::Publication(publication) = &mut media.used else { continue };
                        for (layer, stream) in publication.streams.iter_mut().enumerate() {
                            if stream.ssrc == Some(ssrc) {
                                stream.reception.sender_report(ntp, now);
                                tell(Feedback::SenderReport { media: at, layer, ntp, rtp_timestamp });
                            }
                        }
                    }
                }
                rtcp::Packet::Nack { media_ssrc, pairs } => {
                    if let Some(media) = self.slot_of(media_ssrc) {
                        rtcp::nacked(pairs).for_each(|seq| tell(Feedback::Missing { media, seq }));
                    }
                }
                rtcp::Packet::TransportFeedback(feedback) => {
                    if let Some(bandwidth) = &mut self.bandwidth {
                        if !self.statuses.take(now, feedback.statuses() as u32) {
                            return Err(Refused::TooMany);
                        }
                        bandwidth.feedback(now, feedback);
                    }
                }
                rtcp::Packet::PictureLoss { media_ssrc } | rtcp::Packet::FullIntraRequest { media_ssrc } => {
                    if let Some(media) = self.slot_of(media_ssrc) {
                        tell(Feedback::KeyframeWanted { media });
                    }
                }
                rtcp::Packet::Bye { .. } => {}
            }
        }
        Ok(())
    }

    fn slot_of(&self, ssrc: u32) -> Option<MediaIndex> {
        let at = self
            .media
            .iter()
            .position(|media| matches!(&media.used, Use::Slot(slot) if slot.ssrc == ssrc))?;
        Some(MediaIndex(at as u16))
    }

    /// What is published on an m-line.
    pub fn publication(&self, media: MediaIndex) -> Option<&Publication> {
        match &self.media.get(usize::from(media.0))?.used {
            Use::Publication(publication) => Some(publication),
            _ => None,
        }
    }

    /// The slot at an m-line.
    pub fn slot(&self, media: MediaIndex) -> Option<&Slot> {
        match &self.media.get(usize::from(media.0))?.used {
            Use::Slot(slot) => Some(slot),
            _ => None,
        }
    }

    /// Asks for a keyframe of a layer of a publication with the next RTCP, at most once a second.
    pub fn request_keyframe(&mut self, media: MediaIndex, layer: usize) {
        if let Some(Media { used: Use::Publication(publication), .. }) =
            self.media.get_mut(usize::from(media.0))
            && publication.codec.kind() == MediaKind::Video
            && let Some(stream) = publication.streams.get_mut(layer)
        {
            stream.keyframe_wanted = true;
        }
    }

    /// Writes and seals the RTCP that is due: NACKs, keyframe requests, feedback, reports. `None` when there is
    /// none. `out` should be one datagram of 1,200 bytes.
    pub fn write_rtcp(&mut self, now: Instant, out: &mut [u8]) -> Option<(usize, RtcpKind)> {
        let security = self.security.as_mut().filter(|_| !self.over)?;
        let plain_room = out.len().checked_sub(RTCP_OVERHEAD_MAX)?;
        let mut writer = Writer::new(&mut out[..plain_room]);
        let mut kind = RtcpKind::default();

        if self.report_due.is_some_and(|due| due <= now) {
            self.report_due = Some(now + RECEIVER_REPORT_EVERY);
            let mut blocks = [rtcp::ReportBlock::default(); 31];
            let mut count = 0;
            for stream in self.media.iter_mut().flat_map(Media::streams) {
                if let Some(ssrc) = stream.ssrc
                    && count < blocks.len()
                    && let Some(block) = stream.reception.report(ssrc, now)
                {
                    blocks[count] = block;
                    count += 1;
                }
            }
            if count > 0 {
                writer.receiver_report(self.own_ssrc, &blocks[..count], CNAME);
            }
        }
        let mut any_ssrc = 0;
        for media in &mut self.media {
            let Use::Publication(publication) = &mut media.used else { continue };
            for stream in &mut publication.streams {
                let Some(ssrc) = stream.ssrc else { continue };
                any_ssrc = ssrc;
                if let Some(nack) = &mut stream.nack {
                    let mut seqs = [0; 64];
                    let (count, gave_up) = nack.due(now, &mut seqs);
                    if count > 0 && writer.nack(self.own_ssrc, ssrc, &seqs[..count]) {
                        kind.nacked += count as u32;
                    }
                    stream.keyframe_wanted |= gave_up;
                }
                let allowed = stream.keyframe_asked_at.is_none_or(|at| now >= at + KEYFRAME_EVERY);
                if stream.keyframe_wanted && allowed {
                    let asked = if publication.takes_pli {
                        writer.picture_loss(self.own_ssrc, ssrc)
                    } else {
                        stream.fir_count = stream.fir_count.wrapping_add(1);
                        writer.full_intra_request(self.own_ssrc, ssrc, stream.fir_count)
                    };
                    if asked {
                        stream.keyframe_wanted = false;
                        stream.keyframe_asked_at = Some(now);
                        kind.keyframe_requests += 1;
                    }
                }
            }
        }
        if self.transport_due.is_some_and(|due| due <= now) {
            self.transport_due = None;
            if self.transport.pending() {
                self.transport.write(&mut writer, self.own_ssrc, any_ssrc);
                self.transport_due = self.transport.pending().then(|| now + TRANSPORT_FEEDBACK_EVERY);
            }
        }
        let len = writer.len();
        if len == 0 {
            return None;
        }
        security.sealer.seal_rtcp(out, len).map(|len| (len, kind))
    }

    /// The next time at which [`Peer::handle_timeout`] and [`Peer::write_rtcp`] have something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.over {
            return None;
        }
        let publications = self.media.iter().filter_map(|media| match &media.used {
            Use::Publication(publication) => {
                // Who has not been heard cannot be asked.
                let heard = publication.streams.iter().filter(|stream| stream.ssrc.is_some());
                let due = heard.flat_map(|stream| {
                    let keyframe = stream
                        .keyframe_wanted
                        .then(|| stream.keyframe_asked_at.map_or(self.started, |at| at + KEYFRAME_EVERY));
                    [keyframe, stream.nack.as_ref().and_then(NackGenerator::poll_timeout)]
                });
                due.flatten().min()
            }
            _ => None,
        });
        let bandwidth = self.limited().and_then(|bandwidth| bandwidth.poll_timeout());
        [Some(self.consent_until), self.dtls.poll_timeout(), self.transport_due, self.report_due, bandwidth]
            .into_iter()
            .flatten()
            .chain(publications.filter(|_| self.security.is_some()))
            .chain(self.security.is_none().then_some(self.connect_until))
            .min()
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.over {
            return;
        }
        if now >= self.consent_until {
            self.end(Event::ConsentExpired);
            return;
        }
        if self.security.is_none() && now >= self.connect_until {
            self.end(Event::DtlsFailed);
            return;
        }
        if self.dtls.poll_timeout().is_some_and(|due| due <= now) {
            let goes_on = self.dtls.handle_timeout(now);
            self.drain_dtls();
            if !goes_on && self.security.is_none() {
                self.end(Event::DtlsFailed);
            }
        }
    }

    /// Says goodbye; drain [`Peer::poll_transmit`] after it. No event follows.
    pub fn close(&mut self, now: Instant) {
        self.dtls.close(now);
        self.drain_dtls();
        self.over = true;
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn end(&mut self, event: Event) {
        self.over = true;
        self.events.push_back(event);
    }

    fn drain_dtls(&mut self) {
        while let Some(data) = self.dtls.poll_transmit() {
            if let Some(to) = self.ice.remote() {
                self.transmit(to, data.to_vec());
            }
        }
    }

    fn transmit(&mut self, to: Path, data: Vec<u8>) {
        if self.transmits.len() < TRANSMITS_MAX {
            self.transmits.push_back(Transmit { to, data });
        }
    }
}

/// What may still come within this second.
struct Budget {
    most: u32,
    left: u32,
    since: Instant,
}

impl Budget {
    fn new(most: u32, now: Instant) -> Self {
        Self { most, left: most, since: now }
    }

    fn take(&mut self, now: Instant, count: u32) -> bool {
        if now.saturating_duration_since(self.since) >= Duration::from_secs(1) {
            *self = Budget::new(self.most, now);
        }
        let left = self.left.checked_sub(count);
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }
}
