//! The way of messages to one browser.
//!
//! A list of people and a plan of slots say how things are, not what happened. So a newer one takes the place of one
//! that still waits, and somebody who makes many changes pushes nobody off a slow line.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use hewei_api::ws::ServerMessage;
use tokio::sync::Notify;

/// Besides the list and the plan, what comes to one browser answers what it said or happens once in a while; one that
/// is 128 messages behind does not read.
const MESSAGES_MAX: usize = 128;

/// The sending end, held by the task that owns the room or wall. Dropping it closes the socket, and an `ended`
/// closes it after it was sent.
#[derive(Debug, Clone)]
pub(super) struct Outbox(Arc<Sender>);

/// The socket's end.
#[derive(Debug)]
pub(super) struct Reader(Arc<Queue>);

/// Shared by all clones of an [`Outbox`]; its end is the end of the messages.
#[derive(Debug)]
struct Sender(Arc<Queue>);

#[derive(Debug, Default)]
struct Queue {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    messages: VecDeque<ServerMessage>,
    no_sender: bool,
    no_reader: bool,
}

impl Outbox {
    pub(super) fn new() -> (Outbox, Reader) {
        let queue = Arc::new(Queue::default());
        (Outbox(Arc::new(Sender(queue.clone()))), Reader(queue))
    }

    /// Never waits. False when the browser does not read or is gone: then the connection is to be given up.
    pub(super) fn send(&self, message: ServerMessage) -> bool {
        let queue = &self.0.0;
        let taken = queue.lock().put(message);
        queue.changed.notify_one();
        taken
    }

    /// Whether both lead to the same socket.
    pub(super) fn is(&self, other: &Outbox) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Reader {
    /// The next message; `None` when there is none and no more will come. Cancelling loses nothing.
    pub(super) async fn next(&mut self) -> Option<ServerMessage> {
        loop {
            {
                let mut state = self.0.lock();
                if let Some(message) = state.messages.pop_front() {
                    return Some(message);
                }
                if state.no_sender {
                    return None;
                }
            }
            self.0.changed.notified().await;
        }
    }

    /// The next message if there is one now.
    pub(super) fn next_now(&mut self) -> Option<ServerMessage> {
        self.0.lock().messages.pop_front()
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.0.lock().no_sender = true;
        self.0.changed.notify_one();
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.lock().no_reader = true;
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn put(&mut self, message: ServerMessage) -> bool {
        if self.no_reader {
            return false;
        }
        let same = |old: &ServerMessage| std::mem::discriminant(old) == std::mem::discriminant(&message);
        match message {
            // In the older one's place: a plan behind it may name people that only the newer list has.
            ServerMessage::Participants { .. } => {
                if let Some(old) = self.messages.iter_mut().find(|old| same(old)) {
                    *old = message;
                    return true;
                }
            }
            // At the end: the answer that it builds on may stand between.
            ServerMessage::Slots { .. } | ServerMessage::NeedSlots { .. } | ServerMessage::Layers { .. } => {
                self.messages.retain(|old| !same(old));
            }
            _ => {}
        }
        if self.messages.len() >= MESSAGES_MAX {
            return false;
        }
        self.messages.push_back(message);
        true
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that panics has failed")]
mod tests {
    use hewei_api::ws::SlotCount;

    use super::*;

    fn need(audio: u32) -> ServerMessage {
        ServerMessage::NeedSlots { slots: SlotCount { audio, video: 0 } }
    }

    fn list() -> ServerMessage {
        ServerMessage::Participants { participants: Vec::new() }
    }

    #[test]
    fn lists_and_plans_never_fill_it() {
        let (out, mut messages) = Outbox::new();
        assert!(out.send(list()));
        for round in 0..10_000 {
            assert!(out.send(list()) && out.send(need(round)));
            assert!(out.send(ServerMessage::Slots { slots: Vec::new() }));
        }
        assert!(out.send(ServerMessage::Admitted));
        assert!(out.send(need(10_000)));
        assert!(matches!(messages.next_now(), Some(ServerMessage::Participants { .. })));
        assert!(matches!(messages.next_now(), Some(ServerMessage::Slots { .. })));
        assert!(matches!(messages.next_now(), Some(ServerMessage::Admitted)));
        assert!(
            matches!(messages.next_now(), Some(ServerMessage::NeedSlots { slots }) if slots.audio == 10_000)
        );
        assert!(messages.next_now().is_none());
    }

    #[test]
    fn what_happened_is_bounded_and_none_of_it_is_lost_on_the_way() {
        let (out, mut messages) = Outbox::new();
        for _ in 0..MESSAGES_MAX {
            assert!(out.send(ServerMessage::Admitted));
        }
        assert!(!out.send(ServerMessage::Admitted));
        for _ in 0..MESSAGES_MAX {
            assert!(messages.next_now().is_some());
        }
        assert!(messages.next_now().is_none());
        drop(messages);
        assert!(!out.send(list()), "nobody reads any more");
    }

    #[tokio::test]
    async fn the_last_sender_ends_it_after_what_was_sent() {
        let (out, mut messages) = Outbox::new();
        let other = out.clone();
        assert!(out.is(&other));
        let reading = tokio::spawn(async move {
            let first = messages.next().await;
            (first, messages.next().await)
        });
        tokio::task::yield_now().await;
        drop(out);
        assert!(other.send(ServerMessage::Admitted));
        drop(other);
        let (first, end) = reading.await.unwrap();
        assert!(matches!(first, Some(ServerMessage::Admitted)));
        assert!(end.is_none());
    }
}
