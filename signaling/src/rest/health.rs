//! How the server is doing, for whoever answers for it.

use axum::{Json, extract::State};
use hewei_api::{health::Health, problem::Problem as ProblemBody};

use crate::{auth::Bearer, permissions::Action, problem::Problem, state::App};

/// Space for recordings and how long it lasts, the clock, and how recordings ended.
#[utoipa::path(
    get,
    path = "/api/v1/health",
    operation_id = "health",
    responses((status = 200, body = Health), (status = "4XX", body = ProblemBody)),
    security(("bearer" = []))
)]
pub async fn health(State(app): State<App>, Bearer(claims): Bearer) -> Result<Json<Health>, Problem> {
    claims.may_everywhere(Action::ReadHealth)?;
    app.health.get(&app).await.map(Json)
}
