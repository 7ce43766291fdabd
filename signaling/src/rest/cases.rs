//! Cases, their rooms, and the invitations into these.

use axum::{
    Json,
    extract::{Path, Query, State},
    http::StatusCode,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use hewei_api::{
    http::{Case, Invitation, NewCase, NewInvitation, NewRoom, Room},
    problem::Problem as ProblemBody,
};
use hewei_model::{CaseId, InvitationId, ParticipantId, RoomId};
use ring::rand::{SecureRandom, SystemRandom};
use time::{Duration, OffsetDateTime};

use super::input::{self, Body, Limit};
use crate::{
    auth::{Bearer, Claims},
    permissions::{self, Action},
    problem::Problem,
    state::App,
    wire,
};

const INVITATION_LIFETIME: Duration = Duration::hours(24);

/// The newest cases first.
#[utoipa::path(
    get,
    path = "/api/v1/cases",
    operation_id = "cases",
    params(Limit),
    responses((status = 200, body = Vec<Case>), (status = "4XX", body = ProblemBody)),
    security(("bearer" = []))
)]
pub async fn list(
    State(app): State<App>,
    Bearer(claims): Bearer,
    Query(limit): Query<Limit>,
) -> Result<Json<Vec<Case>>, Problem> {
    claims.may(Action::ReadCases)?;
    let cases = match claims.room {
        None => app.store.cases(limit.get()).await?,
        Some(room) => match app.store.room(room).await? {
            Some(room) => app.store.case(room.case_id).await?.into_iter().collect(),
            None => Vec::new(),
        },
    };
    let mut list = Vec::with_capacity(cases.len());
    for case in cases {
        list.push(with_rooms(&app, &claims, case).await?);
    }
    Ok(Json(list))
}

/// One case with its rooms.
#[utoipa::path(
    get,
    path = "/api/v1/cases/{case}",
    operation_id = "case",
    params(("case" = String, Path)),
    responses((status = 200, body = Case), (status = "4XX", body = ProblemBody)),
    security(("bearer" = []))
)]
pub async fn one(
    State(app): State<App>,
    Bearer(claims): Bearer,
    Path(case): Path<String>,
) -> Result<Json<Case>, Problem> {
    claims.may(Action::ReadCases)?;
    let id: CaseId = input::id_in_path(&case, "case")?;
    let case = app.store.case(id).await?.ok_or_else(|| Problem::not_found("case"))?;
    let case = with_rooms(&app, &claims, case).await?;
    // A token for one room sees the case of that room, and of no other whether it exists.
    match claims.room.is_some() && case.rooms.is_empty() {
        true => Err(Problem::not_found("case")),
        false => Ok(Json(case)),
    }
}

/// Open a case.
#[utoipa::path(
    post,
    path = "/api/v1/cases",
    operation_id = "create_case",
    request_body = NewCase,
    responses((status = 201, body = Case), (status = "4XX", body = ProblemBody)),
    security(("bearer" = []))
)]
pub async fn create(
    State(app): State<App>,
    Bearer(claims): Bearer,
    Body(new): Body<NewCase>,
) -> Result<(StatusCode, Json<Case>), Problem> {
    claims.may_everywhere(Action::CreateCase)?;
    let case = hewei_store::Case {
        id: CaseId::generate(),
        number: input::text(&new.number, "number", 1, 64)?,
        title: input::text(&new.title, "title", 1, 200)?,
        region_id: new.region_id.as_deref().map(|id| input::id_in_field(id, "region_id")).transpose()?,
        created_at: OffsetDateTime::now_utc(),
    };
    app.store.add_case(&case).await?;
    app.audit(&claims, "case.create", case.id, None, &case.number).await?;
    Ok((StatusCode::CREATED, Json(with_rooms(&app, &claims, case).await?)))
}

/// Make a room for a case.
#[utoipa::path(
    post,
    path = "/api/v1/rooms",
    operation_id = "create_room",
    request_body = NewRoom,
    responses((status = 201, body = Room), (status = "4XX", body = ProblemBody)),
    security(("bearer" = []))
)]
pub async fn create_room(
    State(app): State<App>,
    Bearer(claims): Bearer,
    Body(new): Body<NewRoom>,
) -> Result<(StatusCode, Json<Room>), Problem> {
    claims.may_everywhere(Action::CreateRoom)?;
    let room = hewei_store::Room {
        id: RoomId::generate(),
        case_id: input::id_in_field(&new.case_id, "case_id")?,
        name: input::text(&new.name, "name", 1, 100)?,
        created_at: OffsetDateTime::now_utc(),
    };
    app.store.add_room(&room).await?;
    app.audit(&claims, "room.create", room.id, None, &room.name).await?;
    Ok((StatusCode::CREATED, Json(to_wire(&app, room).await?)))
}

/// Make a one-time link into a room.
#[utoipa::path(
    post,
    path = "/api/v1/rooms/{room}/invitations",
    operation_id = "invite",
    params(("room" = String, Path)),
    request_body = NewInvitation,
    responses((status = 201, body = Invitation), (status = "4XX", body = ProblemBody)),
    security(("bearer" = []))
)]
pub async fn invite(
    State(app): State<App>,
    Bearer(claims): Bearer,
    Path(room): Path<String>,
    Body(new): Body<NewInvitation>,
) -> Result<(StatusCode, Json<Invitation>), Problem> {
    claims.may(Action::Invite)?;
    let room_id: RoomId = input::id_in_path(&room, "room")?;
    claims.may_in(Action::Invite, room_id)?;
    if !permissions::may_give(claims.role, new.role) {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "invitation_role",
            "You cannot invite to this role.",
            "Invite a party, a lawyer or a leader; others get a token from the administrator.",
        ));
    }
    let name = input::text(&new.name, "name", 1, 60)?;
    app.store.room(room_id).await?.ok_or_else(|| Problem::not_found("room"))?;
    let (invitation, path) = make_invitation(&app, room_id, new.role, name).await?;
    app.audit(&claims, "invitation.create", room_id, None, &format!("{} as {}", invitation.name, new.role))
        .await?;
    let expires_at = wire::rfc3339(invitation.expires_at);
    Ok((StatusCode::CREATED, Json(Invitation { id: invitation.id.to_string(), path, expires_at })))
}

/// Makes and stores an invitation; gives it with its path and fragment, `/join#CODE`.
pub async fn make_invitation(
    app: &App,
    room_id: RoomId,
    role: hewei_model::Role,
    name: String,
) -> Result<(hewei_store::Invitation, String), Problem> {
    let mut code = [0; 16];
    SystemRandom::new().fill(&mut code).map_err(|_| Problem::internal(&"no randomness"))?;
    let code = BASE64.encode(code);
    let now = OffsetDateTime::now_utc();
    let invitation = hewei_store::Invitation {
        id: InvitationId::generate(),
        room_id,
        role,
        name,
        participant_id: ParticipantId::generate(),
        created_at: now,
        expires_at: now + INVITATION_LIFETIME,
    };
    app.store.add_invitation(&invitation, &code).await?;
    Ok((invitation, format!("/join#{code}")))
}

/// A case with those of its rooms that the token opens.
async fn with_rooms(app: &App, claims: &Claims, case: hewei_store::Case) -> Result<Case, Problem> {
    let mut rooms = Vec::new();
    for room in app.store.rooms_of_case(case.id).await? {
        if claims.opens(room.id) {
            rooms.push(to_wire(app, room).await?);
        }
    }
    Ok(Case {
        id: case.id.to_string(),
        number: case.number,
        title: case.title,
        region_id: case.region_id.map(|id| id.to_string()),
        created_at: wire::rfc3339(case.created_at),
        rooms,
    })
}

async fn to_wire(app: &App, room: hewei_store::Room) -> Result<Room, Problem> {
    Ok(Room {
        people: app.live.people(room.id),
        waiting: app.live.waiting(room.id),
        invited: app.store.has_invitations(room.id).await?,
        live: app.live.is_live(room.id),
        id: room.id.to_string(),
        case_id: room.case_id.to_string(),
        name: room.name,
    })
}
