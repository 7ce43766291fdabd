//! Where a pull's media go.

use std::time::Instant;

use hewei_model::{Codec, MediaKind};

/// Takes the media of one pull: from the first demand until the last is gone and the linger over, reconnects
/// included.
///
/// Called on the camera's task for each packet, so it must not block: hand over to a bounded queue, and drop
/// and count when that is full.
pub trait Sink: Send + 'static {
    /// The camera sends this kind of media in this codec. Comes ahead of the kind's first packet, and again
    /// only if the codec is another one after a reconnect.
    fn track(&mut self, kind: MediaKind, codec: Codec);

    /// A whole RTP packet: a header of 12 bytes without extensions or contributing sources, and a payload of at
    /// most 1,200 bytes. Each kind has one SSRC for the whole pull and sequence numbers without a gap, save where
    /// the camera itself left packets out; such a gap is passed on, since the picture is damaged there.
    /// `arrival` is when it was read from the camera's connection.
    fn packet(&mut self, kind: MediaKind, arrival: Instant, rtp: &[u8]);

    /// The camera's clock (NTP format, RFC 3550 section 4) at a timestamp of this kind's packets.
    fn sender_report(&mut self, kind: MediaKind, ntp: u64, rtp_timestamp: u32);

    /// The pull is over. Nothing comes after this.
    fn end(&mut self);
}
