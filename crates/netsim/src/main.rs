//! The shell: two TUN devices in two network namespaces, and a line between them.
//!
//! `hewei-netsim FAR_NAMESPACE SEED` makes the device `near` where it is started (10.77.0.1/24) and `far` in the other
//! namespace (10.77.0.2/24), says `ready`, then does what its input says, a [`Command`] a line, and answers each by one
//! line: `ok`, `error: ...`, or what it is asked for, as JSON. It ends with its input, and the devices with it.
//! Needs to be root in both namespaces, and `ip` of iproute2.

mod tun;

use std::{
    env,
    fs::File,
    io::{ErrorKind, Read, Write, stdin, stdout},
    net::Ipv4Addr,
    os::fd::AsFd,
    process,
    time::Instant,
};

use anyhow::{Context, Result, bail, ensure};
use hewei_netsim::{Command, Counts, Direction};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, ppoll},
    sched::{CloneFlags, setns},
    sys::time::TimeSpec,
};

use crate::tun::Tun;

const NEAR: &str = "near";
const FAR: &str = "far";
const NEAR_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const FAR_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const PREFIX: u8 = 24;
/// Packets taken from one device before the other has its turn.
const BATCH: usize = 64;
/// Longer lines of input are no commands.
const LINE_LEN_MAX: usize = 1_024;

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [far, seed] = arguments.as_slice() else { bail!("usage: hewei-netsim FAR_NAMESPACE SEED") };
    let seed: u64 = seed.parse().with_context(|| format!("the seed '{seed}' is no whole number"))?;
    let far = File::open(far).with_context(|| format!("opening the far namespace {far}"))?;

    let near = device(NEAR, NEAR_ADDRESS)?;
    // There is one thread, and it stays on the far side: that is where an address may change.
    setns(far, CloneFlags::CLONE_NEWNET).context("entering the far namespace")?;
    let far = device(FAR, FAR_ADDRESS)?;

    let input = File::from(stdin().as_fd().try_clone_to_owned().context("taking the input")?);
    answer("ready")?;
    let mut link = Link { near, far, down: Direction::new(seed), up: Direction::new(!seed) };
    link.run(input)
}

/// Both ends, and the line in both directions.
struct Link {
    near: Tun,
    far: Tun,
    down: Direction,
    up: Direction,
}

impl Link {
    fn run(&mut self, mut input: File) -> Result<()> {
        let mut text = Vec::new();
        loop {
            let wait = [self.down.poll_timeout(), self.up.poll_timeout()].into_iter().flatten().min();
            let wait = wait.map(|at| TimeSpec::from_duration(at.saturating_duration_since(Instant::now())));
            let entry = |fd| PollFd::new(fd, PollFlags::POLLIN);
            let mut entries = [entry(input.as_fd()), entry(self.near.as_fd()), entry(self.far.as_fd())];
            match ppoll(&mut entries, wait, None) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error).context("waiting for packets"),
            }
            let [told, ..] = entries.map(|entry| entry.any().unwrap_or(true));

            carry(&self.near, &mut self.down, &self.far).context("from the near side to the far")?;
            carry(&self.far, &mut self.up, &self.near).context("from the far side to the near")?;
            if told && !self.obey(&mut input, &mut text)? {
                return Ok(());
            }
        }
    }

    /// Does what the input says. `false` at its end.
    fn obey(&mut self, input: &mut File, text: &mut Vec<u8>) -> Result<bool> {
        let mut buffer = [0; LINE_LEN_MAX];
        let length = input.read(&mut buffer).context("reading the input")?;
        text.extend_from_slice(&buffer[..length]);
        while let Some(end) = text.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            let said = match Command::parse(String::from_utf8_lossy(&line[..end]).as_ref()) {
                Ok(command) => self.perform(command).unwrap_or_else(|error| format!("error: {error:#}")),
                Err(error) => format!("error: {error}"),
            };
            answer(&said)?;
        }
        ensure!(text.len() <= LINE_LEN_MAX, "a line of input is longer than {LINE_LEN_MAX} bytes");
        Ok(length > 0)
    }

    fn perform(&mut self, command: Command) -> Result<String> {
        match command {
            Command::Conditions { down, up } => {
                self.down.set_conditions(down);
                self.up.set_conditions(up);
            }
            Command::Outage(time) => {
                let until = Instant::now() + time;
                self.down.set_outage(until);
                self.up.set_outage(until);
            }
            Command::Address(address) => set_address(FAR, address)?,
            Command::Report => {
                let [down, up] = [self.down.take_counts(), self.up.take_counts()].map(json);
                return Ok(format!(r#"{{"down":{down},"up":{up}}}"#));
            }
        }
        Ok("ok".to_owned())
    }
}

/// Takes what waits at one end, and gives the other what has arrived.
fn carry(from: &Tun, direction: &mut Direction, to: &Tun) -> Result<()> {
    for _ in 0..BATCH {
        let Some(packet) = from.receive().context("taking a packet")? else { break };
        // IPv4 alone: what IPv6 says by itself to nobody (neighbours, routers) would use up random numbers.
        if packet.first().is_some_and(|first| first >> 4 == 4) {
            direction.accept(packet, Instant::now());
        }
    }
    let now = Instant::now();
    while let Some(packet) = direction.poll_output(now) {
        match to.send(&packet) {
            // Full, or without an address for a moment: the packet is lost, as it would be.
            Err(error) if error.kind() == ErrorKind::WouldBlock || is_loss(&error) => {}
            sent => sent.context("giving a packet")?,
        }
    }
    Ok(())
}

fn is_loss(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::ENETDOWN | libc::EIO))
}

/// A device in this namespace, with its address, and up.
fn device(name: &str, address: Ipv4Addr) -> Result<Tun> {
    let tun = Tun::new(name)
        .with_context(|| format!("making the device {name}: is /dev/net/tun there, and are we root?"))?;
    set_address(name, address)?;
    ip(&["link", "set", name, "up"])?;
    // The other side may need this one's loopback, as a browser does.
    ip(&["link", "set", "lo", "up"])?;
    Ok(tun)
}

/// The old address goes first: while both are there the new one is the second, and goes with the first.
fn set_address(name: &str, address: Ipv4Addr) -> Result<()> {
    ip(&["address", "flush", "dev", name])?;
    ip(&["address", "add", &format!("{address}/{PREFIX}"), "dev", name])
}

/// Runs in the namespace of this thread.
fn ip(arguments: &[&str]) -> Result<()> {
    let output = process::Command::new("ip").args(arguments).stdin(process::Stdio::null()).output();
    let output = output.context("running ip: is iproute2 installed?")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {}: {}", arguments.join(" "), said.trim());
    Ok(())
}

fn json(counts: Counts) -> String {
    let Counts { accepted, delivered, delivered_bytes, lost, outage, queue_full, overflow, late_max } =
        counts;
    let late = late_max.as_micros();
    format!(
        "{{\"accepted\":{accepted},\"delivered\":{delivered},\"delivered_bytes\":{delivered_bytes},\"lost\":{lost},\
         \"outage\":{outage},\"queue_full\":{queue_full},\"overflow\":{overflow},\"late_max_us\":{late}}}"
    )
}

fn answer(line: &str) -> Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).context("answering")
}
