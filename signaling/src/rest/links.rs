//! Tokens without an account: which are about, and ending them.

use axum::{
    Json,
    extract::{Path, Query, State},
    http::StatusCode,
};
use hewei_api::{access::Link, problem::Problem as ProblemBody};
use hewei_model::LinkId;
use time::OffsetDateTime;

use super::input::{self, Limit};
use crate::{access, auth::Bearer, permissions::Action, problem::Problem, state::App, wire};

/// Links that are good now, the newest first.
#[utoipa::path(
    get,
    path = "/api/v1/links",
    operation_id = "links",
    params(Limit),
    responses((status = 200, body = Vec<Link>), (status = "4XX", body = ProblemBody)),
    security(("bearer" = []))
)]
pub async fn list(
    State(app): State<App>,
    Bearer(claims): Bearer,
    Query(limit): Query<Limit>,
) -> Result<Json<Vec<Link>>, Problem> {
    claims.may_everywhere(Action::ManageAccounts)?;
    let links = app.store.links(OffsetDateTime::now_utc(), limit.get()).await?;
    let to_wire = |link: hewei_store::Link| Link {
        id: link.id.to_string(),
        name: link.name,
        role: link.role,
        room_id: link.room_id.map(|id| id.to_string()),
        created_at: wire::rfc3339(link.created_at),
        expires_at: wire::rfc3339(link.expires_at),
    };
    Ok(Json(links.into_iter().map(to_wire).collect()))
}

/// End a link, and every connection that was opened with it.
#[utoipa::path(
    delete,
    path = "/api/v1/links/{link}",
    operation_id = "end_link",
    params(("link" = String, Path)),
    responses((status = 204), (status = "4XX", body = ProblemBody)),
    security(("bearer" = []))
)]
pub async fn end(
    State(app): State<App>,
    Bearer(claims): Bearer,
    Path(link): Path<String>,
) -> Result<StatusCode, Problem> {
    claims.may_everywhere(Action::ManageAccounts)?;
    let id: LinkId = input::id_in_path(&link, "link")?;
    access::to_the_end(async move {
        if !app.end_link(id).await? {
            return Err(Problem::not_found("link"));
        }
        app.audit(&claims, "link.end", id, None, "").await?;
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}
