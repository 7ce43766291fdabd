//! A connection with its socket, or with its connection over TCP.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Instant,
};

use tokio::{net::UdpSocket, time};

use crate::{
    connection::{Connection, Error, Event},
    framed::Framed,
};

/// Datagrams that one look at the socket takes at most, so that timers are not late.
const BATCH_MAX: usize = 64;

enum Way {
    Udp(UdpSocket),
    Tcp(Framed),
}

/// A connection whose first answer has come, and its UDP socket; if it goes [over TCP](Connection::over_tcp), its
/// connection to the first of the server's candidates.
pub struct Media {
    connection: Connection,
    way: Way,
}

impl Media {
    /// Binds a socket of the family of the server's first candidate, or begins to connect to it.
    ///
    /// # Errors
    /// When no socket can be bound, and when there is nothing to connect to.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn open(connection: Connection) -> io::Result<Media> {
        let way = open(&connection)?;
        Ok(Media { connection, way })
    }

    /// Goes on from another address, as a phone does that changes its network. Restart ICE with it.
    ///
    /// # Errors
    /// As [`Self::open`]; the address is the old one then.
    ///
    /// # Panics
    /// As [`Self::open`].
    pub fn change_address(&mut self) -> io::Result<()> {
        self.way = open(&self.connection)?;
        Ok(())
    }

    /// The address it goes on from.
    ///
    /// # Errors
    /// When the system does not tell, and before there is a connection over TCP.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        match &self.way {
            Way::Udp(socket) => socket.local_addr(),
            Way::Tcp(framed) => framed.local_address(),
        }
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
            match &mut self.way {
                Way::Udp(socket) => _ = socket.try_send_to(&transmit.datagram, transmit.to),
                Way::Tcp(framed) => framed.send(transmit.to, &transmit.datagram),
            }
        }
    }

    /// Moves datagrams and timers until something happens. Cancelling it loses nothing. After [`Event::Over`] it
    /// never returns.
    pub async fn next(&mut self) -> Event {
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
            let over = self.connection.is_over();
            let Media { connection, way } = self;
            tokio::select! {
                goes_on = receive(way, connection), if !over => {
                    if !goes_on {
                        self.connection.over(Error::Closed);
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

/// Takes in what has come, waiting for it. False when nothing more can come. Cancelling it loses nothing.
async fn receive(way: &mut Way, connection: &mut Connection) -> bool {
    match way {
        Way::Udp(socket) => {
            if socket.readable().await.is_err() {
                return false;
            }
            let mut buffer = [0; 2_048];
            for _ in 0..BATCH_MAX {
                // An ICMP error of an earlier datagram is no reason to stop.
                let Ok((len, from)) = socket.try_recv_from(&mut buffer) else { break };
                connection.receive(Instant::now(), from, &buffer[..len]);
            }
            true
        }
        Way::Tcp(framed) => {
            framed.receive(|from, datagram| connection.receive(Instant::now(), from, datagram)).await
        }
    }
}

fn open(connection: &Connection) -> io::Result<Way> {
    let first = connection.candidates().first();
    if connection.is_over_tcp() {
        let to = first.ok_or_else(|| io::Error::other("the server takes nothing over TCP"))?;
        return Ok(Way::Tcp(Framed::connect(*to)));
    }
    let ipv6 = first.is_some_and(SocketAddr::is_ipv6);
    let any: SocketAddr =
        if ipv6 { (Ipv6Addr::UNSPECIFIED, 0).into() } else { (Ipv4Addr::UNSPECIFIED, 0).into() };
    let socket = std::net::UdpSocket::bind(any)?;
    socket.set_nonblocking(true)?;
    Ok(Way::Udp(UdpSocket::from_std(socket)?))
}
