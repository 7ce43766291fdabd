//! A camera's H.264 packets (RFC 6184) made fit to pass on.
//!
//! Changed: payloads over 1,200 bytes are split, SPS and PPS are put ahead of each IDR picture that comes
//! without, and a marker bit on a parameter set is taken off. Passed on as they are: everything else, with
//! damage and all; a receiver sees the gap and knows better than we what to do about it.
//!
//! ```text
//!  +---------------+   single NAL unit (1–23): the NAL unit itself
//!  |0|1|2|3|4|5|6|7|   STAP-A (24): header, then (16-bit length, NAL unit) repeated
//!  +-+-+-+-+-+-+-+-+   FU-A (28): indicator, then the FU header, then a piece of one NAL unit
//!  |F|NRI|  Type   |              |S|E|R|  Type   |
//!  +---------------+
//! ```
//!
//! Pieces are not split one by one: with a camera's 1,400-byte packets that would leave a stub behind each.
//! Instead the remainder waits for the next piece of the same NAL unit, which is already on its way.

use hewei_media::h264::fragment;

use crate::stamp::PAYLOAD_BYTES_MAX;

const IDR: u8 = 5;
const SEI: u8 = 6;
const SPS: u8 = 7;
const PPS: u8 = 8;
const DELIMITER: u8 = 9;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;
const START: u8 = 0x80;
const END: u8 = 0x40;
const NRI: u8 = 0x60;
/// Indicator and FU header.
const FU_HEADER_BYTES: usize = 2;
const FU_DATA_BYTES_MAX: usize = PAYLOAD_BYTES_MAX - FU_HEADER_BYTES;
/// A parameter set beyond this is no parameter set.
const PARAMETER_SET_BYTES_MAX: usize = 4_096;

/// What goes out: payload, marker bit and the camera's timestamp.
pub trait Out: FnMut(&[u8], bool, u32) {}
impl<F: FnMut(&[u8], bool, u32)> Out for F {}

/// Rewrites one connection's H.264 payloads, in the order of their sequence numbers.
#[derive(Debug, Default)]
pub struct Rewriter {
    sps: Vec<u8>,
    pps: Vec<u8>,
    /// Of the picture (access unit) under way.
    timestamp: u32,
    saw_sps: bool,
    saw_pps: bool,
    /// The NAL unit being cut anew, if one is.
    cut: Option<Cut>,
    /// Its bytes that have not gone out yet; at most one packet's worth between calls.
    rest: Vec<u8>,
    payload: Vec<u8>,
    malformed: u64,
}

/// A NAL unit being cut into pieces of our size.
#[derive(Debug, Clone, Copy)]
struct Cut {
    /// The NAL unit's header byte.
    header: u8,
    /// Whether the piece with the start bit is still to come.
    start: bool,
}

impl Rewriter {
    /// With the parameter sets of the SDP (`sprop-parameter-sets`), if it has any.
    pub fn new(parameter_sets: Option<(&[u8], &[u8])>) -> Self {
        let mut rewriter = Self::default();
        if let Some((sps, pps)) = parameter_sets {
            rewriter.keep_parameter_set(sps);
            rewriter.keep_parameter_set(pps);
        }
        rewriter
    }

    /// Payloads that were no RFC 6184 and were left out.
    pub fn malformed(&self) -> u64 {
        self.malformed
    }

    /// Packets were lost ahead of the next one: what waits for them goes out as it is.
    pub fn lost(&mut self, out: &mut impl Out) {
        self.give_up_cut(out);
    }

    /// Takes one payload.
    pub fn push(&mut self, payload: &[u8], marker: bool, timestamp: u32, out: &mut impl Out) {
        let continues = matches!(payload, [first, fu, ..] if first & 0x1F == FU_A && fu & START == 0);
        if !continues {
            self.give_up_cut(out);
        }
        if self.timestamp != timestamp {
            self.timestamp = timestamp;
            self.saw_sps = false;
            self.saw_pps = false;
        }
        let Some(&first) = payload.first() else {
            self.malformed += 1;
            return;
        };
        let mut ends_picture = marker;
        match first & 0x1F {
            1..=23 => {
                ends_picture &= can_end_picture(first);
                self.before_nal(first, out);
                self.keep_parameter_set(payload);
                self.emit_nal(payload, ends_picture, out);
            }
            STAP_A => match aggregated(payload).last() {
                Some(Some(last)) => {
                    ends_picture &= last.first().is_some_and(|header| can_end_picture(*header));
                    self.stap_a(payload, ends_picture, out);
                }
                _ => self.malformed += 1,
            },
            FU_A if payload.len() > FU_HEADER_BYTES => self.fu_a(payload, marker, out),
            _ => self.malformed += 1,
        }
        if ends_picture {
            self.saw_sps = false;
            self.saw_pps = false;
        }
    }

    fn stap_a(&mut self, payload: &[u8], marker: bool, out: &mut impl Out) {
        let fits = payload.len() <= PAYLOAD_BYTES_MAX;
        let mut nals = aggregated(payload).flatten().filter(|nal| !nal.is_empty()).peekable();
        while let Some(nal) = nals.next() {
            self.before_nal(nal[0], out);
            self.keep_parameter_set(nal);
            if !fits {
                self.emit_nal(nal, marker && nals.peek().is_none(), out);
            }
        }
        if fits {
            out(payload, marker, self.timestamp);
        }
    }

    fn fu_a(&mut self, payload: &[u8], marker: bool, out: &mut impl Out) {
        let (indicator, fu, data) = (payload[0], payload[1], &payload[FU_HEADER_BYTES..]);
        let header = indicator & !0x1F | fu & 0x1F;
        if fu & START != 0 {
            self.before_nal(header, out);
        }
        if self.cut.is_none() && payload.len() <= PAYLOAD_BYTES_MAX {
            out(payload, marker, self.timestamp);
            return;
        }
        self.cut.get_or_insert(Cut { header, start: fu & START != 0 });
        self.rest.extend_from_slice(data);
        // The last piece is sent when it is known to be the last, so that it can carry the end bit.
        self.emit_full_pieces(out);
        if fu & END != 0 || marker {
            self.emit_rest(fu & END != 0, marker, out);
        }
    }

    /// Sends a whole NAL unit, in pieces if it has to be.
    fn emit_nal(&self, nal: &[u8], marker: bool, out: &mut impl Out) {
        fragment(nal, PAYLOAD_BYTES_MAX, &mut |piece, last| out(piece, marker && last, self.timestamp));
    }

    fn emit_full_pieces(&mut self, out: &mut impl Out) {
        let mut sent = 0;
        while self.rest.len() - sent > FU_DATA_BYTES_MAX {
            self.emit_piece(sent, sent + FU_DATA_BYTES_MAX, false, false, out);
            sent += FU_DATA_BYTES_MAX;
        }
        self.rest.drain(..sent);
    }

    fn emit_rest(&mut self, end: bool, marker: bool, out: &mut impl Out) {
        self.emit_piece(0, self.rest.len(), end, marker, out);
        self.rest.clear();
        self.cut = None;
    }

    fn emit_piece(&mut self, from: usize, to: usize, end: bool, marker: bool, out: &mut impl Out) {
        let Some(cut) = &mut self.cut else { return };
        let start = if std::mem::take(&mut cut.start) { START } else { 0 };
        let end = if end { END } else { 0 };
        self.payload.clear();
        self.payload.extend_from_slice(&[cut.header & !0x1F | FU_A, start | end | cut.header & 0x1F]);
        self.payload.extend_from_slice(&self.rest[from..to]);
        out(&self.payload, marker, self.timestamp);
    }

    /// The NAL unit being cut goes on no more: its end was lost.
    fn give_up_cut(&mut self, out: &mut impl Out) {
        if self.cut.is_some() {
            self.emit_rest(false, false, out);
        }
    }

    /// Puts the parameter sets ahead of an IDR picture that came without.
    fn before_nal(&mut self, header: u8, out: &mut impl Out) {
        match header & 0x1F {
            SPS => self.saw_sps = true,
            PPS => self.saw_pps = true,
            IDR => {
                let there = self.saw_sps && self.saw_pps;
                let known = !self.sps.is_empty() && !self.pps.is_empty();
                if known && !there {
                    self.saw_sps = true;
                    self.saw_pps = true;
                    self.emit_parameter_sets(out);
                }
            }
            _ => {}
        }
    }

    fn emit_parameter_sets(&mut self, out: &mut impl Out) {
        self.payload.clear();
        self.payload.push(NRI | STAP_A);
        for set in [&self.sps, &self.pps] {
            self.payload.extend_from_slice(&(set.len() as u16).to_be_bytes());
            self.payload.extend_from_slice(set);
        }
        if self.payload.len() <= PAYLOAD_BYTES_MAX {
            out(&self.payload, false, self.timestamp);
        } else {
            self.emit_nal(&self.sps, false, out);
            self.emit_nal(&self.pps, false, out);
        }
    }

    fn keep_parameter_set(&mut self, nal: &[u8]) {
        if nal.len() > PARAMETER_SET_BYTES_MAX {
            return;
        }
        let kept = match nal.first().map(|header| header & 0x1F) {
            Some(SPS) => &mut self.sps,
            Some(PPS) => &mut self.pps,
            _ => return,
        };
        kept.clear();
        kept.extend_from_slice(nal);
    }
}

/// Whether a picture can end with this NAL unit. Some cameras set the marker on parameter sets too; a browser
/// would take these for a picture (ITU-T H.264, 7.4.1.2.3).
fn can_end_picture(header: u8) -> bool {
    !matches!(header & 0x1F, SEI | SPS | PPS | DELIMITER)
}

/// The NAL units of a STAP-A; `None` as the last item when it is cut short.
fn aggregated(payload: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
    let mut rest = &payload[1..];
    std::iter::from_fn(move || {
        let (length, after) = rest.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_be_bytes(*length));
        let nal = after.get(..length);
        rest = after.get(length..).unwrap_or_default();
        Some(nal)
    })
}

#[cfg(test)]
mod tests;
