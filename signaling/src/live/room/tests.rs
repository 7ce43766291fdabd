//! What time does to a room, without waiting for it: the tick is told what time it is.

mod pages;

use hewei_api::ws::ServerMessage;
use hewei_model::Role;

use super::*;
use crate::live::{outbox::Reader, recording, testing};

struct Fixture {
    room: Room,
    _commands: mpsc::Sender<Command>,
    _events: mpsc::Receiver<hewei_engine::Event>,
    _folder: tempfile::TempDir,
}

fn info() -> Info {
    Info {
        id: RoomId::generate(),
        name: "调解室".into(),
        case_id: CaseId::generate(),
        case_number: "2026-0001".into(),
        case_title: "作物赔偿".into(),
    }
}

fn claims(role: Role) -> Claims {
    testing::claims(role, time::Duration::hours(1))
}

async fn fixture() -> Fixture {
    let (shared, folder, events) = testing::shared().await;
    let (commands, _) = mpsc::channel(1);
    let room = Room::new(info(), &shared, commands.downgrade());
    let now = OffsetDateTime::now_utc();
    let Info { id, case_id, .. } = room.info;
    let case = hewei_store::Case {
        id: case_id,
        number: room.info.case_number.clone(),
        title: room.info.case_title.clone(),
        region_id: None,
        created_at: now,
    };
    shared.store.add_case(&case).await.unwrap();
    let name = room.info.name.clone();
    shared.store.add_room(&hewei_store::Room { id, case_id, name, created_at: now }).await.unwrap();
    shared.engine.open_room(id);
    Fixture { room, _commands: commands, _events: events, _folder: folder }
}

impl Fixture {
    /// Somebody comes in. Gives the connection's peer and the socket's end.
    async fn enter(&mut self, role: Role) -> (PeerId, Reader) {
        self.enter_as(&claims(role)).await
    }

    async fn enter_as(&mut self, claims: &Claims) -> (PeerId, Reader) {
        self.enter_by(claims, None).await
    }

    /// The same by a page that says which one it is.
    async fn enter_by(&mut self, claims: &Claims, page: Option<Page>) -> (PeerId, Reader) {
        let (out, messages) = Outbox::new();
        let socket = PeerId::generate();
        let entry = Entry { claims: claims.clone(), record: true, page, socket, out };
        self.room.enter(entry).await.unwrap();
        self.room.settle().await;
        (socket, messages)
    }

    async fn say(&mut self, peer: PeerId, message: ClientMessage) {
        self.room.said(peer, message).await;
        self.room.settle().await;
    }

    /// Seats of people who left long ago, as many as are kept.
    fn fill_with_the_gone(&mut self) {
        while self.room.seats.len() < SEATS_MAX {
            let claims = claims(Role::Lawyer);
            let mut seat = Seat::new(claims.participant, seat::Kind::Browser, &claims, false);
            seat.listed = false;
            self.room.seats.push(seat);
        }
    }

    async fn tick_in(&mut self, seconds: u64) {
        self.room.on_tick(Instant::now() + Duration::from_secs(seconds)).await;
        self.room.settle().await;
    }

    /// What the database holds of the session.
    async fn kept(&self) -> Option<hewei_store::LiveSession> {
        let mut sessions = self.room.shared.store.live_sessions().await.unwrap();
        assert!(sessions.len() <= 1);
        sessions.pop()
    }

    /// The room as the next run of the server finds it.
    async fn restart(&mut self) {
        let (info, shared) = (self.room.info.clone(), self.room.shared.clone());
        let kept = self.kept().await;
        self.room = Room::new(info, &shared, self._commands.downgrade());
        kept.into_iter().for_each(|session| self.room.restore(session));
    }

    fn people(&self) -> u32 {
        self.room.gauges.people.load(Ordering::Relaxed)
    }
}

#[tokio::test]
async fn who_is_lost_stays_on_the_list_for_a_minute_and_keeps_the_seat() {
    for (role, admitted) in [
        (Role::Lawyer, true),
        (Role::Mediator, true),
        (Role::Leader, true),
        (Role::Party, true),
        (Role::Party, false),
    ] {
        let mut fixture = fixture().await;
        let (mediator, _messages) = fixture.enter(Role::Mediator).await;
        let who = claims(role);
        let (lost, _reader) = fixture.enter_as(&who).await;
        if role == Role::Party && admitted {
            let participant_id = who.participant.to_string();
            fixture.say(mediator, ClientMessage::Admit { participant_id }).await;
        }
        fixture.room.closed(lost, true);
        fixture.tick_in(59).await;
        // The mediator sees that they are being waited for, and where.
        let shown = |fixture: &Fixture| {
            let reader = fixture.room.seat_of(mediator).unwrap();
            let list = seat::list_for(reader, &fixture.room.seats);
            list.into_iter()
                .find(|one| one.id == who.participant.to_string())
                .map(|one| (one.connected, one.lobby))
        };
        assert_eq!(shown(&fixture), Some((false, !admitted)), "{role}");
        fixture.tick_in(61).await;
        assert_eq!(shown(&fixture), None, "{role}");
        assert_eq!(fixture.people(), 1);
        // Who was let in finds the seat; who never was begins anew.
        assert_eq!(fixture.room.seats.iter().any(|seat| seat.id == who.participant), admitted, "{role}");
        let (back, _again) = fixture.enter_as(&who).await;
        assert_eq!(fixture.room.seat_of(back).unwrap().admitted, admitted, "{role}");
    }
}

#[tokio::test]
async fn who_comes_again_and_again_waits_and_others_do_not() {
    let mut fixture = fixture().await;
    let lawyer = claims(Role::Lawyer);
    let enter = async |fixture: &mut Fixture, claims: &Claims| {
        let (out, messages) = Outbox::new();
        let (claims, socket) = (claims.clone(), PeerId::generate());
        let entry = Entry { claims, record: true, page: None, socket, out };
        fixture.room.enter(entry).await.map(|()| messages)
    };
    let mut readers = Vec::new();
    let refused = loop {
        match enter(&mut fixture, &lawyer).await {
            Ok(messages) => readers.push(messages),
            Err(problem) => break problem.into_body(),
        }
        assert!(readers.len() <= 50, "nobody is refused");
    };
    assert_eq!((refused.status, refused.kind.as_str()), (429, "rate_limited"));
    assert!(readers.len() >= 10);
    let seat = fixture.room.seats.iter().find(|seat| seat.id == lawyer.participant).unwrap();
    assert!(seat.present(), "the one who is in stays");
    assert!(enter(&mut fixture, &claims(Role::Lawyer)).await.is_ok());
    fixture.tick_in(10).await;
    assert!(fixture.room.entries.is_empty(), "nothing is remembered");
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
    while let Some(message) = waiting.next_now() {
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
    let claims = claims(Role::Lawyer);
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
    let (mediator, _messages) = fixture.enter(Role::Mediator).await;
    let (deaf, _unread) = fixture.enter(Role::Lawyer).await;
    for _ in 0..200 {
        // Each is answered by an error.
        fixture.say(deaf, ClientMessage::EndSession).await;
    }
    assert!(fixture.room.seat_of(deaf).is_none());
    assert!(fixture.room.seat_of(mediator).is_some(), "who reads stays");
}

#[tokio::test]
async fn changes_of_one_person_push_nobody_off_a_slow_line() {
    let mut fixture = fixture().await;
    let (mediator, _messages) = fixture.enter(Role::Mediator).await;
    let (slow, mut unread) = fixture.enter(Role::Lawyer).await;
    for muted in [true, false].into_iter().cycle().take(400) {
        fixture.room.seats[0].audio.flows = true;
        fixture.say(mediator, ClientMessage::SetMuted { kind: MediaKind::Audio, muted }).await;
        // However often the lists go out.
        fixture.room.lists_next = Instant::now();
        fixture.room.settle().await;
    }
    assert!(fixture.room.seat_of(slow).is_some());
    let mut lists = Vec::new();
    while let Some(message) = unread.next_now() {
        if let ServerMessage::Participants { participants } = message {
            lists.push(participants);
        }
    }
    assert_eq!(lists.len(), 1, "the newest");
    assert!(!lists[0][0].audio_muted);
}

#[tokio::test]
async fn lists_go_out_at_most_five_times_a_second_and_the_last_change_is_told() {
    let mut fixture = fixture().await;
    let (mediator, mut messages) = fixture.enter(Role::Mediator).await;
    let began = Instant::now();
    fixture.room.seats[0].audio.flows = true;
    let mut lists = 0u128;
    let mut muted_last = None;
    let mut read = |messages: &mut Reader| {
        while let Some(message) = messages.next_now() {
            if let ServerMessage::Participants { participants } = message {
                lists += 1;
                muted_last = Some(participants[0].audio_muted);
            }
        }
        (lists, muted_last)
    };
    for muted in [true, false].into_iter().cycle().take(199) {
        fixture.say(mediator, ClientMessage::SetMuted { kind: MediaKind::Audio, muted }).await;
        read(&mut messages);
    }
    let periods = began.elapsed().as_millis() / LISTS_EVERY.as_millis();
    let lists = read(&mut messages).0;
    assert!(lists <= periods + 2, "{lists} lists in {periods} periods");
    tokio::time::sleep(LISTS_EVERY).await;
    fixture.room.settle().await;
    assert_eq!(read(&mut messages).1, Some(true));
}

#[tokio::test]
async fn a_full_table_of_seats_forgets_neither_who_publishes_nor_who_was_removed() {
    let mut fixture = fixture().await;
    let publisher = claims(Role::Lawyer);
    let mut seat = Seat::new(ParticipantId::generate(), seat::Kind::Publisher, &publisher, false);
    seat.listed = false;
    let held = seat.id;
    fixture.room.seats.push(seat);
    let (mediator, _messages) = fixture.enter(Role::Mediator).await;
    let lawyer = claims(Role::Lawyer);
    let (_, _others) = fixture.enter_as(&lawyer).await;
    let participant_id = lawyer.participant.to_string();
    fixture.say(mediator, ClientMessage::Remove { participant_id }).await;
    fixture.fill_with_the_gone();

    let kind = HttpKind::Publish { record: false };
    let entry = HttpEntry { claims: publisher, kind, sdp: "v=0 nonsense".into() };
    assert!(fixture.room.enter_http(entry).await.is_err(), "the offer is refused, and nothing worse");
    assert!(fixture.room.seats.iter().any(|seat| seat.id == held));

    fixture.fill_with_the_gone();
    let (back, _others) = fixture.enter_as(&lawyer).await;
    assert!(fixture.room.seat_of(back).unwrap().lobby());
}

#[tokio::test]
async fn a_wider_audience_is_journalled_and_a_journal_that_is_full_ends_the_recording_at_once() {
    let mut fixture = fixture().await;
    let (recording, lines) = recording::Recording::detached(&fixture.room.info, 8);
    fixture.room.session = Some(Session::recorded_by(recording));
    let (_, mut messages) = fixture.enter(Role::Mediator).await;
    // Their joining and their sound and picture, recorded.
    assert_eq!(lines.try_iter().count(), 3);
    assert!(fixture.room.in_effect.values().all(|audience| audience.recorder));
    while messages.next_now().is_some() {}

    // Joined, and one wider audience for each of four sources at least: with what waits already it does not fit.
    let (_, _second) = fixture.enter(Role::Lawyer).await;
    let (_, _third) = fixture.enter(Role::Lawyer).await;
    assert_eq!(lines.try_iter().count(), 8);
    assert!(!fixture.room.in_effect.is_empty());
    assert!(fixture.room.in_effect.values().all(|audience| !audience.recorder), "nothing goes unjournalled");
    let mut told = None;
    while let Some(message) = messages.next_now() {
        if let ServerMessage::RecordingChanged { recording, .. } = message {
            told = Some(recording);
        }
    }
    assert_eq!(told, Some(false));
}

#[tokio::test]
async fn the_journal_never_shows_less_than_what_is_enforced() {
    let mut fixture = fixture().await;
    let (recording, lines) = recording::Recording::detached(&fixture.room.info, 1_000);
    fixture.room.session = Some(Session::recorded_by(recording));
    let (_, _first) = fixture.enter(Role::Mediator).await;
    let source = fixture.room.seats[0].id;
    let (leaving, _second) = fixture.enter(Role::Lawyer).await;
    let gone = fixture.room.seat_of(leaving).unwrap().id;
    lines.try_iter().for_each(drop);
    // One goes and one comes between two settlings: a change that takes away and adds.
    fixture.room.unlink(leaving);
    let (_, _third) = fixture.enter(Role::Lawyer).await;
    let come = fixture.room.seats[2].id;
    let shown: Vec<(bool, bool)> = lines
        .try_iter()
        .filter_map(|(_, entry)| match entry {
            recording::Entry::Audience { publisher, kind: MediaKind::Audio, audience }
                if publisher == hewei_model::Publisher::Participant(source) =>
            {
                Some((audience.admits(gone), audience.admits(come)))
            }
            _ => None,
        })
        .collect();
    assert_eq!(shown, [(false, false), (false, true)]);
}

#[tokio::test]
async fn a_token_ends_however_many_messages_come() {
    let (shared, _folder, _events) = testing::shared().await;
    let room = open(&shared, info(), None);
    let (out, mut messages) = Outbox::new();
    let claims = testing::claims(Role::Mediator, time::Duration::seconds(1));
    let (reply, answer) = oneshot::channel();
    let entry = Entry { claims, record: true, page: None, socket: PeerId::generate(), out };
    assert!(room.send(Command::Enter { entry, reply }).await);
    answer.await.unwrap().unwrap();
    // Several, so that the queue never runs empty.
    let mut floods = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let room = room.clone();
        let command = || Command::Closed { socket: PeerId::generate(), broken: true };
        floods.spawn(async move { while room.send(command()).await {} });
    }
    let ended = async {
        loop {
            match messages.next().await.expect("it says why it ends") {
                ServerMessage::Ended { reason, .. } => return reason,
                _ => continue,
            }
        }
    };
    let reason = tokio::time::timeout(Duration::from_secs(20), ended).await.expect("in time");
    assert_eq!(reason, EndReason::TokenExpired);
}

#[tokio::test]
async fn what_people_are_told_is_written_down_before_they_are_told() {
    let mut fixture = fixture().await;
    let (party, mut told) = fixture.enter(Role::Party).await;
    assert_eq!(fixture.kept().await, None, "no session yet");
    let (mediator, _messages) = fixture.enter(Role::Mediator).await;
    let seat = fixture.room.seat_of(party).unwrap().id;
    let kept = async |fixture: &Fixture| {
        let session = fixture.kept().await.unwrap();
        session
            .seats
            .into_iter()
            .find(|kept| kept.participant == seat)
            .map(|kept| (kept.admitted, kept.record))
    };
    assert_eq!(kept(&fixture).await, Some((false, true)));

    let participant_id = seat.to_string();
    fixture.room.said(mediator, ClientMessage::Admit { participant_id: participant_id.clone() }).await;
    let mut was_told =
        || std::iter::from_fn(|| told.next_now()).any(|said| matches!(said, ServerMessage::Admitted));
    assert!(!was_told());
    fixture.room.settle().await;
    assert_eq!(kept(&fixture).await, Some((true, true)));
    assert!(was_told());
    fixture.say(party, ClientMessage::SetConsent { record: false }).await;
    assert_eq!(kept(&fixture).await, Some((true, false)));
    fixture.say(mediator, ClientMessage::Remove { participant_id }).await;
    assert_eq!(kept(&fixture).await, None);
    assert!(fixture.kept().await.unwrap().removed.contains(&seat));
    fixture.say(mediator, ClientMessage::EndSession).await;
    assert_eq!(fixture.kept().await, None);
}

#[tokio::test]
async fn the_next_run_of_the_server_finds_everybody_away_and_everything_else_as_it_was() {
    let mut fixture = fixture().await;
    let people: Vec<Claims> =
        [Role::Mediator, Role::Party, Role::Party, Role::Lawyer].into_iter().map(claims).collect();
    let mut at = Vec::new();
    let mut readers = Vec::new();
    for person in &people {
        let (peer, messages) = fixture.enter_as(person).await;
        at.push(peer);
        readers.push(messages);
    }
    let id_of = |index: usize| people[index].participant.to_string();
    fixture.say(at[0], ClientMessage::Admit { participant_id: id_of(1) }).await;
    fixture.say(at[0], ClientMessage::Remove { participant_id: id_of(3) }).await;
    fixture.say(at[1], ClientMessage::SetMuted { kind: MediaKind::Audio, muted: true }).await;
    fixture.room.end(EndReason::ServerStopping).await;
    let session = fixture.kept().await.unwrap();
    assert!(session.seats[1].audio_muted && !session.seats[1].video_muted);

    fixture.restart().await;
    assert_eq!(fixture.room.session.as_ref().map(Session::id), Some(session.id));
    fixture.room.settle().await;
    assert!(!fixture.room.seats.iter().any(Seat::present));
    assert_eq!(fixture.people(), 3);
    for (index, lobby) in [(1, false), (2, true), (3, true), (0, false)] {
        let (peer, mut messages) = fixture.enter_as(&people[index]).await;
        assert!(
            matches!(messages.next_now(), Some(ServerMessage::WelcomeRoom { lobby: told, .. }) if told == lobby),
            "{index}"
        );
        let seat = fixture.room.seat_of(peer).unwrap();
        assert_eq!((seat.id, seat.lobby()), (people[index].participant, lobby));
        assert_eq!(seat.audio.muted, index == 1, "until they say otherwise");
        readers.push(messages);
    }
    assert_eq!(fixture.room.session.as_ref().map(Session::id), Some(session.id), "the same session goes on");

    // When nobody comes back it ends as any other.
    fixture.room.end(EndReason::ServerStopping).await;
    fixture.restart().await;
    fixture.tick_in(299).await;
    assert!(fixture.room.session.is_some());
    fixture.tick_in(301).await;
    assert!(fixture.room.session.is_none());
    assert_eq!(fixture.kept().await, None);
}

#[tokio::test]
async fn the_database_is_left_alone_while_nothing_changes() {
    let mut fixture = fixture().await;
    let (mediator, _messages) = fixture.enter(Role::Mediator).await;
    // Nobody can write to it any more.
    fixture.room.shared.store.close().await;
    fixture.tick_in(1).await;
    fixture.room.on_event(hewei_engine::Event::PeerConnected {
        room: fixture.room.info.id,
        participant: fixture.room.seats[0].id,
        peer: mediator,
    });
    fixture.room.settle().await;
    assert!(!fixture.room.kept.failed());
    fixture.room.seats[0].record = false;
    fixture.room.settle().await;
    assert!(fixture.room.kept.failed());
}
