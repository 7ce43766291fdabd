//! Puts packets back into order and says what never came.
//!
//! Owns the wait for late packets: up to a time and a count. Never asks for a packet again (NACK is the
//! peer's), never makes one up. The recorder owns one a track.
//!
//! Push, then drain [`ReorderBuffer::pop`] until it gives `None`; call it with the present time as well when
//! nothing arrives, so that a hole does not wait for ever.

use std::{collections::BTreeMap, time::Duration};

use hewei_model::MonoNs;

/// What leaves the buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Released<T> {
    /// The next packet in order.
    Packet {
        /// Its extended sequence number.
        sequence: u64,
        /// What was pushed.
        item: T,
    },
    /// These packets did not come in time.
    Hole {
        /// The first one's extended sequence number.
        first: u64,
        /// How many.
        count: u64,
    },
}

/// What became of a pushed packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It waits for its turn.
    Kept,
    /// It was there already.
    Duplicate,
    /// Its turn is over: it was given up, or released before.
    Late,
}

/// A bounded buffer that releases packets in the order of their extended sequence numbers.
#[derive(Debug)]
pub struct ReorderBuffer<T> {
    waiting: BTreeMap<u64, (MonoNs, T)>,
    next: Option<u64>,
    wait: Duration,
    capacity: usize,
}

impl<T> ReorderBuffer<T> {
    /// Waits at most `wait` for a missing packet, and keeps at most `capacity` packets behind it.
    pub fn new(wait: Duration, capacity: usize) -> Self {
        Self { waiting: BTreeMap::new(), next: None, wait, capacity: capacity.max(1) }
    }

    /// Takes a packet.
    pub fn push(&mut self, sequence: u64, arrival: MonoNs, item: T) -> Pushed {
        if self.next.is_some_and(|next| sequence < next) {
            return Pushed::Late;
        }
        if self.next.is_none() {
            self.next = Some(sequence);
        }
        match self.waiting.entry(sequence) {
            std::collections::btree_map::Entry::Occupied(_) => Pushed::Duplicate,
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert((arrival, item));
                Pushed::Kept
            }
        }
    }

    /// The next thing in order, if it is due: the next packet; or a hole, when the packet behind it has
    /// waited its time or the buffer is over its capacity.
    pub fn pop(&mut self, now: MonoNs) -> Option<Released<T>> {
        let (&sequence, &(arrival, _)) = self.waiting.first_key_value()?;
        let next = self.next.unwrap_or(sequence);
        if sequence == next {
            return self.release();
        }
        let full = self.waiting.len() > self.capacity;
        // The oldest arrival decides, and it need not be the first in order.
        let oldest = if full { arrival } else { self.oldest() };
        if full || now.since(oldest) >= self.wait {
            return self.give_up(next, sequence);
        }
        None
    }

    /// As [`Self::pop`], without waiting for anything: for the end of a track.
    pub fn pop_any(&mut self) -> Option<Released<T>> {
        let (&sequence, _) = self.waiting.first_key_value()?;
        let next = self.next.unwrap_or(sequence);
        if sequence == next { self.release() } else { self.give_up(next, sequence) }
    }

    /// How long the packets behind a hole have waited; `None` when nothing waits.
    pub fn waited(&self, now: MonoNs) -> Option<Duration> {
        (!self.waiting.is_empty()).then(|| now.since(self.oldest()))
    }

    /// How many packets wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Forgets everything, as if new: for a sender that began anew.
    pub fn reset(&mut self) {
        self.waiting.clear();
        self.next = None;
    }

    fn release(&mut self) -> Option<Released<T>> {
        let (sequence, (_, item)) = self.waiting.pop_first()?;
        self.next = Some(sequence + 1);
        Some(Released::Packet { sequence, item })
    }

    fn give_up(&mut self, next: u64, until: u64) -> Option<Released<T>> {
        self.next = Some(until);
        Some(Released::Hole { first: next, count: until - next })
    }

    fn oldest(&self) -> MonoNs {
        // Holes are rare and short: what waits behind one is looked through only then.
        self.waiting.values().map(|(arrival, _)| *arrival).min().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: u64 = 1_000_000;

    fn drain(buffer: &mut ReorderBuffer<u64>, now: u64) -> Vec<Released<u64>> {
        std::iter::from_fn(|| buffer.pop(MonoNs(now * MS))).collect()
    }

    #[test]
    fn a_late_packet_fills_the_hole() {
        let mut buffer = ReorderBuffer::new(Duration::from_secs(2), 100);
        buffer.push(10, MonoNs(0), 10);
        buffer.push(12, MonoNs(MS), 12);
        assert_eq!(drain(&mut buffer, 1).len(), 1);
        assert_eq!(buffer.push(12, MonoNs(MS), 12), Pushed::Duplicate);
        buffer.push(11, MonoNs(300 * MS), 11);
        assert_eq!(
            drain(&mut buffer, 300),
            [Released::Packet { sequence: 11, item: 11 }, Released::Packet { sequence: 12, item: 12 }]
        );
        assert_eq!(buffer.push(11, MonoNs(301 * MS), 11), Pushed::Late);
    }

    #[test]
    fn a_hole_is_given_up_after_the_wait() {
        let mut buffer = ReorderBuffer::new(Duration::from_secs(2), 100);
        buffer.push(10, MonoNs(0), 10);
        buffer.push(14, MonoNs(MS), 14);
        drain(&mut buffer, 1);
        assert!(drain(&mut buffer, 2000).is_empty());
        assert_eq!(
            drain(&mut buffer, 2001),
            [Released::Hole { first: 11, count: 3 }, Released::Packet { sequence: 14, item: 14 }]
        );
    }

    #[test]
    fn a_full_buffer_gives_the_hole_up_at_once() {
        let mut buffer = ReorderBuffer::new(Duration::from_secs(2), 3);
        buffer.push(0, MonoNs(0), 0);
        for sequence in 2..6 {
            buffer.push(sequence, MonoNs(0), sequence);
        }
        assert_eq!(drain(&mut buffer, 0).len(), 6);
        assert!(buffer.is_empty());
    }

    proptest! {
        // Each pushed number comes out once, in order; a hole covers exactly what was never pushed.
        #[test]
        fn packets_and_holes_tile_the_sequence(order in Just((0u64..60).collect::<Vec<_>>()).prop_shuffle(), lost in proptest::collection::btree_set(1u64..59, 0..20)) {
            let mut buffer = ReorderBuffer::new(Duration::from_secs(2), 1000);
            buffer.push(0, MonoNs(0), 0);
            for (at, sequence) in order.iter().filter(|sequence| !lost.contains(*sequence)).enumerate() {
                buffer.push(*sequence, MonoNs(at as u64), *sequence);
            }
            let mut next = 0;
            while let Some(released) = buffer.pop(MonoNs(10_000 * MS)) {
                match released {
                    Released::Packet { sequence, item } => {
                        prop_assert_eq!(sequence, next);
                        prop_assert_eq!(item, next);
                        prop_assert!(!lost.contains(&next));
                        next += 1;
                    }
                    Released::Hole { first, count } => {
                        prop_assert_eq!(first, next);
                        for sequence in first..first + count {
                            prop_assert!(lost.contains(&sequence));
                        }
                        next += count;
                    }
                }
            }
            prop_assert_eq!(next, 60);
        }
    }
}
