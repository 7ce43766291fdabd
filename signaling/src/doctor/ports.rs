//! Ports: free for Hewei, or held by Hewei.

use std::{
    fmt, fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket},
};

use super::{
    context::Context,
    http,
    report::{Check, Finding, Words, words},
};
use crate::serve::Listening;

/// One port of the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    protocol: Protocol,
    address: SocketAddr,
    probe: Probe,
    /// The server that uses the storage folder runs.
    running: bool,
    /// Its process, where known.
    server_pid: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Tcp,
    Udp,
}

/// What came of trying to bind it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Probe {
    Free,
    Taken { holder: Option<Holder>, hewei_answers: bool },
    NotAllowed,
    NoSuchAddress,
    Other(String),
}

/// A process that holds a port.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Holder {
    pid: u32,
    name: String,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
        })
    }
}

impl Protocol {
    fn setting(self) -> &'static str {
        match self {
            Protocol::Tcp => "http.listen",
            Protocol::Udp => "media.port",
        }
    }
}

pub(super) async fn gather(context: &Context) -> Vec<Facts> {
    let config = &context.config;
    let media = SocketAddr::new(config.media.bind, config.media.port);
    let wanted = config.http.listen.iter().map(|address| (Protocol::Tcp, *address));
    let mut facts = Vec::new();
    for (protocol, address) in wanted.chain([(Protocol::Udp, media)]) {
        let mut probe = probe(protocol, address);
        if let Probe::Taken { hewei_answers, .. } = &mut probe
            && protocol == Protocol::Tcp
        {
            *hewei_answers = http::is_hewei(reachable(address), Listening::at(address).tls).await;
        }
        facts.push(Facts {
            protocol,
            address,
            probe,
            running: context.server.is_some(),
            server_pid: context.server.as_ref().and_then(|server| server.pid),
        });
    }
    facts
}

/// Whether the media port could be bound just now.
pub(super) fn media_is_free(context: &Context) -> bool {
    let media = &context.config.media;
    probe(Protocol::Udp, SocketAddr::new(media.bind, media.port)) == Probe::Free
}

/// An address of this machine by which a listener can be asked.
pub(super) fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

fn probe(protocol: Protocol, address: SocketAddr) -> Probe {
    let bound = match protocol {
        Protocol::Tcp => TcpListener::bind(address).map(drop),
        // Without SO_REUSEPORT, with which two could share it.
        Protocol::Udp => UdpSocket::bind(address).map(drop),
    };
    let Err(error) = bound else { return Probe::Free };
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            Probe::Taken { holder: holder(protocol, address.port()), hewei_answers: false }
        }
        io::ErrorKind::PermissionDenied => Probe::NotAllowed,
        io::ErrorKind::AddrNotAvailable => Probe::NoSuchAddress,
        _ => Probe::Other(error.to_string()),
    }
}

/// Who holds a port, as far as this process may see others' descriptors.
fn holder(protocol: Protocol, port: u16) -> Option<Holder> {
    let tables = match protocol {
        Protocol::Tcp => ["/proc/net/tcp", "/proc/net/tcp6"],
        Protocol::Udp => ["/proc/net/udp", "/proc/net/udp6"],
    };
    let tables = tables.iter().filter_map(|table| fs::read_to_string(table).ok());
    let links: Vec<String> = tables
        .flat_map(|table| inodes(&table, protocol, port))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let processes = fs::read_dir("/proc").ok()?;
    processes.filter_map(Result::ok).find_map(|process| {
        let pid: u32 = process.file_name().to_str()?.parse().ok()?;
        let mut descriptors = fs::read_dir(process.path().join("fd")).ok()?.filter_map(Result::ok);
        let holds = descriptors.any(|descriptor| {
            fs::read_link(descriptor.path())
                .is_ok_and(|link| links.iter().any(|wanted| link.as_os_str() == wanted.as_str()))
        });
        let name = || fs::read_to_string(process.path().join("comm")).unwrap_or_default().trim().to_owned();
        holds.then(|| Holder { pid, name: name() })
    })
}

/// The sockets of a table of `/proc/net` that are bound to a port (and listen, for TCP):
/// `sl local_address rem_address st tx:rx tr:tm retrnsmt uid timeout inode …`.
fn inodes(table: &str, protocol: Protocol, port: u16) -> Vec<u64> {
    const LISTEN: &str = "0A";
    let lines = table.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (_, local_port) = fields.get(1)?.rsplit_once(':')?;
        let right = u16::from_str_radix(local_port, 16).ok()? == port;
        let listens = protocol == Protocol::Udp || *fields.get(3)? == LISTEN;
        (right && listens).then(|| fields.get(9)?.parse().ok())?
    });
    lines.collect()
}

pub(super) fn judge(facts: &[Facts]) -> Vec<Finding> {
    facts.iter().map(judge_one).collect()
}

fn judge_one(facts: &Facts) -> Finding {
    let check = Check::Ports;
    let Facts { protocol, address, .. } = facts;
    let setting = protocol.setting();
    let elsewhere =
        || words(format!("或改 {setting} 换一个端口。"), format!("or give {setting} another port."));
    match &facts.probe {
        Probe::Free if address.port() == 0 => Finding::pass(
            check,
            words(format!("{protocol} 任意空闲端口。"), format!("{protocol}: any free port.")),
        ),
        Probe::Free if facts.running => Finding::wrong(
            check,
            words(
                format!("服务器在运行,却没有在 {protocol} {address} 监听:它启动时用的是别的设置。"),
                format!(
                    "The server runs, yet not at {protocol} {address}: it was started with other settings."
                ),
            ),
            words(
                "用同一份设置运行体检(--config),或重启服务器使设置生效。",
                "Run the doctor with the same settings (--config), or restart the server so that these take effect.",
            ),
        ),
        Probe::Free => Finding::pass(
            check,
            words(format!("{protocol} {address} 空闲。"), format!("{protocol} {address} is free.")),
        ),
        Probe::Taken { holder, hewei_answers } => taken(facts, holder.as_ref(), *hewei_answers, &elsewhere()),
        Probe::NotAllowed => Finding::wrong(
            check,
            words(
                format!("没有权限用 {protocol} {address}:1024 以下的端口要特权。"),
                format!("{protocol} {address} is not allowed: ports below 1024 need a privilege."),
            ),
            words(
                format!("在 systemd 单元里写 AmbientCapabilities=CAP_NET_BIND_SERVICE;{}", elsewhere().zh),
                format!(
                    "Put AmbientCapabilities=CAP_NET_BIND_SERVICE into the systemd unit; {}",
                    elsewhere().en
                ),
            ),
        ),
        Probe::NoSuchAddress => Finding::wrong(
            check,
            words(
                format!("{protocol} {address}:这台机器没有这个地址。"),
                format!("{protocol} {address}: this machine does not have that address."),
            ),
            words(
                format!(
                    "运行 ip addr 看本机地址,改 {setting_address};0.0.0.0 表示全部。",
                    setting_address = address_setting(*protocol)
                ),
                format!(
                    "See this machine's addresses with ip addr and change {}; 0.0.0.0 means all.",
                    address_setting(*protocol)
                ),
            ),
        ),
        Probe::Other(error) => Finding::wrong(
            check,
            words(
                format!("{protocol} {address} 用不了:{error}。"),
                format!("{protocol} {address} cannot be used: {error}."),
            ),
            words(
                format!("改 {}。", address_setting(*protocol)),
                format!("Change {}.", address_setting(*protocol)),
            ),
        ),
    }
}

fn address_setting(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "http.listen",
        Protocol::Udp => "media.bind",
    }
}

fn taken(facts: &Facts, holder: Option<&Holder>, hewei_answers: bool, elsewhere: &Words) -> Finding {
    let Facts { protocol, address, .. } = facts;
    let of_server = match (holder, facts.server_pid) {
        (Some(holder), Some(server)) => holder.pid == server,
        // Nobody tells whose it is: an answer over TCP does; over UDP strangers get none, and the running server
        // could not have started without its port.
        _ => facts.running && (hewei_answers || *protocol == Protocol::Udp),
    };
    if of_server && (hewei_answers || *protocol == Protocol::Udp) {
        return Finding::pass(
            Check::Ports,
            words(
                match protocol {
                    Protocol::Tcp => format!("TCP {address} 由服务器占用,并且有回答。"),
                    Protocol::Udp => format!("UDP {address} 由服务器占用。"),
                },
                match protocol {
                    Protocol::Tcp => format!("TCP {address} is held by the server, which answers."),
                    Protocol::Udp => format!("UDP {address} is held by the server."),
                },
            ),
        );
    }
    if of_server {
        return Finding::wrong(
            Check::Ports,
            words(
                format!("TCP {address} 由服务器占用,但没有回答。"),
                format!("TCP {address} is held by the server, which does not answer."),
            ),
            words(
                "看日志(journalctl -u hewei),重启:systemctl restart hewei。",
                "See its log (journalctl -u hewei) and restart it: systemctl restart hewei.",
            ),
        );
    }
    let (zh, en) = match holder {
        Some(Holder { pid, name }) => (format!("{name}(进程 {pid})"), format!("{name} (process {pid})")),
        None if hewei_answers => ("另一个 Hewei 服务器".to_owned(), "another Hewei server".to_owned()),
        None => ("另一个程序".to_owned(), "another program".to_owned()),
    };
    let remedy = match holder {
        Some(Holder { pid, .. }) => words(
            format!("停下它(kill {pid},或 systemctl stop 它的服务);{}", elsewhere.zh),
            format!("End it (kill {pid}, or systemctl stop its service); {}", elsewhere.en),
        ),
        None => words(
            format!("用 root 运行 ss -lnptu 看是谁,停下它;{}", elsewhere.zh),
            format!("See who it is with ss -lnptu as root and end it; {}", elsewhere.en),
        ),
    };
    Finding::wrong(
        Check::Ports,
        words(
            format!("{protocol} {address} 被 {zh}占用,Hewei 用不了。"),
            format!("{protocol} {address} is taken by {en}; Hewei cannot have it."),
        ),
        remedy,
    )
}

#[cfg(test)]
mod tests {
    use super::{super::report::Verdict, *};

    fn facts(protocol: Protocol, probe: Probe) -> Facts {
        let address = SocketAddr::from(([0, 0, 0, 0], 8_443));
        Facts { protocol, address, probe, running: false, server_pid: None }
    }

    fn by(pid: u32, hewei_answers: bool) -> Probe {
        Probe::Taken { holder: Some(Holder { pid, name: "nginx".into() }), hewei_answers }
    }

    fn wrong(facts: &Facts) -> String {
        match judge_one(facts) {
            Finding { verdict: Verdict::Wrong(remedy), said, .. } => format!("{} {}", said.en, remedy.en),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn free_ports_pass_and_taken_ones_name_who_holds_them() {
        assert_eq!(judge_one(&facts(Protocol::Tcp, Probe::Free)).verdict, Verdict::Pass);
        assert_eq!(
            wrong(&facts(Protocol::Tcp, by(77, false))),
            "TCP 0.0.0.0:8443 is taken by nginx (process 77); Hewei cannot have it. End it (kill 77, or systemctl \
             stop its service); or give http.listen another port."
        );
        let unknown = Probe::Taken { holder: None, hewei_answers: false };
        assert!(wrong(&facts(Protocol::Udp, unknown)).contains("ss -lnptu"));
        let other = Probe::Taken { holder: None, hewei_answers: true };
        assert!(wrong(&facts(Protocol::Tcp, other)).contains("another Hewei server"));
        assert!(wrong(&facts(Protocol::Tcp, Probe::NotAllowed)).contains("CAP_NET_BIND_SERVICE"));
        assert!(wrong(&facts(Protocol::Udp, Probe::NoSuchAddress)).contains("media.bind"));
    }

    #[test]
    fn ports_of_the_running_server_pass() {
        let running =
            |protocol, probe| Facts { running: true, server_pid: Some(42), ..facts(protocol, probe) };
        assert_eq!(judge_one(&running(Protocol::Tcp, by(42, true))).verdict, Verdict::Pass);
        assert_eq!(judge_one(&running(Protocol::Udp, by(42, false))).verdict, Verdict::Pass);
        assert!(wrong(&running(Protocol::Tcp, by(42, false))).contains("does not answer"));
        assert!(wrong(&running(Protocol::Udp, by(77, false))).contains("is taken by nginx"));
        assert!(wrong(&running(Protocol::Tcp, Probe::Free)).contains("other settings"));
        // A process that may not look at others' descriptors.
        let blind = Probe::Taken { holder: None, hewei_answers: true };
        assert_eq!(judge_one(&running(Protocol::Tcp, blind)).verdict, Verdict::Pass);
    }

    #[test]
    fn the_holder_of_a_port_is_found() {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("binds");
        let address = tcp.local_addr().expect("bound");
        let Probe::Taken { holder: Some(holder), .. } = probe(Protocol::Tcp, address) else {
            panic!("it is taken");
        };
        assert_eq!(holder.pid, std::process::id());
        let udp = UdpSocket::bind("127.0.0.1:0").expect("binds");
        let address = udp.local_addr().expect("bound");
        assert!(matches!(probe(Protocol::Udp, address), Probe::Taken { holder: Some(_), .. }));
        drop(udp);
        assert_eq!(probe(Protocol::Udp, address), Probe::Free);
        let nowhere = SocketAddr::from(([192, 0, 2, 1], 0));
        assert_eq!(probe(Protocol::Tcp, nowhere), Probe::NoSuchAddress);
    }
}
