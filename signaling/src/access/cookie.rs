//! The cookie of a sign-in. Scripts cannot read it, other sites' pages do not send it, and only `/api/v1/session` and
//! what is below get it.

use axum::http::{HeaderMap, HeaderValue, header};

use crate::problem::Problem;

const NAME: &str = "hewei_session";

/// The secret in a request's cookie.
pub fn secret(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == NAME)
        .map(|(_, secret)| secret)
        // No secret is longer.
        .filter(|secret| secret.len() <= 64)
}

/// `Set-Cookie` for a new sign-in. Over plain HTTP, on loopback, a secure cookie would not come back.
pub fn set(secret: &str, over_tls: bool) -> Result<HeaderValue, Problem> {
    let secure = if over_tls { "; Secure" } else { "" };
    let text = format!("{NAME}={secret}; Path=/api/v1/session; HttpOnly; SameSite=Strict{secure}");
    HeaderValue::try_from(text).map_err(|error| Problem::internal(&error))
}

/// `Set-Cookie` that takes it away.
pub fn clear() -> HeaderValue {
    HeaderValue::from_static("hewei_session=; Path=/api/v1/session; HttpOnly; SameSite=Strict; Max-Age=0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_is_found_among_other_cookies() {
        let mut headers = HeaderMap::new();
        assert_eq!(secret(&headers), None);
        headers.append(header::COOKIE, HeaderValue::from_static("a=b; xhewei_session=no"));
        headers.append(header::COOKIE, HeaderValue::from_static("c=d;hewei_session=yes ; e=f"));
        assert_eq!(secret(&headers), Some("yes"));
    }
}
