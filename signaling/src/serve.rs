//! Starting and stopping a whole server.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use hewei_store::{SealingKey, Store};
use time::OffsetDateTime;
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use crate::{
    access::{passwords::Passwords, setup_link},
    auth::{Revocations, Tokens},
    config::Config,
    demo::page::Page,
    descriptors,
    health::Health,
    http::{
        self,
        listener::{Http, Media, Served, Shares},
    },
    limits::{JoinLimits, RequestLimits, SignInLimits},
    live::Live,
    media_port::{self, MediaPort},
    metrics::{HttpMetrics, RecordingCounts},
    recovering,
    refusals::Refusals,
    secrets::{Folder, Lock},
    state::{App, Parts, State},
    turn::{self, Turn},
    verifying::Verifying,
};

/// Answers that are under way when the server stops get this long.
const GRACE: Duration = Duration::from_secs(1);

/// Ending sessions and sealing their recordings gets this long, so that all is over within ten seconds.
const LIVE_END_MAX: Duration = Duration::from_secs(7);

/// The media threads and the database get this long each.
const CLOSE_MAX: Duration = Duration::from_millis(500);

// What the unit file and the documents promise.
const _: () = assert!(
    LIVE_END_MAX.as_millis() + GRACE.as_millis() + 2 * CLOSE_MAX.as_millis() < 10_000,
    "a stop is over within ten seconds"
);

/// How exactly sign-ins end that nobody uses.
const TIDY_EVERY: Duration = Duration::from_secs(30);

/// A running server.
pub struct Server {
    app: App,
    listening: Vec<Listening>,
    stop: watch::Sender<bool>,
    listeners: JoinSet<()>,
    keep_fresh: Option<tokio::task::JoinHandle<()>>,
    tidy: tokio::task::JoinHandle<()>,
    setup_link: Option<String>,
    recovering: tokio::task::JoinHandle<()>,
    _lock: Lock,
}

/// Where a server listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listening {
    /// Address and port.
    pub address: SocketAddr,
    /// Whether it is HTTPS.
    pub tls: bool,
}

impl Listening {
    /// What an address is listened at with: plain HTTP never leaves the machine.
    pub fn at(address: SocketAddr) -> Self {
        Self { address, tls: !address.ip().is_loopback() }
    }
}

impl Server {
    /// Opens the storage folder, starts media and listens.
    pub async fn start(config: Config) -> anyhow::Result<Server> {
        let refusals = Arc::new(Refusals::default());
        let relays = if config.turn.enabled { turn::RELAYS_MAX.into() } else { 0 };
        let connections = Shares::new(descriptors::raise(), relays, Arc::clone(&refusals));
        let folder = Folder::open(&config.storage.folder)?;
        let lock = folder.lock()?;
        let database = folder.database()?;
        let store = Store::open(&database, SealingKey::new(&folder.camera_key()?))
            .await
            .with_context(|| format!("cannot open {}", database.display()))?;
        let unsealed = recovering::find(&store).await?;
        let identity =
            hewei_recorder::Identity::load_or_create(&folder.recorder(), OffsetDateTime::now_utc())
                .with_context(|| format!("the recorder's keys in {}", folder.recorder().display()))?;

        // All ports first: a taken one should not leave half a server.
        let mut sockets = Vec::with_capacity(config.http.listen.len());
        for address in &config.http.listen {
            let socket = TcpListener::bind(address)
                .await
                .with_context(|| format!("cannot listen on {address} (http.listen)"))?;
            sockets.push(socket);
        }
        let bound = sockets.iter().map(TcpListener::local_addr).collect::<Result<Vec<_>, _>>()?;
        let MediaPort { engine, events, listener: media_listener } =
            media_port::open(&config, &bound).await?;
        let token_key = folder.token_key()?;
        let turn = Turn::new(&config, engine.port(), &token_key);
        let media = Media { engine: config.media.tcp.then(|| engine.clone()), turn: turn.clone() };

        let config = Arc::new(config);
        let identity = Arc::new(identity);
        let revocations = store.revocations(OffsetDateTime::now_utc()).await?;
        let revocations = Arc::new(Revocations::with(revocations));
        let parts = Parts {
            config: Arc::clone(&config),
            store: store.clone(),
            engine: engine.clone(),
            identity: Arc::clone(&identity),
            revocations: Arc::clone(&revocations),
        };
        let live = Live::start(parts, events).await?;
        let app = App::new(State {
            store,
            engine,
            live,
            identity,
            tokens: Tokens::new(&token_key, revocations),
            join_limits: JoinLimits::new(Instant::now()),
            setup_limits: JoinLimits::new(Instant::now()),
            sign_in_limits: SignInLimits::new(Instant::now()),
            request_limits: RequestLimits::new(Instant::now()),
            passwords: Passwords::default(),
            http_metrics: HttpMetrics::default(),
            refusals,
            recording_counts: RecordingCounts::default(),
            verifying: Verifying::default(),
            health: Health::default(),
            started_at: OffsetDateTime::now_utc(),
            connections: Arc::clone(&connections),
            turn,
            demo: Page::default(),
            config,
        });

        let recovering = recovering::spawn(app.clone(), unsealed);
        let router = http::router(app.clone());
        let (stop, stopped) = watch::channel(false);
        let mut listeners = JoinSet::new();
        let mut listening = Vec::with_capacity(sockets.len());
        let mut certificates = None;
        for socket in sockets {
            let at = Listening::at(socket.local_addr()?);
            if at.tls && certificates.is_none() {
                certificates = Some(http::tls::Certificates::open(&app.config.http, &folder.tls())?);
            }
            let secured = certificates.as_ref().filter(|_| at.tls);
            let tls = secured.map(http::tls::Certificates::acceptor).transpose()?;
            tracing::info!(address = %at.address, tls = at.tls, "listening");
            listening.push(at);
            let http = Some(Http { tls, router: router.clone() });
            let (served, shares) = (Served { http, media: media.clone() }, Arc::clone(&connections));
            listeners.spawn(http::listener::serve(socket, served, shares, stopped.clone(), GRACE));
        }
        if let Some(socket) = media_listener {
            tracing::info!(address = %socket.local_addr()?, "listening for media over TCP");
            let (served, shares) = (Served { http: None, media }, Arc::clone(&connections));
            listeners.spawn(http::listener::serve(socket, served, shares, stopped.clone(), GRACE));
        }
        let setup_link = setup_link::at_start(&app.store, &app.config, &listening).await?;
        let tidy = tokio::spawn(tidy(app.clone()));
        let keep_fresh = certificates.map(|certificates| tokio::spawn(certificates.keep_fresh()));
        Ok(Server { app, listening, stop, listeners, keep_fresh, tidy, setup_link, recovering, _lock: lock })
    }

    /// What the handlers hold.
    pub fn app(&self) -> &App {
        &self.app
    }

    /// The link by which the first administrator comes in, one address a line; `None` when there is an administrator.
    pub fn setup_link(&self) -> Option<&str> {
        self.setup_link.as_deref()
    }

    /// Where it listens, in the order of the settings, with the ports that were given for 0.
    pub fn listening(&self) -> &[Listening] {
        &self.listening
    }

    /// Ends sessions and seals their recordings, takes no more connections, and ends media. Within ten seconds. Until
    /// the recordings are sealed `/readyz` says that the server stops, and whoever wants in is told so.
    pub async fn stop(mut self) {
        tracing::info!("stopping");
        if tokio::time::timeout(LIVE_END_MAX, self.app.live.shutdown()).await.is_err() {
            tracing::error!("sessions and recordings did not end in time");
        }
        self.stop.send_replace(true);
        while self.listeners.join_next().await.is_some() {}
        self.tidy.abort();
        if let Some(task) = self.keep_fresh {
            task.abort();
        }
        // It is taken up at the next start.
        self.recovering.abort();
        let engine = self.app.engine.clone();
        // It waits for threads.
        let ended = tokio::task::spawn_blocking(move || engine.shutdown());
        if tokio::time::timeout(CLOSE_MAX, ended).await.is_err() {
            tracing::error!("the media engine did not end in time");
        }
        if tokio::time::timeout(CLOSE_MAX, self.app.store.close()).await.is_err() {
            tracing::error!("the database was not closed in time; what is written is safe");
        }
    }
}

/// Ends sign-ins that have run out, as long as the server runs.
async fn tidy(app: App) {
    let mut every = tokio::time::interval(TIDY_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        if let Err(error) = app.tidy_access().await {
            tracing::warn!(%error, "sign-ins that have run out could not be ended; the next try is in half a minute");
        }
    }
}
