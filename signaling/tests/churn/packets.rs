//! What robots send: packets that tell whose they are. And the chances they take.

use hewei_model::MediaKind;

/// As long as all payloads are, so that padding is none.
const LEN: usize = 64;

/// Pixels of a picture's sizes. A robot that sends one sends the first.
pub const HEIGHTS: [u8; 2] = [90, 180];

/// A payload with a number in it. Every picture is a keyframe of this height.
pub fn payload(kind: MediaKind, height: u8, number: u32) -> Vec<u8> {
    let mut payload = match kind {
        MediaKind::Audio => vec![0x78],
        // RFC 7741 §4.2: S bit, partition 0; then a frame whose lowest bit is 0, and its width and height.
        MediaKind::Video => vec![0x10, 0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a, 64, 0, height, 0],
    };
    payload.resize(LEN - 4, 0xab);
    payload.extend(number.to_be_bytes());
    payload
}

/// The number in a packet, sent again or not.
pub fn number(packet: &[u8]) -> Option<u32> {
    let padded = packet.first()? & 0x20 != 0;
    let padding = if padded { usize::from(*packet.last()?) } else { 0 };
    let packet = packet.get(..packet.len().checked_sub(padding)?).filter(|packet| packet.len() >= LEN)?;
    packet.last_chunk().map(|number| u32::from_be_bytes(*number))
}

/// The height of a picture.
pub fn height(packet: &[u8]) -> Option<u8> {
    packet.get(packet.len().checked_sub(LEN)? + 9).copied()
}

/// The kind of a packet, by the payload types of the client: of VP8 and what is sent again of it.
pub fn kind(packet: &[u8]) -> MediaKind {
    if matches!(packet[1] & 0x7f, 96 | 97) { MediaKind::Video } else { MediaKind::Audio }
}

/// xorshift64*.
pub struct Noise(u64);

impl Noise {
    pub fn new(seed: u64) -> Noise {
        Noise(seed | 1)
    }

    pub fn fork(&mut self) -> Noise {
        Noise::new((u64::from(self.below(u32::MAX)) << 32) | u64::from(self.below(u32::MAX)))
    }

    pub fn below(&mut self, limit: u32) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32 % limit
    }

    pub fn one_in(&mut self, count: u32) -> bool {
        self.below(count) == 0
    }
}
