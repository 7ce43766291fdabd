//! The shards: how they start, how commands find them, and what they know of each other.

mod door;
mod peers;
mod rooms;
mod run;
mod stray;

use std::{
    any::Any,
    io,
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use crossbeam_channel::Sender;
use dashmap::{DashMap, Entry};
use hewei_model::{Publisher, RoomId};
use hewei_peer::{Candidate, Identity, stun};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::sync::{mpsc, oneshot};

use crate::{
    Config, Event, SourceWriter, StartError, Unwanted, byte_ring,
    command::{Addressed, Command},
    counters::Counters,
    source,
    streams::Newcomer,
    sys,
};

/// Commands waiting for a shard: a burst of joins of a few hundred people.
const COMMANDS_MAX: usize = 1_024;
/// Events waiting for the server before a shard keeps them itself.
const EVENTS_MAX: usize = 4_096;
/// Bytes of strays between two shards: half a second of one publisher at 2 Mbit/s, drained at every turn.
const STRAYS: usize = 256 * 1024;
/// What a socket may hold while its shard is busy: 20 ms of 1 Gbit/s. A flood fills it first: with small datagrams it
/// is some 10,000 of them (`docs/limits.md`).
const SOCKET_BUFFER: usize = 4 * 1024 * 1024;
/// rtc-dtls joins the fragments of a handshake by recursion.
const SHARD_STACK: usize = 8 * 1024 * 1024;

/// Ends a shard's wait. Signals once between two turns of its loop, however often it is asked.
#[derive(Debug)]
pub(crate) struct Waker {
    counter: sys::EventCounter,
    signalled: AtomicBool,
}

impl Waker {
    fn new() -> io::Result<Self> {
        Ok(Self { counter: sys::EventCounter::new()?, signalled: AtomicBool::new(false) })
    }

    pub(crate) fn wake(&self) {
        if !self.signalled.swap(true, Ordering::AcqRel) {
            self.counter.signal();
        }
    }

    /// Waits, and is ready for the next wake when it returns; look at the queues after it.
    fn wait(&self, socket: &UdpSocket, watched: &mut sys::Watched, time: Duration) {
        // First the counter, then the flag: whoever wakes in between signals again.
        if sys::wait(socket, &self.counter, watched, time) {
            self.counter.reset();
        }
        self.signalled.swap(false, Ordering::AcqRel);
    }
}

/// What every shard may look up.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    /// The shard of each room.
    rooms: DashMap<RoomId, usize>,
    /// The shard that answers to a user-name fragment.
    ufrags: DashMap<String, usize>,
    /// The shard whose peer sends from an address.
    addresses: DashMap<SocketAddr, usize>,
}

/// All shards of an engine.
pub(crate) struct Shards {
    shards: Vec<ShardHandle>,
    directory: Arc<Directory>,
    next: AtomicUsize,
    port: u16,
}

struct ShardHandle {
    commands: Sender<Addressed>,
    waker: Arc<Waker>,
    counters: Arc<Counters>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Shards {
    pub(crate) fn start(config: Config) -> Result<(Self, mpsc::Receiver<Event>), StartError> {
        let count = match config.shards {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            count => count,
        };
        let setup = |error: &dyn std::fmt::Display| StartError::Setup(error.to_string());
        let identity = Identity::generate().map_err(|error| setup(&error))?;
        let directory = Arc::new(Directory::default());
        let (events, receiver) = mpsc::channel(EVENTS_MAX);

        let bind = |port| bind(config.bind, port).map_err(|source| StartError::Bind { port, source });
        let first = bind(config.port)?;
        let port = first.local_addr().map_err(|error| setup(&error))?.port();
        let mut sockets = vec![first];
        for _ in 1..count {
            sockets.push(bind(port)?);
        }
        // The system doubles what was asked for, to cover its bookkeeping.
        let granted = SockRef::from(&sockets[0]).recv_buffer_size().unwrap_or(0) / 2;
        if granted < SOCKET_BUFFER {
            tracing::warn!(
                granted,
                wanted = SOCKET_BUFFER,
                "small receive buffer: a flood of datagrams can cost packets; set net.core.rmem_max with sysctl"
            );
        }
        let udp = config.candidates.iter().map(|ip| Candidate::Udp(SocketAddr::new(*ip, port)));
        let tcp = config.tcp_candidates.iter().copied().map(Candidate::Tcp);
        let candidates: Vec<_> = udp.chain(tcp).collect();

        let wakers = (0..count)
            .map(|_| Waker::new().map(Arc::new))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| setup(&error))?;
        // A ring for each ordered pair of shards.
        let mut strays_in: Vec<Vec<byte_ring::Reader>> = (0..count).map(|_| Vec::new()).collect();
        let mut shards = Vec::with_capacity(count);
        let mut starting = Vec::with_capacity(count);
        for (index, socket) in sockets.into_iter().enumerate() {
            let strays_out = (0..count)
                .map(|to| {
                    (to != index).then(|| {
                        let (writer, reader) = byte_ring::ring(STRAYS, sys::DATAGRAM_LEN_MAX + stray::LEN);
                        strays_in[to].push(reader);
                        (writer, Arc::clone(&wakers[to]))
                    })
                })
                .collect();
            let (commands, received) = crossbeam_channel::bounded(COMMANDS_MAX);
            let counters = Arc::new(Counters::default());
            starting.push(run::Parts {
                index,
                socket,
                strays_out,
                commands: received,
                waker: Arc::clone(&wakers[index]),
                counters: Arc::clone(&counters),
            });
            shards.push(ShardHandle {
                commands,
                waker: Arc::clone(&wakers[index]),
                counters,
                thread: Mutex::new(None),
            });
        }
        for (parts, strays_in) in starting.into_iter().zip(strays_in) {
            let index = parts.index;
            let shard = run::Shard::new(
                parts,
                strays_in,
                config.clone(),
                identity.clone(),
                candidates.clone(),
                events.clone(),
                Arc::clone(&directory),
            );
            let thread = std::thread::Builder::new()
                .name(format!("media-{index}"))
                .stack_size(SHARD_STACK)
                .spawn(move || {
                    // A server with half its rooms dead and nobody told is worse than one that starts anew.
                    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| shard.run())).is_err() {
                        tracing::error!(shard = index, "a media shard panicked; the server ends");
                        std::process::abort();
                    }
                })
                .map_err(|error| setup(&error))?;
            if let Ok(mut slot) = shards[index].thread.lock() {
                *slot = Some(thread);
            }
        }
        Ok((Self { shards, directory, next: AtomicUsize::new(0), port }, receiver))
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    // Opening and closing hold the room's entry while they send, so that the directory and the shard agree on the
    // order, and no offer finds a room that its shard has not opened.
    pub(crate) fn open_room(&self, room: RoomId) {
        if let Entry::Vacant(vacant) = self.directory.rooms.entry(room) {
            let shard = self.next.fetch_add(1, Ordering::Relaxed) % self.shards.len();
            if self.send_to(shard, room, Command::OpenRoom) {
                vacant.insert(shard);
            }
        }
    }

    pub(crate) fn close_room(&self, room: RoomId) {
        if let Entry::Occupied(occupied) = self.directory.rooms.entry(room) {
            self.send_to(*occupied.get(), room, Command::CloseRoom);
            occupied.remove();
        }
    }

    /// Gives a command to the shard of its room. `false` when the room is not open or the shard has ended.
    pub(crate) fn send(&self, room: RoomId, command: Command) -> bool {
        let Some(shard) = self.directory.rooms.get(&room).map(|shard| *shard) else { return false };
        self.send_to(shard, room, command)
    }

    fn send_to(&self, shard: usize, room: RoomId, command: Command) -> bool {
        let shard = &self.shards[shard];
        let sent = shard.commands.send(Addressed { room, command }).is_ok();
        shard.waker.wake();
        sent
    }

    /// See [`crate::Engine::adopt`].
    pub(crate) fn adopt(
        &self,
        stream: TcpStream,
        frame: Vec<u8>,
        held: Box<dyn Any + Send>,
    ) -> Result<(), Unwanted> {
        let from = stream.peer_addr().map_err(Unwanted::Gone)?;
        let shard = stun::BindingRequest::parse(&frame)
            .and_then(|check| self.directory.ufrags.get(check.local_ufrag()).map(|shard| *shard))
            .ok_or(Unwanted::Stranger)?;
        let newcomer = Newcomer::new(stream, from, frame, held).map_err(Unwanted::Gone)?;
        // The room does not matter. Never waits: the one at the other end tries again.
        let command = Command::Adopt { newcomer: Box::new(newcomer) };
        let adopted = Addressed { room: RoomId::from_u128(0), command };
        self.shards[shard].commands.try_send(adopted).map_err(|_| Unwanted::Busy)?;
        self.shards[shard].waker.wake();
        Ok(())
    }

    /// Asks every shard for a sign of life; a reply that is dropped comes from one that has ended or is full of
    /// commands.
    pub(crate) fn ping(&self) -> Vec<oneshot::Receiver<()>> {
        let ask = |shard: &ShardHandle| {
            let (reply, answer) = oneshot::channel();
            // The room does not matter. Never waits: a shard that hangs has a full queue in the end.
            let ping = Addressed { room: RoomId::from_u128(0), command: Command::Ping { reply } };
            if shard.commands.try_send(ping).is_ok() {
                shard.waker.wake();
            }
            answer
        };
        self.shards.iter().map(ask).collect()
    }

    pub(crate) fn open_source(&self, room: RoomId, publisher: Publisher) -> Option<SourceWriter> {
        let shard = *self.directory.rooms.get(&room)?;
        let (writer, reader) = source::channel(Arc::clone(&self.shards[shard].waker));
        self.send_to(shard, room, Command::OpenSource { publisher, reader: Box::new(reader) })
            .then_some(writer)
    }

    pub(crate) fn counters(&self) -> Vec<(&'static str, u64)> {
        Counters::sum(self.shards.iter().map(|shard| &*shard.counters))
    }

    pub(crate) fn shutdown(&self) {
        for (index, shard) in self.shards.iter().enumerate() {
            // The room does not matter to `Stop`.
            self.send_to(index, RoomId::from_u128(0), Command::Stop);
            let thread = shard.thread.lock().ok().and_then(|mut thread| thread.take());
            if let Some(thread) = thread {
                // A panic does not come here: it has ended the process.
                let _ = thread.join();
            }
        }
    }
}

fn bind(address: IpAddr, port: u16) -> io::Result<UdpSocket> {
    let address = SocketAddr::new(address, port);
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        // `::` hears IPv4 too, whatever the system's default.
        socket.set_only_v6(false)?;
    }
    // The system may grant less; that is no error.
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    let socket = UdpSocket::from(socket);
    sys::force_receive_buffer(&socket, SOCKET_BUFFER);
    Ok(socket)
}
