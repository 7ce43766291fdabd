//! Who the bearer of the token is.

use axum::{Json, extract::State};
use hewei_api::{http::Me, problem::Problem as ProblemBody};

use crate::{
    auth::{Bearer, Origin},
    problem::Problem,
    state::App,
    wire,
};

/// Who the bearer of the token is.
#[utoipa::path(
    get,
    path = "/api/v1/me",
    operation_id = "me",
    responses((status = 200, body = Me), (status = "4XX", body = ProblemBody)),
    security(("bearer" = []))
)]
pub async fn me(State(app): State<App>, Bearer(claims): Bearer) -> Result<Json<Me>, Problem> {
    let username = match claims.origin {
        Origin::SignIn(_) => Some(app.account_of(&claims).await?.0.username),
        Origin::Invitation(_) | Origin::Link(_) => None,
    };
    Ok(Json(Me {
        participant_id: claims.participant.to_string(),
        username,
        role: claims.role,
        name: claims.name,
        room_id: claims.room.map(|room| room.to_string()),
        expires_at: wire::rfc3339(claims.expires_at),
    }))
}
