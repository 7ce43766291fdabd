//! The addresses that browsers are told to send media to: does this machine have them, does the media port hear over
//! each, and whom will they serve?

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use hewei_engine::{Engine, Offer, SlotFill};
use hewei_model::{ParticipantId, PeerId, RoomId};
use tokio::net::UdpSocket;

use super::{
    context::Context,
    http, ports,
    report::{Check, Finding, words},
    stun,
};
use crate::{addresses, serve::Listening};

/// Datagrams are lost now and then.
const TRIES: usize = 5;
const TRY_TIME: Duration = Duration::from_millis(400);
/// What the running server counts of datagrams that are from nobody it knows.
const STRANGERS: &str = "hewei_media_strangers_dropped_total";

/// What is known of the addresses.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    told: Vec<Told>,
    /// They were set by `media.addresses`.
    set: bool,
    /// Other devices can open the pages.
    open_to_others: bool,
    port: u16,
}

/// One address that browsers are told.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Told {
    address: IpAddr,
    /// This machine has it.
    here: bool,
    heard: Heard,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    Yes,
    No,
    NotAsked,
}

/// Whom an address serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    Loopback,
    Private,
    Public,
}

pub(super) async fn gather(context: &Context) -> Facts {
    let config = &context.config;
    let machine = addresses::of_this_machine();
    let candidates = addresses::candidates(config, &machine);
    let heard = match context.server {
        Some(_) => ask_running(context, &candidates).await,
        None => ask_engine(context, &candidates).await,
    };
    let is_here = |address: IpAddr| address.is_loopback() || machine.contains(&address);
    let told = candidates
        .into_iter()
        .zip(heard)
        .map(|(address, heard)| Told { address, here: is_here(address), heard })
        .collect();
    Facts {
        told,
        set: !config.media.addresses.is_empty(),
        open_to_others: config.http.listen.iter().any(|listen| !listen.ip().is_loopback()),
        port: config.media.port,
    }
}

/// Starts the media engine alone on the port of the settings and sends it a request over each address.
async fn ask_engine(context: &Context, candidates: &[IpAddr]) -> Vec<Heard> {
    let nobody = vec![Heard::NotAsked; candidates.len()];
    let media = &context.config.media;
    if !ports::media_is_free(context) {
        return nobody;
    }
    let started = Engine::start(hewei_engine::Config {
        port: media.port,
        bind: media.bind,
        candidates: candidates.to_vec(),
        tcp_candidates: Vec::new(),
        shards: 1,
        video_codecs: media.video_codecs.clone(),
    });
    let Ok((engine, mut events)) = started else { return nobody };
    let drain = tokio::spawn(async move { while events.recv().await.is_some() {} });
    let room = RoomId::generate();
    engine.open_room(room);
    let offer = Offer {
        room,
        participant: ParticipantId::generate(),
        peer: PeerId::generate(),
        publish: true,
        fill: SlotFill::Follow,
        sdp: offer(),
    };
    let mut heard = nobody;
    if let Ok(answer) = engine.offer(offer).await {
        let value = |key| answer.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
        let (ufrag, password) = (value("a=ice-ufrag:"), value("a=ice-pwd:"));
        for (heard, address) in heard.iter_mut().zip(candidates) {
            let answers = ask(SocketAddr::new(*address, engine.port()), ufrag, password).await;
            *heard = if answers.unwrap_or(false) { Heard::Yes } else { Heard::No };
        }
    }
    let ending = engine.clone();
    // It waits for threads.
    let _ = tokio::task::spawn_blocking(move || ending.shutdown()).await;
    drop(engine);
    drain.abort();
    heard
}

async fn ask(server: SocketAddr, ufrag: &str, password: &str) -> std::io::Result<bool> {
    let socket = socket_to(server).await?;
    let mut buffer = [0; 1_500];
    for _ in 0..TRIES {
        let transaction = PeerId::generate().to_string().into_bytes();
        // The last digits of an id are random.
        let transaction = *transaction.last_chunk().expect("an id has 36 characters");
        socket.send(&stun::request(transaction, ufrag, password)).await?;
        if let Ok(received) = tokio::time::timeout(TRY_TIME, socket.recv(&mut buffer)).await {
            return Ok(stun::is_success(&buffer[..received?], transaction));
        }
    }
    Ok(false)
}

/// Sends the running server a request of a stranger over each address. It answers none, and counts them.
async fn ask_running(context: &Context, candidates: &[IpAddr]) -> Vec<Heard> {
    let mut heard = Vec::new();
    for address in candidates {
        let server = SocketAddr::new(*address, context.config.media.port);
        heard.push(counted(context, server).await.unwrap_or(Heard::NotAsked));
    }
    heard
}

async fn counted(context: &Context, server: SocketAddr) -> Option<Heard> {
    let before = strangers(context).await?;
    let socket = socket_to(server).await.ok()?;
    for _ in 0..TRIES {
        // An error is an answer of the system: nothing is there.
        if socket.send(&stun::request([0; 12], "doctor", "of nobody")).await.is_err() {
            return Some(Heard::No);
        }
        tokio::time::sleep(TRY_TIME / 4).await;
        if strangers(context).await? > before {
            return Some(Heard::Yes);
        }
    }
    Some(Heard::No)
}

async fn strangers(context: &Context) -> Option<u64> {
    let listen = context.config.http.listen.first()?;
    let address = ports::reachable(*listen);
    let answer = http::get(address, Listening::at(*listen).tls, "/metrics").await.ok()?;
    answer.text.lines().find_map(|line| line.strip_prefix(STRANGERS)?.trim().parse().ok())
}

async fn socket_to(server: SocketAddr) -> std::io::Result<UdpSocket> {
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    Ok(socket)
}

/// As short as an offer can be. Nobody will speak DTLS on it.
fn offer() -> String {
    let fingerprint = ["00"; 32].join(":");
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n\
         c=IN IP4 0.0.0.0\r\na=mid:0\r\na=ice-ufrag:doctor\r\na=ice-pwd:doctordoctordoctordoctor\r\n\
         a=fingerprint:sha-256 {fingerprint}\r\na=setup:actpass\r\na=sendonly\r\na=rtcp-mux\r\n\
         a=rtpmap:111 opus/48000/2\r\na=ssrc:1 cname:doctor\r\n"
    )
}

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let port = facts.port;
    let mut findings: Vec<Finding> =
        facts.told.iter().filter_map(|told| one(told, facts.set, port)).collect();
    let heard: Vec<String> = facts
        .told
        .iter()
        .filter(|told| told.heard == Heard::Yes)
        .map(|told| told.address.to_string())
        .collect();
    if !heard.is_empty() {
        let heard = heard.join(" ");
        findings.push(Finding::pass(
            Check::Addresses,
            words(
                format!("媒体端口在 {heard} 上收得到包(STUN)。"),
                format!("The media port hears over {heard} (STUN)."),
            ),
        ));
    }
    let asked = facts.told.iter().any(|told| told.heard != Heard::NotAsked);
    if !asked {
        findings.push(Finding::skipped(
            Check::Addresses,
            words(
                "媒体端口收不收得到包没有查:端口被占,或服务器没有回答。",
                "Whether the media port hears was not looked at: it is taken, or the server did not answer.",
            ),
        ));
    }
    findings.push(whom(facts));
    findings
}

/// What is wrong with one address.
fn one(told: &Told, set: bool, port: u16) -> Option<Finding> {
    let Told { address, here, heard } = told;
    match (here, heard) {
        // Behind NAT: from inside it cannot be told.
        (false, Heard::No | Heard::NotAsked) if set => Some(Finding::note(
            Check::Addresses,
            words(
                format!("告诉浏览器的 {address} 不是本机地址(media.addresses),从里面查不到它通不通。"),
                format!(
                    "Browsers are told {address} (media.addresses), which this machine does not have; whether it leads here cannot be told from inside."
                ),
            ),
            words(
                format!(
                    "在路由器上把 {address} 的 UDP {port} 和 HTTPS 的 TCP 端口转到本机,再从外网开一次会试试。"
                ),
                format!(
                    "Have the router forward UDP {port} and the TCP port of HTTPS of {address} to this machine, and try a call from outside."
                ),
            ),
        )),
        (false, _) if !set => Some(Finding::wrong(
            Check::Addresses,
            words(
                format!("告诉浏览器的 {address} 不是本机地址(media.bind)。"),
                format!("Browsers are told {address} (media.bind), which this machine does not have."),
            ),
            words("运行 ip addr 看本机地址,改 media.bind。", "See ip addr and change media.bind."),
        )),
        (true, Heard::No) => Some(Finding::wrong(
            Check::Addresses,
            words(
                format!("媒体端口 UDP {port} 在 {address} 上收不到包,那里的人会没有声音和画面。"),
                format!(
                    "The media port, UDP {port}, hears nothing over {address}; people there have no sound and no picture."
                ),
            ),
            words(
                format!(
                    "放行防火墙(nft/iptables/ufw allow {port}/udp);或用 media.bind、media.addresses 只写可用的地址。"
                ),
                format!(
                    "Open it in the firewall (ufw allow {port}/udp, or nft/iptables); or name only addresses that work in media.bind and media.addresses."
                ),
            ),
        )),
        _ => None,
    }
}

/// What the addresses together mean.
fn whom(facts: &Facts) -> Finding {
    let list: BTreeSet<String> = facts.told.iter().map(|told| told.address.to_string()).collect();
    let list = list.into_iter().collect::<Vec<_>>().join(" ");
    let port = facts.port;
    match facts.told.iter().map(|told| reach(told.address)).max() {
        Some(Reach::Public) => Finding::pass(
            Check::Addresses,
            words(
                format!("浏览器把媒体发到 {list}:其中有公网地址。防火墙要放行 UDP {port}。"),
                format!(
                    "Browsers send media to {list}, public addresses among them. The firewall must let UDP {port} in."
                ),
            ),
        ),
        Some(Reach::Private) => Finding::pass(
            Check::Addresses,
            words(
                format!(
                    "浏览器把媒体发到 {list}:都是内网地址,只有同一网络(或 VPN)里的人能通话;要让外网的人进来,设 media.addresses。"
                ),
                format!(
                    "Browsers send media to {list}, private addresses all: only people in the same network (or VPN) can call; to let others in, set media.addresses."
                ),
            ),
        ),
        _ if facts.open_to_others => Finding::wrong(
            Check::Addresses,
            words(
                "别的设备能打开页面,但媒体只发到回环地址,它们会没有声音和画面。",
                "Other devices can open the pages, yet media go to loopback alone: they have no sound and no picture.",
            ),
            words(
                "接上网络,或在 media.addresses 写本机别人能到的地址。",
                "Connect this machine to a network, or give in media.addresses one that others can reach.",
            ),
        ),
        _ => Finding::pass(
            Check::Addresses,
            words(
                format!("浏览器把媒体发到 {list}:只供本机。"),
                format!("Browsers send media to {list}: for this machine alone."),
            ),
        ),
    }
}

fn reach(address: IpAddr) -> Reach {
    match address {
        _ if address.is_loopback() => Reach::Loopback,
        IpAddr::V4(address) => {
            let [a, b, ..] = address.octets();
            // RFC 6598: behind the provider's own NAT.
            let shared = a == 100 && (64..128).contains(&b);
            if address.is_private() || shared { Reach::Private } else { Reach::Public }
        }
        IpAddr::V6(address) if address.is_unique_local() => Reach::Private,
        IpAddr::V6(_) => Reach::Public,
    }
}

#[cfg(test)]
mod tests {
    use super::{super::report::Verdict, *};

    fn told(address: &str, here: bool, heard: Heard) -> Told {
        Told { address: address.parse().expect("an address"), here, heard }
    }

    fn facts(told: Vec<Told>, set: bool) -> Facts {
        Facts { told, set, open_to_others: true, port: 8_443 }
    }

    fn verdicts(facts: &Facts) -> Vec<Verdict> {
        judge(facts).into_iter().map(|finding| finding.verdict).collect()
    }

    #[test]
    fn addresses_that_hear_pass_and_say_whom_they_serve() {
        let private = facts(vec![told("192.168.0.5", true, Heard::Yes)], false);
        assert_eq!(verdicts(&private), [Verdict::Pass, Verdict::Pass]);
        assert!(judge(&private)[1].said.en.contains("only people in the same network"));
        let public = facts(vec![told("203.0.113.5", true, Heard::Yes)], false);
        assert!(judge(&public)[1].said.en.contains("public"));
    }

    #[test]
    fn addresses_that_cannot_work_are_told() {
        let deaf = facts(vec![told("192.168.0.5", true, Heard::No)], false);
        assert!(
            matches!(&verdicts(&deaf)[..], [Verdict::Wrong(remedy), _] if remedy.en.contains("8443/udp"))
        );
        let foreign = facts(vec![told("192.0.2.9", false, Heard::No)], false);
        assert!(matches!(&verdicts(&foreign)[0], Verdict::Wrong(remedy) if remedy.en.contains("media.bind")));
        let behind_nat = facts(vec![told("203.0.113.5", false, Heard::No)], true);
        assert!(matches!(verdicts(&behind_nat)[0], Verdict::Note(_)));
        let alone = facts(vec![told("127.0.0.1", true, Heard::Yes)], false);
        assert!(matches!(verdicts(&alone)[1], Verdict::Wrong(_)));
        let by_design = Facts { open_to_others: false, ..alone };
        assert_eq!(verdicts(&by_design)[1], Verdict::Pass);
        let unasked = facts(vec![told("192.168.0.5", true, Heard::NotAsked)], false);
        assert_eq!(verdicts(&unasked), [Verdict::Skipped, Verdict::Pass]);
    }

    #[tokio::test]
    async fn an_engine_hears_over_loopback_and_its_silence_is_noticed() {
        let mut config = crate::config::Config::default();
        config.http.listen = vec!["127.0.0.1:0".parse().expect("an address")];
        config.media.port = 0;
        config.media.bind = Ipv4Addr::LOCALHOST.into();
        let folder = tempfile::tempdir().expect("a folder");
        config.storage.folder = folder.path().join("none");
        let context = Context::new(config, None).expect("looks");
        let loopback = IpAddr::from(Ipv4Addr::LOCALHOST);
        // Nothing of an engine that is bound to 127.0.0.1 is at another address.
        let heard = ask_engine(&context, &[loopback, [127, 0, 0, 2].into()]).await;
        assert_eq!(heard, [Heard::Yes, Heard::No]);
    }
}
