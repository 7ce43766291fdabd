//! Turns tapped packets into sealed case packages.
//!
//! Owns recording: from RTP packets as they came to files on the disk, the journal, the seals and the finished
//! package. Never signals, never decodes, never composes. One [`Recording`] runs on one plain thread, which feeds
//! it what the engine's tap gives and calls [`Recording::tick`] a few times a second; it blocks on the disk there
//! and nowhere near the media path.
//!
//! - [`Identity`]: the key and certificates, made at first start.
//! - [`Recording`]: one session being recorded.
//! - [`recover`]: one that was interrupted is finished and sealed.
//! - [`package`]: a finished package, to verify ([`package::Directory`]) and to play ([`package::track_files`]).

mod files;
mod flac;
mod identity;
mod mp4;
pub mod package;
mod playback;
mod recording;
mod recover;
mod sample;
mod sealing;
mod timeline;
mod track;
mod webm;
mod writer;

use std::{io, path::PathBuf};

pub use hewei_evidence::journal::{Continues, Event, FileRun, GapKind, TrackSummary};
pub use identity::{Identity, IdentityError};
pub use recording::{Recording, RecordingMeta, Sealed, TrackMeta};
pub use recover::{Expected, Interruption, Recovered, recover};

/// Why a recording or a package cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum RecorderError {
    /// A file cannot be written or read.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line cannot be written into the journal.
    #[error(transparent)]
    Line(#[from] hewei_evidence::journal::LineTooLong),
    /// A head cannot be signed.
    #[error("the journal's head cannot be signed: {0}")]
    Seal(#[from] hewei_evidence::seal::SealError),
    /// A finished track's head cannot be made.
    #[error("a finished track's head cannot be made: {0}")]
    Container(#[from] mp4_atom::Error),
    /// A document's name cannot be a file's name.
    #[error("{0:?} cannot be a document's name: use letters, digits, '.', '_' and '-'")]
    Name(String),
    /// The journal cannot be written just now, and as much waits for it as may.
    #[error("the journal cannot be written, and too much waits for it")]
    Full,
    /// The package is still being recorded, was interrupted, or was changed.
    #[error("{package}: the journal has no close line, so it is not a finished package")]
    NotClosed {
        /// The package.
        package: PathBuf,
    },
    /// A recording was interrupted before anything of it was on the disk.
    #[error("{package}: it was interrupted before anything was recorded")]
    Nothing {
        /// The package.
        package: PathBuf,
    },
    /// Another recorder's key signed what is there, so that this one cannot finish it.
    #[error(
        "{package}: it was recorded with another key; put the recorder's keys of that time back and start again"
    )]
    OtherIdentity {
        /// The package.
        package: PathBuf,
    },
    /// What was recorded is not as it was written. It is left as it is.
    #[error("{file}: {problem}. Nothing was repaired; what was recorded lies in its folder")]
    Broken {
        /// The file, relative to the package.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
}
