//! The way of messages to one browser.

use hewei_api::ws::ServerMessage;
use tokio::sync::mpsc;

/// A room of 64 people changes its list a few times a second at worst; a browser that is 128 messages behind
/// does not read.
const MESSAGES_MAX: usize = 128;

/// The sending end, held by the task that owns the room or wall. Dropping it closes the socket, and an `ended`
/// closes it after it was sent.
#[derive(Debug, Clone)]
pub(super) struct Outbox(mpsc::Sender<ServerMessage>);

impl Outbox {
    pub(super) fn new() -> (Outbox, mpsc::Receiver<ServerMessage>) {
        let (sender, receiver) = mpsc::channel(MESSAGES_MAX);
        (Outbox(sender), receiver)
    }

    /// Never waits. False when the browser does not read or is gone: then the connection is to be given up.
    pub(super) fn send(&self, message: ServerMessage) -> bool {
        self.0.try_send(message).is_ok()
    }
}

impl Outbox {
    /// Whether both lead to the same socket.
    pub(super) fn is(&self, other: &Outbox) -> bool {
        self.0.same_channel(&other.0)
    }
}
