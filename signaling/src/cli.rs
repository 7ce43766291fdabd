//! The command line.

use std::{
    io::{IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use clap::{Parser, Subcommand};
use hewei_model::{Role, RoomId};
use hewei_store::{SealingKey, Store};
use time::OffsetDateTime;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::{
    access::{self, setup_link},
    auth::{Claims, Tokens},
    backup,
    config::{Config, ConfigError, Log, LogFormat},
    demo, doctor,
    notify::Manager,
    openapi, ready,
    secrets::Folder,
    serve::{Listening, Server},
};

/// Hewei: video mediation and dispatch.
#[derive(Parser)]
#[command(name = "hewei", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server.
    Serve {
        /// Settings; without it the defaults and HEWEI_... variables.
        #[arg(long)]
        config: Option<PathBuf>,
    },
    /// Run the server with made-up people, a case, and cameras.
    Demo {
        /// Settings; without it the defaults and HEWEI_... variables.
        #[arg(long)]
        config: Option<PathBuf>,
    },
    /// Check a file of settings.
    CheckConfig {
        /// The file.
        file: PathBuf,
    },
    /// Look at everything that this installation needs, and say what to do: 0 nothing is wrong, 1 something is, 2 it
    /// could not look.
    Doctor {
        /// Settings; without it the defaults and HEWEI_... variables.
        #[arg(long)]
        config: Option<PathBuf>,
        /// Only this: settings, machine, disk, database, clock, certificate, ports, addresses, call or cameras. May be
        /// given more than once.
        #[arg(long)]
        only: Vec<doctor::Check>,
        /// Print the result as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print a token for somebody.
    Token {
        /// The id of the room it opens, or '*' for all.
        #[arg(long, value_parser = parse_room)]
        room: RoomOrAll,
        /// party, mediator, lawyer, leader, operator, auditor or administrator.
        #[arg(long)]
        role: Role,
        /// How long it is good: a number and s, m, h or d; 7d at most.
        #[arg(long, default_value = "1h", value_parser = parse_ttl)]
        ttl: Duration,
        /// The name others see; the role's name without it.
        #[arg(long)]
        name: Option<String>,
        /// Settings of the server it is for.
        #[arg(long)]
        config: Option<PathBuf>,
    },
    /// Print a one-time link: for the first administrator, or for an account whose password was forgotten.
    SetupLink {
        /// Whose password it chooses; not needed when there is one administrator.
        #[arg(long)]
        username: Option<String>,
        /// Settings of the server it is for.
        #[arg(long)]
        config: Option<PathBuf>,
    },
    /// Verify a case package: 0 intact, 1 altered or incomplete, 2 cannot be read.
    Verify {
        /// The package's folder.
        package: PathBuf,
        /// Print the result as JSON.
        #[arg(long)]
        json: bool,
        /// The CA certificate of the recorder, from outside the package; without it this installation's own, if
        /// there is one.
        #[arg(long)]
        ca: Option<PathBuf>,
        /// The hash on a receipt that the package must match.
        #[arg(long)]
        receipt: Option<String>,
    },
    /// Put database, keys and recordings into one file, beside a running server too.
    Backup {
        /// The file to write; it must not be there yet.
        file: PathBuf,
        /// Settings of the server.
        #[arg(long)]
        config: Option<PathBuf>,
    },
    /// Unpack a backup into an empty folder and verify all of it.
    Restore {
        /// The backup.
        file: PathBuf,
        /// The folder, empty or not there yet: the new storage.folder.
        #[arg(long)]
        into: PathBuf,
    },
    /// Ask a running server whether it is ready: 0 if so, 1 if not.
    Health {
        /// Where to ask; without it the plain HTTP address of the settings.
        #[arg(long)]
        url: Option<url::Url>,
        /// Settings of the server.
        #[arg(long)]
        config: Option<PathBuf>,
    },
    /// Print the OpenAPI document.
    Openapi,
}

#[derive(Clone, Copy)]
struct RoomOrAll(Option<RoomId>);

fn parse_room(text: &str) -> Result<RoomOrAll, String> {
    match text {
        "*" => Ok(RoomOrAll(None)),
        id => id
            .parse()
            .map(|room| RoomOrAll(Some(room)))
            .map_err(|_| "give a room's id, or '*' for all".into()),
    }
}

fn parse_ttl(text: &str) -> Result<Duration, String> {
    const WEEK_S: u64 = 7 * 24 * 3_600;
    let allowed = || "give a number and s, m, h or d, such as 90m; 7d at most".to_owned();
    let unit_s = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3_600,
        Some('d') => 86_400,
        _ => return Err(allowed()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| allowed())?;
    match number.checked_mul(unit_s) {
        Some(seconds) if (1..=WEEK_S).contains(&seconds) => Ok(Duration::from_secs(seconds)),
        _ => Err(allowed()),
    }
}

/// Does what the command line says; the process ends with what this gives.
pub fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            // Also when nobody reads it.
            let _ = writeln!(std::io::stderr(), "hewei: {error:#}");
            let wrong_setting = error.is::<ConfigError>();
            ExitCode::from(if wrong_setting { 2 } else { 1 })
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve { config } => {
            let config = Config::load(config.as_deref())?;
            start_log(&config.log)?;
            let format = config.log.format;
            if let Err(error) = block_on(serve(config)) {
                match format {
                    LogFormat::Text => return Err(error),
                    // Programs read every line, the last one too.
                    LogFormat::Json => {
                        tracing::error!(error = format!("{error:#}"), "the server cannot go on")
                    }
                }
                return Ok(ExitCode::FAILURE);
            }
        }
        Command::Demo { config } => {
            let config = demo::config(Config::load(config.as_deref())?);
            start_log(&config.log)?;
            block_on(demo(config))?;
        }
        Command::CheckConfig { file } => {
            Config::load(Some(&file))?;
            print(&format!("{} is good\n", file.display()))?;
        }
        Command::Doctor { config, only, json } => {
            return examine(doctor::Options { config, only, json });
        }
        Command::Token { room, role, ttl, name, config } => {
            let config = Config::load(config.as_deref())?;
            let name = name.unwrap_or_else(|| role.to_string());
            let name = crate::rest::input::text(&name, "--name", 1, 60)
                .map_err(|problem| anyhow::anyhow!(problem.into_body().detail))?;
            block_on(token(config, name, role, room.0, ttl))?;
        }
        Command::SetupLink { username, config } => {
            block_on(setup_link(Config::load(config.as_deref())?, username))?;
        }
        Command::Verify { package, json, ca, receipt } => {
            return verify(&package, json, ca.as_deref(), receipt.as_deref());
        }
        Command::Backup { file, config } => {
            let config = Config::load(config.as_deref())?;
            let mut words = String::new();
            block_on(async {
                words = backup::backup(&config, &file).await?;
                Ok(())
            })?;
            print(&words)?;
        }
        Command::Restore { file, into } => {
            let mut words = String::new();
            block_on(async {
                words = backup::restore(&file, &into).await?;
                Ok(())
            })?;
            print(&words)?;
        }
        Command::Health { url, config } => {
            let url = match url {
                Some(url) => url,
                None => ready::address(&Config::load(config.as_deref())?)?,
            };
            print(&ready::ask(&url)?)?;
        }
        Command::Openapi => print(&openapi::text())?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The doctor. Ctrl+C ends it, and what it has made goes away.
fn examine(options: doctor::Options) -> anyhow::Result<ExitCode> {
    // The server that it starts for a test call opens as much as a real one.
    crate::descriptors::raise();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let examined = runtime.block_on(async {
        let mut end = End::new()?;
        tokio::select! {
            code = doctor::run(options) => code,
            () = end.wait() => anyhow::bail!("interrupted"),
        }
    });
    runtime.shutdown_timeout(Duration::from_secs(5));
    Ok(examined.unwrap_or_else(|error| {
        let _ = writeln!(std::io::stderr(), "hewei: the doctor could not look: {error:#}");
        ExitCode::from(2)
    }))
}

async fn token(
    config: Config,
    name: String,
    role: Role,
    room: Option<RoomId>,
    ttl: Duration,
) -> anyhow::Result<()> {
    let (folder, store) = open_storage(&config).await?;
    let now = OffsetDateTime::now_utc();
    let claims = Claims::of_link(name, role, room, now + ttl);
    let kept = access::keep_link(&store, &claims, now).await;
    store.close().await;
    kept.context("cannot write the link down (is there such a room?)")?;
    let tokens = Tokens::new(&folder.token_key()?, Arc::default());
    print(&format!("{}\n", tokens.issue(&claims)))?;
    Ok(())
}

async fn setup_link(config: Config, username: Option<String>) -> anyhow::Result<()> {
    let (_, store) = open_storage(&config).await?;
    let listening: Vec<Listening> = config.http.listen.iter().copied().map(Listening::at).collect();
    let text = async {
        let account = whose_link(&store, username.as_deref()).await?;
        setup_link::make(&store, &config, &listening, account.as_ref()).await
    }
    .await;
    store.close().await;
    print(&text?)?;
    Ok(())
}

/// Whose password the link chooses; `None` makes the first administrator.
async fn whose_link(store: &Store, username: Option<&str>) -> anyhow::Result<Option<hewei_store::Account>> {
    let account = match username {
        Some(username) => {
            let found = store.account_to_sign_in(username).await?;
            let (account, _) = found.with_context(|| format!("there is no account {username}"))?;
            account
        }
        None if !store.has_administrator().await? => return Ok(None),
        None => {
            let mut administrators = store.accounts(hewei_store::LIST_LIMIT_MAX).await?;
            administrators.retain(|account| account.role == Role::Administrator && !account.disabled);
            let names: Vec<&str> = administrators.iter().map(|account| account.username.as_str()).collect();
            if names.len() > 1 {
                anyhow::bail!(
                    "there are several administrators; add --username with one of: {}",
                    names.join(", ")
                );
            }
            administrators.pop().context("there is no administrator")?
        }
    };
    if account.disabled {
        anyhow::bail!("the account {} is closed; an administrator opens it again", account.username);
    }
    Ok(Some(account))
}

/// Also while a server runs on it.
async fn open_storage(config: &Config) -> anyhow::Result<(Folder, Store)> {
    let folder = Folder::open(&config.storage.folder)?;
    let database = folder.database()?;
    let store = Store::open(&database, SealingKey::new(&folder.camera_key()?))
        .await
        .with_context(|| format!("cannot open {}", database.display()))?;
    Ok((folder, store))
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let mut end = End::new()?;
    let manager = Manager::of_environment();
    let server = Server::start(config).await?;
    if let Some(link) = server.setup_link() {
        // Only to a person: what a service prints is kept in a journal, which others may read.
        if std::io::stdout().is_terminal() {
            print(&format!(
                "首次设置：请在 24 小时内打开下面的链接，设置第一位管理员。\n\
                 First set-up: open this link within 24 hours to make the first administrator.\n{link}"
            ))?;
        } else {
            tracing::info!(
                "there is no administrator yet: `hewei setup-link` prints the link to make the first"
            );
        }
    }
    let mut alive = None;
    if let Some(manager) = &manager {
        manager.ready();
        alive = Some(tokio::spawn(manager.try_clone()?.keep_alive(server.app().clone())));
    }
    end.wait().await;
    if let Some(alive) = alive {
        // From here on the manager's own time for stopping runs.
        alive.abort();
    }
    if let Some(manager) = &manager {
        manager.stopping();
    }
    end.or_again(server.stop()).await
}

async fn demo(config: Config) -> anyhow::Result<()> {
    let mut end = End::new()?;
    let server = Server::start(config).await?;
    let demo = match demo::start(&server).await {
        Ok(demo) => demo,
        Err(error) => {
            server.stop().await;
            return Err(error);
        }
    };
    print(demo.text())?;
    end.wait().await;
    end.or_again(server.stop()).await?;
    drop(demo);
    Ok(())
}

/// SIGTERM or SIGINT. From here on neither ends the process by itself.
struct End {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl End {
    fn new() -> std::io::Result<End> {
        Ok(End { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Stops in good order, or at once when somebody asks a second time.
    async fn or_again(&mut self, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
        tokio::select! {
            () = stop => Ok(()),
            () = self.wait() => anyhow::bail!("stopped at once; recordings may be unsealed"),
        }
    }
}

fn verify(
    package: &std::path::Path,
    json: bool,
    ca: Option<&std::path::Path>,
    receipt: Option<&str>,
) -> anyhow::Result<ExitCode> {
    use hewei_evidence::verify::{Options, Verdict};

    let result = trusted_ca(ca).and_then(|ca| {
        let options = Options { ca_pem: ca.as_ref().map(|(_, pem)| pem.as_str()), receipt };
        let directory = hewei_recorder::package::Directory::new(package);
        let verification = hewei_evidence::verify::verify(&directory, &options)?;
        Ok((verification, ca.map(|(path, _)| path)))
    });
    let (verification, trusted) = match result {
        Ok(result) => result,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "hewei: cannot verify {}: {error:#}", package.display());
            return Ok(ExitCode::from(2));
        }
    };
    if json {
        print(&format!("{}\n", serde_json::to_string_pretty(&verification)?))?;
    } else {
        print(&crate::rest::recordings::verification_in_words(&verification))?;
    }
    if let Some(trusted) = trusted.filter(|_| ca.is_none()) {
        let trusted = trusted.display();
        let _ = writeln!(
            std::io::stderr(),
            "hewei: held against this installation's own CA, {trusted}; give another recorder's with --ca FILE"
        );
    }
    Ok(match verification.verdict {
        Verdict::Intact => ExitCode::SUCCESS,
        Verdict::Altered | Verdict::Incomplete => ExitCode::from(1),
    })
}

/// The CA to hold a package against, and where it is: the given one, or this installation's own if it has one.
fn trusted_ca(given: Option<&std::path::Path>) -> anyhow::Result<Option<(PathBuf, String)>> {
    if let Some(path) = given {
        let pem = std::fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
        return Ok(Some((path.to_owned(), pem)));
    }
    // Without settings that can be read there is no installation here; nothing is made for the asking.
    let Ok(config) = Config::load(None) else { return Ok(None) };
    let path = config.storage.folder.join("keys").join("recorder").join("ca.pem");
    Ok(std::fs::read_to_string(&path).ok().map(|pem| (path, pem)))
}

fn block_on(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(work);
    // A verification under way reads on for minutes, and nobody waits for it any more.
    runtime.shutdown_timeout(Duration::from_millis(500));
    done
}

fn start_log(log: &Log) -> anyhow::Result<()> {
    let mut filter = EnvFilter::builder().parse(&log.filter)?;
    // Whatever the filter says: retina's warnings can quote a camera's address and bytes, and rtc-dtls warns of
    // each extension of a browser that it does not know.
    for capped in ["retina=error", "rtc_dtls=error"] {
        filter = filter.add_directive(capped.parse()?);
    }
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let builder = builder.with_ansi(std::io::stderr().is_terminal());
    let started = match log.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("cannot start the log: {error}"))
}

/// To standard output; an error when nobody reads it.
fn print(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn lifetimes() {
        assert_eq!(parse_ttl("90m"), Ok(Duration::from_secs(5_400)));
        assert_eq!(parse_ttl("7d"), Ok(Duration::from_secs(604_800)));
        for bad in ["", "h", "1", "0s", "8d", "-1h", "1时", "99999999999999999999d", "18446744073709551615h"]
        {
            assert!(parse_ttl(bad).is_err(), "{bad}");
        }
    }
}
