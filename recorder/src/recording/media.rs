//! What a track's core has to say, written into the package: epochs, segment files, gaps.

use std::time::Duration;

use hewei_evidence::{
    hash::Hash,
    journal::{Event, GapKind},
};
use hewei_model::MonoNs;

use super::{Recording, Segment};
use crate::{
    RecorderError,
    playback::{EpochFolder, container, epoch_path, segment_name},
    sample::Written,
    track::{Output, TOO_MANY_BREAKS},
};

/// How long a segment file is, if a keyframe comes then.
const SEGMENT: Duration = Duration::from_secs(10);
/// How long a segment file is at most.
const SEGMENT_MAX: Duration = Duration::from_secs(15);
/// So many of the events that wait may be one track's: half an hour. Then the track is stopped, so that no one takes the
/// others' room.
const TRACK_EVENTS_MAX: usize = 2_048;
/// A track may take so long to begin.
const BEGINNING_MAX: Duration = Duration::from_secs(1);

impl Recording {
    pub(super) fn write_outputs(&mut self, index: usize, at: MonoNs) {
        while let Some(output) = self.tracks[index].track.pop() {
            if let Err(error) = self.write_output(index, output, at) {
                let track = self.tracks[index].meta.track;
                tracing::error!(%track, %error, "a fragment was not written");
                self.note_fault(index, error.to_string(), at);
            }
        }
    }

    /// Notes that what comes next of a track was not recorded, and why.
    fn note_fault(&mut self, index: usize, reason: String, at: MonoNs) {
        let end = self.ms(index, self.tracks[index].track.end());
        let gap = Event::Gap {
            track: self.tracks[index].meta.track,
            kind: GapKind::RecorderFault,
            from_ms: end,
            to_ms: end,
            packets: 0,
            reason: Some(reason),
        };
        self.note_of(index, gap, at);
    }

    /// Ends a track for which the journal has no room.
    fn stop_track(&mut self, index: usize, at: MonoNs) {
        let track = self.tracks[index].meta.track;
        tracing::error!(%track, "too much of it waits for the journal: it is stopped");
        self.note_fault(index, "too much of it waits for the journal".into(), at);
        self.tracks[index].open = false;
        self.finish_segment(index, at);
        self.note_of(index, Event::TrackClose { track }, at);
    }

    fn write_output(&mut self, index: usize, output: Output, at: MonoNs) -> Result<(), RecorderError> {
        let recorded = &self.tracks[index];
        let track = recorded.meta.track;
        if recorded.open && (recorded.waiting >= TRACK_EVENTS_MAX || self.writer.is_full()) {
            self.stop_track(index, at);
        }
        if !self.tracks[index].open {
            return Ok(());
        }
        match output {
            Output::Init { epoch, data, size } => {
                if epoch == 0 {
                    self.note_beginning(index, self.tracks[index].track.begins().unwrap_or(at), at);
                }
                self.finish_segment(index, at);
                let recorded = &mut self.tracks[index];
                let path = epoch_path(self.meta.session, recorded.meta.participant, track, epoch);
                if recorded.first_epoch.is_none() {
                    recorded.first_epoch = recorded.track.epoch().cloned();
                }
                recorded.epochs.push(EpochFolder { path: path.clone(), segments: Vec::new() });
                let codec = recorded.meta.codec;
                self.note_of(
                    index,
                    Event::Layer {
                        track,
                        epoch,
                        codec,
                        width: size.map(|(width, _)| width),
                        height: size.map(|(_, height)| height),
                    },
                    at,
                );
                self.writer.file(&format!("{path}/init.{}", container(codec)), &data, at)?;
                Ok(())
            }
            Output::Fragment { start, duration, sync, data } => self.write_fragment(
                index,
                Written { start, duration, bytes: data.len() as u64, sync },
                &data,
                at,
            ),
            Output::Gap { kind, from, to, packets } => {
                let (from_ms, to_ms) = (self.ms(index, from), self.ms(index, to));
                let reason = (kind == GapKind::RecorderFault).then(|| TOO_MANY_BREAKS.to_owned());
                self.note_of(index, Event::Gap { track, kind, from_ms, to_ms, packets, reason }, at);
                Ok(())
            }
            Output::Anchor { rtp, place, arrival } => {
                let rate = u64::from(self.tracks[index].track.codec().clock_rate_hz());
                let track_ms = Some(place * 1_000 / rate);
                self.note_of(index, Event::Clk { track, rtp, ntp: None, track_ms }, arrival);
                Ok(())
            }
            Output::Fault(what) => {
                self.note_of(index, Event::Fault { what: format!("track {track}: {what}") }, at);
                Ok(())
            }
        }
    }

    /// Says why a track has no media at its beginning, or at all.
    pub(super) fn note_beginning(&mut self, index: usize, begins: MonoNs, at: MonoNs) {
        let recorded = &self.tracks[index];
        if begins.since(recorded.opened_at) < BEGINNING_MAX {
            return;
        }
        let came =
            recorded.track.first_packet_at().is_some_and(|first| begins.since(first) >= BEGINNING_MAX / 2);
        let gap = Event::Gap {
            track: recorded.meta.track,
            // Packets came and no keyframe did, or nothing came.
            kind: if came { GapKind::Loss } else { GapKind::Unpublished },
            from_ms: recorded.opened_at.since(self.meta.started_mono).as_millis() as u64,
            to_ms: begins.since(self.meta.started_mono).as_millis() as u64,
            packets: 0,
            reason: None,
        };
        self.writer.note(gap, at);
    }

    fn write_fragment(
        &mut self,
        index: usize,
        written: Written,
        data: &[u8],
        at: MonoNs,
    ) -> Result<(), RecorderError> {
        let recorded = &self.tracks[index];
        let rate = u64::from(recorded.track.codec().clock_rate_hz());
        let full = recorded.segment.as_ref().is_some_and(|segment| {
            let age = written.start.saturating_sub(segment.start);
            age >= SEGMENT_MAX.as_secs() * rate || (written.sync && age >= SEGMENT.as_secs() * rate)
        });
        if full {
            self.finish_segment(index, at);
        }
        if self.tracks[index].segment.is_none() {
            let recorded = &self.tracks[index];
            let Some(epoch) = recorded.epochs.last() else { return Ok(()) };
            let path = format!("{}/{}", epoch.path, segment_name(epoch.segments.len(), recorded.meta.codec));
            let writing = self.writer.folder.begin(&path)?;
            self.tracks[index].segment = Some(Segment { writing, start: written.start });
        }
        let (start_ms, end_ms) =
            (self.ms(index, written.start), self.ms(index, written.start + written.duration));
        let recorded = &mut self.tracks[index];
        let Some(segment) = &mut recorded.segment else { return Ok(()) };
        let offset = segment.writing.bytes();
        self.writer.folder.append(&mut segment.writing, data)?;
        let file = segment.writing.path.clone();
        recorded.written.push(written);
        let track = recorded.meta.track;
        self.note_of(
            index,
            Event::Seg {
                file,
                bytes: data.len() as u64,
                sha256: Hash::sha256(data),
                offset,
                start_ms,
                duration_ms: end_ms - start_ms,
                track,
            },
            at,
        );
        Ok(())
    }

    pub(super) fn finish_segment(&mut self, index: usize, at: MonoNs) {
        let recorded = &mut self.tracks[index];
        let Some(segment) = recorded.segment.take() else { return };
        let file = segment.writing.path.clone();
        let hashes = self.writer.folder.finish(segment.writing);
        let end = recorded.written.last().map_or(segment.start, |written| written.start + written.duration);
        if let Some(epoch) = recorded.epochs.last_mut() {
            epoch.segments.push((file.clone(), end.saturating_sub(segment.start), hashes.bytes));
        }
        self.note_of(index, Event::File { file, bytes: hashes.bytes, sha256: hashes.sha256 }, at);
    }
}
