//! From a camera's pull into the routing path.

use std::time::Instant;

use hewei_cameras::Sink;
use hewei_engine::{Engine, SourceWriter};
use hewei_model::{CameraId, Codec, MediaKind, Publisher, RoomId};

/// The sink of one pull: a source of the cameras' routing room.
struct Source(Option<SourceWriter>);

/// Makes the sinks of all pulls.
pub(super) fn sinks(
    engine: Engine,
    room: RoomId,
) -> impl Fn(CameraId) -> Box<dyn Sink> + Send + Sync + 'static {
    move |camera| Box::new(Source(engine.open_source(room, Publisher::Camera(camera))))
}

impl Sink for Source {
    fn track(&mut self, _: MediaKind, codec: Codec) {
        if let Some(writer) = &mut self.0 {
            writer.track(codec);
        }
    }

    fn packet(&mut self, kind: MediaKind, _: Instant, rtp: &[u8]) {
        if let Some(writer) = &mut self.0 {
            writer.packet(kind, rtp);
        }
    }

    fn sender_report(&mut self, kind: MediaKind, ntp: u64, rtp_timestamp: u32) {
        if let Some(writer) = &mut self.0 {
            writer.sender_report(kind, ntp, rtp_timestamp);
        }
    }

    fn end(&mut self) {
        // Dropping the writer ends its tracks.
        self.0 = None;
    }
}
