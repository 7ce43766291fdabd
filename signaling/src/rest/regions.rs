//! The region tree.

use axum::{Json, extract::State, http::StatusCode};
use hewei_api::{
    http::{NewRegion, Region},
    problem::Problem as ProblemBody,
};
use hewei_model::RegionId;

use super::input::{self, Body};
use crate::{auth::Bearer, permissions::Action, problem::Problem, state::App, wire};

/// The tree as a list, nodes above before nodes below.
#[utoipa::path(
    get,
    path = "/api/v1/regions",
    operation_id = "regions",
    responses((status = 200, body = Vec<Region>), (status = "4XX", body = ProblemBody)),
    security(("bearer" = []))
)]
pub async fn list(State(app): State<App>, Bearer(claims): Bearer) -> Result<Json<Vec<Region>>, Problem> {
    claims.may(Action::ReadRegions)?;
    let regions = app.store.regions(hewei_store::LIST_LIMIT_MAX).await?;
    Ok(Json(regions.into_iter().map(wire::region).collect()))
}

/// Add a node.
#[utoipa::path(
    post,
    path = "/api/v1/regions",
    operation_id = "create_region",
    request_body = NewRegion,
    responses((status = 201, body = Region), (status = "4XX", body = ProblemBody)),
    security(("bearer" = []))
)]
pub async fn create(
    State(app): State<App>,
    Bearer(claims): Bearer,
    Body(new): Body<NewRegion>,
) -> Result<(StatusCode, Json<Region>), Problem> {
    claims.may_everywhere(Action::EditRegions)?;
    let region = hewei_store::Region {
        id: RegionId::generate(),
        parent_id: new.parent_id.as_deref().map(|id| input::id_in_field(id, "parent_id")).transpose()?,
        name: input::text(&new.name, "name", 1, 60)?,
    };
    app.store.add_region(&region).await?;
    app.audit(&claims, "region.create", region.id, None, &region.name).await?;
    Ok((StatusCode::CREATED, Json(wire::region(region))))
}
