//! Turns tapped packets into sealed case packages.
//!
//! Owns recording: from RTP packets as they came to files on the disk, the journal, the seals and the finished
//! package. Never signals, never decodes, never composes. One [`Recording`] runs on one plain thread, which feeds
//! it what the engine's tap gives and calls [`Recording::tick`] a few times a second; it blocks on the disk there
//! and nowhere near the media path.
//!
//! - [`Identity`]: the key and certificates, made at first start.
//! - [`Recording`]: one session being recorded.
//! - [`package`]: a finished package, to verify ([`package::Directory`]) and to play ([`package::track_files`]).

mod files;
mod flac;
mod identity;
mod mp4;
pub mod package;
mod playback;
mod recording;
mod sample;
mod timeline;
mod track;
mod webm;

use std::{io, path::PathBuf};

pub use hewei_evidence::journal::{Continues, Event, FileRun, GapKind, TrackSummary};
pub use identity::{Identity, IdentityError};
pub use recording::{Recording, RecordingMeta, Sealed, TrackMeta};

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
}
