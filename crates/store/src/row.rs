//! Between columns and nouns.

use std::str::FromStr;

use ring::digest::{SHA256, digest};
use sqlx::{Row, sqlite::SqliteRow};
use time::OffsetDateTime;

use crate::{Error, LIST_LIMIT_MAX, Result};

/// Milliseconds since 1970.
pub(crate) fn to_ms(at: OffsetDateTime) -> i64 {
    (at.unix_timestamp_nanos() / 1_000_000) as i64
}

/// A text column that holds an id or a name of a fixed set.
pub(crate) fn parse<T: FromStr>(row: &SqliteRow, column: &'static str) -> Result<T> {
    let text: String = row.try_get(column)?;
    text.parse().map_err(|_| Error::Corrupt { column, text })
}

/// The same for a column that may be empty.
pub(crate) fn parse_option<T: FromStr>(row: &SqliteRow, column: &'static str) -> Result<Option<T>> {
    let Some(text) = row.try_get::<Option<String>, _>(column)? else { return Ok(None) };
    text.parse().map(Some).map_err(|_| Error::Corrupt { column, text })
}

/// A column of milliseconds since 1970.
pub(crate) fn at(row: &SqliteRow, column: &'static str) -> Result<OffsetDateTime> {
    let ms: i64 = row.try_get(column)?;
    from_ms(ms, column)
}

/// The same for a column that may be empty.
pub(crate) fn at_option(row: &SqliteRow, column: &'static str) -> Result<Option<OffsetDateTime>> {
    row.try_get::<Option<i64>, _>(column)?.map(|ms| from_ms(ms, column)).transpose()
}

fn from_ms(ms: i64, column: &'static str) -> Result<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000)
        .map_err(|_| Error::Corrupt { column, text: ms.to_string() })
}

/// What is kept of a secret.
pub(crate) fn sha256(secret: &str) -> Vec<u8> {
    digest(&SHA256, secret.as_bytes()).as_ref().to_vec()
}

/// How many rows a list gives.
pub(crate) fn limit(asked: u32) -> i64 {
    i64::from(asked.clamp(1, LIST_LIMIT_MAX))
}
