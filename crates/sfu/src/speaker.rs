//! Who speaks: how loud each sound has been of late, and for each subscriber the one that stands out of those it hears.
//!
//! Levels are the senders' own words (RFC 6464). Who lies about them gets their picture ahead of others' on the lines of
//! those who hear them, and nothing else. There is no speaker of a room: that would tell people of somebody whom they may
//! not hear.

use std::time::{Duration, Instant};

use hewei_media::audio_level::AudioLevel;

use crate::source::SourceKey;

/// What is further below full scale than this is a room without anybody who speaks.
const FLOOR_DB: u8 = 50;
/// Loudness is a mean in which what was so long ago weighs a third: words have pauses, and a cough is none.
const MEMORY: Duration = Duration::from_millis(300);
/// What a packet says holds until the next one comes, for so long at the most: in silence hardly any are sent.
const LASTS: Duration = Duration::from_millis(100);
/// Somebody speaks whose loudness is so far above the floor.
const AUDIBLE_DB: f64 = 5.0;
/// And instead of another, when it is so far above that one's.
const LOUDER_DB: f64 = 3.0;
/// For so long, without a break.
const DOMINATES: Duration = Duration::from_millis(500);

/// How loud a sound has been of late.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Loudness {
    /// Decibels above the floor, when the last packet came.
    mean: f64,
    /// And those of that packet.
    last: f64,
    at: Option<Instant>,
}

impl Loudness {
    /// A packet is so loud.
    pub(crate) fn heard(&mut self, now: Instant, level: AudioLevel) {
        let last = FLOOR_DB.saturating_sub(level.below_full_scale_db());
        *self = Self { mean: self.mean(now), last: last.into(), at: Some(now) };
    }

    /// Decibels above the floor.
    pub(crate) fn mean(&self, now: Instant) -> f64 {
        let Some(at) = self.at else { return 0.0 };
        let passed = now.saturating_duration_since(at);
        let lasted = passed.min(LASTS);
        let after = |mean: f64, level: f64, time: Duration| {
            level + (mean - level) * (-time.as_secs_f64() / MEMORY.as_secs_f64()).exp()
        };
        after(after(self.mean, self.last, lasted), 0.0, passed - lasted)
    }
}

/// Who speaks, for one subscriber.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Speaker {
    current: Option<SourceKey>,
    /// Who dominates, and since when.
    rival: Option<(SourceKey, Instant)>,
}

impl Speaker {
    /// The sound of who speaks, or spoke last.
    pub(crate) fn current(&self) -> Option<SourceKey> {
        self.current
    }

    /// Decides anew among what the subscriber hears, each with its loudness. Returns whether somebody else speaks now.
    pub(crate) fn decide(
        &mut self,
        now: Instant,
        heard: impl Iterator<Item = (SourceKey, f64)> + Clone,
    ) -> bool {
        let own = heard.clone().find(|(source, _)| Some(*source) == self.current);
        let least = own.map_or(0.0, |(_, loudness)| loudness + LOUDER_DB).max(AUDIBLE_DB);
        let mut dominant =
            heard.filter(|(source, loudness)| Some(*source) != self.current && *loudness >= least);
        let before = self.rival.filter(|(rival, _)| dominant.clone().any(|(source, _)| source == *rival));
        // Of two who speak at once the first goes on until it is decided.
        self.rival = before.or_else(|| {
            let first = dominant.next()?;
            let loudest = dominant.fold(first, |most, one| if one.1 > most.1 { one } else { most });
            Some((loudest.0, now))
        });
        let decided = self.rival.filter(|(_, since)| now.saturating_duration_since(*since) >= DOMINATES);
        if let Some((source, _)) = decided {
            *self = Self { current: Some(source), rival: None };
        }
        decided.is_some()
    }

    /// Forgets who is not among these: the subscriber hears them no more.
    pub(crate) fn retain(&mut self, hears: impl Fn(SourceKey) -> bool) {
        self.current = self.current.filter(|source| hears(*source));
        self.rival = self.rival.filter(|(source, _)| hears(*source));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Duration = Duration::from_millis(20);
    const ASKED_EVERY: Duration = Duration::from_millis(200);

    fn level(below_full_scale_db: u8) -> AudioLevel {
        AudioLevel::read(&[below_full_scale_db]).expect("a byte")
    }

    /// People whose sound comes in frames, and who is asked for the speaker now and then.
    struct Story {
        now: Instant,
        asked: Instant,
        people: Vec<Loudness>,
        speaker: Speaker,
    }

    impl Story {
        fn new(people: usize) -> Self {
            let now = Instant::now();
            Self { now, asked: now, people: vec![Loudness::default(); people], speaker: Speaker::default() }
        }

        /// So much time passes with these levels, or none where nothing comes. Gives who speaks then.
        fn runs(&mut self, time: Duration, levels: &[Option<u8>]) -> Option<u32> {
            let until = self.now + time;
            while self.now < until {
                self.now += FRAME;
                for (person, below) in self.people.iter_mut().zip(levels) {
                    if let Some(below) = below {
                        person.heard(self.now, level(*below));
                    }
                }
                if self.now >= self.asked {
                    self.asked = self.now + ASKED_EVERY;
                    let (now, people) = (self.now, &self.people);
                    let heard = (0..).map(SourceKey).zip(people.iter().map(|person| person.mean(now)));
                    self.speaker.decide(self.now, heard);
                }
            }
            self.speaker.current().map(|source| source.0)
        }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn who_dominates_for_half_a_second_speaks_and_stays_the_speaker_in_silence() {
        let mut story = Story::new(3);
        let (speech, hiss) = (Some(25), Some(60));
        assert_eq!(story.runs(ms(5_000), &[hiss; 3]), None, "nobody speaks");
        assert_eq!(story.runs(ms(400), &[hiss, speech, hiss]), None, "not at once");
        assert_eq!(story.runs(ms(600), &[hiss, speech, hiss]), Some(1));
        assert_eq!(story.runs(ms(300), &[speech, hiss, hiss]), Some(1), "a cough");
        assert_eq!(story.runs(ms(5_000), &[hiss; 3]), Some(1), "silence changes nothing");
        assert_eq!(story.runs(ms(10_000), &[None; 3]), Some(1), "nor does nothing at all");
        assert_eq!(story.runs(ms(1_200), &[speech, hiss, hiss]), Some(0), "another one answers");
        assert_eq!(story.runs(ms(5_000), &[speech, Some(23), hiss]), Some(0), "hardly louder");
        assert_eq!(story.runs(ms(1_500), &[speech, Some(15), hiss]), Some(1), "clearly so");
    }

    #[test]
    fn pauses_between_words_are_no_silence() {
        let mut story = Story::new(2);
        story.runs(ms(2_000), &[Some(20), Some(127)]);
        // The other one speaks in words, over the hiss of the one before.
        for _ in 0..4 {
            story.runs(ms(240), &[Some(127), Some(20)]);
            story.runs(ms(120), &[Some(127), Some(127)]);
        }
        assert_eq!(story.speaker.current(), Some(SourceKey(1)));
    }

    #[test]
    fn two_who_speak_at_once_do_not_keep_the_picture_with_the_silent() {
        let mut story = Story::new(3);
        story.runs(ms(2_000), &[Some(20), Some(127), Some(127)]);
        for _ in 0..5 {
            story.runs(ms(200), &[Some(127), Some(20), Some(25)]);
            story.runs(ms(200), &[Some(127), Some(25), Some(20)]);
        }
        assert!(story.speaker.current().is_some_and(|source| source != SourceKey(0)));
    }

    #[test]
    fn who_sends_nothing_is_silent_and_a_packet_lasts_a_moment() {
        let (mut loudness, now) = (Loudness::default(), Instant::now());
        assert!(loudness.mean(now) == 0.0);
        for frame in 0..100 {
            loudness.heard(now + frame * FRAME, level(0));
        }
        let last = now + 99 * FRAME;
        assert!((loudness.mean(last) - 50.0).abs() < 0.1);
        assert!(loudness.mean(last + LASTS) > 49.9, "a packet that is late is no silence");
        assert!((15.0..20.0).contains(&loudness.mean(last + LASTS + MEMORY)));
        assert!(loudness.mean(last + ms(3_000)) < 0.01);
    }

    #[test]
    fn who_is_heard_no_more_is_forgotten_at_once() {
        let mut story = Story::new(2);
        story.runs(ms(2_000), &[Some(20), Some(127)]);
        story.runs(ms(600), &[Some(127), Some(20)]);
        story.speaker.retain(|source| source != SourceKey(0));
        assert_eq!(story.speaker.current(), None);
        story.speaker.retain(|source| source != SourceKey(1));
        assert_eq!(story.speaker.rival, None);
    }
}
