//! Word to the service manager: ready, stopping, still alive (`sd_notify(3)`).
//!
//! A few lines of text in a datagram to the socket that `NOTIFY_SOCKET` names: a path, or, after an `@`, a name that is
//! in no file system. Where nobody set it nobody is told. Called by `hewei serve` alone.

use std::{
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    time::Duration,
};

use crate::state::App;

/// The way to the service manager.
pub struct Manager {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl Manager {
    /// The one that `NOTIFY_SOCKET` names. `None` where there is none, or where it cannot be spoken to, which the log
    /// then says.
    pub fn of_environment() -> Option<Manager> {
        let name = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty())?;
        Manager::at(&name)
            .inspect_err(|error| tracing::warn!(?name, %error, "the service manager cannot be told"))
            .ok()
    }

    fn at(name: &OsStr) -> io::Result<Manager> {
        let address = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(name)?,
        };
        let socket = UnixDatagram::unbound()?;
        // Whoever does not read must not hold the server up.
        socket.set_nonblocking(true)?;
        Ok(Manager { socket, address })
    }

    /// Another hand on the same way.
    pub fn try_clone(&self) -> io::Result<Manager> {
        Ok(Manager { socket: self.socket.try_clone()?, address: self.address.clone() })
    }

    fn tell(&self, state: &str) {
        if let Err(error) = self.socket.send_to_addr(state.as_bytes(), &self.address) {
            tracing::warn!(%error, state, "the service manager could not be told");
        }
    }

    /// The server listens.
    pub fn ready(&self) {
        self.tell("READY=1\nSTATUS=listening\n");
    }

    /// The server ends its sessions and seals their recordings.
    pub fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=ending sessions and sealing recordings\n");
    }

    /// Tells for ever that the server lives, three times in the time that the manager waits for it, each time after
    /// every media shard and the database have answered. Returns at once where no watchdog was asked for.
    pub async fn keep_alive(self, app: App) {
        let Some(every) = watchdog(|name| std::env::var(name).ok(), std::process::id()) else { return };
        let mut tick = tokio::time::interval(every / 3);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            match tokio::time::timeout(every / 3, answers(&app)).await {
                Ok(Ok(())) => self.tell("WATCHDOG=1\n"),
                Ok(Err(error)) => tracing::error!(error, "the watchdog is not told"),
                Err(_) => tracing::error!("the watchdog is not told: a media shard or the database hangs"),
            }
        }
    }
}

/// Whether every media shard and the database answer; otherwise which does not.
async fn answers(app: &App) -> Result<(), String> {
    if !app.engine.answers().await {
        return Err("a media shard has ended".to_owned());
    }
    app.store.ping().await.map_err(|error| format!("the database does not answer: {error}"))
}

/// The time in which the manager waits for a sign of life of this process.
fn watchdog(variable: impl Fn(&str) -> Option<String>, pid: u32) -> Option<Duration> {
    if variable("WATCHDOG_PID").is_some_and(|asked| asked.parse() != Ok(pid)) {
        return None;
    }
    let us: u64 = variable("WATCHDOG_USEC")?.parse().ok()?;
    (us > 0).then(|| Duration::from_micros(us))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(manager: &UnixDatagram) -> String {
        let mut buffer = [0; 256];
        let length = manager.recv(&mut buffer).expect("told");
        String::from_utf8(buffer[..length].to_vec()).expect("UTF-8")
    }

    #[test]
    fn a_socket_with_a_path_and_one_without() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let heard = UnixDatagram::bind(&path).expect("binds");
        Manager::at(path.as_os_str()).expect("speaks").ready();
        assert!(read(&heard).starts_with("READY=1\n"));

        let name = format!("hewei-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let heard = UnixDatagram::bind_addr(&address).expect("binds");
        Manager::at(OsStr::new(&format!("@{name}"))).expect("speaks").stopping();
        assert!(read(&heard).starts_with("STOPPING=1\n"));
    }

    #[test]
    fn a_watchdog_is_fed_by_whom_it_watches() {
        let of = |pid: &'static str, us: &'static str| {
            move |name: &str| match name {
                "WATCHDOG_PID" => (!pid.is_empty()).then(|| pid.to_owned()),
                _ => (!us.is_empty()).then(|| us.to_owned()),
            }
        };
        assert_eq!(watchdog(of("7", "60000000"), 7), Some(Duration::from_secs(60)));
        assert_eq!(watchdog(of("", "60000000"), 7), Some(Duration::from_secs(60)));
        for (pid, us) in [("8", "60000000"), ("7", ""), ("7", "0"), ("7", "soon")] {
            assert_eq!(watchdog(of(pid, us), 7), None, "{pid} {us}");
        }
    }
}
