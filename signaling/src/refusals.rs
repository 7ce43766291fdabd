//! What was refused, by kind, for `/metrics`.
//!
//! Two families: connections that were closed without a word ([`Refusal`]), and problems that were told, over HTTP or a
//! WebSocket, by the type that clients see. No label holds anything that a stranger chose: the kinds of the first are
//! an enum, the types of the second words of this program. Refusing is counted; a log line for it is the exception.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident $text:literal,)*) => {
        /// A connection that was closed, and nobody was told why.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Refusal { $($(#[$doc])* $name,)* }

        impl Refusal {
            /// Every kind, as `/metrics` names it.
            pub const NAMES: &[&str] = &[$($text,)*];
        }
    };
}

refusals! {
    /// Its network has too many connections.
    Share "connection_share",
    /// Neither a TLS record nor a request nor media came in time.
    Silent "silent",
    /// The TLS handshake failed or took too long.
    Tls "tls",
    /// What came is not HTTP, or its head is too long.
    Http "http",
    /// No request, or no whole head of one, came in time.
    Slow "slow",
    /// What came is no media for anybody here.
    Media "media",
    /// A WebSocket's frames broke the protocol or were too large.
    Frame "websocket_frame",
    /// A WebSocket did not read what waited for it.
    Unread "unread",
}

/// More types than this program has; a bound on what a mistake could do.
const PROBLEM_TYPES_MAX: usize = 128;
/// Lines a second that the log takes about refusals. What is above is counted only.
const LOG_LINES_A_SECOND: u32 = 10;

/// The counters.
#[derive(Debug, Default)]
pub struct Refusals {
    silent: [AtomicU64; Refusal::NAMES.len()],
    problems: Mutex<BTreeMap<String, u64>>,
    log: Mutex<Option<(Instant, u32)>>,
}

impl Refusals {
    /// Counts a connection that was closed without a word.
    pub fn count(&self, refusal: Refusal) {
        self.silent[refusal as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a problem that somebody was told.
    pub fn problem(&self, kind: &str) {
        let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = problems.get_mut(kind) {
            *count += 1;
        } else if problems.len() < PROBLEM_TYPES_MAX {
            problems.insert(kind.to_owned(), 1);
        }
    }

    /// Whether the log takes one more line about a refusal.
    pub fn may_log(&self, now: Instant) -> bool {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, lines) = log.get_or_insert((now, 0));
        if now.saturating_duration_since(*since).as_secs() >= 1 {
            (*since, *lines) = (now, 0);
        }
        *lines += 1;
        *lines <= LOG_LINES_A_SECOND
    }

    /// Kinds and counts of connections closed without a word.
    pub fn silent(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Refusal::NAMES.iter().zip(&self.silent).map(|(name, count)| (*name, count.load(Ordering::Relaxed)))
    }

    /// Types and counts of problems told, as far as there were any.
    pub fn problems(&self) -> Vec<(String, u64)> {
        let problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        problems.iter().map(|(kind, count)| (kind.clone(), *count)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_flood_is_counted_and_fills_no_log() {
        let refusals = Refusals::default();
        let start = Instant::now();
        let mut lines = 0;
        for _ in 0..10_000 {
            refusals.count(Refusal::Tls);
            refusals.problem("malformed_message");
            lines += u32::from(refusals.may_log(start));
        }
        assert_eq!(lines, LOG_LINES_A_SECOND);
        assert!(refusals.may_log(start + Duration::from_secs(1)));
        assert_eq!(refusals.silent().find(|(name, _)| *name == "tls"), Some(("tls", 10_000)));
        assert_eq!(refusals.problems(), [("malformed_message".to_owned(), 10_000)]);
        (0..10_000).for_each(|n| refusals.problem(&n.to_string()));
        assert_eq!(refusals.problems().len(), PROBLEM_TYPES_MAX);
    }
}
