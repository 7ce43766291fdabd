//! Verifications go one at a time, since each reads a whole package, and each person has one at most.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use hewei_model::ParticipantId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Who waits or is served.
pub struct Verifying {
    one: Arc<Semaphore>,
    asked: Arc<Mutex<HashSet<ParticipantId>>>,
}

/// A verification that was asked for. Nobody asks for a second one while it lasts.
pub struct Asked {
    who: ParticipantId,
    one: Arc<Semaphore>,
    asked: Arc<Mutex<HashSet<ParticipantId>>>,
}

/// The one verification that runs. To be moved into the work: whoever asked may be gone before it ends.
pub struct Turn {
    _one: OwnedSemaphorePermit,
    _asked: Asked,
}

impl Default for Verifying {
    fn default() -> Self {
        Self { one: Arc::new(Semaphore::new(1)), asked: Arc::default() }
    }
}

impl Verifying {
    /// `None` while an earlier one of the same token waits or runs.
    pub fn ask(&self, who: ParticipantId) -> Option<Asked> {
        let new = self.asked.lock().unwrap_or_else(PoisonError::into_inner).insert(who);
        new.then(|| Asked { who, one: Arc::clone(&self.one), asked: Arc::clone(&self.asked) })
    }
}

impl Asked {
    /// Waits for its turn.
    pub async fn turn(self) -> Turn {
        let one = Arc::clone(&self.one).acquire_owned().await.expect("the semaphore is never closed");
        Turn { _one: one, _asked: self }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.who);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now<T>(future: impl Future<Output = T>) -> Option<T> {
        let mut future = std::pin::pin!(future);
        match future.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
            std::task::Poll::Ready(value) => Some(value),
            std::task::Poll::Pending => None,
        }
    }

    #[test]
    fn one_at_a_time_and_one_for_each() {
        let verifying = Verifying::default();
        let (first, second) = (ParticipantId::generate(), ParticipantId::generate());
        let turn = now(verifying.ask(first).expect("the first").turn()).expect("nobody before it");
        assert!(verifying.ask(first).is_none());
        // Somebody who waits and goes away leaves nothing behind.
        assert!(now(verifying.ask(second).expect("another").turn()).is_none());
        let mut waiting = Box::pin(verifying.ask(second).expect("gone").turn());
        assert!(now(&mut waiting).is_none());
        assert!(verifying.ask(second).is_none());
        drop(turn);
        assert!(now(waiting).is_some());
        assert!(verifying.ask(first).is_some());
    }
}
