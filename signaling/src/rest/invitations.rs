//! The invitations of a room: which there are, and withdrawing them.

use axum::{
    Json,
    extract::{Path, Query, State},
    http::StatusCode,
};
use hewei_api::{
    access::{InvitationRow, InvitationState},
    problem::Problem as ProblemBody,
};
use hewei_model::{InvitationId, RoomId};
use time::OffsetDateTime;

use super::{
    input::{self, Limit},
    join,
};
use crate::{
    access,
    auth::{Bearer, Claims},
    permissions::Action,
    problem::Problem,
    state::App,
    wire,
};

/// Invitations into a room, the newest first.
#[utoipa::path(
    get,
    path = "/api/v1/rooms/{room}/invitations",
    operation_id = "invitations",
    params(("room" = String, Path), Limit),
    responses((status = 200, body = Vec<InvitationRow>), (status = "4XX", body = ProblemBody)),
    security(("bearer" = []))
)]
pub async fn list(
    State(app): State<App>,
    Bearer(claims): Bearer,
    Path(room): Path<String>,
    Query(limit): Query<Limit>,
) -> Result<Json<Vec<InvitationRow>>, Problem> {
    let room = may_invite(&claims, &room)?;
    app.store.room(room).await?.ok_or_else(|| Problem::not_found("room"))?;
    let now = OffsetDateTime::now_utc();
    let invitations = app.store.invitations(room, limit.get()).await?;
    Ok(Json(invitations.into_iter().map(|invitation| to_wire(invitation, now)).collect()))
}

/// Withdraw an invitation: its link opens nothing any more, and who came in by it is out.
#[utoipa::path(
    delete,
    path = "/api/v1/rooms/{room}/invitations/{invitation}",
    operation_id = "revoke_invitation",
    params(("room" = String, Path), ("invitation" = String, Path)),
    responses((status = 204), (status = "4XX", body = ProblemBody)),
    security(("bearer" = []))
)]
pub async fn revoke(
    State(app): State<App>,
    Bearer(claims): Bearer,
    Path((room, invitation)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let room = may_invite(&claims, &room)?;
    let id: InvitationId = input::id_in_path(&invitation, "invitation")?;
    access::to_the_end(async move {
        let revoked = app.revoke_invitation(room, id, join::TOKEN_LIFETIME).await?;
        let name = revoked.ok_or_else(|| Problem::not_found("invitation"))?;
        app.audit(&claims, "invitation.revoke", room, None, &format!("invitation {id} of {name}")).await?;
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

fn may_invite(claims: &Claims, room: &str) -> Result<RoomId, Problem> {
    claims.may(Action::Invite)?;
    let room = input::id_in_path(room, "room")?;
    claims.may_in(Action::Invite, room)?;
    Ok(room)
}

fn to_wire(listed: hewei_store::ListedInvitation, now: OffsetDateTime) -> InvitationRow {
    let hewei_store::ListedInvitation { invitation, used_at, revoked } = listed;
    let state = match used_at {
        _ if revoked => InvitationState::Revoked,
        Some(_) => InvitationState::Used,
        None if invitation.expires_at <= now => InvitationState::Expired,
        None => InvitationState::Unused,
    };
    InvitationRow {
        id: invitation.id.to_string(),
        role: invitation.role,
        name: invitation.name,
        state,
        created_at: wire::rfc3339(invitation.created_at),
        expires_at: wire::rfc3339(invitation.expires_at),
        used_at: used_at.map(wire::rfc3339),
    }
}
