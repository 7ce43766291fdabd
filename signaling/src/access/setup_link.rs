//! The link by which the first administrator comes in, and the way back in for one who forgot the password: whoever
//! may read the storage folder may have it.

use std::{fs, io, net::SocketAddr, path::Path};

use anyhow::Context;
use hewei_store::{Account, Store};
use time::{Duration, OffsetDateTime};

use crate::{addresses, config::Config, secrets, serve::Listening};

/// The first administrator's.
const LIFETIME: Duration = Duration::hours(24);
const FILE: &str = "setup-link";

/// Makes a fresh link and says the addresses to open, one a line. `account` is whose password it chooses; without one
/// it makes the first administrator, and is kept in the storage folder as well.
pub async fn make(
    store: &Store,
    config: &Config,
    listening: &[Listening],
    account: Option<&Account>,
) -> anyhow::Result<String> {
    let code = super::secret().map_err(|problem| anyhow::anyhow!(problem.into_body().detail))?;
    let expires_at = OffsetDateTime::now_utc() + LIFETIME;
    store.put_setup_code(&code, account.map(|account| account.id), expires_at).await?;
    let mut text = String::new();
    for base in bases(config, listening) {
        text.push_str(&format!("{base}/setup#{code}\n"));
    }
    if account.is_none() {
        let path = config.storage.folder.join(FILE);
        secrets::write_private(&path, text.as_bytes()).with_context(|| format!("{}", path.display()))?;
    }
    Ok(text)
}

/// At the start: a link when there is no administrator who could sign in; otherwise an old one goes.
pub async fn at_start(
    store: &Store,
    config: &Config,
    listening: &[Listening],
) -> anyhow::Result<Option<String>> {
    if store.has_administrator().await? {
        remove(&config.storage.folder);
        return Ok(None);
    }
    make(store, config, listening, None).await.map(Some)
}

/// The link was used.
pub fn remove(folder: &Path) {
    match fs::remove_file(folder.join(FILE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, "the used set-up link could not be removed from the storage folder");
        }
        _ => {}
    }
}

/// The addresses of pages, as a browser takes them: those on this machine first.
fn bases(config: &Config, listening: &[Listening]) -> Vec<String> {
    // In a container they are the host's, as its settings tell for media.
    let machine = addresses::candidates(config, &addresses::of_this_machine());
    let mut bases = Vec::new();
    for Listening { address, tls } in listening {
        let scheme = if *tls { "https" } else { "http" };
        let hosts = match address.ip() {
            ip if !ip.is_unspecified() => vec![ip],
            _ => machine.iter().copied().filter(|ip| ip.is_ipv4() && !ip.is_loopback()).collect(),
        };
        bases.extend(
            hosts.into_iter().map(|ip| format!("{scheme}://{}", SocketAddr::new(ip, address.port()))),
        );
    }
    bases.sort_by_key(|base| base.starts_with("https"));
    if bases.is_empty() {
        // The path is still worth something.
        bases.push(String::new());
    }
    bases
}
