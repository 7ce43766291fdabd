//! What the page `/demo` shows: the links by role, and whether the robots are there.
//!
//! **The links are keys**, and whoever has the page has them all. So they are given only to a browser on this machine:
//! the connection must come from loopback, `Host` must name loopback, which another site that points its name at
//! 127.0.0.1 does not, and no proxy may say that it passes a request on. A proxy that rewrites `Host` and says nothing is
//! not told apart: a demo does not belong behind one. Everybody else is told to ask who runs the demo.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, OnceLock},
};

use axum::{
    Json,
    extract::{ConnectInfo, State},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use hewei_api::{
    demo::{Demo, DemoLink, DemoRobotState, DemoRobots},
    problem::Problem as ProblemBody,
};
use hewei_model::{CaseId, InvitationId, Role, RoomId};
use time::OffsetDateTime;
use tokio::sync::Mutex;

use super::{LINK_LIFETIME, STAFF, robots::Status, staff_link};
use crate::{addresses, problem::Problem, rest::cases::make_invitation, state::App};

/// The page of a running demo; of a normal server there is none.
#[derive(Default)]
pub struct Page(OnceLock<Contents>);

pub(super) struct Contents {
    pub(super) room: RoomId,
    pub(super) case: CaseId,
    pub(super) cameras: u32,
    pub(super) robots: Arc<Status>,
    pub(super) links: Mutex<Links>,
}

/// The links of the moment.
pub(super) struct Links {
    pub(super) staff: StaffLinks,
    pub(super) parties: Vec<PartyLink>,
}

/// Paths of the staff's links, in the order of [`STAFF`].
pub(super) struct StaffLinks {
    pub(super) made_at: OffsetDateTime,
    pub(super) paths: Vec<String>,
}

impl StaffLinks {
    pub(super) async fn new(app: &App) -> hewei_store::Result<StaffLinks> {
        let mut paths = Vec::with_capacity(STAFF.len());
        for (role, name, _) in STAFF {
            paths.push(staff_link(app, role, name).await?);
        }
        Ok(StaffLinks { made_at: OffsetDateTime::now_utc(), paths })
    }
}

/// An invitation that may have been redeemed.
#[derive(Clone)]
pub(super) struct PartyLink {
    pub(super) id: InvitationId,
    pub(super) name: &'static str,
    pub(super) path: String,
}

impl PartyLink {
    pub(super) async fn new(app: &App, room: RoomId, name: &'static str) -> Result<PartyLink, Problem> {
        let (invitation, path) = make_invitation(app, room, Role::Party, name.to_owned()).await?;
        // The name stands in the form already, as with links that are made on a page.
        let written: String = url::form_urlencoded::byte_serialize(name.as_bytes()).collect();
        Ok(PartyLink { id: invitation.id, name, path: format!("{path}&name={written}") })
    }
}

impl Page {
    pub(super) fn open(&self, contents: Contents) {
        // A server is a demo once.
        let _ = self.0.set(contents);
    }
}

impl Contents {
    /// All links. An invitation that was redeemed is another one, and so are keys that have half run out.
    async fn links(&self, app: &App) -> Result<Vec<DemoLink>, Problem> {
        let now = OffsetDateTime::now_utc();
        let mut links = self.links.lock().await;
        if now - links.staff.made_at > LINK_LIFETIME / 2 {
            links.staff = StaffLinks::new(app).await?;
        }
        for party in &mut links.parties {
            if app.store.invitation_is_spent(party.id, now).await? {
                *party = PartyLink::new(app, self.room, party.name).await?;
            }
        }
        let link = |role, name: &str, path: &str, once| DemoLink {
            role,
            name: name.to_owned(),
            path: path.to_owned(),
            once,
        };
        let staff = STAFF.iter().zip(&links.staff.paths);
        let parties = links.parties.iter().map(|party| link(Role::Party, party.name, &party.path, true));
        Ok(staff.map(|((role, name, _), path)| link(*role, name, path, false)).chain(parties).collect())
    }
}

/// What a visitor of the demo may open. Links are given to browsers on the demo's own machine alone.
#[utoipa::path(
    get,
    path = "/api/v1/demo",
    operation_id = "getDemo",
    responses(
        (status = 200, body = Demo),
        (status = 404, description = "This server is no demo", body = ProblemBody)
    )
)]
pub async fn demo(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let contents = app.demo.0.get().ok_or_else(|| Problem::not_found("demo"))?;
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let local = peer.ip().to_canonical().is_loopback()
        && host.is_some_and(names_loopback)
        && !addresses::through_proxy(&headers);
    let demo = if local {
        Demo {
            local: true,
            links: contents.links(&app).await?,
            room_id: Some(contents.room.to_string()),
            case_id: Some(contents.case.to_string()),
            cameras: contents.cameras,
            robots: contents.robots.told(),
        }
    } else {
        let robots = DemoRobots { state: DemoRobotState::Absent, names: Vec::new(), problem: None };
        Demo { local: false, links: Vec::new(), room_id: None, case_id: None, cameras: 0, robots }
    };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(demo)).into_response())
}

/// Whether a `Host` header names this machine from within.
fn names_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(ipv6) => ipv6.split_once(']').map_or("", |(address, _)| address),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::names_loopback;

    #[test]
    fn only_loopback_is_this_machine() {
        for host in ["localhost", "LocalHost:8080", "127.0.0.1", "127.0.0.1:8080", "[::1]:8080", "[::1]"] {
            assert!(names_loopback(host), "{host}");
        }
        for host in [
            "",
            ":8080",
            "demo.example",
            "demo.example:8080",
            "192.0.2.1:8080",
            "127.0.0.1.example",
            "localhost.example:80",
            "[2001:db8::1]:8080",
            "[::1",
        ] {
            assert!(!names_loopback(host), "{host}");
        }
    }
}
