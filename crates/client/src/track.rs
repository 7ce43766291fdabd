//! What a client publishes: its own numbers, and a short history for who missed something.

use std::{collections::VecDeque, time::Instant};

use hewei_model::{Codec, MediaKind};

use crate::{rtcp, sdp::payload_types, stun::random};

/// Packets kept for retransmission: some seconds of a small picture.
const HISTORY_MAX: usize = 512;

/// A track to publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Track {
    /// Its codec.
    pub codec: Codec,
    /// SSRC.
    pub ssrc: u32,
    /// SSRC of its retransmissions.
    pub rtx_ssrc: u32,
}

impl Track {
    /// A track with numbers of its own.
    pub fn new(codec: Codec) -> Track {
        Track { codec, ssrc: u32::from_be_bytes(random()), rtx_ssrc: u32::from_be_bytes(random()) }
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
    seq: u16,
    rtx_seq: u16,
    timestamp_offset: u32,
    /// The timestamp of the last packet and when it was sent, for sender reports.
    last: Option<(u32, Instant)>,
    history: VecDeque<(u16, Vec<u8>)>,
}

impl Sending {
    pub(crate) fn new(track: Track) -> Self {
        Self {
            track,
            counts: TrackCounts::default(),
            // Not near the end, where a loss would hide the rollover (RFC 3711 §3.3.1).
            seq: u16::from_be_bytes(random()) & 0x7fff,
            rtx_seq: u16::from_be_bytes(random()) & 0x7fff,
            timestamp_offset: u32::from_be_bytes(random()),
            last: None,
            history: VecDeque::new(),
        }
    }

    /// The next packet, in plain.
    pub(crate) fn packet(&mut self, now: Instant, outgoing: Outgoing<'_>) -> Vec<u8> {
        let timestamp = outgoing.timestamp.wrapping_add(self.timestamp_offset);
        let payload_type = payload_types(self.track.codec).0;
        let packet =
            rtp(payload_type, outgoing.marker, self.seq, timestamp, self.track.ssrc, outgoing.payload);
        self.counts.packets += 1;
        self.counts.bytes += outgoing.payload.len() as u64;
        self.last = Some((timestamp, now));
        if self.track.codec.kind() == MediaKind::Video {
            if self.history.len() == HISTORY_MAX {
                self.history.pop_front();
            }
            self.history.push_back((self.seq, packet.clone()));
        }
        self.seq = self.seq.wrapping_add(1);
        packet
    }

    /// A packet once more, as RFC 4588 §4 has it: the number it had before what it held.
    pub(crate) fn again(&mut self, seq: u16) -> Option<Vec<u8>> {
        self.counts.nacked += 1;
        let rtx_payload_type = payload_types(self.track.codec).1?;
        let (_, packet) = self.history.iter().find(|(known, _)| *known == seq)?;
        let mut payload = seq.to_be_bytes().to_vec();
        payload.extend_from_slice(&packet[12..]);
        let timestamp = u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]]);
        let marker = packet[1] & 0x80 != 0;
        let again = rtp(rtx_payload_type, marker, self.rtx_seq, timestamp, self.track.rtx_ssrc, &payload);
        self.rtx_seq = self.rtx_seq.wrapping_add(1);
        self.counts.retransmitted += 1;
        Some(again)
    }

    /// A sender report (RFC 3550 §6.4.1), once something was sent.
    pub(crate) fn report(&self, now: Instant, ntp: u64) -> Option<Vec<u8>> {
        let (timestamp, at) = self.last?;
        let elapsed = now.saturating_duration_since(at).as_secs_f64();
        let ticks = (elapsed * f64::from(self.track.codec.clock_rate_hz())) as u32;
        Some(rtcp::sender_report(
            self.track.ssrc,
            ntp,
            timestamp.wrapping_add(ticks),
            self.counts.packets as u32,
            self.counts.bytes as u32,
        ))
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
