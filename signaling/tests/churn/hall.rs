//! What the robots know of each other: which phase it is, whom the hosts have heard, who answered the roll call.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use hewei_model::{MediaKind, RoomId};

use crate::{PATIENCE, packets::Noise};

/// Packets of each kind that count as heard.
pub const HEARD: u32 = 4;
/// The number of the host of room 0, that of room 1 is one less.
const HOST: u32 = u32::MAX;

/// Somewhat less than the server allows: how often one token comes in.
const ENTRIES_MAX: usize = 7;
const ENTRIES_WINDOW: Duration = Duration::from_secs(11);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Robots do what they like, and nobody waits for them before this moment.
    Churn {
        until: Instant,
    },
    /// All stay where they are and hear all others.
    Roll(u32),
    Leave,
}

/// One of a room, and what it needs to come in.
pub struct Member {
    pub hall: Arc<Hall>,
    pub room: usize,
    pub token: String,
    pub noise: Noise,
    entered: Vec<Instant>,
}

impl Member {
    pub fn new(hall: &Arc<Hall>, room: usize, token: String, noise: Noise) -> Member {
        Member { hall: hall.clone(), room, token, noise, entered: Vec::new() }
    }

    /// It comes in.
    pub fn enters(&mut self) {
        self.entered.push(Instant::now());
    }

    /// Whether the server lets it come in again so soon.
    pub fn may_enter(&mut self) -> bool {
        self.entered.retain(|at| at.elapsed() < ENTRIES_WINDOW);
        self.entered.len() < ENTRIES_MAX
    }
}

/// How often what was done.
#[derive(Default)]
pub struct Tally {
    pub stays: AtomicU32,
    pub over_tcp: AtomicU32,
    pub admitted: AtomicU32,
    pub muted: AtomicU32,
    pub views: AtomicU32,
    /// From one size of a picture to another.
    pub switches: AtomicU32,
    pub restarts: AtomicU32,
    pub came_back: AtomicU32,
    pub resumed: AtomicU32,
    pub taken_over: AtomicU32,
    pub dropped: AtomicU32,
    pub packets: AtomicU64,
}

impl Tally {
    pub fn add(count: &AtomicU32) {
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Who came back on another socket, and of these, whose media had been kept.
    pub fn came_back(&self) -> (u32, u32) {
        (self.came_back.load(Ordering::Relaxed), self.resumed.load(Ordering::Relaxed))
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, count) in [
            ("stays", &self.stays),
            ("over TCP", &self.over_tcp),
            ("let in", &self.admitted),
            ("mutes", &self.muted),
            ("views", &self.views),
            ("layers switched", &self.switches),
            ("ICE restarts", &self.restarts),
            ("came back", &self.came_back),
            ("of these resumed", &self.resumed),
            ("taken over", &self.taken_over),
            ("dropped", &self.dropped),
        ] {
            write!(f, "{} {what}, ", count.load(Ordering::Relaxed))?;
        }
        write!(f, "{} packets", self.packets.load(Ordering::Relaxed))
    }
}

#[derive(Default)]
struct Room {
    /// Its host is heard.
    open: bool,
    /// Members, of whom so many answered this roll call.
    members: usize,
    answered: usize,
    /// Of these, the numbers of those who publish.
    numbers: BTreeSet<u32>,
    /// Those who have heard all of them.
    content: usize,
    /// Whom the host shall send out.
    to_send_out: Vec<String>,
    /// Who has left for good.
    left: usize,
}

pub struct Hall {
    pub address: SocketAddr,
    pub rooms: Vec<RoomId>,
    phase: Mutex<Phase>,
    inside: Mutex<Vec<Room>>,
    /// By number, what the host has heard of those who wait for it: sound and picture.
    awaited: Mutex<HashMap<u32, [u32; 2]>>,
    next: AtomicU32,
    pub tally: Tally,
}

impl Hall {
    pub fn new(address: SocketAddr, rooms: &[RoomId], members: impl Iterator<Item = usize>) -> Hall {
        let inside = members.map(|members| Room { members, ..Room::default() }).collect();
        Hall {
            address,
            rooms: rooms.to_vec(),
            phase: Mutex::new(Phase::Churn { until: Instant::now() }),
            inside: Mutex::new(inside),
            awaited: Mutex::default(),
            next: 0.into(),
            tally: Tally::default(),
        }
    }

    pub fn host(room: usize) -> u32 {
        HOST - room as u32
    }

    pub fn phase(&self) -> Phase {
        *self.phase.lock().unwrap()
    }

    pub fn set(&self, phase: Phase) {
        *self.phase.lock().unwrap() = phase;
    }

    /// All members of all rooms.
    pub fn people(&self) -> u64 {
        self.inside.lock().unwrap().iter().map(|room| room.members as u64).sum()
    }

    /// A number that nobody had, for the host to listen for.
    pub fn number(&self) -> u32 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.awaited.lock().unwrap().insert(number, [0; 2]);
        number
    }

    /// Nobody waits for it any more.
    pub fn forget(&self, number: u32) {
        self.awaited.lock().unwrap().remove(&number);
    }

    /// The host hears this.
    pub fn hear(&self, number: u32, kind: MediaKind) {
        if let Some(heard) = self.awaited.lock().unwrap().get_mut(&number) {
            heard[kind as usize] += 1;
        }
    }

    pub fn heard(&self, number: u32) -> [u32; 2] {
        self.awaited.lock().unwrap().get(&number).copied().unwrap_or_default()
    }

    /// Somebody has heard the host.
    pub fn open(&self, room: usize) {
        self.inside.lock().unwrap()[room].open = true;
    }

    pub fn is_open(&self, room: usize) -> bool {
        self.inside.lock().unwrap()[room].open
    }

    pub fn ask_to_be_sent_out(&self, room: usize, participant: String) {
        self.inside.lock().unwrap()[room].to_send_out.push(participant);
    }

    pub fn to_send_out(&self, room: usize) -> Vec<String> {
        std::mem::take(&mut self.inside.lock().unwrap()[room].to_send_out)
    }

    pub fn leave(&self, room: usize) {
        self.inside.lock().unwrap()[room].left += 1;
    }

    /// Whether nobody is left but the host.
    pub fn is_empty(&self, room: usize) -> bool {
        let room = &self.inside.lock().unwrap()[room];
        room.left + 1 == room.members
    }

    pub fn call_roll(&self, roll: u32) {
        for room in self.inside.lock().unwrap().iter_mut() {
            (room.answered, room.content) = (0, 0);
            room.numbers.clear();
        }
        self.set(Phase::Roll(roll));
    }

    /// Somebody answers the roll call, with the number of what they publish.
    pub fn answer(&self, room: usize, number: Option<u32>) {
        let room = &mut self.inside.lock().unwrap()[room];
        room.answered += 1;
        room.numbers.extend(number);
    }

    /// Who is to be heard, once all have answered.
    pub fn answered(&self, room: usize) -> Option<BTreeSet<u32>> {
        let room = &self.inside.lock().unwrap()[room];
        (room.answered == room.members).then(|| room.numbers.clone())
    }

    /// Somebody has heard all they should.
    pub fn is_content(&self, room: usize) {
        self.inside.lock().unwrap()[room].content += 1;
    }

    /// Waits until all have answered and are content.
    pub async fn all_answered(&self) {
        let until = Instant::now() + 2 * PATIENCE;
        while !self.inside.lock().unwrap().iter().all(|room| room.content == room.members) {
            assert!(Instant::now() < until, "not all have answered the roll call");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
