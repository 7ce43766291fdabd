//! What the tests within the live part share: a server without listeners.

use std::sync::Arc;

use hewei_cameras::Cameras;
use hewei_model::{Role, RoomId};
use time::OffsetDateTime;

use super::{
    shared::{Shared, Tasks},
    source,
};
use crate::auth::Claims;

/// Nothing is recorded. The folder holds the database; the events are the engine's.
pub(super) async fn shared()
-> (Arc<Shared>, tempfile::TempDir, tokio::sync::mpsc::Receiver<hewei_engine::Event>) {
    let folder = tempfile::tempdir().unwrap();
    let key = hewei_store::SealingKey::new(&[7; 32]);
    let store = hewei_store::Store::open(&folder.path().join("hewei.db"), key).await.unwrap();
    let (engine, events) = hewei_engine::Engine::start(hewei_engine::Config {
        port: 0,
        bind: "127.0.0.1".parse().unwrap(),
        candidates: vec!["127.0.0.1".parse().unwrap()],
        tcp_candidates: Vec::new(),
        shards: 1,
        video_codecs: vec![hewei_model::Codec::H264],
    })
    .unwrap();
    let cameras_room = RoomId::generate();
    engine.open_room(cameras_room);
    let shared = Arc::new(Shared {
        store,
        cameras: Cameras::new(Default::default(), source::sinks(engine.clone(), cameras_room)),
        cameras_room,
        engine,
        recorder: None,
        rooms: dashmap::DashMap::new(),
        tasks: Tasks::default(),
        sealing: Tasks::default(),
        stopping: false.into(),
        revocations: Arc::default(),
    });
    (shared, folder, events)
}

/// A new token's.
pub(super) fn claims(role: Role, lasts: time::Duration) -> Claims {
    Claims::of_link(role.as_str().into(), role, None, OffsetDateTime::now_utc() + lasts)
}
