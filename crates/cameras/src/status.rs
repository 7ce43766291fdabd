//! What a camera is doing, for tiles and lists.

use std::time::SystemTime;

/// What a camera is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Nobody looks, so nothing is pulled.
    Idle,
    /// On the way to a first picture.
    Connecting,
    /// Media arrive.
    Live,
    /// No answer at its address, an answer that is not RTSP, or a connection that broke.
    Unreachable,
    /// It refuses the user name or password.
    AuthFailed,
    /// It answers, and sends nothing that can be shown.
    NoMedia,
}

/// A camera's state, since when, and what happens next.
///
/// A failed state stays while the next try runs, so that a tile does not flicker between "unreachable" and
/// "connecting"; `next_try` is `None` during the try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// State.
    pub state: State,
    /// When it got into this state.
    pub since: SystemTime,
    /// When the next try is, while it waits for one.
    pub next_try: Option<SystemTime>,
    /// One technical line for operators. Never holds credentials, nor the path of the address.
    pub detail: Option<String>,
}
