//! `/api/v1`: one file a noun. Each handler asks [`crate::permissions`] first.

pub mod accounts;
pub mod audit;
pub mod cameras;
pub mod cases;
pub mod health;
pub mod input;
pub mod invitations;
pub mod join;
pub mod links;
pub mod me;
pub mod purposes;
pub mod recordings;
pub mod regions;
pub mod session;
pub mod setup;
pub mod walls;

use crate::http::routes::Routes;

/// All of `/api/v1`, but for what may take longer than a request should: see [`slow`].
pub fn routes() -> Routes {
    Routes::new()
        .get("/api/v1/me", me::me)
        .get("/api/v1/health", health::health)
        .post("/api/v1/join", join::join)
        .get("/api/v1/demo", crate::demo::page::demo)
        .post("/api/v1/setup/look", setup::look)
        .post("/api/v1/setup", setup::setup)
        .post("/api/v1/session", session::sign_in)
        .delete("/api/v1/session", session::sign_out)
        .post("/api/v1/session/token", session::renew)
        .get("/api/v1/sessions", session::list)
        .delete("/api/v1/sessions/{session}", session::end)
        .put("/api/v1/account/password", session::change_password)
        .get("/api/v1/accounts", accounts::list)
        .post("/api/v1/accounts", accounts::create)
        .patch("/api/v1/accounts/{account}", accounts::change)
        .post("/api/v1/accounts/{account}/reset", accounts::reset)
        .get("/api/v1/accounts/{account}/sessions", accounts::sessions)
        .delete("/api/v1/accounts/{account}/sessions", accounts::end_sessions)
        .get("/api/v1/links", links::list)
        .delete("/api/v1/links/{link}", links::end)
        .get("/api/v1/cases", cases::list)
        .post("/api/v1/cases", cases::create)
        .get("/api/v1/cases/{case}", cases::one)
        .post("/api/v1/rooms", cases::create_room)
        .get("/api/v1/rooms/{room}/invitations", invitations::list)
        .post("/api/v1/rooms/{room}/invitations", cases::invite)
        .delete("/api/v1/rooms/{room}/invitations/{invitation}", invitations::revoke)
        .get("/api/v1/regions", regions::list)
        .post("/api/v1/regions", regions::create)
        .get("/api/v1/cameras", cameras::list)
        .post("/api/v1/cameras", cameras::create)
        .get("/api/v1/walls", walls::list)
        .post("/api/v1/walls", walls::create)
        .get("/api/v1/walls/{wall}", walls::one)
        .post("/api/v1/purposes", purposes::create)
        .get("/api/v1/audit", audit::list)
        .get("/api/v1/recordings", recordings::list)
        .get("/api/v1/recordings/{recording}", recordings::one)
        .get("/api/v1/recordings/{recording}/tracks", recordings::tracks)
        .get("/api/v1/recordings/{recording}/tracks/{track}", recordings::track)
        .get("/api/v1/recordings/{recording}/package", recordings::download)
}

/// What reads a whole package before it answers.
pub fn slow() -> Routes {
    Routes::new().get("/api/v1/recordings/{recording}/verification", recordings::verification)
}
