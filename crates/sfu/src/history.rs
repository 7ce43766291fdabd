//! The last packets of one source, kept once for all subscribers: what is waiting to go out, and what a
//! subscriber may ask for again.

/// Packets remembered at the most.
const ENTRIES: usize = 1024;

#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    seq: u64,
    /// Where the payload begins, counted in bytes since the first packet.
    at: u64,
    len: u16,
    timestamp: u32,
    marker: bool,
    keyframe: bool,
}

/// A packet as it is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kept<'a> {
    /// See [`History::written`].
    pub(crate) at: u64,
    pub(crate) timestamp: u32,
    pub(crate) marker: bool,
    pub(crate) keyframe: bool,
    pub(crate) payload: &'a [u8],
}

/// A ring of payload bytes with an index by sequence number. It never allocates after it was made.
pub(crate) struct History {
    entries: Box<[Entry]>,
    bytes: Box<[u8]>,
    written: u64,
}

impl History {
    /// Keeps at least the last `capacity` bytes less one packet.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { entries: vec![Entry::default(); ENTRIES].into(), bytes: vec![0; capacity].into(), written: 0 }
    }

    /// A mark that lies between the packets so far and those to come: what is kept later has an `at` of this or more.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Keeps a packet. `false` when it is a duplicate, or empty or too large to be kept.
    pub(crate) fn keep(
        &mut self,
        seq: u64,
        timestamp: u32,
        marker: bool,
        keyframe: bool,
        payload: &[u8],
    ) -> bool {
        let entry = &mut self.entries[seq as usize % ENTRIES];
        let Ok(len) = u16::try_from(payload.len()) else { return false };
        if (entry.seq == seq && entry.len > 0)
            || entry.seq > seq
            || len == 0
            || payload.len() > self.bytes.len()
        {
            return false;
        }
        // A payload lies in one piece: one that would wrap begins anew at the start.
        let offset = (self.written % self.bytes.len() as u64) as usize;
        if offset + payload.len() > self.bytes.len() {
            self.written += (self.bytes.len() - offset) as u64;
        }
        let at = self.written;
        let offset = (at % self.bytes.len() as u64) as usize;
        self.bytes[offset..offset + payload.len()].copy_from_slice(payload);
        self.written += u64::from(len);
        *entry = Entry { seq, at, len, timestamp, marker, keyframe };
        true
    }

    /// The packet with this sequence number, if it is still there.
    pub(crate) fn get(&self, seq: u64) -> Option<Kept<'_>> {
        let entry = &self.entries[seq as usize % ENTRIES];
        let overwritten = self.written - entry.at.min(self.written) > self.bytes.len() as u64;
        if entry.seq != seq || entry.len == 0 || overwritten {
            return None;
        }
        let offset = (entry.at % self.bytes.len() as u64) as usize;
        Some(Kept {
            at: entry.at,
            timestamp: entry.timestamp,
            marker: entry.marker,
            keyframe: entry.keyframe,
            payload: &self.bytes[offset..offset + usize::from(entry.len)],
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_duplicate_is_kept_once() {
        let mut history = History::new(4096);
        assert!(history.keep(70_000, 1, false, false, &[1, 2]));
        assert!(!history.keep(70_000, 1, false, false, &[1, 2]));
        assert!(!history.keep(70_001, 1, false, false, &[]));
    }

    proptest! {
        /// Whatever comes back is what was put in, and the newest packets do come back.
        #[test]
        fn gives_back_what_was_kept(lens in proptest::collection::vec(1usize..1300, 1..3000)) {
            let mut history = History::new(64 * 1024);
            let byte = |seq: u64| (seq % 251) as u8;
            for (seq, len) in (70_000u64..).zip(&lens) {
                prop_assert!(history.keep(seq, seq as u32, false, false, &vec![byte(seq); *len]));
            }
            let end = 70_000 + lens.len() as u64;
            for (seq, len) in (70_000u64..end).zip(&lens) {
                if let Some(kept) = history.get(seq) {
                    prop_assert!(kept.payload.len() == *len && kept.payload.iter().all(|b| *b == byte(seq)));
                } else {
                    prop_assert!(seq + 40 < end, "one of the last forty is gone");
                }
            }
        }
    }
}
