//! A bounded queue of byte records between two threads: no lock, no allocation a record.

use rtrb::{Consumer, Producer, RingBuffer};

/// Length of the length before each record.
const PREFIX: usize = 4;

/// The writing end.
pub(crate) struct Writer(Producer<u8>);

/// The reading end.
pub(crate) struct Reader {
    consumer: Consumer<u8>,
    /// For records that wrap around the end of the ring.
    joined: Vec<u8>,
}

/// A queue of `capacity` bytes, for records of up to `record_max` bytes.
pub(crate) fn ring(capacity: usize, record_max: usize) -> (Writer, Reader) {
    let (producer, consumer) = RingBuffer::new(capacity);
    (Writer(producer), Reader { consumer, joined: Vec::with_capacity(record_max) })
}

impl Writer {
    /// Writes one record made of `parts`, whole or not at all. `false` when there is no room.
    pub(crate) fn write(&mut self, parts: &[&[u8]]) -> bool {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let Ok(mut chunk) = self.0.write_chunk(PREFIX + len) else { return false };
        let (mut first, mut second) = chunk.as_mut_slices();
        let prefix = (len as u32).to_ne_bytes();
        for mut part in std::iter::once(&prefix[..]).chain(parts.iter().copied()) {
            while !part.is_empty() {
                if first.is_empty() {
                    std::mem::swap(&mut first, &mut second);
                }
                let count = part.len().min(first.len());
                let (now, later) = std::mem::take(&mut first).split_at_mut(count);
                now.copy_from_slice(&part[..count]);
                first = later;
                part = &part[count..];
            }
        }
        chunk.commit_all();
        true
    }

    /// Whether the reading end is gone.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.0.is_abandoned()
    }
}

impl Reader {
    /// Gives the next record to `take`. `None` when there is none.
    pub(crate) fn read<T>(&mut self, take: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let head = self.consumer.read_chunk(PREFIX).ok()?;
        let (first, second) = head.as_slices();
        let mut prefix = [0; PREFIX];
        prefix[..first.len()].copy_from_slice(first);
        prefix[first.len()..].copy_from_slice(second);
        // The writer commits a record as a whole, so it is there when its prefix is.
        let record = self.consumer.read_chunk(PREFIX + u32::from_ne_bytes(prefix) as usize).ok()?;
        let (first, second) = record.as_slices();
        let taken = if first.len() >= PREFIX && second.is_empty() {
            take(&first[PREFIX..])
        } else {
            self.joined.clear();
            self.joined.extend_from_slice(first);
            self.joined.extend_from_slice(second);
            take(&self.joined[PREFIX..])
        };
        record.commit_all();
        Some(taken)
    }

    /// Whether the writing end is gone; what it wrote before can still be read.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.consumer.is_abandoned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_out_as_they_went_in_across_the_seam_and_between_threads() {
        let (mut writer, mut reader) = ring(1_000, 256);
        let sender = std::thread::spawn(move || {
            for at in 0..20_000u32 {
                let body = vec![at as u8; (at % 200) as usize];
                while !writer.write(&[&at.to_ne_bytes(), &body]) {
                    std::thread::yield_now();
                }
            }
        });
        let mut next = 0u32;
        while next < 20_000 {
            let got = reader.read(|record| {
                assert_eq!(record[..4], next.to_ne_bytes());
                assert_eq!(record.len() - 4, (next % 200) as usize);
                assert!(record[4..].iter().all(|byte| *byte == next as u8));
            });
            if got.is_some() {
                next += 1;
            }
        }
        sender.join().expect("the writer ends");
        assert!(reader.is_abandoned());
        assert!(reader.read(|_| ()).is_none());
    }

    #[test]
    fn a_full_ring_refuses_the_whole_record() {
        let (mut writer, mut reader) = ring(64, 64);
        assert!(writer.write(&[&[1; 40]]));
        assert!(!writer.write(&[&[2; 40]]));
        assert_eq!(reader.read(|record| record.len()), Some(40));
        assert!(writer.write(&[&[3; 40]]));
        assert_eq!(reader.read(|record| record[0]), Some(3));
    }
}
