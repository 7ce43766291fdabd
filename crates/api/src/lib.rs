//! Wire types of HTTP and WebSocket. The browser's types are generated from them.
//!
//! Owns the shape of every message; holds no logic. Ids are strings on the wire (UUIDs), times are RFC 3339
//! in UTC, durations carry their unit in the name.

pub mod access;
pub mod demo;
pub mod health;
pub mod http;
pub mod problem;
pub mod ws;
