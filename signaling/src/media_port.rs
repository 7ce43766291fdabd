//! The media port: UDP, and TCP with the same number.
//!
//! The TCP side is usually that of an `http.listen` address, which takes media besides (`http::listener`). When there is
//! none with this number, it gets a listener of its own that takes nothing else.

use std::net::{IpAddr, SocketAddr};

use anyhow::Context;
use hewei_engine::{Engine, Event, StartError};
use tokio::{net::TcpListener, sync::mpsc};

use crate::{addresses, config::Config};

/// Ports tried when any will do: one that is free for UDP may be taken for TCP.
const TRIES: usize = 16;

/// The engine, and what is left to listen at.
pub struct MediaPort {
    /// The engine.
    pub engine: Engine,
    /// What happens in it.
    pub events: mpsc::Receiver<Event>,
    /// The TCP side, when no address of HTTP has it.
    pub listener: Option<TcpListener>,
}

/// Opens the port beside the addresses of HTTP, which are bound already.
pub async fn open(config: &Config, http: &[SocketAddr]) -> anyhow::Result<MediaPort> {
    let candidates = addresses::candidates(config, &addresses::of_this_machine());
    let start = |port, tcp_candidates| {
        Engine::start(hewei_engine::Config {
            port,
            bind: config.media.bind,
            candidates: candidates.clone(),
            tcp_candidates,
            shards: config.media.shards,
            video_codecs: config.media.video_codecs.clone(),
        })
    };
    let port = config.media.port;
    let shared: Vec<IpAddr> =
        http.iter().filter(|address| address.port() == port).map(SocketAddr::ip).collect();
    if !config.media.tcp || !shared.is_empty() {
        let reached = candidates.iter().filter(|ip| config.media.tcp && hears(&shared, **ip));
        let tcp_candidates = reached.map(|ip| SocketAddr::new(*ip, port)).collect();
        let (engine, events) = start(port, tcp_candidates)?;
        return Ok(MediaPort { engine, events, listener: None });
    }
    for _ in 1..TRIES {
        let listener = TcpListener::bind((config.media.bind, port)).await.with_context(|| {
            format!("cannot open TCP port {port}; set media.port to a free port, or media.tcp to false")
        })?;
        let given = listener.local_addr()?.port();
        let tcp_candidates = candidates.iter().map(|ip| SocketAddr::new(*ip, given)).collect();
        match start(given, tcp_candidates) {
            Ok((engine, events)) => return Ok(MediaPort { engine, events, listener: Some(listener) }),
            Err(StartError::Bind { .. }) if port == 0 => {}
            Err(error) => return Err(error.into()),
        }
    }
    anyhow::bail!("no port is free for both UDP and TCP; set media.port to one that is")
}

/// Whether one of these listeners hears what is sent to an address. Behind a translating gateway the addresses of the
/// settings are not this machine's: a listener at all addresses hears them.
fn hears(listeners: &[IpAddr], ip: IpAddr) -> bool {
    listeners.iter().any(|listener| match listener {
        IpAddr::V4(v4) if v4.is_unspecified() => ip.is_ipv4(),
        IpAddr::V6(v6) if v6.is_unspecified() => true,
        listener => *listener == ip,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_hears_its_address_or_all_of_its_family() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert!(hears(&[ip("0.0.0.0")], ip("203.0.113.1")) && !hears(&[ip("0.0.0.0")], ip("2001:db8::1")));
        assert!(hears(&[ip("::")], ip("203.0.113.1")) && hears(&[ip("::")], ip("2001:db8::1")));
        assert!(hears(&[ip("127.0.0.1"), ip("192.0.2.1")], ip("192.0.2.1")));
        assert!(!hears(&[ip("127.0.0.1")], ip("192.0.2.1")) && !hears(&[], ip("192.0.2.1")));
    }

    async fn opened(port: u16, tcp: bool, http: &[SocketAddr]) -> MediaPort {
        let mut config = Config::default();
        (config.media.port, config.media.tcp) = (port, tcp);
        config.media.bind = IpAddr::from([127, 0, 0, 1]);
        open(&config, http).await.expect("opens")
    }

    #[tokio::test]
    async fn tcp_has_the_number_of_udp_and_a_listener_where_http_has_none() {
        let own = opened(0, true, &[]).await;
        let listener = own.listener.as_ref().expect("its own");
        assert_eq!(listener.local_addr().expect("bound").port(), own.engine.port());
        let port = own.engine.port();
        own.engine.shutdown();

        let shared = opened(port, true, &[([127, 0, 0, 1], port).into()]).await;
        assert_eq!((shared.engine.port(), shared.listener.is_none()), (port, true));
        shared.engine.shutdown();
        let off = opened(0, false, &[]).await;
        assert!(off.listener.is_none());
        off.engine.shutdown();
    }
}
