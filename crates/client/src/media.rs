//! A connection with its socket.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Instant,
};

use tokio::{net::UdpSocket, time};

use crate::connection::{Connection, Error, Event};

/// Datagrams that one look at the socket takes at most, so that timers are not late.
const BATCH_MAX: usize = 64;

/// A connection whose first answer has come, and its UDP socket.
pub struct Media {
    connection: Connection,
    socket: UdpSocket,
}

impl Media {
    /// Binds a socket of the family of the server's first candidate.
    ///
    /// # Errors
    /// When no socket can be bound.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn open(connection: Connection) -> io::Result<Media> {
        let socket = bind(&connection)?;
        Ok(Media { connection, socket })
    }

    /// Goes on from another address, as a phone does that changes its network. Restart ICE with it.
    ///
    /// # Errors
    /// As [`Self::open`]; the address is the old one then.
    ///
    /// # Panics
    /// As [`Self::open`].
    pub fn change_address(&mut self) -> io::Result<()> {
        self.socket = bind(&self.connection)?;
        Ok(())
    }

    /// The address it goes on from.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// The connection.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The connection, to do something with it. Call [`Self::flush`] or [`Self::next`] after that.
    pub fn connection_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// Sends what is to be sent. A datagram that the socket does not take is lost, as on any network.
    pub fn flush(&mut self) {
        while let Some(transmit) = self.connection.poll_transmit() {
            let _ = self.socket.try_send_to(&transmit.datagram, transmit.to);
        }
    }

    /// Moves datagrams and timers until something happens. Cancelling it loses nothing. After [`Event::Over`] it
    /// never returns.
    pub async fn next(&mut self) -> Event {
        let mut buffer = [0; 2_048];
        loop {
            self.flush();
            if let Some(event) = self.connection.poll_event() {
                return event;
            }
            let due = self.connection.poll_timeout().map(time::Instant::from_std);
            let wait = async {
                match due {
                    Some(due) => time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                readable = self.socket.readable() => {
                    if readable.is_err() {
                        return Event::Over(Error::Closed);
                    }
                    for _ in 0..BATCH_MAX {
                        // An ICMP error of an earlier datagram is no reason to stop.
                        let Ok((len, from)) = self.socket.try_recv_from(&mut buffer) else { break };
                        self.connection.receive(Instant::now(), from, &buffer[..len]);
                    }
                }
                () = wait => self.connection.handle_timeout(Instant::now()),
            }
        }
    }

    /// Goes through checks and handshake until media may flow.
    ///
    /// # Errors
    /// What ended the connection.
    pub async fn connected(&mut self) -> Result<(), Error> {
        loop {
            match self.next().await {
                Event::Connected(_) => return Ok(()),
                Event::Over(error) => return Err(error),
                _ => {}
            }
        }
    }

    /// Says goodbye.
    pub fn close(&mut self) {
        self.connection.close(Instant::now());
        self.flush();
    }
}

fn bind(connection: &Connection) -> io::Result<UdpSocket> {
    let ipv6 = connection.candidates().first().is_some_and(SocketAddr::is_ipv6);
    let any: SocketAddr =
        if ipv6 { (Ipv6Addr::UNSPECIFIED, 0).into() } else { (Ipv4Addr::UNSPECIFIED, 0).into() };
    let socket = std::net::UdpSocket::bind(any)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}
