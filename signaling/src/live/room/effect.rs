//! Settling: what was decided takes effect in the engine, then people are told.

use std::{collections::BTreeMap, sync::atomic::Ordering};

use hewei_api::ws::ServerMessage;
use hewei_model::{Audience, MediaKind, ParticipantId, PeerId, Publisher};

use super::{Room, seat};
use crate::live::{policy, recording};

impl Room {
    /// Brings the engine and everybody's list in line with the seats. Who does not read is given up, which may
    /// change the lists again.
    pub(super) async fn settle(&mut self) {
        loop {
            self.apply_audiences().await;
            let mut lost = self.send_told();
            lost.extend(self.send_lists());
            if lost.is_empty() {
                break;
            }
            for peer in lost {
                tracing::warn!("a browser does not read its messages: connection given up");
                self.unlink(peer);
            }
        }
        let people = self.seats.iter().filter(|seat| seat.listed).count();
        self.gauges.people.store(people as u32, Ordering::Relaxed);
        self.gauges.live.store(self.session.is_some(), Ordering::Relaxed);
    }

    /// Puts the rule's answer into effect where it differs from what is in effect.
    pub(super) async fn apply_audiences(&mut self) {
        let wanted = self.wanted_audiences();
        // Narrowing first: while one is away and another comes, nobody receives what neither state allows.
        let mut changes: Vec<(ParticipantId, MediaKind, Audience)> = self
            .in_effect
            .keys()
            .filter(|key| !wanted.contains_key(key))
            .map(|(id, kind)| (*id, *kind, Audience::nobody()))
            .collect();
        let changed = wanted.into_iter().filter(|(key, audience)| self.in_effect.get(key) != Some(audience));
        changes.extend(changed.map(|((id, kind), audience)| (id, kind, audience)));

        for (id, kind, audience) in changes {
            let publisher = Publisher::Participant(id);
            let before = self.in_effect.get(&(id, kind));
            let starts = audience.recorder && !before.is_some_and(|before| before.recorder);
            let entry = recording::Entry::Audience { publisher, kind, audience: audience.clone() };
            // What starts a recording is in the journal ahead of the first packet; what narrows it is there once it
            // is true.
            if starts {
                self.journal(entry.clone());
            }
            self.shared.engine.set_audience(self.info.id, publisher, kind, audience.clone()).await;
            if !starts {
                self.journal(entry);
            }
            if audience == Audience::nobody() {
                self.in_effect.remove(&(id, kind));
            } else {
                self.in_effect.insert((id, kind), audience);
            }
        }
    }

    fn wanted_audiences(&self) -> BTreeMap<(ParticipantId, MediaKind), Audience> {
        let people: Vec<policy::Person> = self.seats.iter().map(seat::Seat::person).collect();
        let recording = self.is_recording();
        let mut wanted = BTreeMap::new();
        for person in &people {
            for kind in [MediaKind::Audio, MediaKind::Video] {
                let audience = policy::audience(person, kind, &people, recording);
                if audience != Audience::nobody() {
                    wanted.insert((person.id, kind), audience);
                }
            }
        }
        wanted
    }

    /// Sends what waited for the audiences. Gives the peers of browsers that do not read.
    fn send_told(&mut self) -> Vec<PeerId> {
        let mut lost = Vec::new();
        for (out, message) in std::mem::take(&mut self.to_tell) {
            if !out.send(message) {
                let links = self.seats.iter().filter_map(|seat| seat.link.as_ref());
                let of_out = links.filter(|link| link.out.as_ref().is_some_and(|other| other.is(&out)));
                lost.extend(of_out.map(|link| link.peer));
            }
        }
        lost.dedup();
        lost
    }

    /// Sends each browser the list as it may see it, if that differs from the last one.
    fn send_lists(&mut self) -> Vec<PeerId> {
        let lists: Vec<_> = self
            .seats
            .iter()
            .enumerate()
            .filter(|(_, seat)| seat.link.as_ref().is_some_and(|link| link.out.is_some()))
            .map(|(place, seat)| (place, seat::list_for(seat, &self.seats)))
            .collect();
        let mut lost = Vec::new();
        for (place, list) in lists {
            let Some(link) = self.seats[place].link.as_mut() else { continue };
            let Some(out) = link.out.as_ref() else { continue };
            if link.list == list {
                continue;
            }
            if !out.send(ServerMessage::Participants { participants: list.clone() }) {
                lost.push(link.peer);
            }
            link.list = list;
        }
        lost
    }
}
