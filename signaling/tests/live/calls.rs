//! Calls between clients of foreign DTLS, SRTP and STUN, through a whole server.

use std::time::{Duration, Instant};

use hewei_api::ws::{ClientMessage, Participant};
use hewei_client::{Call, CallEvent, Connection, Entry, Event, Outgoing, Shape, http};
use hewei_model::{Codec, MediaKind, Role};
use tokio::time::interval;

use crate::server::TestServer;

const PATIENCE: Duration = Duration::from_secs(30);
const TRACKS: [Codec; 2] = [Codec::Opus, Codec::Vp8];
const VIDEO: usize = 1;

/// What one of the two has been told so far.
#[derive(Default)]
struct Told {
    lobby: bool,
    connected: bool,
    people: Vec<Participant>,
    keyframes_wanted: usize,
}

impl Told {
    fn hear(&mut self, event: CallEvent) {
        match event {
            CallEvent::Welcome { lobby, .. } => self.lobby |= lobby,
            CallEvent::Connected(_) => self.connected = true,
            CallEvent::Participants(people) => self.people = people,
            CallEvent::Media(Event::KeyframeWanted { .. }) => self.keyframes_wanted += 1,
            CallEvent::Refused(problem) => panic!("{problem:?}"),
            CallEvent::Ended { reason, .. } => panic!("{reason:?}"),
            _ => {}
        }
    }
}

struct Pair {
    mediator: Call,
    party: Call,
    of_mediator: Told,
    of_party: Told,
    sent: u32,
    /// How many pictures of the party the network loses from now on.
    lose: u32,
}

impl Pair {
    /// A mediator who receives and a party who publishes, let in. Sound and picture come.
    async fn begin(server: &TestServer) -> Pair {
        let address = server.address();
        let mediator =
            Call::enter(address, entry(server, Role::Mediator, Shape::receiving(1, 1))).await.unwrap();
        let party =
            Call::enter(address, entry(server, Role::Party, Shape::publishing(TRACKS))).await.unwrap();
        let (of_mediator, of_party) = (Told::default(), Told::default());
        let mut pair = Pair { mediator, party, of_mediator, of_party, sent: 0, lose: 0 };
        pair.until("the mediator sees who waits", |pair| pair.of_mediator.people.iter().any(|one| one.lobby))
            .await;
        assert!(pair.of_party.lobby && !pair.of_mediator.lobby);
        let id = pair.of_mediator.people.iter().find(|one| one.lobby).unwrap().id.clone();
        pair.mediator.say(&ClientMessage::Admit { participant_id: id }).unwrap();
        pair.until("sound and picture come", |pair| {
            pair.received(MediaKind::Audio) >= 50 && pair.received(MediaKind::Video) >= 50
        })
        .await;
        pair
    }

    /// Both go on, and the party sends, until it is so.
    async fn until(&mut self, what: &str, mut so: impl FnMut(&mut Pair) -> bool) {
        let until = Instant::now() + PATIENCE;
        let mut ticks = interval(Duration::from_millis(20));
        while !so(self) {
            assert!(Instant::now() < until, "not within {PATIENCE:?}: {what}");
            tokio::select! {
                event = self.mediator.next() => self.of_mediator.hear(event.unwrap()),
                event = self.party.next() => self.of_party.hear(event.unwrap()),
                _ = ticks.tick() => self.send(),
            }
        }
    }

    fn send(&mut self) {
        if !self.of_party.connected {
            return;
        }
        self.sent += 1;
        let keyframe = self.sent % 50 == 1;
        if self.lose > 0 && !keyframe {
            self.lose -= 1;
            let connection = self.party.connection_mut().unwrap();
            while connection.poll_transmit().is_some() {}
            connection.send(Instant::now(), VIDEO, picture(self.sent, keyframe)).unwrap();
            connection.poll_transmit().expect("what is lost");
        } else {
            self.party.send(VIDEO, picture(self.sent, keyframe)).unwrap();
        }
        let sound = Outgoing { timestamp: 960 * self.sent, marker: false, payload: &[0xf8, 0xff, 0xfe] };
        self.party.send(0, sound).unwrap();
    }

    /// Packets of one kind that the mediator received.
    fn received(&self, kind: MediaKind) -> u64 {
        self.mediator.connection().map_or(0, |connection| received(connection, kind))
    }
}

/// A picture of one packet (RFC 7741 §4.2: S bit, partition 0; then the frame, whose lowest bit is 0 in a keyframe).
fn picture(number: u32, keyframe: bool) -> Outgoing<'static> {
    let payload: &[u8] = if keyframe {
        &[0x10, 0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a, 64, 0, 64, 0]
    } else {
        &[0x10, 0x11, 0x02, 0x00, 7, 7, 7]
    };
    Outgoing { timestamp: 1_800 * number, marker: true, payload }
}

fn received(connection: &Connection, kind: MediaKind) -> u64 {
    let slots = connection.slots().iter().enumerate();
    slots.filter(|(_, slot)| slot.kind == kind).map(|(at, _)| connection.received(at).packets).sum()
}

fn entry(server: &TestServer, role: Role, shape: Shape) -> Entry {
    let (token, room_id) = (server.token(role), server.room.to_string());
    Entry { token, room_id, record: false, shape, grows: true, comes_back: true }
}

#[tokio::test]
async fn foreign_clients_call_each_other() {
    let server = TestServer::start().await;
    let address = server.address();
    let mut pair = Pair::begin(&server).await;
    let connection = pair.mediator.connection().unwrap();
    let video = connection.slots().iter().position(|slot| slot.kind == MediaKind::Video).unwrap();
    assert!(connection.received(video).keyframes >= 1);
    assert_eq!((connection.received(video).codec, connection.unopened()), (Some(Codec::Vp8), 0));

    // What is lost on the way to the server is asked for and comes again.
    pair.lose = 3;
    pair.until("lost pictures were sent again and are there", |pair| {
        let (sent, mended) = (pair.party.connection().unwrap().sent(VIDEO), pair.received(MediaKind::Video));
        sent.retransmitted >= 3 && mended > 100
    })
    .await;
    assert_eq!(pair.mediator.connection().unwrap().received(video).lost, 0);

    let wanted = pair.of_party.keyframes_wanted;
    pair.mediator.connection_mut().unwrap().ask_keyframe(video).unwrap();
    pair.until("the wish for a keyframe goes through", |pair| pair.of_party.keyframes_wanted > wanted).await;

    // One more source than there are slots: the server asks for more, and they are offered.
    let lawyer = server.token(Role::Lawyer);
    let path = format!("/whip/{}", server.room);
    let mut encoder = http::offer(address, &path, &lawyer, Shape::publishing([Codec::Vp8])).await.unwrap();
    encoder.media.connected().await.unwrap();
    let mut number = 0;
    pair.until("the encoder's picture plays in a new slot", |pair| {
        number += 1;
        let connection = encoder.media.connection_mut();
        connection.send(Instant::now(), 0, picture(number, number % 25 == 1)).unwrap();
        encoder.media.flush();
        let connection = pair.mediator.connection().unwrap();
        let slots = connection.slots().iter().enumerate();
        slots
            .filter(|(at, slot)| slot.kind == MediaKind::Video && connection.received(*at).packets > 10)
            .count()
            == 2
    })
    .await;

    // A player sees who publishes now.
    let path = format!("/whep/{}", server.room);
    let leader = server.token(Role::Leader);
    let mut player = http::offer(address, &path, &leader, Shape::receiving(1, 1)).await.unwrap();
    let watch = tokio::spawn(async move {
        player.media.connected().await.unwrap();
        while received(player.media.connection(), MediaKind::Video) < 20 {
            player.media.next().await;
        }
        player.end().await
    });
    pair.until("the player has seen enough", |_| watch.is_finished()).await;
    watch.await.unwrap().unwrap();
    encoder.end().await.unwrap();

    let Pair { mut mediator, party, .. } = pair;
    party.leave().await.unwrap();
    let alone = async {
        loop {
            if let CallEvent::Participants(people) = mediator.next().await.unwrap()
                && people.iter().all(|one| one.role == Role::Mediator)
            {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, alone).await.expect("who left is off the list");
}

/// What the server has counted until now.
fn counted(server: &TestServer, name: &str) -> u64 {
    let counters = server.server.app().engine.counters();
    counters.iter().find(|(known, _)| *known == name).unwrap().1
}

#[tokio::test]
async fn a_call_goes_on_from_other_addresses() {
    let server = TestServer::start().await;
    let mut pair = Pair::begin(&server).await;
    let people = |pair: &Pair| {
        let mut people: Vec<_> =
            pair.of_mediator.people.iter().map(|one| (one.id.clone(), one.lobby, one.role)).collect();
        people.sort_by(|a, b| a.0.cmp(&b.0));
        people
    };
    let before = people(&pair);
    let connected = counted(&server, "media_peers_connected_total");
    // Who sends, who receives, and both at once; and the first one again, who has restarted before.
    for (party, mediator) in [(true, false), (false, true), (true, true), (true, false)] {
        if party {
            pair.party.change_network().unwrap();
        }
        if mediator {
            pair.mediator.change_network().unwrap();
        }
        let (audio, video) = (pair.received(MediaKind::Audio), pair.received(MediaKind::Video));
        pair.until("sound and picture come from and to the new addresses", |pair| {
            pair.received(MediaKind::Audio) > audio + 50 && pair.received(MediaKind::Video) > video + 50
        })
        .await;
    }
    // A word of the mediator's goes by the same socket, and a new list shows the same seats.
    pair.mediator.say(&ClientMessage::SetConsent { record: true }).unwrap();
    pair.until("the list comes anew", |pair| pair.of_mediator.people.iter().any(|one| one.record)).await;
    assert_eq!(people(&pair), before, "the same seats, and nobody in the lobby again");
    assert!(pair.of_mediator.people.iter().all(|one| !one.lobby && one.connected));
    assert_eq!(counted(&server, "media_peers_connected_total"), connected, "no handshake was made again");
    assert_eq!(pair.mediator.connection().unwrap().unopened(), 0);
    assert_eq!(counted(&server, "media_unauthentic_total") + counted(&server, "media_replayed_total"), 0);
}

#[tokio::test]
async fn the_media_wait_for_who_lost_the_socket_without_a_word() {
    let server = TestServer::start().await;
    let Pair { party, mediator: _mediator, .. } = Pair::begin(&server).await;
    let closed = counted(&server, "media_peers_closed_total");
    // Its TCP connection ends, and no close frame went before.
    drop(party);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(counted(&server, "media_peers_closed_total"), closed);
}

#[tokio::test]
async fn an_invitation_opens_once() {
    let server = TestServer::start().await;
    let error = http::join(server.address(), "no such code", None).await.unwrap_err();
    assert!(matches!(error, http::HttpError::Refused(_, 404, _)), "{error}");
}

#[tokio::test]
async fn a_token_that_is_none_ends_the_call_with_words() {
    let server = TestServer::start().await;
    let mut forged = entry(&server, Role::Party, Shape::receiving(0, 1));
    forged.token.pop();
    let mut call = Call::enter(server.address(), forged).await.unwrap();
    let refused = loop {
        if let CallEvent::Refused(problem) = call.next().await.unwrap() {
            break problem;
        }
    };
    assert_eq!(refused.kind, "token_invalid");
}
