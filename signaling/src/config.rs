//! Settings: the defaults, the file and the environment, in rising order of weight.
//!
//! Each setting is read by one line in [`Config::read`], from the file (`[media] port`) or from the environment
//! (`HEWEI_MEDIA_PORT`). What nobody reads is an unknown setting, and an error.

mod reader;
#[cfg(test)]
mod reference;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use hewei_model::Codec;

use crate::addresses::Network;
use reader::Reader;

/// A setting that cannot be used: one line that names it and says what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

/// All settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// HTTP and WebSocket.
    pub http: Http,
    /// WebRTC.
    pub media: Media,
    /// TURN.
    pub turn: Turn,
    /// What is kept.
    pub storage: Storage,
    /// Recording of sessions.
    pub recording: Recording,
    /// Village cameras.
    pub cameras: Cameras,
    /// The log.
    pub log: Log,
}

/// HTTP and WebSocket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http {
    /// Where to listen: plain HTTP on loopback addresses, HTTPS on all others.
    pub listen: Vec<SocketAddr>,
    /// PEM chain for HTTPS; `None`: a certificate of one's own is made.
    pub certificate: Option<PathBuf>,
    /// PEM key for it.
    pub key: Option<PathBuf>,
    /// Networks that may read `/metrics`.
    pub metrics_from: Vec<Network>,
}

/// WebRTC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Media {
    /// The one UDP port; 0 for any free one.
    pub port: u16,
    /// Whether media is taken over TCP too, at the same port number.
    pub tcp: bool,
    /// Address to bind.
    pub bind: IpAddr,
    /// Addresses told to browsers; empty: those of this machine.
    pub addresses: Vec<IpAddr>,
    /// Threads that move media; 0 for one a core.
    pub shards: usize,
    /// Video codecs accepted from publishers, the preferred one first.
    pub video_codecs: Vec<Codec>,
}

/// TURN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// Whether browsers behind firewalls are relayed, beside HTTPS.
    pub enabled: bool,
    /// Whether over UDP too, at the number of HTTPS where media is at another one.
    pub udp: bool,
}

/// What is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    /// Database, keys and recordings.
    pub folder: PathBuf,
}

/// Recording of sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    /// Whether sessions are recorded, of those who consent.
    pub enabled: bool,
    /// Where packages go; `None`: `recordings` in the storage folder.
    pub folder: Option<PathBuf>,
    /// No recording starts with less free space than this, in units of 10^6 bytes, and one under way ends at half.
    pub reserve_mb: u64,
}

impl Recording {
    /// No recording starts with less free space than this.
    pub fn reserve_bytes(&self) -> u64 {
        self.reserve_mb * 1_000_000
    }
}

/// Village cameras.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cameras {
    /// New connections a second, over all cameras.
    pub connects_per_second: u32,
    /// How long a pull goes on when nobody looks any more.
    pub linger: Duration,
}

/// The log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Which messages: a level, or directives such as `info,hewei_cameras=debug`.
    pub filter: String,
    /// Shape of a line.
    pub format: LogFormat,
}

/// Shape of a line of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs: one JSON object a line.
    Json,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            http: Http {
                listen: vec![
                    SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
                    SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8443)),
                ],
                certificate: None,
                key: None,
                metrics_from: Network::LOOPBACK.to_vec(),
            },
            media: Media {
                port: 8443,
                tcp: true,
                bind: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                addresses: Vec::new(),
                shards: 0,
                video_codecs: vec![Codec::H264, Codec::Vp8],
            },
            turn: Turn { enabled: true, udp: true },
            storage: Storage { folder: "data".into() },
            recording: Recording { enabled: true, folder: None, reserve_mb: 500 },
            cameras: Cameras { connects_per_second: 20, linger: Duration::from_secs(10) },
            log: Log { filter: "info".into(), format: LogFormat::Text },
        }
    }
}

impl Config {
    /// Reads `file`, if there is one, and lays the process's environment over it.
    pub fn load(file: Option<&Path>) -> Result<Config, ConfigError> {
        let text = match file {
            Some(file) => std::fs::read_to_string(file)
                .map_err(|error| ConfigError(format!("cannot read {}: {error}", file.display())))?,
            None => String::new(),
        };
        // A variable that is not UTF-8 cannot be one of ours that is right.
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| {
                Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
            })
            .filter(|(name, _)| name.starts_with("HEWEI_"))
            .collect();
        Config::read(&text, environment).map_err(|ConfigError(line)| match file {
            // The environment's errors name their variable, which is in no file.
            Some(file) if !line.starts_with("HEWEI_") => ConfigError(format!("{}: {line}", file.display())),
            _ => ConfigError(line),
        })
    }

    /// Reads the text of a file and lays an environment over it.
    pub fn read(text: &str, environment: BTreeMap<String, String>) -> Result<Config, ConfigError> {
        let mut settings = Reader::new(text, environment)?;
        let default = Config::default();
        let path = |text: &str| (!text.is_empty()).then(|| PathBuf::from(text));
        let optional_path = |text: &str| Some(path(text));

        let config = Config {
            http: Http {
                listen: settings.list(
                    "http",
                    "listen",
                    default.http.listen,
                    "a list of addresses with ports, such as [\"127.0.0.1:8080\", \"0.0.0.0:8443\"]",
                    |text| text.parse().ok(),
                )?,
                certificate: settings.text("http", "certificate", None, "a file, or empty", optional_path)?,
                key: settings.text("http", "key", None, "a file, or empty", optional_path)?,
                metrics_from: settings.list(
                    "http",
                    "metrics_from",
                    default.http.metrics_from,
                    "a list of networks such as [\"127.0.0.0/8\", \"10.1.2.3\"], or empty",
                    |text| text.parse().ok(),
                )?,
            },
            media: Media {
                port: settings.number("media", "port", default.media.port, 0, u16::MAX)?,
                tcp: settings.boolean("media", "tcp", default.media.tcp)?,
                bind: settings
                    .text("media", "bind", default.media.bind, "an IP address", |text| text.parse().ok())?,
                addresses: settings.list(
                    "media",
                    "addresses",
                    default.media.addresses,
                    "a list of IP addresses, or empty",
                    |text| text.parse().ok(),
                )?,
                shards: settings.number("media", "shards", default.media.shards, 0, 256)?,
                video_codecs: settings.list(
                    "media",
                    "video_codecs",
                    default.media.video_codecs,
                    "a list of \"H264\" and \"VP8\"",
                    |text| [Codec::H264, Codec::Vp8].into_iter().find(|codec| codec.rtpmap_name() == text),
                )?,
            },
            turn: Turn {
                enabled: settings.boolean("turn", "enabled", default.turn.enabled)?,
                udp: settings.boolean("turn", "udp", default.turn.udp)?,
            },
            storage: Storage {
                folder: settings.text("storage", "folder", default.storage.folder, "a folder", path)?,
            },
            recording: Recording {
                enabled: settings.boolean("recording", "enabled", default.recording.enabled)?,
                folder: settings.text("recording", "folder", None, "a folder, or empty", optional_path)?,
                reserve_mb: settings.number(
                    "recording",
                    "reserve_mb",
                    default.recording.reserve_mb,
                    0,
                    1_000_000,
                )?,
            },
            cameras: Cameras {
                connects_per_second: settings.number(
                    "cameras",
                    "connects_per_second",
                    default.cameras.connects_per_second,
                    1,
                    1_000,
                )?,
                linger: Duration::from_secs(settings.number(
                    "cameras",
                    "linger_s",
                    default.cameras.linger.as_secs(),
                    0,
                    3_600,
                )?),
            },
            log: Log {
                filter: settings.text(
                    "log",
                    "filter",
                    default.log.filter,
                    "error, warn, info, debug or trace, or directives such as \"info,hewei_cameras=debug\"",
                    |text| {
                        let good = tracing_subscriber::EnvFilter::builder().parse(text).is_ok();
                        (good && !text.is_empty()).then(|| text.to_owned())
                    },
                )?,
                format: settings.text(
                    "log",
                    "format",
                    default.log.format,
                    "\"text\" or \"json\"",
                    |text| match text {
                        "text" => Some(LogFormat::Text),
                        "json" => Some(LogFormat::Json),
                        _ => None,
                    },
                )?,
            },
        };
        settings.finish()?;
        config.check()?;
        Ok(config)
    }

    /// Where packages go.
    pub fn recordings_folder(&self) -> PathBuf {
        self.recording.folder.clone().unwrap_or_else(|| self.storage.folder.join("recordings"))
    }

    /// What one setting alone cannot say.
    fn check(&self) -> Result<(), ConfigError> {
        let wrong = |line: &str| Err(ConfigError(line.to_owned()));
        if self.http.listen.is_empty() {
            return wrong("http.listen is empty; give at least one address, such as \"127.0.0.1:8080\"");
        }
        if self.http.certificate.is_some() != self.http.key.is_some() {
            return wrong("http.certificate and http.key belong together; give both, or neither");
        }
        if self.media.video_codecs.is_empty() {
            return wrong("media.video_codecs is empty; give \"H264\", \"VP8\" or both");
        }
        let mut seen = Vec::new();
        for codec in &self.media.video_codecs {
            if seen.contains(codec) {
                return wrong("media.video_codecs names a codec twice; name each once");
            }
            seen.push(*codec);
        }
        if self.media.addresses.iter().any(IpAddr::is_unspecified) {
            return wrong("media.addresses holds 0.0.0.0 or ::; browsers need addresses they can reach");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, environment: &[(&str, &str)]) -> Result<Config, String> {
        let environment =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Config::read(text, environment).map_err(|error| error.to_string())
    }

    /// The file that is shipped says all settings, and says the defaults.
    #[test]
    fn the_shipped_file_is_complete_and_equals_the_defaults() {
        let text = include_str!("../../config/hewei.toml");
        assert_eq!(read(text, &[]).as_ref(), Ok(&Config::default()));
        assert_eq!(read("", &[]).as_ref(), Ok(&Config::default()));
        let keys = Reader::new(text, BTreeMap::new()).expect("it parses").keys();
        let expected = [
            "cameras.connects_per_second",
            "cameras.linger_s",
            "http.certificate",
            "http.key",
            "http.listen",
            "http.metrics_from",
            "log.filter",
            "log.format",
            "media.addresses",
            "media.bind",
            "media.port",
            "media.shards",
            "media.tcp",
            "media.video_codecs",
            "recording.enabled",
            "recording.folder",
            "recording.reserve_mb",
            "storage.folder",
            "turn.enabled",
            "turn.udp",
        ];
        assert_eq!(keys, expected);
    }

    #[test]
    fn file_and_environment() {
        let text = "[http]\nlisten = [\"127.0.0.1:0\"]\n[media]\nport = 5\nvideo_codecs = [\"VP8\"]\n";
        let config = read(text, &[("HEWEI_MEDIA_PORT", "7"), ("HEWEI_RECORDING_ENABLED", "false")]);
        let config = config.expect("reads");
        assert_eq!(config.http.listen, [SocketAddr::from(([127, 0, 0, 1], 0))]);
        assert_eq!(config.media.port, 7);
        assert_eq!(config.media.video_codecs, [Codec::Vp8]);
        assert!(!config.recording.enabled);
        let config =
            read("", &[("HEWEI_HTTP_LISTEN", "127.0.0.1:1, [::1]:2"), ("HEWEI_MEDIA_ADDRESSES", "")]);
        assert_eq!(config.expect("reads").http.listen.len(), 2);
    }

    #[test]
    fn a_wrong_setting_is_named_in_one_line_with_what_is_allowed() {
        for (text, environment, line) in [
            (
                "[media]\nport = 70000",
                vec![],
                "media.port is 70000; it must be a whole number from 0 to 65535",
            ),
            (
                "[media]\nport = \"x\"",
                vec![],
                "media.port is \"x\"; it must be a whole number from 0 to 65535",
            ),
            ("[recording]\nenabled = 1", vec![], "recording.enabled is 1; it must be true or false"),
            (
                "[media]\nports = 1",
                vec![],
                "media.ports is no setting; [media] has addresses, bind, port, shards, tcp, video_codecs",
            ),
            (
                "[medai]\nport = 1",
                vec![],
                "[medai] is no section; there are cameras, http, log, media, recording, storage, turn",
            ),
            (
                "port = 1",
                vec![],
                "port stands outside a section; there are cameras, http, log, media, recording, storage, turn",
            ),
            (
                "",
                vec![("HEWEI_MEDIA_PORT", "-1")],
                "HEWEI_MEDIA_PORT is \"-1\"; it must be a whole number from 0 to 65535",
            ),
            (
                "",
                vec![("HEWEI_MEDIA_PROT", "1")],
                "HEWEI_MEDIA_PROT is no setting; [media] has addresses, bind, port, shards, tcp, video_codecs",
            ),
            (
                "",
                vec![("HEWEI_MEDAI_PORT", "1")],
                "HEWEI_MEDAI_PORT is no setting; correct or unset it. Sections are cameras, http, log, media, recording, storage, turn",
            ),
            (
                "[http]\nmetrics_from = [\"10.0.0.0/40\"]",
                vec![],
                "http.metrics_from is [\"10.0.0.0/40\"]; it must be a list of networks such as [\"127.0.0.0/8\", \"10.1.2.3\"], or empty",
            ),
            (
                "[http]\nlisten = []",
                vec![],
                "http.listen is empty; give at least one address, such as \"127.0.0.1:8080\"",
            ),
            (
                "[http]\nkey = \"a\"",
                vec![],
                "http.certificate and http.key belong together; give both, or neither",
            ),
            (
                "[media]\nvideo_codecs = [\"AV1\"]",
                vec![],
                "media.video_codecs is [\"AV1\"]; it must be a list of \"H264\" and \"VP8\"",
            ),
            (
                "[log]\nfilter = \"a=b=c\"",
                vec![],
                "log.filter is \"a=b=c\"; it must be error, warn, info, debug or trace, or directives such as \"info,hewei_cameras=debug\"",
            ),
            ("[storage]\nfolder = \"\"", vec![], "storage.folder is \"\"; it must be a folder"),
        ] {
            assert_eq!(read(text, &environment), Err(line.to_owned()));
        }
        let syntax = read("[media\nport", &[]).expect_err("not TOML");
        assert!(syntax.starts_with("line 1: ") && !syntax.contains('\n'), "{syntax}");
    }
}
