//! The certificate of HTTPS: a given one, or the own CA and what it has signed.

use std::{
    collections::BTreeSet,
    fs,
    net::IpAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustls::{
    CertificateError, RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    sign::CertifiedKey,
};
use time::OffsetDateTime;
use x509_cert::{
    Certificate,
    der::Decode,
    ext::pkix::{SubjectAltName, name::GeneralName},
};

use super::{
    context::Context,
    http,
    report::{Check, Finding, Words, words},
};
use crate::{addresses, http::tls};

/// Where systems keep the CAs that browsers know as well.
const SYSTEM_ROOTS: [&str; 2] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];
const RENEW_BEFORE_DAYS: i64 = 14;
const NAMES_LOOKED_UP_MAX: usize = 8;
const LOOK_UP_TIME_MAX: Duration = Duration::from_secs(3);

/// A certificate and its key, as they lie there.
#[derive(Debug, Clone)]
struct Facts {
    /// Of the own CA.
    own: bool,
    certificate: PathBuf,
    key: PathBuf,
    /// The server's own first.
    chain: Vec<Parsed>,
    key_fits: Result<(), String>,
    key_mode: u32,
    trust: Trust,
    /// What people may type to come here, loopback apart.
    wanted: BTreeSet<String>,
    /// DNS names of the certificate, and whether they lead to this machine.
    leads: Vec<(String, Leads)>,
    /// The own CA is not good for these.
    beyond_ca: Vec<String>,
    running: bool,
    /// Whether the running server shows this certificate, when it could be asked.
    shown: Option<bool>,
    now: OffsetDateTime,
}

#[derive(Debug, Clone)]
struct Parsed {
    subject: String,
    issuer: String,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
    names: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Trust {
    /// Signed by a CA that is known.
    Known,
    /// By one that is not.
    UnknownIssuer,
    /// Something in the chain does not hold.
    Broken(String),
    /// There is no list of CAs here to hold it against.
    Unlisted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leads {
    Here,
    Elsewhere,
    Nowhere,
}

pub(super) async fn check(context: &Context) -> Vec<Finding> {
    let http = &context.config.http;
    if http.listen.iter().all(|listen| listen.ip().is_loopback()) {
        return vec![Finding::pass(
            Check::Certificate,
            words(
                "只在回环地址监听,用不到证书(别的设备进不来)。",
                "It listens on loopback alone and needs none (no other device can come in).",
            ),
        )];
    }
    let folder = context.config.storage.folder.join("keys").join("https");
    let (own, certificate, key) = match (&http.certificate, &http.key) {
        (Some(certificate), Some(key)) => (false, certificate.clone(), key.clone()),
        _ => (true, folder.join("server.pem"), folder.join("server.key")),
    };
    if own && !certificate.exists() {
        return vec![Finding::pass(
            Check::Certificate,
            words(
                "自制证书还没有,首次启动时为本机所有地址制作。",
                "There is no own certificate yet; the first start makes it for all addresses of this machine.",
            ),
        )];
    }
    match gather(context, own, certificate, key, &folder).await {
        Ok(facts) => judge(&facts),
        Err((file, error)) => vec![unreadable(own, context.server.is_some(), &file, &error)],
    }
}

async fn gather(
    context: &Context,
    own: bool,
    certificate: PathBuf,
    key: PathBuf,
    own_folder: &Path,
) -> Result<Facts, (PathBuf, String)> {
    let in_certificate = |error: String| (certificate.clone(), error);
    let in_key = |error: String| (key.clone(), error);
    let chain = CertificateDer::pem_file_iter(&certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| in_certificate(error.to_string()))?;
    let parsed: Result<Vec<Parsed>, String> = chain.iter().map(|certificate| parse(certificate)).collect();
    let parsed = parsed.map_err(in_certificate)?;
    let first = parsed.first().ok_or_else(|| in_certificate("it holds no certificate".into()))?;
    let key_mode = fs::metadata(&key).map_err(|error| in_key(error.to_string()))?.permissions().mode();
    let private = PrivateKeyDer::from_pem_file(&key).map_err(|error| in_key(error.to_string()))?;
    let key_fits = CertifiedKey::from_der(chain.clone(), private, &ring::default_provider());

    let names = tls::names();
    let not_loopback = |name: &&String| {
        *name != "localhost" && !name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    };
    let outside = context.config.media.addresses.iter().map(ToString::to_string);
    let wanted: BTreeSet<String> = names.iter().filter(not_loopback).cloned().chain(outside).collect();
    let roots = match own {
        true => roots(&own_folder.join("ca.pem")),
        false => SYSTEM_ROOTS.iter().find_map(|path| roots(Path::new(path))),
    };
    let leads = if own { Vec::new() } else { look_up(&first.names, &wanted).await };
    let trust = trust(&chain, first, roots);
    Ok(Facts {
        own,
        key_fits: key_fits.map(drop).map_err(|error| error.to_string()),
        key_mode,
        trust,
        wanted,
        leads,
        beyond_ca: if own { tls::beyond_own_ca(own_folder, &names) } else { Vec::new() },
        running: context.server.is_some(),
        shown: shown(context, &chain).await,
        now: OffsetDateTime::now_utc(),
        chain: parsed,
        certificate,
        key,
    })
}

fn parse(der: &CertificateDer<'_>) -> Result<Parsed, String> {
    let certificate = Certificate::from_der(der).map_err(|error| error.to_string())?.tbs_certificate;
    let at = |time: x509_cert::time::Time| {
        let seconds = i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
        OffsetDateTime::from_unix_timestamp(seconds).map_err(|error| error.to_string())
    };
    let names = certificate.get::<SubjectAltName>().map_err(|error| error.to_string())?;
    let names = names.map(|(_, names)| names.0).unwrap_or_default();
    Ok(Parsed {
        subject: certificate.subject.to_string(),
        issuer: certificate.issuer.to_string(),
        not_before: at(certificate.validity.not_before)?,
        not_after: at(certificate.validity.not_after)?,
        names: names.iter().filter_map(name).collect(),
    })
}

fn name(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(name.as_str().to_lowercase()),
        GeneralName::IpAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(bytes.as_bytes()).map(IpAddr::from);
            let address = v4.or_else(|_| <[u8; 16]>::try_from(bytes.as_bytes()).map(IpAddr::from));
            address.ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

fn roots(file: &Path) -> Option<RootCertStore> {
    let certificates = CertificateDer::pem_file_iter(file).ok()?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates.filter_map(Result::ok));
    (!roots.is_empty()).then_some(roots)
}

/// Whether the chain holds, apart from its dates and names, which are told by themselves.
fn trust(chain: &[CertificateDer<'static>], first: &Parsed, roots: Option<RootCertStore>) -> Trust {
    // Signed by itself: nobody knows it, whether it calls itself a CA, as openssl's do, or not.
    if first.issuer == first.subject {
        return Trust::UnknownIssuer;
    }
    let Some(roots) = roots else { return Trust::Unlisted };
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(ring::default_provider()));
    let name = first.names.iter().find_map(|name| ServerName::try_from(name.replacen('*', "www", 1)).ok());
    let (Ok(verifier), Some(name), Some((leaf, others))) = (verifier.build(), name, chain.split_first())
    else {
        return Trust::Broken("it names no host".into());
    };
    let within = OffsetDateTime::now_utc().clamp(first.not_before, first.not_after.max(first.not_before));
    let at = UnixTime::since_unix_epoch(Duration::from_secs(within.unix_timestamp().unsigned_abs()));
    match verifier.verify_server_cert(leaf, others, &name, &[], at) {
        Ok(_) => Trust::Known,
        Err(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => Trust::UnknownIssuer,
        Err(error) => Trust::Broken(error.to_string()),
    }
}

async fn look_up(names: &[String], wanted: &BTreeSet<String>) -> Vec<(String, Leads)> {
    let machine = addresses::of_this_machine();
    let mut leads = Vec::new();
    let is_dns_name = |name: &&String| name.parse::<IpAddr>().is_err() && !name.contains('*');
    for name in names.iter().filter(is_dns_name).take(NAMES_LOOKED_UP_MAX) {
        let found =
            tokio::time::timeout(LOOK_UP_TIME_MAX, tokio::net::lookup_host((name.as_str(), 443))).await;
        let to = match found {
            Ok(Ok(found)) => {
                let here =
                    |address: IpAddr| machine.contains(&address) || wanted.contains(&address.to_string());
                match found.map(|address| address.ip()).any(here) {
                    true => Leads::Here,
                    false => Leads::Elsewhere,
                }
            }
            _ => Leads::Nowhere,
        };
        leads.push((name.clone(), to));
    }
    leads
}

/// Whether the running server shows this very certificate.
async fn shown(context: &Context, chain: &[CertificateDer<'static>]) -> Option<bool> {
    context.server.as_ref()?;
    let listen = context.config.http.listen.iter().find(|listen| !listen.ip().is_loopback())?;
    let answer = http::get(super::ports::reachable(*listen), true, "/livez").await.ok()?;
    Some(answer.certificate.as_ref() == chain.first())
}

fn unreadable(own: bool, running: bool, file: &Path, error: &str) -> Finding {
    let file = file.display();
    let said = words(format!("读不了 {file}:{error}。"), format!("{file} cannot be read: {error}."));
    match own {
        true => remade(running, said),
        false => Finding::wrong(
            Check::Certificate,
            said,
            words(
                "http.certificate 要是 PEM 证书链,http.key 要是 PEM 私钥,并且服务器的用户读得到。",
                "http.certificate must be a PEM chain and http.key a PEM key, both readable by the server's user.",
            ),
        ),
    }
}

/// An own certificate that cannot be used is made anew at the next start.
fn remade(running: bool, said: Words) -> Finding {
    let restart = words("重启服务器,它会重新制作。", "Restart the server; it makes a new one.");
    match running {
        true => Finding::wrong(Check::Certificate, said, restart),
        false => Finding::note(
            Check::Certificate,
            said,
            words("下次启动时自动重新制作。", "The next start makes a new one by itself."),
        ),
    }
}

fn judge(facts: &Facts) -> Vec<Finding> {
    let Some(first) = facts.chain.first() else { return Vec::new() };
    let mut findings = Vec::new();
    let (certificate, key) = (facts.certificate.display(), facts.key.display());
    // What the own certificate lacks the server mends by itself; what a given one lacks its owner must.
    let fault = |said: Words, remedy: Words| match facts.own {
        true => remade(facts.running, said),
        false => Finding::wrong(Check::Certificate, said, remedy),
    };
    if let Err(error) = &facts.key_fits {
        findings.push(fault(
            words(
                format!("私钥 {key} 不是证书 {certificate} 的:{error}。"),
                format!("The key {key} does not belong to the certificate {certificate}: {error}."),
            ),
            words(
                "http.key 换成申请这张证书时用的私钥,或用现有私钥重新申请证书。",
                "Give in http.key the key that the certificate was asked for with, or have one made for this key.",
            ),
        ));
    }
    if first.not_after < facts.now || first.not_before > facts.now {
        let (zh, en) = match first.not_after < facts.now {
            true => ("已于", "ran out on"),
            false => ("要到", "is not good before"),
        };
        let day = if first.not_after < facts.now { first.not_after } else { first.not_before }.date();
        let zh_end = if first.not_after < facts.now { "过期" } else { "才生效" };
        findings.push(fault(
            words(
                format!("证书 {certificate} {zh} {day} {zh_end}。"),
                format!("The certificate {certificate} {en} {day}."),
            ),
            words(
                "换一张有效的证书(服务器自己读新文件,不用重启);或留空 http.certificate 和 http.key 用自制的。时钟也要对。",
                "Put a good one in its place (the server reads it without a restart), or leave http.certificate and http.key empty for an own one. See that the clock is right.",
            ),
        ));
    }
    findings.extend(chain(facts));
    findings.extend(names(facts, first));
    if facts.key_mode & 0o007 != 0 {
        findings.push(Finding::wrong(
            Check::Certificate,
            words(format!("任何人都能读私钥 {key}。"), format!("Anybody may read the key {key}.")),
            words(format!("运行 chmod 600 {key}"), format!("Run chmod 600 {key}")),
        ));
    }
    if facts.shown == Some(false) && findings.is_empty() {
        findings.push(Finding::wrong(
            Check::Certificate,
            words(
                format!("服务器出示的证书不是 {certificate} 里的那张。"),
                format!("The server shows another certificate than the one in {certificate}."),
            ),
            words(
                "它可能没读懂新文件:看日志,再重启服务器。",
                "It may not have been able to use the new file: see its log, then restart it.",
            ),
        ));
    }
    let days = (first.not_after - facts.now).whole_days();
    if !facts.own && (0..RENEW_BEFORE_DAYS).contains(&days) {
        findings.push(Finding::note(
            Check::Certificate,
            words(format!("证书还有 {days} 天过期。"), format!("The certificate runs out in {days} days.")),
            words("现在就续期。", "Renew it now."),
        ));
    }
    let broken = findings.iter().any(|finding| finding.check == Check::Certificate);
    if !broken {
        let what =
            if facts.own { ("自制证书", "The own certificate") } else { ("证书", "The certificate") };
        findings.push(Finding::pass(
            Check::Certificate,
            words(
                format!("{},{} 天后到期,用于 {}。", what.0, days, first.names.join(" ")),
                format!("{} is good for {} more days, for {}.", what.1, days, first.names.join(" ")),
            ),
        ));
    }
    findings
}

fn chain(facts: &Facts) -> Option<Finding> {
    let certificate = facts.certificate.display();
    if let Some(pair) = facts.chain.windows(2).find(|pair| pair[0].issuer != pair[1].subject) {
        return Some(Finding::wrong(
            Check::Certificate,
            words(
                format!(
                    "证书链顺序不对:{} 由 {} 签发,后面却是 {}。",
                    pair[0].subject, pair[0].issuer, pair[1].subject
                ),
                format!(
                    "The chain is out of order: {} was signed by {}, yet {} comes next.",
                    pair[0].subject, pair[0].issuer, pair[1].subject
                ),
            ),
            words(
                format!("在 {certificate} 里先放服务器证书,再依次放签发它的中间证书。"),
                format!(
                    "In {certificate} put the server's own first, then each certificate that signed the one before."
                ),
            ),
        ));
    }
    let last = facts.chain.last().map_or("", |last| last.issuer.as_str());
    match &facts.trust {
        Trust::Broken(error) if facts.own => Some(remade(
            facts.running,
            words(
                format!("自制证书不成立:{error}。"),
                format!("The own certificate does not hold: {error}."),
            ),
        )),
        Trust::Broken(error) => Some(Finding::wrong(
            Check::Certificate,
            words(format!("证书链不成立:{error}。"), format!("The chain does not hold: {error}.")),
            words(
                "向签发者要完整的证书链,重新放一次。",
                "Ask whoever issued it for the whole chain, and put that in its place.",
            ),
        )),
        Trust::UnknownIssuer if facts.own => Some(remade(
            facts.running,
            words(
                "自制证书不是这里的自制 CA 签发的。",
                "The own certificate was not signed by the own CA here.",
            ),
        )),
        Trust::UnknownIssuer => Some(Finding::note(
            Check::Certificate,
            words(
                format!("本机不认识签发者 {last};浏览器多半也会警告。"),
                format!("This machine does not know the issuer {last}; browsers will most likely warn."),
            ),
            words(
                format!(
                    "若是公共 CA:把缺的中间证书接在 {certificate} 后面;若是自己的 CA:在每台设备上装好它。"
                ),
                format!(
                    "Of a public CA: append the missing intermediate to {certificate}; of your own: install it on every device."
                ),
            ),
        )),
        Trust::Known | Trust::Unlisted => None,
    }
}

fn names(facts: &Facts, first: &Parsed) -> Option<Finding> {
    if facts.own {
        if facts.beyond_ca.is_empty() {
            return None;
        }
        let beyond = facts.beyond_ca.join(" ");
        return Some(Finding::note(
            Check::Certificate,
            words(
                format!("自制 CA 制作时还没有这些名字或地址,浏览器在那里会警告:{beyond}。"),
                format!(
                    "The own CA is older than these names or addresses, and browsers warn there: {beyond}."
                ),
            ),
            words(
                "若要用它们:删掉存储文件夹里的 keys/https 并重启;之后每台设备要重新信任新的 CA。",
                "To use them remove keys/https in the storage folder and restart; every device must then trust the new CA.",
            ),
        ));
    }
    let covers = |wanted: &String| first.names.iter().any(|name| matches(name, wanted));
    let leads_here = facts.leads.iter().any(|(_, leads)| *leads == Leads::Here);
    if leads_here || facts.wanted.iter().any(covers) {
        return None;
    }
    let of = first.names.join(" ");
    let only_wildcards = first.names.iter().all(|name| name.contains('*')) && !first.names.is_empty();
    let wanted = facts.wanted.iter().cloned().collect::<Vec<_>>().join(" ");
    let said = words(
        format!("证书写的名字({of})没有一个通向这台机器({wanted})。"),
        format!("No name of the certificate ({of}) leads to this machine ({wanted})."),
    );
    let remedy = words(
        "为人们实际输入的名字或地址申请证书;或让 DNS(内网可用本机 /etc/hosts)把证书上的名字指到这里。",
        "Get a certificate for the name or address that people type; or have DNS (inside, /etc/hosts here) lead its name to this machine.",
    );
    Some(match only_wildcards {
        true => Finding::note(Check::Certificate, said, remedy),
        false => Finding::wrong(Check::Certificate, said, remedy),
    })
}

/// A name of a certificate against one that somebody types; `*` stands for one label.
fn matches(name: &str, typed: &str) -> bool {
    match name.strip_prefix("*.") {
        Some(rest) => typed.split_once('.').is_some_and(|(_, parent)| parent.eq_ignore_ascii_case(rest)),
        None => name.eq_ignore_ascii_case(typed),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::report::Verdict, *};

    const NOW: OffsetDateTime = time::macros::datetime!(2027-03-01 09:00 UTC);

    fn facts() -> Facts {
        let leaf = Parsed {
            subject: "CN=hewei.example".into(),
            issuer: "CN=Some CA".into(),
            not_before: NOW - time::Duration::days(10),
            not_after: NOW + time::Duration::days(80),
            names: vec!["hewei.example".into()],
        };
        Facts {
            own: false,
            certificate: "/etc/hewei/chain.pem".into(),
            key: "/etc/hewei/key.pem".into(),
            chain: vec![leaf],
            key_fits: Ok(()),
            key_mode: 0o100_600,
            trust: Trust::Known,
            wanted: ["192.168.0.1".to_owned()].into(),
            leads: vec![("hewei.example".into(), Leads::Here)],
            beyond_ca: Vec::new(),
            running: false,
            shown: None,
            now: NOW,
        }
    }

    fn one(facts: &Facts) -> Finding {
        let mut findings = judge(facts);
        assert_eq!(findings.len(), 1, "{findings:?}");
        findings.remove(0)
    }

    fn is_wrong(facts: &Facts, part: &str) {
        let finding = one(facts);
        assert!(
            matches!(finding.verdict, Verdict::Wrong(_)) && finding.said.en.contains(part),
            "{finding:?}"
        );
    }

    #[test]
    fn a_good_certificate_passes() {
        assert_eq!(one(&facts()).verdict, Verdict::Pass);
        assert_eq!(one(&Facts { trust: Trust::Unlisted, ..facts() }).verdict, Verdict::Pass);
        assert_eq!(one(&Facts { shown: Some(true), running: true, ..facts() }).verdict, Verdict::Pass);
    }

    #[test]
    fn what_is_wrong_with_a_given_one_is_told() {
        is_wrong(&Facts { key_fits: Err("keys differ".into()), ..facts() }, "does not belong");
        is_wrong(&Facts { now: NOW + time::Duration::days(81), ..facts() }, "ran out on 2027-05-20");
        is_wrong(&Facts { now: NOW - time::Duration::days(11), ..facts() }, "is not good before 2027-02-19");
        is_wrong(&Facts { key_mode: 0o100_644, ..facts() }, "Anybody may read");
        is_wrong(&Facts { trust: Trust::Broken("bad signature".into()), ..facts() }, "bad signature");
        is_wrong(&Facts { shown: Some(false), running: true, ..facts() }, "shows another certificate");
        for leads in [Leads::Elsewhere, Leads::Nowhere] {
            let leads = vec![("hewei.example".into(), leads)];
            is_wrong(&Facts { leads, ..facts() }, "leads to this machine");
        }
        let mut disordered = facts();
        disordered.chain.push(Parsed { subject: "CN=Root".into(), ..disordered.chain[0].clone() });
        is_wrong(&disordered, "out of order");
        let soon = one(&Facts { now: NOW + time::Duration::days(75), ..facts() });
        assert!(matches!(soon.verdict, Verdict::Note(_)));
        let unknown = one(&Facts { trust: Trust::UnknownIssuer, ..facts() });
        assert!(matches!(unknown.verdict, Verdict::Note(_)));
    }

    #[test]
    fn an_own_one_is_mended_by_the_server() {
        let own = Facts { own: true, ..facts() };
        let spoilt = Facts { key_fits: Err("keys differ".into()), ..own.clone() };
        assert!(matches!(one(&spoilt).verdict, Verdict::Note(_)), "the next start makes a new one");
        is_wrong(&Facts { running: true, ..spoilt }, "does not belong");
        let moved = Facts { beyond_ca: vec!["203.0.113.5".into()], ..own };
        assert!(matches!(one(&moved).verdict, Verdict::Note(_)));
    }

    #[test]
    fn names_match_as_browsers_match_them() {
        assert!(matches("Hewei.example", "hewei.example") && matches("*.example", "hewei.example"));
        assert!(!matches("*.example", "a.hewei.example") && !matches("*.example", "example"));
    }

    #[test]
    fn a_certificate_is_read() {
        let names = ["hewei.example".to_owned(), "192.0.2.7".to_owned()];
        let made = rcgen::generate_simple_self_signed(names.clone()).expect("made");
        let parsed = parse(made.cert.der()).expect("parses");
        assert_eq!(parsed.names, names);
        assert_eq!(parsed.subject, parsed.issuer);
        assert!(parsed.not_before < parsed.not_after);
    }
}
