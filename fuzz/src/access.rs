//! The server's edge: messages, tokens, settings and ranges.

use std::{collections::BTreeMap, sync::Arc};

use axum::http::{HeaderMap, HeaderValue, header};
use hewei::{auth::Tokens, config::Config, rest::recordings::range::Range};
use hewei_api::ws::ClientMessage;
use time::OffsetDateTime;

/// A WebSocket message: what is understood says the same when written again.
pub fn api_message(data: &[u8]) {
    let Ok(message) = serde_json::from_slice::<ClientMessage>(data) else { return };
    let written = serde_json::to_string(&message).expect("a message is plain JSON");
    let again: ClientMessage = serde_json::from_str(&written).expect("what was written can be read");
    assert_eq!(written, serde_json::to_string(&again).expect("a message is plain JSON"));
}

/// A token or ticket: none is good that was not signed.
pub fn token(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let tokens = Tokens::new(&[7; 32], Arc::default());
    assert!(tokens.verify(text, OffsetDateTime::UNIX_EPOCH).is_err());
    assert!(tokens.verify_ticket(text, OffsetDateTime::UNIX_EPOCH).is_err());
}

/// A file of settings: an error is one line.
pub fn settings(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Err(error) = Config::read(text, BTreeMap::new()) {
        assert!(!error.to_string().contains('\n'), "{error}");
    }
}

/// A `Range` header for a file of some length: what is given lies within the file.
pub fn range(data: &[u8]) {
    let Some((length, text)) = data.split_first_chunk::<8>() else { return };
    let length = u64::from_be_bytes(*length);
    let Ok(value) = HeaderValue::from_bytes(text) else { return };
    let headers = HeaderMap::from_iter([(header::RANGE, value)]);
    if let Range::Part { first, last } = Range::of(&headers, length, "\"e\"") {
        assert!(first <= last && last < length);
    }
}
