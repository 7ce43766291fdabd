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
    /// Make, change and close accounts; see and end sign-ins and links.
    ManageAccounts,
}

impl Action {
    /// Every action.
    pub const ALL: [Action; 20] = [
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
        Action::ManageAccounts,
    ];

    /// In Chinese and in English, for `docs/permissions.md`.
    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Action::ReadCases => ("查看案件和调解室", "See cases and their rooms"),
            Action::CreateCase => ("立案", "Open a case"),
            Action::CreateRoom => ("为案件设调解室", "Make a room for a case"),
            Action::Invite => ("发出、查看、收回邀请", "Make, see and withdraw invitations"),
            Action::EnterRoom => ("进入调解室", "Enter a room"),
            Action::LeadRoom => ("主持：放行等候者、请出、结束", "Lead a room: let in, send out, end"),
            Action::ReadRegions => ("查看区域", "See the regions"),
            Action::EditRegions => ("修改区域", "Change the regions"),
            Action::ReadCameras => ("查看摄像头列表和状态", "See which cameras there are, and their state"),
            Action::EditCameras => ("添加摄像头，查看其地址", "Add cameras, and see their addresses"),
            Action::ReadWalls => ("查看有哪些大屏", "See which walls there are"),
            Action::EditWalls => ("设置大屏", "Make walls"),
            Action::OpenPurpose => ("填写打开摄像头的事由", "State a purpose for opening cameras"),
            Action::WatchCameras => ("凭事由观看摄像头", "Watch cameras under a purpose"),
            Action::ReadHealth => {
                ("查看服务器状态：磁盘、时钟、录像", "See how the server is doing: disk, clock, recordings")
            }
            Action::ReadAudit => ("查看审计记录", "Read the audit log"),
            Action::ListRecordings => ("查看有哪些录像", "See which recordings there are"),
            Action::VerifyRecording => ("核验录像", "Have a recording verified"),
            Action::PlayRecording => ("播放录像、下载证据包", "Play a recording, download its package"),
            Action::ManageAccounts => ("管理账户、登录和链接", "Keep accounts, sign-ins and links"),
        }
    }
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
        Action::EditRegions | Action::EditCameras | Action::ManageAccounts => matches!(role, Administrator),
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

/// The table as `docs/permissions.md` has it.
pub fn document() -> String {
    let title = |role| match role {
        Role::Party => "当事人 Party",
        Role::Mediator => "调解员 Mediator",
        Role::Lawyer => "律师 Lawyer",
        Role::Leader => "值班领导 Leader",
        Role::Operator => "调度员 Operator",
        Role::Auditor => "审计员 Auditor",
        Role::Administrator => "管理员 Administrator",
    };
    let mut text = String::from(
        "# 谁可以做什么 Who may do what\n\n\
         由 `signaling/src/permissions.rs` 生成，请勿手改。服务器对每个请求、每条消息都按此表检查；当事人和受邀者的令牌另外只对一间调解室有效，\
         摄像头另外要求本人填写的、未到期的事由。没有账户的链接同样按角色检查。\n\n\
         Made from `signaling/src/permissions.rs`; do not edit. The server asks this table for every request and every \
         message. Besides, the token of somebody invited is for one room alone, and cameras open only under a purpose of \
         one's own that has not run out. Links without an account are held to their role all the same.\n\n|  |",
    );
    for role in Role::ALL {
        text.push_str(&format!(" {} |", title(role)));
    }
    text.push_str("\n|---|");
    text.push_str(&":-:|".repeat(Role::ALL.len()));
    text.push('\n');
    for action in Action::ALL {
        let (chinese, english) = action.words();
        text.push_str(&format!("| {chinese}<br>{english} |"));
        for role in Role::ALL {
            text.push_str(if allows(role, action) { " ✓ |" } else { "  |" });
        }
        text.push('\n');
    }
    let given: Vec<&str> =
        Role::ALL.into_iter().filter(|role| may_give(Role::Mediator, *role)).map(title).collect();
    text.push_str(&format!(
        "\n调解员可以邀请 The mediator may invite: {}.\n\n\
         每个有账户的人都可以查看和结束自己的登录、修改自己的密码。\n\
         Whoever has an account may see and end their own sign-ins and change their own password.\n",
        given.join(", ")
    ));
    text
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
