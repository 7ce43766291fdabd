//! What a client publishes: its own numbers, and a short history for who missed something.

use std::{collections::VecDeque, time::Instant};

use hewei_model::{Codec, MediaKind};

use crate::{
    rtcp,
    sdp::{self, payload_types},
    stun::random,
};

/// Packets kept for retransmission: some seconds of a small picture.
const HISTORY_MAX: usize = 512;
/// The X bit (RFC 3550 §5.1).
const EXTENSION: u8 = 0x10;

/// A track to publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Track {
    /// Its codec.
    pub codec: Codec,
    /// SSRC.
    pub ssrc: u32,
    /// SSRC of its retransmissions.
    pub rtx_ssrc: u32,
    /// Sizes in which its picture is sent at the same time (simulcast), the smallest first; [`LAYERS_MAX`] at most. The
    /// SSRCs of the others follow on that of the first.
    pub layers: usize,
}

/// As many as a browser sends.
pub const LAYERS_MAX: usize = 3;

impl Track {
    /// A track with numbers of its own.
    pub fn new(codec: Codec) -> Track {
        Track { codec, ssrc: u32::from_be_bytes(random()), rtx_ssrc: u32::from_be_bytes(random()), layers: 1 }
    }

    pub(crate) fn is_simulcast(&self) -> bool {
        self.layers > 1
    }
}

/// A payload to send.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// In ticks of the codec's clock, from any beginning.
    pub timestamp: u32,
    /// The last packet of a picture, or the first of a talkspurt.
    pub marker: bool,
    /// As the codec's RTP payload format has it; 1,200 bytes at most travel well.
    pub payload: &'a [u8],
}

/// What was sent on a track, and what the server said of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TrackCounts {
    /// Packets, without retransmissions.
    pub packets: u64,
    /// Bytes of payload, without retransmissions.
    pub bytes: u64,
    /// Packets that the server asked for again.
    pub nacked: u64,
    /// Of these, those that were still there and were sent again.
    pub retransmitted: u64,
    /// Keyframes asked for by PLI or FIR.
    pub keyframes_asked: u64,
    /// Packets that the server counts as lost, by its last receiver report.
    pub reported_lost: u32,
}

/// A track under way.
pub(crate) struct Sending {
    pub(crate) track: Track,
    pub(crate) counts: TrackCounts,
    rtx_seq: u16,
    streams: Vec<Stream>,
}

/// One size of it.
struct Stream {
    ssrc: u32,
    /// What is in front of each payload: the extension that says whose it is, of a track in several sizes.
    extension: Vec<u8>,
    seq: u16,
    timestamp_offset: u32,
    /// The timestamp of the last packet and when it was sent, for sender reports.
    last: Option<(u32, Instant)>,
    packets: u32,
    bytes: u32,
    history: VecDeque<(u16, Vec<u8>)>,
}

impl Sending {
    /// `mid` is the name of its m-line.
    pub(crate) fn new(track: Track, mid: &str) -> Self {
        let layers = track.layers.clamp(1, LAYERS_MAX);
        let track = Track { layers, ..track };
        let streams = (0..layers).map(|layer| Stream {
            ssrc: track.ssrc.wrapping_add(layer as u32),
            extension: if layers > 1 { sdp::layer_extension(mid, layer) } else { Vec::new() },
            // Not near the end, where a loss would hide the rollover (RFC 3711 §3.3.1).
            seq: u16::from_be_bytes(random()) & 0x7fff,
            timestamp_offset: u32::from_be_bytes(random()),
            last: None,
            packets: 0,
            bytes: 0,
            history: VecDeque::new(),
        });
        let streams = streams.collect();
        let rtx_seq = u16::from_be_bytes(random()) & 0x7fff;
        Self { track, counts: TrackCounts::default(), rtx_seq, streams }
    }

    /// Whether a stream is of it.
    pub(crate) fn has(&self, ssrc: u32) -> bool {
        self.streams.iter().any(|stream| stream.ssrc == ssrc)
    }

    /// The next packet of a layer, in plain. `None` when there is no such layer.
    pub(crate) fn packet(&mut self, now: Instant, layer: usize, outgoing: Outgoing<'_>) -> Option<Vec<u8>> {
        let stream = self.streams.get_mut(layer)?;
        let timestamp = outgoing.timestamp.wrapping_add(stream.timestamp_offset);
        let payload_type = payload_types(self.track.codec).0;
        let payload = [&stream.extension, outgoing.payload].concat();
        let mut packet = rtp(payload_type, outgoing.marker, stream.seq, timestamp, stream.ssrc, &payload);
        if !stream.extension.is_empty() {
            packet[0] |= EXTENSION;
        }
        stream.packets = stream.packets.wrapping_add(1);
        stream.bytes = stream.bytes.wrapping_add(outgoing.payload.len() as u32);
        self.counts.packets += 1;
        self.counts.bytes += outgoing.payload.len() as u64;
        stream.last = Some((timestamp, now));
        if self.track.codec.kind() == MediaKind::Video {
            if stream.history.len() == HISTORY_MAX {
                stream.history.pop_front();
            }
            stream.history.push_back((stream.seq, packet.clone()));
        }
        stream.seq = stream.seq.wrapping_add(1);
        Some(packet)
    }

    /// A packet once more, as RFC 4588 §4 has it: the number it had before what it held. One of several sizes comes as it
    /// was.
    pub(crate) fn again(&mut self, ssrc: u32, seq: u16) -> Option<Vec<u8>> {
        self.counts.nacked += 1;
        let rtx_payload_type = payload_types(self.track.codec).1?;
        let stream = self.streams.iter().find(|stream| stream.ssrc == ssrc)?;
        let (_, packet) = stream.history.iter().find(|(known, _)| *known == seq)?;
        self.counts.retransmitted += 1;
        if self.track.is_simulcast() {
            return Some(packet.clone());
        }
        let mut payload = seq.to_be_bytes().to_vec();
        payload.extend_from_slice(&packet[12..]);
        let timestamp = u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]]);
        let marker = packet[1] & 0x80 != 0;
        let again = rtp(rtx_payload_type, marker, self.rtx_seq, timestamp, self.track.rtx_ssrc, &payload);
        self.rtx_seq = self.rtx_seq.wrapping_add(1);
        Some(again)
    }

    /// A sender report (RFC 3550 §6.4.1) of each stream of which something was sent.
    pub(crate) fn reports(&self, now: Instant, ntp: u64) -> impl Iterator<Item = Vec<u8>> {
        let rate = f64::from(self.track.codec.clock_rate_hz());
        self.streams.iter().filter_map(move |stream| {
            let (timestamp, at) = stream.last?;
            let ticks = (now.saturating_duration_since(at).as_secs_f64() * rate) as u32;
            let timestamp = timestamp.wrapping_add(ticks);
            Some(rtcp::sender_report(stream.ssrc, ntp, timestamp, stream.packets, stream.bytes))
        })
    }
}

fn rtp(payload_type: u8, marker: bool, seq: u16, timestamp: u32, ssrc: u32, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::with_capacity(12 + payload.len());
    packet.extend([0x80, payload_type | if marker { 0x80 } else { 0 }]);
    packet.extend(seq.to_be_bytes());
    packet.extend(timestamp.to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend_from_slice(payload);
    packet
}
