//! A picture in two layers through the whole engine: one track, for each viewer the layer that its tile can use, for the
//! recorder the largest, and a word to the publisher of what nobody takes.

mod support;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use hewei_engine::{Config, Engine, Event, tap};
use hewei_model::{Audience, Codec, MediaKind, Publisher, RoomId};
use support::{Client, Shape, VIDEO_PT};

const PATIENCE: Duration = Duration::from_secs(30);
const FRAME: Duration = Duration::from_millis(20);
/// Names, heights and SSRCs of the layers.
const LAYERS: [(&str, u16, u32); 2] = [("h", 180, 0x2222_0001), ("f", 360, 0x2222_0002)];

/// The client's own offer says one stream.
fn in_layers(sdp: String) -> String {
    let lines = sdp.lines().filter(|line| !line.starts_with("a=ssrc")).map(|line| format!("{line}\r\n"));
    lines.collect::<String>()
        + "a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\n\
           a=extmap:10 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\n\
           a=rid:h send\r\na=rid:f send\r\na=simulcast:send h;f\r\n"
}

struct Camera {
    client: Client,
    frame: u16,
}

impl Camera {
    /// Sends a picture of each layer; every tenth is a keyframe.
    fn frame(&mut self) {
        self.frame += 1;
        for (layer, (rid, height, ssrc)) in (0u8..).zip(LAYERS) {
            let mut packet = vec![0x90, 0x80 | VIDEO_PT];
            packet.extend(self.frame.to_be_bytes());
            packet.extend((u32::from(self.frame) * 1_800 + ssrc).to_be_bytes());
            packet.extend(ssrc.to_be_bytes());
            // MID "0", RID.
            packet.extend([0xbe, 0xde, 0, 1, 0x40, b'0', 10 << 4, rid.as_bytes()[0]]);
            let [low, high] = height.to_le_bytes();
            let inter = u8::from(self.frame % 10 != 1);
            packet.extend([0x10, inter, 0x02, 0x00, 0x9d, 0x01, 0x2a, 64, 0, low, high]);
            packet.resize(300, 0);
            packet.push(layer);
            let sealed = self.client.connection.seal_rtp(&packet).expect("seals");
            self.client.socket.send_to(&sealed, self.client.server).expect("sends");
        }
    }

    /// Sends until the newest packet that the viewer has is of this layer.
    fn until(&mut self, viewer: &mut Client, layer: u8) {
        let until = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < until, "layer {layer} does not come");
            self.frame();
            std::thread::sleep(FRAME);
            let got = std::iter::from_fn(|| viewer.receive_rtp(Duration::from_millis(1))).last();
            if got.is_some_and(|packet| packet.last() == Some(&layer)) {
                return;
            }
        }
    }
}

/// The SSRCs of the packets that the tap got.
fn tapped(tap: &mut tap::Reader) -> Vec<u32> {
    let mut ssrcs = Vec::new();
    tap.read(Duration::ZERO, |record| {
        if let tap::Record::Packet { rtp, .. } = record {
            ssrcs.push(u32::from_be_bytes(*rtp[8..].first_chunk().expect("an SSRC")));
        }
    });
    ssrcs
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_gets_the_layer_that_its_tile_can_use() {
    let (engine, mut events) = Engine::start(Config {
        port: 0,
        bind: [127, 0, 0, 1].into(),
        candidates: vec![[127, 0, 0, 1].into()],
        tcp_candidates: Vec::new(),
        shards: 1,
        video_codecs: vec![Codec::Vp8],
    })
    .expect("starts");
    let room = RoomId::generate();
    engine.open_room(room);
    let mut tap = engine.open_tap(room).expect("open");
    let shape = Shape { publish: true, slots: 0, gcm: true, lost: None };
    let client = Client::join_as(&engine, room, shape, in_layers).await;
    let mut camera = Camera { client, frame: 0 };
    let publisher = Publisher::Participant(camera.client.participant);
    let mut viewer = Client::join(&engine, room, Shape { publish: false, slots: 1, ..shape }).await;
    let audience = |recorder| Audience { participants: BTreeSet::from([viewer.participant]), recorder };
    let (recorded, unrecorded) = (audience(true), audience(false));
    engine.set_audience(room, publisher, MediaKind::Video, recorded).await;

    camera.until(&mut viewer, 1);
    engine.set_view(room, viewer.peer, vec![(publisher, 150)]);
    camera.until(&mut viewer, 0);
    engine.set_view(room, viewer.peer, vec![(publisher, 300)]);
    camera.until(&mut viewer, 1);
    engine.set_view(room, viewer.peer, vec![(publisher, 100)]);
    camera.until(&mut viewer, 0);

    // Time enough for the recorder to leave the layer that it began with.
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        camera.frame();
        std::thread::sleep(FRAME);
    }
    let ssrcs = tapped(&mut tap);
    assert_eq!(ssrcs.last(), Some(&LAYERS[1].2), "whatever the viewer draws");
    assert!(ssrcs.is_sorted(), "from the one to the other and not back: {ssrcs:?}");

    engine.set_audience(room, publisher, MediaKind::Video, unrecorded).await;
    let (mut taken, mut tracks) = (None, 0);
    let until = Instant::now() + PATIENCE;
    while taken.is_none() {
        assert!(Instant::now() < until, "the publisher is told nothing");
        camera.frame();
        std::thread::sleep(FRAME);
        let _ = viewer.receive_rtp(Duration::from_millis(1));
        while let Ok(event) = events.try_recv() {
            tracks += u32::from(matches!(event, Event::TrackStarted { .. }));
            if let Event::Layers { peer, taken: layers, .. } = event {
                assert_eq!(peer, camera.client.peer);
                taken = Some(layers);
            }
        }
    }
    assert_eq!(taken, Some(vec!["h".to_owned()]));
    assert_eq!(tracks, 1, "all layers are one track");
    engine.shutdown();
}
