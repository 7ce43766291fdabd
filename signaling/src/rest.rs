//! `/api/v1`: one file a noun. Each handler asks [`crate::permissions`] first.

pub mod audit;
pub mod cameras;
pub mod cases;
pub mod health;
pub mod input;
pub mod join;
pub mod me;
pub mod purposes;
pub mod recordings;
pub mod regions;
pub mod walls;

use axum::{
    Router,
    routing::{get, post},
};

use crate::state::App;

/// All of `/api/v1`, but for what may take longer than a request should: see [`slow`].
pub fn router() -> Router<App> {
    Router::new()
        .route("/api/v1/me", get(me::me))
        .route("/api/v1/health", get(health::health))
        .route("/api/v1/join", post(join::join))
        .route("/api/v1/cases", get(cases::list).post(cases::create))
        .route("/api/v1/cases/{case}", get(cases::one))
        .route("/api/v1/rooms", post(cases::create_room))
        .route("/api/v1/rooms/{room}/invitations", post(cases::invite))
        .route("/api/v1/regions", get(regions::list).post(regions::create))
        .route("/api/v1/cameras", get(cameras::list).post(cameras::create))
        .route("/api/v1/walls", get(walls::list).post(walls::create))
        .route("/api/v1/walls/{wall}", get(walls::one))
        .route("/api/v1/purposes", post(purposes::create))
        .route("/api/v1/audit", get(audit::list))
        .route("/api/v1/recordings", get(recordings::list))
        .route("/api/v1/recordings/{recording}", get(recordings::one))
        .route("/api/v1/recordings/{recording}/tracks", get(recordings::tracks))
        .route("/api/v1/recordings/{recording}/tracks/{track}", get(recordings::track))
        .route("/api/v1/recordings/{recording}/package", get(recordings::download))
}

/// What reads a whole package before it answers.
pub fn slow() -> Router<App> {
    Router::new().route("/api/v1/recordings/{recording}/verification", get(recordings::verification))
}
