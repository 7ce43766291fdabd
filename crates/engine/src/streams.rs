//! Connections over TCP (RFC 6544, passive): the frames that come in them, and those that wait to be sent.
//!
//! A connection belongs to one peer for its life and lives on the shard of that peer, like all else of it. It gets there
//! when its first frame was a check that names the peer; who accepts it, and what it may cost before that, is the
//! server's to say. What does not fit into its buffer is dropped as a network would drop it, so that a side that reads
//! slowly gets less, and not later and later.

use std::{
    any::Any,
    collections::HashMap,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use hewei_media::framing::{self, Deframer, PREFIX_LEN};
use hewei_peer::{Path, StreamId, Transport};
use socket2::SockRef;

use crate::{
    counters::{Counter, Counters},
    egress::DATAGRAM_LEN_MAX,
    sys,
};

/// Connections of one shard: eight of each of five hundred peers that are behind closed doors. Each holds up to 150 KB.
const STREAMS_MAX: usize = 4_096;
/// What waits for one connection: a keyframe of 1080p, or half a second of 2 Mbit/s.
const OUTGOING_MAX: usize = 128 * 1024;
/// Of which so much is not for media: without answers to checks the other side gives the connection up, and without
/// RTCP nobody learns that too much is sent.
pub(crate) const CONTROL_KEPT: usize = 8 * 1024;
/// What the system keeps besides, sent and not acknowledged: 1 Mbit/s over a second there and back.
const SEND_BUFFER: usize = 128 * 1024;
/// Of which this much may be not sent yet: what waits here can still be dropped, what waits there comes late.
const NOT_SENT_MAX: u32 = 16 * 1024;
/// A connection whose other side acknowledges nothing for so long has ended: as long as consent lasts (RFC 7675 §5.1).
const SILENT_MAX: Duration = Duration::from_secs(30);

/// Why a connection was not taken.
#[derive(Debug, thiserror::Error)]
pub enum Unwanted {
    /// Its first frame is no check for anybody here.
    #[error("the first frame is no check for anybody here")]
    Stranger,
    /// The shard has more to do than it can.
    #[error("the media engine is busy")]
    Busy,
    /// It has ended again.
    #[error("the connection has ended: {0}")]
    Gone(#[source] io::Error),
}

/// A connection on its way to its shard, with its first frame.
pub(crate) struct Newcomer {
    socket: TcpStream,
    pub(crate) from: SocketAddr,
    pub(crate) frame: Vec<u8>,
    held: Box<dyn Any + Send>,
}

impl Newcomer {
    pub(crate) fn new(
        socket: TcpStream,
        from: SocketAddr,
        frame: Vec<u8>,
        held: Box<dyn Any + Send>,
    ) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        let options = SockRef::from(&socket);
        // What the system does not grant makes the connection slower, not wrong.
        let _ = options.set_send_buffer_size(SEND_BUFFER);
        let _ = options.set_tcp_notsent_lowat(NOT_SENT_MAX);
        let _ = options.set_tcp_user_timeout(Some(SILENT_MAX));
        Ok(Self { socket, from, frame, held })
    }
}

struct Stream {
    socket: TcpStream,
    from: SocketAddr,
    peer: u32,
    incoming: Deframer,
    /// Frames that wait, of which `written` bytes are sent.
    outgoing: Vec<u8>,
    written: usize,
    /// The system took only a part.
    blocked: bool,
    /// Frames were added since the last flush.
    dirty: bool,
    _held: Box<dyn Any + Send>,
}

impl Stream {
    /// Sends what waits, as far as the system takes it.
    fn flush(&mut self) -> io::Result<()> {
        self.dirty = false;
        while self.written < self.outgoing.len() {
            match self.socket.write(&self.outgoing[self.written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.blocked = true;
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        self.outgoing.clear();
        (self.written, self.blocked) = (0, false);
        Ok(())
    }
}

/// The connections of a shard.
#[derive(Default)]
pub(crate) struct Streams {
    streams: HashMap<StreamId, Stream>,
    next: u64,
    dirty: Vec<StreamId>,
    ended: Vec<StreamId>,
}

impl Streams {
    /// Takes a connection in for a peer. `None` when there are too many.
    pub(crate) fn add(&mut self, newcomer: Newcomer, peer: u32) -> Option<Path> {
        if self.streams.len() >= STREAMS_MAX {
            return None;
        }
        let id = StreamId(self.next);
        self.next += 1;
        let Newcomer { socket, from, held, .. } = newcomer;
        let stream = Stream {
            socket,
            from,
            peer,
            incoming: Deframer::default(),
            outgoing: Vec::with_capacity(OUTGOING_MAX),
            written: 0,
            blocked: false,
            dirty: false,
            _held: held,
        };
        self.streams.insert(id, stream);
        Some(Path { transport: Transport::Tcp(id), address: from })
    }

    /// Ends a connection; what waits is sent as far as it can be at once.
    pub(crate) fn close(&mut self, id: StreamId) -> Option<(u32, Path)> {
        let mut stream = self.streams.remove(&id)?;
        // It ends either way.
        let _ = stream.flush();
        Some((stream.peer, Path { transport: Transport::Tcp(id), address: stream.from }))
    }

    /// The next connection that was found to have ended; close it.
    pub(crate) fn poll_ended(&mut self) -> Option<StreamId> {
        self.ended.pop()
    }

    /// Tells a wait what to look at.
    pub(crate) fn watch(&self, watched: &mut sys::Watched) {
        watched.clear();
        for (id, stream) in &self.streams {
            watched.add(id.0, &stream.socket, stream.blocked);
        }
    }

    /// Reads once from a connection that has something. What came is then given by [`Streams::next_frame`].
    pub(crate) fn read(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if stream.blocked && stream.flush().is_err() {
            return self.ended.push(id);
        }
        match stream.socket.read(stream.incoming.room()) {
            Ok(0) => self.ended.push(id),
            Ok(count) => stream.incoming.filled(count),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(_) => self.ended.push(id),
        }
    }

    /// The next frame of a connection, copied out, and its length.
    pub(crate) fn next_frame(
        &mut self,
        id: StreamId,
        counters: &Counters,
        out: &mut [u8; framing::FRAME_LEN_MAX],
    ) -> Option<(u32, Path, usize)> {
        let stream = self.streams.get_mut(&id)?;
        match stream.incoming.next_frame() {
            Ok(frame) => {
                let frame = frame?;
                counters.add(Counter::FramesReceived, 1);
                out[..frame.len()].copy_from_slice(frame);
                let path = Path { transport: Transport::Tcp(id), address: stream.from };
                Some((stream.peer, path, frame.len()))
            }
            Err(_) => {
                self.ended.push(id);
                None
            }
        }
    }

    /// Adds the frame that `write` writes, to be sent with the next flush; drops it when too much waits, so much less as
    /// is `kept` for others.
    pub(crate) fn frame(
        &mut self,
        id: StreamId,
        counters: &Counters,
        kept: usize,
        write: impl FnOnce(&mut [u8]) -> Option<usize>,
    ) {
        let most = PREFIX_LEN + DATAGRAM_LEN_MAX;
        let Some(stream) = self.streams.get_mut(&id) else {
            return counters.add(Counter::FramesDropped, 1);
        };
        if stream.written > 0 && stream.outgoing.len() + most + kept > OUTGOING_MAX {
            stream.outgoing.drain(..stream.written);
            stream.written = 0;
        }
        let start = stream.outgoing.len();
        if start + most + kept > OUTGOING_MAX {
            return counters.add(Counter::FramesDropped, 1);
        }
        stream.outgoing.resize(start + most, 0);
        let written = write(&mut stream.outgoing[start + PREFIX_LEN..]).filter(|len| *len > 0);
        let Some((len, prefix)) = written.and_then(|len| Some((len, framing::prefix(len)?))) else {
            return stream.outgoing.truncate(start);
        };
        stream.outgoing[start..start + PREFIX_LEN].copy_from_slice(&prefix);
        stream.outgoing.truncate(start + PREFIX_LEN + len);
        counters.add(Counter::FramesSent, 1);
        counters.add(Counter::BytesSent, len as u64);
        if !std::mem::replace(&mut stream.dirty, true) {
            self.dirty.push(id);
        }
    }

    /// Sends what was added.
    pub(crate) fn flush(&mut self) {
        for id in self.dirty.drain(..) {
            // One that is blocked goes on when the system says that it takes more.
            if let Some(stream) = self.streams.get_mut(&id)
                && (stream.blocked || stream.flush().is_err())
            {
                stream.dirty = false;
                if !stream.blocked {
                    self.ended.push(id);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn joined(streams: &mut Streams) -> (TcpStream, StreamId) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let far = TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
        let (near, from) = listener.accept().expect("comes");
        let newcomer = Newcomer::new(near, from, Vec::new(), Box::new(())).expect("lives");
        let path = streams.add(newcomer, 7).expect("there is room");
        let Transport::Tcp(id) = path.transport else { panic!("{path:?}") };
        (far, id)
    }

    fn send(streams: &mut Streams, counters: &Counters, id: StreamId, byte: u8) {
        streams.frame(id, counters, CONTROL_KEPT, |out| {
            out[..1_200].fill(byte);
            Some(1_200)
        });
        streams.flush();
    }

    #[test]
    fn a_side_that_does_not_read_gets_less_and_costs_no_more_than_its_buffer() {
        let (mut streams, counters) = (Streams::default(), Counters::default());
        let (mut far, id) = joined(&mut streams);
        for at in 0..10_000u32 {
            send(&mut streams, &counters, id, at as u8);
        }
        let dropped = counters.get(Counter::FramesDropped);
        assert!(dropped > 1_000, "{dropped}");
        let stream = &streams.streams[&id];
        assert!(
            stream.blocked
                && stream.outgoing.len() <= OUTGOING_MAX
                && stream.outgoing.capacity() <= OUTGOING_MAX
        );

        // What holds the connection still has room.
        streams.frame(id, &counters, 0, |out| {
            out[..1_200].fill(7);
            Some(1_200)
        });
        assert_eq!(counters.get(Counter::FramesDropped), dropped);

        // What was taken arrives whole and in order, and then it goes on.
        let sent = counters.get(Counter::FramesSent);
        let reading = std::thread::spawn(move || {
            let mut frame = [0; PREFIX_LEN + 1_200];
            for _ in 0..=sent {
                far.read_exact(&mut frame).expect("comes");
                assert_eq!(frame[..2], 1_200u16.to_be_bytes());
                assert!(frame[2..].iter().all(|byte| *byte == frame[2]));
            }
            frame[2]
        });
        while streams.streams[&id].blocked {
            streams.read(id);
            std::thread::yield_now();
        }
        send(&mut streams, &counters, id, 250);
        assert_eq!(reading.join().expect("no panic"), 250);
        assert_eq!(counters.get(Counter::FramesSent), sent + 1);
        assert_eq!(streams.poll_ended(), None);
    }

    #[test]
    fn a_connection_that_ended_is_told_once_it_is_read_and_its_name_is_not_used_again() {
        let (mut streams, counters) = (Streams::default(), Counters::default());
        let (far, id) = joined(&mut streams);
        drop(far);
        while streams.ended.is_empty() {
            streams.read(id);
        }
        assert_eq!(streams.poll_ended(), Some(id));
        assert_eq!(streams.close(id).map(|(peer, _)| peer), Some(7));
        assert!(streams.close(id).is_none());
        let (_far, other) = joined(&mut streams);
        assert_ne!(id, other);
        send(&mut streams, &counters, id, 1);
        assert_eq!((counters.get(Counter::FramesSent), counters.get(Counter::FramesDropped)), (0, 1));
    }

    #[test]
    fn frames_come_out_and_a_long_one_is_the_end() {
        let (mut streams, counters) = (Streams::default(), Counters::default());
        let (mut far, id) = joined(&mut streams);
        far.write_all(&[0, 2, 8, 9, 0, 0, 255, 255]).expect("writes");
        let (mut out, mut lens) = ([0; framing::FRAME_LEN_MAX], Vec::new());
        while streams.ended.is_empty() {
            streams.read(id);
            while let Some((peer, _, len)) = streams.next_frame(id, &counters, &mut out) {
                assert_eq!(peer, 7);
                lens.push(len);
            }
        }
        assert_eq!(lens, [2, 0]);
        assert_eq!(counters.get(Counter::FramesReceived), 2);
    }
}
