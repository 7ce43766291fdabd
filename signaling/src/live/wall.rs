//! All cameras that are being watched: one task that owns who watches which of them, under which purpose.
//!
//! The cameras share one routing room. A camera's audience is those who opened it under a purpose of their own that
//! lives; when it runs out, the audience goes first and the wall is closed then. The recorder never gets a camera.

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that panics has failed")]
mod tests;
mod viewer;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use hewei_api::ws::{ClientMessage, EndReason, ServerMessage, SlotCount, WallTile};
use hewei_cameras::Status;
use hewei_engine::{CloseReason, Event, Offer, SlotFill};
use hewei_model::{Audience, CameraId, MediaKind, ParticipantId, PeerId, Publisher, WallId};
use time::OffsetDateTime;
use tokio::sync::{broadcast, mpsc, oneshot};
use tracing::Instrument;

use self::viewer::Viewer;
use super::{
    camera_status,
    http_session::{self, Ask, Said},
    inbox::Inbox,
    outbox::Outbox,
    problems, room,
    shared::Shared,
};
use crate::{
    auth::{Claims, TokenError},
    problem::Problem,
};

/// Commands wait in line while audiences take effect; some from each viewer.
const COMMANDS_MAX: usize = 256;
/// Walls and single cameras watched at once.
const VIEWERS_MAX: usize = 256;
/// A WHEP client that has no media connection after this is given up.
const CONNECT_MAX: Duration = Duration::from_secs(30);
/// Of one token, so that nobody takes all places: a desk with some screens.
const VIEWERS_OWNER_MAX: usize = 8;
/// Slots for sound a wall begins with; more come by `need_slots`.
const SOUNDS_AT_FIRST: usize = 9;

/// What is opened: a wall at a browser, or one camera by WHEP.
#[derive(Debug, Clone)]
pub(super) struct Opening {
    pub(super) claims: Claims,
    pub(super) purpose: hewei_store::Purpose,
    pub(super) peer: PeerId,
}

/// A wall and the one who opens it.
#[derive(Debug)]
pub(super) struct WallEntry {
    pub(super) opening: Opening,
    pub(super) wall: hewei_store::Wall,
    pub(super) cameras: Vec<hewei_store::Camera>,
    pub(super) out: Outbox,
}

/// What is watched, for the audit log.
#[derive(Debug, Clone, Copy)]
enum Target {
    Wall(WallId),
    Camera(CameraId),
}

#[derive(Debug)]
pub(super) enum Command {
    Open {
        entry: Box<WallEntry>,
        reply: oneshot::Sender<Result<(), Problem>>,
    },
    Watch {
        opening: Box<Opening>,
        camera: CameraId,
        sdp: String,
        reply: oneshot::Sender<Result<String, Problem>>,
    },
    Said {
        peer: PeerId,
        message: ClientMessage,
    },
    Closed {
        peer: PeerId,
    },
    Session {
        owner: ParticipantId,
        peer: PeerId,
        ask: Ask,
        reply: oneshot::Sender<Result<Said, Problem>>,
    },
    Stop,
}

/// The way to the task.
#[derive(Debug, Clone)]
pub(super) struct Handle {
    commands: mpsc::Sender<Command>,
    inbox: Arc<Inbox>,
}

impl Handle {
    /// False when the server is stopping.
    pub(super) async fn send(&self, command: Command) -> bool {
        self.commands.send(command).await.is_ok()
    }

    /// Opens a wall.
    pub(super) async fn open(&self, entry: WallEntry) -> Result<(), Problem> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Open { entry: Box::new(entry), reply }).await;
        answer.await.unwrap_or_else(|_| Err(problems::busy("The server is stopping")))
    }

    /// Opens one camera to a WHEP client; gives the SDP answer.
    pub(super) async fn watch(
        &self,
        opening: Opening,
        camera: CameraId,
        sdp: String,
    ) -> Result<String, Problem> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Watch { opening: Box::new(opening), camera, sdp, reply }).await;
        answer.await.unwrap_or_else(|_| Err(problems::busy("The server is stopping")))
    }

    /// A WHEP client asks something of its session.
    pub(super) async fn ask(&self, owner: ParticipantId, peer: PeerId, ask: Ask) -> Result<Said, Problem> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Session { owner, peer, ask, reply }).await;
        answer.await.unwrap_or_else(|_| Err(Problem::not_found("media session")))
    }

    pub(super) fn event(&self, event: Event) {
        self.inbox.put(event);
    }

    /// Closes all walls. When the queue is full the task learns it from the flag of [`Shared`] within a second.
    pub(super) fn stop(&self) {
        let _ = self.commands.try_send(Command::Stop);
    }
}

struct Walls {
    shared: Arc<Shared>,
    viewers: Vec<Viewer>,
    in_effect: BTreeMap<CameraId, BTreeSet<ParticipantId>>,
    to_tell: Vec<(Outbox, ServerMessage)>,
    over: bool,
}

/// Starts the task.
pub(super) fn open(shared: &Arc<Shared>) -> Handle {
    let (sender, receiver) = mpsc::channel(COMMANDS_MAX);
    let inbox = Arc::new(Inbox::default());
    let walls = Walls {
        shared: shared.clone(),
        viewers: Vec::new(),
        in_effect: BTreeMap::new(),
        to_tell: Vec::new(),
        over: false,
    };
    let span = tracing::info_span!("walls", room = %shared.cameras_room);
    shared.tasks.spawn(walls.run(receiver, inbox.clone()).instrument(span));
    Handle { commands: sender, inbox }
}

impl Walls {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>, inbox: Arc<Inbox>) {
        let mut changes = self.shared.cameras.subscribe();
        let mut revoked = self.shared.revocations.subscribe();
        while !self.over {
            let next = self.until_next_end();
            tokio::select! {
                biased;
                events = inbox.take() => {
                    for event in events {
                        self.on_event(event).await;
                    }
                }
                command = commands.recv() => match command {
                    Some(command) => self.on_command(command).await,
                    None => self.end().await,
                },
                change = changes.recv() => match change {
                    Ok((camera, status)) => self.camera_changed(camera, &status),
                    Err(broadcast::error::RecvError::Lagged(_)) => self.all_cameras_changed(),
                    Err(broadcast::error::RecvError::Closed) => self.end().await,
                },
                Ok(()) = revoked.changed() => {}
                () = tokio::time::sleep(next) => {}
            }
            // At every turn, and not only when there is nothing else to do: a purpose ends however many messages come.
            self.on_tick().await;
            self.settle().await;
        }
    }

    async fn on_command(&mut self, command: Command) {
        match command {
            Command::Open { entry, reply } => {
                let peer = entry.opening.peer;
                let result = self.open(*entry).await;
                self.settle().await;
                if reply.send(result).is_err() {
                    self.close(peer).await;
                }
            }
            Command::Watch { opening, camera, sdp, reply } => {
                let peer = opening.peer;
                let result = self.watch(*opening, camera, sdp).await;
                self.settle().await;
                if reply.send(result).is_err() {
                    self.close(peer).await;
                }
            }
            Command::Said { peer, message } => self.said(peer, message).await,
            Command::Closed { peer } => self.close(peer).await,
            Command::Session { owner, peer, ask, reply } => {
                let result = self.ask_session(owner, peer, ask).await;
                self.settle().await;
                // Whoever asked may be gone; it is done all the same.
                let _ = reply.send(result);
            }
            Command::Stop => self.end().await,
        }
    }

    async fn ask_session(&mut self, owner: ParticipantId, peer: PeerId, ask: Ask) -> Result<Said, Problem> {
        let (shared, room) = (self.shared.clone(), self.shared.cameras_room);
        let viewer = self.viewers.iter_mut().find(|viewer| viewer.peer == peer && viewer.out.is_none());
        let viewer = viewer.ok_or_else(|| Problem::not_found("media session"))?;
        if viewer.claims.participant != owner {
            return Err(problems::other_token());
        }
        match ask {
            Ask::Look => Ok(Said::Done),
            Ask::Ice { wanted, fragment } => {
                http_session::ice(&shared, room, peer, &mut viewer.ice_restarts, &wanted, &fragment).await
            }
            Ask::End => {
                self.close(peer).await;
                Ok(Said::Done)
            }
        }
    }

    async fn open(&mut self, entry: WallEntry) -> Result<(), Problem> {
        let WallEntry { opening, wall, cameras, out } = entry;
        let ids: Vec<CameraId> = cameras.iter().map(|camera| camera.id).collect();
        self.add(opening.clone(), Target::Wall(wall.id), ids, Some(out.clone())).await?;
        let slots =
            SlotCount { audio: cameras.len().min(SOUNDS_AT_FIRST) as u32, video: cameras.len() as u32 };
        let tiles = cameras
            .into_iter()
            .map(|camera| WallTile {
                camera_id: camera.id.to_string(),
                number: camera.number,
                name: camera.name,
                status: self
                    .shared
                    .cameras
                    .status(camera.id)
                    .map_or_else(camera_status::unusable, |status| camera_status::to_api(&status)),
            })
            .collect();
        let welcome = ServerMessage::WelcomeWall {
            wall_name: wall.name,
            tiles,
            purpose_expires_at: crate::wire::rfc3339(opening.purpose.expires_at),
            slots,
            // The socket knows by which address it came.
            ice_servers: Vec::new(),
        };
        self.to_tell.push((out, welcome));
        Ok(())
    }

    async fn watch(&mut self, opening: Opening, camera: CameraId, sdp: String) -> Result<String, Problem> {
        let peer = opening.peer;
        if self.shared.cameras.status(camera).is_none() {
            return Err(Problem::not_found("camera"));
        }
        self.add(opening, Target::Camera(camera), vec![camera], None).await?;
        self.apply_audiences().await;
        let answer = self.offer(peer, SlotFill::Only(Publisher::Camera(camera)), sdp).await;
        if answer.is_err() {
            self.close(peer).await;
        }
        answer
    }

    /// Takes a viewer in. What cannot be written to the audit log is not opened.
    async fn add(
        &mut self,
        opening: Opening,
        target: Target,
        cameras: Vec<CameraId>,
        out: Option<Outbox>,
    ) -> Result<(), Problem> {
        let Opening { claims, purpose, peer } = opening;
        if self.shared.revocations.ended(claims.origin) {
            // Since its token was checked.
            return Err(TokenError::Revoked.into());
        }
        if self.viewers.len() >= VIEWERS_MAX {
            return Err(problems::busy("Too many walls are open"));
        }
        let of_owner = self.viewers.iter().filter(|other| other.claims.participant == claims.participant);
        if of_owner.count() >= VIEWERS_OWNER_MAX {
            return Err(problems::too_many_open(VIEWERS_OWNER_MAX));
        }
        // The purpose may have run out on the way here.
        if !purpose.is_live_for(claims.participant, OffsetDateTime::now_utc()) {
            return Err(problems::purpose_required());
        }
        let mut demands = Vec::with_capacity(cameras.len());
        for camera in &cameras {
            // One that cannot be used has a tile that says so.
            demands.extend(self.shared.cameras.demand(*camera).ok());
        }
        let viewer = Viewer {
            id: ParticipantId::generate(),
            claims,
            purpose,
            target,
            cameras,
            _demands: demands,
            peer,
            out,
            connected: false,
            since: Instant::now(),
            ice_restarts: 0,
        };
        self.shared.store.audit(&viewer.audit("open")).await?;
        tracing::info!(viewer = %viewer.id, cameras = viewer.cameras.len(), "opened");
        self.viewers.push(viewer);
        Ok(())
    }

    /// Takes a viewer out. Unknown peers are nobody's.
    async fn close(&mut self, peer: PeerId) {
        let Some(place) = self.viewers.iter().position(|viewer| viewer.peer == peer) else { return };
        let viewer = self.viewers.remove(place);
        self.apply_audiences().await;
        self.shared.engine.close_peer(self.shared.cameras_room, peer);
        if let Err(error) = self.shared.store.audit(&viewer.audit("close")).await {
            tracing::error!(%error, viewer = %viewer.id, "the end of a viewing could not be written to the audit log");
        }
        tracing::info!(viewer = %viewer.id, "closed");
    }

    async fn said(&mut self, peer: PeerId, message: ClientMessage) {
        let Some(out) = self.viewer(peer).and_then(|viewer| viewer.out.clone()) else { return };
        let result = match message {
            ClientMessage::Offer { offer_id, sdp } => self
                .offer(peer, SlotFill::Follow, sdp)
                .await
                .map(|sdp| Some(ServerMessage::Answer { offer_id, sdp })),
            ClientMessage::Leave => {
                self.close(peer).await;
                return;
            }
            // The socket itself answers these.
            ClientMessage::Hello { .. } | ClientMessage::Ping => Ok(None),
            ClientMessage::SetMuted { .. }
            | ClientMessage::SetConsent { .. }
            | ClientMessage::View { .. }
            | ClientMessage::Admit { .. }
            | ClientMessage::Remove { .. }
            | ClientMessage::EndSession => Err(problems::not_on_a_wall()),
        };
        let message =
            result.unwrap_or_else(|problem| Some(ServerMessage::Error { problem: problem.into_body() }));
        self.to_tell.extend(message.map(|message| (out, message)));
    }

    async fn offer(&self, peer: PeerId, fill: SlotFill, sdp: String) -> Result<String, Problem> {
        let participant = self.viewer(peer).ok_or_else(|| Problem::not_found("media session"))?.id;
        let offer = Offer { room: self.shared.cameras_room, participant, peer, publish: false, fill, sdp };
        room::answer(&self.shared, offer).await
    }

    async fn on_event(&mut self, event: Event) {
        match event {
            Event::PeerConnected { peer, .. } => self.connected(peer, true),
            Event::PeerClosed { peer, reason, .. } => {
                let has_socket = self.viewer(peer).is_some_and(|viewer| viewer.out.is_some());
                if reason == CloseReason::ClosedByPeer && has_socket {
                    self.connected(peer, false);
                } else {
                    // As in a room: a browser's socket goes with its media, and both come back together. A WHEP client
                    // comes back by another request.
                    self.close(peer).await;
                }
            }
            Event::Slots { peer, slots, .. } => self.tell(peer, room::plan(slots)),
            Event::NeedSlots { peer, audio, video, .. } => {
                self.tell(peer, ServerMessage::NeedSlots { slots: SlotCount { audio, video } });
            }
            // Nobody publishes here but cameras.
            Event::Layers { .. } | Event::TrackStarted { .. } | Event::TrackEnded { .. } => {}
        }
    }

    fn connected(&mut self, peer: PeerId, connected: bool) {
        if let Some(viewer) = self.viewers.iter_mut().find(|viewer| viewer.peer == peer) {
            viewer.connected = connected;
        }
    }

    async fn on_tick(&mut self) {
        if self.shared.is_stopping() {
            return self.end().await;
        }
        let now = OffsetDateTime::now_utc();
        let ended: Vec<(PeerId, Option<Outbox>, EndReason)> = self
            .viewers
            .iter()
            .filter_map(|viewer| {
                let silent = !viewer.connected && viewer.since.elapsed() > CONNECT_MAX;
                let reason = if viewer.purpose.expires_at <= now {
                    EndReason::PurposeExpired
                } else if self.shared.revocations.ended(viewer.claims.origin) {
                    EndReason::AccessEnded
                } else if viewer.claims.open_until <= now || (viewer.out.is_none() && silent) {
                    EndReason::TokenExpired
                } else {
                    return None;
                };
                Some((viewer.peer, viewer.out.clone(), reason))
            })
            .collect();
        for (peer, out, reason) in ended {
            self.close(peer).await;
            self.to_tell.extend(out.map(|out| (out, ServerMessage::Ended { reason, recording_id: None })));
        }
    }

    /// Until the next purpose or token ends, and a second at most.
    fn until_next_end(&self) -> Duration {
        let now = OffsetDateTime::now_utc();
        let second = Duration::from_secs(1);
        self.viewers
            .iter()
            .map(|viewer| viewer.purpose.expires_at.min(viewer.claims.open_until) - now)
            .map(|left| Duration::try_from(left).unwrap_or(Duration::ZERO))
            .fold(second, Duration::min)
    }

    async fn end(&mut self) {
        let peers: Vec<(PeerId, Option<Outbox>)> =
            self.viewers.iter().map(|viewer| (viewer.peer, viewer.out.clone())).collect();
        for (peer, out) in peers {
            self.close(peer).await;
            let ended = ServerMessage::Ended { reason: EndReason::ServerStopping, recording_id: None };
            self.to_tell.extend(out.map(|out| (out, ended)));
        }
        self.over = true;
    }

    /// Audiences first, then people are told. Who does not read is given up.
    async fn settle(&mut self) {
        loop {
            self.apply_audiences().await;
            let mut lost = Vec::new();
            for (out, message) in std::mem::take(&mut self.to_tell) {
                if !out.send(message) {
                    let of_out = |viewer: &&Viewer| viewer.out.as_ref().is_some_and(|other| other.is(&out));
                    lost.extend(self.viewers.iter().find(of_out).map(|viewer| viewer.peer));
                }
            }
            if lost.is_empty() {
                break;
            }
            for peer in lost {
                self.close(peer).await;
            }
        }
    }

    async fn apply_audiences(&mut self) {
        let mut wanted: BTreeMap<CameraId, BTreeSet<ParticipantId>> = BTreeMap::new();
        for viewer in &self.viewers {
            for camera in &viewer.cameras {
                wanted.entry(*camera).or_default().insert(viewer.id);
            }
        }
        let gone = self.in_effect.keys().filter(|camera| !wanted.contains_key(camera));
        let mut changes: Vec<(CameraId, BTreeSet<ParticipantId>)> =
            gone.map(|camera| (*camera, BTreeSet::new())).collect();
        let changed = wanted.iter().filter(|(camera, viewers)| self.in_effect.get(camera) != Some(viewers));
        changes.extend(changed.map(|(camera, viewers)| (*camera, viewers.clone())));
        for (camera, participants) in changes {
            for kind in [MediaKind::Audio, MediaKind::Video] {
                let audience = Audience { participants: participants.clone(), recorder: false };
                let room = self.shared.cameras_room;
                self.shared.engine.set_audience(room, Publisher::Camera(camera), kind, audience).await;
            }
        }
        self.in_effect = wanted;
    }

    fn camera_changed(&mut self, camera: CameraId, status: &Status) {
        let status = camera_status::to_api(status);
        for viewer in self.viewers.iter().filter(|viewer| viewer.cameras.contains(&camera)) {
            let changed =
                ServerMessage::CameraChanged { camera_id: camera.to_string(), status: status.clone() };
            self.to_tell.extend(viewer.out.clone().map(|out| (out, changed)));
        }
    }

    /// Some changes were missed: all states anew.
    fn all_cameras_changed(&mut self) {
        let cameras: BTreeSet<CameraId> = self.in_effect.keys().copied().collect();
        for camera in cameras {
            if let Some(status) = self.shared.cameras.status(camera) {
                self.camera_changed(camera, &status);
            }
        }
    }

    fn viewer(&self, peer: PeerId) -> Option<&Viewer> {
        self.viewers.iter().find(|viewer| viewer.peer == peer)
    }

    fn tell(&mut self, peer: PeerId, message: ServerMessage) {
        let out = self.viewer(peer).and_then(|viewer| viewer.out.clone());
        self.to_tell.extend(out.map(|out| (out, message)));
    }
}
