//! What all rooms and the wall share.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use dashmap::DashMap;
use hewei_cameras::Cameras;
use hewei_engine::Engine;
use hewei_model::RoomId;
use hewei_store::Store;
use tokio::{task::JoinSet, time::Instant};

use super::{recording, room};
use crate::auth::Revocations;

/// The server as rooms and the wall see it.
pub(super) struct Shared {
    pub(super) store: Store,
    pub(super) engine: Engine,
    pub(super) cameras: Cameras,
    /// The routing room of all cameras. New at each start: it is nobody's to enter.
    pub(super) cameras_room: RoomId,
    /// Absent when nothing is recorded.
    pub(super) recorder: Option<recording::Setup>,
    /// The directory of open rooms.
    pub(super) rooms: DashMap<RoomId, room::Handle>,
    /// The tasks of rooms and of the wall.
    pub(super) tasks: Tasks,
    /// Recordings that are being sealed.
    pub(super) sealing: Tasks,
    pub(super) stopping: AtomicBool,
    /// Whose connections are closed.
    pub(super) revocations: Arc<Revocations>,
}

impl Shared {
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}

/// Tasks that are waited for at the end.
#[derive(Debug, Default)]
pub(super) struct Tasks(Mutex<JoinSet<()>>);

impl Tasks {
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that are done need no memory.
        while let Some(done) = tasks.try_join_next() {
            log_panic(done);
        }
        tasks.spawn(task);
    }

    /// Waits for all that were spawned until now. False when they were not done in time.
    pub(super) async fn finish(&self, deadline: Instant) -> bool {
        let mut tasks = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let all = async {
            while let Some(done) = tasks.join_next().await {
                log_panic(done);
            }
        };
        tokio::time::timeout_at(deadline, all).await.is_ok()
    }
}

fn log_panic(done: Result<(), tokio::task::JoinError>) {
    if let Err(error) = done
        && error.is_panic()
    {
        tracing::error!(%error, "a task failed");
    }
}
