//! Certificates of HTTPS: files from the settings, or a CA of one's own and a certificate under it for the
//! addresses of this machine. Both are read again when they change, without a restart.

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use anyhow::Context;
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, NameConstraints,
};
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use time::OffsetDateTime;
use tokio_rustls::TlsAcceptor;

use crate::{
    addresses::{self, Network},
    config, secrets,
};

/// What browsers still accept of a certificate whose CA was put in by hand.
const CERTIFICATE_LIFETIME: time::Duration = time::Duration::days(397);
const RENEW_BEFORE: time::Duration = time::Duration::days(30);
const CA_LIFETIME: time::Duration = time::Duration::days(3_650);
/// Networks that nobody owns (RFC 1918, 4193, 6598, and loopback): the own CA is good for these, and for the names and
/// addresses this machine had when it was made. Whoever steals its key can play no other site to those who trust it.
const PRIVATE: [Network; 7] = [
    Network::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 0)), 8),
    Network::new(IpAddr::V4(Ipv4Addr::new(100, 64, 0, 0)), 10),
    Network::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8),
    Network::new(IpAddr::V4(Ipv4Addr::new(172, 16, 0, 0)), 12),
    Network::new(IpAddr::V4(Ipv4Addr::new(192, 168, 0, 0)), 16),
    Network::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 128),
    Network::new(IpAddr::V6(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0)), 7),
];
/// How often files and addresses are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The certificate in use, wherever it comes from.
pub struct Certificates {
    origin: Origin,
    current: Arc<Current>,
}

enum Origin {
    Files { certificate: PathBuf, key: PathBuf },
    Own { folder: PathBuf },
}

#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Certificates {
    /// Reads or makes the certificate.
    pub fn open(http: &config::Http, own_folder: &Path) -> anyhow::Result<Certificates> {
        let origin = match (&http.certificate, &http.key) {
            (Some(certificate), Some(key)) => {
                Origin::Files { certificate: certificate.clone(), key: key.clone() }
            }
            _ => Origin::Own { folder: own_folder.to_owned() },
        };
        let current = Arc::new(Current(RwLock::new(Arc::new(origin.load()?))));
        Ok(Certificates { origin, current })
    }

    /// Accepts connections with whatever certificate is the current one.
    pub fn acceptor(&self) -> anyhow::Result<TlsAcceptor> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::<Current>::clone(&self.current));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// Looks after changes of files and of this machine's addresses, for ever.
    pub async fn keep_fresh(self) {
        let mut seen = self.origin.state();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let state = self.origin.state();
            if state == seen {
                continue;
            }
            match self.origin.load() {
                Ok(key) => {
                    *self.current.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(key);
                    tracing::info!("the certificate of HTTPS was renewed");
                }
                // Half-written files are looked at again with their next change; the old one stays.
                Err(error) => {
                    tracing::warn!(error = format!("{error:#}"), "the certificate of HTTPS stays as it was")
                }
            }
            seen = self.origin.state();
        }
    }
}

/// What tells that a certificate must be loaded again.
#[derive(PartialEq)]
enum SeenState {
    Files([Option<SystemTime>; 2]),
    Own { names: BTreeSet<String>, due: bool },
}

impl Origin {
    fn load(&self) -> anyhow::Result<CertifiedKey> {
        match self {
            Origin::Files { certificate, key } => from_files(certificate, key),
            Origin::Own { folder } => own(folder, &names(), OffsetDateTime::now_utc()),
        }
    }

    fn state(&self) -> SeenState {
        match self {
            Origin::Files { certificate, key } => SeenState::Files(
                [certificate, key].map(|path| fs::metadata(path).and_then(|file| file.modified()).ok()),
            ),
            Origin::Own { folder } => {
                let due = OffsetDateTime::now_utc() + RENEW_BEFORE;
                SeenState::Own {
                    names: names(),
                    due: Made::read(folder).is_none_or(|made| made.expires_at < due.unix_timestamp()),
                }
            }
        }
    }
}

/// The names and addresses that people may type.
pub(crate) fn names() -> BTreeSet<String> {
    let hostname = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_lowercase();
    let is_dns_name = !hostname.is_empty()
        && hostname.parse::<IpAddr>().is_err()
        && hostname.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
    let addresses = addresses::of_this_machine();
    addresses
        .into_iter()
        .chain(addresses::LOOPBACK)
        .map(|address| address.to_string())
        .chain(["localhost".to_owned()])
        .chain(is_dns_name.then_some(hostname))
        .collect()
}

fn from_files(certificate: &Path, key: &Path) -> anyhow::Result<CertifiedKey> {
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("{} (http.certificate)", certificate.display()))?;
    let private =
        PrivateKeyDer::from_pem_file(key).with_context(|| format!("{} (http.key)", key.display()))?;
    certified(chain, private).with_context(|| {
        format!("{} and {} (http.certificate, http.key)", certificate.display(), key.display())
    })
}

fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> anyhow::Result<CertifiedKey> {
    let provider: CryptoProvider = ring::default_provider();
    // Refuses a key that does not belong to the certificate.
    Ok(CertifiedKey::from_der(chain, key, &provider)?)
}

/// Beside an own certificate: for what it was made, so that nobody has to parse it.
struct Made {
    expires_at: i64,
    names: BTreeSet<String>,
}

impl Made {
    fn read(folder: &Path) -> Option<Made> {
        let text = fs::read_to_string(folder.join("made-for.txt")).ok()?;
        let mut lines = text.lines();
        let expires_at = lines.next()?.parse().ok()?;
        Some(Made { expires_at, names: lines.map(str::to_owned).collect() })
    }

    fn write(&self, folder: &Path) -> std::io::Result<()> {
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        let text = format!("{}\n{}\n", self.expires_at, names.join("\n"));
        secrets::write_private(&folder.join("made-for.txt"), text.as_bytes())
    }
}

/// The own certificate for `names`: the one there is, or a new one when the names have changed or it ends soon.
fn own(folder: &Path, names: &BTreeSet<String>, now: OffsetDateTime) -> anyhow::Result<CertifiedKey> {
    secrets::private_folder(folder).with_context(|| format!("{}", folder.display()))?;
    let (certificate, key) = (folder.join("server.pem"), folder.join("server.key"));
    let made = Made::read(folder);
    let fits = made
        .is_some_and(|made| made.names == *names && made.expires_at > (now + RENEW_BEFORE).unix_timestamp());
    if fits && let Ok(key) = from_files(&certificate, &key) {
        return Ok(key);
    }
    let ca = own_ca(folder, names, now)?;
    let server = KeyPair::generate()?;
    // One name that the CA is not good for would spoil the certificate for all others.
    let (good, others): (Vec<_>, Vec<_>) = names.iter().cloned().partition(|name| ca.is_good_for(name));
    if !others.is_empty() {
        tracing::warn!(
            names = others.join(" "),
            "the own CA was made before this machine had these names or addresses, so browsers refuse HTTPS there; \
             to have a new CA, which everybody must trust anew, remove {} and start again",
            folder.display()
        );
    }
    let mut params = CertificateParams::new(good)?;
    params.distinguished_name = Default::default();
    params.distinguished_name.push(DnType::CommonName, "Hewei");
    params.not_before = now - time::Duration::days(1);
    params.not_after = now + CERTIFICATE_LIFETIME;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let leaf = params.signed_by(&server, &ca.issuer)?;
    secrets::write_private(&key, server.serialize_pem().as_bytes())?;
    secrets::write_private(&certificate, leaf.pem().as_bytes())?;
    Made { expires_at: params.not_after.unix_timestamp(), names: names.clone() }.write(folder)?;
    from_files(&certificate, &key)
}

/// The own CA.
struct Ca {
    issuer: Issuer<'static, KeyPair>,
    /// The names and addresses it is good for besides [`PRIVATE`].
    names: BTreeSet<String>,
}

impl Ca {
    fn is_good_for(&self, name: &str) -> bool {
        self.names.contains(name) || is_private(name)
    }
}

/// Those of `names` that the own CA in `folder` is not good for; none when there is no CA yet, which will be made for
/// all of them.
pub(crate) fn beyond_own_ca(folder: &Path, names: &BTreeSet<String>) -> Vec<String> {
    let Ok(made_for) = fs::read_to_string(folder.join("ca-made-for.txt")) else { return Vec::new() };
    let good = made_for.lines().collect::<BTreeSet<_>>();
    let beyond = |name: &&String| !good.contains(name.as_str()) && !is_private(name);
    names.iter().filter(beyond).cloned().collect()
}

fn is_private(name: &str) -> bool {
    name.parse().is_ok_and(|address| PRIVATE.iter().any(|network| network.contains(address)))
}

/// The own CA. It is made once, for the names this machine then has, and kept, so that whoever trusts it goes on
/// doing so.
fn own_ca(folder: &Path, names: &BTreeSet<String>, now: OffsetDateTime) -> anyhow::Result<Ca> {
    let (certificate, key) = (folder.join("ca.pem"), folder.join("ca.key"));
    let made_for = folder.join("ca-made-for.txt");
    // One from before it was limited to these names has no list of them, and a new one takes its place.
    if key.exists() && made_for.exists() {
        let read = |path: &Path| fs::read_to_string(path).with_context(|| format!("{}", path.display()));
        let pair = KeyPair::from_pem(&read(&key)?).with_context(|| format!("{}", key.display()))?;
        let names = read(&made_for)?.lines().map(str::to_owned).collect();
        return Ok(Ca { issuer: Issuer::new(ca_params(&pair, now), pair), names });
    }
    let pair = KeyPair::generate()?;
    let mut params = ca_params(&pair, now);
    params.name_constraints =
        Some(NameConstraints { permitted_subtrees: good_for(names), excluded_subtrees: Vec::new() });
    let ca = params.self_signed(&pair)?;
    let list: String = names.iter().map(|name| format!("{name}\n")).collect();
    secrets::write_private(&certificate, ca.pem().as_bytes())?;
    secrets::write_private(&made_for, list.as_bytes())?;
    // Last, since it says that all is there.
    secrets::write_private(&key, pair.serialize_pem().as_bytes())?;
    Ok(Ca { issuer: Issuer::new(params, pair), names: names.clone() })
}

fn good_for(names: &BTreeSet<String>) -> Vec<GeneralSubtree> {
    let network = |Network { address, prefix }| {
        GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(address, prefix))
    };
    let own = names.iter().map(|name| match name.parse::<IpAddr>() {
        Ok(address) => network(Network::alone(address)),
        Err(_) => GeneralSubtree::DnsName(name.clone()),
    });
    PRIVATE.into_iter().map(network).chain(own).collect()
}

/// An issuer is known by its name and key. The name is taken from the key, so that two installations differ.
fn ca_params(key: &KeyPair, now: OffsetDateTime) -> CertificateParams {
    let digest = ::ring::digest::digest(&::ring::digest::SHA256, key.public_key_raw());
    let short: String = digest.as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let mut params = CertificateParams::default();
    params.distinguished_name = Default::default();
    params.distinguished_name.push(DnType::CommonName, format!("Hewei own CA {short}"));
    params.not_before = now - time::Duration::days(1);
    params.not_after = now + CA_LIFETIME;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

#[cfg(test)]
mod tests {
    use rustls::{
        client::danger::ServerCertVerifier,
        pki_types::{ServerName, UnixTime},
    };

    use super::*;

    #[test]
    fn the_certificate_follows_the_addresses_and_the_ca_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let now = OffsetDateTime::now_utc();
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let chain = |names: &BTreeSet<String>, now| {
            own(folder.path(), names, now).expect("makes one").cert.first().expect("a leaf").to_vec()
        };
        let at_home = names(&["localhost", "192.168.0.1"]);
        let first = chain(&at_home, now);
        assert_eq!(first, chain(&at_home, now), "kept over a restart");
        let ca = fs::read(folder.path().join("ca.pem")).expect("the CA");
        let moved = chain(&names(&["localhost", "192.168.7.2"]), now);
        assert_ne!(first, moved);
        let later = now + CERTIFICATE_LIFETIME - time::Duration::days(29);
        assert_ne!(moved, chain(&names(&["localhost", "192.168.7.2"]), later), "renewed before its end");
        assert_eq!(ca, fs::read(folder.path().join("ca.pem")).expect("the CA"));
    }

    #[test]
    fn the_ca_is_good_for_this_machine_and_private_networks_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let now = OffsetDateTime::now_utc();
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let at_first = names(&["localhost", "office", "203.0.113.5", "2001:db8::5"]);
        let ca = own_ca(folder.path(), &at_first, now).expect("makes one");
        let root = CertificateDer::from_pem_file(folder.path().join("ca.pem")).expect("the CA");
        let mut roots = rustls::RootCertStore::empty();
        roots.add(root).expect("a root");
        let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(
            Arc::new(roots),
            Arc::new(ring::default_provider()),
        );
        let verifier = verifier.build().expect("a verifier");
        let is_accepted = |leaf: &CertificateDer<'_>, name: &str| {
            let name = ServerName::try_from(name.to_owned()).expect("a name");
            verifier.verify_server_cert(leaf, &[], &name, &[], UnixTime::now()).is_ok()
        };
        // With the stolen key.
        for (name, good) in [
            ("office", true),
            ("203.0.113.5", true),
            ("2001:db8::5", true),
            ("10.1.2.3", true),
            ("172.31.0.1", true),
            ("fd00::1", true),
            ("bank.example", false),
            ("203.0.113.6", false),
            ("172.32.0.1", false),
            ("2001:db8::6", false),
        ] {
            let key = KeyPair::generate().expect("a key");
            let params = CertificateParams::new([name.to_owned()]).expect("a name");
            let leaf = params.signed_by(&key, &ca.issuer).expect("signs");
            assert_eq!(is_accepted(leaf.der(), name), good, "{name}");
            assert_eq!(ca.is_good_for(name), good, "{name}");
        }
        // A name it is not good for does not spoil the certificate for the others.
        let moved = names(&["localhost", "office", "192.168.0.9", "203.0.113.6"]);
        let own = own(folder.path(), &moved, now).expect("makes one");
        let leaf = own.cert.first().expect("a leaf");
        assert!(is_accepted(leaf, "192.168.0.9") && is_accepted(leaf, "office"));
        assert!(!is_accepted(leaf, "203.0.113.6"));
    }
}
