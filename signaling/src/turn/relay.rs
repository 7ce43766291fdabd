//! One client's relay, whatever its messages come over: its session and, when it has been granted one, a socket of this
//! machine that hears the media port alone.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use hewei_turn::{Outcome, Session};
use time::OffsetDateTime;
use tokio::{net::UdpSocket, time::Instant};

use super::{Place, Turn};

/// The longest datagram of media that is relayed.
pub(super) const DATAGRAM_LEN_MAX: usize = 2_048;
const RELAY_BUFFER: usize = 64 * 1024;

/// See the module.
pub(super) struct Relay {
    turn: Arc<Turn>,
    session: Session,
    opened: Option<Opened>,
}

struct Opened {
    socket: UdpSocket,
    _place: Place,
}

/// What the client is told.
pub(super) enum Answer {
    /// Nothing.
    Nothing,
    /// This.
    Reply(Vec<u8>),
    /// This, and the relay is no more.
    Last(Vec<u8>),
    /// Nothing: it was no message of TURN.
    Malformed,
}

impl Relay {
    pub(super) fn new(turn: &Arc<Turn>, client: SocketAddr) -> Self {
        Self { turn: Arc::clone(turn), session: Session::new(client), opened: None }
    }

    pub(super) fn is_open(&self) -> bool {
        self.opened.is_some()
    }

    /// When it ends if it is not refreshed; `None` while it is not open.
    pub(super) fn expires_at(&self) -> Option<Instant> {
        self.session.expires_at().map(Instant::from_std)
    }

    /// Does what a message of the client says.
    pub(super) async fn message(&mut self, message: &[u8]) -> Answer {
        let turn = Arc::clone(&self.turn);
        let counters = &turn.counters;
        let now = std::time::Instant::now();
        let unix = u64::try_from(OffsetDateTime::now_utc().unix_timestamp()).unwrap_or_default();
        match self.session.receive(&turn.server, now, unix, message) {
            Outcome::Malformed => {
                add(&counters.malformed, 1);
                Answer::Malformed
            }
            Outcome::Nothing => Answer::Nothing,
            Outcome::Dropped => {
                add(&counters.dropped, 1);
                Answer::Nothing
            }
            Outcome::Reply(reply) => Answer::Reply(reply),
            Outcome::Refused(code, reply) => {
                match code {
                    403 => add(&counters.forbidden, 1),
                    // A client begins without credentials, to be told the realm, and is told when its nonce is stale.
                    _ => add(&counters.refused, 1),
                }
                Answer::Reply(reply)
            }
            Outcome::Relay(data) => {
                add(&counters.up_bytes, data.len() as u64);
                let sent = self.opened.as_ref().map(|opened| opened.socket.try_send(data));
                if !matches!(sent, Some(Ok(_))) {
                    add(&counters.dropped, 1);
                }
                Answer::Nothing
            }
            Outcome::Allocate(user) => Answer::Reply(match self.open(user).await {
                Ok(relayed) => self.session.allocated(now, relayed),
                Err(code) => {
                    add(&counters.limited, 1);
                    self.session.not_allocated(code)
                }
            }),
            Outcome::Ended(reply) => {
                self.opened = None;
                Answer::Last(reply)
            }
        }
    }

    async fn open(&mut self, user: String) -> Result<SocketAddr, u16> {
        let place = self.turn.place(user, self.session.client().ip())?;
        match socket(self.turn.media).await {
            Ok((socket, relayed)) => {
                add(&self.turn.counters.opened, 1);
                self.opened = Some(Opened { socket, _place: place });
                Ok(relayed)
            }
            Err(error) => {
                tracing::warn!(%error, "cannot open a socket for a TURN relay");
                Err(508)
            }
        }
    }

    /// The next datagram from the media port; waits for ever while there is no relay. An error is that of an earlier
    /// send: the media port is closed, which will not last.
    pub(super) async fn receive(&self, datagram: &mut [u8; DATAGRAM_LEN_MAX]) -> io::Result<usize> {
        match &self.opened {
            Some(opened) => opened.socket.recv(&mut datagram[..]).await,
            None => std::future::pending().await,
        }
    }

    /// One that is there already.
    pub(super) fn try_receive(&self, datagram: &mut [u8; DATAGRAM_LEN_MAX]) -> Option<usize> {
        self.opened.as_ref()?.socket.try_recv(&mut datagram[..]).ok()
    }

    /// Writes a datagram from the media port as the client is to get it; `false` when it is to get nothing.
    pub(super) fn wrap(&mut self, datagram: &[u8], out: &mut Vec<u8>) -> bool {
        let counters = &self.turn.counters;
        let now = std::time::Instant::now();
        let wrapped = self.session.to_client(&self.turn.server, now, datagram, out);
        if wrapped {
            add(&counters.down_bytes, datagram.len() as u64);
        } else {
            add(&counters.dropped, 1);
        }
        wrapped
    }
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
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
