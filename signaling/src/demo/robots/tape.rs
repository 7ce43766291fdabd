//! What a robot sends, over and over: RTP payloads with their timestamps. `signaling/demo/robots.py` makes tapes.
//!
//! ```text
//! tape    = "HEWEITP1" length_ms:u32 record*        all numbers big-endian, records in the order of their time
//! record  = track:u8 marker:u8 ticks:u32 bytes:u16 payload
//! track   = 0 Opus (48,000 ticks a second) | 1 H.264 (90,000)
//! ```

use std::{
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use hewei_client::Outgoing;
use hewei_model::Codec;

const MAGIC: &[u8; 8] = b"HEWEITP1";
const RECORD_LEN: usize = 8;
/// Behind by more than this a player goes on from now instead of hurrying after.
const LATE_MAX: Duration = Duration::from_secs(1);

/// The tracks of a tape, by their number in it.
pub(super) const TRACKS: [Codec; 2] = [Codec::Opus, Codec::H264];

/// A tape that cannot be played.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a tape: {0}")]
pub(super) struct NotATape(&'static str);

/// A tape in memory, some 2 MB a minute.
#[derive(Debug)]
pub(super) struct Tape {
    bytes: Vec<u8>,
    records: Vec<Record>,
    length_ms: u32,
}

#[derive(Debug)]
struct Record {
    track: usize,
    marker: bool,
    ticks: u32,
    payload: Range<usize>,
}

impl Tape {
    pub(super) fn read(bytes: Vec<u8>) -> Result<Tape, NotATape> {
        let (magic, rest) = bytes.split_first_chunk().ok_or(NotATape("too short"))?;
        let (length, _) = rest.split_first_chunk().ok_or(NotATape("too short"))?;
        let length_ms = u32::from_be_bytes(*length);
        // Whole seconds: a keyframe begins each.
        if magic != MAGIC || length_ms == 0 || length_ms % 1_000 != 0 || length_ms > 3_600_000 {
            return Err(NotATape("another beginning"));
        }
        let mut records: Vec<Record> = Vec::new();
        let mut at = MAGIC.len() + 4;
        while at < bytes.len() {
            let head: &[u8; RECORD_LEN] =
                bytes[at..].first_chunk().ok_or(NotATape("the last record breaks off"))?;
            let [track, marker, a, b, c, d, high, low] = *head;
            let payload = at + RECORD_LEN..at + RECORD_LEN + usize::from(u16::from_be_bytes([high, low]));
            at = payload.end;
            if at > bytes.len() {
                return Err(NotATape("the last payload breaks off"));
            }
            let record = Record {
                track: usize::from(track),
                marker: marker != 0,
                ticks: u32::from_be_bytes([a, b, c, d]),
                payload,
            };
            if record.track >= TRACKS.len() {
                return Err(NotATape("a track that is not known"));
            }
            if record.at() >= Duration::from_millis(length_ms.into()) {
                return Err(NotATape("a record behind its end"));
            }
            if records.last().is_some_and(|last| last.at() > record.at()) {
                return Err(NotATape("records out of order"));
            }
            records.push(record);
        }
        if records.is_empty() {
            return Err(NotATape("nothing on it"));
        }
        Ok(Tape { bytes, records, length_ms })
    }

    fn length(&self) -> Duration {
        Duration::from_millis(self.length_ms.into())
    }
}

impl Record {
    /// When it is sent, from the beginning of the tape.
    fn at(&self) -> Duration {
        let rate = u64::from(TRACKS[self.track].clock_rate_hz());
        Duration::from_nanos(u64::from(self.ticks) * 1_000_000_000 / rate)
    }
}

/// Plays a tape again and again. Players with one beginning are in step, whenever each of them was started.
pub(super) struct Player {
    tape: Arc<Tape>,
    began: Instant,
    round: u32,
    next: usize,
}

impl Player {
    /// The tape has been running since `began`; the player begins with its next whole second, a keyframe.
    pub(super) fn new(tape: Arc<Tape>, began: Instant, now: Instant) -> Player {
        let mut player = Player { tape, began, round: 0, next: 0 };
        player.seek(now);
        player
    }

    fn seek(&mut self, now: Instant) {
        let elapsed_s = now.saturating_duration_since(self.began).as_secs() + 1;
        let length_s = u64::from(self.tape.length_ms / 1_000);
        let within = Duration::from_secs(elapsed_s % length_s);
        self.round = (elapsed_s / length_s) as u32;
        self.next = self.tape.records.partition_point(|record| record.at() < within);
        if self.next == self.tape.records.len() {
            (self.round, self.next) = (self.round + 1, 0);
        }
    }

    /// When the next packet is due.
    pub(super) fn due(&self) -> Instant {
        self.began + self.tape.length() * self.round + self.tape.records[self.next].at()
    }

    /// The next packet and its track, if it is due.
    pub(super) fn next(&mut self, now: Instant) -> Option<(usize, Outgoing<'_>)> {
        if now > self.due() + LATE_MAX {
            self.seek(now);
        }
        if self.due() > now {
            return None;
        }
        let (round, at) = (self.round, self.next);
        self.next += 1;
        if self.next == self.tape.records.len() {
            (self.round, self.next) = (self.round + 1, 0);
        }
        let record = &self.tape.records[at];
        let round_ticks = (self.tape.length_ms / 1_000).wrapping_mul(TRACKS[record.track].clock_rate_hz());
        let outgoing = Outgoing {
            timestamp: round_ticks.wrapping_mul(round).wrapping_add(record.ticks),
            marker: record.marker,
            payload: &self.tape.bytes[record.payload.clone()],
        };
        Some((record.track, outgoing))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that panics has failed")]
mod tests {
    use super::*;

    fn bytes(length_ms: u32, records: &[(u8, u32, &[u8])]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(length_ms.to_be_bytes());
        for (track, ticks, payload) in records {
            bytes.extend([*track, 1]);
            bytes.extend(ticks.to_be_bytes());
            bytes.extend((payload.len() as u16).to_be_bytes());
            bytes.extend_from_slice(payload);
        }
        bytes
    }

    fn three_seconds() -> Arc<Tape> {
        let records: [(u8, u32, &[u8]); 4] =
            [(1, 0, b"a"), (1, 90_000, b"b"), (0, 72_000, b"c"), (1, 180_000, b"d")];
        Arc::new(Tape::read(bytes(3_000, &records)).unwrap())
    }

    #[test]
    fn a_tape_goes_round_and_its_timestamps_go_on() {
        let began = Instant::now();
        let mut player = Player::new(three_seconds(), began, began);
        let mut played = Vec::new();
        for step in 0..9 {
            let now = began + Duration::from_millis(500 * step);
            while let Some((track, outgoing)) = player.next(now) {
                played.push((step, track, outgoing.timestamp, outgoing.payload.to_vec()));
            }
        }
        let expected: [(u64, usize, u32, &[u8]); 5] = [
            (2, 1, 90_000, b"b"),
            (3, 0, 72_000, b"c"),
            (4, 1, 180_000, b"d"),
            (6, 1, 270_000, b"a"),
            (8, 1, 360_000, b"b"),
        ];
        assert_eq!(played, expected.map(|(step, track, at, payload)| (step, track, at, payload.to_vec())));
    }

    #[test]
    fn players_are_in_step_and_who_is_late_does_not_hurry() {
        let began = Instant::now();
        let now = began + Duration::from_millis(31_400);
        let mut player = Player::new(three_seconds(), began, now);
        assert_eq!(player.due(), began + Duration::from_secs(32));
        let late = began + Duration::from_millis(35_500);
        assert!(player.next(late).is_none());
        assert_eq!(player.due(), began + Duration::from_secs(36));
    }

    #[test]
    fn what_is_no_tape_is_refused() {
        let good = bytes(1_000, &[(1, 0, b"abc"), (0, 100, b"d")]);
        assert!(Tape::read(good.clone()).is_ok());
        for len in (0..good.len()).filter(|len| *len != 23) {
            assert!(Tape::read(good[..len].to_vec()).is_err(), "{len}");
        }
        for (length_ms, records) in [
            (1_000, &[(2u8, 0u32, &b"a"[..])][..]),
            (1_000, &[(1, 90_000, b"a")]),
            (1_000, &[(1, 10, b"a"), (1, 9, b"a")]),
            (1_500, &[(1, 0, b"a")]),
            (0, &[(1, 0, b"a")]),
        ] {
            assert!(Tape::read(bytes(length_ms, records)).is_err());
        }
    }
}
