//! What somebody's access came of.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{InvitationId, LinkId, SignInId};

/// What a token came of, and what it ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Somebody of the staff signed in.
    SignIn(SignInId),
    /// Somebody redeemed an invitation.
    Invitation(InvitationId),
    /// It was made on the command line, or for the demo.
    Link(LinkId),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::SignIn(id) => write!(f, "sign_in {id}"),
            Origin::Invitation(id) => write!(f, "invitation {id}"),
            Origin::Link(id) => write!(f, "link {id}"),
        }
    }
}

/// Text that names no origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not what access comes of")]
pub struct InvalidOrigin(String);

impl FromStr for Origin {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        let parsed = match text.split_once(' ') {
            Some(("sign_in", id)) => id.parse().ok().map(Origin::SignIn),
            Some(("invitation", id)) => id.parse().ok().map(Origin::Invitation),
            Some(("link", id)) => id.parse().ok().map(Origin::Link),
            _ => None,
        };
        parsed.ok_or_else(|| InvalidOrigin(text.chars().take(64).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_read_as_it_is_written() {
        for origin in [
            Origin::SignIn(SignInId::generate()),
            Origin::Invitation(InvitationId::generate()),
            Origin::Link(LinkId::generate()),
        ] {
            assert_eq!(origin.to_string().parse(), Ok(origin));
        }
        assert!("seal 018f".parse::<Origin>().is_err() && "".parse::<Origin>().is_err());
    }
}
