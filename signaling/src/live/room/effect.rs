//! Settling: what was decided takes effect in the engine, is written down, and then people are told.

use std::{collections::BTreeMap, sync::atomic::Ordering, time::Instant};

use hewei_api::ws::ServerMessage;
use hewei_model::{Audience, MediaKind, ParticipantId, PeerId, Publisher};

use super::{LISTS_EVERY, Room, seat};
use crate::live::{policy, recording};

impl Room {
    /// Brings the engine, the database and everybody's list in line with the seats. Who does not read is given up, which may
    /// change the lists again.
    pub(super) async fn settle(&mut self) {
        let now = Instant::now();
        let lists_due = self.lists_next <= now;
        loop {
            self.apply_audiences().await;
            self.keep().await;
            let mut lost = self.send_told();
            if lists_due {
                lost.extend(self.send_lists());
            }
            if lost.is_empty() {
                break;
            }
            for peer in lost {
                tracing::warn!("a browser does not read its messages: connection given up");
                self.unlink(peer);
            }
        }
        self.lists_waiting = !lists_due;
        if lists_due {
            self.lists_next = now + LISTS_EVERY;
        }
        self.show_gauges();
    }

    pub(super) fn show_gauges(&self) {
        let people = self.seats.iter().filter(|seat| seat.listed).count();
        let waiting = self.seats.iter().filter(|seat| seat.listed && !seat.admitted).count();
        self.gauges.people.store(people as u32, Ordering::Relaxed);
        self.gauges.waiting.store(waiting as u32, Ordering::Relaxed);
        self.gauges.live.store(self.session.is_some(), Ordering::Relaxed);
    }

    /// Puts the rule's answer into effect until nothing differs from what is in effect. A journal that takes no more
    /// lines changes the answer itself: then the recorder goes before anybody is told anything.
    pub(super) async fn apply_audiences(&mut self) {
        loop {
            let wanted = self.wanted_audiences();
            if wanted == self.in_effect {
                return;
            }
            let mut keys: Vec<(ParticipantId, MediaKind)> = self.in_effect.keys().copied().collect();
            keys.extend(wanted.keys().filter(|key| !self.in_effect.contains_key(key)));
            let of = |audiences: &BTreeMap<_, Audience>, key| audiences.get(key).cloned().unwrap_or_default();
            // All narrowing first: while one is away and another comes, nobody receives what neither state allows.
            for key in &keys {
                let (before, wanted) = (of(&self.in_effect, key), of(&wanted, key));
                if let Some(narrowed) = policy::narrowed(&before, &wanted) {
                    self.enforce(*key, narrowed.clone()).await;
                    self.journal_audience(*key, narrowed);
                }
            }
            for key in &keys {
                let (before, wanted) = (of(&self.in_effect, key), of(&wanted, key));
                if before == wanted {
                    continue;
                }
                let recording = self.is_recording();
                self.journal_audience(*key, wanted.clone());
                if self.is_recording() != recording {
                    break;
                }
                self.enforce(*key, wanted).await;
            }
        }
    }

    async fn enforce(&mut self, (id, kind): (ParticipantId, MediaKind), audience: Audience) {
        let publisher = Publisher::Participant(id);
        self.shared.engine.set_audience(self.info.id, publisher, kind, audience.clone()).await;
        if audience == Audience::nobody() {
            self.in_effect.remove(&(id, kind));
        } else {
            self.in_effect.insert((id, kind), audience);
        }
    }

    /// A wider audience is in the journal before it is true, a narrower one once it is true. So the journal never
    /// shows less than what was forwarded.
    fn journal_audience(&mut self, (id, kind): (ParticipantId, MediaKind), audience: Audience) {
        self.journal(recording::Entry::Audience { publisher: Publisher::Participant(id), kind, audience });
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
