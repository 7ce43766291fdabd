//! Village cameras.

use std::fmt;

use hewei_model::{CameraId, RegionId};
use sqlx::{Row, sqlite::SqliteRow};

use crate::{Result, Store, row};

/// A camera, without its credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Camera {
    /// Id.
    pub id: CameraId,
    /// The number operators type, unique.
    pub number: u32,
    /// Name.
    pub name: String,
    /// Region.
    pub region_id: Option<RegionId>,
    /// 20-digit GB/T 28181 id.
    pub gb28181_id: Option<String>,
    /// `rtsp://` address without user name and password.
    pub url: String,
}

/// User name and password of a camera.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User name, at most 65,535 bytes.
    pub username: String,
    /// Password.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(..)")
    }
}

fn read(row: &SqliteRow) -> Result<Camera> {
    Ok(Camera {
        id: row::parse(row, "id")?,
        number: row.try_get("number")?,
        name: row.try_get("name")?,
        region_id: row::parse_option(row, "region_id")?,
        gb28181_id: row.try_get("gb28181_id")?,
        url: row.try_get("url")?,
    })
}

impl Store {
    /// Adds a camera; its credentials are sealed.
    pub async fn add_camera(&self, camera: &Camera, credentials: Option<&Credentials>) -> Result<()> {
        sqlx::query(
            "INSERT INTO cameras (id, number, name, region_id, gb28181_id, url, sealed_credentials)
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(camera.id.to_string())
        .bind(camera.number)
        .bind(&camera.name)
        .bind(camera.region_id.map(|id| id.to_string()))
        .bind(&camera.gb28181_id)
        .bind(&camera.url)
        .bind(credentials.map(|credentials| self.key.seal(camera.id, credentials)))
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Changes where a camera is and how one logs in.
    pub async fn move_camera(
        &self,
        id: CameraId,
        url: &str,
        credentials: Option<&Credentials>,
    ) -> Result<()> {
        sqlx::query("UPDATE cameras SET url = ?, sealed_credentials = ? WHERE id = ?")
            .bind(url)
            .bind(credentials.map(|credentials| self.key.seal(id, credentials)))
            .bind(id.to_string())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// One camera.
    pub async fn camera(&self, id: CameraId) -> Result<Option<Camera>> {
        sqlx::query("SELECT id, number, name, region_id, gb28181_id, url FROM cameras WHERE id = ?")
            .bind(id.to_string())
            .fetch_optional(&self.pool)
            .await?
            .as_ref()
            .map(read)
            .transpose()
    }

    /// The credentials of a camera; `None` when it has none, or there is no such camera.
    pub async fn camera_credentials(&self, id: CameraId) -> Result<Option<Credentials>> {
        let row = sqlx::query("SELECT sealed_credentials FROM cameras WHERE id = ?")
            .bind(id.to_string())
            .fetch_optional(&self.pool)
            .await?;
        let Some(row) = row else { return Ok(None) };
        row.try_get::<Option<Vec<u8>>, _>("sealed_credentials")?
            .map(|sealed| self.key.open(id, &sealed))
            .transpose()
    }

    /// `limit` cameras in the order of their numbers, those after the number `after`.
    pub async fn cameras(&self, after: Option<u32>, limit: u32) -> Result<Vec<Camera>> {
        sqlx::query(
            "SELECT id, number, name, region_id, gb28181_id, url FROM cameras WHERE number > ?
             ORDER BY number LIMIT ?",
        )
        .bind(after.map_or(-1, i64::from))
        .bind(row::limit(limit))
        .fetch_all(&self.pool)
        .await?
        .iter()
        .map(read)
        .collect()
    }
}
