//! Where a camera is.

use std::{fmt, str::FromStr};

use url::Url;

/// The port of RTSP (RFC 2326, section 3.2).
const DEFAULT_PORT: u16 = 554;

/// An `rtsp://` address with a host and without credentials.
///
/// Some makes put a password into the path or query, so neither `Debug` nor `Display` shows more than
/// host and port.
#[derive(Clone, PartialEq, Eq)]
pub struct Address(Url);

/// Why some text is not a camera's address. Never quotes the text: it may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAddress {
    /// Not a URL at all.
    #[error("this is not an address; write it as rtsp://HOST:PORT/PATH")]
    NotAUrl,
    /// RTSP over TLS.
    #[error("rtsps:// is not supported; use the camera's rtsp:// address")]
    Encrypted,
    /// Some other scheme.
    #[error("a camera's address begins with rtsp://")]
    Scheme,
    /// No host.
    #[error("the address names no host; write it as rtsp://HOST:PORT/PATH")]
    NoHost,
    /// `rtsp://user:password@…`.
    #[error("the address contains a user name or password; give these in their own fields")]
    Credentials,
}

impl Address {
    /// The whole address, path and query included. Not for logs.
    pub fn as_url(&self) -> &Url {
        &self.0
    }

    /// `HOST:PORT`, safe to show.
    pub fn host_and_port(&self) -> String {
        format!("{}:{}", self.0.host_str().unwrap_or_default(), self.0.port().unwrap_or(DEFAULT_PORT))
    }
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        Url::parse(text.trim()).map_err(|_| InvalidAddress::NotAUrl)?.try_into()
    }
}

impl TryFrom<Url> for Address {
    type Error = InvalidAddress;

    fn try_from(url: Url) -> Result<Self, InvalidAddress> {
        match url.scheme() {
            "rtsp" => {}
            "rtsps" => return Err(InvalidAddress::Encrypted),
            _ => return Err(InvalidAddress::Scheme),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(InvalidAddress::Credentials);
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(InvalidAddress::NoHost);
        }
        Ok(Self(url))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rtsp://{}/…", self.host_and_port())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_cameras_use() {
        for text in [
            "rtsp://10.1.2.3/Streaming/Channels/102",
            "rtsp://10.1.2.3:8554/cam/realmonitor?channel=1&subtype=1",
            "rtsp://[fd00::1]:554/cam",
            " rtsp://camera.village.example/cam ",
        ] {
            assert!(text.parse::<Address>().is_ok(), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest_and_says_why() {
        for (text, why) in [
            ("", InvalidAddress::NotAUrl),
            ("10.1.2.3/cam", InvalidAddress::NotAUrl),
            ("rtsps://10.1.2.3/cam", InvalidAddress::Encrypted),
            ("http://10.1.2.3/cam", InvalidAddress::Scheme),
            ("rtsp:///cam", InvalidAddress::NoHost),
            ("rtsp:cam", InvalidAddress::NoHost),
            ("rtsp://admin:hunter2@10.1.2.3/cam", InvalidAddress::Credentials),
            ("rtsp://admin@10.1.2.3/cam", InvalidAddress::Credentials),
        ] {
            assert_eq!(text.parse::<Address>(), Err(why), "{text}");
            assert!(!why.to_string().contains("hunter2"));
        }
    }

    #[test]
    fn shows_only_host_and_port() {
        let address: Address =
            "rtsp://10.1.2.3/user=admin_password=hunter2_channel=1?pw=hunter2".parse().unwrap();
        assert_eq!(format!("{address} {address:?}"), "rtsp://10.1.2.3:554/… rtsp://10.1.2.3:554/…");
    }
}
