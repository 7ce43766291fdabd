//! Who may see and hear whom in a mediation room: the rule itself, without I/O.
//!
//! The room's task asks it after every change and puts the answer into effect; it decides nothing by itself.

use hewei_model::{Audience, MediaKind, ParticipantId, Role};

/// What the rule needs to know of one person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Person {
    /// Who.
    pub id: ParticipantId,
    /// Let in; otherwise in the lobby or sent out.
    pub admitted: bool,
    /// Has a connection now. Who is away receives nothing and is in nobody's audience.
    pub present: bool,
    /// Microphone off.
    pub audio_muted: bool,
    /// Camera off.
    pub video_muted: bool,
    /// Consents to being recorded.
    pub record: bool,
}

impl Person {
    fn muted(&self, kind: MediaKind) -> bool {
        match kind {
            MediaKind::Audio => self.audio_muted,
            MediaKind::Video => self.video_muted,
        }
    }

    fn takes_part(&self) -> bool {
        self.admitted && self.present
    }
}

/// The audience of one kind of `source`: all others who take part, and the recorder when the session is
/// recorded and the source consents. Nobody while the source is in the lobby, away or muted.
pub fn audience(source: &Person, kind: MediaKind, people: &[Person], recording: bool) -> Audience {
    if !source.takes_part() || source.muted(kind) {
        return Audience::nobody();
    }
    Audience {
        participants: people
            .iter()
            .filter(|person| person.takes_part() && person.id != source.id)
            .map(|person| person.id)
            .collect(),
        recorder: recording && source.record,
    }
}

/// The first half of a change from `before` to `after`: what both allow, where that is less than before. The second
/// half, to `after`, only adds. `None` when nothing is taken away.
pub fn narrowed(before: &Audience, after: &Audience) -> Option<Audience> {
    let both = Audience {
        participants: before.participants.intersection(&after.participants).copied().collect(),
        recorder: before.recorder && after.recorder,
    };
    (both != *before).then_some(both)
}

/// Whether a role enters without the mediator's leave. All others wait in the lobby.
pub fn enters_directly(role: Role) -> bool {
    matches!(role, Role::Mediator | Role::Lawyer | Role::Leader)
}

/// Whether a role opens the lobby, sends people out and ends the session.
pub fn leads(role: Role) -> bool {
    role == Role::Mediator
}

/// Whether a role may learn where the recording of the session lies.
pub fn sees_recording(role: Role) -> bool {
    matches!(role, Role::Mediator | Role::Lawyer | Role::Leader)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn person(id: u128) -> Person {
        Person {
            id: ParticipantId::from_u128(id),
            admitted: true,
            present: true,
            audio_muted: false,
            video_muted: false,
            record: true,
        }
    }

    #[test]
    fn a_source_goes_to_all_others_who_were_let_in() {
        let people = [person(1), person(2), person(3), Person { admitted: false, ..person(4) }];
        let audience = audience(&people[0], MediaKind::Audio, &people, true);
        assert_eq!(audience.participants, [people[1].id, people[2].id].into());
        assert!(audience.recorder);
    }

    #[test]
    fn the_lobby_is_forwarded_to_nobody_and_never_recorded() {
        let waiting = Person { admitted: false, ..person(1) };
        let people = [waiting, person(2)];
        assert_eq!(audience(&waiting, MediaKind::Video, &people, true), Audience::nobody());
    }

    #[test]
    fn mute_holds_for_its_own_kind() {
        let source = Person { audio_muted: true, ..person(1) };
        let people = [source, person(2)];
        assert_eq!(audience(&source, MediaKind::Audio, &people, true), Audience::nobody());
        assert!(audience(&source, MediaKind::Video, &people, true).admits(people[1].id));
    }

    #[test]
    fn the_recorder_needs_a_recorded_session_and_consent() {
        let refuses = Person { record: false, ..person(1) };
        let people = [refuses, person(2)];
        assert!(!audience(&refuses, MediaKind::Audio, &people, true).recorder);
        assert!(!audience(&people[1], MediaKind::Audio, &people, false).recorder);
        assert!(audience(&people[1], MediaKind::Audio, &people, true).recorder);
    }

    #[test]
    fn only_parties_wait_for_the_mediator() {
        assert!(!enters_directly(Role::Party));
        assert!(
            enters_directly(Role::Mediator) && enters_directly(Role::Lawyer) && enters_directly(Role::Leader)
        );
    }

    fn anybody(id: u128) -> impl Strategy<Value = Person> {
        any::<[bool; 5]>().prop_map(move |[admitted, present, audio_muted, video_muted, record]| Person {
            id: ParticipantId::from_u128(id),
            admitted,
            present,
            audio_muted,
            video_muted,
            record,
        })
    }

    fn any_audience() -> impl Strategy<Value = Audience> {
        (proptest::collection::btree_set(1u128..6, 0..6), any::<bool>()).prop_map(|(ids, recorder)| {
            Audience { participants: ids.into_iter().map(ParticipantId::from_u128).collect(), recorder }
        })
    }

    fn within(inner: &Audience, outer: &Audience) -> bool {
        inner.participants.is_subset(&outer.participants) && inner.recorder <= outer.recorder
    }

    proptest! {
        #[test]
        fn a_change_takes_away_first_and_adds_then(before in any_audience(), after in any_audience()) {
            let between = narrowed(&before, &after);
            prop_assert_eq!(between.is_none(), within(&before, &after));
            let between = between.unwrap_or_else(|| before.clone());
            prop_assert!(within(&between, &before) && within(&between, &after));
        }

        #[test]
        fn nobody_outside_the_room_ever_receives(
            people in (1u128..8).prop_flat_map(|n| (0..n).map(anybody).collect::<Vec<_>>()),
            recording in any::<bool>(),
        ) {
            for source in &people {
                for kind in [MediaKind::Audio, MediaKind::Video] {
                    let audience = audience(source, kind, &people, recording);
                    for person in &people {
                        if audience.admits(person.id) {
                            prop_assert!(person.admitted && person.present && person.id != source.id);
                            prop_assert!(source.admitted && source.present && !source.muted(kind));
                        }
                    }
                    prop_assert!(!audience.recorder || (recording && source.record && source.takes_part()));
                }
            }
        }
    }
}
