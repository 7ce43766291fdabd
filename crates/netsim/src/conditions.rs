//! What a line does to packets, and the words for it: `loss=5% delay=150ms rate=1000kbit`.

use std::{num::NonZeroU64, time::Duration};

/// How long a packet waits at most before a slow line, unless said otherwise. Usual for a line in the country, where
/// buffers are larger than they should be.
const QUEUE_DEFAULT: Duration = Duration::from_millis(300);
/// No delay, jitter, queue or outage is longer: what waits is held in memory.
const TIME_MAX: Duration = Duration::from_secs(60);

/// What one direction of a line does to packets. The default is a line that does nothing to them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conditions {
    /// The share that is lost, of 0..=1.
    pub loss: f64,
    /// How many are lost in a row in the mean, from 1. At 1 each packet is lost or not for itself; above, a line is in
    /// a good or in a bad state and loses all in the bad one (Gilbert 1960, with a loss of 1 in the bad state).
    pub burst: f64,
    /// How long each takes at least, beside `jitter`.
    pub delay: Duration,
    /// By how much that varies either way, evenly spread. It never gets below no delay at all.
    pub jitter: Duration,
    /// Whether a packet may overtake another by `jitter`. Lines keep the order, as a rule: one that is late holds up
    /// those behind it, so the mean delay is above `delay` where packets are close to each other.
    pub reorder: bool,
    /// Bits a second, counted from the IP header on; `None` is as many as come.
    pub rate_bps: Option<NonZeroU64>,
    /// How long a packet waits at most for those before it when `rate_bps` is less than comes; one that would wait
    /// longer is dropped.
    pub queue: Duration,
}

/// Words that say no conditions.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Not `name=value`.
    #[error("'{0}' is not name=value")]
    NoValue(String),
    /// No such name.
    #[error(
        "'{0}' is none of loss, burst, delay, jitter, reorder, rate, queue (with down. or up. before it or not)"
    )]
    Name(String),
    /// The value has another form or is out of range.
    #[error("'{word}': give {want}")]
    Value {
        /// What was said.
        word: String,
        /// What is wanted.
        want: &'static str,
    },
    /// No such command, or none at all.
    #[error("'{0}' is none of: conditions [NAME=VALUE]..., outage TIME, address IPV4, report")]
    Command(String),
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            loss: 0.0,
            burst: 1.0,
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            reorder: false,
            rate_bps: None,
            queue: QUEUE_DEFAULT,
        }
    }
}

impl Conditions {
    /// Reads the conditions of both directions, near to far (`down`) and far to near (`up`). What is not said is as by
    /// default; a name stands for both directions unless `down.` or `up.` is before it.
    ///
    /// # Errors
    /// A word that is not understood.
    pub fn parse_both<'a>(words: impl Iterator<Item = &'a str>) -> Result<[Self; 2], ParseError> {
        let [mut down, mut up] = [Self::default(); 2];
        for word in words {
            if let Some(rest) = word.strip_prefix("down.") {
                down.take(rest)?;
            } else if let Some(rest) = word.strip_prefix("up.") {
                up.take(rest)?;
            } else {
                down.take(word)?;
                up.take(word)?;
            }
        }
        Ok([down, up])
    }

    fn take(&mut self, word: &str) -> Result<(), ParseError> {
        let (name, value) = word.split_once('=').ok_or_else(|| ParseError::NoValue(word.to_owned()))?;
        let wrong = |want| ParseError::Value { word: word.to_owned(), want };
        let time = || parse_time(value).ok_or(wrong("whole ms or s up to 60s, as in delay=150ms"));
        match name {
            "loss" => self.loss = parse_share(value).ok_or(wrong("0% to 100%, as in loss=5%"))?,
            "burst" => {
                let burst = value.parse().ok().filter(|burst| (1.0..=1_000.0).contains(burst));
                self.burst = burst.ok_or(wrong("1 to 1000, as in burst=4"))?;
            }
            "delay" => self.delay = time()?,
            "jitter" => self.jitter = time()?,
            "queue" => self.queue = time()?,
            "reorder" => {
                self.reorder = match value {
                    "yes" => true,
                    "no" => false,
                    _ => return Err(wrong("yes or no")),
                }
            }
            "rate" => {
                self.rate_bps = Some(parse_rate(value).ok_or(wrong("kilobits a second, as in rate=300kbit"))?)
            }
            _ => return Err(ParseError::Name(name.to_owned())),
        }
        Ok(())
    }
}

/// `150ms` or `3s`.
pub(crate) fn parse_time(text: &str) -> Option<Duration> {
    let time = if let Some(number) = text.strip_suffix("ms") {
        Duration::from_millis(number.parse().ok()?)
    } else {
        Duration::from_secs(text.strip_suffix('s')?.parse().ok()?)
    };
    (time <= TIME_MAX).then_some(time)
}

fn parse_share(text: &str) -> Option<f64> {
    let percent: f64 = text.strip_suffix('%')?.parse().ok()?;
    (0.0..=100.0).contains(&percent).then_some(percent / 100.0)
}

fn parse_rate(text: &str) -> Option<NonZeroU64> {
    let kilobits: u64 = text.strip_suffix("kbit")?.parse().ok()?;
    NonZeroU64::new(kilobits.checked_mul(1_000)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<[Conditions; 2], ParseError> {
        Conditions::parse_both(line.split_whitespace())
    }

    #[test]
    fn words_are_conditions() {
        let [down, up] = parse("loss=5% burst=4 delay=150ms jitter=30ms reorder=yes rate=1000kbit queue=1s")
            .expect("reads");
        assert_eq!(down, up);
        assert_eq!(down.loss, 0.05);
        assert_eq!(down.burst, 4.0);
        assert_eq!(down.delay, Duration::from_millis(150));
        assert_eq!(down.jitter, Duration::from_millis(30));
        assert!(down.reorder);
        assert_eq!(down.rate_bps, NonZeroU64::new(1_000_000));
        assert_eq!(down.queue, Duration::from_secs(1));
    }

    #[test]
    fn a_direction_has_its_own() {
        let [down, up] = parse("delay=50ms up.delay=300ms down.loss=1%").expect("reads");
        assert_eq!(
            down,
            Conditions { delay: Duration::from_millis(50), loss: 0.01, ..Conditions::default() }
        );
        assert_eq!(up, Conditions { delay: Duration::from_millis(300), ..Conditions::default() });
    }

    #[test]
    fn no_words_are_a_clean_line() {
        assert_eq!(parse(""), Ok([Conditions::default(); 2]));
    }

    #[test]
    fn what_is_not_understood_is_said() {
        for line in [
            "loss",
            "loss=5",
            "loss=101%",
            "loss=-1%",
            "loss=NaN%",
            "burst=0.5",
            "burst=NaN",
            "delay=1",
            "delay=-1ms",
            "delay=61s",
            "rate=0kbit",
            "rate=1mbit",
            "rate=99999999999999999999kbit",
            "reorder=1",
            "up=1",
            "up.up.loss=1%",
            "colour=red",
        ] {
            let error = parse(line).expect_err(line).to_string();
            let word = line.strip_prefix("up.").unwrap_or(line);
            assert!(error.contains(word.split('=').next().unwrap_or(word)), "{line}: {error}");
        }
    }
}
