//! Who may do what: the one table that every route and every message asks.

use hewei_model::Role;

/// Something that not everybody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// See cases and their rooms.
    ReadCases,
    /// Open a case.
    CreateCase,
    /// Make a room for a case.
    CreateRoom,
    /// Make an invitation.
    Invite,
    /// Take part in a room's session.
    EnterRoom,
    /// Go past the lobby, let others in, send them out, end the session.
    LeadRoom,
    /// See the region tree.
    ReadRegions,
    /// Change the region tree.
    EditRegions,
    /// See which cameras there are and what they are doing.
    ReadCameras,
    /// Add a camera, and see the addresses of cameras.
    EditCameras,
    /// See which walls there are.
    ReadWalls,
    /// Make a wall.
    EditWalls,
    /// Say why one opens cameras.
    OpenPurpose,
    /// Look through cameras, under a purpose.
    WatchCameras,
    /// See how the server is doing: disk, clock, recordings.
    ReadHealth,
    /// Read the audit log.
    ReadAudit,
    /// See which recordings there are.
    ListRecordings,
    /// Have a recording verified.
    VerifyRecording,
    /// Play a recording and download its package.
    PlayRecording,
}

impl Action {
    /// Every action.
    pub const ALL: [Action; 19] = [
        Action::ReadCases,
        Action::CreateCase,
        Action::CreateRoom,
        Action::Invite,
        Action::EnterRoom,
        Action::LeadRoom,
        Action::ReadRegions,
        Action::EditRegions,
        Action::ReadCameras,
        Action::EditCameras,
        Action::ReadWalls,
        Action::EditWalls,
        Action::OpenPurpose,
        Action::WatchCameras,
        Action::ReadHealth,
        Action::ReadAudit,
        Action::ListRecordings,
        Action::VerifyRecording,
        Action::PlayRecording,
    ];
}

/// Whether `role` may do `action`. Which room, which purpose and whose camera is asked apart from this.
pub const fn allows(role: Role, action: Action) -> bool {
    use Role::*;
    match action {
        Action::ReadCases | Action::PlayRecording => matches!(role, Mediator | Lawyer | Leader),
        Action::CreateCase | Action::CreateRoom | Action::Invite | Action::LeadRoom => {
            matches!(role, Mediator)
        }
        Action::EnterRoom => matches!(role, Party | Mediator | Lawyer | Leader),
        Action::ReadRegions => !matches!(role, Party),
        Action::EditRegions | Action::EditCameras => matches!(role, Administrator),
        Action::ReadCameras | Action::ReadWalls => matches!(role, Operator | Leader | Administrator),
        Action::EditWalls => matches!(role, Operator | Administrator),
        Action::OpenPurpose | Action::WatchCameras => matches!(role, Operator | Leader),
        Action::ReadHealth => matches!(role, Mediator | Leader | Administrator),
        Action::ReadAudit => matches!(role, Auditor | Administrator),
        Action::ListRecordings | Action::VerifyRecording => {
            matches!(role, Mediator | Lawyer | Leader | Auditor)
        }
    }
}

/// Whether somebody of role `by` may invite somebody to be `role`: the people of a call, and none who could
/// invite or lead in turn.
pub const fn may_give(by: Role, role: Role) -> bool {
    allows(by, Action::Invite) && matches!(role, Role::Party | Role::Lawyer | Role::Leader)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_party_may_only_enter() {
        for action in Action::ALL {
            assert_eq!(allows(Role::Party, action), action == Action::EnterRoom, "{action:?}");
        }
    }

    #[test]
    fn auditor_and_administrator_get_no_media() {
        for role in [Role::Auditor, Role::Administrator] {
            for action in [Action::EnterRoom, Action::WatchCameras, Action::PlayRecording] {
                assert!(!allows(role, action), "{role} {action:?}");
            }
        }
    }

    #[test]
    fn every_action_is_for_somebody_and_not_for_everybody() {
        for action in Action::ALL {
            let roles = Role::ALL.into_iter().filter(|role| allows(*role, action)).count();
            assert!((1..Role::ALL.len()).contains(&roles), "{action:?}");
        }
    }

    #[test]
    fn nobody_can_be_invited_to_a_role_that_invites() {
        for by in Role::ALL {
            for role in Role::ALL {
                assert!(!(may_give(by, role) && allows(role, Action::Invite)), "{by} {role}");
            }
        }
    }
}
