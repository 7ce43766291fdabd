//! Who may check which path, and where media goes: the lite side of ICE (RFC 8445 §2.5), with restarts (§9).
//!
//! Owns the credentials of the session in use and, from a restart until the first check in the new session, those of
//! the one before. Knows nothing of DTLS and SRTP, and so a restart cannot touch them. The peer calls it.

use std::{
    fmt,
    time::{Duration, Instant},
};

use ring::hmac;

use crate::{path::Path, stun};

/// A path on which nothing valid has come for this long may be left for one that is only claimed: browsers check
/// theirs every two or three seconds.
const PATH_SILENT: Duration = Duration::from_secs(5);

/// What one side of an ICE session is called, and what checks towards it are proved with (RFC 8839 §5.4).
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User-name fragment, 4–256 characters. It goes over the network in clear.
    pub ufrag: String,
    /// Password, 22–256 characters.
    pub pwd: String,
}

impl fmt::Debug for Credentials {
    /// Never the password.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Credentials").field("ufrag", &self.ufrag).finish_non_exhaustive()
    }
}

/// The credentials of both sides, and with them an ICE session (RFC 8445 §4).
struct Session {
    local: Credentials,
    key: hmac::Key,
    remote: Credentials,
}

impl Session {
    fn new(local: Credentials, remote: Credentials) -> Self {
        Self { key: stun::password_key(&local.pwd), local, remote }
    }

    /// Names first: a stranger costs comparisons.
    fn admits(&self, request: &stun::BindingRequest<'_>) -> bool {
        request.local_ufrag() == self.local.ufrag
            && request.remote_ufrag() == Some(&self.remote.ufrag)
            && request.authenticates(&self.key)
    }
}

pub(crate) struct Ice {
    session: Session,
    /// The session that a restart replaced, answered until a check shows that the peer has the new one: its checks
    /// keep consent, and the path where it is.
    previous: Option<Session>,
    /// The next nomination moves the path at once: the first one after a restart.
    may_move: bool,
    /// Where to send. The path of the last nomination, or before one the first that was checked.
    remote: Option<Path>,
    /// A path that was nominated after keys were there: taken once something authenticates on it. A check alone can
    /// be somebody's copy of an earlier one, for STUN knows no replay.
    claimed: Option<Path>,
    /// When something valid last came on the path in use.
    path_heard: Instant,
    nominated: bool,
}

impl Ice {
    pub(crate) fn new(now: Instant, local: Credentials, remote: Credentials) -> Self {
        Self {
            session: Session::new(local, remote),
            previous: None,
            may_move: false,
            remote: None,
            claimed: None,
            path_heard: now,
            nominated: false,
        }
    }

    /// Where to send.
    pub(crate) fn remote(&self) -> Option<Path> {
        self.remote
    }

    /// Our side of the session in use.
    pub(crate) fn local(&self) -> &Credentials {
        &self.session.local
    }

    /// Whether requests to this fragment are answered.
    pub(crate) fn answers_to(&self, ufrag: &str) -> bool {
        [Some(&self.session), self.previous.as_ref()]
            .into_iter()
            .flatten()
            .any(|session| session.local.ufrag == ufrag)
    }

    /// Whether the peer means another session when it calls itself so (RFC 8839 §4.4.1.1.1).
    pub(crate) fn is_restart(&self, remote: &Credentials) -> bool {
        self.session.remote != *remote
    }

    /// Begins another session. Until a check comes in it, all stays as it was.
    pub(crate) fn restart(&mut self, local: Credentials, remote: Credentials) {
        let replaced = std::mem::replace(&mut self.session, Session::new(local, remote));
        // Of several restarts without a check the peer is still in the session before the first.
        self.previous.get_or_insert(replaced);
        (self.may_move, self.claimed) = (true, None);
    }

    /// Takes a binding request in, and gives the answer to a valid one. `secured` says that there are keys, so that
    /// the path can wait for something that only the peer can have made.
    pub(crate) fn receive(
        &mut self,
        now: Instant,
        from: Path,
        request: &stun::BindingRequest<'_>,
        secured: bool,
    ) -> Option<Vec<u8>> {
        let current = self.session.admits(request);
        let session = match &self.previous {
            _ if current => &self.session,
            Some(previous) if previous.admits(request) => previous,
            _ => return None,
        };
        let mut data = [0; stun::RESPONSE_LEN_MAX];
        let len = request.write_success(from.address, &session.key, &mut data);
        if current {
            self.previous = None;
            self.checked(now, from, request.use_candidate, secured);
        }
        if self.remote == Some(from) {
            self.path_heard = now;
        }
        Some(data[..len].to_vec())
    }

    /// A check of the session in use. Those of the one before move nothing: whoever saw them can copy them.
    fn checked(&mut self, now: Instant, from: Path, nominates: bool, secured: bool) {
        if !nominates && (self.nominated || self.remote.is_some()) {
            return;
        }
        self.nominated |= nominates;
        let moves = nominates && std::mem::take(&mut self.may_move);
        let silent = now.saturating_duration_since(self.path_heard) >= PATH_SILENT;
        match self.remote {
            Some(remote) if remote != from && secured && !silent && !moves => self.claimed = Some(from),
            _ => self.remote = Some(from),
        }
    }

    /// Something that only the peer can have made came on this path.
    pub(crate) fn heard(&mut self, now: Instant, from: Path) {
        if self.claimed == Some(from) {
            (self.remote, self.claimed) = (Some(from), None);
        }
        if self.remote == Some(from) {
            self.path_heard = now;
        }
    }

    /// A path has ended. Where media goes is for the peer to say, and its next nomination need not wait: what is sent on
    /// this path until then is lost.
    pub(crate) fn lost(&mut self, path: Path) {
        self.may_move |= self.remote == Some(path);
        self.claimed = self.claimed.filter(|claimed| *claimed != path);
    }
}
