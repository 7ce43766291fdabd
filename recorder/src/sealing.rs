//! The end of a package, whether its recording was closed or interrupted: what goes with its tracks, the last line, the
//! last head, the manifests.

use std::{collections::BTreeMap, thread, time::Duration};

use hewei_evidence::{
    bag,
    hash::{FileHashes, Hash},
    journal::{Event, TrackSummary},
};
use hewei_model::{MediaKind, MonoNs};

use crate::{
    RecorderError,
    files::Folder,
    mp4,
    playback::{EpochFolder, container, cues, parts, play_list, runs},
    recording::{RecordingMeta, Sealed, TrackMeta},
    sample::Written,
    track::Epoch,
    webm,
    writer::Writer,
};

/// How often something is tried that the disk refuses. Between the tries are 0.1, 0.2, 0.4 and 0.8 seconds.
const TRIES: u32 = 5;
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// A track that has ended.
#[derive(Debug)]
pub(crate) struct FinishedTrack {
    pub(crate) meta: TrackMeta,
    /// What its first epoch needs.
    pub(crate) first_epoch: Epoch,
    pub(crate) epochs: Vec<EpochFolder>,
    pub(crate) written: Vec<Written>,
    /// Where it ends, in ticks.
    pub(crate) end: u64,
    /// When its timeline's zero was, in milliseconds after the recording's start.
    pub(crate) starts_ms: u64,
}

/// A recording that has ended.
#[derive(Debug)]
pub(crate) struct Ending<'a> {
    pub(crate) meta: &'a RecordingMeta,
    pub(crate) tracks: Vec<FinishedTrack>,
    /// The text of the document that lists the consents.
    pub(crate) consents: &'a str,
    pub(crate) duration: Duration,
}

/// Seals the package. All media has its lines by now, in the journal or waiting. What the disk refuses is tried again
/// for a moment; what is there already, and journalled, is taken as it is.
pub(crate) fn seal(mut writer: Writer, ending: &Ending<'_>, now: MonoNs) -> Result<Sealed, RecorderError> {
    let mut summaries = Vec::new();
    for track in &ending.tracks {
        summaries.extend(finish_track(&mut writer, track, now)?);
    }
    summaries.sort_by_key(|summary| summary.starts_ms);
    if !ending.consents.is_empty() {
        file(&mut writer, "data/docs/consent.jsonl", ending.consents.as_bytes(), now)?;
    }
    let meta = ending.meta;
    let day = writer.utc(now).date().to_string();
    let info = bag::bag_info(meta.recording, &meta.case_number, &meta.case_title, &day);
    let mut tag_files = BTreeMap::new();
    for (name, text) in [bag::BAGIT, bag::VERIFY_MD, bag::VERIFY_SH, (bag::BAG_INFO, info.as_str())] {
        let hashes = patiently(|| writer.folder.write(name, text.as_bytes()))?;
        tag_files.insert(name.to_owned(), hashes.sha256);
    }
    for summary in &summaries {
        writer.note(Event::Track(summary.clone()), now);
    }
    patiently(|| writer.append_lines(now))?;
    let close = Event::Close {
        duration_ms: ending.duration.as_millis() as u64,
        heads: writer.heads().count,
        tracks: summaries.len() as u64,
        tag_files,
    };
    writer.note(close, now);
    patiently(|| writer.settle(now))?;
    finish(writer, summaries, ending.duration)
}

/// What comes after the close line and its head.
pub(crate) fn finish(
    writer: Writer,
    tracks: Vec<TrackSummary>,
    duration: Duration,
) -> Result<Sealed, RecorderError> {
    let head_hash = writer.heads().last.map(|hash| hash.to_string()).unwrap_or_default();
    let mut folder = writer.into_folder();
    folder.remove_empty_folders()?;
    write_manifests(&mut folder)?;
    Ok(Sealed { package: folder.root().to_owned(), head_hash, tracks, duration })
}

fn write_manifests(folder: &mut Folder) -> Result<(), RecorderError> {
    for (name, hash) in [
        (bag::MANIFEST_SHA256, (|hashes| hashes.sha256) as fn(&FileHashes) -> Hash),
        (bag::MANIFEST_SM3, |hashes| hashes.sm3),
    ] {
        let payload = folder
            .finished()
            .iter()
            .filter(|(path, _)| path.starts_with("data/"))
            .map(|(path, hashes)| (path.clone(), hash(hashes)))
            .collect();
        patiently(|| folder.write(name, bag::manifest(&payload).as_bytes()))?;
    }
    let tags = bag::TAG_FILES
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), folder.finished().get(*name)?.sha256)))
        .collect();
    patiently(|| folder.sync_finished())?;
    patiently(|| folder.write(bag::TAG_MANIFEST, bag::manifest(&tags).as_bytes()))?;
    patiently(|| folder.sync_finished())
}

/// Writes the play lists and the head that goes before a finished track's segments. `None`: it has no media.
fn finish_track(
    writer: &mut Writer,
    track: &FinishedTrack,
    now: MonoNs,
) -> Result<Option<TrackSummary>, RecorderError> {
    let Some(first) = track.epochs.first().filter(|_| !track.written.is_empty()) else { return Ok(None) };
    let meta = &track.meta;
    let codec = meta.codec;
    let rate = u64::from(codec.clock_rate_hz());
    let play = match &track.first_epoch {
        Epoch::Mp4(format) => mp4::play(format, track.end, &parts(&track.written, track.end))?,
        Epoch::WebM { width, height } => webm::play(*width, *height, track.end, &cues(&track.written)),
    };
    let play_path = format!("{}/play.{}", first.path, container(codec));
    let play_bytes = file(writer, &play_path, &play, now)?.bytes;
    for epoch in track.epochs.iter().filter(|epoch| !epoch.segments.is_empty()) {
        let list = play_list(epoch, codec);
        file(writer, &format!("{}/index.m3u8", epoch.path), list.as_bytes(), now)?;
    }
    let segments = || track.epochs.iter().flat_map(|epoch| &epoch.segments);
    let mut files = runs(&[play_path]);
    files.extend(runs(&segments().map(|(path, ..)| path.clone()).collect::<Vec<_>>()));
    Ok(Some(TrackSummary {
        track: meta.track,
        participant: meta.participant,
        name: meta.name.clone(),
        role: meta.role,
        kind: meta.kind,
        codec,
        content_type: match (meta.kind, container(codec)) {
            (_, "webm") => "video/webm",
            (MediaKind::Audio, _) => "audio/mp4",
            (MediaKind::Video, _) => "video/mp4",
        }
        .into(),
        starts_ms: track.starts_ms,
        duration_ms: track.end * 1_000 / rate,
        bytes: play_bytes + segments().map(|(_, _, bytes)| bytes).sum::<u64>(),
        files,
    }))
}

/// Writes a whole file and journals it, if that has not been done.
fn file(writer: &mut Writer, path: &str, bytes: &[u8], now: MonoNs) -> Result<FileHashes, RecorderError> {
    match writer.folder.finished().get(path) {
        Some(hashes) => Ok(*hashes),
        None => patiently(|| writer.file(path, bytes, now)),
    }
}

/// Tries again what the disk refuses, which may be of the moment.
fn patiently<T>(mut attempt: impl FnMut() -> Result<T, RecorderError>) -> Result<T, RecorderError> {
    let mut wait = FIRST_WAIT;
    for _ in 1..TRIES {
        match attempt() {
            Err(error @ RecorderError::File { .. }) => tracing::warn!(%error, "tried again soon"),
            other => return other,
        }
        thread::sleep(wait);
        wait *= 2;
    }
    attempt()
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn what_the_disk_refuses_for_a_moment_is_tried_again() {
        let refused = || RecorderError::File { path: "x".into(), source: io::ErrorKind::StorageFull.into() };
        let mut tries = 0;
        let done = patiently(|| {
            tries += 1;
            if tries < 3 { Err(refused()) } else { Ok(tries) }
        });
        assert_eq!(done.ok(), Some(3));
        let mut tries = 0;
        let failed = patiently(|| -> Result<(), _> {
            tries += 1;
            Err(refused())
        });
        assert!(matches!(failed, Err(RecorderError::File { .. })));
        assert_eq!(tries, TRIES, "but not for ever");
        let mut tries = 0;
        let failed = patiently(|| -> Result<(), _> {
            tries += 1;
            Err(RecorderError::Full)
        });
        assert_eq!((failed.is_err(), tries), (true, 1), "nor what time does not mend");
    }
}
