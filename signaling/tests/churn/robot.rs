//! What robots at a browser do, and the hosts who let them in.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    time::{Duration, Instant},
};

use hewei_api::ws::{ClientMessage, EndReason, Tile};
use hewei_model::MediaKind;

use crate::{
    hall::{Member, Phase, Tally},
    person::Person,
};

/// The first of what a robot does, in which it does not come in again.
const STAYING: u32 = 4;
/// Who still waits after this is let in once more.
const AGAIN: Duration = Duration::from_secs(2);

/// The mediator of a room: is there before anybody else and after, lets in who waits, sends out who asks for it.
pub async fn host(mut member: Member) {
    let mut person = Person::host(&mut member).await;
    let (hall, room) = (member.hall.clone(), member.room);
    // Whom it has let in lately.
    let mut let_in = BTreeMap::new();
    let mut leads = move |person: &mut Person| {
        let_in.retain(|_, at: &mut Instant| at.elapsed() < AGAIN);
        let waiting = person.people.iter().filter(|one| one.lobby).map(|one| one.id.clone());
        for participant_id in waiting.collect::<Vec<_>>() {
            if let Entry::Vacant(vacant) = let_in.entry(participant_id.clone()) {
                vacant.insert(Instant::now());
                Tally::add(&member.hall.tally.admitted);
                person.say(&ClientMessage::Admit { participant_id });
            }
        }
        for participant_id in member.hall.to_send_out(room) {
            person.say(&ClientMessage::Remove { participant_id });
        }
    };
    loop {
        match hall.phase() {
            Phase::Leave if hall.is_empty(room) => break,
            Phase::Roll(roll) => person.answer(roll, &mut leads).await,
            _ => person.step().await,
        }
        leads(&mut person);
    }
    person.say(&ClientMessage::EndSession);
    assert_eq!(person.until_ended().await, EndReason::SessionEnded);
}

/// A party who does one thing after the other, and after each hears the host and is heard.
pub async fn robot(mut member: Member) {
    let (hall, room) = (member.hall.clone(), member.room);
    let mut person = Person::enter(&mut member).await;
    person.meet("coming").await;
    loop {
        match hall.phase() {
            Phase::Churn { .. } => {}
            Phase::Roll(roll) => {
                person.answer(roll, |_| {}).await;
                continue;
            }
            Phase::Leave => break,
        }
        person = act(&mut member, person).await;
    }
    if member.noise.one_in(3) {
        Tally::add(&hall.tally.dropped);
        drop(person);
    } else {
        person.leave().await;
    }
    hall.leave(room);
}

/// One thing that people do, or that is done to them.
async fn act(member: &mut Member, mut person: Person) -> Person {
    let (hall, room) = (member.hall.clone(), member.room);
    let deeds = if member.may_enter() { 9 } else { STAYING };
    match member.noise.below(deeds) {
        0 => {
            let kind = if member.noise.one_in(2) { MediaKind::Audio } else { MediaKind::Video };
            Tally::add(&hall.tally.muted);
            person.say(&ClientMessage::SetMuted { kind, muted: true });
            for _ in 0..member.noise.below(20) {
                person.step().await;
            }
            person.say(&ClientMessage::SetMuted { kind, muted: false });
            person.meet("being muted").await;
        }
        1 => {
            Tally::add(&hall.tally.views);
            let others = person.people.iter().filter(|one| one.id != person.id && !one.lobby);
            let tile = |id: &str, height| Tile { participant_id: id.to_owned(), height };
            let tiles = others.map(|one| tile(&one.id, [60, 90, 150, 360][member.noise.below(4) as usize]));
            let tiles = tiles.collect();
            person.say(&ClientMessage::View { tiles });
            person.meet("another view").await;
        }
        2 | 3 => {
            Tally::add(&hall.tally.restarts);
            person.change_network();
            person.meet("an ICE restart").await;
        }
        4 | 5 => {
            member.enters();
            person.come_back().await;
            person.meet("coming back on another socket").await;
        }
        6 => {
            hall.ask_to_be_sent_out(room, person.id.clone());
            assert_eq!(person.until_ended().await, EndReason::Removed);
            drop(person);
            person = Person::enter(member).await;
            person.meet("being sent out").await;
        }
        7 => {
            if member.noise.one_in(2) {
                person.leave().await;
            } else {
                Tally::add(&hall.tally.dropped);
                drop(person);
            }
            person = Person::enter(member).await;
            person.meet("leaving").await;
        }
        _ => {
            Tally::add(&hall.tally.taken_over);
            let mut before = person;
            person = Person::enter(member).await;
            person.meet("taking over").await;
            assert_eq!(before.until_ended().await, EndReason::Replaced);
        }
    }
    person
}
