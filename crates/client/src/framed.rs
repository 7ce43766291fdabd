//! A connection over TCP that carries datagrams as frames (RFC 4571), as a browser has it whose network drops UDP.

use std::{io, net::SocketAddr, pin::Pin};

use tokio::{io::Interest, net::TcpStream};

/// Before each frame, its length.
const PREFIX_LEN: usize = 2;
/// What may wait to be sent; what comes beyond it is lost, as on any network.
const OUTGOING_MAX: usize = 64 * 1024;
/// What one look takes at most.
const READ_MAX: usize = 16 * 1024;
/// The first byte of a check is less (RFC 7983).
const CHECKS_BELOW: u8 = 4;

type Connecting = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send + Sync>>;

enum State {
    Connecting(Connecting),
    Open(TcpStream),
    Ended,
}

/// The connection to one candidate.
pub(crate) struct Framed {
    to: SocketAddr,
    state: State,
    /// A check was sent, which is what it begins with: by that the server knows whose it is.
    begun: bool,
    outgoing: Vec<u8>,
    incoming: Vec<u8>,
}

impl Framed {
    /// Begins to connect.
    pub(crate) fn connect(to: SocketAddr) -> Framed {
        let connecting = async move {
            let stream = TcpStream::connect(to).await?;
            stream.set_nodelay(true)?;
            Ok(stream)
        };
        Framed {
            to,
            state: State::Connecting(Box::pin(connecting)),
            begun: false,
            outgoing: Vec::new(),
            incoming: Vec::new(),
        }
    }

    /// Our end of it, once it is there.
    pub(crate) fn local_address(&self) -> io::Result<SocketAddr> {
        match &self.state {
            State::Open(stream) => stream.local_addr(),
            State::Connecting(_) | State::Ended => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Sends a datagram, if it is for the other end.
    pub(crate) fn send(&mut self, to: SocketAddr, datagram: &[u8]) {
        self.begun |= to == self.to && datagram.first().is_some_and(|first| *first < CHECKS_BELOW);
        let Ok(len) = u16::try_from(datagram.len()) else { return };
        let fits = self.outgoing.len() + PREFIX_LEN + datagram.len() <= OUTGOING_MAX;
        if to != self.to || !self.begun || !fits {
            return;
        }
        self.outgoing.extend(len.to_be_bytes());
        self.outgoing.extend_from_slice(datagram);
        self.flush();
    }

    fn flush(&mut self) {
        let State::Open(stream) = &self.state else { return };
        while !self.outgoing.is_empty() {
            match stream.try_write(&self.outgoing) {
                Ok(0) => return self.state = State::Ended,
                Ok(written) => _ = self.outgoing.drain(..written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => return self.state = State::Ended,
            }
        }
    }

    /// Gives the datagrams that have come to `take`, waiting for some. False when the connection has ended.
    /// Cancelling it loses nothing.
    pub(crate) async fn receive(&mut self, mut take: impl FnMut(SocketAddr, &[u8])) -> bool {
        if let State::Connecting(connecting) = &mut self.state {
            self.state = match connecting.await {
                Ok(stream) => State::Open(stream),
                Err(_) => State::Ended,
            };
            self.flush();
        }
        let State::Open(stream) = &self.state else { return false };
        let interest = if self.outgoing.is_empty() {
            Interest::READABLE
        } else {
            Interest::READABLE | Interest::WRITABLE
        };
        let Ok(ready) = stream.ready(interest).await else { return false };
        if ready.is_readable() {
            let mut buffer = [0; READ_MAX];
            match stream.try_read(&mut buffer) {
                Ok(0) => self.state = State::Ended,
                Ok(count) => self.incoming.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => self.state = State::Ended,
            }
        }
        self.flush();
        let mut at = 0;
        while let Some((prefix, rest)) = self.incoming[at..].split_first_chunk::<PREFIX_LEN>() {
            let Some(datagram) = rest.get(..usize::from(u16::from_be_bytes(*prefix))) else { break };
            take(self.to, datagram);
            at += PREFIX_LEN + datagram.len();
        }
        self.incoming.drain(..at);
        // What came before the end counts.
        at > 0 || !matches!(self.state, State::Ended)
    }
}
