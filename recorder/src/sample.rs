//! One frame of one track, as a container takes it.

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
