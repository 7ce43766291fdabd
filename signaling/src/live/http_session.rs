//! What a WHIP or WHEP client asks of its session, on its way to the room or the wall that owns it (RFC 9725 §4.3).

use std::time::Duration;

use axum::http::{HeaderMap, header};
use hewei_engine::IceUpdate;
use hewei_model::{PeerId, RoomId};

use super::{problems, shared::Shared};
use crate::problem::Problem;

/// A restart takes a millisecond; a shard that needs this long will not answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// A request to a session's address.
#[derive(Debug)]
pub(super) enum Ask {
    /// `GET`: whether it is there.
    Look,
    /// `PATCH`: candidates, or a restart of ICE.
    Ice {
        /// Of which ICE session.
        wanted: IfMatch,
        /// `application/trickle-ice-sdpfrag`.
        fragment: String,
    },
    /// `DELETE`.
    End,
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Said {
    Done,
    /// ICE begins anew.
    Restarted {
        /// Our side of it.
        fragment: String,
        /// Its entity-tag.
        tag: String,
    },
}

/// The entity-tag of an ICE session: strong, and never the same for two (RFC 9725 §4.3.1). `restarts` counts those of
/// the media session.
pub(super) fn tag(peer: PeerId, restarts: u32) -> String {
    format!("\"{peer}-{restarts}\"")
}

/// The condition of a `PATCH` (RFC 9110 §13.1.1).
#[derive(Debug, PartialEq, Eq)]
pub(super) enum IfMatch {
    /// `*`: whatever there is now.
    Any,
    /// One of these, as they came.
    Tags(Vec<String>),
}

impl IfMatch {
    /// The condition of a request; without one it is refused (RFC 6585 §3).
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let values = headers.get_all(header::IF_MATCH).iter().filter_map(|value| value.to_str().ok());
        let tags: Vec<String> = values
            .flat_map(|value| value.split(','))
            .map(|tag| tag.trim().to_owned())
            .filter(|tag| !tag.is_empty())
            .collect();
        match &tags[..] {
            [] => Err(problems::if_match_expected()),
            // The figure of RFC 9725 §4.3.3 has it in quotes, and clients do what figures show.
            tags if tags.iter().any(|tag| tag == "*" || tag == "\"*\"") => Ok(IfMatch::Any),
            _ => Ok(IfMatch::Tags(tags)),
        }
    }

    /// Strong comparison: a weak tag is no tag of ours.
    fn holds(&self, tag: &str) -> bool {
        match self {
            IfMatch::Any => true,
            IfMatch::Tags(tags) => tags.iter().any(|known| known == tag),
        }
    }
}

/// Has the engine take the fragment in, if it is of the ICE session that it is meant for. Seat, tracks and keys stay.
pub(super) async fn ice(
    shared: &Shared,
    room: RoomId,
    peer: PeerId,
    restarts: &mut u32,
    wanted: &IfMatch,
    fragment: &str,
) -> Result<Said, Problem> {
    if !wanted.holds(&tag(peer, *restarts)) {
        return Err(problems::other_ice_session());
    }
    match tokio::time::timeout(ANSWER_MAX, shared.engine.ice(room, peer, fragment)).await {
        Ok(Ok(IceUpdate::Candidates)) => Ok(Said::Done),
        Ok(Ok(IceUpdate::Restarted(fragment))) => {
            *restarts += 1;
            tracing::info!(%peer, "ICE restarted");
            Ok(Said::Restarted { fragment, tag: tag(peer, *restarts) })
        }
        Ok(Err(error)) => Err(problems::fragment(&error)),
        Err(_) => Err(problems::busy("The media engine does not answer")),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn of(values: &[&'static str]) -> Option<IfMatch> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::IF_MATCH, HeaderValue::from_static(value));
        }
        IfMatch::of(&headers).ok()
    }

    #[test]
    fn a_condition_is_one_of_the_tags_or_a_star() {
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[""]), None);
        for star in [&["*"][..], &["\"*\""], &["\"a\", *"], &["\"a\"", " * "]] {
            assert_eq!(of(star), Some(IfMatch::Any), "{star:?}");
        }
        let peer = PeerId::from_u128(7);
        let now = tag(peer, 1);
        let tags = |tags: &[&str]| IfMatch::Tags(tags.iter().map(|tag| (*tag).to_owned()).collect());
        assert!(tags(&[&now]).holds(&now));
        assert!(tags(&["\"a\"", &now]).holds(&now));
        for other in [&tag(peer, 0), &format!("W/{now}"), now.trim_matches('"'), "\"\""] {
            assert!(!tags(&[other]).holds(&now), "{other}");
        }
        assert_eq!(of(&["\"a\",\"b\"", "\"c\""]), Some(tags(&["\"a\"", "\"b\"", "\"c\""])));
    }
}
