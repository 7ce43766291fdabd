//! The system calls of the media path: batched receive, segmented batched send, poll, event counter, clock.
//!
//! The one module of Hewei with `unsafe`. Everything it hands out is safe.
#![allow(unsafe_code)]

use std::{
    io,
    mem::{MaybeUninit, size_of},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, TcpStream, UdpSocket},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    time::Duration,
};

use hewei_model::MonoNs;

/// Datagrams of one receive call.
pub(crate) const RECEIVE_BATCH: usize = 32;
/// Room for one datagram: more than any that we take.
pub(crate) const DATAGRAM_LEN_MAX: usize = 2_048;
/// Runs of one send call.
pub(crate) const SEND_BATCH: usize = 64;

/// Room for one `UDP_SEGMENT` control message, aligned as `cmsghdr` wants it.
const CONTROL_WORDS: usize = 4;

/// Buffers for [`receive`], made once.
pub(crate) struct ReceiveBuffers {
    datagrams: Box<[[u8; DATAGRAM_LEN_MAX]]>,
    lengths: [usize; RECEIVE_BATCH],
    from: [SocketAddr; RECEIVE_BATCH],
}

impl ReceiveBuffers {
    pub(crate) fn new() -> Self {
        Self {
            datagrams: vec![[0; DATAGRAM_LEN_MAX]; RECEIVE_BATCH].into(),
            lengths: [0; RECEIVE_BATCH],
            from: [SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)); RECEIVE_BATCH],
        }
    }

    /// The datagram at `at` of the last receive, and its sender.
    pub(crate) fn datagram(&mut self, at: usize) -> (SocketAddr, &mut [u8]) {
        (self.from[at], &mut self.datagrams[at][..self.lengths[at]])
    }
}

/// Makes the socket's receive buffer as large as asked, also beyond what the system grants to everybody, if this
/// process may. `false` when it may not.
pub(crate) fn force_receive_buffer(socket: &UdpSocket, bytes: usize) -> bool {
    let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    // SAFETY: a pointer to a local value, and its length.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUFFORCE,
            (&raw const bytes).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    result == 0
}

/// How many datagrams the system has dropped at this socket, modulo 2³²; `None` where it does not say.
pub(crate) fn overflow(socket: &UdpSocket) -> Option<u32> {
    /// `SK_MEMINFO_DROPS` of linux/sock_diag.h.
    const DROPS: usize = 8;
    let mut info = [0u32; 16];
    let mut len = size_of_val(&info) as libc::socklen_t;
    // SAFETY: pointers to local values; the length is the array's.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            info.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    (result == 0 && len as usize >= (DROPS + 1) * size_of::<u32>()).then_some(info[DROPS])
}

/// Takes what has arrived, up to [`RECEIVE_BATCH`] datagrams; 0 when there is nothing.
pub(crate) fn receive(socket: &UdpSocket, buffers: &mut ReceiveBuffers) -> io::Result<usize> {
    let mut addresses = [MaybeUninit::<libc::sockaddr_storage>::zeroed(); RECEIVE_BATCH];
    let mut vectors = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; RECEIVE_BATCH];
    // SAFETY: all-zero bytes are a valid `mmsghdr`: null pointers and zero lengths.
    let mut messages: [libc::mmsghdr; RECEIVE_BATCH] = unsafe { std::mem::zeroed() };
    for (at, datagram) in buffers.datagrams.iter_mut().enumerate() {
        vectors[at] = libc::iovec { iov_base: datagram.as_mut_ptr().cast(), iov_len: DATAGRAM_LEN_MAX };
        let header = &mut messages[at].msg_hdr;
        header.msg_name = addresses[at].as_mut_ptr().cast();
        header.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        header.msg_iov = &raw mut vectors[at];
        header.msg_iovlen = 1;
    }
    // SAFETY: the pointers in `messages` are to `addresses`, `vectors` and `buffers`, which outlive the call and
    // are not touched during it; the count is that of the array.
    let count = unsafe {
        libc::recvmmsg(
            socket.as_raw_fd(),
            messages.as_mut_ptr(),
            RECEIVE_BATCH as libc::c_uint,
            libc::MSG_DONTWAIT,
            std::ptr::null_mut(),
        )
    };
    if count < 0 {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::WouldBlock { Ok(0) } else { Err(error) };
    }
    let count = count as usize;
    for at in 0..count {
        buffers.lengths[at] = (messages[at].msg_len as usize).min(DATAGRAM_LEN_MAX);
        // SAFETY: the storage was zeroed, and the kernel wrote an address into it.
        let storage = unsafe { addresses[at].assume_init_ref() };
        if let Some(from) = to_address(storage) {
            buffers.from[at] = from;
        } else {
            buffers.lengths[at] = 0;
        }
    }
    Ok(count)
}

fn to_address(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that it is a `sockaddr_in`, for which the storage has room and alignment.
            let address = unsafe { &*(&raw const *storage).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr));
            Some(SocketAddrV4::new(ip, u16::from_be(address.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above, for `sockaddr_in6`.
            let address = unsafe { &*(&raw const *storage).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(address.sin6_addr.s6_addr);
            let port = u16::from_be(address.sin6_port);
            Some(SocketAddrV6::new(ip, port, address.sin6_flowinfo, address.sin6_scope_id).into())
        }
        _ => None,
    }
}

fn from_address(address: SocketAddr, storage: &mut libc::sockaddr_storage) -> libc::socklen_t {
    match address {
        SocketAddr::V4(v4) => {
            // SAFETY: the storage has room and alignment for every kind of address.
            let out = unsafe { &mut *(&raw mut *storage).cast::<libc::sockaddr_in>() };
            out.sin_family = libc::AF_INET as libc::sa_family_t;
            out.sin_port = v4.port().to_be();
            out.sin_addr.s_addr = u32::from(*v4.ip()).to_be();
            size_of::<libc::sockaddr_in>() as libc::socklen_t
        }
        SocketAddr::V6(v6) => {
            // SAFETY: as above.
            let out = unsafe { &mut *(&raw mut *storage).cast::<libc::sockaddr_in6>() };
            out.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            out.sin6_port = v6.port().to_be();
            out.sin6_flowinfo = v6.flowinfo();
            out.sin6_addr.s6_addr = v6.ip().octets();
            out.sin6_scope_id = v6.scope_id();
            size_of::<libc::sockaddr_in6>() as libc::socklen_t
        }
    }
}

/// Datagrams to one address that lie one behind the other, all `segment` bytes long but the last, which may be
/// shorter.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run<'a> {
    pub(crate) to: SocketAddr,
    pub(crate) data: &'a [u8],
    pub(crate) segment: u16,
}

/// Sends up to [`SEND_BATCH`] runs with one system call, each by UDP segmentation offload. Returns how many the
/// kernel took; an error is about the first run.
pub(crate) fn send(socket: &UdpSocket, runs: &[Run<'_>]) -> io::Result<usize> {
    let runs = &runs[..runs.len().min(SEND_BATCH)];
    // SAFETY: all-zero bytes are valid for these plain C structures.
    let mut addresses: [libc::sockaddr_storage; SEND_BATCH] = unsafe { std::mem::zeroed() };
    let mut vectors = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; SEND_BATCH];
    let mut control = [[0u64; CONTROL_WORDS]; SEND_BATCH];
    // SAFETY: as above.
    let mut messages: [libc::mmsghdr; SEND_BATCH] = unsafe { std::mem::zeroed() };
    for (at, run) in runs.iter().enumerate() {
        let address_len = from_address(run.to, &mut addresses[at]);
        vectors[at] = libc::iovec { iov_base: run.data.as_ptr().cast_mut().cast(), iov_len: run.data.len() };
        let header = &mut messages[at].msg_hdr;
        header.msg_name = (&raw mut addresses[at]).cast();
        header.msg_namelen = address_len;
        header.msg_iov = &raw mut vectors[at];
        header.msg_iovlen = 1;
        if run.data.len() > usize::from(run.segment) {
            header.msg_control = control[at].as_mut_ptr().cast();
            // SAFETY: CMSG_SPACE only computes. 24 bytes on 64-bit systems, for which CONTROL_WORDS has room.
            header.msg_controllen = unsafe { libc::CMSG_SPACE(size_of::<u16>() as u32) } as _;
            // SAFETY: `msg_control` has `msg_controllen` writable bytes, aligned to 8, so that the first header is
            // there and its data too.
            unsafe {
                let first = libc::CMSG_FIRSTHDR(header);
                (*first).cmsg_level = libc::SOL_UDP;
                (*first).cmsg_type = libc::UDP_SEGMENT;
                (*first).cmsg_len = libc::CMSG_LEN(size_of::<u16>() as u32) as _;
                libc::CMSG_DATA(first).cast::<u16>().write_unaligned(run.segment);
            }
        }
    }
    // SAFETY: the pointers in `messages` are to arrays and slices that outlive the call; the kernel only reads
    // what the vectors point to; the count is at most that of the array.
    let count = unsafe {
        libc::sendmmsg(
            socket.as_raw_fd(),
            messages.as_mut_ptr(),
            runs.len() as libc::c_uint,
            libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
        )
    };
    if count < 0 { Err(io::Error::last_os_error()) } else { Ok(count as usize) }
}

/// Wakes a shard that waits in [`wait`].
#[derive(Debug)]
pub(crate) struct EventCounter(OwnedFd);

impl EventCounter {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: no pointers; the result is checked.
        let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and nobody else's.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    pub(crate) fn signal(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: eight readable bytes. It fails only when the counter is full, and then it wakes anyway.
        unsafe { libc::write(self.0.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    pub(crate) fn reset(&self) {
        let mut count = [0u8; 8];
        // SAFETY: eight writable bytes. It fails only when there was no signal.
        unsafe { libc::read(self.0.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
    }
}

/// The connections that [`wait`] looks at besides the socket, and what it saw. Made once, filled before each wait.
#[derive(Default)]
pub(crate) struct Watched {
    ids: Vec<u64>,
    /// The socket and the counter, then the connections.
    entries: Vec<libc::pollfd>,
}

impl Watched {
    /// Begins anew: the socket and the counter alone.
    fn begin(&mut self, socket: &UdpSocket, counter: &EventCounter) {
        self.entries[..2].copy_from_slice(&[readable(socket), readable(&counter.0)]);
    }

    /// Forgets all connections.
    pub(crate) fn clear(&mut self) {
        self.ids.clear();
        self.entries.clear();
        // Two places for what is always looked at; poll takes no notice of negative descriptors.
        self.entries.resize(2, libc::pollfd { fd: -1, events: 0, revents: 0 });
    }

    /// Looks at this connection too: whether it has something to read, and if asked whether it can be written to.
    pub(crate) fn add(&mut self, id: u64, stream: &TcpStream, to_write: bool) {
        let mut entry = readable(stream);
        if to_write {
            entry.events |= libc::POLLOUT;
        }
        self.ids.push(id);
        self.entries.push(entry);
    }

    /// The connection at `at` of the last wait, when there is something to be done about it.
    pub(crate) fn seen(&self, at: usize) -> Option<u64> {
        let entry = self.entries.get(at + 2)?;
        (entry.revents != 0).then(|| self.ids[at])
    }

    /// How many connections were looked at.
    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }
}

fn readable(of: &impl AsRawFd) -> libc::pollfd {
    libc::pollfd { fd: of.as_raw_fd(), events: libc::POLLIN, revents: 0 }
}

/// Waits until the socket or a connection has something for us, the counter was signalled, or the time is over.
/// Returns whether the counter was signalled.
pub(crate) fn wait(
    socket: &UdpSocket,
    counter: &EventCounter,
    watched: &mut Watched,
    time: Duration,
) -> bool {
    watched.begin(socket, counter);
    let entries = &mut watched.entries;
    let time = libc::timespec {
        tv_sec: time.as_secs().min(3_600) as libc::time_t,
        tv_nsec: i64::from(time.subsec_nanos()) as _,
    };
    // SAFETY: the pointers are to the vector's elements and a local value, the count is the vector's. Whatever it returns, the caller looks
    // itself.
    unsafe {
        libc::ppoll(entries.as_mut_ptr(), entries.len() as libc::nfds_t, &raw const time, std::ptr::null())
    };
    entries[1].revents != 0
}

/// Now on this host's monotonic clock, the one that `std::time::Instant` reads too.
pub fn mono_now() -> MonoNs {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a pointer to a local value; the clock is there on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    MonoNs(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

/// The kernel's judgement of its clock (`adjtimex(2)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelClock {
    /// A time service said lately that it keeps the clock right (`STA_UNSYNC` is not set). Without news the kernel
    /// takes that back by itself, after hours.
    pub synchronised: bool,
    /// How far the clock is still to be moved, in nanoseconds.
    pub offset_ns: i64,
    /// How wrong it may be at most, in microseconds.
    pub error_max_us: i64,
}

/// Asks the kernel how it judges its clock; changes nothing. An error where the call is not allowed.
pub fn kernel_clock() -> io::Result<KernelClock> {
    // SAFETY: all-zero bytes are a valid `timex`, and `modes` of 0 asks without setting anything.
    let mut clock: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: a pointer to a local value, which the kernel fills.
    if unsafe { libc::adjtimex(&raw mut clock) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let unit_ns = if clock.status & libc::STA_NANO == 0 { 1_000 } else { 1 };
    Ok(KernelClock {
        synchronised: clock.status & libc::STA_UNSYNC == 0,
        offset_ns: clock.offset * unit_ns,
        error_max_us: clock.maxerror,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing() -> Watched {
        let mut watched = Watched::default();
        watched.clear();
        watched
    }

    #[test]
    fn a_run_arrives_as_its_segments() {
        let receiver = UdpSocket::bind("127.0.0.1:0").expect("binds");
        let sender = UdpSocket::bind("127.0.0.1:0").expect("binds");
        let to = receiver.local_addr().expect("bound");
        let data: Vec<u8> = (0..2_500).map(|at| (at / 1_000) as u8).collect();
        let runs = [Run { to, data: &data, segment: 1_000 }, Run { to, data: &[9; 5], segment: 5 }];
        assert_eq!(send(&sender, &runs).expect("sends"), 2);
        let mut buffers = ReceiveBuffers::new();
        let counter = EventCounter::new().expect("makes");
        let mut got = Vec::new();
        while got.len() < 4 {
            wait(&receiver, &counter, &mut nothing(), Duration::from_secs(5));
            let count = receive(&receiver, &mut buffers).expect("receives");
            assert!(count > 0, "nothing came");
            for at in 0..count {
                let (from, datagram) = buffers.datagram(at);
                assert_eq!(from, sender.local_addr().expect("bound"));
                got.push((datagram.len(), datagram[0]));
            }
        }
        assert_eq!(got, [(1_000, 0), (1_000, 1), (500, 2), (5, 9)]);
    }

    #[test]
    fn what_the_system_drops_is_told() {
        let receiver = UdpSocket::bind("127.0.0.1:0").expect("binds");
        let sender = UdpSocket::bind("127.0.0.1:0").expect("binds");
        let to = receiver.local_addr().expect("bound");
        assert_eq!(overflow(&receiver), Some(0));
        socket2::SockRef::from(&receiver).set_recv_buffer_size(4_096).expect("sets");
        (0..100).for_each(|_| assert_eq!(sender.send_to(&[0; 1_000], to).expect("sends"), 1_000));
        let dropped = overflow(&receiver).expect("told");
        receiver.set_nonblocking(true).expect("sets");
        let received = std::iter::from_fn(|| receiver.recv(&mut [0; 1_000]).ok()).count();
        assert_eq!(received + dropped as usize, 100);
        assert!(dropped > 0);
    }

    #[test]
    fn a_signal_wakes() {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("binds");
        let counter = EventCounter::new().expect("makes");
        counter.signal();
        assert!(wait(&socket, &counter, &mut nothing(), Duration::from_secs(3_600)));
        counter.reset();
        let before = mono_now();
        assert!(!wait(&socket, &counter, &mut nothing(), Duration::from_millis(20)));
        assert!(mono_now() > before);
    }
}
