//! TURN over one connection. Nothing in here waits for the client: who does not read gets less.

use std::{io, net::SocketAddr, sync::Arc, sync::atomic::Ordering, time::Duration};

use bytes::BufMut;
use hewei_turn::stream;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf},
    time::Instant,
};

use super::{
    Turn,
    relay::{Answer, DATAGRAM_LEN_MAX, Relay},
};

/// What waits to be sent: a keyframe of 1080p, or half a second of 2 Mbit/s. What comes besides waits in the relay's
/// socket, which is as small, and is dropped there.
const OUTGOING_MAX: usize = 128 * 1024;
/// Read at a time.
const READ_LEN: usize = 16 * 1024;

/// What of a client is worth keeping while nothing is known of it.
pub(crate) struct Client {
    /// Where it is.
    pub(crate) address: SocketAddr,
    /// What it has said so far.
    pub(crate) said: Vec<u8>,
    /// When it must have a relay.
    pub(crate) deadline: Instant,
}

struct Connection<'a> {
    turn: &'a Arc<Turn>,
    relay: Relay,
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
        let relay = Relay::new(self, address);
        let mut connection =
            Connection { turn: self, relay, outgoing: Vec::new(), written: 0, unflushed: false };
        let mut known = Some(known);
        let mut datagram = [0; DATAGRAM_LEN_MAX];
        loop {
            let goes_on = connection.messages(&mut incoming).await;
            if connection.relay.is_open()
                && let Some(known) = known.take()
            {
                known();
            }
            let ends = connection.relay.expires_at().unwrap_or(deadline);
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
                received = connection.relay.receive(&mut datagram), if waiting < OUTGOING_MAX => {
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
        match self.relay.message(message).await {
            Answer::Nothing => true,
            Answer::Reply(reply) => {
                self.say(&reply);
                true
            }
            Answer::Last(reply) => {
                self.say(&reply);
                false
            }
            Answer::Malformed => false,
        }
    }

    /// Wraps a datagram that came, and those behind it, as long as there is room.
    fn datagrams(&mut self, datagram: &mut [u8; DATAGRAM_LEN_MAX], first: usize) {
        let (mut len, mut wrapped) = (first, Vec::new());
        loop {
            if self.relay.wrap(&datagram[..len], &mut wrapped) {
                self.say(&wrapped);
            }
            if self.outgoing.len() >= OUTGOING_MAX {
                return;
            }
            let Some(next) = self.relay.try_receive(datagram) else { return };
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
