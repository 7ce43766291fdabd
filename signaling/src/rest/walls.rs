//! Dispatch walls.

use axum::{
    Json,
    extract::{Path, Query, State},
    http::StatusCode,
};
use hewei_api::{
    http::{NewWall, Wall},
    problem::Problem as ProblemBody,
};
use hewei_model::{CameraId, WallId};

use super::input::{self, Body, Limit};
use crate::{auth::Bearer, permissions::Action, problem::Problem, state::App, wire};

/// What fits on a screen.
const CAMERAS_MAX: usize = 25;

/// Walls in the order they were made.
#[utoipa::path(
    get,
    path = "/api/v1/walls",
    operation_id = "walls",
    params(Limit),
    responses((status = 200, body = Vec<Wall>), (status = "4XX", body = ProblemBody)),
    security(("bearer" = []))
)]
pub async fn list(
    State(app): State<App>,
    Bearer(claims): Bearer,
    Query(limit): Query<Limit>,
) -> Result<Json<Vec<Wall>>, Problem> {
    claims.may_everywhere(Action::ReadWalls)?;
    Ok(Json(app.store.walls(limit.get()).await?.into_iter().map(wire::wall).collect()))
}

/// One wall.
#[utoipa::path(
    get,
    path = "/api/v1/walls/{wall}",
    operation_id = "wall",
    params(("wall" = String, Path)),
    responses((status = 200, body = Wall), (status = "4XX", body = ProblemBody)),
    security(("bearer" = []))
)]
pub async fn one(
    State(app): State<App>,
    Bearer(claims): Bearer,
    Path(wall): Path<String>,
) -> Result<Json<Wall>, Problem> {
    claims.may_everywhere(Action::ReadWalls)?;
    let id: WallId = input::id_in_path(&wall, "wall")?;
    app.store.wall(id).await?.map(wire::wall).map(Json).ok_or_else(|| Problem::not_found("wall"))
}

/// Make a wall.
#[utoipa::path(
    post,
    path = "/api/v1/walls",
    operation_id = "create_wall",
    request_body = NewWall,
    responses((status = 201, body = Wall), (status = "4XX", body = ProblemBody)),
    security(("bearer" = []))
)]
pub async fn create(
    State(app): State<App>,
    Bearer(claims): Bearer,
    Body(new): Body<NewWall>,
) -> Result<(StatusCode, Json<Wall>), Problem> {
    claims.may_everywhere(Action::EditWalls)?;
    if !(1..=CAMERAS_MAX).contains(&new.camera_ids.len()) {
        return Err(Problem::invalid(format!("camera_ids must name 1 to {CAMERAS_MAX} cameras.")));
    }
    let mut camera_ids: Vec<CameraId> = Vec::with_capacity(new.camera_ids.len());
    for id in &new.camera_ids {
        let id = input::id_in_field(id, "camera_ids")?;
        if camera_ids.contains(&id) {
            return Err(Problem::invalid("camera_ids names a camera twice; each has one tile."));
        }
        camera_ids.push(id);
    }
    let wall = hewei_store::Wall {
        id: WallId::generate(),
        name: input::text(&new.name, "name", 1, 100)?,
        camera_ids,
    };
    app.store.add_wall(&wall).await?;
    app.audit(&claims, "wall.create", wall.id, None, &wall.name).await?;
    Ok((StatusCode::CREATED, Json(wire::wall(wall))))
}
