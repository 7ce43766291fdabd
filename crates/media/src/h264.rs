//! H.264 over RTP (RFC 6184): where a keyframe starts, NAL units split and put together again, and the
//! picture's size from the sequence parameter set.
//!
//! Owns the payload structures of packetization modes 0 and 1. Never decodes a picture.
//!
//! ```text
//! NAL unit header          STAP-A (24)                          FU-A (28)
//! +---------------+        +----+--------+-----+--------+---    +------------+-------------+---
//! |0|1|2|3|4|5|6|7|        | 24 | size 1 | NAL | size 2 | …     | 28 with NRI| S|E|R| Type | …
//! +-+-+-+-+-+-+-+-+        +----+--------+-----+--------+---    +------------+-------------+---
//! |F|NRI|  Type   |          8      16             16                 8             8
//! +---------------+
//! ```

/// The largest access unit that is put together; a larger one is given up as damaged.
pub const ACCESS_UNIT_BYTES_MAX: usize = 8 << 20;

/// The largest RTP payload [`fragment`] makes.
pub const PAYLOAD_BYTES_MAX: usize = 1_500;

/// `nal_unit_type` of a slice of an instantaneous decoder refresh picture.
pub const NAL_IDR: u8 = 5;
/// `nal_unit_type` of a sequence parameter set.
pub const NAL_SPS: u8 = 7;
/// `nal_unit_type` of a picture parameter set.
pub const NAL_PPS: u8 = 8;

const NAL_SLICE: u8 = 1;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;
const FU_START: u8 = 0x80;
const FU_END: u8 = 0x40;

/// The type of a NAL unit, from its first byte; 0 when it is empty.
pub fn nal_type(nal: &[u8]) -> u8 {
    nal.first().map_or(0, |header| header & 0x1f)
}

/// Whether a decoder can start at this RTP payload: it holds the start of an IDR slice, or a sequence
/// parameter set (cameras send SPS, PPS and IDR as packets of their own).
pub fn starts_keyframe(payload: &[u8]) -> bool {
    match nal_type(payload) {
        NAL_IDR | NAL_SPS => true,
        STAP_A => aggregated(payload).any(|nal| matches!(nal_type(nal), NAL_IDR | NAL_SPS)),
        FU_A => payload.get(1).is_some_and(|header| header & FU_START != 0 && header & 0x1f == NAL_IDR),
        _ => false,
    }
}

/// The height in pixels by the sequence parameter set in this RTP payload, if there is one.
pub fn picture_height(payload: &[u8]) -> Option<u16> {
    let set = match nal_type(payload) {
        NAL_SPS => Some(payload),
        STAP_A => aggregated(payload).find(|nal| nal_type(nal) == NAL_SPS),
        _ => None,
    };
    Sps::parse(set?).map(|set| set.height)
}

/// The NAL units of a STAP-A payload, up to the first one that is cut short.
fn aggregated(payload: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = payload.get(1..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (size, tail) = rest.split_first_chunk::<2>()?;
        let size = usize::from(u16::from_be_bytes(*size));
        let nal = tail.get(..size)?;
        rest = &tail[size..];
        Some(nal)
    })
}

/// Splits `nal` into RTP payloads of at most `payload_bytes_max` (capped at [`PAYLOAD_BYTES_MAX`]): the NAL
/// unit itself when it fits, FU-A fragments otherwise. Calls `emit(payload, last)` for each, in order;
/// allocates nothing.
pub fn fragment(nal: &[u8], payload_bytes_max: usize, emit: &mut impl FnMut(&[u8], bool)) {
    let max = payload_bytes_max.clamp(3, PAYLOAD_BYTES_MAX);
    let Some((&header, body)) = nal.split_first() else { return };
    if nal.len() <= max {
        emit(nal, true);
        return;
    }
    let mut payload = [0u8; PAYLOAD_BYTES_MAX];
    let count = body.len().div_ceil(max - 2);
    for (index, chunk) in body.chunks(max - 2).enumerate() {
        let last = index + 1 == count;
        payload[0] = header & 0xe0 | FU_A;
        payload[1] = header & 0x1f | if index == 0 { FU_START } else { 0 } | if last { FU_END } else { 0 };
        payload[2..2 + chunk.len()].copy_from_slice(chunk);
        emit(&payload[..2 + chunk.len()], last);
    }
}

/// The NAL units of a byte stream with start codes (Annex B), without the start codes.
pub fn split_annex_b(stream: &[u8]) -> Vec<&[u8]> {
    let mut nals = Vec::new();
    let mut start = None;
    let mut at = 0;
    while at + 3 <= stream.len() {
        if stream[at..at + 3] == [0, 0, 1] {
            if let Some(start) = start {
                nals.push(trim_zeros(&stream[start..at]));
            }
            start = Some(at + 3);
            at += 3;
        } else {
            at += 1;
        }
    }
    if let Some(start) = start {
        nals.push(trim_zeros(&stream[start..]));
    }
    nals.retain(|nal| !nal.is_empty());
    nals
}

// Trailing zeros belong to the next start code; no NAL unit ends with one (H.264 7.4.1).
fn trim_zeros(nal: &[u8]) -> &[u8] {
    let end = nal.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    &nal[..end]
}

/// One access unit: the NAL units of one picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessUnit {
    /// RTP timestamp, 90 kHz.
    pub rtp_timestamp: u32,
    /// It holds an IDR picture.
    pub keyframe: bool,
    /// Packets of it are missing, or it does not begin with a picture's first slice.
    pub damaged: bool,
    /// The NAL units, each behind its length in four bytes (ISO/IEC 14496-15), parameter sets included.
    pub data: Vec<u8>,
}

impl AccessUnit {
    /// The NAL units.
    pub fn nals(&self) -> impl Iterator<Item = &[u8]> {
        split_length_prefixed(&self.data)
    }
}

/// The NAL units of a buffer in which each is behind its length in four bytes.
pub fn split_length_prefixed(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = data;
    std::iter::from_fn(move || {
        let (size, tail) = rest.split_first_chunk::<4>()?;
        let size = usize::try_from(u32::from_be_bytes(*size)).ok()?;
        let nal = tail.get(..size)?;
        rest = &tail[size..];
        Some(nal)
    })
}

/// Puts access units together from payloads in sequence order.
#[derive(Debug, Default)]
pub struct Depacketizer {
    current: Option<AccessUnit>,
    /// Where the length of the fragmented NAL unit in progress is, in the current unit's data.
    fragmented: Option<usize>,
    has_slice: bool,
}

impl Depacketizer {
    /// Takes the next payload. `lost_before`: packets between the last payload and this one are missing.
    /// Access units that are now complete are appended to `out`.
    pub fn push(
        &mut self,
        rtp_timestamp: u32,
        marker: bool,
        lost_before: bool,
        payload: &[u8],
        out: &mut Vec<AccessUnit>,
    ) {
        if self.current.as_ref().is_some_and(|unit| unit.rtp_timestamp != rtp_timestamp) {
            // Some senders leave the marker away; a hole at the seam may have hit either side.
            self.finish(lost_before, out);
        }
        if let Some(unit) = &mut self.current
            && lost_before
        {
            unit.damaged = true;
        }
        if payload.is_empty() {
            return;
        }
        if self.current.is_none() {
            self.fragmented = None;
            self.has_slice = false;
            self.current = Some(AccessUnit {
                rtp_timestamp,
                keyframe: false,
                damaged: false,
                data: Vec::with_capacity(16 * 1024),
            });
        }
        match nal_type(payload) {
            1..=23 => self.nal(payload),
            STAP_A => {
                let mut bytes = 1;
                for nal in aggregated(payload) {
                    bytes += 2 + nal.len();
                    self.nal(nal);
                }
                if bytes != payload.len() {
                    self.damage();
                }
            }
            FU_A => self.fragment(payload),
            // 0 and 30–31 are undefined, the rest belongs to the interleaved mode.
            _ => self.damage(),
        }
        if marker {
            self.finish(false, out);
        }
    }

    /// Gives up on the access unit that is being put together, if any.
    pub fn reset(&mut self) {
        self.current = None;
        self.fragmented = None;
        self.has_slice = false;
    }

    fn nal(&mut self, nal: &[u8]) {
        if self.fragmented.take().is_some() {
            self.damage();
        }
        let Some(&header) = nal.first() else { return };
        let begun = self.begin(header);
        self.first_slice(header & 0x1f, nal.get(1).copied());
        self.append(begun, &nal[1..]);
    }

    fn fragment(&mut self, payload: &[u8]) {
        let Some(([indicator, header], body)) = payload.split_first_chunk::<2>() else {
            self.damage();
            return;
        };
        if header & FU_START != 0 {
            if self.fragmented.take().is_some() {
                self.damage();
            }
            let nal_header = indicator & 0xe0 | header & 0x1f;
            self.fragmented = self.begin(nal_header);
            self.first_slice(nal_header & 0x1f, body.first().copied());
        } else if self.fragmented.is_none() {
            self.damage();
            return;
        }
        self.append(self.fragmented, body);
        if header & FU_END != 0 {
            self.fragmented = None;
        }
    }

    /// Opens a NAL unit of one byte; returns where its length is. `None` when the access unit is full.
    fn begin(&mut self, header: u8) -> Option<usize> {
        let unit = self.current.as_mut()?;
        if unit.data.len() + 5 > ACCESS_UNIT_BYTES_MAX {
            unit.damaged = true;
            return None;
        }
        unit.keyframe |= header & 0x1f == NAL_IDR;
        let at = unit.data.len();
        unit.data.extend_from_slice(&[0, 0, 0, 1, header]);
        Some(at)
    }

    /// Lengthens the last NAL unit, whose length is at `begun`.
    fn append(&mut self, begun: Option<usize>, bytes: &[u8]) {
        let Some(unit) = self.current.as_mut() else { return };
        if unit.data.len() + bytes.len() > ACCESS_UNIT_BYTES_MAX {
            unit.damaged = true;
            return;
        }
        let Some(field) = begun.and_then(|at| unit.data.get_mut(at..at + 4)) else { return };
        let size = u32::from_be_bytes([field[0], field[1], field[2], field[3]]) + bytes.len() as u32;
        field.copy_from_slice(&size.to_be_bytes());
        unit.data.extend_from_slice(bytes);
    }

    // `first_mb_in_slice` is ue(v): 0 is a single 1 bit. A picture that begins elsewhere has lost its head.
    fn first_slice(&mut self, nal_type: u8, byte: Option<u8>) {
        if matches!(nal_type, NAL_SLICE | NAL_IDR) && !self.has_slice {
            self.has_slice = true;
            if byte.is_none_or(|byte| byte & 0x80 == 0) {
                self.damage();
            }
        }
    }

    fn damage(&mut self) {
        if let Some(unit) = &mut self.current {
            unit.damaged = true;
        }
    }

    fn finish(&mut self, cut_short: bool, out: &mut Vec<AccessUnit>) {
        if let Some(mut unit) = self.current.take() {
            unit.damaged |= cut_short || self.fragmented.is_some() || !self.has_slice;
            out.push(unit);
        }
        self.fragmented = None;
        self.has_slice = false;
    }
}

/// What a sequence parameter set says about the picture (H.264 7.3.2.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sps {
    /// `profile_idc`.
    pub profile: u8,
    /// The constraint flags.
    pub constraints: u8,
    /// `level_idc`.
    pub level: u8,
    /// `chroma_format_idc`; 1 is 4:2:0.
    pub chroma_format: u8,
    /// Bits a luma sample.
    pub luma_bits: u8,
    /// Bits a chroma sample.
    pub chroma_bits: u8,
    /// Width in pixels, after cropping.
    pub width: u16,
    /// Height in pixels, after cropping.
    pub height: u16,
}

impl Sps {
    /// Reads a sequence parameter set from its NAL unit; `None` when it is not one, or is cut short.
    pub fn parse(nal: &[u8]) -> Option<Self> {
        if nal_type(nal) != NAL_SPS {
            return None;
        }
        let rbsp = unescape(nal.get(1..)?.get(..nal.len().min(512) - 1)?);
        let mut bits = Bits { data: &rbsp, at: 0 };
        let profile = bits.read(8)? as u8;
        let constraints = bits.read(8)? as u8;
        let level = bits.read(8)? as u8;
        bits.ue()?;
        let (mut chroma_format, mut luma_bits, mut chroma_bits) = (1, 8, 8);
        if matches!(profile, 100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135) {
            chroma_format = u8::try_from(bits.ue()?).ok().filter(|format| *format <= 3)?;
            if chroma_format == 3 {
                bits.read(1)?;
            }
            luma_bits = u8::try_from(bits.ue()?.checked_add(8)?).ok().filter(|bits| *bits <= 14)?;
            chroma_bits = u8::try_from(bits.ue()?.checked_add(8)?).ok().filter(|bits| *bits <= 14)?;
            bits.read(1)?;
            if bits.read(1)? == 1 {
                for list in 0..if chroma_format == 3 { 12 } else { 8 } {
                    if bits.read(1)? == 1 {
                        bits.skip_scaling_list(if list < 6 { 16 } else { 64 })?;
                    }
                }
            }
        }
        bits.ue()?;
        match bits.ue()? {
            0 => {
                bits.ue()?;
            }
            1 => {
                bits.read(1)?;
                bits.ue()?;
                bits.ue()?;
                for _ in 0..bits.ue().filter(|count| *count <= 255)? {
                    bits.ue()?;
                }
            }
            2 => {}
            _ => return None,
        }
        bits.ue()?;
        bits.read(1)?;
        let width_mbs = bits.ue()?.checked_add(1)?;
        let height_units = bits.ue()?.checked_add(1)?;
        let frame_mbs_only = bits.read(1)?;
        if frame_mbs_only == 0 {
            bits.read(1)?;
        }
        bits.read(1)?;
        let (mut left, mut right, mut top, mut bottom) = (0, 0, 0, 0);
        if bits.read(1)? == 1 {
            (left, right, top, bottom) = (bits.ue()?, bits.ue()?, bits.ue()?, bits.ue()?);
        }
        let (crop_x, crop_y) = match chroma_format {
            1 => (2u32, 2u32),
            2 => (2, 1),
            _ => (1, 1),
        };
        let crop_y = crop_y * (2 - frame_mbs_only);
        let width = width_mbs.checked_mul(16)?.checked_sub(left.checked_add(right)?.checked_mul(crop_x)?)?;
        let height = height_units
            .checked_mul(16 * (2 - frame_mbs_only))?
            .checked_sub(top.checked_add(bottom)?.checked_mul(crop_y)?)?;
        let (width, height) = (u16::try_from(width).ok()?, u16::try_from(height).ok()?);
        (width > 0 && height > 0).then_some(Self {
            profile,
            constraints,
            level,
            chroma_format,
            luma_bits,
            chroma_bits,
            width,
            height,
        })
    }
}

// Takes out the emulation prevention bytes (7.4.1): 00 00 03 becomes 00 00.
fn unescape(escaped: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(escaped.len());
    let mut zeros = 0;
    for &byte in escaped {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        out.push(byte);
    }
    out
}

struct Bits<'a> {
    data: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn read(&mut self, count: usize) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            let byte = self.data.get(self.at / 8)?;
            value = value << 1 | u32::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Some(value)
    }

    fn ue(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while self.read(1)? == 0 {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        (1u32 << zeros).checked_add(self.read(zeros)?).map(|value| value - 1)
    }

    fn se(&mut self) -> Option<i64> {
        let code = i64::from(self.ue()?);
        Some(if code % 2 == 1 { (code + 1) / 2 } else { -(code / 2) })
    }

    fn skip_scaling_list(&mut self, size: usize) -> Option<()> {
        let (mut last, mut next) = (8i64, 8i64);
        for _ in 0..size {
            if next != 0 {
                next = (last + self.se()?).rem_euclid(256);
            }
            if next != 0 {
                last = next;
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // x264, baseline, 640×360 (360 is cropped out of 368).
    const SPS: [u8; 23] = [
        0x67, 0x42, 0xc0, 0x1e, 0xd9, 0x00, 0xa0, 0x2f, 0xf9, 0x70, 0x11, 0x00, 0x00, 0x03, 0x00, 0x01, 0x00,
        0x00, 0x03, 0x00, 0x32, 0x0f, 0x16,
    ];

    fn stap_a(nals: &[&[u8]]) -> Vec<u8> {
        let mut payload = vec![0x78];
        for nal in nals {
            payload.extend_from_slice(&(nal.len() as u16).to_be_bytes());
            payload.extend_from_slice(nal);
        }
        payload
    }

    #[test]
    fn a_keyframe_starts_with_an_idr_slice_or_a_parameter_set() {
        assert!(starts_keyframe(&[0x65, 0x88]));
        assert!(starts_keyframe(&SPS));
        assert!(starts_keyframe(&stap_a(&[&SPS, &[0x68, 0xce]])));
        assert!(starts_keyframe(&stap_a(&[&[0x06, 0x05], &[0x65, 0x88]])));
        assert!(starts_keyframe(&[0x7c, 0x85, 0x88]), "FU-A start of an IDR slice");
        assert!(!starts_keyframe(&[0x7c, 0x05, 0x88]), "FU-A middle");
        assert_eq!(picture_height(&SPS), Some(360));
        assert_eq!(picture_height(&stap_a(&[&[0x06, 0x05], &SPS, &[0x68, 0xce]])), Some(360));
        assert_eq!(picture_height(&[0x65, 0x88]), None);
        assert!(!starts_keyframe(&[0x5c, 0x81, 0x88]), "FU-A start of another slice");
        assert!(!starts_keyframe(&[0x41, 0x9a]));
        assert!(!starts_keyframe(&[0x68, 0xce]), "PPS alone");
        assert!(!starts_keyframe(&stap_a(&[&[0x41, 0x9a]])));
        assert!(!starts_keyframe(&[]));
        assert!(!starts_keyframe(&[0x7c]));
        assert!(!starts_keyframe(&[0x78, 0x00, 0x09, 0x65]), "cut short");
    }

    #[test]
    fn the_size_comes_from_the_parameter_set() {
        let sps = Sps::parse(&SPS).expect("a whole parameter set");
        assert_eq!((sps.width, sps.height), (640, 360));
        assert_eq!((sps.profile, sps.constraints, sps.level), (0x42, 0xc0, 0x1e));
        assert_eq!(Sps::parse(&SPS[..6]), None);
        assert_eq!(Sps::parse(&[0x68, 0xce]), None);
    }

    #[test]
    fn an_access_unit_that_never_ends_stops_growing() {
        // The smallest NAL units take the most room for what was sent: five bytes for one.
        let mut tiny = vec![0x78];
        (0..400).for_each(|_| tiny.extend_from_slice(&[0, 1, 0x65]));
        let (mut depacketizer, mut out) = (Depacketizer::default(), Vec::new());
        for _ in 0..ACCESS_UNIT_BYTES_MAX / 2_000 + 2 {
            depacketizer.push(9, false, false, &tiny, &mut out);
        }
        depacketizer.push(9, true, false, &[0x41, 0x9a], &mut out);
        assert_eq!(out.len(), 1);
        assert!(out[0].damaged && out[0].data.len() <= ACCESS_UNIT_BYTES_MAX);
        assert!(out[0].nals().all(|nal| nal == [0x65]));
    }

    #[test]
    fn an_access_unit_is_put_together_from_all_three_structures() {
        let mut idr = vec![0x65, 0x88];
        idr.extend((0..3000u32).map(|value| value as u8 | 1));
        let mut payloads = vec![stap_a(&[&SPS, &[0x68, 0xce]]), vec![0x06, 0x05, 0x01]];
        fragment(&idr, 1200, &mut |payload, _| payloads.push(payload.to_vec()));
        assert_eq!(payloads.len(), 5);
        let mut depacketizer = Depacketizer::default();
        let mut out = Vec::new();
        for (index, payload) in payloads.iter().enumerate() {
            depacketizer.push(9, index == 4, false, payload, &mut out);
        }
        assert_eq!(out.len(), 1);
        assert!(out[0].keyframe && !out[0].damaged);
        let nals: Vec<_> = out[0].nals().collect();
        assert_eq!(nals, [&SPS[..], &[0x68, 0xce], &[0x06, 0x05, 0x01], &idr[..]]);
    }

    #[test]
    fn a_missing_packet_damages_the_unit_wherever_it_was() {
        let mut idr = vec![0x65, 0x88];
        idr.extend((0..3000u32).map(|value| value as u8 | 1));
        let mut payloads = Vec::new();
        fragment(&idr, 1200, &mut |payload, last| payloads.push((payload.to_vec(), last)));
        for missing in 0..payloads.len() {
            let mut depacketizer = Depacketizer::default();
            let mut out = Vec::new();
            let mut lost = false;
            for (index, (payload, last)) in payloads.iter().enumerate() {
                if index == missing {
                    lost = true;
                    continue;
                }
                depacketizer.push(1, *last, std::mem::take(&mut lost), payload, &mut out);
            }
            depacketizer.push(2, true, lost, &[0x41, 0x9a], &mut out);
            assert!(out[0].damaged, "packet {missing} is missing");
            assert!(!out[1].damaged);
        }
    }

    #[test]
    fn a_picture_without_its_first_slice_is_damaged() {
        let mut depacketizer = Depacketizer::default();
        let mut out = Vec::new();
        depacketizer.push(1, true, true, &[0x65, 0x40, 0x11], &mut out);
        assert!(out[0].damaged);
    }

    #[test]
    fn annex_b_is_split_at_its_start_codes() {
        let stream = [0, 0, 0, 1, 0x67, 1, 2, 0, 0, 1, 0x68, 3, 0, 0, 0, 1, 0x65, 4];
        assert_eq!(split_annex_b(&stream), [&[0x67, 1, 2][..], &[0x68, 3], &[0x65, 4]]);
        assert!(split_annex_b(&[1, 2, 3]).is_empty());
    }

    proptest! {
        #[test]
        fn what_is_split_comes_together_again(body in proptest::collection::vec(any::<u8>(), 1..6000), max in 3usize..1500) {
            let mut nal = vec![0x65, 0x80 | body[0]];
            nal.extend_from_slice(&body);
            let mut depacketizer = Depacketizer::default();
            let mut out = Vec::new();
            let mut ended = 0;
            fragment(&nal, max, &mut |payload, last| {
                assert!(payload.len() <= max);
                ended += usize::from(last);
                depacketizer.push(3, last, false, payload, &mut out);
            });
            prop_assert_eq!(ended, 1);
            prop_assert_eq!(out.len(), 1);
            prop_assert!(!out[0].damaged && out[0].keyframe);
            prop_assert_eq!(out[0].nals().collect::<Vec<_>>(), vec![&nal[..]]);
        }

        #[test]
        fn nothing_panics(payloads in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..60), any::<bool>(), any::<bool>(), 0u32..3), 0..40)) {
            let mut depacketizer = Depacketizer::default();
            let mut out = Vec::new();
            for (payload, marker, lost, timestamp) in payloads {
                starts_keyframe(&payload);
                picture_height(&payload);
                Sps::parse(&payload);
                let mut sps = vec![0x67];
                sps.extend_from_slice(&payload);
                Sps::parse(&sps);
                split_annex_b(&payload);
                depacketizer.push(timestamp, marker, lost, &payload, &mut out);
            }
            for unit in &out {
                prop_assert_eq!(unit.nals().map(|nal| nal.len() + 4).sum::<usize>(), unit.data.len());
            }
        }
    }
}
