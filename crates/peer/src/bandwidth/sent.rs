//! What was sent lately, by transport-wide sequence number, until the receiver tells of it.

use std::time::{Duration, Instant};

/// Packets remembered: two seconds at 1,000 a second.
const WINDOW: usize = 2_048;

/// A packet on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Packet {
    /// When it was sent, since the first that was.
    pub(super) at: Duration,
    /// Its length as a datagram.
    pub(super) bytes: u16,
    /// Whether it went out to try how much goes through.
    pub(super) probe: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    /// One more than its number; 0 for none.
    number: u32,
    /// Microseconds since the first packet, which wrap after an hour.
    at_us: u32,
    bytes: u16,
    probe: bool,
}

/// A ring that never allocates after it was made.
#[derive(Debug)]
pub(super) struct Sent {
    entries: Box<[Entry]>,
    next: u32,
    started: Option<Instant>,
}

impl Sent {
    pub(super) fn new() -> Self {
        Self { entries: vec![Entry::default(); WINDOW].into(), next: 0, started: None }
    }

    /// When the first packet was sent; the times of [`Packet`] count from it.
    pub(super) fn started(&self) -> Option<Instant> {
        self.started
    }

    /// Remembers a packet, and gives its sequence number.
    pub(super) fn push(&mut self, now: Instant, bytes: usize, probe: bool) -> u16 {
        let started = *self.started.get_or_insert(now);
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        self.entries[number as usize % WINDOW] = Entry {
            number: number.wrapping_add(1),
            at_us: now.saturating_duration_since(started).as_micros() as u32,
            bytes: u16::try_from(bytes).unwrap_or(u16::MAX),
            probe,
        };
        number as u16
    }

    /// Takes a packet out: each is told of once. `None` when it was never sent, is forgotten or was taken before.
    pub(super) fn take(&mut self, now: Instant, seq: u16) -> Option<Packet> {
        let started = self.started?;
        let back = (self.next.wrapping_sub(1) as u16).wrapping_sub(seq);
        let number = self.next.wrapping_sub(1).wrapping_sub(back.into());
        let entry = &mut self.entries[number as usize % WINDOW];
        if entry.number == 0 || entry.number != number.wrapping_add(1) {
            return None;
        }
        entry.number = 0;
        let now_us = now.saturating_duration_since(started).as_micros() as u64;
        // The whole time from its lower half: the latest that is not after now.
        let age = (now_us as u32).wrapping_sub(entry.at_us);
        let at = Duration::from_micros(now_us.saturating_sub(age.into()));
        Some(Packet { at, bytes: entry.bytes, probe: entry.probe })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_told_of_once_and_the_old_are_forgotten() {
        let start = Instant::now();
        let mut sent = Sent::new();
        assert_eq!(sent.take(start, 0), None);
        for number in 0..70_000u64 {
            let at = start + Duration::from_millis(number * 100);
            assert_eq!(sent.push(at, 1_000 + (number % 7) as usize, false), number as u16);
        }
        let now = start + Duration::from_millis(7_000_050);
        let told = sent.take(now, 69_990u32 as u16).expect("sent lately");
        assert_eq!(
            told,
            Packet { at: Duration::from_millis(6_999_000), bytes: 1_000 + (69_990 % 7) as u16, probe: false }
        );
        assert_eq!(sent.take(now, 69_990u32 as u16), None, "twice");
        assert_eq!(sent.take(now, (70_000u32 - 2_049) as u16), None, "forgotten");
        assert_eq!(sent.take(now, 70_000u32 as u16), None, "not sent yet");
    }
}
