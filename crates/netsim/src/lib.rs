//! A bad line, made in user space, because not every kernel has `netem`.
//!
//! [`Direction`] is the line itself, one way: packets go in with the time they came, and come out, or not, with the
//! time they arrive. It has no clock, no I/O and no randomness but its seed: the same packets at the same times meet
//! the same fate. `main.rs` is the shell that moves packets between two TUN devices. Nothing of it is part of the
//! server; the tests in `web/e2e` start it.

mod command;
mod conditions;
mod direction;
mod random;

pub use command::Command;
pub use conditions::{Conditions, ParseError};
pub use direction::{Counts, Direction};
