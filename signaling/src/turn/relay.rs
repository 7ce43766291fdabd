//! One client's connection and its relay. Nothing in here waits for the client: who does not read gets less.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::BufMut;
use hewei_turn::{Outcome, Session, stream};
use time::OffsetDateTime;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf},
    net::UdpSocket,
    time::Instant,
};

use super::{Place, Turn};

/// What waits to be sent: a keyframe of 1080p, or half a second of 2 Mbit/s. What comes besides waits in the relay's
/// socket, which is as small, and is dropped there.
const OUTGOING_MAX: usize = 128 * 1024;
/// Read at a time.
const READ_LEN: usize = 16 * 1024;
const DATAGRAM_LEN_MAX: usize = 2_048;
const RELAY_BUFFER: usize = 64 * 1024;

/// What of a client is worth keeping while nothing is known of it.
pub(crate) struct Client {
    /// Where it is.
    pub(crate) address: SocketAddr,
    /// What it has said so far.
    pub(crate) said: Vec<u8>,
    /// When it must have a relay.
    pub(crate) deadline: Instant,
}

struct Relay {
    socket: UdpSocket,
    _place: Place,
}

struct Connection<'a> {
    turn: &'a Arc<Turn>,
    session: Session,
    relay: Option<Relay>,
    outgoing: Vec<u8>,
    /// Bytes of `outgoing` that are sent.
    written: usize,
    /// The layer below may still hold some.
    unflushed: bool,
}

impl Turn {
    /// Serves a client until it goes, breaks the protocol, or has no relay for too long. `known` is called when it has
    /// one.
    pub(crate) async fn serve(
        self: &Arc<Self>,
        stream: impl AsyncRead + AsyncWrite,
        client: Client,
        known: impl FnOnce(),
    ) {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let Client { address, said: mut incoming, deadline } = client;
        let mut connection = Connection {
            turn: self,
            session: Session::new(address),
            relay: None,
            outgoing: Vec::new(),
            written: 0,
            unflushed: false,
        };
        let mut known = Some(known);
        let mut datagram = [0; DATAGRAM_LEN_MAX];
        loop {
            let goes_on = connection.messages(&mut incoming).await;
            if connection.relay.is_some()
                && let Some(known) = known.take()
            {
                known();
            }
            let ends = connection.session.expires_at().map_or(deadline, Instant::from_std);
            let waiting = connection.outgoing.len() - connection.written;
            if !goes_on {
                // What was said last is still sent, if it is taken at once.
                let _ =
                    tokio::time::timeout(Duration::from_secs(1), connection.last_words(&mut writer)).await;
                return;
            }
            tokio::select! {
                // Replies wait too: whoever asks and never reads is not asked any more.
                read = read(&mut reader, &mut incoming), if waiting < 2 * OUTGOING_MAX => match read {
                    Ok(1..) => {}
                    _ => return,
                },
                wrote = write(&mut writer, &connection.outgoing[connection.written..], connection.unflushed) => {
                    let Ok(count) = wrote else { return };
                    connection.unflushed = count > 0;
                    connection.written += count;
                    if connection.written == connection.outgoing.len() {
                        connection.outgoing.clear();
                        connection.written = 0;
                    }
                },
                received = receive(connection.relay.as_ref(), &mut datagram), if waiting < OUTGOING_MAX => {
                    // An ICMP error of an earlier send: the media port is closed, which will not last.
                    if let Ok(len) = received {
                        connection.datagrams(&mut datagram, len);
                    }
                },
                // It was not refreshed, or never asked for.
                () = tokio::time::sleep_until(ends) => return,
            }
        }
    }
}

impl Connection<'_> {
    /// Does what the whole messages say. False when the connection is over.
    async fn messages(&mut self, incoming: &mut Vec<u8>) -> bool {
        let mut taken = 0;
        let goes_on = loop {
            match stream::next_len(&incoming[taken..]) {
                Ok(Some(len)) => {
                    if !self.message(&incoming[taken..taken + len]).await {
                        break false;
                    }
                    taken += len;
                }
                Ok(None) => break true,
                Err(stream::Malformed) => {
                    self.turn.counters.malformed.fetch_add(1, Ordering::Relaxed);
                    break false;
                }
            }
        };
        incoming.drain(..taken);
        goes_on
    }

    async fn message(&mut self, message: &[u8]) -> bool {
        let turn = self.turn;
        let counters = &turn.counters;
        let add = |counter: &std::sync::atomic::AtomicU64, count| counter.fetch_add(count, Ordering::Relaxed);
        let now = std::time::Instant::now();
        let unix = u64::try_from(OffsetDateTime::now_utc().unix_timestamp()).unwrap_or_default();
        match self.session.receive(&self.turn.server, now, unix, message) {
            Outcome::Malformed => {
                add(&counters.malformed, 1);
                return false;
            }
            Outcome::Nothing => {}
            Outcome::Dropped => _ = add(&counters.dropped, 1),
            Outcome::Reply(reply) => self.say(&reply),
            Outcome::Refused(code, reply) => {
                match code {
                    403 => add(&counters.forbidden, 1),
                    // A client begins without credentials, to be told the realm, and is told when its nonce is stale.
                    _ => add(&counters.refused, 1),
                };
                self.say(&reply);
            }
            Outcome::Relay(data) => {
                add(&counters.up_bytes, data.len() as u64);
                let sent = self.relay.as_ref().map(|relay| relay.socket.try_send(data));
                if !matches!(sent, Some(Ok(_))) {
                    add(&counters.dropped, 1);
                }
            }
            Outcome::Allocate(user) => {
                let reply = match self.open(user).await {
                    Ok(relayed) => self.session.allocated(now, relayed),
                    Err(code) => {
                        add(&counters.limited, 1);
                        self.session.not_allocated(code)
                    }
                };
                self.say(&reply);
            }
            Outcome::Ended(reply) => {
                self.relay = None;
                self.say(&reply);
                return false;
            }
        }
        true
    }

    async fn open(&mut self, user: String) -> Result<SocketAddr, u16> {
        let place = self.turn.place(user, self.session.client().ip())?;
        match socket(self.turn.media).await {
            Ok((socket, relayed)) => {
                self.turn.counters.opened.fetch_add(1, Ordering::Relaxed);
                self.relay = Some(Relay { socket, _place: place });
                Ok(relayed)
            }
            Err(error) => {
                tracing::warn!(%error, "cannot open a socket for a TURN relay");
                Err(508)
            }
        }
    }

    /// Wraps a datagram that came, and those behind it, as long as there is room.
    fn datagrams(&mut self, datagram: &mut [u8; DATAGRAM_LEN_MAX], first: usize) {
        let turn = self.turn;
        let counters = &turn.counters;
        let (mut len, mut wrapped) = (first, Vec::new());
        loop {
            let now = std::time::Instant::now();
            if self.session.to_client(&self.turn.server, now, &datagram[..len], &mut wrapped) {
                counters.down_bytes.fetch_add(len as u64, Ordering::Relaxed);
                self.say(&wrapped);
            } else {
                counters.dropped.fetch_add(1, Ordering::Relaxed);
            }
            let Some(relay) = self.relay.as_ref().filter(|_| self.outgoing.len() < OUTGOING_MAX) else {
                return;
            };
            let Ok(next) = relay.socket.try_recv(&mut datagram[..]) else { return };
            len = next;
        }
    }

    fn say(&mut self, bytes: &[u8]) {
        if self.written > 0 {
            self.outgoing.drain(..self.written);
            self.written = 0;
        }
        self.outgoing.extend(bytes);
    }

    async fn last_words(&self, writer: &mut WriteHalf<impl AsyncWrite>) -> io::Result<()> {
        writer.write_all(&self.outgoing[self.written..]).await?;
        writer.shutdown().await
    }
}

/// A socket of this machine that hears the media port alone.
async fn socket(media: SocketAddr) -> io::Result<(UdpSocket, SocketAddr)> {
    let socket = UdpSocket::bind((media.ip(), 0)).await?;
    socket.connect(media).await?;
    // What the system does not grant makes it later, not wrong.
    let _ = nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::RcvBuf, &RELAY_BUFFER);
    let relayed = socket.local_addr()?;
    Ok((socket, relayed))
}

async fn read(reader: &mut ReadHalf<impl AsyncRead>, incoming: &mut Vec<u8>) -> io::Result<usize> {
    incoming.reserve(READ_LEN);
    reader.read_buf(&mut incoming.limit(READ_LEN)).await
}

/// Sends a part of it; when there is nothing, sees that the layers below hold none back, or waits for ever.
async fn write(writer: &mut WriteHalf<impl AsyncWrite>, bytes: &[u8], unflushed: bool) -> io::Result<usize> {
    match (bytes.is_empty(), unflushed) {
        (false, _) => writer.write(bytes).await,
        (true, true) => writer.flush().await.map(|()| 0),
        (true, false) => std::future::pending().await,
    }
}

async fn receive(relay: Option<&Relay>, datagram: &mut [u8; DATAGRAM_LEN_MAX]) -> io::Result<usize> {
    match relay {
        Some(relay) => relay.socket.recv(&mut datagram[..]).await,
        None => std::future::pending().await,
    }
}
