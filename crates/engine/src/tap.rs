//! A copy of a room's packets for the recorder.
//!
//! The shard writes into a bounded ring and never waits; the recorder's thread reads. A ring that is full loses
//! records, and tells how many.

use std::time::{Duration, Instant};

use hewei_model::{CameraId, Codec, MonoNs, ParticipantId, Publisher, TrackId};

use crate::byte_ring;

/// Four seconds of 16 Mbit/s: what a stalled disk may cost.
const CAPACITY: usize = 8 * 1024 * 1024;
const RECORD_MAX: usize = 2_048;
/// How long the reader sleeps when there is nothing. A recording is in no hurry.
const NAP: Duration = Duration::from_millis(10);

const PACKET: u8 = 0;
const SENDER_REPORT: u8 = 1;
const STARTED: u8 = 2;
const ENDED: u8 = 3;
const LOST: u8 = 4;

/// One thing that the tap brings, in the order it happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record<'a> {
    /// A track may be recorded from now on: its audience includes the recorder.
    TrackStarted {
        /// Track.
        track: TrackId,
        /// Whose.
        publisher: Publisher,
        /// Codec.
        codec: Codec,
        /// When.
        at: MonoNs,
    },
    /// A packet, decrypted, as the publisher sent it.
    Packet {
        /// Track.
        track: TrackId,
        /// When it arrived.
        arrival: MonoNs,
        /// The whole RTP packet.
        rtp: &'a [u8],
    },
    /// A moment on the publisher's clocks.
    SenderReport {
        /// Track.
        track: TrackId,
        /// When it arrived.
        arrival: MonoNs,
        /// NTP time.
        ntp: u64,
        /// RTP timestamp of the same moment.
        rtp_timestamp: u32,
    },
    /// The track is no longer recorded: it ended, or its audience no longer includes the recorder.
    TrackEnded {
        /// Track.
        track: TrackId,
        /// When.
        at: MonoNs,
    },
    /// The ring was full.
    Lost {
        /// How many records.
        records: u64,
    },
    /// The room or the tap is closed; nothing follows.
    Closed,
}

pub(crate) struct Writer {
    ring: byte_ring::Writer,
    lost: u64,
}

/// The recorder's end.
pub struct Reader {
    ring: byte_ring::Reader,
    closed: bool,
}

pub(crate) fn channel() -> (Writer, Reader) {
    let (writer, reader) = byte_ring::ring(CAPACITY, RECORD_MAX);
    (Writer { ring: writer, lost: 0 }, Reader { ring: reader, closed: false })
}

impl Writer {
    /// Whether nobody reads any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.ring.is_abandoned()
    }

    /// Writes a record. `false` when it was lost.
    pub(crate) fn write(&mut self, record: Record<'_>) -> bool {
        if self.lost > 0 && self.put(Record::Lost { records: self.lost }) {
            self.lost = 0;
        }
        let written = self.lost == 0 && self.put(record);
        self.lost += u64::from(!written);
        written
    }

    fn put(&mut self, record: Record<'_>) -> bool {
        let id = |track: TrackId| track.as_u128().to_ne_bytes();
        match record {
            Record::Packet { track, arrival, rtp } => {
                self.ring.write(&[&[PACKET], &id(track), &arrival.0.to_ne_bytes(), rtp])
            }
            Record::SenderReport { track, arrival, ntp, rtp_timestamp } => self.ring.write(&[
                &[SENDER_REPORT],
                &id(track),
                &arrival.0.to_ne_bytes(),
                &ntp.to_ne_bytes(),
                &rtp_timestamp.to_ne_bytes(),
            ]),
            Record::TrackStarted { track, publisher, codec, at } => {
                let (kind, publisher) = match publisher {
                    Publisher::Participant(id) => (0, id.as_u128()),
                    Publisher::Camera(id) => (1, id.as_u128()),
                };
                let tags = [kind, codec_tag(codec)];
                self.ring.write(&[
                    &[STARTED],
                    &id(track),
                    &at.0.to_ne_bytes(),
                    &publisher.to_ne_bytes(),
                    &tags,
                ])
            }
            Record::TrackEnded { track, at } => self.ring.write(&[&[ENDED], &id(track), &at.0.to_ne_bytes()]),
            Record::Lost { records } => self.ring.write(&[&[LOST], &records.to_ne_bytes()]),
            Record::Closed => true, // told by the ring itself
        }
    }
}

impl Reader {
    /// Waits up to `time` for a record, gives every one that is there to `take`, and returns how many.
    /// [`Record::Closed`] comes once, as the last.
    pub fn read(&mut self, time: Duration, mut take: impl FnMut(Record<'_>)) -> usize {
        let until = Instant::now() + time;
        loop {
            let closing = self.ring.is_abandoned();
            let mut count = 0;
            while self.ring.read(|bytes| parse(bytes).map(&mut take)).is_some() {
                count += 1;
            }
            if closing && count == 0 && !self.closed {
                self.closed = true;
                take(Record::Closed);
                return 1;
            }
            let now = Instant::now();
            if count > 0 || self.closed || now >= until {
                return count;
            }
            std::thread::sleep(NAP.min(until - now));
        }
    }
}

const CODECS: [Codec; 5] = [Codec::H264, Codec::Vp8, Codec::Opus, Codec::Pcma, Codec::Pcmu];

pub(crate) fn codec_tag(codec: Codec) -> u8 {
    CODECS.iter().position(|known| *known == codec).map_or(u8::MAX, |at| at as u8)
}

pub(crate) fn codec_of_tag(tag: u8) -> Option<Codec> {
    CODECS.get(usize::from(tag)).copied()
}

fn parse(bytes: &[u8]) -> Option<Record<'_>> {
    let (kind, rest) = bytes.split_first()?;
    let word = |bytes: &[u8]| bytes.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes));
    if *kind == LOST {
        return Some(Record::Lost { records: word(rest)? });
    }
    let (track, rest) = rest.split_first_chunk::<16>()?;
    let track = TrackId::from_u128(u128::from_ne_bytes(*track));
    let (at, rest) = rest.split_first_chunk::<8>()?;
    let at = MonoNs(u64::from_ne_bytes(*at));
    Some(match *kind {
        PACKET => Record::Packet { track, arrival: at, rtp: rest },
        SENDER_REPORT => Record::SenderReport {
            track,
            arrival: at,
            ntp: word(rest)?,
            rtp_timestamp: u32::from_ne_bytes(*rest.get(8..)?.first_chunk()?),
        },
        STARTED => {
            let (id, tags) = rest.split_first_chunk::<16>()?;
            let id = u128::from_ne_bytes(*id);
            let publisher = match tags.first()? {
                0 => Publisher::Participant(ParticipantId::from_u128(id)),
                _ => Publisher::Camera(CameraId::from_u128(id)),
            };
            Record::TrackStarted { track, publisher, codec: codec_of_tag(*tags.get(1)?)?, at }
        }
        ENDED => Record::TrackEnded { track, at },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_record_reads_back_in_order_and_the_end_is_told() {
        let (mut writer, mut reader) = channel();
        let track = TrackId::from_u128(7);
        let publisher = Publisher::Camera(CameraId::from_u128(9));
        let records = [
            Record::TrackStarted { track, publisher, codec: Codec::Opus, at: MonoNs(1) },
            Record::Packet { track, arrival: MonoNs(2), rtp: &[1, 2, 3] },
            Record::SenderReport { track, arrival: MonoNs(3), ntp: 4, rtp_timestamp: 5 },
            Record::TrackEnded { track, at: MonoNs(6) },
        ];
        for record in records {
            assert!(writer.write(record));
        }
        let mut at = 0;
        reader.read(Duration::ZERO, |record| {
            assert_eq!(record, records[at]);
            at += 1;
        });
        assert_eq!(at, 4);
        drop(writer);
        let mut closed = 0;
        for _ in 0..3 {
            reader.read(Duration::ZERO, |record| closed += u32::from(record == Record::Closed));
        }
        assert_eq!(closed, 1);
    }

    #[test]
    fn a_full_tap_tells_how_many_records_it_lost() {
        let (mut writer, mut reader) = channel();
        let packet = Record::Packet { track: TrackId::from_u128(1), arrival: MonoNs(0), rtp: &[0; 1_200] };
        let mut written = 0;
        while writer.write(packet) {
            written += 1;
        }
        assert!(!writer.write(packet));
        let (mut packets, mut lost) = (0, 0);
        let mut count = |record: Record<'_>| match record {
            Record::Packet { .. } => packets += 1,
            Record::Lost { records } => lost += records,
            other => panic!("{other:?}"),
        };
        reader.read(Duration::ZERO, &mut count);
        assert!(writer.write(packet));
        reader.read(Duration::ZERO, &mut count);
        assert_eq!((packets, lost), (written + 1, 2));
    }
}
