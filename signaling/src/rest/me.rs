//! Who the bearer of the token is.

use axum::Json;
use hewei_api::{http::Me, problem::Problem as ProblemBody};

use crate::{auth::Bearer, wire};

/// Who the bearer of the token is.
#[utoipa::path(
    get,
    path = "/api/v1/me",
    operation_id = "me",
    responses((status = 200, body = Me), (status = "4XX", body = ProblemBody)),
    security(("bearer" = []))
)]
pub async fn me(Bearer(claims): Bearer) -> Json<Me> {
    Json(Me {
        role: claims.role,
        name: claims.name,
        room_id: claims.room.map(|room| room.to_string()),
        expires_at: wire::rfc3339(claims.expires_at),
    })
}
