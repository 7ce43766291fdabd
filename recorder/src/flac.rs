//! G.711 as FLAC (RFC 9639), bit for bit: browsers play FLAC in MP4, and MP4 has no G.711.
//!
//! ```text
//! frame header: ff f9 | block size 7, rate | mono, 16 bits | first sample's number, coded as UTF-8 codes
//!               characters | block size - 1 | CRC-8
//! subframe:     02 (verbatim) | samples, big-endian
//! footer:       CRC-16
//! ```

/// The 16-bit sample of a byte of A-law (G.711).
pub(crate) fn a_law(byte: u8) -> i16 {
    let byte = byte ^ 0x55;
    let (exponent, mantissa) = ((byte >> 4) & 7, i16::from(byte & 0x0f));
    let magnitude = match exponent {
        0 => (mantissa << 4) + 8,
        _ => ((mantissa << 4) + 0x108) << (exponent - 1),
    };
    if byte & 0x80 != 0 { magnitude } else { -magnitude }
}

/// The 16-bit sample of a byte of µ-law (G.711).
pub(crate) fn mu_law(byte: u8) -> i16 {
    let byte = !byte;
    let (exponent, mantissa) = ((byte >> 4) & 7, i32::from(byte & 0x0f));
    let magnitude = (((mantissa << 3) + 0x84) << exponent) - 0x84;
    (if byte & 0x80 != 0 { -magnitude } else { magnitude }) as i16
}

/// One frame of at most 65,535 samples at 8 kHz, verbatim. `first` is the number of its first sample.
pub(crate) fn frame(first: u64, samples: &[i16]) -> Vec<u8> {
    let samples = &samples[..samples.len().min(65_535)];
    let mut out = Vec::with_capacity(samples.len() * 2 + 20);
    out.extend_from_slice(&[0xff, 0xf9, 0x74, 0x08]);
    push_number(&mut out, first);
    out.extend_from_slice(&(samples.len() as u16).wrapping_sub(1).to_be_bytes());
    out.push(out.iter().fold(0, |crc, byte| crc8(crc ^ byte)));
    out.push(0x02);
    for sample in samples {
        out.extend_from_slice(&sample.to_be_bytes());
    }
    let crc = out.iter().fold(0, |crc: u16, byte| crc16(crc ^ u16::from(*byte) << 8));
    out.extend_from_slice(&crc.to_be_bytes());
    out
}

fn push_number(out: &mut Vec<u8>, number: u64) {
    let number = number & 0xf_ffff_ffff;
    if number < 0x80 {
        out.push(number as u8);
        return;
    }
    // n bytes of six bits each follow a first byte with n + 1 leading ones and 6 - n bits.
    let mut following = 1;
    while following < 6 && number >> (6 * following) >= 1 << (6 - following) {
        following += 1;
    }
    let ones = !(0xffu8 >> (following + 1));
    out.push(ones | (number >> (6 * following)) as u8);
    for at in (0..following).rev() {
        out.push(0x80 | (number >> (6 * at)) as u8 & 0x3f);
    }
}

fn crc8(mut crc: u8) -> u8 {
    for _ in 0..8 {
        crc = if crc & 0x80 != 0 { crc << 1 ^ 0x07 } else { crc << 1 };
    }
    crc
}

fn crc16(mut crc: u16) -> u16 {
    for _ in 0..8 {
        crc = if crc & 0x8000 != 0 { crc << 1 ^ 0x8005 } else { crc << 1 };
    }
    crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_laws_have_their_known_values() {
        assert_eq!([0xd5, 0x55, 0xaa, 0x2a].map(a_law), [8, -8, 32_256, -32_256]);
        assert_eq!([0xff, 0x7f, 0x80, 0x00].map(mu_law), [0, 0, 32_124, -32_124]);
    }

    #[test]
    fn numbers_are_coded_as_characters_are() {
        for number in [0u64, 0x7f, 0x80, 0x7ff, 0x800, 0xffff, 0x1_0000, 0x10_ffff] {
            let mut out = Vec::new();
            push_number(&mut out, number);
            if let Some(char) = char::from_u32(number as u32) {
                assert_eq!(out, char.to_string().as_bytes(), "{number:#x}");
            }
        }
        let mut out = Vec::new();
        push_number(&mut out, 0xf_ffff_ffff);
        assert_eq!(out, [0xfe, 0xbf, 0xbf, 0xbf, 0xbf, 0xbf, 0xbf]);
    }
}
