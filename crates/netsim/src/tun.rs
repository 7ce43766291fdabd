//! A TUN device: what the kernel sends into it comes out here as whole IP packets, and the other way round.
//!
//! The one module of this crate with `unsafe`.
#![allow(unsafe_code)]

use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Read, Write},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd},
        unix::fs::OpenOptionsExt,
    },
};

/// Longer packets don't come: the device's MTU is 1,500 bytes.
const PACKET_LEN_MAX: usize = 2_048;

/// A device of the namespace that it was made in. It goes with this value.
#[derive(Debug)]
pub(crate) struct Tun(File);

impl Tun {
    /// Makes a device in this thread's network namespace.
    pub(crate) fn new(name: &str) -> io::Result<Self> {
        let flags = libc::O_NONBLOCK | libc::O_CLOEXEC;
        let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open("/dev/net/tun")?;
        // SAFETY: all-zero bytes are a valid `ifreq`.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        // One is left for the zero at the end.
        if name.len() >= request.ifr_name.len() {
            return Err(io::Error::new(ErrorKind::InvalidInput, "the device's name is too long"));
        }
        for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
            *to = from as libc::c_char;
        }
        request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
        // SAFETY: the request wants a pointer to an `ifreq`, and this one outlives the call.
        if unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self(file))
    }

    /// The next packet, if one waits.
    pub(crate) fn receive(&self) -> io::Result<Option<Vec<u8>>> {
        let mut buffer = [0; PACKET_LEN_MAX];
        match (&self.0).read(&mut buffer) {
            Ok(length) => Ok(Some(buffer[..length].to_vec())),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Gives the kernel a packet, whole or not at all.
    pub(crate) fn send(&self, packet: &[u8]) -> io::Result<()> {
        (&self.0).write(packet).map(drop)
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
