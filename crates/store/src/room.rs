//! Mediation rooms.

use hewei_model::{CaseId, RoomId};
use sqlx::{Row, sqlite::SqliteRow};
use time::OffsetDateTime;

use crate::{Result, Store, row};

/// A mediation room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    /// Id.
    pub id: RoomId,
    /// The case it belongs to.
    pub case_id: CaseId,
    /// Name.
    pub name: String,
    /// When it was made.
    pub created_at: OffsetDateTime,
}

fn read(row: &SqliteRow) -> Result<Room> {
    Ok(Room {
        id: row::parse(row, "id")?,
        case_id: row::parse(row, "case_id")?,
        name: row.try_get("name")?,
        created_at: row::at(row, "created_at")?,
    })
}

impl Store {
    /// Adds a room. [`crate::Error::NoSuchReference`] when there is no such case.
    pub async fn add_room(&self, room: &Room) -> Result<()> {
        sqlx::query("INSERT INTO rooms (id, case_id, name, created_at) VALUES (?, ?, ?, ?)")
            .bind(room.id.to_string())
            .bind(room.case_id.to_string())
            .bind(&room.name)
            .bind(row::to_ms(room.created_at))
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// One room.
    pub async fn room(&self, id: RoomId) -> Result<Option<Room>> {
        sqlx::query("SELECT id, case_id, name, created_at FROM rooms WHERE id = ?")
            .bind(id.to_string())
            .fetch_optional(&self.pool)
            .await?
            .as_ref()
            .map(read)
            .transpose()
    }

    /// The rooms of a case, in the order they were made.
    pub async fn rooms_of_case(&self, case: CaseId) -> Result<Vec<Room>> {
        sqlx::query("SELECT id, case_id, name, created_at FROM rooms WHERE case_id = ? ORDER BY id LIMIT ?")
            .bind(case.to_string())
            .bind(row::limit(u32::MAX))
            .fetch_all(&self.pool)
            .await?
            .iter()
            .map(read)
            .collect()
    }
}
