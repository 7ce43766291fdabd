//! What every handler holds.

use std::{ops::Deref, sync::Arc};

use hewei_engine::Engine;
use hewei_store::Store;
use time::OffsetDateTime;

use crate::{
    access::passwords::Passwords,
    auth::{Revocations, Tokens},
    config::Config,
    demo::page::Page,
    health::Health,
    http::listener::Shares,
    limits::{JoinLimits, RequestLimits, SignInLimits},
    live::Live,
    metrics::{HttpMetrics, RecordingCounts},
    refusals::Refusals,
    turn::Turn,
    verifying::Verifying,
};

/// The running server, without its listeners. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<State>);

/// What an [`App`] shares.
pub struct State {
    /// Settings.
    pub config: Arc<Config>,
    /// Database.
    pub store: Store,
    /// Media.
    pub engine: Engine,
    /// Rooms, walls and cameras in use. It owns the cameras' pulls and the recordings under way.
    pub live: Live,
    /// Key and certificate that sign recordings.
    pub identity: Arc<hewei_recorder::Identity>,
    /// Signs and checks tokens and tickets.
    pub tokens: Tokens,
    /// How often invitations are tried.
    pub join_limits: JoinLimits,
    /// How often set-up links are tried.
    pub setup_limits: JoinLimits,
    /// How often passwords are tried.
    pub sign_in_limits: SignInLimits,
    /// How often anything is asked for.
    pub request_limits: RequestLimits,
    /// Hashes and checks passwords.
    pub passwords: Passwords,
    /// Counts of requests.
    pub http_metrics: HttpMetrics,
    /// What was refused, by kind.
    pub refusals: Arc<Refusals>,
    /// Counts of recordings.
    pub recording_counts: RecordingCounts,
    /// Verifications under way.
    pub verifying: Verifying,
    /// How the server is doing.
    pub health: Health,
    /// Since when it runs.
    pub started_at: OffsetDateTime,
    /// Connections there are.
    pub connections: Arc<Shares>,
    /// Relays for browsers behind firewalls; `None` when they are off.
    pub(crate) turn: Option<Arc<Turn>>,
    /// What the page of a demo shows.
    pub demo: Page,
}

/// What `Live::start(parts, events)` gets: everything of the server that is not live itself.
#[derive(Clone)]
pub struct Parts {
    /// Settings.
    pub config: Arc<Config>,
    /// Database.
    pub store: Store,
    /// Media.
    pub engine: Engine,
    /// Key and certificate that sign recordings.
    pub identity: Arc<hewei_recorder::Identity>,
    /// What was ended before its time.
    pub revocations: Arc<Revocations>,
}

impl App {
    /// Puts it together.
    pub fn new(state: State) -> Self {
        Self(Arc::new(state))
    }
}

impl Deref for App {
    type Target = State;

    fn deref(&self) -> &State {
        &self.0
    }
}
