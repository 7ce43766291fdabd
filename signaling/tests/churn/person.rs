//! Somebody in a room at a browser, who sends sound and picture and counts what comes of whom.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use hewei_api::ws::{ClientMessage, EndReason, Participant};
use hewei_client::{Call, CallError, CallEvent, Connection, Entry, Event, Outgoing, Shape, Track};
use hewei_model::{Codec, MediaKind};
use tokio::time::{Interval, interval};

use crate::{
    PATIENCE,
    hall::{HEARD, Hall, Member, Phase, Tally},
    packets::{self, HEIGHTS},
};

/// Each track sends this often: what is tested is that it arrives, not how much.
pub const SEND_EVERY: Duration = Duration::from_millis(100);
pub const TRACKS: [(Codec, MediaKind, u32); 2] =
    [(Codec::Opus, MediaKind::Audio, 4_800), (Codec::Vp8, MediaKind::Video, 9_000)];
/// To begin with; the server asks for more.
const SLOTS: usize = 3;
const TRAIL_MAX: usize = 12;

pub struct Person {
    hall: Arc<Hall>,
    room: usize,
    host: bool,
    /// Sizes of its picture.
    layers: usize,
    /// In the packets.
    number: u32,
    call: Call,
    pub id: String,
    connected: bool,
    pub people: Vec<Participant>,
    ended: Option<EndReason>,
    does: &'static str,
    /// It is about to, or to begin anew, and the media connection may end first.
    ends: bool,
    /// Packets by number: sound and picture.
    heard: HashMap<u32, [u32; 2]>,
    /// The size of the pictures with a number.
    heights: HashMap<u32, u8>,
    tick: Interval,
    sent: u32,
    began: Instant,
    /// What happened last, the newest first, for messages.
    trail: VecDeque<String>,
}

impl Person {
    pub async fn enter(member: &mut Member) -> Person {
        member.enters();
        let Member { hall, room, token, noise, .. } = member;
        let layers = 1 + noise.below(HEIGHTS.len() as u32) as usize;
        let layers_of = |kind| if kind == MediaKind::Video { layers } else { 1 };
        let tracks =
            TRACKS.map(|(codec, kind, _)| Track { layers: layers_of(kind), ..Track::new(codec) }).to_vec();
        let entry = Entry {
            token: token.clone(),
            room_id: hall.rooms[*room].to_string(),
            record: noise.one_in(4),
            shape: Shape { tracks, audio_slots: SLOTS, video_slots: SLOTS, gcm: noise.one_in(2) },
            grows: true,
            comes_back: true,
        };
        let mut call = Call::enter(hall.address, entry).await.unwrap();
        if noise.one_in(4) {
            call.over_tcp();
            Tally::add(&hall.tally.over_tcp);
        }
        Tally::add(&hall.tally.stays);
        Person {
            hall: hall.clone(),
            room: *room,
            host: false,
            layers,
            number: hall.number(),
            call,
            id: String::new(),
            connected: false,
            people: Vec::new(),
            ended: None,
            does: "nothing",
            ends: false,
            heard: HashMap::new(),
            heights: HashMap::new(),
            tick: interval(SEND_EVERY),
            sent: 0,
            began: Instant::now(),
            trail: VecDeque::new(),
        }
    }

    /// Who stays in the room, and listens for all others.
    pub async fn host(member: &mut Member) -> Person {
        let person = Person::enter(member).await;
        person.hall.forget(person.number);
        Person { host: true, number: Hall::host(member.room), ..person }
    }

    /// The next thing that happens, or the next packets to send.
    pub async fn step(&mut self) {
        tokio::select! {
            _ = self.tick.tick() => self.send(),
            event = self.call.next() => match event {
                Ok(event) => self.take(event),
                Err(CallError::Media(_)) if self.ends => self.connected = false,
                Err(error) => panic!("{} {}: {error}", self.id, self.way()),
            }
        }
    }

    fn send(&mut self) {
        if !self.connected {
            return;
        }
        self.sent += 1;
        for (track, (_, kind, step)) in TRACKS.into_iter().enumerate() {
            let layers = if kind == MediaKind::Video { self.layers } else { 1 };
            for (layer, height) in HEIGHTS.into_iter().enumerate().take(layers) {
                let payload = packets::payload(kind, height, self.number);
                let outgoing = Outgoing { timestamp: self.sent * step, marker: true, payload: &payload };
                // A connection that has ended is told of by what happens next.
                let _ = self.call.send_layer(track, layer, outgoing);
            }
        }
    }

    fn take(&mut self, event: CallEvent) {
        if !matches!(event, CallEvent::Media(Event::Packet { .. })) {
            let told = format!("{:?} {:.200}", self.began.elapsed(), format!("{event:?}"));
            self.trail.truncate(TRAIL_MAX - 1);
            self.trail.push_front(told);
        }
        let tally = &self.hall.tally;
        match event {
            CallEvent::Welcome { participant_id, resumed, .. } => {
                self.id = participant_id;
                self.connected &= resumed;
                self.ends = false;
                if resumed {
                    Tally::add(&tally.resumed);
                }
            }
            CallEvent::Connected(_) => self.connected = true,
            CallEvent::Participants(people) => self.people = people,
            CallEvent::Ended { reason, .. } => self.ended = Some(reason),
            CallEvent::Media(Event::Packet { packet, .. }) => {
                tally.packets.fetch_add(1, Ordering::Relaxed);
                let (Some(number), kind) = (packets::number(&packet), packets::kind(&packet)) else { return };
                if self.host {
                    self.hall.hear(number, kind);
                }
                // Hosts stay for hours, and hear everybody.
                if !self.host || matches!(self.hall.phase(), Phase::Roll(_)) {
                    self.heard.entry(number).or_default()[kind as usize] += 1;
                    let height = packets::height(&packet).filter(|_| kind == MediaKind::Video);
                    if height.is_some_and(|height| {
                        self.heights.insert(number, height).is_some_and(|old| old != height)
                    }) {
                        Tally::add(&tally.switches);
                    }
                }
            }
            // Whom a host lets in may be gone again.
            CallEvent::Refused(problem) => {
                assert!(
                    self.host,
                    "{} {} is refused: {problem:?}; it went {:#?}",
                    self.id,
                    self.way(),
                    self.trail
                );
            }
            _ => {}
        }
    }

    pub fn change_network(&mut self) {
        self.call.change_network().unwrap();
    }

    pub async fn come_back(&mut self) {
        self.ends = true;
        Tally::add(&self.hall.tally.came_back);
        self.call.come_back(self.hall.address).await.unwrap();
    }

    pub async fn leave(self) {
        self.call.leave().await.unwrap();
    }

    /// For messages.
    fn way(&self) -> String {
        let way = if self.call.connection().is_some_and(Connection::is_over_tcp) { "TCP" } else { "UDP" };
        let connected = if self.connected { "connected" } else { "not connected" };
        format!("over {way}, {connected}, doing {}", self.does)
    }

    pub fn say(&mut self, message: &ClientMessage) {
        self.call.say(message).unwrap();
    }

    fn has_heard(&self, number: u32) -> bool {
        self.heard.get(&number).is_some_and(|heard| heard.iter().all(|count| *count >= HEARD))
    }

    /// From now on its packets have another number, and what was heard is forgotten.
    fn anew(&mut self) {
        self.heard.clear();
        self.heights.clear();
        if !self.host {
            self.hall.forget(self.number);
            self.number = self.hall.number();
        }
    }

    /// Hears the host of the room and is heard by it, from now on.
    pub async fn meet(&mut self, what: &'static str) {
        self.does = what;
        self.anew();
        let (until, host) = (Instant::now() + PATIENCE, Hall::host(self.room));
        loop {
            let told = self.hall.heard(self.number);
            if self.has_heard(host) && told.iter().all(|count| *count >= HEARD) {
                break;
            }
            let heard = self.heard.get(&host).copied().unwrap_or_default();
            assert!(self.ended.is_none(), "{} {}: {:?}", self.id, self.way(), self.ended);
            assert!(
                Instant::now() < until,
                "a track is stuck: {} {}, heard {heard:?}, was heard {told:?}; it went {:#?}",
                self.id,
                self.way(),
                self.trail
            );
            self.step().await;
        }
        self.hall.open(self.room);
    }

    /// Stays for a roll call until it is over, and hears all others. Who comes late to it may need what is done `besides`.
    pub async fn answer(&mut self, roll: u32, mut besides: impl FnMut(&mut Person)) {
        self.does = "the roll call";
        self.anew();
        self.hall.answer(self.room, Some(self.number));
        let until = Instant::now() + PATIENCE;
        let mut content = false;
        while self.hall.phase() == Phase::Roll(roll) {
            if !content && let Some(numbers) = self.hall.answered(self.room) {
                let missing = |number: &&u32| **number != self.number && !self.has_heard(**number);
                let missing: Vec<u32> = numbers.iter().filter(missing).copied().collect();
                content = missing.is_empty();
                if content {
                    self.hall.is_content(self.room);
                }
                assert!(
                    Instant::now() < until,
                    "a track is stuck: {} {} in room {} does not hear {missing:?}",
                    self.id,
                    self.way(),
                    self.room
                );
            }
            besides(self);
            self.step().await;
        }
    }

    /// Goes on until it is told that it is over.
    pub async fn until_ended(&mut self) -> EndReason {
        let until = Instant::now() + PATIENCE;
        self.ends = true;
        loop {
            if let Some(reason) = self.ended {
                return reason;
            }
            assert!(Instant::now() < until, "{} is not told that it is over", self.id);
            self.step().await;
        }
    }
}
