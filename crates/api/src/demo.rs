//! What a visitor of the demo may open. A normal server has no demo and answers 404.

use hewei_model::Role;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::RoleName;

/// `GET /api/v1/demo`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Demo {
    /// Whether the one who asks sits at the machine that the demo runs on. Links are keys: nobody else gets any, and
    /// the rest is empty too.
    pub local: bool,
    /// A link for each role, staff first.
    pub links: Vec<DemoLink>,
    /// The room that all of it is about.
    pub room_id: Option<String>,
    /// Its case.
    pub case_id: Option<String>,
    /// How many cameras there are to look at.
    pub cameras: u32,
    /// The robot parties.
    pub robots: DemoRobots,
}

/// A link that lets somebody in.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DemoLink {
    /// Role.
    #[schema(value_type = RoleName)]
    pub role: Role,
    /// The name of whom it is for.
    pub name: String,
    /// Path and fragment on this server, such as `/enter#TOKEN`.
    pub path: String,
    /// Opens once only. One that was opened is another one the next time.
    pub once: bool,
}

/// The robot parties of the demo.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DemoRobots {
    /// What they do.
    pub state: DemoRobotState,
    /// Their names.
    pub names: Vec<String>,
    /// Why there are none, in words for whoever runs the demo.
    pub problem: Option<String>,
}

/// What the robots do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DemoRobotState {
    /// Their pictures are being drawn, which takes less than a minute the first time.
    Preparing,
    /// They knock when somebody enters the room.
    Waiting,
    /// They are at the door or in the room.
    Here,
    /// There are none.
    Absent,
}
