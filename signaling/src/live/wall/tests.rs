//! What a busy queue must not hold up.

use std::time::Duration;

use hewei_model::{PurposeId, Role};

use super::*;
use crate::live::testing;

#[tokio::test]
async fn a_wall_ends_with_its_purpose_however_many_messages_come() {
    let (shared, _folder, _events) = testing::shared().await;
    let walls = open(&shared);
    let claims = testing::claims(Role::Operator, time::Duration::hours(1));
    let now = OffsetDateTime::now_utc();
    let purpose = hewei_store::Purpose {
        id: PurposeId::generate(),
        kind: hewei_store::PurposeKind::Patrol,
        reason: "零点夜查".into(),
        opened_by: claims.name.clone(),
        participant_id: claims.participant,
        opened_at: now,
        expires_at: now + time::Duration::seconds(1),
    };
    let (out, mut messages) = Outbox::new();
    let wall = hewei_store::Wall { id: WallId::generate(), name: "夜查".into(), camera_ids: Vec::new() };
    let opening = Opening { claims, purpose, peer: PeerId::generate() };
    walls.open(WallEntry { opening, wall, cameras: Vec::new(), out }).await.unwrap();
    // Several, so that the queue never runs empty.
    let mut floods = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let walls = walls.clone();
        floods.spawn(async move { while walls.send(Command::Closed { peer: PeerId::generate() }).await {} });
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
    assert_eq!(reason, EndReason::PurposeExpired);
}
