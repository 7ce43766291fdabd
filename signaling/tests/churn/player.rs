//! Robots that publish by WHIP, and those that watch by WHEP.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use hewei_client::{Event, Outgoing, Shape, http};
use tokio::time::interval;

use crate::{
    PATIENCE,
    hall::{HEARD, Hall, Member, Phase, Tally},
    packets,
    person::{SEND_EVERY, TRACKS},
};

/// A server learns by their silence that they have dropped (RFC 7675 §5.1 has 30 s), and a roll call waits for that.
const DROPS_BEFORE: Duration = Duration::from_secs(35);
const SLOTS: usize = 16;

/// What one does at the end of a turn.
enum Turn {
    Restart,
    Drop,
    End,
}

fn turn(member: &mut Member, dropped: &mut Option<Instant>) -> Turn {
    let drops = match member.hall.phase() {
        // One that has dropped keeps its place for as long, and there are few.
        _ if dropped.is_some_and(|at| at.elapsed() < DROPS_BEFORE) => false,
        Phase::Churn { until } => until.saturating_duration_since(Instant::now()) > DROPS_BEFORE,
        Phase::Roll(_) | Phase::Leave => false,
    };
    match member.noise.below(8) {
        0..4 => Turn::Restart,
        4 if drops => Turn::Drop,
        _ => Turn::End,
    }
}

/// Publishes, and is heard by the host after each turn.
pub async fn publisher(mut member: Member) {
    let (hall, room) = (member.hall.clone(), member.room);
    let path = format!("/whip/{}", hall.rooms[room]);
    let mut dropped = None;
    while hall.phase() != Phase::Leave {
        let shape = Shape::publishing(TRACKS.map(|(codec, ..)| codec));
        let mut session = http::offer(hall.address, &path, &member.token, shape).await.unwrap();
        Tally::add(&hall.tally.stays);
        session.media.connected().await.unwrap();
        let mut tick = interval(SEND_EVERY);
        let (mut number, mut sent, mut roll) = (hall.number(), 0, None);
        let mut until = Instant::now() + PATIENCE;
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                event = session.media.next() => match event {
                    Event::Over(error) => panic!("a publisher: {error}"),
                    _ => continue,
                },
            }
            sent += 1;
            for (track, (_, kind, step)) in TRACKS.into_iter().enumerate() {
                let payload = packets::payload(kind, packets::HEIGHTS[0], number);
                let outgoing = Outgoing { timestamp: sent * step, marker: true, payload: &payload };
                session.media.connection_mut().send(Instant::now(), track, outgoing).unwrap();
            }
            session.media.flush();
            if roll.is_some_and(|roll| hall.phase() == Phase::Roll(roll)) {
                continue;
            }
            let told = hall.heard(number);
            if told.iter().any(|count| *count < HEARD) {
                assert!(Instant::now() < until, "a track is stuck: a publisher was heard {told:?}");
                continue;
            }
            hall.forget(number);
            (number, until, roll) = (hall.number(), Instant::now() + PATIENCE, None);
            if let Phase::Roll(now) = hall.phase() {
                roll = Some(now);
                hall.answer(room, Some(number));
                hall.is_content(room);
                continue;
            }
            match turn(&mut member, &mut dropped) {
                Turn::Restart => {
                    Tally::add(&hall.tally.restarts);
                    session.change_network().await.unwrap();
                    continue;
                }
                Turn::Drop => {
                    Tally::add(&hall.tally.dropped);
                    dropped = Some(Instant::now());
                    drop(session);
                }
                Turn::End => session.end().await.unwrap(),
            }
            hall.forget(number);
            break;
        }
    }
    hall.leave(room);
}

/// Watches what the host publishes.
pub async fn watcher(mut member: Member) {
    let (hall, room) = (member.hall.clone(), member.room);
    let path = format!("/whep/{}", hall.rooms[room]);
    // Who comes by WHEP gets what there is when they come.
    while !hall.is_open(room) {
        tokio::time::sleep(SEND_EVERY).await;
    }
    let mut dropped = None;
    while hall.phase() != Phase::Leave {
        let shape = Shape::receiving(SLOTS, SLOTS);
        let mut session = http::offer(hall.address, &path, &member.token, shape).await.unwrap();
        Tally::add(&hall.tally.stays);
        let mut tick = interval(SEND_EVERY);
        let (mut heard, mut roll) = ([0u32; 2], None);
        let mut until = Instant::now() + PATIENCE;
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                event = session.media.next() => match event {
                    Event::Packet { packet, .. } => {
                        hall.tally.packets.fetch_add(1, Ordering::Relaxed);
                        if packets::number(&packet) == Some(Hall::host(room)) {
                            heard[packets::kind(&packet) as usize] += 1;
                        }
                        continue;
                    }
                    Event::Over(error) => panic!("a watcher: {error}"),
                    _ => continue,
                },
            }
            if roll.is_some_and(|roll| hall.phase() == Phase::Roll(roll)) {
                continue;
            }
            if heard.iter().any(|count| *count < HEARD) {
                assert!(Instant::now() < until, "a track is stuck: a watcher heard {heard:?}");
                continue;
            }
            (heard, until, roll) = ([0; 2], Instant::now() + PATIENCE, None);
            if let Phase::Roll(now) = hall.phase() {
                roll = Some(now);
                hall.answer(room, None);
                hall.is_content(room);
                continue;
            }
            match turn(&mut member, &mut dropped) {
                Turn::Restart => {
                    Tally::add(&hall.tally.restarts);
                    session.change_network().await.unwrap();
                    continue;
                }
                Turn::Drop => {
                    Tally::add(&hall.tally.dropped);
                    dropped = Some(Instant::now());
                    drop(session);
                }
                Turn::End => session.end().await.unwrap(),
            }
            break;
        }
    }
    hall.leave(room);
}
