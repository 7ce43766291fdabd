//! One mediation room while somebody is in it: a task that owns its seats, its session and its audiences.
//!
//! Commands come in over one bounded queue, the engine's events over the [`Inbox`]. After each of them the task
//! *settles*: first the audiences take effect in the engine, then what outlives the server is written down
//! ([`kept`]), then people are told ([`effect`]). So nobody ever reads of a change that is not in force or that a
//! crash would undo.

mod audit;
mod effect;
mod entry;
mod kept;
mod media;
mod said;
mod seat;
mod session;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that panics has failed")]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use hewei_api::ws::{ClientMessage, EndReason, Page, ServerMessage};
use hewei_engine::SlotFill;
use hewei_model::{Audience, CaseId, MediaKind, ParticipantId, PeerId, RoomId};
use time::OffsetDateTime;
use tokio::sync::{mpsc, oneshot};
use tracing::Instrument;

pub(super) use self::media::{answer, plan, room_of};
use self::{kept::Kept, seat::Seat, session::Session};
use super::{
    http_session::{Ask, Said},
    inbox::Inbox,
    outbox::Outbox,
    rate::Rate,
    shared::Shared,
};
use crate::{auth::Claims, problem::Problem};

/// Commands wait in line while the room settles; 256 are some from each of 64 people. A full queue makes the
/// sockets wait, which makes the browsers wait.
const COMMANDS_MAX: usize = 256;
/// People on the list, lobby included.
const PEOPLE_MAX: usize = 64;
/// Seats kept for people who may come back.
const SEATS_MAX: usize = 512;
/// Tokens the mediator may have sent out in one session.
const REMOVED_MAX: usize = 4_096;
/// How long somebody who was lost stays on the list.
const AWAY_LISTED: Duration = Duration::from_secs(60);
/// The session ends when nobody of it has been connected for so long.
const EMPTY_SESSION: Duration = Duration::from_secs(300);
/// A room without a session is closed when nobody has been there for so long.
const EMPTY_ROOM: Duration = Duration::from_secs(2);
/// How often one token may come in: a page that tries again, and a few others with the same link. Each time costs a row of
/// the audit log.
const ENTRIES: (u32, Duration) = (10, Duration::from_secs(10));
/// A WHIP or WHEP client that has no media connection after this is given up.
const CONNECT_MAX: Duration = Duration::from_secs(30);
/// The media of a browser whose socket broke go on for so long: it comes back on another, with an ICE restart.
const MEDIA_KEPT: Duration = Duration::from_secs(10);
/// At most five lists a second: one person's changes must not fill everybody's line.
const LISTS_EVERY: Duration = Duration::from_millis(200);

/// What a room is.
#[derive(Debug, Clone)]
pub(super) struct Info {
    pub(super) id: RoomId,
    pub(super) name: String,
    pub(super) case_id: CaseId,
    pub(super) case_number: String,
    pub(super) case_title: String,
}

/// Somebody at a browser comes in.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) claims: Claims,
    /// Consent to recording.
    pub(super) record: bool,
    /// Which page it is, if it says so.
    pub(super) page: Option<Page>,
    /// Names the socket, and the media connection that begins over it.
    pub(super) socket: PeerId,
    pub(super) out: Outbox,
}

/// A WHIP or WHEP client comes in.
#[derive(Debug, Clone)]
pub(super) struct HttpEntry {
    pub(super) claims: Claims,
    pub(super) kind: HttpKind,
    pub(super) sdp: String,
}

/// What a WHIP or WHEP client wants.
#[derive(Debug, Clone, Copy)]
pub(super) enum HttpKind {
    /// WHIP.
    Publish {
        /// Consent to recording.
        record: bool,
    },
    /// WHEP.
    Watch(SlotFill),
}

/// What a WHIP or WHEP client gets.
#[derive(Debug)]
pub(super) struct HttpSession {
    pub(super) peer: PeerId,
    pub(super) answer: String,
}

/// What a room is asked for.
#[derive(Debug)]
pub(super) enum Command {
    Enter {
        entry: Entry,
        reply: oneshot::Sender<Result<(), Problem>>,
    },
    Said {
        socket: PeerId,
        message: ClientMessage,
    },
    /// `broken`: the line is dead, and whoever was there may come back.
    Closed {
        socket: PeerId,
        broken: bool,
    },
    Http {
        entry: HttpEntry,
        reply: oneshot::Sender<Result<HttpSession, Problem>>,
    },
    Session {
        owner: ParticipantId,
        peer: PeerId,
        ask: Ask,
        reply: oneshot::Sender<Result<Said, Problem>>,
    },
    RecorderFault {
        recording: hewei_model::RecordingId,
        fault: String,
    },
    Stop,
}

/// What the rest of the server holds of an open room.
#[derive(Debug, Clone)]
pub(super) struct Handle {
    commands: mpsc::Sender<Command>,
    inbox: Arc<Inbox>,
    gauges: Arc<Gauges>,
}

#[derive(Debug, Default)]
struct Gauges {
    people: AtomicU32,
    waiting: AtomicU32,
    live: AtomicBool,
}

impl Handle {
    /// False when the room is closed.
    pub(super) async fn send(&self, command: Command) -> bool {
        self.commands.send(command).await.is_ok()
    }

    pub(super) fn event(&self, event: hewei_engine::Event) {
        self.inbox.put(event);
    }

    pub(super) fn people(&self) -> u32 {
        self.gauges.people.load(Ordering::Relaxed)
    }

    pub(super) fn waiting(&self) -> u32 {
        self.gauges.waiting.load(Ordering::Relaxed)
    }

    pub(super) fn is_live(&self) -> bool {
        self.gauges.live.load(Ordering::Relaxed)
    }

    fn is(&self, inbox: &Arc<Inbox>) -> bool {
        Arc::ptr_eq(&self.inbox, inbox)
    }
}

struct Room {
    info: Info,
    shared: Arc<Shared>,
    /// For the recorder's thread to tell of faults.
    commands: mpsc::WeakSender<Command>,
    gauges: Arc<Gauges>,
    seats: Vec<Seat>,
    /// Owners whom the mediator sent out in this session. They hold no seat that was let in, and none of their
    /// connections comes in without the mediator's leave, whatever the role.
    removed: BTreeSet<ParticipantId>,
    /// How often who came lately may come again; forgotten once it is as often as at first.
    entries: BTreeMap<ParticipantId, Rate>,
    session: Option<Session>,
    /// What the database holds of it.
    kept: Kept,
    /// What the engine enforces now; what is not here is nobody.
    in_effect: BTreeMap<(ParticipantId, MediaKind), Audience>,
    /// Told once the audiences are in effect.
    to_tell: Vec<(Outbox, ServerMessage)>,
    /// From when on the lists may go out again.
    lists_next: Instant,
    /// There may be something new in them.
    lists_waiting: bool,
    /// Since when nobody who was let in is connected.
    empty_since: Instant,
    over: bool,
}

/// Starts the task of a room, with the session that an earlier run of the server did not end if there is one. The
/// caller puts the handle into the directory.
pub(super) fn open(shared: &Arc<Shared>, info: Info, unfinished: Option<hewei_store::LiveSession>) -> Handle {
    let (sender, receiver) = mpsc::channel(COMMANDS_MAX);
    let inbox = Arc::new(Inbox::default());
    let gauges = Arc::<Gauges>::default();
    let span = tracing::info_span!("room", room = %info.id);
    let mut room = Room { gauges: gauges.clone(), ..Room::new(info, shared, sender.downgrade()) };
    if let Some(session) = unfinished {
        room.restore(session);
    }
    room.show_gauges();
    shared.tasks.spawn(room.run(receiver, inbox.clone()).instrument(span));
    Handle { commands: sender, inbox, gauges }
}

impl Room {
    fn new(info: Info, shared: &Arc<Shared>, commands: mpsc::WeakSender<Command>) -> Self {
        Self {
            info,
            shared: shared.clone(),
            commands,
            gauges: Arc::default(),
            seats: Vec::new(),
            removed: BTreeSet::new(),
            entries: BTreeMap::new(),
            session: None,
            kept: Kept::default(),
            in_effect: BTreeMap::new(),
            to_tell: Vec::new(),
            lists_next: Instant::now(),
            lists_waiting: false,
            empty_since: Instant::now(),
            over: false,
        }
    }

    async fn run(mut self, mut commands: mpsc::Receiver<Command>, inbox: Arc<Inbox>) {
        tracing::info!("room opened");
        self.shared.engine.open_room(self.info.id);
        let second = Duration::from_secs(1);
        let mut tick = tokio::time::interval_at(tokio::time::Instant::now() + second, second);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut revoked = self.shared.revocations.subscribe();
        while !self.over {
            let (lists_next, lists_waiting) = (self.lists_next, self.lists_waiting);
            tokio::select! {
                biased;
                events = inbox.take() => events.into_iter().for_each(|event| self.on_event(event)),
                command = commands.recv() => match command {
                    Some(command) => self.on_command(command).await,
                    None => self.end(EndReason::ServerStopping).await,
                },
                () = tokio::time::sleep_until(lists_next.into()), if lists_waiting => {}
                Ok(()) = revoked.changed() => {}
                _ = tick.tick() => {}
            }
            // At every turn, and not only when there is nothing else to do: access ends however many messages come.
            self.on_tick(Instant::now()).await;
            self.settle().await;
        }
        // In this order: who comes in from here on gets a new task, and the engine a new room.
        self.shared.engine.close_room(self.info.id);
        self.shared.rooms.remove_if(&self.info.id, |_, handle| handle.is(&inbox));
        tracing::info!("room closed");
    }

    async fn on_command(&mut self, command: Command) {
        match command {
            Command::Enter { entry, reply } => {
                let socket = entry.socket;
                let result = self.enter(entry).await;
                self.settle().await;
                if reply.send(result).is_err() {
                    self.closed(socket, true);
                }
            }
            Command::Said { socket, message } => self.said(socket, message).await,
            Command::Closed { socket, broken } => self.closed(socket, broken),
            Command::Http { entry, reply } => {
                let result = self.enter_http(entry).await;
                let peer = result.as_ref().ok().map(|session| session.peer);
                self.settle().await;
                if let (Err(_), Some(peer)) = (reply.send(result), peer) {
                    self.unlink(peer);
                }
            }
            Command::Session { owner, peer, ask, reply } => {
                let result = self.ask_session(owner, peer, ask).await;
                self.settle().await;
                // Whoever asked may be gone; it is done all the same.
                let _ = reply.send(result);
            }
            Command::RecorderFault { recording, fault } => self.recorder_fault(recording, &fault),
            Command::Stop => self.end(EndReason::ServerStopping).await,
        }
    }

    async fn on_tick(&mut self, now: Instant) {
        let utc = OffsetDateTime::now_utc();
        let links = self.seats.iter().filter_map(|seat| seat.link.as_ref());
        let given_up: Vec<(PeerId, EndReason)> = links
            .filter_map(|link| {
                let unconnected = !link.connected && now.duration_since(link.since) > CONNECT_MAX;
                let broken = |since| now.saturating_duration_since(since) > MEDIA_KEPT;
                let given_up = link.broken_since.map_or(link.out.is_none() && unconnected, broken);
                if self.shared.revocations.ended(link.origin) {
                    Some((link.peer, EndReason::AccessEnded))
                } else if link.open_until <= utc || given_up {
                    Some((link.peer, EndReason::TokenExpired))
                } else {
                    None
                }
            })
            .collect();
        for (peer, reason) in given_up {
            let out = self.seat_of(peer).and_then(|seat| seat.link.as_ref()?.out.clone());
            match reason {
                // Nobody is waited for.
                EndReason::AccessEnded => self.leave(peer),
                _ => self.unlink(peer),
            }
            self.tell(out, ServerMessage::Ended { reason, recording_id: None });
        }
        for seat in &mut self.seats {
            if seat.away_since.is_some_and(|since| now.duration_since(since) > AWAY_LISTED) {
                seat.listed = false;
            }
        }
        self.entries.retain(|_, rate| !rate.is_full(now));
        // Who never was let in has nothing to come back to.
        self.seats.retain(|seat| seat.listed || seat.admitted);

        if self.seats.iter().any(Seat::present) {
            self.empty_since = now;
        }
        let empty = now.duration_since(self.empty_since);
        if self.session.is_some() {
            if empty > EMPTY_SESSION {
                tracing::info!("nobody came back: the session ends");
                self.finish_session().await;
                // Those in the lobby go on waiting, for the next session.
                self.seats.retain(|seat| seat.lobby() && seat.listed);
                self.removed.clear();
            }
        } else if empty > EMPTY_ROOM && !self.seats.iter().any(|seat| seat.listed) {
            self.over = true;
        }
    }

    /// The media connection of whom this socket belongs to.
    fn peer_at(&self, socket: PeerId) -> Option<PeerId> {
        let mut links = self.seats.iter().filter_map(|seat| seat.link.as_ref());
        links.find(|link| link.socket == socket).map(|link| link.peer)
    }

    fn seat_of(&self, peer: PeerId) -> Option<&Seat> {
        self.seats.iter().find(|seat| seat.link.as_ref().is_some_and(|link| link.peer == peer))
    }

    fn seat_of_mut(&mut self, peer: PeerId) -> Option<&mut Seat> {
        self.seats.iter_mut().find(|seat| seat.link.as_ref().is_some_and(|link| link.peer == peer))
    }

    fn seat_mut(&mut self, id: ParticipantId) -> Option<&mut Seat> {
        self.seats.iter_mut().find(|seat| seat.id == id)
    }

    /// Has a message go out once the audiences are in effect.
    fn tell(&mut self, out: Option<Outbox>, message: ServerMessage) {
        self.to_tell.extend(out.map(|out| (out, message)));
    }
}
