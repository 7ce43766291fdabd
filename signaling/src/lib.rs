//! The Hewei server: configuration, HTTP, WebSocket, WHIP and WHEP, and the wiring of everything.
//!
//! The only place that knows all rooms. The binary `hewei` is a thin shell over this library, so that tests
//! start whole servers in their own process.

pub mod auth;
pub mod config;
pub mod limits;
pub mod live;
pub mod metrics;
pub mod permissions;
pub mod problem;
pub mod state;
