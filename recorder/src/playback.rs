//! What goes with a finished track so that it plays: its index, its cues, its play lists.

use hewei_evidence::journal::FileRun;
use hewei_model::{Codec, ParticipantId, SessionId, TrackId};

use crate::{mp4, sample::Written, webm};

/// References an index box can hold.
const INDEX_PARTS_MAX: usize = 65_535;

/// One epoch's folder.
#[derive(Debug)]
pub(crate) struct EpochFolder {
    pub(crate) path: String,
    /// Finished segment files, with their length in ticks and in bytes.
    pub(crate) segments: Vec<(String, u64, u64)>,
}

/// Where an epoch of a track is in a package.
pub(crate) fn epoch_path(
    session: SessionId,
    participant: ParticipantId,
    track: TrackId,
    epoch: u32,
) -> String {
    format!("data/sessions/{session}/joint/{participant}/{track}-e{epoch}")
}

/// The name of an epoch's segment file with this number.
pub(crate) fn segment_name(number: usize, codec: Codec) -> String {
    let ending = match container(codec) {
        "mp4" => "m4s",
        other => other,
    };
    format!("{number:06}.{ending}")
}

/// These files, with those that have consecutive numbers taken together.
pub(crate) fn runs(paths: &[String]) -> Vec<FileRun> {
    let mut runs: Vec<FileRun> = Vec::new();
    // The path that would come next in the last run.
    let mut next = None;
    for path in paths {
        match runs.last_mut() {
            Some(run) if next.as_ref() == Some(path) => run.count += 1,
            _ => runs.push(FileRun { first: path.clone(), count: 1 }),
        }
        next = FileRun { first: path.clone(), count: 2 }.paths().nth(1);
    }
    runs
}

/// The ending of an init segment.
pub(crate) fn container(codec: Codec) -> &'static str {
    if codec == Codec::Vp8 { "webm" } else { "mp4" }
}

/// The index of a finished MP4 track: a part a fragment, or as many fragments a part as keep it within bounds.
pub(crate) fn parts(written: &[Written], end: u64) -> Vec<mp4::Part> {
    let each = written.len().div_ceil(INDEX_PARTS_MAX).max(1);
    let starts: Vec<&[Written]> = written.chunks(each).collect();
    (0..starts.len())
        .filter_map(|at| {
            let chunk = starts[at];
            let first = chunk.first()?;
            let end = starts.get(at + 1).and_then(|next| next.first()).map_or(end, |next| next.start);
            Some(mp4::Part {
                bytes: u32::try_from(chunk.iter().map(|written| written.bytes).sum::<u64>())
                    .unwrap_or(u32::MAX),
                duration: u32::try_from(end.saturating_sub(first.start)).unwrap_or(u32::MAX),
                sync: first.sync,
            })
        })
        .collect()
}

/// Where the clusters of a finished WebM track are that begin with a keyframe.
pub(crate) fn cues(written: &[Written]) -> Vec<webm::Cue> {
    let mut offset = 0;
    let mut cues = Vec::new();
    for written in written {
        if written.sync {
            cues.push(webm::Cue { at: written.start, offset });
        }
        offset += written.bytes;
    }
    cues
}

pub(crate) fn play_list(epoch: &EpochFolder, codec: Codec) -> String {
    let rate = f64::from(codec.clock_rate_hz());
    let seconds: Vec<f64> = epoch.segments.iter().map(|(_, ticks, _)| *ticks as f64 / rate).collect();
    let target = seconds.iter().fold(1.0, |most: f64, seconds| most.max(seconds.ceil()));
    let mut text = format!(
        "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:{target}\n#EXT-X-PLAYLIST-TYPE:VOD\n\
         #EXT-X-MAP:URI=\"init.{}\"\n",
        container(codec)
    );
    for ((file, ..), seconds) in epoch.segments.iter().zip(seconds) {
        let name = file.rsplit('/').next().unwrap_or(file);
        text.push_str(&format!("#EXTINF:{seconds:.3},\n{name}\n"));
    }
    text.push_str("#EXT-X-ENDLIST\n");
    text
}
