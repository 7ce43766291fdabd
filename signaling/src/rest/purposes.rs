//! Purposes: saying why one opens cameras, before one can.

use axum::{Json, extract::State, http::StatusCode};
use hewei_api::{
    http::{NewPurpose, Purpose, PurposeKind},
    problem::Problem as ProblemBody,
};
use hewei_model::PurposeId;
use time::{Duration, OffsetDateTime};

use super::input::{self, Body};
use crate::{auth::Bearer, permissions::Action, problem::Problem, state::App, wire};

/// Say why one opens cameras, and for how long.
#[utoipa::path(
    post,
    path = "/api/v1/purposes",
    operation_id = "create_purpose",
    request_body = NewPurpose,
    responses((status = 201, body = Purpose), (status = "4XX", body = ProblemBody)),
    security(("bearer" = []))
)]
pub async fn create(
    State(app): State<App>,
    Bearer(claims): Bearer,
    Body(new): Body<NewPurpose>,
) -> Result<(StatusCode, Json<Purpose>), Problem> {
    claims.may_everywhere(Action::OpenPurpose)?;
    if !(1..=480).contains(&new.minutes) {
        return Err(Problem::invalid("minutes must be 1 to 480."));
    }
    let now = OffsetDateTime::now_utc();
    let purpose = hewei_store::Purpose {
        id: PurposeId::generate(),
        kind: match new.kind {
            PurposeKind::Patrol => hewei_store::PurposeKind::Patrol,
            PurposeKind::Incident => hewei_store::PurposeKind::Incident,
            PurposeKind::Case => hewei_store::PurposeKind::Case,
        },
        reason: input::text(&new.reason, "reason", 2, 200)?,
        opened_by: claims.name.clone(),
        participant_id: claims.participant,
        opened_at: now,
        expires_at: now + Duration::minutes(new.minutes.into()),
    };
    app.store.add_purpose(&purpose).await?;
    let detail = format!("{} for {} min: {}", purpose.kind.as_str(), new.minutes, purpose.reason);
    app.audit(&claims, "purpose.open", purpose.id, Some(purpose.id), &detail).await?;
    Ok((StatusCode::CREATED, Json(wire::purpose(purpose))))
}
