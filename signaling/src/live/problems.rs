//! The problems that only the live part has. Each says what to do; none repeats what it was sent.

use axum::http::StatusCode;
use hewei_engine::OfferError;

use crate::problem::Problem;

pub(super) fn malformed(detail: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "malformed_message", "The message cannot be read.", detail)
}

pub(super) fn hello_expected() -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "hello_expected",
        "The first message must be `hello`.",
        "Send `hello` within five seconds of connecting.",
    )
}

pub(super) fn hello_twice() -> Problem {
    Problem::conflict("hello_twice", "This connection is open already.", "Use another connection for it.")
}

pub(super) fn too_large(what: &str, bytes_max: usize) -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "too_large",
        &format!("The {what} is too large."),
        format!("Send at most {bytes_max} bytes."),
    )
}

pub(super) fn rate_limited() -> Problem {
    Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        "rate_limited",
        "That was too many messages.",
        "Wait a few seconds, then connect again.",
    )
}

pub(super) fn not_leading() -> Problem {
    Problem::new(
        StatusCode::FORBIDDEN,
        "mediator_only",
        "Only the mediator may do this.",
        "Ask the mediator.",
    )
}

pub(super) fn room_full(what: &str) -> Problem {
    Problem::conflict(
        "room_full",
        &format!("The room has no place for more {what}."),
        "Ask the mediator to make room.",
    )
}

pub(super) fn in_lobby() -> Problem {
    Problem::conflict("in_lobby", "You are in the lobby.", "Wait until the mediator lets you in.")
}

pub(super) fn nobody() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "participant_not_found",
        "This person is not here.",
        "Look at the list of people again; they may have left.",
    )
}

pub(super) fn purpose_required() -> Problem {
    Problem::new(
        StatusCode::FORBIDDEN,
        "purpose_required",
        "Cameras open under a purpose of your own that has not run out.",
        "State a purpose, then open again.",
    )
}

pub(super) fn too_many_open(max: usize) -> Problem {
    Problem::conflict(
        "too_many_open",
        "You have too many walls and cameras open.",
        format!("Close one of them first; {max} may be open at once."),
    )
}

pub(super) fn not_on_a_wall() -> Problem {
    Problem::conflict("not_on_a_wall", "A wall knows no such message.", "It belongs to a mediation room.")
}

pub(super) fn sdp_expected() -> Problem {
    Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "content_type",
        "An SDP offer is expected.",
        "Send the offer with Content-Type: application/sdp.",
    )
}

/// `method` is the only one an address of a media session knows.
pub(super) fn only(method: &str) -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        &format!("Only {method} is possible here."),
        "POST an offer to open a media session and DELETE its Location to end it. The answer holds all candidates, so \
         there is no trickle ICE and no PATCH.",
    )
}

pub(super) fn other_token() -> Problem {
    Problem::new(
        StatusCode::FORBIDDEN,
        "session_forbidden",
        "This media session belongs to another token.",
        "Use the token it was made with.",
    )
}

pub(super) fn busy(what: &str) -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "busy",
        "The server cannot take this now.",
        format!("{what}; try again in a moment."),
    )
}

pub(super) fn offer(error: &OfferError) -> Problem {
    match error {
        OfferError::Invalid(_) => Problem::new(
            StatusCode::BAD_REQUEST,
            "invalid_offer",
            "The SDP offer cannot be used.",
            error.to_string(),
        ),
        OfferError::NoRoom => Problem::not_found("room"),
        OfferError::TooMany(what) => {
            Problem::conflict("too_many", "A limit was reached.", format!("Use fewer {what}."))
        }
        OfferError::Stopped => busy("The server is stopping"),
    }
}
