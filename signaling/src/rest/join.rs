//! Redeeming an invitation: a one-time code for a token.

use std::{net::SocketAddr, time::Instant};

use axum::{
    Json,
    extract::{ConnectInfo, State},
};
use hewei_api::{
    http::{Grant, RedeemInvitation},
    problem::Problem as ProblemBody,
};
use hewei_model::Role;
use time::{Duration, OffsetDateTime};

use super::input::{self, Body};
use crate::{
    auth::{Claims, Origin},
    problem::Problem,
    state::App,
    wire,
};

/// The longest day of one mediation. A token outlives its one-time code, so that a reload or a network change
/// does not put anybody out.
pub(super) const TOKEN_LIFETIME: Duration = Duration::hours(8);

/// No code is longer.
const CODE_LENGTH_MAX: usize = 64;

/// Redeem an invitation's one-time code.
#[utoipa::path(
    post,
    path = "/api/v1/join",
    operation_id = "join",
    request_body = RedeemInvitation,
    responses(
        (status = 200, body = Grant),
        (status = 404, description = "`invitation_unknown`: no such code, or it has run out", body = ProblemBody),
        (status = 410, description = "`invitation_used`: somebody redeemed it before", body = ProblemBody),
        (status = "4XX", body = ProblemBody)
    )
)]
pub async fn join(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Body(redeem): Body<RedeemInvitation>,
) -> Result<Json<Grant>, Problem> {
    if !app.join_limits.admit(peer.ip(), Instant::now()) {
        return Err(Problem::too_many_requests());
    }
    // Before the code is used up.
    let name = redeem.name.as_deref().map(|name| input::text(name, "name", 1, 60)).transpose()?;
    if redeem.code.len() > CODE_LENGTH_MAX {
        return Err(hewei_store::Error::InvitationUnknown.into());
    }
    let now = OffsetDateTime::now_utc();
    let redeemed = app.store.redeem(&redeem.code, now).await?;
    app.join_limits.was_right(peer.ip());
    let expires_at = now + TOKEN_LIFETIME;
    let claims = Claims {
        // A party may say what to be called. A lawyer or a leader is whom the mediator invited.
        name: name.filter(|_| redeemed.role == Role::Party).unwrap_or(redeemed.name),
        role: redeemed.role,
        room: Some(redeemed.room.id),
        participant: redeemed.participant_id,
        origin: Origin::Invitation(redeemed.id),
        expires_at,
        open_until: expires_at,
    };
    app.audit(&claims, "invitation.redeem", redeemed.room.id, None, &format!("invitation {}", redeemed.id))
        .await?;
    Ok(Json(Grant {
        token: app.tokens.issue(&claims),
        role: claims.role,
        name: claims.name,
        room_id: Some(redeemed.room.id.to_string()),
        room_name: Some(redeemed.room.name),
        expires_at: wire::rfc3339(claims.expires_at),
    }))
}
