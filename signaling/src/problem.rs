//! Errors as people and programs get them: `application/problem+json` (RFC 9457).

use std::time::Duration;

use axum::{
    extract::rejection::JsonRejection,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use hewei_model::Role;

use crate::{auth::TokenError, permissions::Action};

/// A problem, ready to be sent. `kind` is a stable word for programs, `detail` says what to do.
#[derive(Debug, Clone)]
pub struct Problem {
    status: StatusCode,
    body: hewei_api::problem::Problem,
    /// In whole seconds, rounded up.
    retry_after_s: Option<u64>,
}

impl Problem {
    /// A problem of any kind.
    pub fn new(status: StatusCode, kind: &str, title: &str, detail: impl Into<String>) -> Self {
        let body = hewei_api::problem::Problem {
            kind: kind.to_owned(),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
        };
        Self { status, body, retry_after_s: None }
    }

    /// No `Authorization` header.
    pub fn no_token() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "token_missing",
            "This needs a token.",
            "Send the header \"Authorization: Bearer TOKEN\"; people open the link they were given.",
        )
    }

    /// The role may not do this.
    pub fn forbidden(role: Role, action: Action) -> Self {
        tracing::debug!(%role, ?action, "refused");
        Self::new(
            StatusCode::FORBIDDEN,
            "role_forbidden",
            "Your role may not do this.",
            format!("You are here as {role}. Ask somebody whose role may do it."),
        )
    }

    /// The token is for another room.
    pub fn other_room() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "room_forbidden",
            "Your token is for one room only, and not for this.",
            "Open the link you were given for this room, or ask the mediator for one.",
        )
    }

    /// There is no such thing; `what` is a noun, such as `case`.
    pub fn not_found(what: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found",
            &format!("There is no such {what}."),
            "Check the address; it may have been copied in part.",
        )
    }

    /// Something in the request is wrong; `detail` names it and what is allowed.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "Something in the request is wrong.", detail)
    }

    /// It does not fit what is there already.
    pub fn conflict(kind: &str, title: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, kind, title, detail)
    }

    /// Too often.
    pub fn too_many_requests() -> Self {
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too_many_requests",
            "That was too often.",
            "Wait a minute and try again.",
        )
        .after(Duration::from_secs(60))
    }

    /// Too often, for a moment.
    pub fn too_fast(wait: Duration) -> Self {
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too_many_requests",
            "That was too fast.",
            "Wait a moment and try again.",
        )
        .after(wait)
    }

    /// Too many passwords were tried.
    pub fn too_many_tries(wait: Duration) -> Self {
        let seconds = wait.as_secs_f64().ceil();
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too_many_tries",
            "Too many passwords were tried.",
            format!(
                "Wait {seconds} seconds and try again; if you forgot it, ask an administrator for a new link."
            ),
        )
        .after(wait)
    }

    /// Too many passwords are being checked.
    pub fn busy_signing_in() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "busy",
            "Too many people are signing in.",
            "Try again in a few seconds.",
        )
        .after(Duration::from_secs(5))
    }

    /// Which of both is wrong is not said.
    pub fn sign_in_failed() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "sign_in_failed",
            "The user name or the password is wrong.",
            "Try again; if you forgot the password, ask an administrator for a new link.",
        )
    }

    /// The account is closed.
    pub fn account_disabled() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "account_disabled",
            "This account is closed.",
            "Ask an administrator to open it again.",
        )
    }

    /// The cookie is of no sign-in.
    pub fn signed_out() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "signed_out", "You are not signed in.", "Sign in again.")
    }

    /// A link or an invitation has no account.
    pub fn no_account() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "no_account",
            "You are here by a link, without an account.",
            "Sign in with a user name and a password for this.",
        )
    }

    /// The password until now is another.
    pub fn wrong_password() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "wrong_password",
            "The old password is wrong.",
            "Try again; if you forgot it, ask an administrator for a new link.",
        )
    }

    /// The password is too easily guessed; `detail` says why.
    pub fn weak_password(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "weak_password",
            "This password is too easily guessed.",
            detail,
        )
    }

    /// The code of a set-up link is not one.
    pub fn setup_unknown() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "setup_unknown",
            "This link does not open anything.",
            "It was used, or has run out, or was copied in part. Ask an administrator for a new one; on the server, \
             `hewei setup-link` prints one.",
        )
    }

    /// A page of another site asks.
    pub fn cross_origin() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "cross_origin",
            "Pages of another site may not do this.",
            "Open the page from this server's own address.",
        )
    }

    fn after(mut self, wait: Duration) -> Self {
        self.retry_after_s = Some((wait.as_secs_f64().ceil() as u64).max(1));
        self
    }

    /// A fault of the server. What it is goes to the log, not to the client.
    pub fn internal(error: &dyn std::fmt::Display) -> Self {
        tracing::error!(%error, "request failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "The server could not do this.",
            "Try again; if it stays so, the administrator finds the reason in the server's log.",
        )
    }

    /// HTTP status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The same problem for a WebSocket's `error` message.
    pub fn into_body(self) -> hewei_api::problem::Problem {
        self.body
    }
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Invalid => Self::new(
                StatusCode::UNAUTHORIZED,
                "token_invalid",
                "This token is not one of this server's.",
                "Open the link you were given again, or ask for a new one.",
            ),
            TokenError::Expired => Self::new(
                StatusCode::UNAUTHORIZED,
                "token_expired",
                "Your access has run out.",
                "Sign in again, or ask for a new link.",
            ),
            TokenError::Revoked => Self::new(
                StatusCode::UNAUTHORIZED,
                "token_revoked",
                "Your access was ended.",
                "Sign in again, or ask the one who gave you the link.",
            ),
        }
    }
}

impl From<hewei_store::Error> for Problem {
    fn from(error: hewei_store::Error) -> Self {
        match error {
            hewei_store::Error::Taken(what) => Self::conflict(
                "taken",
                "This is taken.",
                format!("{} must be unique; choose another.", what.replace('.', " ")),
            ),
            hewei_store::Error::NoSuchReference => Self::invalid(
                "An id in the request belongs to nothing; list what there is and use one of those.",
            ),
            hewei_store::Error::InvitationUsed => Self::new(
                StatusCode::GONE,
                "invitation_used",
                "This link was used already.",
                "Go back to the page where it was opened first, or ask the mediator for a new link.",
            ),
            hewei_store::Error::InvitationUnknown => Self::new(
                StatusCode::NOT_FOUND,
                "invitation_unknown",
                "This link does not open anything.",
                "It may have run out, or been copied in part. Ask the mediator for a new one.",
            ),
            hewei_store::Error::LastAdministrator => Self::conflict(
                "last_administrator",
                "This is the last administrator.",
                "Make another administrator first, who has chosen a password.",
            ),
            error => Self::internal(&error),
        }
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        let kind = match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => "body_too_large",
            StatusCode::UNSUPPORTED_MEDIA_TYPE => "content_type",
            _ => "invalid",
        };
        let detail = match &rejection {
            JsonRejection::JsonDataError(error) => unfit(error),
            JsonRejection::JsonSyntaxError(error) => unfit(error),
            // Nothing of the body is in these.
            other => other.body_text(),
        };
        Self::new(rejection.status(), kind, "The body of the request cannot be used.", detail)
    }
}

/// Where a body does not fit. Never what stands there, as the error itself would say: it may be a password.
fn unfit(rejection: &(dyn std::error::Error + 'static)) -> String {
    let mut causes = std::iter::successors(Some(rejection), |error| error.source());
    let at = causes.find_map(|cause| cause.downcast_ref::<serde_path_to_error::Error<serde_json::Error>>());
    let Some(at) = at else {
        // Something after the end.
        return "It is not one JSON value.".to_owned();
    };
    let error = at.inner();
    let place = format!("line {}, column {}", error.line(), error.column());
    if !error.is_data() {
        return format!("It is not JSON; it breaks off or goes wrong at {place}.");
    }
    // These name a field of ours and nothing of the client's.
    if let Some(missing) =
        error.to_string().strip_prefix("missing field `").and_then(|rest| rest.split('`').next())
    {
        return format!("The field {missing} is missing, at {place}. See /api/openapi.json.");
    }
    match at.path().to_string().as_str() {
        "." => format!("It does not fit at {place}. See /api/openapi.json for what this address takes."),
        path => format!("{path} does not fit, at {place}. See /api/openapi.json for what it may be."),
    }
}

/// The type of the problem that a response tells, for those who count.
#[derive(Debug, Clone)]
pub struct Told(pub String);

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self.body).expect("a problem is plain values");
        let mut response = (self.status, body).into_response();
        response.extensions_mut().insert(Told(self.body.kind));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use axum::Json;
    use hewei_api::http::NewCamera;

    use super::*;

    fn detail(body: &str) -> String {
        let refused = Json::<NewCamera>::from_bytes(body.as_bytes()).expect_err("does not fit");
        Problem::from(refused).into_body().detail
    }

    #[test]
    fn what_does_not_fit_is_placed_and_not_quoted() {
        let with = |field: &str| format!("{{\"number\": 1, \"name\": \"a\", \"url\": \"b\", {field}}}");
        for (body, said) in [
            (with("\"password\": 31337"), "password does not fit, at line 1, column 56"),
            (with("\"password\": [\"31337\"]"), "password does not fit, at line 1"),
            ("\"31337\"".to_owned(), "It does not fit at line 1"),
            ("{\"password\": \"31337\"}".to_owned(), "The field number is missing, at line 1"),
            ("{\"password\": \"31337".to_owned(), "It is not JSON; it breaks off or goes wrong at line 1"),
            (with("\"password\": \"a\"") + "31337", "It is not one JSON value."),
        ] {
            let detail = detail(&body);
            assert!(detail.starts_with(said), "{body}: {detail}");
            assert!(!detail.contains("31337"), "{detail}");
        }
    }
}
