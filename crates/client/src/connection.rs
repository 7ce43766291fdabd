//! One connection, without sockets: offer, answer, checks, handshake, media.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use hewei_model::{Codec, MediaKind};
use rtc_crypto::RTCCryptoProvider;
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_stun::message::TransactionId;

use crate::{
    dtls::{Dtls, Keys, Progress},
    reception::{Packet, Receiving, Reception},
    rtcp::{self, Said},
    sdp::{self, Answer, Local, Shape, Slot, codec_of},
    stun::{self, Credentials, random},
    track::{Outgoing, Sending, Track, TrackCounts},
};

/// Checks before anybody has answered.
const CHECK_EVERY: Duration = Duration::from_millis(100);
/// Renewals of consent after that (RFC 7675 §5.1 has 5 s).
const RENEW_EVERY: Duration = Duration::from_secs(3);
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// Between the answer and media.
const CONNECT_MAX: Duration = Duration::from_secs(20);
/// Without an answer to a check.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// Requests of which an answer is still taken.
const TRANSACTIONS_MAX: usize = 64;
/// Seconds between 1900 and 1970.
const NTP_OFFSET_S: u64 = 2_208_988_800;

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The server's answer does not fit the offer, or cannot be read.
    #[error("the answer cannot be used: {0}")]
    Answer(String),
    /// The server does not take a track.
    #[error("the server does not take the track {0} ({1})")]
    TrackRefused(usize, Codec),
    /// No candidate of the server answered a check.
    #[error("no answer to a connectivity check from any of {0:?}")]
    Unreachable(Vec<SocketAddr>),
    /// The handshake did not come to its end in time.
    #[error("the DTLS handshake did not end in {CONNECT_MAX:?}")]
    HandshakeTimeout,
    /// The handshake failed.
    #[error("DTLS: {0}")]
    Dtls(String),
    /// The server no longer answers checks.
    #[error("the server answered no check for {SILENCE_MAX:?}")]
    Silent,
    /// The server said goodbye.
    #[error("the server closed the connection")]
    Closed,
    /// Not connected yet, or no longer.
    #[error("not connected")]
    NotConnected,
    /// SRTP refused.
    #[error("SRTP: {0}")]
    Srtp(String),
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Media may flow, protected so.
    Connected(SrtpProtectionProfile),
    /// The server wants a keyframe of this track.
    KeyframeWanted {
        /// Index in [`Shape::tracks`].
        track: usize,
    },
    /// A packet came in a slot. It is counted already.
    Packet {
        /// Index in [`Connection::slots`].
        slot: usize,
        /// A retransmission (RFC 4588): another payload type, and the original number before the payload.
        rtx: bool,
        /// The whole packet, opened.
        packet: Vec<u8>,
    },
    /// It is over. Nothing comes after it.
    Over(Error),
}

/// A datagram to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// Where to.
    pub to: SocketAddr,
    /// What.
    pub datagram: Vec<u8>,
}

enum State {
    New,
    /// Looks for a candidate that answers.
    Checking,
    Handshaking,
    Connected(Box<Keys>),
    Over,
}

/// A connection. After each call of a method that takes `now`, drain [`Self::poll_transmit`] and [`Self::poll_event`],
/// then wait for a datagram or until [`Self::poll_timeout`].
pub struct Connection {
    provider: Arc<dyn RTCCryptoProvider>,
    dtls: Dtls,
    state: State,
    version: u32,
    pwd: String,
    credentials: Credentials,
    /// Our side of an ICE session that the server does not know yet: fragment and password.
    restarting: Option<(String, String)>,
    /// Of a session that has begun anew no candidate has answered yet. Until one does media goes where it went.
    rechecking: bool,
    remote_fingerprint: String,
    candidates: Vec<SocketAddr>,
    over_tcp: bool,
    server: Option<SocketAddr>,
    transactions: VecDeque<TransactionId>,
    answered_at: Option<Instant>,
    check_at: Option<Instant>,
    report_at: Option<Instant>,
    last_heard: Option<Instant>,
    /// A moment on both clocks, for sender reports.
    anchor: (Instant, SystemTime),
    tracks: Vec<Sending>,
    slots: Vec<Slot>,
    receiving: Vec<Receiving>,
    report_ssrc: u32,
    unopened: u64,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
}

impl Connection {
    /// A connection that has nothing but a certificate. `wall` is what the clock shows at `now`.
    ///
    /// # Errors
    /// [`Error::Dtls`] when no certificate can be made.
    pub fn new(shape: Shape, now: Instant, wall: SystemTime) -> Result<Connection, Error> {
        let provider = rtc_crypto::default_provider().map_err(|error| Error::Dtls(error.to_string()))?;
        let dtls = Dtls::new(Arc::clone(&provider), shape.gcm)?;
        let mut connection = Connection {
            provider,
            dtls,
            state: State::New,
            version: 0,
            pwd: letters::<24>(),
            credentials: Credentials {
                local_ufrag: letters::<8>(),
                remote_ufrag: String::new(),
                remote_pwd: String::new(),
            },
            restarting: None,
            rechecking: false,
            remote_fingerprint: String::new(),
            candidates: Vec::new(),
            over_tcp: false,
            server: None,
            transactions: VecDeque::new(),
            answered_at: None,
            check_at: None,
            report_at: None,
            last_heard: None,
            anchor: (now, wall),
            tracks: (0..)
                .zip(shape.tracks)
                .map(|(mid, track): (usize, _)| Sending::new(track, &mid.to_string()))
                .collect(),
            slots: Vec::new(),
            receiving: Vec::new(),
            report_ssrc: u32::from_be_bytes(random()),
            unopened: 0,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        };
        connection.add_slots(shape.audio_slots, shape.video_slots);
        Ok(connection)
    }

    /// Goes over TCP from the first answer on: of the server's candidates those count that wait for a connection. Each
    /// transmit is to be sent as a frame (RFC 4571) of the connection to its address.
    pub fn over_tcp(&mut self) {
        self.over_tcp = true;
    }

    /// Whether it goes over TCP.
    pub fn is_over_tcp(&self) -> bool {
        self.over_tcp
    }

    /// More slots for the next offer. An m-line never goes away again.
    pub fn add_slots(&mut self, audio: usize, video: usize) {
        let kinds =
            std::iter::repeat_n(MediaKind::Audio, audio).chain(std::iter::repeat_n(MediaKind::Video, video));
        for kind in kinds {
            let mid = (self.tracks.len() + self.slots.len()).to_string();
            self.slots.push(Slot { mid, kind, ssrc: None, rtx_ssrc: None });
            self.receiving.push(Receiving::default());
        }
    }

    /// An SDP offer of all there is now.
    pub fn offer(&mut self) -> String {
        self.version += 1;
        let tracks: Vec<Track> = self.tracks.iter().map(|sending| sending.track).collect();
        sdp::write_offer(&tracks, &self.slots, &self.local())
    }

    /// Restarts ICE with the next offer, as a browser does whose network changed: see [`Self::offer`]. All else stays.
    /// Nothing before the first answer.
    pub fn restart(&mut self) {
        if !matches!(self.state, State::New) {
            self.restarting = Some((letters::<8>(), letters::<24>()));
        }
    }

    /// The same for WHIP and WHEP, which have no second offer: a fragment to send by `PATCH`. Its answer goes to
    /// [`Self::restarted`].
    pub fn restart_fragment(&mut self) -> String {
        self.restart();
        let kind = self.tracks.first().map(|sending| sending.track.codec.kind());
        let kind = kind.or_else(|| self.slots.first().map(|slot| slot.kind)).unwrap_or(MediaKind::Audio);
        sdp::write_fragment(kind, &self.local())
    }

    /// Takes the server's answer to [`Self::restart_fragment`].
    ///
    /// # Errors
    /// [`Error::Answer`]; ICE goes on as it was.
    pub fn restarted(&mut self, now: Instant, fragment: &str) -> Result<(), Error> {
        let answer = Answer::parse_fragment(fragment)?;
        self.recheck(now, answer);
        Ok(())
    }

    fn local(&self) -> Local<'_> {
        let (ufrag, pwd) = match &self.restarting {
            Some((ufrag, pwd)) => (ufrag, pwd),
            None => (&self.credentials.local_ufrag, &self.pwd),
        };
        Local { version: self.version, ufrag, pwd, fingerprint: self.dtls.fingerprint() }
    }

    /// The server has taken a restart: all its candidates are tried anew.
    fn recheck(&mut self, now: Instant, answer: Answer) {
        let Some((ufrag, pwd)) = self.restarting.take() else { return };
        self.pwd = pwd;
        self.credentials =
            Credentials { local_ufrag: ufrag, remote_ufrag: answer.ufrag, remote_pwd: answer.pwd };
        self.candidates = if self.over_tcp { answer.tcp_candidates } else { answer.candidates };
        self.transactions.clear();
        self.rechecking = true;
        self.check(now);
    }

    /// Takes the answer to the last offer; the first one begins the connection.
    ///
    /// # Errors
    /// [`Error::Answer`] and [`Error::TrackRefused`].
    pub fn answer(&mut self, now: Instant, sdp: &str) -> Result<(), Error> {
        let answer = Answer::parse(sdp)?;
        if answer.sections.len() != self.tracks.len() + self.slots.len() {
            return Err(Error::Answer(format!("{} m-lines", answer.sections.len())));
        }
        let (for_tracks, for_slots) = answer.sections.split_at(self.tracks.len());
        for (at, (sending, section)) in self.tracks.iter().zip(for_tracks).enumerate() {
            let payload_type = sdp::payload_types(sending.track.codec).0;
            if !section.taken || section.direction != "recvonly" || !section.formats.contains(&payload_type) {
                return Err(Error::TrackRefused(at, sending.track.codec));
            }
        }
        for (slot, section) in self.slots.iter_mut().zip(for_slots) {
            let sends = section.taken && section.direction == "sendonly";
            slot.ssrc = section.ssrc.filter(|_| sends);
            slot.rtx_ssrc = section.rtx_ssrc.filter(|_| sends);
        }
        if matches!(self.state, State::New) {
            self.credentials.remote_ufrag = answer.ufrag;
            self.credentials.remote_pwd = answer.pwd;
            self.remote_fingerprint = answer.fingerprint;
            self.candidates = if self.over_tcp { answer.tcp_candidates } else { answer.candidates };
            self.state = State::Checking;
            self.answered_at = Some(now);
            self.check(now);
        } else {
            self.recheck(now, answer);
        }
        Ok(())
    }

    /// The server's addresses, by its answer.
    pub fn candidates(&self) -> &[SocketAddr] {
        &self.candidates
    }

    /// The address that answered.
    pub fn server(&self) -> Option<SocketAddr> {
        self.server
    }

    /// Whether media may flow.
    pub fn is_connected(&self) -> bool {
        matches!(self.state, State::Connected(_))
    }

    /// How media is protected, once connected.
    pub fn profile(&self) -> Option<SrtpProtectionProfile> {
        match &self.state {
            State::Connected(keys) => Some(keys.profile),
            _ => None,
        }
    }

    /// The tracks that were offered.
    pub fn tracks(&self) -> impl Iterator<Item = Track> {
        self.tracks.iter().map(|sending| sending.track)
    }

    /// What was sent on a track. All zero for a track that there is not.
    pub fn sent(&self, track: usize) -> TrackCounts {
        self.tracks.get(track).map_or_else(TrackCounts::default, |sending| sending.counts)
    }

    /// The slots, in the order they were asked for.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// What came in a slot. All zero for a slot that there is not.
    pub fn received(&self, slot: usize) -> Reception {
        self.receiving.get(slot).map_or_else(Reception::default, |receiving| receiving.counts)
    }

    /// Datagrams of media that could not be opened or were in no slot.
    pub fn unopened(&self) -> u64 {
        self.unopened
    }

    /// Seals and queues a packet of a track, with the track's own numbers.
    ///
    /// # Errors
    /// [`Error::NotConnected`] before [`Event::Connected`], and for a track that there is not.
    pub fn send(&mut self, now: Instant, track: usize, outgoing: Outgoing<'_>) -> Result<(), Error> {
        self.send_layer(now, track, 0, outgoing)
    }

    /// The same of one of the sizes of a picture.
    ///
    /// # Errors
    /// As [`Self::send`], and for a layer that there is not.
    pub fn send_layer(
        &mut self,
        now: Instant,
        track: usize,
        layer: usize,
        outgoing: Outgoing<'_>,
    ) -> Result<(), Error> {
        if !self.is_connected() {
            return Err(Error::NotConnected);
        }
        let packet = self.tracks.get_mut(track).and_then(|sending| sending.packet(now, layer, outgoing));
        let datagram = self.seal_rtp(&packet.ok_or(Error::NotConnected)?)?;
        self.transmit(datagram);
        Ok(())
    }

    /// Seals a whole packet of the caller's.
    ///
    /// # Errors
    /// [`Error::NotConnected`], [`Error::Srtp`].
    pub fn seal_rtp(&mut self, packet: &[u8]) -> Result<Vec<u8>, Error> {
        let State::Connected(keys) = &mut self.state else { return Err(Error::NotConnected) };
        Ok(keys.sealing.encrypt_rtp(packet).map_err(|error| Error::Srtp(error.to_string()))?.to_vec())
    }

    /// Seals a whole RTCP compound of the caller's.
    ///
    /// # Errors
    /// As [`Self::seal_rtp`].
    pub fn seal_rtcp(&mut self, compound: &[u8]) -> Result<Vec<u8>, Error> {
        let State::Connected(keys) = &mut self.state else { return Err(Error::NotConnected) };
        Ok(keys.sealing.encrypt_rtcp(compound).map_err(|error| Error::Srtp(error.to_string()))?.to_vec())
    }

    /// Asks for a keyframe in a slot.
    ///
    /// # Errors
    /// [`Error::NotConnected`], also for a slot in which nothing can play.
    pub fn ask_keyframe(&mut self, slot: usize) -> Result<(), Error> {
        let ssrc = self.slots.get(slot).and_then(|slot| slot.ssrc).ok_or(Error::NotConnected)?;
        let datagram = self.seal_rtcp(&rtcp::picture_loss(self.report_ssrc, ssrc))?;
        self.transmit(datagram);
        Ok(())
    }

    /// Takes in a datagram that came from this address. Until a candidate is chosen only answers to checks count.
    pub fn receive(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        let tried = self.rechecking && self.candidates.contains(&from);
        if self.server.is_some_and(|server| server != from && !tried) {
            return;
        }
        // RFC 7983.
        match datagram.first() {
            Some(0..=3) => self.receive_stun(now, from, datagram),
            Some(20..=63) => self.receive_dtls(now, datagram),
            Some(128..=191) => match datagram.get(1) {
                Some(192..=223) => self.receive_rtcp(now, datagram),
                _ => self.receive_rtp(now, datagram),
            },
            _ => {}
        }
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        if let (Some(to), Some(datagram)) = (self.server, self.dtls.poll_transmit()) {
            return Some(Transmit { to, datagram: datagram.to_vec() });
        }
        self.transmits.pop_front()
    }

    /// What happened next.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if matches!(self.state, State::New | State::Over) {
            return None;
        }
        let dtls = self.dtls.poll_timeout();
        let asking = self.receiving.iter().filter_map(Receiving::ask_at).min();
        [self.check_at, self.report_at, dtls, asking].into_iter().flatten().min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if matches!(self.state, State::New | State::Over) {
            return;
        }
        let waited = self.answered_at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        let silent = self.last_heard.is_some_and(|at| now.saturating_duration_since(at) > SILENCE_MAX);
        match self.state {
            State::Checking if waited > CONNECT_MAX => {
                return self.over(Error::Unreachable(self.candidates.clone()));
            }
            State::Handshaking if waited > CONNECT_MAX => return self.over(Error::HandshakeTimeout),
            State::Connected(_) if silent => return self.over(Error::Silent),
            _ => {}
        }
        if self.check_at.is_some_and(|at| at <= now) {
            self.check(now);
        }
        if let Err(error) = self.dtls.handle_timeout(now)
            && !self.is_connected()
        {
            return self.over(error);
        }
        if self.report_at.is_some_and(|at| at <= now) {
            self.report(now);
        }
        self.ask(now);
    }

    /// Says goodbye.
    pub fn close(&mut self, now: Instant) {
        if self.is_over() {
            return;
        }
        self.dtls.close(now);
        self.state = State::Over;
    }

    /// Renews consent now, whatever is due.
    pub fn check(&mut self, now: Instant) {
        let chosen = self.server.filter(|_| !self.rechecking);
        let to: Vec<SocketAddr> = chosen.map_or_else(|| self.candidates.clone(), |server| vec![server]);
        for to in to {
            // Every path is tried, and the first that answers nominated (RFC 8445, section 8.1.1): nominating all of
            // them would have the server send to the last.
            let nominate = chosen.is_some();
            let Ok((transaction, datagram)) = stun::request(&self.credentials, &*self.provider, nominate)
            else {
                continue;
            };
            if self.transactions.len() == TRANSACTIONS_MAX {
                self.transactions.pop_front();
            }
            self.transactions.push_back(transaction);
            self.transmits.push_back(Transmit { to, datagram });
        }
        self.check_at = Some(now + if chosen.is_some() { RENEW_EVERY } else { CHECK_EVERY });
    }

    fn receive_stun(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        let Some(transaction) = stun::answered(&self.credentials, &*self.provider, datagram) else { return };
        let Some(at) = self.transactions.iter().position(|known| *known == transaction) else { return };
        self.transactions.remove(at);
        self.last_heard = Some(now);
        if std::mem::take(&mut self.rechecking) {
            self.server = Some(from);
            self.check(now);
        }
        if matches!(self.state, State::Checking) {
            self.server = Some(from);
            self.state = State::Handshaking;
            self.check(now);
            if let Err(error) = self.dtls.connect(now) {
                self.over(error);
            }
        }
    }

    fn receive_dtls(&mut self, now: Instant, datagram: &[u8]) {
        match self.dtls.read(now, datagram, &self.remote_fingerprint) {
            Ok(Progress::Pending) => {}
            Ok(Progress::Connected(keys)) => {
                self.events.push_back(Event::Connected(keys.profile));
                self.state = State::Connected(keys);
                self.report_at = Some(now + REPORT_EVERY);
            }
            Ok(Progress::Closed) => self.over(Error::Closed),
            Err(error) => self.over(error),
        }
    }

    fn receive_rtp(&mut self, now: Instant, datagram: &[u8]) {
        let State::Connected(keys) = &mut self.state else { return };
        let Ok(packet) = keys.opening.decrypt_rtp(datagram) else {
            self.unopened += 1;
            return;
        };
        let packet = packet.to_vec();
        if !self.count(now, &packet) {
            self.unopened += 1;
        }
    }

    /// Counts a packet, and tells of it. False when it is in no slot.
    fn count(&mut self, now: Instant, packet: &[u8]) -> bool {
        let Some(read) = Packet::read(packet) else { return false };
        let Some((codec, rtx)) = codec_of(read.payload_type) else { return false };
        let slot = self.slots.iter().position(|slot| {
            let ssrc = if rtx { slot.rtx_ssrc } else { slot.ssrc };
            slot.kind == codec.kind() && ssrc == Some(read.ssrc)
        });
        let Some(slot) = slot else { return false };
        if rtx {
            let Some((seq, payload)) = read.payload.split_first_chunk::<2>() else { return false };
            let original = Packet { seq: u16::from_be_bytes(*seq), payload, ..read };
            self.receiving[slot].packet(now, codec, true, &original);
        } else {
            self.receiving[slot].packet(now, codec, false, &read);
        }
        self.events.push_back(Event::Packet { slot, rtx, packet: packet.to_vec() });
        self.ask(now);
        true
    }

    fn receive_rtcp(&mut self, now: Instant, datagram: &[u8]) {
        let State::Connected(keys) = &mut self.state else { return };
        let Ok(compound) = keys.opening.decrypt_rtcp(datagram) else {
            self.unopened += 1;
            return;
        };
        for said in rtcp::read(&compound) {
            match said {
                Said::Nack { ssrc, seq } => {
                    let again = self.sending(ssrc).and_then(|(_, sending)| sending.again(ssrc, seq));
                    if let Some(datagram) = again.and_then(|packet| self.seal_rtp(&packet).ok()) {
                        self.transmit(datagram);
                    }
                }
                Said::Keyframe { ssrc } => {
                    if let Some((track, sending)) = self.sending(ssrc) {
                        sending.counts.keyframes_asked += 1;
                        self.events.push_back(Event::KeyframeWanted { track });
                    }
                }
                Said::Lost { ssrc, packets } => {
                    if let Some((_, sending)) = self.sending(ssrc) {
                        sending.counts.reported_lost = packets;
                    }
                }
                Said::SenderReport { ssrc, ntp_middle } => {
                    if let Some(at) = self.slots.iter().position(|slot| slot.ssrc == Some(ssrc)) {
                        self.receiving[at].sender_report = Some((ntp_middle, now));
                    }
                }
            }
        }
    }

    fn sending(&mut self, ssrc: u32) -> Option<(usize, &mut Sending)> {
        self.tracks.iter_mut().enumerate().find(|(_, sending)| sending.has(ssrc))
    }

    /// Sender reports of the tracks, and one receiver report of the slots.
    fn report(&mut self, now: Instant) {
        self.report_at = Some(now + REPORT_EVERY);
        let ntp = self.ntp(now);
        let mut reports: Vec<Vec<u8>> =
            self.tracks.iter().flat_map(|sending| sending.reports(now, ntp)).collect();
        let blocks: Vec<_> = self
            .slots
            .iter()
            .zip(&mut self.receiving)
            .filter_map(|(slot, receiving)| receiving.block(now, slot.ssrc?))
            .collect();
        if !blocks.is_empty() {
            reports.push(rtcp::receiver_report(self.report_ssrc, &blocks));
        }
        for report in reports {
            if let Ok(datagram) = self.seal_rtcp(&report) {
                self.transmit(datagram);
            }
        }
    }

    /// Asks for what is missing.
    fn ask(&mut self, now: Instant) {
        for at in 0..self.slots.len() {
            let (Some(ssrc), true) = (self.slots[at].ssrc, self.slots[at].rtx_ssrc.is_some()) else {
                continue;
            };
            let seqs = self.receiving[at].due_again(now);
            if seqs.is_empty() {
                continue;
            }
            if let Ok(datagram) = self.seal_rtcp(&rtcp::nack(self.report_ssrc, ssrc, &seqs)) {
                self.transmit(datagram);
            }
        }
    }

    fn ntp(&self, now: Instant) -> u64 {
        let (at, wall) = self.anchor;
        let wall = wall.duration_since(UNIX_EPOCH).unwrap_or_default() + now.saturating_duration_since(at);
        let fraction = (u64::from(wall.subsec_nanos()) << 32) / 1_000_000_000;
        ((wall.as_secs() + NTP_OFFSET_S) << 32) | fraction
    }

    fn transmit(&mut self, datagram: Vec<u8>) {
        if let Some(to) = self.server {
            self.transmits.push_back(Transmit { to, datagram });
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    pub(crate) fn over(&mut self, error: Error) {
        self.state = State::Over;
        self.events.push_back(Event::Over(error));
    }
}

/// Letters that nobody can guess.
fn letters<const N: usize>() -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    random::<N>().iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect()
}
