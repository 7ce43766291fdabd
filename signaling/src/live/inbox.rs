//! The way of the engine's events to the task that owns their room.
//!
//! The one who hands events over must never wait for a room: a room waits for the engine, the engine waits for
//! its events to be taken, and the circle would close. So events go into a mailbox that never makes the giver
//! wait and cannot grow without bound either, since a newer plan of a peer's slots replaces the older one, and
//! every other event happens once in the life of a peer or a track.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use hewei_engine::Event;
use tokio::sync::Notify;

/// Room for 64 people who each come and go with their tracks a dozen times between two looks into the box.
const EVENTS_MAX: usize = 4_096;

/// A mailbox with one reader.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    events: Mutex<VecDeque<Event>>,
    arrived: Notify,
    dropped: AtomicU64,
}

impl Inbox {
    /// Puts an event in. When the box is full the oldest goes, and is counted.
    pub(super) fn put(&self, event: Event) {
        {
            let mut events = self.events.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            events.retain(|old| !replaces(&event, old));
            if events.len() >= EVENTS_MAX {
                events.pop_front();
                if self.dropped.fetch_add(1, Ordering::Relaxed) == 0 {
                    tracing::error!("a room takes its engine events too slowly; the oldest are dropped");
                }
            }
            events.push_back(event);
        }
        self.arrived.notify_one();
    }

    /// Waits until something is there and takes all of it. Cancelling loses nothing.
    pub(super) async fn take(&self) -> VecDeque<Event> {
        loop {
            {
                let mut events = self.events.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                if !events.is_empty() {
                    return std::mem::take(&mut events);
                }
            }
            self.arrived.notified().await;
        }
    }
}

/// Whether `new` makes `old` meaningless.
fn replaces(new: &Event, old: &Event) -> bool {
    match (new, old) {
        (Event::Slots { peer: new, .. }, Event::Slots { peer: old, .. })
        | (Event::NeedSlots { peer: new, .. }, Event::NeedSlots { peer: old, .. })
        | (Event::Layers { peer: new, .. }, Event::Layers { peer: old, .. }) => new == old,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use hewei_model::{ParticipantId, PeerId, RoomId};

    use super::*;

    fn need(peer: u128, audio: u32) -> Event {
        Event::NeedSlots {
            room: RoomId::from_u128(1),
            participant: ParticipantId::from_u128(peer),
            peer: PeerId::from_u128(peer),
            audio,
            video: 0,
        }
    }

    #[tokio::test]
    async fn a_newer_plan_replaces_the_older_of_the_same_peer() {
        let inbox = Inbox::default();
        for audio in 0..10_000 {
            inbox.put(need(1, audio));
            inbox.put(need(2, audio));
        }
        let events = inbox.take().await;
        let seen: Vec<u32> = events
            .iter()
            .map(|event| match event {
                Event::NeedSlots { audio, .. } => *audio,
                _ => unreachable!(),
            })
            .collect();
        assert_eq!(seen, [9_999, 9_999]);
    }
}
