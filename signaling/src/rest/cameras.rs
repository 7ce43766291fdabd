//! Village cameras.

use axum::{
    Json,
    extract::{Query, State},
    http::StatusCode,
};
use hewei_api::{
    http::{Camera, NewCamera},
    problem::Problem as ProblemBody,
};
use hewei_model::CameraId;
use serde::Deserialize;

use super::input::{self, Body, Limit};
use crate::{
    auth::Bearer,
    permissions::{self, Action},
    problem::Problem,
    state::App,
};

/// Where a list of cameras goes on.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct After {
    /// Cameras with greater numbers only.
    pub after: Option<u32>,
}

/// Cameras in the order of their numbers.
#[utoipa::path(
    get,
    path = "/api/v1/cameras",
    operation_id = "cameras",
    params(Limit, After),
    responses((status = 200, body = Vec<Camera>), (status = "4XX", body = ProblemBody)),
    security(("bearer" = []))
)]
pub async fn list(
    State(app): State<App>,
    Bearer(claims): Bearer,
    Query(limit): Query<Limit>,
    Query(after): Query<After>,
) -> Result<Json<Vec<Camera>>, Problem> {
    claims.may_everywhere(Action::ReadCameras)?;
    let with_url = permissions::allows(claims.role, Action::EditCameras);
    let cameras = app.store.cameras(after.after, limit.get()).await?;
    Ok(Json(cameras.into_iter().map(|camera| to_wire(&app, camera, with_url)).collect()))
}

/// Add a camera.
#[utoipa::path(
    post,
    path = "/api/v1/cameras",
    operation_id = "create_camera",
    request_body = NewCamera,
    responses((status = 201, body = Camera), (status = "4XX", body = ProblemBody)),
    security(("bearer" = []))
)]
pub async fn create(
    State(app): State<App>,
    Bearer(claims): Bearer,
    Body(new): Body<NewCamera>,
) -> Result<(StatusCode, Json<Camera>), Problem> {
    claims.may_everywhere(Action::EditCameras)?;
    let credentials = credentials(new.username, new.password)?;
    let camera = hewei_store::Camera {
        id: CameraId::generate(),
        number: new.number,
        name: input::text(&new.name, "name", 1, 100)?,
        region_id: new.region_id.as_deref().map(|id| input::id_in_field(id, "region_id")).transpose()?,
        gb28181_id: new.gb28181_id.map(gb28181_id).transpose()?,
        url: address(&new.url)?,
    };
    app.store.add_camera(&camera, credentials.as_ref()).await?;
    app.audit(&claims, "camera.create", camera.id, None, &format!("{} {}", camera.number, camera.name))
        .await?;
    app.live.camera_added(&camera).await?;
    Ok((StatusCode::CREATED, Json(to_wire(&app, camera, true))))
}

/// The address of a camera; refused with credentials in it, since administrators see it.
fn address(url: &str) -> Result<String, Problem> {
    if url.len() > 2_000 {
        return Err(Problem::invalid("url may have 2000 characters."));
    }
    let address: hewei_cameras::Address =
        url.parse().map_err(|error| Problem::invalid(format!("url: {error}.")))?;
    Ok(address.as_url().to_string())
}

fn credentials(
    username: Option<String>,
    password: Option<String>,
) -> Result<Option<hewei_store::Credentials>, Problem> {
    let username = username.unwrap_or_default();
    let password = password.unwrap_or_default();
    if username.len() > 256 || password.len() > 256 {
        return Err(Problem::invalid("username and password may have 256 bytes each."));
    }
    if username.is_empty() && !password.is_empty() {
        return Err(Problem::invalid("A password needs a username."));
    }
    Ok((!username.is_empty()).then_some(hewei_store::Credentials { username, password }))
}

fn gb28181_id(id: String) -> Result<String, Problem> {
    match id.len() == 20 && id.bytes().all(|byte| byte.is_ascii_digit()) {
        true => Ok(id),
        false => Err(Problem::invalid("gb28181_id must have 20 digits.")),
    }
}

fn to_wire(app: &App, camera: hewei_store::Camera, with_url: bool) -> Camera {
    Camera {
        status: app.live.camera_status(camera.id),
        id: camera.id.to_string(),
        number: camera.number,
        name: camera.name,
        region_id: camera.region_id.map(|id| id.to_string()),
        gb28181_id: camera.gb28181_id,
        url: with_url.then_some(camera.url),
    }
}
