//! Hewei as it is operated: the real binary as a child process, stopped, watched, backed up, restored, and on a disk
//! that is full.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod backup;
mod disk;
mod drain;
mod health;
mod metrics;
mod notify;
mod serve;
