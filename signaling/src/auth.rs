//! Who asks: short signed tokens, and tickets for addresses that cannot carry a header.
//!
//! ```text
//! hewei1 . base64url(JSON of the claims) . base64url(HMAC-SHA-256 over everything before the last dot)
//! ```
//! The word in front is version and use at once, and is signed, so that a ticket is never taken for a token.
//! There is no choice of algorithm.

mod revocations;

use std::sync::Arc;

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, header, request::Parts},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use hewei_model::{LinkId, ParticipantId, RecordingId, Role, RoomId};
use ring::hmac;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use time::OffsetDateTime;

pub use hewei_model::Origin;

pub use self::revocations::Revocations;
use crate::{permissions::Action, problem::Problem, state::App};

const TOKEN: &str = "hewei1";
const TICKET: &str = "hewei1t";

/// Longer texts are not looked at.
const TEXT_LENGTH_MAX: usize = 2_048;

/// Who the bearer of a token is and what it opens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Display name.
    pub name: String,
    /// Role.
    pub role: Role,
    /// The one room the token is for; `None` for all.
    pub room: Option<RoomId>,
    /// The bearer's seat in any room: stable for the life of the token.
    pub participant: ParticipantId,
    /// What it came of; when that is ended, so is the token.
    pub origin: Origin,
    /// When the token ends.
    #[serde(with = "time::serde::timestamp")]
    pub expires_at: OffsetDateTime,
    /// Until when a connection that was opened with it may stay open: a sign-in outlives its short tokens.
    #[serde(with = "time::serde::timestamp")]
    pub open_until: OffsetDateTime,
}

impl Claims {
    /// Of a new link, which nobody has to renew.
    pub fn of_link(name: String, role: Role, room: Option<RoomId>, expires_at: OffsetDateTime) -> Self {
        Self {
            name,
            role,
            room,
            participant: ParticipantId::generate(),
            origin: Origin::Link(LinkId::generate()),
            expires_at,
            open_until: expires_at,
        }
    }

    /// Whether the token opens `room`, the role apart.
    pub fn opens(&self, room: RoomId) -> bool {
        self.room.is_none_or(|only| only == room)
    }

    /// Refuses unless the role may do this.
    pub fn may(&self, action: Action) -> Result<(), Problem> {
        match crate::permissions::allows(self.role, action) {
            true => Ok(()),
            false => Err(Problem::forbidden(self.role, action)),
        }
    }

    /// Refuses unless the role may do this and the token opens `room`.
    pub fn may_in(&self, action: Action, room: RoomId) -> Result<(), Problem> {
        self.may(action)?;
        match self.opens(room) {
            true => Ok(()),
            false => Err(Problem::other_room()),
        }
    }

    /// Refuses unless the role may do this and the token is not for one room alone.
    pub fn may_everywhere(&self, action: Action) -> Result<(), Problem> {
        self.may(action)?;
        match self.room {
            None => Ok(()),
            Some(_) => Err(Problem::other_room()),
        }
    }
}

/// What a ticket opens, and for whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// The recording.
    pub recording: RecordingId,
    /// Whose token it was given for.
    pub participant: ParticipantId,
    /// Their name.
    pub name: String,
    /// Their role.
    pub role: Role,
    /// What that token came of.
    pub origin: Origin,
    /// When it ends.
    #[serde(with = "time::serde::timestamp")]
    pub expires_at: OffsetDateTime,
}

/// A token or ticket that opens nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not signed by this server.
    #[error("not signed by this server")]
    Invalid,
    /// It has run out.
    #[error("it has run out")]
    Expired,
    /// What it came of was ended.
    #[error("it was ended")]
    Revoked,
}

/// Signs and checks tokens and tickets.
pub struct Tokens {
    key: hmac::Key,
    revocations: Arc<Revocations>,
}

impl Tokens {
    /// With this key of good randomness.
    pub fn new(key: &[u8; 32], revocations: Arc<Revocations>) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, key), revocations }
    }

    /// What was ended before its time.
    pub fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    /// A token for these claims.
    pub fn issue(&self, claims: &Claims) -> String {
        self.sign(TOKEN, claims)
    }

    /// The claims of a token that is good at `now`.
    pub fn verify(&self, token: &str, now: OffsetDateTime) -> Result<Claims, TokenError> {
        let claims: Claims = self.check(TOKEN, token)?;
        self.good(claims.origin, claims.expires_at, now).map(|()| claims)
    }

    /// A ticket.
    pub fn issue_ticket(&self, ticket: &Ticket) -> String {
        self.sign(TICKET, ticket)
    }

    /// What a ticket that is good at `now` opens.
    pub fn verify_ticket(&self, ticket: &str, now: OffsetDateTime) -> Result<Ticket, TokenError> {
        let ticket: Ticket = self.check(TICKET, ticket)?;
        self.good(ticket.origin, ticket.expires_at, now).map(|()| ticket)
    }

    fn good(
        &self,
        origin: Origin,
        expires_at: OffsetDateTime,
        now: OffsetDateTime,
    ) -> Result<(), TokenError> {
        if expires_at <= now {
            return Err(TokenError::Expired);
        }
        if self.revocations.ended(origin) {
            return Err(TokenError::Revoked);
        }
        Ok(())
    }

    fn sign(&self, word: &str, value: &impl Serialize) -> String {
        let json = serde_json::to_vec(value).expect("claims are plain values");
        let text = format!("{word}.{}", BASE64.encode(json));
        let signature = hmac::sign(&self.key, text.as_bytes());
        format!("{text}.{}", BASE64.encode(signature))
    }

    fn check<T: DeserializeOwned>(&self, word: &str, text: &str) -> Result<T, TokenError> {
        if text.len() > TEXT_LENGTH_MAX {
            return Err(TokenError::Invalid);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(TokenError::Invalid)?;
        let signature = BASE64.decode(signature).map_err(|_| TokenError::Invalid)?;
        // Constant time; nothing of the text is looked at before.
        hmac::verify(&self.key, signed.as_bytes(), &signature).map_err(|_| TokenError::Invalid)?;
        let (first, json) = signed.split_once('.').ok_or(TokenError::Invalid)?;
        if first != word {
            return Err(TokenError::Invalid);
        }
        let json = BASE64.decode(json).map_err(|_| TokenError::Invalid)?;
        serde_json::from_slice(&json).map_err(|_| TokenError::Invalid)
    }
}

/// The token of a request's `Authorization: Bearer`, good or not.
pub fn token(headers: &HeaderMap) -> Option<&str> {
    headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
}

/// The claims of a request's `Authorization: Bearer`. Without a good one the request ends with 401.
pub struct Bearer(pub Claims);

impl FromRequestParts<App> for Bearer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let token = token(&parts.headers).ok_or_else(Problem::no_token)?;
        app.tokens.verify(token, OffsetDateTime::now_utc()).map(Bearer).map_err(Problem::from)
    }
}

#[cfg(test)]
mod tests {
    use time::Duration;

    use super::*;

    fn claims(now: OffsetDateTime) -> Claims {
        Claims::of_link("王调解员".into(), Role::Mediator, Some(RoomId::generate()), now + Duration::hours(1))
    }

    fn tokens(key: u8) -> Tokens {
        Tokens::new(&[key; 32], Arc::default())
    }

    fn now() -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_800_000_000).expect("a time")
    }

    #[test]
    fn a_token_says_what_was_signed_until_it_ends() {
        let tokens = tokens(1);
        let claims = claims(now());
        let token = tokens.issue(&claims);
        assert_eq!(tokens.verify(&token, now()), Ok(claims.clone()));
        assert_eq!(tokens.verify(&token, claims.expires_at), Err(TokenError::Expired));
        assert_eq!(super::tests::tokens(2).verify(&token, now()), Err(TokenError::Invalid));
    }

    #[test]
    fn tokens_and_tickets_end_with_what_they_came_of() {
        let tokens = tokens(1);
        let claims = claims(now());
        let token = tokens.issue(&claims);
        let ticket = tokens.issue_ticket(&Ticket {
            recording: RecordingId::generate(),
            participant: claims.participant,
            name: claims.name.clone(),
            role: claims.role,
            origin: claims.origin,
            expires_at: claims.expires_at,
        });
        assert!(tokens.verify_ticket(&ticket, now()).is_ok());
        tokens.revocations().end([claims.origin], claims.expires_at);
        assert_eq!(tokens.verify(&token, now()), Err(TokenError::Revoked));
        assert_eq!(tokens.verify_ticket(&ticket, now()), Err(TokenError::Revoked));
        assert_eq!(tokens.verify(&token, claims.expires_at), Err(TokenError::Expired));
    }

    #[test]
    fn any_changed_character_is_refused() {
        let tokens = tokens(1);
        let token = tokens.issue(&claims(now()));
        for at in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).expect("ASCII");
            assert_eq!(tokens.verify(&changed, now()), Err(TokenError::Invalid), "at {at}");
        }
        for cut in 0..token.len() {
            assert_eq!(tokens.verify(&token[..cut], now()), Err(TokenError::Invalid));
        }
    }

    #[test]
    fn tickets_and_tokens_are_not_each_other() {
        let tokens = tokens(1);
        let ticket = Ticket {
            recording: RecordingId::generate(),
            participant: ParticipantId::generate(),
            name: "李律师".into(),
            role: Role::Lawyer,
            origin: Origin::Link(LinkId::generate()),
            expires_at: now() + Duration::minutes(5),
        };
        let text = tokens.issue_ticket(&ticket);
        assert_eq!(tokens.verify_ticket(&text, now()), Ok(ticket));
        assert_eq!(tokens.verify(&text, now()), Err(TokenError::Invalid));
        assert_eq!(tokens.verify_ticket(&tokens.issue(&claims(now())), now()), Err(TokenError::Invalid));
    }
}
