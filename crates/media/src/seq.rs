//! Sequence numbers and timestamps that wrap, made into ones that do not.

/// Extends 16-bit sequence numbers to 64 bits: each number is taken as the one nearest to the last.
#[derive(Debug, Clone, Default)]
pub struct SeqExtender {
    last: Option<u64>,
}

impl SeqExtender {
    /// The extended number. The first one begins a cycle above zero, so that late packets stay positive.
    pub fn extend(&mut self, seq: u16) -> u64 {
        let extended = match self.last {
            None => 0x1_0000 | u64::from(seq),
            Some(last) => {
                let delta = seq.wrapping_sub(last as u16) as i16;
                last.saturating_add_signed(i64::from(delta))
            }
        };
        if self.last.is_none_or(|last| extended > last) {
            self.last = Some(extended);
        }
        extended
    }

    /// What [`extend`](Self::extend) would say, without counting it as seen. `None` before the first.
    pub fn peek(&self, seq: u16) -> Option<u64> {
        let last = self.last?;
        Some(last.saturating_add_signed(i64::from(seq.wrapping_sub(last as u16) as i16)))
    }

    /// The highest number so far.
    pub fn highest(&self) -> Option<u64> {
        self.last
    }
}

/// Extends 32-bit RTP timestamps to 64 bits in the same way.
#[derive(Debug, Clone, Default)]
pub struct TimestampExtender {
    last: Option<u64>,
}

impl TimestampExtender {
    /// The extended timestamp. The first one begins a cycle above zero.
    pub fn extend(&mut self, timestamp: u32) -> u64 {
        let extended = match self.last {
            None => 0x1_0000_0000 | u64::from(timestamp),
            Some(last) => last.saturating_add_signed(i64::from(timestamp.wrapping_sub(last as u32) as i32)),
        };
        self.last = Some(extended);
        extended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wraps_forward_and_looks_back() {
        let mut seq = SeqExtender::default();
        let first = seq.extend(65_534);
        assert_eq!(seq.extend(2), first + 4);
        assert_eq!(seq.extend(65_535), first + 1, "late packet of the cycle before");
        assert_eq!(seq.highest(), Some(first + 4));
        assert_eq!(seq.peek(3), Some(first + 5));
    }

    #[test]
    fn timestamps_wrap() {
        let mut timestamps = TimestampExtender::default();
        let first = timestamps.extend(u32::MAX - 10);
        assert_eq!(timestamps.extend(89), first + 100);
        assert_eq!(timestamps.extend(u32::MAX), first + 10);
    }
}
