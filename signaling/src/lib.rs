//! The Hewei server: configuration, HTTP, WebSocket, WHIP and WHEP, and the wiring of everything.
//!
//! The only place that knows all rooms. The binary `hewei` is a thin shell over this library, so that tests
//! start whole servers in their own process.

pub mod access;
pub mod addresses;
mod audit;
pub mod auth;
mod backup;
pub mod cli;
pub mod config;
mod demo;
mod descriptors;
pub mod doctor;
pub mod health;
pub mod http;
pub mod limits;
pub mod live;
mod media_port;
pub mod metrics;
mod notify;
pub mod openapi;
pub mod permissions;
pub mod problem;
mod ready;
mod recovering;
pub mod refusals;
pub mod rest;
pub mod secrets;
pub mod serve;
pub mod state;
mod turn;
mod ustar;
pub mod verifying;
pub mod wire;
