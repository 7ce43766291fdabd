//! Reading the audit log.

use axum::{
    Json,
    extract::{Query, State},
};
use hewei_api::{http::AuditRow, problem::Problem as ProblemBody};
use serde::Deserialize;

use super::input::Limit;
use crate::{auth::Bearer, permissions::Action, problem::Problem, state::App, wire};

/// Where the log goes on.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Before {
    /// Rows with smaller numbers only.
    pub before: Option<i64>,
}

/// The newest rows first.
#[utoipa::path(
    get,
    path = "/api/v1/audit",
    operation_id = "audit",
    params(Limit, Before),
    responses((status = 200, body = Vec<AuditRow>), (status = "4XX", body = ProblemBody)),
    security(("bearer" = []))
)]
pub async fn list(
    State(app): State<App>,
    Bearer(claims): Bearer,
    Query(limit): Query<Limit>,
    Query(before): Query<Before>,
) -> Result<Json<Vec<AuditRow>>, Problem> {
    claims.may_everywhere(Action::ReadAudit)?;
    let rows = app.store.audit_rows(before.before, limit.get()).await?;
    Ok(Json(rows.into_iter().map(wire::audit_row).collect()))
}
