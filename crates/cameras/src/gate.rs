//! How many cameras are connected to per second.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Lets at most N connects a second through, over all cameras, in the order they asked. A page of 25 cameras
/// that comes up at once must not look like a flood to the network between, nor to a recorder that serves many
/// channels at one address.
#[derive(Debug)]
pub(crate) struct Gate {
    interval: Duration,
    next: Mutex<Instant>,
}

impl Gate {
    pub(crate) fn new(per_second: u32) -> Self {
        Self { interval: Duration::from_secs(1) / per_second.max(1), next: Mutex::new(Instant::now()) }
    }

    /// Waits for its turn.
    pub(crate) async fn pass(&self) {
        let slot = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let slot = (*next).max(Instant::now());
            *next = slot + self.interval;
            slot
        };
        tokio::time::sleep_until(slot).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn spreads_connects() {
        let gate = Gate::new(50);
        let start = Instant::now();
        for _ in 0..6 {
            gate.pass().await;
        }
        assert!(start.elapsed() >= Duration::from_millis(100));
    }
}
