//! ICE without an offer: the fragments of SDP that WHIP and WHEP send by `PATCH` (RFC 8840 §9, RFC 9725 §4.3).
//!
//! ```text
//! a=ice-options:trickle ice2
//! a=group:BUNDLE 0 1
//! m=audio 9 UDP/TLS/RTP/SAVPF 111
//! a=mid:0
//! a=ice-ufrag:EsAw
//! a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1
//! a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host
//! a=end-of-candidates
//! ```

use std::fmt::Write as _;

use hewei_model::MediaKind;

use crate::{
    ice::Credentials,
    path::Candidate,
    sdp::{ICE_LITE, ICE_OPTIONS, SdpError, credentials, write_candidates},
};

/// The longest fragment taken in, in bytes.
pub const FRAGMENT_LEN_MAX: usize = 16 * 1024;
/// The most candidates of one fragment: a machine with a dozen addresses has some forty.
pub const CANDIDATES_MAX: usize = 128;

/// A fragment that a peer sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    /// The session that it is about: the one in use, or one that begins with it.
    pub ice: Credentials,
    /// How many candidates it names. What they are is of no use to a lite agent, which learns addresses from checks.
    pub candidates: usize,
}

impl Fragment {
    /// Reads a fragment. Candidates of a transport that is not ours, or with a name for an address, are candidates all
    /// the same (RFC 9725 §4.3.2).
    ///
    /// # Errors
    /// See [`SdpError`].
    pub fn parse(text: &str) -> Result<Fragment, SdpError> {
        if text.len() > FRAGMENT_LEN_MAX {
            return Err(SdpError::TooLarge);
        }
        let (mut ufrag, mut pwd, mut candidates) = (None, None, 0);
        for line in text.lines().filter(|line| !line.is_empty()) {
            let (kind, value) = line.split_once('=').ok_or_else(|| syntax(line))?;
            match kind {
                "a" => {}
                // The pseudo m-line (RFC 8840 §9.2), and what a whole description has besides.
                "m" | "c" | "v" | "o" | "s" | "t" | "b" => continue,
                _ => return Err(syntax(line)),
            }
            let (name, value) = value.split_once(':').unwrap_or((value, ""));
            match name {
                // The m-lines of a bundle have the same.
                "ice-ufrag" if ufrag.is_none_or(|known| known == value) => ufrag = Some(value),
                "ice-pwd" if pwd.is_none_or(|known| known == value) => pwd = Some(value),
                "ice-ufrag" | "ice-pwd" => return Err(syntax(line)),
                "candidate" => {
                    if !is_candidate(value) {
                        return Err(syntax(line));
                    }
                    candidates += 1;
                }
                _ => {}
            }
        }
        if candidates > CANDIDATES_MAX {
            return Err(SdpError::TooLarge);
        }
        Ok(Fragment { ice: credentials(ufrag, pwd)?, candidates })
    }
}

/// A line that cannot be read, as far as it is fit to be repeated.
fn syntax(line: &str) -> SdpError {
    let name: String = line.chars().take_while(|letter| !letter.is_whitespace() && *letter != ':').collect();
    SdpError::Syntax(format!("the line {}", name.chars().take(40).collect::<String>().escape_debug()))
}

/// Foundation, component, transport, priority, address, port, `typ` and a type (RFC 8839 §5.1).
fn is_candidate(value: &str) -> bool {
    let mut words = value.split(' ');
    let mut next = || words.next().filter(|word| !word.is_empty());
    let foundation = next().is_some_and(|word| word.len() <= 32);
    let component = next().is_some_and(|word| word.parse::<u16>().is_ok_and(|id| (1..=256).contains(&id)));
    let transport = next().is_some();
    let priority = next().is_some_and(|word| word.parse::<u32>().is_ok());
    let address = next().is_some_and(|word| word.len() <= 255);
    let port = next().is_some_and(|word| word.parse::<u16>().is_ok());
    foundation
        && component
        && transport
        && priority
        && address
        && port
        && next() == Some("typ")
        && next().is_some()
}

/// What the peer has to know of our side of a session, at the m-line that stands for the bundle.
pub(crate) fn write((kind, mid): (MediaKind, &str), ice: &Credentials, candidates: &[Candidate]) -> String {
    let media = match kind {
        MediaKind::Audio => "audio",
        MediaKind::Video => "video",
    };
    let mut out =
        format!("{ICE_LITE}\r\n{ICE_OPTIONS}\r\nm={media} 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:{mid}\r\n");
    // Writing to a string does not fail.
    let _ = write!(out, "a=ice-ufrag:{}\r\na=ice-pwd:{}\r\n", ice.ufrag, ice.pwd);
    write_candidates(&mut out, candidates);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Figure 3 of RFC 9725.
    const TRICKLE: &str = "a=group:BUNDLE 0 1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=ice-ufrag:EsAw\r\n\
        a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n\
        a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0 ufrag EsAw network-id 1\r\n\
        a=candidate:473322822 1 tcp 1518280447 192.0.2.1 9 typ host tcptype active generation 0 ufrag EsAw network-id 1\r\n\
        a=end-of-candidates\r\n";

    #[test]
    fn the_example_of_the_standard_is_read() {
        let fragment = Fragment::parse(TRICKLE).expect("is one");
        assert_eq!((fragment.ice.ufrag.as_str(), fragment.candidates), ("EsAw", 2));
        assert_eq!(fragment.ice.pwd, "P2uYro0UCOQ4zxjKXaWCBui1");
        assert!(!format!("{fragment:?}").contains("P2uY"), "no password in a log");
    }

    #[test]
    fn what_we_write_we_read() {
        let ice = Credentials { ufrag: "ours".into(), pwd: "our-password-of-some-length".into() };
        let text = write((MediaKind::Video, "3"), &ice, &[Candidate::Udp(([192, 0, 2, 1], 8443).into())]);
        assert!(text.starts_with("a=ice-lite\r\na=ice-options:trickle ice2\r\nm=video 9 "), "{text}");
        assert!(
            text.contains("a=mid:3\r\n") && text.ends_with("typ host\r\na=end-of-candidates\r\n"),
            "{text}"
        );
        assert_eq!(Fragment::parse(&text), Ok(Fragment { ice, candidates: 1 }));
    }

    #[test]
    fn names_and_other_transports_are_candidates_and_nonsense_is_none() {
        let with = |line: &str| Fragment::parse(&format!("{TRICKLE}{line}\r\n"));
        for line in [
            "a=candidate:1 1 udp 1 8d4c9a0e.local 9 typ host",
            "a=candidate:1 1 sctp 1 host.example 9 typ host",
            "a=candidate:1 1 UDP 4294967295 2001:db8::1 9 typ relay raddr 0.0.0.0 rport 0",
        ] {
            assert_eq!(with(line).expect(line).candidates, 3, "{line}");
        }
        for line in [
            "a=candidate:",
            "a=candidate:1 1 udp x 192.0.2.1 9 typ host",
            "a=candidate:1 1 udp 1 192.0.2.1 99999 typ host",
            "a=candidate:1 0 udp 1 192.0.2.1 9 typ host",
            "a=candidate:1 1 udp 1 192.0.2.1 9 host",
            "a=ice-ufrag:another",
            "{}",
            "x=1",
        ] {
            assert!(with(line).is_err(), "{line}");
        }
        assert_eq!(Fragment::parse(""), Err(SdpError::Missing("a=ice-ufrag")));
        assert_eq!(Fragment::parse("a=ice-ufrag:x\r\n"), Err(SdpError::Missing("a=ice-pwd")));
    }

    #[test]
    fn it_has_limits() {
        let line = "a=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n";
        assert!(Fragment::parse(&format!("{TRICKLE}{}", line.repeat(CANDIDATES_MAX - 2))).is_ok());
        assert_eq!(
            Fragment::parse(&format!("{TRICKLE}{}", line.repeat(CANDIDATES_MAX - 1))),
            Err(SdpError::TooLarge)
        );
        assert_eq!(
            Fragment::parse(&format!("{TRICKLE}a=x:{}", "y".repeat(FRAGMENT_LEN_MAX))),
            Err(SdpError::TooLarge)
        );
        assert_eq!(
            Fragment::parse(&format!("a=ice-ufrag:x\r\na=ice-pwd:{}", "y".repeat(257))),
            Err(SdpError::TooLarge)
        );
    }

    proptest! {
        #[test]
        fn anything_is_read_or_refused(lines in proptest::collection::vec("[amx]=[a-z]{0,12}:?[ -~€]{0,40}", 0..12)) {
            let _ = Fragment::parse(&lines.join("\r\n"));
            let _ = Fragment::parse(&format!("{TRICKLE}{}", lines.join("\n")));
        }
    }
}
