//! The HTTP side of a whole server in this process: real sockets, real database, real packages.

#![expect(clippy::unwrap_used, reason = "a test ends at what does not hold")]

mod accounts;
mod client;
mod commands;
mod demo;
mod invitations;
mod permissions;
mod problems;
mod recordings;
mod routes;
mod server;
mod tls;
