//! The way in for packets that come over no peer.
//!
//! [`SourceWriter`] sits on the camera's task and writes whole RTP packets into a bounded ring that the shard
//! drains; a full ring drops the packet and counts it.

use std::sync::Arc;

use hewei_model::{Codec, MediaKind, MonoNs};

use crate::{
    byte_ring, mono_now,
    shard::Waker,
    tap::{codec_of_tag, codec_tag},
};

/// One second of a 4 Mbit/s camera.
const CAPACITY: usize = 512 * 1024;
const RECORD_MAX: usize = 2_048;

const TRACK: u8 = 0;
const PACKET: u8 = 1;
const SENDER_REPORT: u8 = 2;
const LOST: u8 = 3;

/// Writes the packets of one publisher into a room.
pub struct SourceWriter {
    /// `None` only while it is dropped.
    ring: Option<byte_ring::Writer>,
    waker: Arc<Waker>,
    lost: u64,
}

pub(crate) struct Reader {
    ring: byte_ring::Reader,
}

pub(crate) enum Record<'a> {
    Track(Codec),
    Packet {
        kind: MediaKind,
        arrival: MonoNs,
        rtp: &'a [u8],
    },
    SenderReport {
        kind: MediaKind,
        ntp: u64,
        rtp_timestamp: u32,
    },
    /// So many records found no room.
    Lost(u64),
}

pub(crate) fn channel(waker: Arc<Waker>) -> (SourceWriter, Reader) {
    let (writer, reader) = byte_ring::ring(CAPACITY, RECORD_MAX);
    (SourceWriter { ring: Some(writer), waker, lost: 0 }, Reader { ring: reader })
}

impl SourceWriter {
    /// Announces the one track of this codec's kind; another codec of the same kind replaces it.
    pub fn track(&mut self, codec: Codec) {
        self.put(&[&[TRACK, codec_tag(codec)]]);
    }

    /// Gives a whole RTP packet of the track of this kind, with a payload of at most 1,200 bytes.
    pub fn packet(&mut self, kind: MediaKind, rtp: &[u8]) {
        self.put(&[&[PACKET, kind_tag(kind)], &mono_now().0.to_ne_bytes(), rtp]);
    }

    /// Tells the source's clocks: at NTP time `ntp` the track was at `rtp_timestamp`.
    pub fn sender_report(&mut self, kind: MediaKind, ntp: u64, rtp_timestamp: u32) {
        self.put(&[&[SENDER_REPORT, kind_tag(kind)], &ntp.to_ne_bytes(), &rtp_timestamp.to_ne_bytes()]);
    }

    fn put(&mut self, parts: &[&[u8]]) {
        let Some(ring) = &mut self.ring else { return };
        if self.lost > 0 && ring.write(&[&[LOST, 0], &self.lost.to_ne_bytes()]) {
            self.lost = 0;
        }
        if self.lost == 0 && ring.write(parts) {
            self.waker.wake();
        } else {
            self.lost += 1;
        }
    }
}

impl Drop for SourceWriter {
    fn drop(&mut self) {
        // First the ring, so that the shard finds it abandoned when it wakes.
        self.ring = None;
        self.waker.wake();
    }
}

impl Reader {
    /// Gives the next record to `take`. `None` when there is none just now.
    pub(crate) fn read(&mut self, take: impl FnOnce(Record<'_>)) -> Option<()> {
        self.ring.read(|bytes| {
            if let Some(record) = parse(bytes) {
                take(record);
            }
        })
    }

    /// Whether the writer is gone.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.ring.is_abandoned()
    }
}

fn kind_tag(kind: MediaKind) -> u8 {
    match kind {
        MediaKind::Audio => 0,
        MediaKind::Video => 1,
    }
}

fn parse(bytes: &[u8]) -> Option<Record<'_>> {
    let ([record, tag], rest) = bytes.split_first_chunk::<2>()?;
    let kind = if *tag == 0 { MediaKind::Audio } else { MediaKind::Video };
    Some(match *record {
        TRACK => Record::Track(codec_of_tag(*tag)?),
        PACKET => {
            let (arrival, rtp) = rest.split_first_chunk()?;
            Record::Packet { kind, arrival: MonoNs(u64::from_ne_bytes(*arrival)), rtp }
        }
        SENDER_REPORT => {
            let (ntp, timestamp) = rest.split_first_chunk()?;
            Record::SenderReport {
                kind,
                ntp: u64::from_ne_bytes(*ntp),
                rtp_timestamp: u32::from_ne_bytes(*timestamp.first_chunk()?),
            }
        }
        LOST => Record::Lost(u64::from_ne_bytes(*rest.first_chunk()?)),
        _ => return None,
    })
}
