//! Recordings: which there are and where their packages lie.

use std::str::FromStr;

use hewei_model::{CaseId, RecordingId, RoomId, SessionId};
use sqlx::{Row, sqlite::SqliteRow};
use time::OffsetDateTime;

use crate::{Result, Store, row};

/// Where a recording is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordingState {
    /// Being written.
    Recording,
    /// Being sealed.
    Sealing,
    /// Sealed.
    Sealed,
    /// Something went wrong; the recording's `detail` says what.
    Failed,
}

impl RecordingState {
    /// Every state.
    pub const ALL: [RecordingState; 4] =
        [RecordingState::Recording, RecordingState::Sealing, RecordingState::Sealed, RecordingState::Failed];

    /// The name in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            RecordingState::Recording => "recording",
            RecordingState::Sealing => "sealing",
            RecordingState::Sealed => "sealed",
            RecordingState::Failed => "failed",
        }
    }
}

impl FromStr for RecordingState {
    type Err = ();

    fn from_str(text: &str) -> std::result::Result<Self, ()> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or(())
    }
}

/// A recording of one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    /// Id.
    pub id: RecordingId,
    /// The sitting it is of.
    pub session_id: SessionId,
    /// Room.
    pub room_id: RoomId,
    /// Case.
    pub case_id: CaseId,
    /// State.
    pub state: RecordingState,
    /// Start.
    pub started_at: OffsetDateTime,
    /// End.
    pub ended_at: Option<OffsetDateTime>,
    /// The folder of the package.
    pub package: Option<String>,
    /// SHA-256 of the sealed head, in hexadecimal.
    pub head_hash: Option<String>,
    /// What went wrong.
    pub detail: Option<String>,
}

const COLUMNS: &str =
    "id, session_id, room_id, case_id, state, started_at, ended_at, package, head_hash, detail";

fn read(row: &SqliteRow) -> Result<Recording> {
    Ok(Recording {
        id: row::parse(row, "id")?,
        session_id: row::parse(row, "session_id")?,
        room_id: row::parse(row, "room_id")?,
        case_id: row::parse(row, "case_id")?,
        state: row::parse(row, "state")?,
        started_at: row::at(row, "started_at")?,
        ended_at: row::at_option(row, "ended_at")?,
        package: row.try_get("package")?,
        head_hash: row.try_get("head_hash")?,
        detail: row.try_get("detail")?,
    })
}

fn select(rest: &str) -> sqlx::AssertSqlSafe<String> {
    // Both parts are literals of this file.
    sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM recordings {rest}"))
}

impl Store {
    /// Adds a recording.
    pub async fn add_recording(&self, recording: &Recording) -> Result<()> {
        sqlx::query(
            "INSERT INTO recordings (id, session_id, room_id, case_id, state, started_at, ended_at, package,
             head_hash, detail) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(recording.id.to_string())
        .bind(recording.session_id.to_string())
        .bind(recording.room_id.to_string())
        .bind(recording.case_id.to_string())
        .bind(recording.state.as_str())
        .bind(row::to_ms(recording.started_at))
        .bind(recording.ended_at.map(row::to_ms))
        .bind(&recording.package)
        .bind(&recording.head_hash)
        .bind(&recording.detail)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Writes what changes in the life of a recording: state, end, package, head and detail.
    pub async fn update_recording(&self, recording: &Recording) -> Result<()> {
        sqlx::query(
            "UPDATE recordings SET state = ?, ended_at = ?, package = ?, head_hash = ?, detail = ? WHERE id = ?",
        )
        .bind(recording.state.as_str())
        .bind(recording.ended_at.map(row::to_ms))
        .bind(&recording.package)
        .bind(&recording.head_hash)
        .bind(&recording.detail)
        .bind(recording.id.to_string())
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// The recordings whose packages an earlier run of the server left unsealed, oldest first: those that were open
    /// then are `sealing` from now on, and those that failed are as they were. To be called at the start, before
    /// anything records.
    pub async fn take_unsealed_recordings(&self) -> Result<Vec<Recording>> {
        let mut transaction = self.pool.begin().await?;
        sqlx::query("UPDATE recordings SET state = 'sealing' WHERE state = 'recording'")
            .execute(&mut *transaction)
            .await?;
        let rows = sqlx::query(select(
            "WHERE state = 'sealing' OR (state = 'failed' AND package IS NULL) ORDER BY started_at, id",
        ))
        .fetch_all(&mut *transaction)
        .await?;
        transaction.commit().await?;
        rows.iter().map(read).collect()
    }

    /// How many recordings are in a state.
    pub async fn count_recordings(&self, state: RecordingState) -> Result<u64> {
        let row = sqlx::query("SELECT COUNT (*) AS count FROM recordings WHERE state = ?")
            .bind(state.as_str())
            .fetch_one(&self.pool)
            .await?;
        Ok(row.try_get::<i64, _>("count")?.unsigned_abs())
    }

    /// One recording.
    pub async fn recording(&self, id: RecordingId) -> Result<Option<Recording>> {
        sqlx::query(select("WHERE id = ?"))
            .bind(id.to_string())
            .fetch_optional(&self.pool)
            .await?
            .as_ref()
            .map(read)
            .transpose()
    }

    /// The newest recording of a session.
    pub async fn last_recording_of(&self, session: SessionId) -> Result<Option<Recording>> {
        sqlx::query(select("WHERE session_id = ? ORDER BY started_at DESC, id DESC LIMIT 1"))
            .bind(session.to_string())
            .fetch_optional(&self.pool)
            .await?
            .as_ref()
            .map(read)
            .transpose()
    }

    /// The newest recordings first, at most `limit`; of one case or one room when these are given.
    pub async fn recordings(
        &self,
        case: Option<CaseId>,
        room: Option<RoomId>,
        limit: u32,
    ) -> Result<Vec<Recording>> {
        sqlx::query(select(
            "WHERE (?1 IS NULL OR case_id = ?1) AND (?2 IS NULL OR room_id = ?2)
             ORDER BY started_at DESC, id DESC LIMIT ?3",
        ))
        .bind(case.map(|id| id.to_string()))
        .bind(room.map(|id| id.to_string()))
        .bind(row::limit(limit))
        .fetch_all(&self.pool)
        .await?
        .iter()
        .map(read)
        .collect()
    }
}
