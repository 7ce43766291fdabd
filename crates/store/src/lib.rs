//! What outlives a restart: cases, rooms, cameras, walls, recordings, purposes, sessions under way and the audit log.
//!
//! Owns the SQLite file and the key that seals camera credentials in it; decides nothing about who may read
//! what. Called by the server only. One file a noun; each adds its functions to [`Store`].

mod account;
mod audit;
pub mod backup;
mod camera;
mod case;
mod invitation;
mod link;
mod look;
mod purpose;
mod recording;
mod region;
mod revocation;
mod room;
mod row;
mod seal;
mod seat;
mod sign_in;
mod usage;
mod wall;

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};

pub use account::{Account, AccountChange, ChangedAccount, SetupCode};
pub use audit::{AuditEntry, AuditRow};
pub use camera::{Camera, Credentials};
pub use case::Case;
pub use invitation::{Invitation, ListedInvitation, Redeemed};
pub use link::Link;
pub use look::Schema;
pub use purpose::{Purpose, PurposeKind};
pub use recording::{Recording, RecordingState};
pub use region::Region;
pub use room::Room;
pub use seal::SealingKey;
pub use seat::{LiveSeat, LiveSession};
pub use sign_in::SignIn;
pub use usage::{Endings, SealedPackage};
pub use wall::Wall;

/// No list is longer than this, whatever the caller asks for.
pub const LIST_LIMIT_MAX: u32 = 500;

/// The open database. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    pool: SqlitePool,
    key: std::sync::Arc<SealingKey>,
}

/// What can go wrong with the database.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The same number, id or name is there already; names the column, such as `cases.number`.
    #[error("{0} is taken")]
    Taken(String),
    /// A row that the new one refers to does not exist.
    #[error("the row refers to something that does not exist")]
    NoSuchReference,
    /// A code that no invitation has, or one that has run out.
    #[error("no such invitation, or it has run out")]
    InvitationUnknown,
    /// A code that was redeemed before.
    #[error("the invitation was used")]
    InvitationUsed,
    /// Nobody would be left who can sign in and make accounts.
    #[error("it is the last administrator")]
    LastAdministrator,
    /// Camera credentials do not open: another key, or an altered row.
    #[error("the credentials of camera {0} cannot be opened with this key")]
    Unsealable(hewei_model::CameraId),
    /// The database holds what it never should.
    #[error("column {column} of the database holds {text:?}, which is not allowed there")]
    Corrupt {
        /// Column.
        column: &'static str,
        /// What it holds.
        text: String,
    },
    /// SQLite says no.
    #[error("database: {0}")]
    Database(sqlx::Error),
    /// A newer program wrote the database.
    #[error(
        "the database is of a newer Hewei (schema {found}, and this program knows {known}): install that version again, \
         or restore a backup from before the update"
    )]
    Newer {
        /// The newest migration in the database.
        found: i64,
        /// The newest one of this program.
        known: i64,
    },
    /// A backup cannot be made: the server that uses the database is of another version than this program.
    #[error(
        "the database has schema {found} and this program has {known}: use the program of the version that the server \
         runs, or start the server once with this one"
    )]
    OtherSchema {
        /// The newest migration in the database.
        found: i64,
        /// The newest one of this program.
        known: i64,
    },
    /// The copy that is kept before the schema changes could not be made.
    #[error("cannot keep a copy of the database before its schema changes, as {path}: {source}")]
    NoCopy {
        /// The copy.
        path: std::path::PathBuf,
        /// Why.
        source: Box<Error>,
    },
    /// The schema cannot be brought up to date.
    #[error("database schema: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        if let Some(database) = error.as_database_error() {
            if database.is_unique_violation() {
                // "UNIQUE constraint failed: cases.number"
                let message = database.message();
                let column = message.rsplit(": ").next().unwrap_or(message);
                return Error::Taken(column.to_owned());
            }
            if database.is_foreign_key_violation() {
                return Error::NoSuchReference;
            }
        }
        Error::Database(error)
    }
}

/// What every function of the store gives.
pub type Result<T> = std::result::Result<T, Error>;

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// The newest schema that this program knows.
pub fn schema_known() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0)
}

/// Refuses a database of a newer program, and keeps a copy of one that is about to change.
async fn keep_copy(pool: &SqlitePool, path: &Path) -> Result<()> {
    let mut connection = pool.acquire().await?;
    let applied = backup::applied(&mut connection).await?;
    let versions: Vec<i64> = MIGRATIONS.iter().map(|migration| migration.version).collect();
    if let Some(found) = applied.iter().copied().find(|version| !versions.contains(version)) {
        return Err(Error::Newer { found, known: schema_known() });
    }
    let next = versions.into_iter().find(|version| !applied.contains(version));
    let Some(next) = next.filter(|_| !applied.is_empty()) else { return Ok(()) };
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".before-{next:04}"));
    let copy = PathBuf::from(name);
    // One is there when an earlier try to change the schema failed, which left the database as it was.
    match std::fs::remove_file(&copy) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(Error::Database(sqlx::Error::Io(error)));
        }
        _ => {}
    }
    let copied = backup::copy_of(&mut connection, &copy).await;
    copied.map_err(|source| Error::NoCopy { path: copy, source: Box::new(source) })
}

impl Store {
    /// Opens the database, makes it when there is none, and brings its schema up to date. `key` seals the
    /// credentials of cameras. Before the schema of a database changes, a copy of it is kept beside it, named after the
    /// first migration that it lacks: `hewei.sqlite.before-0003`.
    pub async fn open(path: &Path, key: SealingKey) -> Result<Store> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // FULL: an audit row that was acknowledged survives a power cut.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(5));
        // SQLite has one writer; a few connections let readers go on beside it.
        let pool = SqlitePoolOptions::new()
            .max_connections(4)
            .acquire_timeout(Duration::from_secs(10))
            .connect_with(options)
            .await?;
        keep_copy(&pool, path).await?;
        MIGRATIONS.run(&pool).await?;
        Ok(Store { pool, key: std::sync::Arc::new(key) })
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<()> {
        sqlx::query("SELECT 1").execute(&self.pool).await?;
        Ok(())
    }

    /// A change of several statements. It takes the one writer's turn at once, so that what it reads stays true.
    pub(crate) async fn begin(&self) -> Result<sqlx::Transaction<'static, sqlx::Sqlite>> {
        Ok(self.pool.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// Writes everything back into the one file and closes it.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}
