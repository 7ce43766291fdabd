//! Errors as `application/problem+json` (RFC 9457).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What went wrong and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// A stable word for programs, such as `invitation_used`. The browser shows its own translation of it.
    #[serde(rename = "type")]
    pub kind: String,
    /// One short sentence.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// What to do.
    pub detail: String,
}
