//! The cameras that are known, and who demands them.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use hewei_model::CameraId;
use tokio::{
    runtime::Handle,
    sync::{broadcast, watch},
    task::JoinHandle,
    time::Instant,
};
use tracing::Instrument;

use crate::{
    Camera, Sink, State, Status,
    counts::Counts,
    gate::Gate,
    pull::{Orders, Puller},
};

/// Changes kept for a slow subscriber: four pages of 25 cameras that change state ten times. One that lags
/// behind is told so and asks [`Cameras::status`].
const CHANGES_KEPT: usize = 1_024;

/// A camera and the state it got into.
pub(crate) type Change = (CameraId, Status);

/// How cameras are pulled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How long a camera may take to accept the connection and describe itself, and again to begin to play.
    pub connect_timeout: Duration,
    /// How long a camera may send no picture (no sound, if it has no picture) before it is connected to anew.
    pub media_timeout: Duration,
    /// How long a pull goes on when nobody demands it any more, so that a tour that comes back finds it running.
    pub linger: Duration,
    /// Connects a second, over all cameras; at least 1.
    pub connects_per_second: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            media_timeout: Duration::from_secs(5),
            linger: Duration::from_secs(10),
            connects_per_second: 20,
        }
    }
}

/// No camera with this id is registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no camera {0} is registered")]
pub struct UnknownCamera(pub CameraId);

/// All cameras: a handle, cheap to clone. When the last clone and the last [`Demand`] are gone, all pulls end.
#[derive(Clone)]
pub struct Cameras(Arc<Shared>);

struct Shared {
    settings: Settings,
    sinks: Arc<dyn Fn(CameraId) -> Box<dyn Sink> + Send + Sync>,
    gate: Arc<Gate>,
    counts: Arc<Counts>,
    changes: broadcast::Sender<Change>,
    runtime: Handle,
    cameras: Mutex<HashMap<CameraId, Entry>>,
}

struct Entry {
    orders: Arc<watch::Sender<Orders>>,
    status: watch::Receiver<Status>,
    task: JoinHandle<()>,
}

/// Somebody watches a camera. The first demand starts the pull, and once the last has been dropped the pull ends
/// after [`Settings::linger`].
#[must_use = "the camera is pulled only as long as this is kept"]
pub struct Demand {
    id: CameraId,
    orders: Arc<watch::Sender<Orders>>,
}

impl Cameras {
    /// No cameras yet. `sinks` makes the sink of each pull, when it starts; it is called on the camera's task and
    /// must not block.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(
        settings: Settings,
        sinks: impl Fn(CameraId) -> Box<dyn Sink> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Shared {
            gate: Arc::new(Gate::new(settings.connects_per_second)),
            counts: Arc::default(),
            settings,
            sinks: Arc::new(sinks),
            changes: broadcast::Sender::new(CHANGES_KEPT),
            runtime: Handle::current(),
            cameras: Mutex::default(),
        }))
    }

    /// Makes a camera known. One with the same id is replaced, as by [`update`](Self::update).
    pub fn register(&self, camera: Camera) {
        let mut cameras = self.0.lock();
        if let Some(entry) = cameras.get(&camera.id) {
            entry.replace(camera);
        } else {
            let id = camera.id;
            cameras.insert(id, self.0.start(camera));
        }
    }

    /// Gives a camera a new address or credentials. A pull connects anew at once if these differ, or if it waits
    /// after a failure; demands stay.
    pub fn update(&self, camera: Camera) -> Result<(), UnknownCamera> {
        self.0.lock().get(&camera.id).ok_or(UnknownCamera(camera.id))?.replace(camera);
        Ok(())
    }

    /// Forgets a camera and ends its pull. Demands for it hold nothing any more.
    pub fn remove(&self, id: CameraId) -> Result<(), UnknownCamera> {
        let entry = self.0.lock().remove(&id).ok_or(UnknownCamera(id))?;
        entry.end();
        Ok(())
    }

    /// Demands a camera for as long as the result is kept.
    pub fn demand(&self, id: CameraId) -> Result<Demand, UnknownCamera> {
        let orders = self.0.lock().get(&id).ok_or(UnknownCamera(id))?.orders.clone();
        orders.send_modify(|orders| {
            orders.demands += 1;
            orders.unwanted_since = None;
        });
        Ok(Demand { id, orders })
    }

    /// What a camera is doing; `None` for one that is not registered.
    pub fn status(&self, id: CameraId) -> Option<Status> {
        self.0.lock().get(&id).map(|entry| entry.status.borrow().clone())
    }

    /// What became of the connections so far, over all cameras: names in Prometheus naming without the `hewei_` prefix,
    /// and counts.
    pub fn counts(&self) -> [(&'static str, u64); 5] {
        self.0.counts.all()
    }

    /// Every change of any camera's status from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<(CameraId, Status)> {
        self.0.changes.subscribe()
    }

    /// Ends all pulls, forgets all cameras and waits until each sink has been ended.
    pub async fn shutdown(&self) {
        let entries: Vec<Entry> = self.0.lock().drain().map(|(_, entry)| entry).collect();
        for entry in &entries {
            entry.end();
        }
        for entry in entries {
            if let Err(error) = entry.task.await {
                tracing::error!(%error, "a camera's task failed");
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, HashMap<CameraId, Entry>> {
        self.cameras.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self, camera: Camera) -> Entry {
        let span = tracing::info_span!("camera", id = %camera.id);
        let (orders, orders_here) =
            watch::channel(Orders { camera, revision: 0, demands: 0, unwanted_since: None, removed: false });
        let idle = Status { state: State::Idle, since: SystemTime::now(), next_try: None, detail: None };
        let (status, status_here) = watch::channel(idle);
        let puller = Puller {
            settings: self.settings.clone(),
            gate: self.gate.clone(),
            counts: self.counts.clone(),
            sinks: self.sinks.clone(),
            orders: orders_here,
            status,
            changes: self.changes.clone(),
        };
        let task = self.runtime.spawn(puller.run().instrument(span));
        Entry { orders: Arc::new(orders), status: status_here, task }
    }
}

impl Entry {
    fn replace(&self, camera: Camera) {
        let failed = !matches!(self.status.borrow().state, State::Idle | State::Connecting | State::Live);
        self.orders.send_if_modified(|orders| {
            let again = failed || orders.camera != camera;
            if again {
                orders.camera = camera;
                orders.revision += 1;
            }
            again
        });
    }

    fn end(&self) {
        self.orders.send_modify(|orders| orders.removed = true);
    }
}

impl Demand {
    /// Which camera is demanded.
    pub fn camera(&self) -> CameraId {
        self.id
    }
}

impl Drop for Demand {
    fn drop(&mut self) {
        self.orders.send_modify(|orders| {
            orders.demands -= 1;
            if orders.demands == 0 {
                orders.unwanted_since = Some(Instant::now());
            }
        });
    }
}

impl fmt::Debug for Demand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Demand({})", self.id)
    }
}

impl fmt::Debug for Cameras {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cameras").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}
