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

/// `methods` are those that an address of WHIP or WHEP knows.
pub(super) fn only(methods: &str) -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        &format!("Only {methods} are possible here."),
        "POST an offer to open a media session, PATCH its Location to restart ICE, and DELETE it to end it.",
    )
}

pub(super) fn fragment_expected() -> Problem {
    Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "content_type",
        "A fragment of SDP is expected.",
        "Send ICE with Content-Type: application/trickle-ice-sdpfrag; there is no second offer.",
    )
}

pub(super) fn if_match_expected() -> Problem {
    Problem::new(
        StatusCode::PRECONDITION_REQUIRED,
        "if_match_missing",
        "The request does not say which ICE session it is for.",
        "Send If-Match with the last ETag for more candidates, and If-Match: * to restart ICE.",
    )
}

pub(super) fn other_ice_session() -> Problem {
    Problem::new(
        StatusCode::PRECONDITION_FAILED,
        "ice_session_over",
        "ICE has been restarted since.",
        "Use the ETag of the last restart, or restart with If-Match: *.",
    )
}

/// Why a fragment of ICE was not taken in. The session goes on as it was.
pub(super) fn fragment(error: &OfferError) -> Problem {
    match error {
        OfferError::Invalid(why) => Problem::new(
            StatusCode::BAD_REQUEST,
            "invalid_fragment",
            "The fragment of SDP cannot be used.",
            format!("It needs a=ice-ufrag and a=ice-pwd, and candidates as RFC 8839 writes them: {why}"),
        ),
        // It went between the look at the list and the engine.
        OfferError::NoRoom => Problem::not_found("media session"),
        other => offer(other),
    }
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
        OfferError::Partial(_) => Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "partial_offer",
            "Only a part of the SDP offer could be taken.",
            format!(
                "{error}. Offer one audio and one video m-line at most, sendonly, with H.264, VP8, Opus or G.711."
            ),
        ),
        OfferError::NoRoom => Problem::not_found("room"),
        OfferError::NoPeer => Problem::not_found("media session"),
        OfferError::TooMany(what) => {
            Problem::conflict("too_many", "A limit was reached.", format!("Use fewer {what}."))
        }
        OfferError::Stopped => busy("The server is stopping"),
    }
}
