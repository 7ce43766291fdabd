//! `hewei_media`: packets and payloads.

use std::time::Duration;

use hewei_media::{
    framing::{Deframer, FRAME_LEN_MAX, PREFIX_LEN},
    h264 as avc, opus as sound, red as redundant,
    reorder::{Pushed, Released, ReorderBuffer},
    rtcp as control,
    rtp::Header,
    vp8 as vp,
};
use hewei_model::MonoNs;

use crate::input::Input;

/// What comes over a connection, in pieces: the frames of it are the same however it is cut.
pub fn framing(data: &[u8]) {
    let frames = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let (mut deframer, mut lens) = (Deframer::default(), Vec::new());
        for mut piece in pieces {
            while !piece.is_empty() {
                let room = deframer.room();
                let count = room.len().min(piece.len());
                assert!(count > 0, "there is room once all frames are taken");
                room[..count].copy_from_slice(&piece[..count]);
                piece = &piece[count..];
                deframer.filled(count);
                loop {
                    match deframer.next_frame() {
                        Ok(Some(frame)) => lens.push(frame.len()),
                        Ok(None) => break,
                        Err(_) => return (lens, true),
                    }
                }
            }
        }
        (lens, false)
    };
    let whole = frames(&mut [data].into_iter());
    assert_eq!(frames(&mut data.chunks(7)), whole);
    assert!(whole.0.iter().all(|len| *len <= FRAME_LEN_MAX));
    assert!(whole.0.iter().map(|len| len + PREFIX_LEN).sum::<usize>() <= data.len());
}

/// An RTP packet: what its header says lies within it.
pub fn rtp(data: &[u8]) {
    let Ok(header) = Header::parse(data) else { return };
    assert!(header.len <= data.len());
    if let Ok(payload) = header.payload(data) {
        assert!(header.len + payload.len() <= data.len());
    }
    for id in 0..=255 {
        if let Some(element) = header.extension(data, id) {
            assert!(element.len() <= header.len);
        }
    }
}

/// An RTCP compound.
pub fn rtcp(data: &[u8]) {
    let mut count = 0;
    for packet in control::packets(data) {
        count += 1;
        if let control::Packet::Nack { pairs, .. } = packet {
            // A pair asks for 17 at most.
            assert!(control::nacked(pairs).count() <= pairs.len() / 4 * 17);
        }
        if let control::Packet::TransportFeedback(feedback) = packet {
            // A run says at most 8,191 packets in two bytes.
            assert!(feedback.arrivals().count() <= data.len() / 2 * 8_191);
        }
    }
    assert!(count <= data.len() / 4, "no packet is shorter than its head");
}

/// Redundant sound: its frames lie within it.
pub fn red(data: &[u8]) {
    let Some(frames) = redundant::Frames::parse(data) else { return };
    for (_, frame) in frames.newest_first() {
        assert!(frame.start <= frame.end && frame.end <= data.len());
    }
}

/// H.264: payloads to access units, byte streams to NAL units, parameter sets, and pieces put together again.
pub fn h264(data: &[u8]) {
    let mut input = Input(data);
    let (mut depacketizer, mut units, mut bytes) = (avc::Depacketizer::default(), Vec::new(), 0);
    while let (Some(flags), Some(payload)) = (input.byte(), input.piece()) {
        if flags & 0x80 != 0 {
            depacketizer.reset();
        }
        bytes += payload.len();
        let timestamp = u32::from(flags & 0x0f);
        depacketizer.push(timestamp, flags & 0x10 != 0, flags & 0x20 != 0, payload, &mut units);
        avc::starts_keyframe(payload);
        avc::picture_height(payload);
    }
    for unit in &units {
        assert!(unit.data.len() <= 5 * bytes, "at most a length ahead of each byte");
        let whole: usize = unit.nals().map(|nal| 4 + nal.len()).sum();
        assert_eq!(whole, unit.data.len(), "an access unit reads back whole");
    }

    avc::Sps::parse(data);
    for nal in avc::split_annex_b(data) {
        assert!(!nal.is_empty());
        avc::Sps::parse(nal);
    }
    pieces_of_a_nal_unit(data);
}

fn pieces_of_a_nal_unit(data: &[u8]) {
    let Some((&max, nal)) = data.split_first() else { return };
    if !matches!(nal.first().map(|first| first & 0x1f), Some(1..=23)) {
        return;
    }
    let (mut depacketizer, mut units) = (avc::Depacketizer::default(), Vec::new());
    avc::fragment(nal, usize::from(max) + 3, &mut |payload, last| {
        depacketizer.push(0, last, false, payload, &mut units);
    });
    assert_eq!(units.len(), 1);
    assert!(units[0].nals().eq([nal]), "the pieces make the NAL unit again");
}

/// VP8: payloads to frames, and pieces put together again.
pub fn vp8(data: &[u8]) {
    let mut input = Input(data);
    let (mut depacketizer, mut frames, mut bytes) = (vp::Depacketizer::default(), Vec::new(), 0);
    while let (Some(flags), Some(payload)) = (input.byte(), input.piece()) {
        if flags & 0x80 != 0 {
            depacketizer.reset();
        }
        bytes += payload.len();
        let timestamp = u32::from(flags & 0x0f);
        depacketizer.push(timestamp, flags & 0x10 != 0, flags & 0x20 != 0, payload, &mut frames);
        vp::starts_keyframe(payload);
        let numbers = vp::Numbers::read(payload);
        let mut same = payload.to_vec();
        numbers.write(&mut same);
        assert_eq!(same, payload, "what was read is written where it stood");
    }
    for frame in &frames {
        assert!(frame.data.len() <= bytes);
        vp::dimensions(&frame.data);
    }

    let Some((&max, frame)) = data.split_first() else { return };
    if frame.is_empty() {
        return;
    }
    let (mut depacketizer, mut frames) = (vp::Depacketizer::default(), Vec::new());
    vp::packetize(frame, usize::from(max) + 2, &mut |payload, last| {
        depacketizer.push(0, last, false, payload, &mut frames);
    });
    assert_eq!(frames.len(), 1);
    assert_eq!(frames[0].data, frame, "the pieces make the frame again");
}

/// An Opus packet's table of contents.
pub fn opus(data: &[u8]) {
    if let Some(samples) = sound::duration_samples(data) {
        assert!((1..=5_760).contains(&samples), "a packet lasts 120 ms at most (RFC 6716, section 3.2.5)");
    }
    sound::is_dtx(data);
    sound::is_stereo(data);
}

/// The reorder buffer: what comes out is in order, without doubles, and holes and packets cover every number.
pub fn reorder(data: &[u8]) {
    const CAPACITY: usize = 32;
    let mut input = Input(data);
    let mut buffer = ReorderBuffer::new(Duration::from_millis(100), CAPACITY);
    let mut expected = None;
    let mut now = MonoNs(0);
    while let (Some(step), Some(sequence)) = (input.byte(), input.number()) {
        now = now + Duration::from_millis(u64::from(step & 0x3f));
        let sequence = u64::from(sequence);
        if buffer.push(sequence, now, sequence) != Pushed::Late && expected.is_none() {
            expected = Some(sequence);
        }
        while let Some(released) = match step & 0x80 {
            0 => buffer.pop(now),
            _ => buffer.pop_any(),
        } {
            check_release(&mut expected, released);
        }
        assert!(buffer.len() <= CAPACITY + 1);
    }
    while let Some(released) = buffer.pop_any() {
        check_release(&mut expected, released);
    }
    assert!(buffer.is_empty());
}

fn check_release(expected: &mut Option<u64>, released: Released<u64>) {
    let next = expected.expect("something was pushed");
    *expected = Some(match released {
        Released::Packet { sequence, item } => {
            assert_eq!((sequence, item), (next, next));
            sequence + 1
        }
        Released::Hole { first, count } => {
            assert_eq!(first, next);
            assert!(count > 0);
            first + count
        }
    });
}
