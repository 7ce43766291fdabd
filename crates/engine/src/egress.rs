//! What a shard sends: datagrams gathered into runs, runs into one system call.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
};

use hewei_peer::{Path, Transport};

use crate::{
    counters::{Counter, Counters},
    streams::{CONTROL_KEPT, Streams},
    sys,
};

/// The longest datagram sent.
pub(crate) const DATAGRAM_LEN_MAX: usize = 1_500;
/// Datagrams of one run. Longer bursts cost other flows loss: 0.44 % against 0.007 %.
const RUN_MAX: usize = 8;
/// The longest datagram that is joined to others: a segment must fit the path, and one that does not costs its run.
const SEGMENT_MAX: usize = 1_280;
/// Runs refused one after the other, before segmentation is given up for good.
const REFUSALS_MAX: u32 = 64;
const BUFFER_LEN: usize = sys::SEND_BATCH * 4 * DATAGRAM_LEN_MAX;

struct Run {
    to: SocketAddr,
    start: usize,
    end: usize,
    segment: usize,
    datagrams: usize,
    /// No datagram may follow: the last was shorter than the others.
    closed: bool,
}

pub(crate) struct Egress {
    buffer: Box<[u8]>,
    used: usize,
    runs: Vec<Run>,
    segmentation: bool,
    refusals: u32,
    /// The connections over TCP of the shard.
    pub(crate) streams: Streams,
}

impl Egress {
    pub(crate) fn new() -> Self {
        Self {
            buffer: vec![0; BUFFER_LEN].into(),
            used: 0,
            runs: Vec::with_capacity(sys::SEND_BATCH),
            segmentation: true,
            refusals: 0,
            streams: Streams::default(),
        }
    }

    /// Adds the datagram that `write` writes into the room it is given; it returns the length, or `None` for none.
    /// Nothing is sent before [`Egress::flush`], unless there is no more room.
    pub(crate) fn datagram(
        &mut self,
        socket: &UdpSocket,
        counters: &Counters,
        to: Path,
        write: impl FnOnce(&mut [u8]) -> Option<usize>,
    ) {
        self.add(socket, counters, to, 0, write);
    }

    /// The same for a packet of media, which may be lost: where little room is left, that is for what holds the
    /// connection.
    pub(crate) fn media(
        &mut self,
        socket: &UdpSocket,
        counters: &Counters,
        to: Path,
        write: impl FnOnce(&mut [u8]) -> Option<usize>,
    ) {
        self.add(socket, counters, to, CONTROL_KEPT, write);
    }

    fn add(
        &mut self,
        socket: &UdpSocket,
        counters: &Counters,
        to: Path,
        kept: usize,
        write: impl FnOnce(&mut [u8]) -> Option<usize>,
    ) {
        let to = match to.transport {
            Transport::Udp => to.address,
            Transport::Tcp(id) => return self.streams.frame(id, counters, kept, write),
        };
        if self.used + DATAGRAM_LEN_MAX > self.buffer.len() || self.runs.len() == sys::SEND_BATCH {
            self.flush(socket, counters);
        }
        let room = &mut self.buffer[self.used..self.used + DATAGRAM_LEN_MAX];
        let Some(len) = write(room).filter(|len| *len > 0) else { return };
        counters.add(Counter::DatagramsSent, 1);
        counters.add(Counter::BytesSent, len as u64);
        let start = self.used;
        self.used += len;
        if let Some(run) = self.runs.last_mut()
            && self.segmentation
            && run.to == to
            && !run.closed
            && run.datagrams < RUN_MAX
            && run.segment <= SEGMENT_MAX
            && len <= run.segment
        {
            run.end = self.used;
            run.datagrams += 1;
            run.closed = len < run.segment;
        } else {
            self.runs.push(Run { to, start, end: self.used, segment: len, datagrams: 1, closed: false });
        }
    }

    /// Sends all that was added.
    pub(crate) fn flush(&mut self, socket: &UdpSocket, counters: &Counters) {
        self.streams.flush();
        let mut rest = &self.runs[..];
        while !rest.is_empty() {
            let mut batch = [sys::Run { to: rest[0].to, data: &[], segment: 0 }; sys::SEND_BATCH];
            let count = rest.len().min(batch.len());
            for (run, out) in rest.iter().zip(&mut batch) {
                *out = sys::Run {
                    to: run.to,
                    data: &self.buffer[run.start..run.end],
                    segment: run.segment as u16,
                };
            }
            counters.add(Counter::SendCalls, 1);
            match sys::send(socket, &batch[..count]) {
                Ok(sent) => {
                    counters.add(Counter::SendRuns, sent as u64);
                    if rest[..sent].iter().any(|run| run.datagrams > 1) {
                        self.refusals = 0;
                    }
                    rest = &rest[sent..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if rest[0].datagrams > 1 && refuses_segmentation(&error) => {
                    // One path that is too narrow, or a network without offload: this run goes out piece by piece.
                    self.refusals += 1;
                    if self.refusals == REFUSALS_MAX {
                        self.segmentation = false;
                        tracing::warn!(%error, "no UDP segmentation to be had; sending datagrams one by one");
                    }
                    for piece in self.buffer[rest[0].start..rest[0].end].chunks(rest[0].segment) {
                        let run = sys::Run { to: rest[0].to, data: piece, segment: piece.len() as u16 };
                        if sys::send(socket, &[run]).is_err() {
                            counters.add(Counter::SendDropped, 1);
                        }
                    }
                    rest = &rest[1..];
                }
                // The buffer of the socket is full, or this one address cannot be reached: as the network would,
                // drop the run, so that nobody else waits.
                Err(_) => {
                    counters.add(Counter::SendDropped, rest[0].datagrams as u64);
                    rest = &rest[1..];
                }
            }
        }
        self.runs.clear();
        self.used = 0;
    }
}

fn refuses_segmentation(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EIO | libc::EINVAL | libc::EOPNOTSUPP | libc::EMSGSIZE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_of_one_length_leave_together_and_order_is_kept() {
        let receiver = UdpSocket::bind("127.0.0.1:0").expect("binds");
        let socket = UdpSocket::bind("127.0.0.1:0").expect("binds");
        let to = receiver.local_addr().expect("bound");
        let counters = Counters::default();
        let mut egress = Egress::new();
        let lens = [100, 100, 100, 60, 100, 200, 200, 200];
        for (at, len) in lens.iter().enumerate() {
            egress.datagram(&socket, &counters, to.into(), |out| {
                out[..*len].fill(at as u8);
                Some(*len)
            });
        }
        egress.datagram(&socket, &counters, to.into(), |_| None);
        egress.flush(&socket, &counters);
        assert_eq!(counters.get(Counter::SendRuns), 3, "100×3 and 60; 100; 200×3");
        assert_eq!(counters.get(Counter::SendCalls), 1);
        let mut datagram = [0; 300];
        for (at, len) in lens.iter().enumerate() {
            let got = receiver.recv(&mut datagram).expect("arrives");
            assert_eq!((got, datagram[0]), (*len, at as u8));
        }
    }
}
