//! The picture numbers of VP8 (RFC 7741 §4.2) in one slot: continuous whatever plays in it.

use hewei_media::vp8::Numbers;

const MASK: u16 = 0x7fff;

/// Within a run both numbers are shifted by a constant, as sequence numbers are.
#[derive(Debug, Default)]
pub(crate) struct Pictures {
    /// The highest that went out.
    last: Numbers,
    picture_shift: u16,
    tl0_shift: u8,
}

impl Pictures {
    /// Begins a run with a packet that has these.
    pub(crate) fn start(&mut self, first: Numbers) {
        self.picture_shift = match (self.last.picture, first.picture) {
            (Some(last), Some(first)) => last.wrapping_add(1).wrapping_sub(first) & MASK,
            _ => 0,
        };
        self.tl0_shift = match (self.last.tl0, first.tl0) {
            (Some(last), Some(first)) => last.wrapping_add(1).wrapping_sub(first),
            _ => 0,
        };
    }

    /// What a packet of the run goes out with.
    pub(crate) fn rewrite(&mut self, numbers: Numbers) -> Numbers {
        let picture = numbers.picture.map(|picture| picture.wrapping_add(self.picture_shift) & MASK);
        let tl0 = numbers.tl0.map(|tl0| tl0.wrapping_add(self.tl0_shift));
        if let Some(picture) = picture {
            let newer = |last: u16| picture.wrapping_sub(last) & MASK < 0x4000;
            self.last.picture = Some(self.last.picture.filter(|last| !newer(*last)).unwrap_or(picture));
        }
        if let Some(tl0) = tl0 {
            let newer = |last: u8| tl0.wrapping_sub(last) < 0x80;
            self.last.tl0 = Some(self.last.tl0.filter(|last| !newer(*last)).unwrap_or(tl0));
        }
        Numbers { picture, tl0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_counts_on() {
        let numbers = |picture, tl0| Numbers { picture: Some(picture), tl0: Some(tl0) };
        let mut pictures = Pictures::default();
        pictures.start(numbers(0x7ffd, 254));
        assert_eq!(pictures.rewrite(numbers(0x7ffd, 254)), numbers(0x7ffd, 254));
        assert_eq!(pictures.rewrite(numbers(0x7fff, 0)), numbers(0x7fff, 0));
        assert_eq!(pictures.rewrite(numbers(0x7ffe, 255)), numbers(0x7ffe, 255), "late, and not the highest");
        pictures.start(numbers(900, 7));
        assert_eq!(pictures.rewrite(numbers(900, 7)), numbers(0, 1));
        assert_eq!(pictures.rewrite(numbers(901, 7)), numbers(1, 1));
        assert_eq!(pictures.rewrite(Numbers::default()), Numbers::default());
        pictures.start(Numbers::default());
        assert_eq!(pictures.rewrite(Numbers::default()), Numbers::default());
        pictures.start(numbers(5, 5));
        assert_eq!(pictures.rewrite(numbers(5, 5)), numbers(2, 2));
    }
}
