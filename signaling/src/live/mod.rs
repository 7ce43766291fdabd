//! The live part: rooms, walls, WebSocket, WHIP and WHEP, and the recordings under way.
//!
//! Owns the policy of who is where: each open room is one task ([`room`]) and all cameras together are one
//! ([`wall`]). They decide audiences by the pure rule in [`policy`], put them into effect in the engine, tell the
//! recorder ([`recording`]) and then the people. Never touches a packet.

mod camera_status;
mod http_session;
mod inbox;
mod outbox;
mod policy;
mod problems;
mod rate;
mod recording;
mod room;
mod shared;
mod socket;
mod source;
mod strangers;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that panics has failed")]
mod testing;
mod wall;
mod whip;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use anyhow::Context;
use hewei_api::http::CameraStatus;
use hewei_cameras::Cameras;
use hewei_engine::Event;
use hewei_model::{CameraId, ParticipantId, PeerId, RoomId};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use self::shared::{Shared, Tasks};
use crate::{http::routes::Routes, problem::Problem, state::Parts};

/// At the end rooms get this long to tell everybody and to write down what the next start takes up.
const ROOMS_END_MAX: Duration = Duration::from_secs(5);
/// By then packages are to be sealed, which begins as their rooms end. One that needs longer is found unsealed at the
/// next start.
const SEALED_MAX: Duration = Duration::from_millis(6_500);

/// A room may close between being found and being spoken to; once more finds the next one.
const TRIES: usize = 3;

/// Everything live. Cheap to clone.
#[derive(Clone)]
pub struct Live {
    shared: Arc<Shared>,
    wall: wall::Handle,
}

/// The routes of the live part: `/ws`, `/whip` and `/whep`.
pub fn routes() -> Routes {
    Routes::new().get("/ws", socket::upgrade).merge(whip::routes())
}

impl Live {
    /// Starts the live part: registers the cameras, and takes the engine's events from here on.
    pub async fn start(parts: Parts, events: mpsc::Receiver<Event>) -> anyhow::Result<Live> {
        let Parts { config, store, engine, identity, revocations } = parts;
        let cameras_room = RoomId::generate();
        engine.open_room(cameras_room);
        let settings = hewei_cameras::Settings {
            linger: config.cameras.linger,
            connects_per_second: config.cameras.connects_per_second,
            ..Default::default()
        };
        let cameras = Cameras::new(settings, source::sinks(engine.clone(), cameras_room));
        let recorder = config.recording.enabled.then(|| {
            let root = config.recordings_folder();
            recording::Setup { root, reserve_bytes: config.recording.reserve_bytes(), identity }
        });
        let shared = Arc::new(Shared {
            store,
            engine,
            cameras,
            cameras_room,
            recorder,
            rooms: dashmap::DashMap::new(),
            tasks: Tasks::default(),
            sealing: Tasks::default(),
            stopping: false.into(),
            revocations,
        });
        let wall = wall::open(&shared);
        let live = Live { shared, wall };
        live.register_cameras().await.context("cannot read the cameras from the database")?;
        live.restore().await.context("cannot read the unfinished sessions from the database")?;
        tokio::spawn(dispatch(live.clone(), events));
        Ok(live)
    }

    /// How many people are in a room, lobby included.
    pub fn people(&self, room: RoomId) -> u32 {
        self.shared.rooms.get(&room).map_or(0, |handle| handle.people())
    }

    /// How many people wait in the lobby of a room.
    pub fn waiting(&self, room: RoomId) -> u32 {
        self.shared.rooms.get(&room).map_or(0, |handle| handle.waiting())
    }

    /// Whether a session is running in a room.
    pub fn is_live(&self, room: RoomId) -> bool {
        self.shared.rooms.get(&room).is_some_and(|handle| handle.is_live())
    }

    /// Whether the server is stopping: nobody new is let in.
    pub fn is_stopping(&self) -> bool {
        self.shared.is_stopping()
    }

    /// Open rooms and the people in them, for metrics.
    pub fn totals(&self) -> (u64, u64) {
        self.shared
            .rooms
            .iter()
            .fold((0, 0), |(rooms, people), room| (rooms + 1, people + u64::from(room.people())))
    }

    /// What became of connections to cameras, for metrics.
    pub fn camera_counts(&self) -> [(&'static str, u64); 5] {
        self.shared.cameras.counts()
    }

    /// What a camera is doing.
    pub fn camera_status(&self, camera: CameraId) -> CameraStatus {
        self.shared
            .cameras
            .status(camera)
            .map_or_else(camera_status::unusable, |status| camera_status::to_api(&status))
    }

    /// Makes a camera known that is in the store, or tells that its address or credentials there changed. One that
    /// cannot be used shows as unreachable.
    pub async fn camera_added(&self, camera: &hewei_store::Camera) -> Result<(), Problem> {
        // Never the address itself in an error: it may hold a password.
        let address = camera
            .url
            .parse::<hewei_cameras::Address>()
            .map_err(|error| Problem::invalid(error.to_string()))?;
        let credentials = self.shared.store.camera_credentials(camera.id).await?;
        let credentials = credentials
            .map(|found| hewei_cameras::Credentials { user: found.username, password: found.password });
        self.shared.cameras.register(hewei_cameras::Camera { id: camera.id, address, credentials });
        Ok(())
    }

    /// Ends all rooms and walls, and waits until their recordings are sealed. New ones are refused from here on.
    pub async fn shutdown(&self) {
        let begun = Instant::now();
        self.shared.stopping.store(true, Ordering::Release);
        self.wall.stop();
        let rooms: Vec<room::Handle> = self.shared.rooms.iter().map(|room| room.value().clone()).collect();
        let ended = async {
            // All at once: a room whose queue stays full holds up no other.
            for room in rooms {
                tokio::spawn(async move { room.send(room::Command::Stop).await });
            }
            self.shared.tasks.finish(begun + ROOMS_END_MAX).await
        };
        if !ended.await {
            tracing::error!("some rooms did not end in time");
        }
        if !self.shared.sealing.finish(begun + SEALED_MAX).await {
            tracing::error!("some recordings were not sealed in time");
        }
        self.shared.cameras.shutdown().await;
    }

    async fn register_cameras(&self) -> Result<(), hewei_store::Error> {
        let mut after = None;
        loop {
            let page = self.shared.store.cameras(after, hewei_store::LIST_LIMIT_MAX).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.number);
            for camera in &page {
                if let Err(problem) = self.camera_added(camera).await {
                    // The others work all the same.
                    let problem = problem.into_body();
                    tracing::error!(camera = %camera.id, problem = %problem.detail, "camera cannot be used");
                }
            }
        }
    }

    /// Takes up the sessions that an earlier run did not end, each in its room, for its people to come back to.
    async fn restore(&self) -> Result<(), hewei_store::Error> {
        for session in self.shared.store.live_sessions().await? {
            let id = session.room_id;
            let Some(info) = self.info(id).await? else { continue };
            self.shared.rooms.insert(id, room::open(&self.shared, info, Some(session)));
        }
        Ok(())
    }

    /// What is known of a room, if there is one.
    async fn info(&self, id: RoomId) -> Result<Option<room::Info>, hewei_store::Error> {
        let Some(room) = self.shared.store.room(id).await? else { return Ok(None) };
        let Some(case) = self.shared.store.case(room.case_id).await? else { return Ok(None) };
        Ok(Some(room::Info {
            id,
            name: room.name,
            case_id: case.id,
            case_number: case.number,
            case_title: case.title,
        }))
    }

    /// Somebody comes into a room at a browser. Gives the room to speak to.
    async fn enter(&self, room: RoomId, entry: room::Entry) -> Result<room::Handle, Problem> {
        for _ in 0..TRIES {
            let handle = self.open(room).await?;
            let (reply, answer) = oneshot::channel();
            if handle.send(room::Command::Enter { entry: entry.clone(), reply }).await
                && let Ok(result) = answer.await
            {
                return result.map(|()| handle);
            }
        }
        Err(problems::busy("The room is closing"))
    }

    /// A WHIP or WHEP client comes into a room.
    async fn enter_http(&self, room: RoomId, entry: room::HttpEntry) -> Result<room::HttpSession, Problem> {
        for _ in 0..TRIES {
            let handle = self.open(room).await?;
            let (reply, answer) = oneshot::channel();
            if handle.send(room::Command::Http { entry: entry.clone(), reply }).await
                && let Ok(result) = answer.await
            {
                return result;
            }
        }
        Err(problems::busy("The room is closing"))
    }

    /// A WHIP or WHEP client asks something of its session in a room.
    async fn ask_http(
        &self,
        room: RoomId,
        owner: ParticipantId,
        peer: PeerId,
        ask: http_session::Ask,
    ) -> Result<http_session::Said, Problem> {
        let handle = self.shared.rooms.get(&room).map(|handle| handle.value().clone());
        let gone = || Problem::not_found("media session");
        let handle = handle.ok_or_else(gone)?;
        let (reply, answer) = oneshot::channel();
        if !handle.send(room::Command::Session { owner, peer, ask, reply }).await {
            return Err(gone());
        }
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    /// The open room, or a new one.
    async fn open(&self, id: RoomId) -> Result<room::Handle, Problem> {
        if self.shared.is_stopping() {
            return Err(problems::busy("The server is stopping"));
        }
        if let Some(handle) = self.shared.rooms.get(&id) {
            return Ok(handle.value().clone());
        }
        let info = self.info(id).await?.ok_or_else(|| Problem::not_found("room"))?;
        let handle = self.shared.rooms.entry(id).or_insert_with(|| room::open(&self.shared, info, None));
        Ok(handle.value().clone())
    }
}

/// Hands the engine's events to the rooms they are of. Never waits for a room (see [`inbox`]).
async fn dispatch(live: Live, mut events: mpsc::Receiver<Event>) {
    while let Some(event) = events.recv().await {
        let room = room::room_of(&event);
        if room == live.shared.cameras_room {
            live.wall.event(event);
        } else if let Some(handle) = live.shared.rooms.get(&room) {
            handle.event(event);
        }
        // Events of a closed room tell of its end, which is known.
    }
}
