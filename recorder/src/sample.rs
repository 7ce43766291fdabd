//! Frames and fragments of one track, as a container takes them.

/// A frame: a picture, or a packet of sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sample {
    /// The bytes the container stores.
    pub(crate) data: Vec<u8>,
    /// Ticks until the next sample of the same fragment, or for how long the last one is shown.
    pub(crate) duration: u32,
    /// A decoder can start here.
    pub(crate) sync: bool,
}

/// A fragment that was written: frames that follow one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Written {
    /// Where it begins on the track's timeline, in ticks.
    pub(crate) start: u64,
    /// How long it lasts, in ticks.
    pub(crate) duration: u64,
    /// Its length in the file.
    pub(crate) bytes: u64,
    /// A decoder can start here.
    pub(crate) sync: bool,
}

impl Written {
    /// It, if it begins and ends within a hundred years: sums of such numbers stay numbers.
    pub(crate) fn bounded(self) -> Option<Self> {
        const TICKS_MAX: u64 = 1 << 48;
        (self.start < TICKS_MAX && self.duration < TICKS_MAX).then_some(self)
    }
}
