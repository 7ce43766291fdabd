//! Copies of a database: of one that is in use, for a backup, and of one that is about to be changed.
//!
//! Works on files, beside the pool of a [`crate::Store`] or without one.

use std::{fs::OpenOptions, io, os::unix::fs::OpenOptionsExt, path::Path, time::Duration};

use hewei_model::RecordingId;
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection, sqlite::SqliteConnectOptions};

use crate::{Error, RecordingState, Result, row};

/// A writer of the running server is waited for as long as this.
const BUSY_MAX: Duration = Duration::from_secs(60);

/// What is in a database, as far as a backup has to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// The newest migration in it; 0 for a database without any.
    pub schema: i64,
    /// How many cases there are.
    pub cases: u64,
    /// Every recording.
    pub recordings: Vec<Recorded>,
}

/// A recording in a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Recording.
    pub id: RecordingId,
    /// State.
    pub state: RecordingState,
    /// The folder of the package.
    pub package: Option<String>,
    /// The receipt.
    pub head_hash: Option<String>,
}

/// Copies the database `from`, which may be in use, to the file `into`, which must not be there. The copy is of one
/// moment, one file, and readable by its owner alone. Takes about as much space as the database.
pub async fn copy(from: &Path, into: &Path) -> Result<()> {
    let mut source = open(from).await?;
    let copied = copy_of(&mut source, into).await;
    source.close().await?;
    copied
}

/// The same over a connection that is there.
pub(crate) async fn copy_of(source: &mut SqliteConnection, into: &Path) -> Result<()> {
    // SQLite takes a file that is there if it is empty, and would make one that others may read.
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(into).map_err(io_error)?;
    let name = into.to_str().ok_or_else(|| io_error(io::Error::other("the path is not UTF-8")))?;
    let copied = sqlx::query("VACUUM INTO ?").bind(name).execute(source).await;
    if let Err(error) = copied {
        let _ = std::fs::remove_file(into);
        return Err(error.into());
    }
    OpenOptions::new().read(true).open(into).and_then(|file| file.sync_all()).map_err(io_error)
}

/// Makes a copy one to be kept elsewhere: names packages by the last part of their path alone, so that they are found
/// wherever they are restored to, and forgets what was going on. Gives what was in it before. The copy must have this
/// program's schema.
pub async fn prepare(copy: &Path) -> Result<Contents> {
    let mut database = open(copy).await?;
    let prepared = prepare_over(&mut database).await;
    database.close().await?;
    prepared
}

async fn prepare_over(database: &mut SqliteConnection) -> Result<Contents> {
    // What is deleted must not go on lying in the file.
    sqlx::query("PRAGMA secure_delete = ON").execute(&mut *database).await?;
    let found = schema(database).await?;
    let known = crate::schema_known();
    if found != known {
        return Err(Error::OtherSchema { found, known });
    }
    let contents = contents_over(database).await?;
    // A session that was going on will not be, and what was being recorded is in no backup.
    sqlx::query("DELETE FROM live_sessions").execute(&mut *database).await?;
    // Nor does anybody get in with what was copied: who is signed in, codes to choose a password, tokens of their own.
    for table in ["sign_ins", "setup_codes", "links"] {
        let delete = format!("DELETE FROM {table}");
        // A name of the line above.
        sqlx::query(sqlx::AssertSqlSafe(delete)).execute(&mut *database).await?;
    }
    sqlx::query(
        "UPDATE recordings SET state = 'failed', ended_at = COALESCE (ended_at, started_at), detail = ?
         WHERE state IN ('recording', 'sealing')",
    )
    .bind("It was still being written when the backup was made, and is not in it.")
    .execute(&mut *database)
    .await?;
    for recorded in &contents.recordings {
        let Some(name) = recorded.package.as_deref().map(Path::new).and_then(Path::file_name) else {
            continue;
        };
        sqlx::query("UPDATE recordings SET package = ? WHERE id = ?")
            .bind(name.to_str())
            .bind(recorded.id.to_string())
            .execute(&mut *database)
            .await?;
    }
    Ok(contents)
}

/// Looks into a database that nobody uses, without changing it. A damaged one is an error.
pub async fn look(database: &Path) -> Result<Contents> {
    let mut database = open(database).await?;
    let looked = async {
        let row = sqlx::query("PRAGMA quick_check (1)").fetch_one(&mut database).await?;
        let said: String = row.try_get(0)?;
        if said != "ok" {
            return Err(Error::Corrupt { column: "quick_check", text: said });
        }
        contents_over(&mut database).await
    }
    .await;
    database.close().await?;
    looked
}

async fn contents_over(database: &mut SqliteConnection) -> Result<Contents> {
    let schema = schema(database).await?;
    let cases = sqlx::query("SELECT COUNT (*) FROM cases").fetch_one(&mut *database).await?;
    let recordings = sqlx::query("SELECT id, state, package, head_hash FROM recordings ORDER BY id")
        .fetch_all(&mut *database)
        .await?
        .iter()
        .map(|row| {
            Ok(Recorded {
                id: row::parse(row, "id")?,
                state: row::parse(row, "state")?,
                package: row.try_get("package")?,
                head_hash: row.try_get("head_hash")?,
            })
        })
        .collect::<Result<_>>()?;
    Ok(Contents { schema, cases: cases.try_get::<i64, _>(0)?.unsigned_abs(), recordings })
}

/// The newest migration in a database; 0 when there is none.
pub(crate) async fn schema(database: &mut SqliteConnection) -> Result<i64> {
    Ok(applied(database).await?.last().copied().unwrap_or(0))
}

/// The migrations in a database, in order.
pub(crate) async fn applied(database: &mut SqliteConnection) -> Result<Vec<i64>> {
    let there = sqlx::query("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = '_sqlx_migrations'")
        .fetch_optional(&mut *database)
        .await?;
    if there.is_none() {
        return Ok(Vec::new());
    }
    let rows =
        sqlx::query("SELECT version FROM _sqlx_migrations ORDER BY version").fetch_all(database).await?;
    rows.iter().map(|row| Ok(row.try_get("version")?)).collect()
}

async fn open(path: &Path) -> Result<SqliteConnection> {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(false).busy_timeout(BUSY_MAX);
    Ok(options.connect().await?)
}

fn io_error(error: io::Error) -> Error {
    Error::Database(sqlx::Error::Io(error))
}
