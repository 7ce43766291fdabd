//! `Range` (RFC 9110, section 14): one range of bytes. More at once are answered with the whole, as the RFC
//! allows.

use axum::http::{HeaderMap, header};

/// What of a file is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// All of it.
    Whole,
    /// From `first` to `last`, both included.
    Part {
        /// First byte.
        first: u64,
        /// Last byte.
        last: u64,
    },
    /// Nothing that there is.
    Unsatisfiable,
}

impl Range {
    /// What the headers ask for of a file of `length` bytes.
    pub fn of(headers: &HeaderMap, length: u64, etag: &str) -> Range {
        // The client has part of another version: it needs all of this one.
        if headers.get(header::IF_RANGE).is_some_and(|value| value.as_bytes() != etag.as_bytes()) {
            return Range::Whole;
        }
        let range = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
        range.and_then(|text| parse(text, length)).unwrap_or(Range::Whole)
    }
}

fn parse(text: &str, length: u64) -> Option<Range> {
    let (first, last) = text.strip_prefix("bytes=")?.trim().split_once('-')?;
    let number = |text: &str| match text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => text.parse::<u64>().ok(),
        false => None,
    };
    if first.is_empty() {
        // The last so many bytes.
        let count = number(last)?.min(length);
        return Some(match count {
            0 => Range::Unsatisfiable,
            count => Range::Part { first: length - count, last: length - 1 },
        });
    }
    let first = number(first)?;
    let last = if last.is_empty() { u64::MAX } else { number(last)? };
    if last < first {
        return None;
    }
    Some(match first < length {
        true => Range::Part { first, last: last.min(length - 1) },
        false => Range::Unsatisfiable,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let part = |first, last| Some(Range::Part { first, last });
        assert_eq!(parse("bytes=0-0", 10), part(0, 0));
        assert_eq!(parse("bytes=2-", 10), part(2, 9));
        assert_eq!(parse("bytes=2-99", 10), part(2, 9));
        assert_eq!(parse("bytes=-3", 10), part(7, 9));
        assert_eq!(parse("bytes=-30", 10), part(0, 9));
        for none in ["bytes=10-", "bytes=-0", "bytes=99-100"] {
            assert_eq!(parse(none, 10), Some(Range::Unsatisfiable), "{none}");
        }
        assert_eq!(parse("bytes=0-", 0), Some(Range::Unsatisfiable));
        assert_eq!(parse("bytes=-1", 0), Some(Range::Unsatisfiable));
        for ignored in
            ["", "bytes=", "bytes=-", "bytes=3-2", "bytes=0-1,3-4", "lines=1-2", "bytes=+1-2", "bytes=a-"]
        {
            assert_eq!(parse(ignored, 10), None, "{ignored}");
        }
    }
}
