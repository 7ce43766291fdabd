//! The estimate over simulated lines: a queue with a rate and a length, a delay, and random losses.

use std::collections::VecDeque;

use hewei_media::rtcp::{self, Packet, Writer};

use super::*;

const PACKET_BYTES: usize = 1_200;
const PADDING_BYTES: usize = 290;
const STEP: Duration = Duration::from_millis(1);
const FEEDBACK_EVERY: Duration = Duration::from_millis(100);

#[derive(Clone, Copy)]
struct Line {
    /// Bits a second.
    rate: f64,
    /// One way.
    delay: Duration,
    /// Share that is lost at random.
    loss: f64,
    /// How long the queue may be.
    queue: Duration,
}

struct Simulation {
    now: Instant,
    bandwidth: Bandwidth,
    /// What is offered, at most, in bits a second.
    most: f64,
    /// What would be offered if there were room.
    wanted: f64,
    credit: f64,
    /// When the line is free again.
    free_at: Instant,
    arrivals: Vec<(u16, Option<Instant>)>,
    feedback: VecDeque<(Instant, Vec<u8>)>,
    feedback_at: Instant,
    random: u64,
    started: Instant,
    /// The longest wait in the queue in the last run.
    waited: Duration,
}

impl Simulation {
    fn new(most: f64) -> Self {
        let now = Instant::now();
        Self {
            now,
            bandwidth: Bandwidth::new(),
            most,
            wanted: 0.0,
            credit: 0.0,
            free_at: now,
            arrivals: Vec::new(),
            feedback: VecDeque::new(),
            feedback_at: now + FEEDBACK_EVERY,
            random: 88_172_645_463_325_252,
            started: now,
            waited: Duration::ZERO,
        }
    }

    fn chance(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Sends what the estimate allows over `line` for so long; gives the last estimate in bits a second.
    fn run(&mut self, line: Line, seconds: u32) -> f64 {
        let until = self.now + Duration::from_secs(seconds.into());
        self.waited = Duration::ZERO;
        while self.now < until {
            self.now += STEP;
            let rate = (self.bandwidth.target() as f64).min(self.most);
            self.credit += rate * STEP.as_secs_f64();
            while self.credit >= (PACKET_BYTES * 8) as f64 {
                self.credit -= (PACKET_BYTES * 8) as f64;
                self.send(line, PACKET_BYTES);
            }
            self.bandwidth.set_wanted(self.wanted as u64);
            for _ in 0..self.bandwidth.padding_due(self.now) {
                self.send(line, PADDING_BYTES);
            }
            if self.now >= self.feedback_at {
                self.feedback_at = self.now + FEEDBACK_EVERY;
                self.tell(line.delay);
            }
            while self.feedback.front().is_some_and(|(at, _)| *at <= self.now) {
                let (_, compound) = self.feedback.pop_front().expect("there is one");
                for packet in rtcp::packets(&compound) {
                    if let Packet::TransportFeedback(feedback) = packet {
                        self.bandwidth.feedback(self.now, feedback);
                    }
                }
            }
        }
        self.bandwidth.target() as f64
    }

    fn send(&mut self, line: Line, bytes: usize) {
        let seq = self.bandwidth.sent(self.now, bytes);
        let wait = self.free_at.saturating_duration_since(self.now);
        let lost = self.chance() < line.loss || wait > line.queue;
        if wait <= line.queue {
            let takes = Duration::from_secs_f64((bytes * 8) as f64 / line.rate);
            self.free_at = self.free_at.max(self.now) + takes;
            self.waited = self.waited.max(wait);
        }
        self.arrivals.push((seq, (!lost).then_some(self.free_at + line.delay)));
    }

    /// The receiver tells of all up to the last that has come by now.
    fn tell(&mut self, delay: Duration) {
        let come = |arrival: &Option<Instant>| arrival.is_some_and(|at| at <= self.now);
        let Some(last) = self.arrivals.iter().rposition(|(_, arrival)| come(arrival)) else { return };
        let told: Vec<_> = self.arrivals.drain(..=last).collect();
        let ticks = |at: Instant| ((at - self.started).as_micros() / 250) as u64 + 1_000_000;
        let arrivals: Vec<_> = told.iter().map(|(_, arrival)| arrival.map(ticks)).collect();
        let mut buffer = [0; 1_200];
        let mut writer = Writer::new(&mut buffer);
        let covered = writer.transport_feedback(1, 2, told[0].0, 0, &arrivals);
        assert_eq!(covered, arrivals.len());
        let len = writer.len();
        self.feedback.push_back((self.now + delay, buffer[..len].to_vec()));
    }
}

const VILLAGE: Line =
    Line { rate: 1e6, delay: Duration::from_millis(75), loss: 0.0, queue: Duration::from_millis(300) };

#[test]
fn it_finds_what_a_line_carries_and_keeps_its_queue_short() {
    let mut simulation = Simulation::new(5e6);
    simulation.run(VILLAGE, 20);
    let mut estimates = Vec::new();
    let mut waited = Duration::ZERO;
    for _ in 0..40 {
        estimates.push(simulation.run(VILLAGE, 1));
        waited = waited.max(simulation.waited);
    }
    let mean = estimates.iter().sum::<f64>() / estimates.len() as f64;
    assert!((0.7e6..1.05e6).contains(&mean), "{mean} {estimates:?}");
    assert!(waited < Duration::from_millis(150), "{waited:?}");
}

#[test]
fn usual_losses_do_not_lower_it() {
    for loss in [0.01, 0.05] {
        let mut simulation = Simulation::new(2e6);
        let estimate = simulation.run(Line { rate: 10e6, loss, ..VILLAGE }, 30);
        assert!(estimate > 0.45e6, "at {loss}: {estimate}");
    }
}

#[test]
fn it_rises_above_what_is_sent_by_half_at_most() {
    let mut simulation = Simulation::new(300e3);
    let estimate = simulation.run(Line { rate: 10e6, ..VILLAGE }, 60);
    assert!((300e3..=600e3).contains(&estimate), "{estimate}");
}

#[test]
fn what_is_wanted_is_tried_and_found_within_seconds_where_the_line_has_it() {
    // Sound alone is sent; a picture of 1.5 Mbit/s is held back.
    let mut simulation = Simulation::new(60e3);
    simulation.run(Line { rate: 10e6, ..VILLAGE }, 5);
    simulation.wanted = 1.6e6;
    let estimate = simulation.run(Line { rate: 10e6, ..VILLAGE }, 8);
    assert!(estimate >= 1.6e6, "{estimate}");

    let mut simulation = Simulation::new(60e3);
    simulation.wanted = 1.6e6;
    let estimate = simulation.run(Line { rate: 400e3, ..VILLAGE }, 20);
    assert!(estimate < 500e3, "there is none: {estimate}");
    assert!(simulation.waited < Duration::from_millis(200), "{:?}", simulation.waited);
}

#[test]
fn a_line_that_narrows_is_followed_within_seconds_and_one_that_widens_too() {
    let mut simulation = Simulation::new(5e6);
    simulation.run(Line { rate: 2e6, ..VILLAGE }, 40);
    let narrow = simulation.run(Line { rate: 0.3e6, ..VILLAGE }, 4);
    assert!(narrow < 0.35e6, "{narrow}");
    let narrow = simulation.run(Line { rate: 0.3e6, ..VILLAGE }, 20);
    assert!((0.15e6..0.33e6).contains(&narrow), "{narrow}");
    let wide = simulation.run(Line { rate: 2e6, ..VILLAGE }, 30);
    assert!(wide > 0.9e6, "{wide}");
}

#[test]
fn an_outage_of_three_seconds_is_got_over() {
    let mut simulation = Simulation::new(1e6);
    let line = Line { rate: 3e6, ..VILLAGE };
    simulation.run(line, 20);
    simulation.run(Line { loss: 1.0, ..line }, 3);
    let estimate = simulation.run(line, 10);
    assert!(estimate > 0.4e6, "{estimate}");
}

#[test]
fn nonsense_changes_nothing_much() {
    let mut bandwidth = Bandwidth::new();
    let now = Instant::now();
    let mut random = 1u64;
    for _ in 0..10_000 {
        let mut bytes = [0; 60];
        for byte in &mut bytes {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = (random >> 33) as u8;
        }
        bytes[..4].copy_from_slice(&[0x8f, 205, 0, 14]);
        for packet in rtcp::packets(&bytes) {
            if let Packet::TransportFeedback(feedback) = packet {
                bandwidth.feedback(now, feedback);
            }
        }
        bandwidth.sent(now, 1_200);
    }
    assert!(bandwidth.target() >= MIN as u64 && bandwidth.target() <= MAX as u64);
}
