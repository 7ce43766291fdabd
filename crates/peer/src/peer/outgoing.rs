//! What goes out to a peer: the packets of its slots, retransmissions, padding, sender reports.

use std::time::Instant;

use hewei_media::{rtcp::Writer, rtp, vp8::Numbers};
use hewei_model::Codec;

use super::{CNAME, Peer, Security};
use crate::{
    bandwidth::Bandwidth,
    media::{MediaIndex, Slot, Use},
    srtp::{RTCP_OVERHEAD_MAX, RTP_OVERHEAD_MAX},
};

/// The longest datagram with frames of lost packets in it.
const DATAGRAM_LEN_MAX: usize = 1_200;

/// What a packet of a slot says, besides its number.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// Codec.
    pub codec: Codec,
    /// Marker bit.
    pub marker: bool,
    /// Timestamp.
    pub timestamp: u32,
    /// Payload.
    pub payload: &'a [u8],
    /// What stands in a VP8 payload in place of its own numbers.
    pub numbers: Numbers,
    /// Bytes of padding to add.
    pub pad: u8,
    /// The extended sequence number with which what plays now began to play.
    pub run_start: u64,
}

/// What may be sent to a peer, and how its packets fare.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// Bits a second, headers included.
    pub bits_per_second: u64,
    /// Share of packets that went missing lately, 0 to 1.
    pub loss: f64,
    /// From a packet to the word that it arrived.
    pub round_trip: std::time::Duration,
}

impl Peer {
    /// What may be sent to this peer. `None` when it tells nothing about what arrives, or takes no padding: with what is
    /// too little nobody could ever try whether it has become more.
    pub fn estimate(&self) -> Option<Estimate> {
        self.limited().filter(|bandwidth| bandwidth.was_told()).map(|bandwidth| Estimate {
            bits_per_second: bandwidth.target(),
            loss: bandwidth.loss(),
            round_trip: bandwidth.round_trip(),
        })
    }

    /// Whether the peer offered to tell what arrives and has not told anything yet.
    pub fn is_to_tell(&self) -> bool {
        self.limited().is_some_and(|bandwidth| !bandwidth.was_told())
    }

    /// Writes and seals one packet of a slot into `out`, and returns its length. `index` is the extended outgoing
    /// sequence number, which must never repeat. `None` when the peer is not connected, does not take the codec, or
    /// `out` is too short.
    pub fn seal_rtp(
        &mut self,
        now: Instant,
        media: MediaIndex,
        index: u64,
        packet: &Outgoing<'_>,
        out: &mut [u8],
    ) -> Option<usize> {
        let (security, slot, bandwidth) = self.sending(media)?;
        let Outgoing { codec, marker, timestamp, payload, numbers, pad, run_start } = *packet;
        let (payload_type, red) =
            slot.offered(codec).map(|offered| (offered.payload_type, offered.red_payload_type))?;
        let head_len = head_len(slot);
        let most = bandwidth.as_ref().map_or(1, |bandwidth| bandwidth.repeats(now));
        let red = match (&mut slot.repeats, red) {
            (Some(repeats), Some(red)) => {
                let end = out.len().min(DATAGRAM_LEN_MAX).saturating_sub(RTP_OVERHEAD_MAX);
                let room = out.get_mut(head_len..end).unwrap_or_default();
                let len = repeats.write(most, payload_type, (run_start, index), timestamp, payload, room);
                len.map(|len| (red, len))
            }
            _ => None,
        };
        let (payload_type, payload_len) = red.unwrap_or((payload_type, payload.len()));
        let payload_end = head_len + payload_len;
        let len = payload_end + usize::from(pad);
        let out = out.get_mut(..len + RTP_OVERHEAD_MAX)?;
        rtp::write_header(out.first_chunk_mut()?, marker, payload_type, index as u16, timestamp, slot.ssrc);
        if red.is_none() {
            out[head_len..payload_end].copy_from_slice(payload);
            renumber(codec, numbers, &mut out[head_len..payload_end]);
        }
        if pad > 0 {
            out[0] |= 0x20;
            out[payload_end..len].fill(0);
            out[len - 1] = pad;
        }
        number(now, slot, bandwidth, out)?;
        slot.packets = slot.packets.wrapping_add(1);
        slot.octets = slot.octets.wrapping_add(payload_len as u32);
        Some(security.sealer.seal_rtp(out, head_len, len, slot.ssrc, index))
    }

    /// Writes and seals a retransmission (RFC 4588) of the packet that went out with sequence number `seq`.
    pub fn seal_rtx(
        &mut self,
        now: Instant,
        media: MediaIndex,
        seq: u16,
        packet: &Outgoing<'_>,
        out: &mut [u8],
    ) -> Option<usize> {
        let (security, slot, bandwidth) = self.sending(media)?;
        let payload_type = slot.offered(packet.codec)?.rtx_payload_type?;
        let head_len = head_len(slot);
        let len = head_len + 2 + packet.payload.len();
        let out = out.get_mut(..len + RTP_OVERHEAD_MAX)?;
        let index = slot.rtx_seq;
        slot.rtx_seq += 1;
        let Outgoing { marker, timestamp, payload, numbers, .. } = *packet;
        let head = out.first_chunk_mut()?;
        rtp::write_header(head, marker, payload_type, index as u16, timestamp, slot.rtx_ssrc);
        out[head_len..head_len + 2].copy_from_slice(&seq.to_be_bytes());
        out[head_len + 2..len].copy_from_slice(payload);
        renumber(packet.codec, numbers, &mut out[head_len + 2..len]);
        number(now, slot, bandwidth, out)?;
        Some(security.sealer.seal_rtp(out, head_len, len, slot.rtx_ssrc, index))
    }

    /// Says what would be sent if there were room, in bits a second; see [`Peer::padding_due`].
    pub fn set_wanted(&mut self, bits_per_second: u64) {
        if let Some(bandwidth) = &mut self.bandwidth {
            bandwidth.set_wanted(bits_per_second);
        }
    }

    /// Packets of padding to send now by [`Peer::seal_padding`], to try whether more goes through.
    pub fn padding_due(&mut self, now: Instant) -> usize {
        let padded = self.can_pad();
        self.bandwidth.as_mut().filter(|_| padded).map_or(0, |bandwidth| bandwidth.padding_due(now))
    }

    /// The estimate by which the peer is limited.
    pub(super) fn limited(&self) -> Option<&Bandwidth> {
        self.bandwidth.as_deref().filter(|_| self.can_pad())
    }

    /// Whether there is a stream in which padding can go out: the retransmissions of a slot whose packets are told of.
    fn can_pad(&self) -> bool {
        self.media.iter().any(|media| match &media.used {
            Use::Slot(slot) => slot.padding_payload_type().is_some(),
            _ => false,
        })
    }

    /// Writes and seals a packet of padding alone, among the retransmissions of the first slot that has such.
    pub fn seal_padding(&mut self, now: Instant, out: &mut [u8]) -> Option<usize> {
        const PADDING: u8 = 255;
        let (security, bandwidth) = (self.security.as_ref()?, self.bandwidth.as_mut()?);
        let (slot, payload_type) = self.media.iter_mut().find_map(|media| {
            let Use::Slot(slot) = &mut media.used else { return None };
            let payload_type = slot.padding_payload_type()?;
            Some((slot, payload_type))
        })?;
        let head_len = head_len(slot);
        let len = head_len + usize::from(PADDING);
        let out = out.get_mut(..len + RTP_OVERHEAD_MAX)?;
        let index = slot.rtx_seq;
        slot.rtx_seq += 1;
        let head = out.first_chunk_mut()?;
        rtp::write_header(head, false, payload_type, index as u16, 0, slot.rtx_ssrc);
        out[0] |= 0x20;
        out[head_len..len].fill(0);
        out[len - 1] = PADDING;
        number(now, slot, Some(bandwidth), out)?;
        Some(security.sealer.seal_rtp(out, head_len, len, slot.rtx_ssrc, index))
    }

    /// Writes and seals a sender report for a slot: at NTP time `ntp` it plays `rtp_timestamp`.
    pub fn write_sender_report(
        &mut self,
        media: MediaIndex,
        ntp: u64,
        rtp_timestamp: u32,
        out: &mut [u8],
    ) -> Option<usize> {
        let (security, slot, _) = self.sending(media)?;
        let plain_room = out.len().checked_sub(RTCP_OVERHEAD_MAX)?;
        let mut writer = Writer::new(&mut out[..plain_room]);
        if !writer.sender_report(slot.ssrc, ntp, rtp_timestamp, slot.packets, slot.octets, CNAME) {
            return None;
        }
        let len = writer.len();
        security.sealer.seal_rtcp(out, len)
    }

    /// What sending into a slot needs.
    fn sending(
        &mut self,
        media: MediaIndex,
    ) -> Option<(&mut Security, &mut Slot, Option<&mut Box<Bandwidth>>)> {
        let Use::Slot(slot) = &mut self.media.get_mut(usize::from(media.0))?.used else { return None };
        Some((self.security.as_mut()?, slot, self.bandwidth.as_mut()))
    }
}

fn renumber(codec: Codec, numbers: Numbers, payload: &mut [u8]) {
    if codec == Codec::Vp8 {
        numbers.write(payload);
    }
}

fn head_len(slot: &Slot) -> usize {
    rtp::FIXED_HEADER_LEN + if slot.transport_cc.is_some() { rtp::TRANSPORT_SEQ_LEN } else { 0 }
}

/// Writes the transport-wide number, if the peer wants one. `packet` has room for the SRTP tag at its end.
fn number(
    now: Instant,
    slot: &Slot,
    bandwidth: Option<&mut Box<Bandwidth>>,
    packet: &mut [u8],
) -> Option<()> {
    if let Some(id) = slot.transport_cc {
        let seq = bandwidth?.sent(now, packet.len());
        rtp::write_transport_seq(packet, id, seq);
    }
    Some(())
}
