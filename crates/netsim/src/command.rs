//! What the emulator is told while it runs, one command a line.

use std::{net::Ipv4Addr, time::Duration};

use crate::conditions::{Conditions, ParseError, parse_time};

/// One line of its input.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Command {
    /// `conditions [NAME=VALUE]...`: what the line does from now on, whole: what is not said is clean.
    Conditions {
        /// From the near to the far side.
        down: Conditions,
        /// From the far to the near side.
        up: Conditions,
    },
    /// `outage TIME`: what is sent meanwhile is lost, in both directions.
    Outage(Duration),
    /// `address IPV4`: the far side's address goes, and it has this one instead.
    Address(Ipv4Addr),
    /// `report`: what became of the packets since the last report.
    Report,
}

impl Command {
    /// Reads a line.
    ///
    /// # Errors
    /// A line that is not understood.
    pub fn parse(line: &str) -> Result<Self, ParseError> {
        let unknown = || ParseError::Command(line.to_owned());
        let mut words = line.split_whitespace();
        let command = match words.next().ok_or_else(unknown)? {
            "conditions" => {
                let [down, up] = Conditions::parse_both(words)?;
                return Ok(Self::Conditions { down, up });
            }
            "outage" => Self::Outage(words.next().and_then(parse_time).ok_or_else(unknown)?),
            "address" => Self::Address(words.next().and_then(|word| word.parse().ok()).ok_or_else(unknown)?),
            "report" => Self::Report,
            _ => return Err(unknown()),
        };
        if words.next().is_some() { Err(unknown()) } else { Ok(command) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_commands() {
        let clean = Conditions::default();
        let lossy = Conditions { loss: 0.2, ..clean };
        assert_eq!(Command::parse("conditions"), Ok(Command::Conditions { down: clean, up: clean }));
        assert_eq!(
            Command::parse("conditions up.loss=20%"),
            Ok(Command::Conditions { down: clean, up: lossy })
        );
        assert_eq!(Command::parse("outage 3s"), Ok(Command::Outage(Duration::from_secs(3))));
        assert_eq!(Command::parse(" address 10.77.0.3 "), Ok(Command::Address(Ipv4Addr::new(10, 77, 0, 3))));
        assert_eq!(Command::parse("report"), Ok(Command::Report));
    }

    #[test]
    fn other_lines_are_refused() {
        for line in [
            "",
            "  ",
            "loss=5%",
            "outage",
            "outage 3",
            "outage 3s 4s",
            "address far",
            "address",
            "report all",
        ] {
            assert_eq!(Command::parse(line), Err(ParseError::Command(line.to_owned())), "{line}");
        }
        assert_eq!(Command::parse("conditions loss"), Err(ParseError::NoValue("loss".to_owned())));
    }
}
