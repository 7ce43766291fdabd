//! `GET /api/v1/health`: what whoever answers for the server should know.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How the server is doing.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// Version of the program.
    pub version: String,
    /// Since when it runs.
    pub started_at: String,
    /// The disk that recordings go to; absent when the system does not tell.
    pub disk: Option<DiskHealth>,
    /// The server's clock.
    pub clock: ClockHealth,
    /// Recordings of the last 30 days.
    pub recordings: RecordingsHealth,
}

/// Space for recordings, and how long it lasts.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DiskHealth {
    /// Size of the file system of the folder of recordings, in bytes.
    pub total_bytes: u64,
    /// What the server may still use of it.
    pub free_bytes: u64,
    /// No recording starts with less than this (`recording.reserve_mb`).
    pub reserve_bytes: u64,
    /// Whether a recording may start now.
    pub may_record: bool,
    /// What an hour of session takes, in bytes.
    pub bytes_per_hour: u64,
    /// Whether that was measured, on the sealed recordings of the last 30 days. Otherwise it is the assumption of
    /// three people at 1.2 Mbit/s of pictures and 40 kbit/s of sound each.
    pub measured: bool,
    /// Hours of session that still fit above the reserve.
    pub hours_left: f64,
    /// Hours of session that were recorded in the last 30 days.
    pub hours_recorded: f64,
    /// When the space ends if it goes on being used as in these days; absent when nothing was recorded in them, or
    /// when that is more than ten years away.
    pub lasts_until: Option<String>,
}

/// The server's clock, as its kernel judges it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ClockHealth {
    /// Whether something keeps it right.
    pub state: ClockState,
    /// How far it is still to be moved, in milliseconds; absent unless it is synchronised.
    pub offset_ms: Option<f64>,
    /// How wrong it may be at most, in milliseconds; absent unless it is synchronised.
    pub error_max_ms: Option<f64>,
}

/// Whether a clock is kept right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClockState {
    /// A time service keeps it right.
    Synchronised,
    /// Nothing does: times in recordings may be wrong.
    Unsynchronised,
    /// The system does not say.
    Unknown,
}

/// How recordings of the last 30 days ended.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RecordingsHealth {
    /// Sealed, in all.
    pub sealed: u64,
    /// Of these, with something missing: interrupted and recovered, or ended by a fault. Their `detail` says what.
    pub impaired: u64,
    /// Not sealed, and not to be: their `detail` says why.
    pub failed: u64,
}
