//! WebM (Matroska, RFC 9559) for VP8: one track a file, written as it comes.
//!
//! ```text
//! init.webm    EBML header, Segment of unknown length, Info, Tracks
//! 000000.webm  Cluster, Cluster, …                  about a second each
//! play.webm    the same head with Duration and Cues, to go before the segments in init's place
//! ```
//! An element is its id, its length (a variable-length integer of 1–8 bytes, RFC 8794 §4), its content.

use crate::sample::{Sample, Written};

const EBML: u32 = 0x1a45_dfa3;
const SEGMENT: u32 = 0x1853_8067;
const INFO: u32 = 0x1549_a966;
const TRACKS: u32 = 0x1654_ae6b;
const TRACK_ENTRY: u32 = 0xae;
const VIDEO: u32 = 0xe0;
const CLUSTER: u32 = 0x1f43_b675;
const TIMESTAMP: u32 = 0xe7;
const SIMPLE_BLOCK: u32 = 0xa3;
const CUES: u32 = 0x1c53_bb6b;
const UNKNOWN_LENGTH: [u8; 8] = [0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];

/// How long a picture is shown when nothing says it: a twenty-fifth of a second.
const PICTURE_MS: u64 = 40;

/// Milliseconds of 90 kHz ticks.
fn ms(ticks: u64) -> u64 {
    ticks / 90
}

/// The init segment; with a duration (in 90 kHz ticks) the head of the one that goes before a finished track.
pub(crate) fn init(width: u16, height: u16, duration: Option<u64>) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    let mut header = Vec::new();
    uint(&mut header, 0x4286, 1); // EBMLVersion
    uint(&mut header, 0x42f7, 1); // EBMLReadVersion
    uint(&mut header, 0x42f2, 4); // EBMLMaxIDLength
    uint(&mut header, 0x42f3, 8); // EBMLMaxSizeLength
    element(&mut header, 0x4282, b"webm"); // DocType
    uint(&mut header, 0x4287, 2); // DocTypeVersion
    uint(&mut header, 0x4285, 2); // DocTypeReadVersion
    element(&mut out, EBML, &header);
    id(&mut out, SEGMENT);
    out.extend_from_slice(&UNKNOWN_LENGTH);

    let mut info = Vec::new();
    uint(&mut info, 0x2a_d7b1, 1_000_000); // TimestampScale: ticks of 1 ms
    if let Some(duration) = duration {
        element(&mut info, 0x4489, &(ms(duration) as f64).to_be_bytes()); // Duration
    }
    element(&mut info, 0x4d80, b"Hewei"); // MuxingApp
    element(&mut info, 0x5741, b"Hewei"); // WritingApp
    element(&mut out, INFO, &info);

    let mut video = Vec::new();
    uint(&mut video, 0xb0, width.into()); // PixelWidth
    uint(&mut video, 0xba, height.into()); // PixelHeight
    let mut entry = Vec::new();
    uint(&mut entry, 0xd7, 1); // TrackNumber
    uint(&mut entry, 0x73c5, 1); // TrackUID
    uint(&mut entry, 0x83, 1); // TrackType: video
    uint(&mut entry, 0x9c, 0); // FlagLacing
    element(&mut entry, 0x86, b"V_VP8"); // CodecID
    element(&mut entry, VIDEO, &video);
    let mut tracks = Vec::new();
    element(&mut tracks, TRACK_ENTRY, &entry);
    element(&mut out, TRACKS, &tracks);
    out
}

/// One cluster of frames, each at its own tick.
pub(crate) fn cluster(start: u64, samples: &[Sample]) -> Vec<u8> {
    let begins = ms(start);
    let media: usize = samples.iter().map(|sample| sample.data.len() + 16).sum();
    let mut body = Vec::with_capacity(media + 16);
    uint(&mut body, TIMESTAMP, begins);
    let mut at = start;
    for sample in samples {
        id(&mut body, SIMPLE_BLOCK);
        length(&mut body, sample.data.len() as u64 + 4);
        let relative = i16::try_from(ms(at) - begins).unwrap_or(i16::MAX);
        body.push(0x81); // track 1
        body.extend_from_slice(&relative.to_be_bytes());
        body.push(if sample.sync { 0x80 } else { 0 });
        body.extend_from_slice(&sample.data);
        at += u64::from(sample.duration);
    }
    let mut out = Vec::with_capacity(body.len() + 12);
    element(&mut out, CLUSTER, &body);
    out
}

/// Width and height in an init segment; `None` when it is not one of ours, or not whole.
pub(crate) fn read_init(mut bytes: &[u8]) -> Option<(u16, u16)> {
    let (EBML, _) = next(&mut bytes)? else { return None };
    let mut bytes = bytes.strip_prefix(&segment_start())?;
    let (INFO, _) = next(&mut bytes)? else { return None };
    let (TRACKS, mut tracks) = next(&mut bytes)? else { return None };
    let (TRACK_ENTRY, mut entry) = next(&mut tracks)? else { return None };
    if !bytes.is_empty() {
        return None;
    }
    loop {
        if let (VIDEO, mut video) = next(&mut entry)? {
            let (width, height) = (next(&mut video)?.1, next(&mut video)?.1);
            return Some((u16::try_from(number(width)).ok()?, u16::try_from(number(height)).ok()?));
        }
    }
}

/// The cluster that these bytes begin with; `None` when there is none, or not a whole one. How long its last frame is
/// shown does not stand in it: as long as the others, on average.
pub(crate) fn read_cluster(bytes: &[u8]) -> Option<Written> {
    let mut rest = bytes;
    let (CLUSTER, mut body) = next(&mut rest)? else { return None };
    let (TIMESTAMP, begins) = next(&mut body)? else { return None };
    let mut blocks: Vec<(u64, bool)> = Vec::new();
    while !body.is_empty() {
        let (SIMPLE_BLOCK, [0x81, high, low, flags, ..]) = next(&mut body)? else { return None };
        blocks.push((u64::from(u16::from_be_bytes([*high, *low])), flags & 0x80 != 0));
    }
    let ((first, sync), (last, _)) = (*blocks.first()?, *blocks.last()?);
    let step = last.checked_sub(first)?.checked_div(blocks.len() as u64 - 1).unwrap_or(PICTURE_MS);
    let written = Written {
        start: number(begins).checked_add(first)?.checked_mul(90)?,
        duration: (last - first + step) * 90,
        bytes: (bytes.len() - rest.len()) as u64,
        sync,
    };
    written.bounded()
}

/// The next element: its id and its content.
fn next<'a>(bytes: &mut &'a [u8]) -> Option<(u32, &'a [u8])> {
    let width = bytes.first()?.leading_zeros() as usize + 1;
    let (id, rest) = bytes.split_at_checked(width).filter(|_| width <= 4)?;
    let (length, rest) = rest.split_first_chunk::<8>()?;
    let length = u64::from_be_bytes(*length) ^ 1 << 56;
    let (content, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    *bytes = rest;
    Some((number(id) as u32, content))
}

/// An unsigned integer of at most eight bytes; of a longer one, the end.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Where a cluster that begins with a keyframe is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cue {
    /// When it begins, in 90 kHz ticks.
    pub(crate) at: u64,
    /// How many bytes of segments are before it.
    pub(crate) offset: u64,
}

/// What goes before the segments of a finished track.
pub(crate) fn play(width: u16, height: u16, duration: u64, cues: &[Cue]) -> Vec<u8> {
    let mut out = init(width, height, Some(duration));
    if cues.is_empty() {
        return out;
    }
    // Positions count from the Segment's content, and the cues stand in between: their length must be known
    // first. It does not depend on the values, since those are written at full width.
    let segment = out.windows(12).position(|window| window == segment_start()).map_or(0, |at| at + 12);
    let before = (out.len() - segment) as u64;
    let size = cue_points(cues, 0).len() as u64;
    element(&mut out, CUES, &cue_points(cues, before + 4 + 8 + size));
    out
}

fn segment_start() -> [u8; 12] {
    let mut start = [0; 12];
    start[..4].copy_from_slice(&SEGMENT.to_be_bytes());
    start[4..].copy_from_slice(&UNKNOWN_LENGTH);
    start
}

fn cue_points(cues: &[Cue], clusters_at: u64) -> Vec<u8> {
    let mut out = Vec::new();
    for cue in cues {
        let mut position = Vec::new();
        uint(&mut position, 0xf7, 1); // CueTrack
        element(&mut position, 0xf1, &(clusters_at + cue.offset).to_be_bytes()); // CueClusterPosition
        let mut point = Vec::new();
        element(&mut point, 0xb3, &ms(cue.at).to_be_bytes()); // CueTime
        element(&mut point, 0xb7, &position); // CueTrackPositions
        element(&mut out, 0xbb, &point); // CuePoint
    }
    out
}

fn id(out: &mut Vec<u8>, id: u32) {
    let bytes = id.to_be_bytes();
    out.extend_from_slice(&bytes[(id.leading_zeros() / 8) as usize..]);
}

// Eight bytes always: simple, and the cues rely on it.
fn length(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(&(length | 1 << 56).to_be_bytes());
}

fn element(out: &mut Vec<u8>, element_id: u32, content: &[u8]) {
    id(out, element_id);
    length(out, content.len() as u64);
    out.extend_from_slice(content);
}

fn uint(out: &mut Vec<u8>, element_id: u32, value: u64) {
    let bytes = value.to_be_bytes();
    let skip = (value.leading_zeros() / 8).min(7) as usize;
    element(out, element_id, &bytes[skip..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_reads_back_and_only_whole() {
        let samples: Vec<Sample> =
            (0..3).map(|at| Sample { data: vec![7; 300], duration: 3_600, sync: at == 0 }).collect();
        let bytes = cluster(90_000, &samples);
        let written = Written { start: 90_000, duration: 3 * 3_600, bytes: bytes.len() as u64, sync: true };
        assert_eq!(read_cluster(&bytes), Some(written));
        assert_eq!(read_cluster(&[&bytes[..], b"more"].concat()), Some(written));
        for length in 0..bytes.len() {
            assert_eq!(read_cluster(&bytes[..length]), None, "{length} bytes");
        }
        assert_eq!(read_cluster(&vec![0; bytes.len()]), None);
        let single = read_cluster(&cluster(0, &samples[1..2])).expect("a cluster");
        assert_eq!((single.duration, single.sync), (3_600, false));
    }

    #[test]
    fn an_init_segment_reads_back_and_only_whole() {
        let bytes = init(640, 360, None);
        assert_eq!(read_init(&bytes), Some((640, 360)));
        for length in 0..bytes.len() {
            assert_eq!(read_init(&bytes[..length]), None, "{length} bytes");
        }
        assert_eq!(read_init(&[&bytes[..], b"more"].concat()), None);
    }

    #[test]
    fn cues_point_at_their_clusters() {
        let clusters: Vec<Vec<u8>> = (0..3u64)
            .map(|at| {
                cluster(
                    at * 90_000,
                    &[Sample { data: vec![7; 100 + at as usize], duration: 3_000, sync: true }],
                )
            })
            .collect();
        let mut offset = 0;
        let mut cues = Vec::new();
        for (at, cluster) in clusters.iter().enumerate() {
            cues.push(Cue { at: at as u64 * 90_000, offset });
            offset += cluster.len() as u64;
        }
        let file = [play(640, 360, 270_000, &cues), clusters.concat()].concat();
        let segment = file.windows(12).position(|window| window == segment_start()).expect("a segment") + 12;
        let positions: Vec<usize> =
            file.windows(9).filter(|window| window[0] == 0xf1 && window[1] == 1).map(|_| 0).collect();
        assert_eq!(positions.len(), 3);
        let first = file.windows(4).position(|window| window == CLUSTER.to_be_bytes()).expect("a cluster");
        let named = (first - segment) as u64;
        assert!(
            file.windows(8).any(|window| window == named.to_be_bytes()),
            "the first cluster's position {named} is written"
        );
    }
}
