//! Dispatch walls.

use hewei_model::{CameraId, WallId};
use sqlx::Row;

use crate::{Camera, Result, Store, row};

/// A wall and its cameras, in the order of the tiles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wall {
    /// Id.
    pub id: WallId,
    /// Name.
    pub name: String,
    /// Cameras, each at most once.
    pub camera_ids: Vec<CameraId>,
}

impl Store {
    /// Adds a wall.
    pub async fn add_wall(&self, wall: &Wall) -> Result<()> {
        let mut transaction = self.pool.begin().await?;
        sqlx::query("INSERT INTO walls (id, name) VALUES (?, ?)")
            .bind(wall.id.to_string())
            .bind(&wall.name)
            .execute(&mut *transaction)
            .await?;
        for (place, camera) in wall.camera_ids.iter().enumerate() {
            sqlx::query("INSERT INTO wall_cameras (wall_id, place, camera_id) VALUES (?, ?, ?)")
                .bind(wall.id.to_string())
                .bind(place as i64)
                .bind(camera.to_string())
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// One wall.
    pub async fn wall(&self, id: WallId) -> Result<Option<Wall>> {
        let row = sqlx::query("SELECT name FROM walls WHERE id = ?")
            .bind(id.to_string())
            .fetch_optional(&self.pool)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let name = row.try_get("name")?;
        Ok(Some(Wall { id, name, camera_ids: self.camera_ids_of_wall(id).await? }))
    }

    /// A wall with its whole cameras, in the order of the tiles.
    pub async fn wall_with_cameras(&self, id: WallId) -> Result<Option<(Wall, Vec<Camera>)>> {
        let Some(wall) = self.wall(id).await? else { return Ok(None) };
        let mut cameras = Vec::with_capacity(wall.camera_ids.len());
        for camera in &wall.camera_ids {
            cameras.extend(self.camera(*camera).await?);
        }
        Ok(Some((wall, cameras)))
    }

    /// The walls, in the order they were made, at most `limit`.
    pub async fn walls(&self, limit: u32) -> Result<Vec<Wall>> {
        let rows = sqlx::query("SELECT id, name FROM walls ORDER BY id LIMIT ?")
            .bind(row::limit(limit))
            .fetch_all(&self.pool)
            .await?;
        let mut walls = Vec::with_capacity(rows.len());
        for row in &rows {
            let id = row::parse(row, "id")?;
            let camera_ids = self.camera_ids_of_wall(id).await?;
            walls.push(Wall { id, name: row.try_get("name")?, camera_ids });
        }
        Ok(walls)
    }

    async fn camera_ids_of_wall(&self, id: WallId) -> Result<Vec<CameraId>> {
        sqlx::query("SELECT camera_id FROM wall_cameras WHERE wall_id = ? ORDER BY place")
            .bind(id.to_string())
            .fetch_all(&self.pool)
            .await?
            .iter()
            .map(|row| row::parse(row, "camera_id"))
            .collect()
    }
}
