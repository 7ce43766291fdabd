//! Sessions that have not ended, and who sits in them, so that a server which was killed can go on with them.

use std::collections::BTreeSet;

use hewei_model::{ParticipantId, Role, RoomId, SessionId};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};
use time::OffsetDateTime;

use crate::{Result, Store, row};

/// A session that has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveSession {
    /// Id.
    pub id: SessionId,
    /// The room it is held in. A room has one at a time.
    pub room_id: RoomId,
    /// When the first one came in.
    pub began_at: OffsetDateTime,
    /// Who holds a place at a browser, in the order of the seats.
    pub seats: Vec<LiveSeat>,
    /// Whom the mediator sent out.
    pub removed: BTreeSet<ParticipantId>,
}

/// A place in such a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveSeat {
    /// Whose.
    pub participant: ParticipantId,
    /// Name.
    pub name: String,
    /// Role.
    pub role: Role,
    /// Let in; otherwise in the lobby.
    pub admitted: bool,
    /// Consents to being recorded.
    pub record: bool,
    /// Microphone off.
    pub audio_muted: bool,
    /// Camera off.
    pub video_muted: bool,
    /// On the list of those who are there.
    pub listed: bool,
}

fn read_seat(row: &SqliteRow) -> Result<LiveSeat> {
    Ok(LiveSeat {
        participant: row::parse(row, "participant_id")?,
        name: row.try_get("name")?,
        role: row::parse(row, "role")?,
        admitted: row.try_get("admitted")?,
        record: row.try_get("record")?,
        audio_muted: row.try_get("audio_muted")?,
        video_muted: row.try_get("video_muted")?,
        listed: row.try_get("listed")?,
    })
}

impl Store {
    /// Writes how a session is now, in one transaction that is on the disk when this returns. `before` is what the
    /// last call wrote of it, so that only what differs is touched; `None` when that is not known.
    pub async fn keep_session(&self, before: Option<&LiveSession>, now: &LiveSession) -> Result<()> {
        let before = before.filter(|before| before.id == now.id);
        let mut transaction = self.pool.begin().await?;
        let connection = &mut *transaction;
        if before.is_none() {
            // Of this session, or of an earlier one in this room.
            sqlx::query("DELETE FROM live_sessions WHERE id = ?1 OR room_id = ?2")
                .bind(now.id.to_string())
                .bind(now.room_id.to_string())
                .execute(&mut *connection)
                .await?;
            sqlx::query("INSERT INTO live_sessions (id, room_id, began_at) VALUES (?, ?, ?)")
                .bind(now.id.to_string())
                .bind(now.room_id.to_string())
                .bind(row::to_ms(now.began_at))
                .execute(&mut *connection)
                .await?;
        }
        let (had_seats, had_removed) = match before {
            Some(before) => (before.seats.as_slice(), Some(&before.removed)),
            None => (Default::default(), None),
        };
        for seat in had_seats {
            if !now.seats.iter().any(|other| other.participant == seat.participant) {
                delete(connection, "live_seats", now.id, seat.participant).await?;
            }
        }
        for seat in &now.seats {
            if !had_seats.contains(seat) {
                put_seat(connection, now.id, seat).await?;
            }
        }
        for gone in had_removed.into_iter().flatten().filter(|id| !now.removed.contains(id)) {
            delete(connection, "live_removed", now.id, *gone).await?;
        }
        for removed in now.removed.iter().filter(|id| !had_removed.is_some_and(|had| had.contains(id))) {
            sqlx::query("INSERT INTO live_removed (session_id, participant_id) VALUES (?, ?)")
                .bind(now.id.to_string())
                .bind(removed.to_string())
                .execute(&mut *connection)
                .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// The session of a room has ended: nothing of it stays here.
    pub async fn forget_session(&self, room: RoomId) -> Result<()> {
        sqlx::query("DELETE FROM live_sessions WHERE room_id = ?")
            .bind(room.to_string())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// The sessions that have not ended. To be called at the start.
    pub async fn live_sessions(&self) -> Result<Vec<LiveSession>> {
        let rows = sqlx::query("SELECT id, room_id, began_at FROM live_sessions ORDER BY began_at, id")
            .fetch_all(&self.pool)
            .await?;
        let mut sessions = Vec::with_capacity(rows.len());
        for row in &rows {
            let id: SessionId = row::parse(row, "id")?;
            let seats = sqlx::query("SELECT * FROM live_seats WHERE session_id = ? ORDER BY rowid")
                .bind(id.to_string())
                .fetch_all(&self.pool)
                .await?;
            let removed = sqlx::query("SELECT participant_id FROM live_removed WHERE session_id = ?")
                .bind(id.to_string())
                .fetch_all(&self.pool)
                .await?;
            sessions.push(LiveSession {
                id,
                room_id: row::parse(row, "room_id")?,
                began_at: row::at(row, "began_at")?,
                seats: seats.iter().map(read_seat).collect::<Result<_>>()?,
                removed: removed
                    .iter()
                    .map(|row| row::parse(row, "participant_id"))
                    .collect::<Result<_>>()?,
            });
        }
        Ok(sessions)
    }
}

async fn put_seat(connection: &mut SqliteConnection, session: SessionId, seat: &LiveSeat) -> Result<()> {
    // A change keeps the row's place among the others.
    sqlx::query(
        "INSERT INTO live_seats (session_id, participant_id, name, role, admitted, record, audio_muted, video_muted,
         listed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (session_id, participant_id) DO UPDATE SET name = excluded.name, role = excluded.role,
         admitted = excluded.admitted, record = excluded.record, audio_muted = excluded.audio_muted,
         video_muted = excluded.video_muted, listed = excluded.listed",
    )
    .bind(session.to_string())
    .bind(seat.participant.to_string())
    .bind(&seat.name)
    .bind(seat.role.as_str())
    .bind(seat.admitted)
    .bind(seat.record)
    .bind(seat.audio_muted)
    .bind(seat.video_muted)
    .bind(seat.listed)
    .execute(connection)
    .await?;
    Ok(())
}

/// `table` is one of the two above.
async fn delete(
    connection: &mut SqliteConnection,
    table: &'static str,
    session: SessionId,
    participant: ParticipantId,
) -> Result<()> {
    let delete = format!("DELETE FROM {table} WHERE session_id = ? AND participant_id = ?");
    sqlx::query(sqlx::AssertSqlSafe(delete))
        .bind(session.to_string())
        .bind(participant.to_string())
        .execute(connection)
        .await?;
    Ok(())
}
