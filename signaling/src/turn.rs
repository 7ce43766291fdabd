//! TURN for browsers behind a firewall that lets nothing but HTTPS out: beside HTTPS, and to this server's own media port
//! only (`hewei_turn`).
//!
//! Owns who gets credentials, how many relays there may be, and the relays: sockets on this machine that no other host
//! can reach. Which connections come here is for `http::listener` to tell; over UDP all that comes does.

mod datagrams;
mod relay;
mod stream;

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderValue, header, request::Parts, uri::Authority},
};
use hewei_api::ws::IceServer;
use hewei_turn::{Secret, Server};
use time::OffsetDateTime;
use tokio::net::UdpSocket;

pub(crate) use self::stream::Client;
use crate::{addresses, auth::Claims, config::Config, http::listener::OverTls};

const REALM: &str = "hewei";
/// Credentials are good for a long session, and for no longer than what they were given for.
const CREDENTIALS_MAX: Duration = Duration::from_secs(6 * 3_600);
/// Relays of one person: a browser makes one for each of its networks, and new ones before it lets the old ones go.
const PER_USER_MAX: u32 = 16;
/// Of one address: a hall, or a district behind one gateway.
const PER_ADDRESS_MAX: u32 = 256;
/// In all. Each is a connection and a socket.
pub(crate) const RELAYS_MAX: u32 = 1_024;

/// See the module.
pub struct Turn {
    server: Server,
    /// Where the media port is heard on this machine.
    media: SocketAddr,
    /// At which numbers there is TURN over UDP.
    udp_ports: Vec<u16>,
    held: Mutex<Held>,
    counters: Counters,
}

#[derive(Default)]
struct Held {
    all: u32,
    /// No longer than there are relays.
    users: HashMap<String, u32>,
    networks: HashMap<IpAddr, u32>,
}

/// What has been done, since the start.
#[derive(Default)]
struct Counters {
    opened: AtomicU64,
    refused: AtomicU64,
    forbidden: AtomicU64,
    limited: AtomicU64,
    malformed: AtomicU64,
    up_bytes: AtomicU64,
    down_bytes: AtomicU64,
    dropped: AtomicU64,
}

/// A relay's share of the limits; free again when it is dropped.
struct Place {
    turn: Arc<Turn>,
    user: String,
    network: IpAddr,
}

impl Turn {
    /// `None` when it is switched off. `port` is that of media, `key` one of the server's own, `datagrams` what
    /// [`open_datagrams`] opened.
    pub fn new(config: &Config, port: u16, key: &[u8], datagrams: &[UdpSocket]) -> Option<Arc<Turn>> {
        if !config.turn.enabled {
            return None;
        }
        let candidates = addresses::candidates(config, &addresses::of_this_machine());
        // One of them, since what comes back to a relay does not say which of them it was sent from.
        let peer = candidates.into_iter().min_by_key(|ip| (ip.is_ipv6(), ip.is_loopback()))?;
        let media = match (config.media.bind, peer) {
            (bind, _) if !bind.is_unspecified() => bind,
            (_, IpAddr::V4(_)) => Ipv4Addr::LOCALHOST.into(),
            (_, IpAddr::V6(_)) => Ipv6Addr::LOCALHOST.into(),
        };
        let peer = SocketAddr::new(peer, port);
        let server = Server { realm: REALM.to_owned(), secret: Secret::derive(key), peer };
        Some(Arc::new(Turn {
            server,
            media: SocketAddr::new(media, port),
            udp_ports: datagrams
                .iter()
                .flat_map(UdpSocket::local_addr)
                .map(|address| address.port())
                .collect(),
            held: Mutex::default(),
            counters: Counters::default(),
        }))
    }

    /// How the bearer of these claims gets through a firewall, by the address that they came by.
    pub fn ice_servers(&self, reached: &Reached, claims: &Claims, now: OffsetDateTime) -> Vec<IceServer> {
        let urls = reached.turn_urls(&self.udp_ports);
        if urls.is_empty() {
            return Vec::new();
        }
        let until = claims.open_until.min(now + CREDENTIALS_MAX);
        let until = u64::try_from(until.unix_timestamp()).unwrap_or_default();
        let credentials = self.server.secret.issue(until, &claims.participant.to_string());
        vec![IceServer { urls, username: credentials.username, credential: credentials.password }]
    }

    /// What was counted, by name without the `hewei_` prefix, and the gauge of open relays.
    pub fn counts(&self) -> [(&'static str, u64); 9] {
        let counters = &self.counters;
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let open = self.held.lock().unwrap_or_else(PoisonError::into_inner).all;
        [
            ("turn_relays", u64::from(open)),
            ("turn_relays_opened_total", value(&counters.opened)),
            ("turn_requests_refused_total", value(&counters.refused)),
            ("turn_peers_forbidden_total", value(&counters.forbidden)),
            ("turn_relays_limited_total", value(&counters.limited)),
            ("turn_malformed_total", value(&counters.malformed)),
            ("turn_received_bytes_total", value(&counters.up_bytes)),
            ("turn_sent_bytes_total", value(&counters.down_bytes)),
            ("turn_dropped_total", value(&counters.dropped)),
        ]
    }

    /// A place for one more relay; else the code to refuse it with (RFC 8656 §7.2).
    fn place(self: &Arc<Self>, user: String, client: IpAddr) -> Result<Place, u16> {
        let network = addresses::network(client);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let of_user = held.users.get(&user).copied().unwrap_or_default();
        let of_network = held.networks.get(&network).copied().unwrap_or_default();
        // A proxy on this machine speaks for everybody.
        if of_user >= PER_USER_MAX || (of_network >= PER_ADDRESS_MAX && !network.is_loopback()) {
            return Err(486);
        }
        if held.all >= RELAYS_MAX {
            return Err(508);
        }
        held.all += 1;
        held.users.insert(user.clone(), of_user + 1);
        held.networks.insert(network, of_network + 1);
        Ok(Place { turn: Arc::clone(self), user, network })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.turn.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.all -= 1;
        lower(&mut held.users, &self.user);
        lower(&mut held.networks, &self.network);
    }
}

fn lower<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, u32>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// By which address a request reached this server.
pub struct Reached {
    host: Option<Authority>,
    tls: bool,
}

impl Reached {
    /// Of a request with these headers.
    pub fn new(headers: &HeaderMap, OverTls(tls): OverTls) -> Self {
        // What stands between may not pass on anything but HTTP.
        let direct = !addresses::through_proxy(headers);
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).filter(|_| direct);
        let host = host.filter(|host| host.len() <= 255).and_then(|host| host.parse().ok());
        Self { host: host.filter(|host: &Authority| !host.as_str().contains('@')), tls }
    }

    /// RFC 7065. TLS where the pages have it: the certificate is good for the same address. UDP where it is served at the
    /// same number; media within is encrypted by itself.
    fn turn_urls(&self, udp_ports: &[u16]) -> Vec<String> {
        let Some(authority) = &self.host else { return Vec::new() };
        let (scheme, port) = if self.tls { ("turns", 443) } else { ("turn", 80) };
        let (host, port) = (authority.host(), authority.port_u16().unwrap_or(port));
        let mut urls = vec![format!("{scheme}:{host}:{port}?transport=tcp")];
        if udp_ports.contains(&port) {
            urls.push(format!("turn:{host}:{port}?transport=udp"));
        }
        urls
    }
}

/// Opens UDP at the numbers of HTTP for [`Turn::serve_datagrams`], if it is wanted: but not at that of media, since who
/// reaches that one needs no relay.
pub async fn open_datagrams(
    config: &Config,
    http: &[SocketAddr],
    media: u16,
) -> anyhow::Result<Vec<UdpSocket>> {
    let mut sockets = Vec::new();
    if !config.turn.enabled || !config.turn.udp {
        return Ok(sockets);
    }
    for (asked, address) in config.http.listen.iter().zip(http).filter(|(_, at)| at.port() != media) {
        match UdpSocket::bind(address).await {
            Ok(socket) => sockets.push(socket),
            // A number that was free for TCP need not be for UDP, and nobody asked for this one.
            Err(_) if asked.port() == 0 => {}
            Err(error) => {
                return Err(error).with_context(|| {
                    format!("cannot open UDP {address} for TURN; free it, or set turn.udp to false")
                });
            }
        }
    }
    Ok(sockets)
}

impl<S: Sync> FromRequestParts<S> for Reached {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let tls = parts.extensions.get().copied().unwrap_or(OverTls(false));
        Ok(Self::new(&parts.headers, tls))
    }
}

/// `Link` headers for WHIP and WHEP clients (RFC 9725 §4.6).
pub fn links(servers: &[IceServer]) -> Vec<HeaderValue> {
    servers
        .iter()
        .flat_map(|server| server.urls.iter().map(move |url| (server, url)))
        .filter_map(|(server, url)| {
            let link = format!(
                "<{url}>; rel=\"ice-server\"; username=\"{}\"; credential=\"{}\"; credential-type=\"password\"",
                server.username, server.credential
            );
            let mut value = HeaderValue::try_from(link).ok()?;
            value.set_sensitive(true);
            Some(value)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use hewei_model::Role;

    use super::*;

    fn url(host: &str, tls: bool, more: Option<(&'static str, &'static str)>) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::try_from(host).expect("a value"));
        if let Some((name, value)) = more {
            headers.insert(name, HeaderValue::from_static(value));
        }
        Reached::new(&headers, OverTls(tls)).turn_urls(&[]).pop()
    }

    #[test]
    fn a_browser_is_told_the_address_that_it_came_by() {
        let told = |url: &str| Some(url.to_owned());
        assert_eq!(url("192.0.2.1:8443", true, None), told("turns:192.0.2.1:8443?transport=tcp"));
        assert_eq!(url("hewei.example", true, None), told("turns:hewei.example:443?transport=tcp"));
        assert_eq!(url("[2001:db8::1]:8443", true, None), told("turns:[2001:db8::1]:8443?transport=tcp"));
        assert_eq!(url("127.0.0.1:8080", false, None), told("turn:127.0.0.1:8080?transport=tcp"));
        for nonsense in ["", "a b", "a\"b", "x@192.0.2.1", "a>; rel=\"x", &"x".repeat(300)] {
            assert_eq!(url(nonsense, true, None), None, "{nonsense}");
        }
        assert_eq!(url("hewei.example", false, Some(("x-forwarded-for", "192.0.2.9"))), None);
    }

    #[test]
    fn udp_is_told_of_where_it_is_served() {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("[2001:db8::1]"));
        let reached = Reached::new(&headers, OverTls(true));
        let tls = "turns:[2001:db8::1]:443?transport=tcp";
        assert_eq!(reached.turn_urls(&[8_443]), [tls]);
        assert_eq!(reached.turn_urls(&[8_443, 443]), [tls, "turn:[2001:db8::1]:443?transport=udp"]);
    }

    fn turn() -> Arc<Turn> {
        let mut config = Config::default();
        config.media.addresses = vec![IpAddr::from([203, 0, 113, 9]), IpAddr::from([192, 0, 2, 1])];
        Turn::new(&config, 8_443, &[1; 32], &[]).expect("it is on")
    }

    #[test]
    fn credentials_last_no_longer_than_what_they_are_given_for() {
        let turn = turn();
        assert_eq!(turn.server.peer, SocketAddr::from(([203, 0, 113, 9], 8_443)));
        assert_eq!(turn.media, SocketAddr::from(([127, 0, 0, 1], 8_443)), "of whatever outside address");
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("hewei.example"));
        let reached = Reached::new(&headers, OverTls(true));
        let now = OffsetDateTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        for (left, expected) in [(60, 1_800_000_060), (86_400, 1_800_021_600)] {
            let until = now + Duration::from_secs(left);
            let claims = Claims::of_link("张三".to_owned(), Role::Party, None, until);
            let servers = turn.ice_servers(&reached, &claims, now);
            assert_eq!(servers[0].username, format!("{expected}:{}", claims.participant));
            let links = links(&servers);
            let text = links[0].to_str().expect("visible");
            assert!(
                text.starts_with("<turns:hewei.example:443?transport=tcp>; rel=\"ice-server\"; "),
                "{text}"
            );
            assert!(links[0].is_sensitive());
        }
        let mut off = Config::default();
        off.turn.enabled = false;
        assert!(Turn::new(&off, 8_443, &[1; 32], &[]).is_none());
    }

    #[tokio::test]
    async fn udp_is_opened_where_media_is_not() {
        let mut config = Config::default();
        config.http.listen = vec![([127, 0, 0, 1], 0).into()];
        let opened = open_datagrams(&config, &[([127, 0, 0, 1], 0).into()], 1).await.expect("opens");
        let pages = opened[0].local_addr().expect("bound");
        let more = async |config: &Config, media| open_datagrams(config, &[pages], media).await;
        assert!(more(&config, 1).await.expect("any number would have done").is_empty(), "it is taken");
        config.http.listen = vec![pages];
        let error = more(&config, 1).await.expect_err("this number was asked for");
        assert!(error.to_string().ends_with("free it, or set turn.udp to false"), "{error}");
        assert!(more(&config, pages.port()).await.expect("media is there").is_empty());
        config.turn.udp = false;
        assert!(more(&config, 1).await.expect("it is off").is_empty());
    }

    #[test]
    fn a_person_an_address_and_all_have_their_shares() {
        let turn = turn();
        let take = |user: &str, client: [u8; 4]| turn.place(user.to_owned(), client.into());
        let mut places: Vec<Place> =
            (0..PER_USER_MAX).map(|_| take("a", [192, 0, 2, 1]).expect("a place")).collect();
        assert_eq!(take("a", [192, 0, 2, 2]).err(), Some(486));
        places.extend(
            (PER_USER_MAX..PER_ADDRESS_MAX).map(|n| take(&format!("b{n}"), [192, 0, 2, 1]).expect("a place")),
        );
        assert_eq!(take("c", [192, 0, 2, 1]).err(), Some(486));
        let more = PER_ADDRESS_MAX..RELAYS_MAX;
        places.extend(more.map(|n| take(&format!("d{n}"), [127, 0, 0, 1]).expect("a place")));
        assert_eq!(take("e", [192, 0, 2, 3]).err(), Some(508));
        drop(places);
        let held = turn.held.lock().expect("nobody panicked");
        assert!(held.all == 0 && held.users.is_empty() && held.networks.is_empty(), "nothing is remembered");
    }
}
