//! Fragmented MP4 (CMAF, ISO/IEC 23000-19): one track a file.
//!
//! ```text
//! init.mp4    ftyp, moov (mvex says that fragments follow)
//! 000000.m4s  moof, mdat, moof, mdat, …       about a second each
//! play.mp4    ftyp, moov with the duration, sidx: written at the end, to go before the segments in init's place
//! ```

use hewei_media::h264::Sps;
use mp4_atom::{
    Audio, Avc3, Avcc, AvccExt, Codec, Decode, Dfla, Dinf, Dops, Dref, Encode, Flac, FlacMetadataBlock,
    FourCC, Ftyp, Hdlr, Mdhd, Mdia, Mehd, Mfhd, Minf, Moof, Moov, Mvex, Mvhd, Opus, SegmentReference, Sidx,
    Smhd, Stbl, Stsc, Stsd, Stsz, Stts, Tfdt, Tfhd, Tkhd, Traf, Trak, Trex, Trun, TrunEntry, TrunSamples,
    Url, Visual, Vmhd,
};

use crate::sample::{Sample, Written};

const TRACK_ID: u32 = 1;
const SYNC: u32 = 0x0200_0000;
const NOT_SYNC: u32 = 0x0101_0000;
const MOVIE_RATE_HZ: u32 = 1_000;

/// What a decoder needs to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Format {
    /// H.264; parameter sets stay in the samples as well, so that they may change.
    H264 { sps: Vec<u8>, pps: Vec<Vec<u8>>, info: Sps },
    /// Opus.
    Opus,
    /// FLAC of one channel, 16 bits.
    Flac { rate_hz: u32 },
}

impl Format {
    fn rate_hz(&self) -> u32 {
        match self {
            Format::H264 { .. } => 90_000,
            Format::Opus => 48_000,
            Format::Flac { rate_hz } => *rate_hz,
        }
    }

    /// Width and height in pixels, for pictures.
    pub(crate) fn size(&self) -> Option<(u16, u16)> {
        match self {
            Format::H264 { info, .. } => Some((info.width, info.height)),
            Format::Opus | Format::Flac { .. } => None,
        }
    }

    fn sample_entry(&self) -> Codec {
        match self {
            Format::H264 { sps, pps, info } => Codec::Avc3(Avc3 {
                visual: Visual {
                    data_reference_index: 1,
                    width: info.width,
                    height: info.height,
                    ..Visual::default()
                },
                avcc: Avcc {
                    configuration_version: 1,
                    avc_profile_indication: info.profile,
                    profile_compatibility: info.constraints,
                    avc_level_indication: info.level,
                    length_size: 4,
                    sequence_parameter_sets: vec![sps.clone()],
                    picture_parameter_sets: pps.clone(),
                    ext: matches!(info.profile, 100 | 110 | 122 | 144).then(|| AvccExt {
                        chroma_format: info.chroma_format,
                        bit_depth_luma: info.luma_bits,
                        bit_depth_chroma: info.chroma_bits,
                        sequence_parameter_sets_ext: Vec::new(),
                    }),
                },
                ..Avc3::default()
            }),
            Format::Opus => Codec::Opus(Opus {
                audio: audio(2, 48_000),
                dops: Dops {
                    output_channel_count: 2,
                    // The encoder's delay is unknown from RTP; nothing is cut.
                    pre_skip: 0,
                    input_sample_rate: 48_000,
                    output_gain: 0,
                    channel_mapping: None,
                },
                btrt: None,
            }),
            Format::Flac { rate_hz } => Codec::Flac(Flac {
                audio: audio(1, *rate_hz as u16),
                dfla: Dfla {
                    blocks: vec![FlacMetadataBlock::StreamInfo {
                        minimum_block_size: 16,
                        maximum_block_size: u16::MAX,
                        minimum_frame_size: [0; 3].into(),
                        maximum_frame_size: [0; 3].into(),
                        sample_rate: *rate_hz,
                        num_channels_minus_one: 0,
                        bits_per_sample_minus_one: 15,
                        number_of_interchannel_samples: 0,
                        md5_checksum: vec![0; 16],
                    }],
                },
            }),
        }
    }
}

fn audio(channel_count: u16, rate_hz: u16) -> Audio {
    Audio { data_reference_index: 1, channel_count, sample_size: 16, sample_rate: rate_hz.into() }
}

/// The init segment; with a duration (in ticks) the one that goes before a finished track.
pub(crate) fn init(format: &Format, duration: Option<u64>) -> Result<Vec<u8>, mp4_atom::Error> {
    let rate_hz = format.rate_hz();
    let video = format.size();
    let mut out = Vec::with_capacity(1024);
    Ftyp {
        major_brand: FourCC::new(b"cmfc"),
        minor_version: 0,
        compatible_brands: [b"cmfc", b"iso6", b"mp41"].map(FourCC::new).to_vec(),
    }
    .encode(&mut out)?;
    let (width, height) = video.unwrap_or((0, 0));
    Moov {
        mvhd: Mvhd {
            timescale: MOVIE_RATE_HZ,
            rate: 1.into(),
            volume: 1.into(),
            next_track_id: TRACK_ID + 1,
            ..Mvhd::default()
        },
        mvex: Some(Mvex {
            mehd: duration.map(|ticks| Mehd {
                fragment_duration: ticks * u64::from(MOVIE_RATE_HZ) / u64::from(rate_hz),
            }),
            trex: vec![Trex { track_id: TRACK_ID, default_sample_description_index: 1, ..Trex::default() }],
        }),
        trak: vec![Trak {
            tkhd: Tkhd {
                track_id: TRACK_ID,
                enabled: true,
                in_movie: true,
                volume: u8::from(video.is_none()).into(),
                width: width.into(),
                height: height.into(),
                ..Tkhd::default()
            },
            mdia: Mdia {
                mdhd: Mdhd { timescale: rate_hz, language: "und".into(), ..Mdhd::default() },
                hdlr: Hdlr {
                    handler: FourCC::new(if video.is_some() { b"vide" } else { b"soun" }),
                    name: "Hewei".into(),
                },
                minf: Minf {
                    vmhd: video.map(|_| Vmhd::default()),
                    smhd: video.is_none().then(Smhd::default),
                    dinf: Dinf { dref: Dref { entries: vec![Url::default().into()] } },
                    stbl: Stbl {
                        stsd: Stsd { codecs: vec![format.sample_entry()] },
                        stts: Stts::default(),
                        stsc: Stsc::default(),
                        stsz: Stsz::default(),
                        stco: Some(mp4_atom::Stco::default()),
                        ..Stbl::default()
                    },
                    ..Minf::default()
                },
            },
            ..Trak::default()
        }],
        ..Moov::default()
    }
    .encode(&mut out)?;
    Ok(out)
}

/// What the sample entry of an init segment says; `None` when it is not one of ours, or not whole.
pub(crate) fn read_init(mut bytes: &[u8]) -> Option<Format> {
    Ftyp::decode(&mut bytes).ok()?;
    let moov = Moov::decode(&mut bytes).ok()?;
    let [trak] = moov.trak.as_slice() else { return None };
    if !bytes.is_empty() {
        return None;
    }
    match trak.mdia.minf.stbl.stsd.codecs.as_slice() {
        [Codec::Avc3(Avc3 { avcc, .. })] => {
            let sps = avcc.sequence_parameter_sets.first()?.clone();
            let info = Sps::parse(&sps)?;
            Some(Format::H264 { sps, pps: avcc.picture_parameter_sets.clone(), info })
        }
        [Codec::Opus(_)] => Some(Format::Opus),
        [Codec::Flac(flac)] => Some(Format::Flac { rate_hz: u32::from(flac.audio.sample_rate.integer()) }),
        _ => None,
    }
}

/// One fragment of samples that follow one another, the first at `start` ticks.
pub(crate) fn fragment(sequence: u32, start: u64, samples: &[Sample]) -> Result<Vec<u8>, mp4_atom::Error> {
    let media: usize = samples.iter().map(|sample| sample.data.len()).sum();
    let mut out = Vec::with_capacity(media + 200 + 16 * samples.len());
    let mut moof = Moof {
        mfhd: Mfhd { sequence_number: sequence },
        traf: vec![Traf {
            tfhd: Tfhd { track_id: TRACK_ID, default_base_is_moof: true, ..Tfhd::default() },
            tfdt: Some(Tfdt { base_media_decode_time: start }),
            trun: vec![Trun {
                data_offset: Some(0),
                samples: TrunSamples::Explicit(
                    samples
                        .iter()
                        .map(|sample| TrunEntry {
                            duration: Some(sample.duration),
                            size: Some(sample.data.len() as u32),
                            flags: Some(if sample.sync { SYNC } else { NOT_SYNC }),
                            cts: None,
                        })
                        .collect(),
                ),
            }],
            ..Traf::default()
        }],
    };
    // The media begins behind the moof and the mdat's header; the moof's length does not depend on the offset.
    moof.encode(&mut out)?;
    moof.traf[0].trun[0].data_offset = i32::try_from(out.len() + 8).ok();
    out.clear();
    moof.encode(&mut out)?;
    out.extend_from_slice(&u32::try_from(media + 8).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(b"mdat");
    for sample in samples {
        out.extend_from_slice(&sample.data);
    }
    Ok(out)
}

/// The fragment that these bytes begin with; `None` when there is none, or not a whole one.
pub(crate) fn read_fragment(bytes: &[u8]) -> Option<Written> {
    let mut rest = bytes;
    let moof = Moof::decode(&mut rest).ok()?;
    let (length, after) = rest.split_first_chunk::<4>()?;
    let mdat = u64::from(u32::from_be_bytes(*length));
    if !after.starts_with(b"mdat") || (rest.len() as u64) < mdat {
        return None;
    }
    let [traf] = moof.traf.as_slice() else { return None };
    let ([run], Some(tfdt)) = (traf.trun.as_slice(), &traf.tfdt) else { return None };
    let TrunSamples::Explicit(samples) = &run.samples else { return None };
    let sum = |of: fn(&TrunEntry) -> Option<u32>| {
        samples.iter().map(|sample| of(sample).map(u64::from)).sum::<Option<u64>>()
    };
    if sum(|sample| sample.size)? + 8 != mdat {
        return None;
    }
    let written = Written {
        start: tfdt.base_media_decode_time,
        duration: sum(|sample| sample.duration)?,
        bytes: (bytes.len() - rest.len()) as u64 + mdat,
        sync: samples.first()?.flags? == SYNC,
    };
    written.bounded()
}

/// A part of a finished track, for the index.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    pub(crate) bytes: u32,
    /// Until the next part begins, in ticks.
    pub(crate) duration: u32,
    pub(crate) sync: bool,
}

/// What goes before the segments of a finished track: init with the duration, and an index.
pub(crate) fn play(format: &Format, duration: u64, parts: &[Part]) -> Result<Vec<u8>, mp4_atom::Error> {
    let mut out = init(format, Some(duration))?;
    Sidx {
        reference_id: TRACK_ID,
        timescale: format.rate_hz(),
        earliest_presentation_time: 0,
        first_offset: 0,
        references: parts
            .iter()
            .map(|part| SegmentReference {
                reference_type: false,
                referenced_size: part.bytes,
                subsegment_duration: part.duration,
                starts_with_sap: part.sync,
                sap_type: u8::from(part.sync),
                sap_delta_time: 0,
            })
            .collect(),
    }
    .encode(&mut out)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<Sample> {
        (1..4)
            .map(|at| Sample { data: vec![at; 100 * usize::from(at)], duration: 3_000, sync: at == 1 })
            .collect()
    }

    #[test]
    fn a_fragment_reads_back_and_only_whole() {
        let bytes = fragment(7, 90_000, &samples()).expect("encoded");
        let written = Written { start: 90_000, duration: 9_000, bytes: bytes.len() as u64, sync: true };
        assert_eq!(read_fragment(&bytes), Some(written));
        assert_eq!(read_fragment(&[&bytes[..], b"more"].concat()), Some(written));
        for length in 0..bytes.len() {
            assert_eq!(read_fragment(&bytes[..length]), None, "{length} bytes");
        }
        assert_eq!(read_fragment(&vec![0; bytes.len()]), None);
    }

    #[test]
    fn an_init_segment_reads_back_and_only_whole() {
        for format in [Format::Opus, Format::Flac { rate_hz: 8_000 }] {
            let bytes = init(&format, None).expect("encoded");
            assert_eq!(read_init(&bytes), Some(format));
            for length in 0..bytes.len() {
                assert_eq!(read_init(&bytes[..length]), None, "{length} bytes");
            }
            assert_eq!(read_init(&[&bytes[..], b"more"].concat()), None);
        }
    }
}
