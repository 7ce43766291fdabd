//! What was ended before its time: sign-ins, invitations and links whose tokens open nothing any more.
//!
//! In memory, so that a token is checked at the same cost however many there are; the database holds the same list
//! for the next start. Who holds a connection open listens to [`Revocations::subscribe`].

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
};

use time::OffsetDateTime;
use tokio::sync::watch;

use super::Origin;

/// The list. One for the whole server.
pub struct Revocations {
    /// Until when the last token of each could be good.
    ended: RwLock<HashMap<Origin, OffsetDateTime>>,
    changed: watch::Sender<()>,
}

impl Default for Revocations {
    fn default() -> Self {
        Self { ended: RwLock::default(), changed: watch::Sender::new(()) }
    }
}

impl Revocations {
    /// Those of an earlier run.
    pub fn with(ended: impl IntoIterator<Item = (Origin, OffsetDateTime)>) -> Self {
        Self { ended: RwLock::new(ended.into_iter().collect()), changed: watch::Sender::new(()) }
    }

    /// From here on no token of these is good. `until` is when the last of them would have run out anyway. Those who
    /// hold connections open are told after that, so that nobody comes in between.
    pub fn end(&self, origins: impl IntoIterator<Item = Origin>, until: OffsetDateTime) {
        let mut ended = self.ended.write().unwrap_or_else(PoisonError::into_inner);
        let before = ended.len();
        ended.extend(origins.into_iter().map(|origin| (origin, until)));
        let news = ended.len() > before;
        drop(ended);
        if news {
            self.changed.send_replace(());
        }
    }

    /// Whether tokens of this are good no more.
    pub fn ended(&self, origin: Origin) -> bool {
        self.ended.read().unwrap_or_else(PoisonError::into_inner).contains_key(&origin)
    }

    /// Hears of each change.
    pub fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Forgets those whose tokens have run out by themselves.
    pub fn prune(&self, now: OffsetDateTime) {
        self.ended.write().unwrap_or_else(PoisonError::into_inner).retain(|_, until| *until > now);
    }
}

#[cfg(test)]
mod tests {
    use hewei_model::SignInId;
    use time::Duration;

    use super::*;

    #[test]
    fn what_has_ended_stays_so_until_its_last_token_has() {
        let now = OffsetDateTime::UNIX_EPOCH;
        let [first, second] = [(); 2].map(|()| Origin::SignIn(SignInId::generate()));
        let revocations = Revocations::with([(first, now + Duration::minutes(1))]);
        let mut heard = revocations.subscribe();
        assert!(revocations.ended(first) && !revocations.ended(second));
        revocations.end([second], now + Duration::minutes(2));
        assert!(revocations.ended(second));
        assert!(heard.has_changed().expect("the sender lives"));
        heard.mark_unchanged();
        revocations.end([second], now + Duration::minutes(2));
        assert!(!heard.has_changed().expect("the sender lives"), "nothing new");
        revocations.prune(now + Duration::minutes(1));
        assert!(!revocations.ended(first) && revocations.ended(second));
    }
}
