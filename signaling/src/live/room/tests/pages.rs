//! One seat and several pages: who comes back for its media, and who takes the seat from whom.

use super::*;

/// A page of this name.
fn page(id: &str, returns: bool, keeps_media: bool) -> Option<Page> {
    Some(Page { id: id.into(), returns, keeps_media })
}

const FIRST: &str = "the first page it is";
const OTHER: &str = "another page that is";

/// What a page says when it opens, and when it comes back with its media.
fn opens(id: &str) -> Option<Page> {
    page(id, false, false)
}

fn comes_back(id: &str) -> Option<Page> {
    page(id, true, true)
}

struct Alone {
    fixture: Fixture,
    claims: Claims,
    /// Of the one at the first page.
    peer: PeerId,
    messages: Reader,
    /// Somebody else, so that the room stays open.
    _mediator: Reader,
}

impl Alone {
    /// A lawyer, whom nobody lets in, at the first page. Media flow.
    async fn set() -> Self {
        let mut fixture = fixture().await;
        let (_, _mediator) = fixture.enter(Role::Mediator).await;
        let claims = claims(Role::Lawyer);
        let (peer, messages) = fixture.enter_by(&claims, opens(FIRST)).await;
        let mut set = Self { fixture, claims, peer, messages, _mediator };
        set.connected();
        set
    }

    fn connected(&mut self) {
        let (room, participant) = (self.fixture.room.info.id, self.claims.participant);
        let event = hewei_engine::Event::PeerConnected { room, participant, peer: self.peer };
        self.fixture.room.on_event(event);
    }

    fn media_closed(&mut self) {
        self.media_closed_by(hewei_engine::CloseReason::ConsentExpired);
    }

    fn media_closed_by(&mut self, reason: hewei_engine::CloseReason) {
        let (room, participant) = (self.fixture.room.info.id, self.claims.participant);
        let event = hewei_engine::Event::PeerClosed { room, participant, peer: self.peer, reason };
        self.fixture.room.on_event(event);
    }

    /// Whether this is the connection that holds the seat.
    fn holds(&self, peer: PeerId) -> bool {
        self.fixture.room.seat_of(peer).is_some()
    }

    /// Comes again as this page says. Gives the socket's end, and whether its media go on: `None` when it is told that
    /// another page has the seat.
    async fn again(&mut self, page: Option<Page>) -> (PeerId, Reader, Option<bool>) {
        let claims = self.claims.clone();
        let (socket, mut messages) = self.fixture.enter_by(&claims, page).await;
        let resumed = match messages.next_now() {
            Some(ServerMessage::WelcomeRoom { resumed, lobby: false, .. }) => Some(resumed),
            Some(ServerMessage::Ended { reason: EndReason::Replaced, .. }) => None,
            other => panic!("{other:?}"),
        };
        (socket, messages, resumed)
    }
}

fn was_replaced(messages: &mut Reader) -> bool {
    let is_replaced = |said| matches!(said, ServerMessage::Ended { reason: EndReason::Replaced, .. });
    std::iter::from_fn(|| messages.next_now()).any(is_replaced)
}

#[tokio::test]
async fn a_page_whose_socket_broke_comes_back_for_its_media() {
    let mut set = Alone::set().await;
    let (socket, mut messages) = (set.peer, std::mem::replace(&mut set.messages, Outbox::new().1));
    set.fixture.room.closed(socket, true);
    set.fixture.tick_in(9).await;
    assert!(set.holds(set.peer), "its media go on");
    let (second, mut list, resumed) = set.again(comes_back(FIRST)).await;
    assert_eq!(resumed, Some(true));
    assert!(set.holds(set.peer) && !set.holds(second), "the same media connection");
    set.fixture.room.lists_next = Instant::now();
    set.fixture.room.settle().await;
    let told =
        std::iter::from_fn(|| list.next_now()).any(|said| matches!(said, ServerMessage::Participants { .. }));
    assert!(told, "the list comes anew");
    // What it says by the new socket counts, and the end of the old one does not.
    set.fixture.say(second, ClientMessage::SetMuted { kind: MediaKind::Audio, muted: true }).await;
    assert!(set.fixture.room.seat_of(set.peer).unwrap().audio.muted);
    set.fixture.room.closed(socket, true);
    set.fixture.tick_in(60).await;
    assert!(set.holds(set.peer));
    assert!(!was_replaced(&mut messages));
    // The same when the server has not noticed that the socket is dead.
    let (third, _list, resumed) = set.again(comes_back(FIRST)).await;
    assert_eq!((resumed, set.holds(set.peer)), (Some(true), true));
    set.fixture.room.closed(third, false);
    assert!(!set.holds(set.peer), "a page that was closed does not come back");
}

#[tokio::test]
async fn media_without_a_socket_end_when_nobody_comes_for_them() {
    let mut set = Alone::set().await;
    set.fixture.room.closed(set.peer, true);
    set.fixture.tick_in(11).await;
    assert!(!set.holds(set.peer));
    // The minute on the list began with the loss.
    set.fixture.tick_in(59).await;
    assert_eq!(set.fixture.people(), 2);
    set.fixture.tick_in(61).await;
    assert_eq!(set.fixture.people(), 1);

    // Or when they stop by themselves.
    let mut set = Alone::set().await;
    set.fixture.room.closed(set.peer, true);
    set.media_closed();
    assert!(!set.holds(set.peer));
    let (_, _messages, resumed) = set.again(comes_back(FIRST)).await;
    assert_eq!(resumed, Some(false), "a whole new connection");
}

#[tokio::test]
async fn a_socket_goes_with_its_media_and_the_page_begins_anew() {
    let mut set = Alone::set().await;
    set.media_closed();
    assert!(!set.holds(set.peer));
    set.fixture.room.settle().await;
    while set.messages.next().await.is_some() {}
    // They see that it comes back, and where it was.
    let seat = set.fixture.room.seats.iter().find(|seat| seat.id == set.claims.participant).unwrap();
    assert!(seat.listed && seat.admitted && !seat.shown().connected);
    // The socket's own end comes later, and changes nothing.
    set.fixture.room.closed(set.peer, false);
    let (second, _messages, resumed) = set.again(comes_back(FIRST)).await;
    assert_eq!(
        (resumed, set.holds(second)),
        (Some(false), true),
        "its ends of the old connection fit nothing"
    );
    set.media_closed();
    assert!(set.holds(second), "the old one ends once");
}

#[tokio::test]
async fn who_says_goodbye_by_media_first_leaves_all_the_same() {
    let mut set = Alone::set().await;
    set.media_closed_by(hewei_engine::CloseReason::ClosedByPeer);
    assert!(set.holds(set.peer));
    set.fixture.say(set.peer, ClientMessage::Leave).await;
    assert_eq!(set.fixture.people(), 1, "off the list at once");
}

#[tokio::test]
async fn media_are_kept_for_the_same_page_and_the_same_person_alone() {
    let same = comes_back(FIRST);
    type Change = fn(&mut Alone);
    let others: [(&str, Option<Page>, Change); 5] = [
        ("another page", page(OTHER, false, true), |_| {}),
        ("no page", None, |_| {}),
        ("it lost its own end", page(FIRST, true, false), |_| {}),
        ("another role", same.clone(), |set| set.claims.role = Role::Leader),
        ("another name", same.clone(), |set| set.claims.name = "someone else".into()),
    ];
    for (what, page, change) in others {
        let mut set = Alone::set().await;
        let before = set.peer;
        set.fixture.room.closed(before, true);
        change(&mut set);
        let (now, _messages, resumed) = set.again(page).await;
        assert_eq!(resumed, Some(false), "{what}");
        assert!(set.holds(now) && !set.holds(before), "{what}");
    }
    // Who said no to the recorder meanwhile begins anew, with that.
    let mut set = Alone::set().await;
    let seat = set.fixture.room.seats.iter_mut().find(|seat| seat.id == set.claims.participant).unwrap();
    seat.record = false;
    assert_eq!(set.again(same).await.2, Some(false));
}

#[tokio::test]
async fn nothing_is_kept_of_who_waits_in_the_lobby_or_has_no_media() {
    let mut fixture = fixture().await;
    let (_, _mediator) = fixture.enter(Role::Mediator).await;
    for role in [Role::Party, Role::Lawyer] {
        let (socket, _messages) = fixture.enter_by(&claims(role), opens(FIRST)).await;
        fixture.room.closed(socket, true);
        assert!(fixture.room.seat_of(socket).is_none(), "{role}");
    }
}

#[tokio::test]
async fn access_that_ends_takes_media_without_a_socket_too() {
    let mut set = Alone::set().await;
    set.fixture.room.closed(set.peer, true);
    let link = set.fixture.room.seat_of_mut(set.peer).unwrap().link.as_mut().unwrap();
    link.open_until = OffsetDateTime::now_utc();
    set.fixture.tick_in(0).await;
    assert!(!set.holds(set.peer));
}

#[tokio::test]
async fn another_page_takes_the_seat_and_the_first_one_does_not_fight_back() {
    let mut set = Alone::set().await;
    let (second, _messages, resumed) = set.again(opens(OTHER)).await;
    assert_eq!(resumed, Some(false));
    assert!(was_replaced(&mut set.messages), "the first is told");
    let lawyers =
        |set: &Alone| set.fixture.room.seats.iter().filter(|seat| seat.role == Role::Lawyer).count();
    assert_eq!(lawyers(&set), 1, "the seat is not doubled");

    // The first one comes back by itself, as it would if it had not heard of it.
    let (socket, _told, resumed) = set.again(comes_back(FIRST)).await;
    assert_eq!(resumed, None);
    assert!(!set.holds(socket) && set.holds(second));
    assert_eq!(lawyers(&set), 1);
    // Its person takes the seat back by hand.
    let (third, _messages, resumed) = set.again(opens(FIRST)).await;
    assert_eq!((resumed, set.holds(third), set.holds(second)), (Some(false), true, false));

    // When nobody holds the seat, whoever had it comes back to it.
    set.fixture.room.closed(third, false);
    let (fourth, _messages, resumed) = set.again(comes_back(OTHER)).await;
    assert_eq!((resumed, set.holds(fourth)), (Some(false), true));
}
