//! The region tree, of any depth.

use hewei_model::RegionId;
use sqlx::{Row, sqlite::SqliteRow};

use crate::{Result, Store, row};

/// A node of the region tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// Id.
    pub id: RegionId,
    /// The node above; `None` for a root.
    pub parent_id: Option<RegionId>,
    /// Name.
    pub name: String,
}

fn read(row: &SqliteRow) -> Result<Region> {
    Ok(Region {
        id: row::parse(row, "id")?,
        parent_id: row::parse_option(row, "parent_id")?,
        name: row.try_get("name")?,
    })
}

impl Store {
    /// Adds a node. A node never moves, so the tree cannot get a loop.
    pub async fn add_region(&self, region: &Region) -> Result<()> {
        sqlx::query("INSERT INTO regions (id, parent_id, name) VALUES (?, ?, ?)")
            .bind(region.id.to_string())
            .bind(region.parent_id.map(|id| id.to_string()))
            .bind(&region.name)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// The nodes, those above before those below, at most `limit`.
    pub async fn regions(&self, limit: u32) -> Result<Vec<Region>> {
        // Ids sort by the time they were made, and a node is made after the one above it.
        sqlx::query("SELECT id, parent_id, name FROM regions ORDER BY id LIMIT ?")
            .bind(row::limit(limit))
            .fetch_all(&self.pool)
            .await?
            .iter()
            .map(read)
            .collect()
    }
}
