//! What comes in, checked at the edge.

use std::str::FromStr;

use axum::{
    Json,
    extract::{FromRequest, Request},
};
use serde::{Deserialize, de::DeserializeOwned};

use crate::{problem::Problem, state::App};

/// A JSON body. One that cannot be used is answered with a problem.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest<App> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let Json(value) = Json::<T>::from_request(request, app).await?;
        Ok(Self(value))
    }
}

/// `?limit=` of lists, at most 500.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Limit {
    /// At most this many, 1–500; 100 unless given.
    pub limit: Option<u32>,
}

impl Limit {
    /// How many rows the list gives.
    pub fn get(&self) -> u32 {
        self.limit.unwrap_or(100).clamp(1, hewei_store::LIST_LIMIT_MAX)
    }
}

/// The id in an address; anything else is no such thing.
pub fn id_in_path<T: FromStr>(text: &str, what: &str) -> Result<T, Problem> {
    text.parse().map_err(|_| Problem::not_found(what))
}

/// The id in a field.
pub fn id_in_field<T: FromStr>(text: &str, field: &str) -> Result<T, Problem> {
    text.parse().map_err(|_| Problem::invalid(format!("{field} is not an id; use one from the list.")))
}

/// Text of `least` to `most` characters without the blanks around it. Control characters are refused: names go
/// into logs, journals and file names' neighbourhood.
pub fn text(text: &str, field: &str, least: usize, most: usize) -> Result<String, Problem> {
    let text = text.trim();
    let length = text.chars().count();
    if !(least..=most).contains(&length) || text.chars().any(is_unprintable) {
        return Err(Problem::invalid(format!(
            "{field} must have {least} to {most} characters on one line; it has {length}."
        )));
    }
    Ok(text.to_owned())
}

/// Controls, and the marks that turn the direction of the text around them and so let one name look like
/// another.
fn is_unprintable(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_counted_in_characters_and_kept_on_one_line() {
        assert_eq!(text(" 王 ", "name", 1, 1).ok().as_deref(), Some("王"));
        for bad in ["", "  ", "ab", "a\nb", "a\u{202e}b"] {
            assert!(text(bad, "name", 1, 1).is_err(), "{bad:?}");
        }
        assert!(text("a\nb", "name", 1, 9).is_err());
        assert!(text("a\u{202e}b", "name", 1, 9).is_err());
    }
}
