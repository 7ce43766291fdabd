//! `hewei doctor` as people run it: on what is healthy, stopped and running, and on what is broken.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod broken;
mod healthy;
mod installation;
