//! What time does to a room, without waiting for it: the tick is told what time it is.

use hewei_api::ws::ServerMessage;
use hewei_cameras::Cameras;
use hewei_model::Role;

use super::*;
use crate::live::{shared::Tasks, source};

struct Fixture {
    room: Room,
    _commands: mpsc::Sender<Command>,
    _events: mpsc::Receiver<hewei_engine::Event>,
    _folder: tempfile::TempDir,
}

async fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let key = hewei_store::SealingKey::new(&[7; 32]);
    let store = hewei_store::Store::open(&folder.path().join("hewei.db"), key).await.unwrap();
    let (engine, events) = hewei_engine::Engine::start(hewei_engine::Config {
        port: 0,
        bind: "127.0.0.1".parse().unwrap(),
        candidates: vec!["127.0.0.1".parse().unwrap()],
        shards: 1,
        video_codecs: vec![hewei_model::Codec::H264],
    })
    .unwrap();
    let cameras_room = RoomId::generate();
    let shared = Arc::new(Shared {
        store,
        cameras: Cameras::new(Default::default(), source::sinks(engine.clone(), cameras_room)),
        cameras_room,
        engine,
        recorder: None,
        rooms: dashmap::DashMap::new(),
        tasks: Tasks::default(),
        sealing: Tasks::default(),
        stopping: false.into(),
    });
    let (commands, _) = mpsc::channel(1);
    let info = Info {
        id: RoomId::generate(),
        name: "调解室".into(),
        case_id: CaseId::generate(),
        case_number: "2026-0001".into(),
        case_title: "作物赔偿".into(),
    };
    shared.engine.open_room(info.id);
    let room = Room {
        info,
        shared,
        commands: commands.downgrade(),
        gauges: Arc::default(),
        seats: Vec::new(),
        session: None,
        in_effect: BTreeMap::new(),
        to_tell: Vec::new(),
        empty_since: Instant::now(),
        over: false,
    };
    Fixture { room, _commands: commands, _events: events, _folder: folder }
}

impl Fixture {
    /// Somebody comes in. Gives the connection's peer and the socket's end.
    async fn enter(&mut self, role: Role) -> (PeerId, mpsc::Receiver<ServerMessage>) {
        let (out, messages) = Outbox::new();
        let claims = Claims {
            name: role.as_str().into(),
            role,
            room: None,
            participant: ParticipantId::generate(),
            expires_at: OffsetDateTime::now_utc() + time::Duration::hours(1),
        };
        let peer = PeerId::generate();
        self.room.enter(Entry { claims, record: true, peer, out }).await.unwrap();
        self.room.settle().await;
        (peer, messages)
    }

    async fn tick_in(&mut self, seconds: u64) {
        self.room.on_tick(Instant::now() + Duration::from_secs(seconds)).await;
        self.room.settle().await;
    }

    fn people(&self) -> u32 {
        self.room.gauges.people.load(Ordering::Relaxed)
    }
}

#[tokio::test]
async fn who_is_lost_stays_on_the_list_for_a_minute_and_keeps_the_seat() {
    let mut fixture = fixture().await;
    let (_mediator, _messages) = fixture.enter(Role::Mediator).await;
    let (lawyer, _) = fixture.enter(Role::Lawyer).await;
    fixture.room.unlink(lawyer);
    fixture.tick_in(59).await;
    assert_eq!(fixture.people(), 2);
    fixture.tick_in(61).await;
    assert_eq!(fixture.people(), 1);
    assert_eq!(fixture.room.seats.len(), 2, "the seat is there for who comes back");
}

#[tokio::test]
async fn a_party_that_leaves_the_lobby_leaves_nothing() {
    let mut fixture = fixture().await;
    let (party, _) = fixture.enter(Role::Party).await;
    fixture.room.leave(party);
    fixture.tick_in(1).await;
    assert!(fixture.room.seats.is_empty());
    fixture.tick_in(3).await;
    assert!(fixture.room.over, "a room that nobody is in is closed");
}

#[tokio::test]
async fn a_session_ends_when_nobody_came_back_for_five_minutes() {
    let mut fixture = fixture().await;
    let (mediator, _) = fixture.enter(Role::Mediator).await;
    let (_party, mut waiting) = fixture.enter(Role::Party).await;
    assert!(fixture.room.session.is_some());
    fixture.room.unlink(mediator);
    fixture.tick_in(299).await;
    assert!(fixture.room.session.is_some());
    fixture.tick_in(301).await;
    assert!(fixture.room.session.is_none());
    assert!(!fixture.room.over, "somebody waits in the lobby");
    assert_eq!(fixture.room.seats.len(), 1);
    while let Ok(message) = waiting.try_recv() {
        assert!(!matches!(message, ServerMessage::Ended { .. }), "who waits goes on waiting");
    }
    // The next mediator begins another session.
    fixture.enter(Role::Mediator).await;
    assert!(fixture.room.session.is_some());
}

#[tokio::test]
async fn a_media_session_that_never_connects_is_given_up() {
    let mut fixture = fixture().await;
    let (_mediator, _messages) = fixture.enter(Role::Mediator).await;
    let claims = Claims {
        name: "encoder".into(),
        role: Role::Lawyer,
        room: None,
        participant: ParticipantId::generate(),
        expires_at: OffsetDateTime::now_utc() + time::Duration::hours(1),
    };
    let peer = PeerId::generate();
    let mut seat = Seat::new(ParticipantId::generate(), seat::Kind::Viewer, &claims, false);
    seat.link = Some(seat::Link::new(peer, None, &claims, Instant::now()));
    fixture.room.seats.push(seat);
    fixture.tick_in(29).await;
    assert!(fixture.room.seat_of(peer).is_some());
    fixture.tick_in(31).await;
    assert!(fixture.room.seat_of(peer).is_none());
    assert_eq!(fixture.people(), 1);
}

#[tokio::test]
async fn a_browser_that_does_not_read_is_given_up() {
    let mut fixture = fixture().await;
    let (_mediator, mut messages) = fixture.enter(Role::Mediator).await;
    let (deaf, _unread) = fixture.enter(Role::Lawyer).await;
    for muted in [true, false].into_iter().cycle().take(400) {
        let message = ClientMessage::SetMuted { kind: MediaKind::Audio, muted };
        // Every sound starts and stops, and everybody is told each time.
        fixture.room.seats[0].audio.flows = true;
        let mediator = fixture.room.seats[0].link.as_ref().unwrap().peer;
        fixture.room.said(mediator, message).await;
        fixture.room.settle().await;
        while messages.try_recv().is_ok() {}
    }
    assert!(fixture.room.seat_of(deaf).is_none());
    assert!(fixture.room.seats[0].present(), "who reads stays");
}
