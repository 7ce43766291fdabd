//! Opus packets (RFC 6716): how long one plays, from its first byte.
//!
//! ```text
//!  0 1 2 3 4 5 6 7
//! +-+-+-+-+-+-+-+-+     config: mode, bandwidth and length of a frame
//! | config  |s| c |     s: stereo
//! +-+-+-+-+-+-+-+-+     c: 0 one frame, 1 two equal, 2 two, 3 the count is in the next byte (M)
//! ```

/// Samples a second, whatever the encoder's own bandwidth (RFC 7587, 4.1).
pub const RATE_HZ: u32 = 48_000;

/// The longest a packet may play: 120 ms.
pub const SAMPLES_MAX: u32 = 5_760;

/// How long the packet plays, in samples of 48 kHz; `None` when it is no Opus packet.
pub fn duration_samples(packet: &[u8]) -> Option<u32> {
    let toc = *packet.first()?;
    let config = toc >> 3;
    let frame = match config {
        // SILK: 10, 20, 40, 60 ms.
        0..=11 => [480, 960, 1_920, 2_880][usize::from(config & 3)],
        // Hybrid: 10, 20 ms.
        12..=15 => [480, 960][usize::from(config & 1)],
        // CELT: 2.5, 5, 10, 20 ms.
        _ => [120, 240, 480, 960][usize::from(config & 3)],
    };
    let count = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(packet.get(1)? & 0x3f),
    };
    Some(frame * count).filter(|samples| (1..=SAMPLES_MAX).contains(samples))
}

/// Whether the encoder sent nothing but a sign of life (discontinuous transmission, RFC 6716 2.1.9).
pub fn is_dtx(packet: &[u8]) -> bool {
    packet.len() <= 2
}

/// Whether the packet is coded in two channels.
pub fn is_stereo(packet: &[u8]) -> bool {
    packet.first().is_some_and(|toc| toc & 4 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_says_how_long_it_plays() {
        assert_eq!(duration_samples(&[0x78, 1]), Some(960), "hybrid 20 ms, one frame");
        assert_eq!(duration_samples(&[0xfc, 1]), Some(960), "CELT 20 ms");
        assert_eq!(duration_samples(&[0xe0, 1]), Some(120), "CELT 2.5 ms");
        assert_eq!(duration_samples(&[0x58, 1]), Some(2_880), "SILK 60 ms");
        assert_eq!(duration_samples(&[0x59, 1]), Some(5_760), "two of 60 ms");
        assert_eq!(duration_samples(&[0xfb, 0x83, 1]), Some(2_880), "three of 20 ms");
        assert_eq!(duration_samples(&[0xfb, 0x80]), None, "no frames");
        assert_eq!(duration_samples(&[0x5b, 0x03]), None, "180 ms is too long");
        assert_eq!(duration_samples(&[0xfb]), None, "no count");
        assert_eq!(duration_samples(&[]), None);
    }

    #[test]
    fn every_first_byte_is_answered() {
        for toc in 0..=255u8 {
            for count in 0..=255u8 {
                if let Some(samples) = duration_samples(&[toc, count]) {
                    assert!((120..=SAMPLES_MAX).contains(&samples));
                }
            }
        }
    }
}
