//! Seeded numbers, and what they do to good bytes.

/// xorshift64*: the same seed, the same storm.
pub struct Noise(u64);

impl Noise {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 16) as usize % limit.max(1)
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| (self.next() >> 32) as u8).collect()
    }

    pub fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    /// Flips one to eight bits.
    pub fn flipped(&mut self, good: &[u8]) -> Vec<u8> {
        let mut bad = good.to_vec();
        for _ in 0..self.below(8) + 1 {
            let at = self.below(bad.len());
            if let Some(byte) = bad.get_mut(at) {
                *byte ^= 1 << self.below(8);
            }
        }
        bad
    }

    /// Text, broken in four to six ways, so that most of it is beyond reading: cut off, lines gone, doubled or moved, numbers beyond all bounds, brackets,
    /// bytes that are not UTF-8's business.
    pub fn broken(&mut self, good: &str) -> String {
        let mut text = good.to_owned();
        for _ in 0..self.below(3) + 4 {
            let lines: Vec<&str> = text.split_inclusive('\n').collect();
            let at = self.below(lines.len());
            text = match self.below(8) {
                0 => {
                    let mut cut = self.below(text.len());
                    while !text.is_char_boundary(cut) {
                        cut -= 1;
                    }
                    text[..cut].to_owned()
                }
                1 => [&lines[..at], &lines[(at + 1).min(lines.len())..]].concat().concat(),
                2 => [&lines[..at], &vec![*lines.get(at).unwrap_or(&"\n"); self.below(200)], &lines[at..]]
                    .concat()
                    .concat(),
                3 => {
                    let mut lines = lines.clone();
                    let other = self.below(lines.len());
                    if !lines.is_empty() {
                        lines.swap(at, other);
                    }
                    lines.concat()
                }
                4 => {
                    let from = self.below(10);
                    text.replace(char::from(b'0' + from as u8), "99999999999999999999")
                }
                5 => text.replacen(
                    [':', '=', '{', '"'][self.below(4)],
                    ["", "::", "\u{0}", "{{"][self.below(4)],
                    5,
                ),
                6 => text.replacen(' ', "\u{202e}\u{fffd}", self.below(5) + 1),
                _ => String::from_utf8_lossy(&self.flipped(text.as_bytes())).into_owned(),
            };
            text.truncate(
                (0..=40_000.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0),
            );
        }
        text
    }
}
