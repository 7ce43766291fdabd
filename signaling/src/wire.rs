//! From the nouns of the store to what goes over the wire.

use hewei_api::http as api;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// RFC 3339 in UTC, whole milliseconds at most.
pub fn rfc3339(at: OffsetDateTime) -> String {
    let at = at.to_offset(time::UtcOffset::UTC);
    let whole_ms = at.replace_nanosecond(at.nanosecond() / 1_000_000 * 1_000_000).unwrap_or(at);
    // Only years before 0 or after 9999 cannot be written.
    whole_ms.format(&Rfc3339).unwrap_or_default()
}

/// A region.
pub fn region(region: hewei_store::Region) -> api::Region {
    api::Region {
        id: region.id.to_string(),
        parent_id: region.parent_id.map(|id| id.to_string()),
        name: region.name,
    }
}

/// A wall.
pub fn wall(wall: hewei_store::Wall) -> api::Wall {
    api::Wall {
        id: wall.id.to_string(),
        name: wall.name,
        camera_ids: wall.camera_ids.iter().map(ToString::to_string).collect(),
    }
}

/// A purpose.
pub fn purpose(purpose: hewei_store::Purpose) -> api::Purpose {
    api::Purpose {
        id: purpose.id.to_string(),
        kind: match purpose.kind {
            hewei_store::PurposeKind::Patrol => api::PurposeKind::Patrol,
            hewei_store::PurposeKind::Incident => api::PurposeKind::Incident,
            hewei_store::PurposeKind::Case => api::PurposeKind::Case,
        },
        reason: purpose.reason,
        opened_by: purpose.opened_by,
        opened_at: rfc3339(purpose.opened_at),
        expires_at: rfc3339(purpose.expires_at),
    }
}

/// A recording.
pub fn recording(recording: hewei_store::Recording) -> api::Recording {
    api::Recording {
        id: recording.id.to_string(),
        session_id: recording.session_id.to_string(),
        room_id: recording.room_id.to_string(),
        case_id: recording.case_id.to_string(),
        state: match recording.state {
            hewei_store::RecordingState::Recording => api::RecordingState::Recording,
            hewei_store::RecordingState::Sealing => api::RecordingState::Sealing,
            hewei_store::RecordingState::Sealed => api::RecordingState::Sealed,
            hewei_store::RecordingState::Failed => api::RecordingState::Failed,
        },
        started_at: rfc3339(recording.started_at),
        ended_at: recording.ended_at.map(rfc3339),
        head_hash: recording.head_hash,
        detail: recording.detail,
    }
}

/// A row of the audit log.
pub fn audit_row(row: hewei_store::AuditRow) -> api::AuditRow {
    api::AuditRow {
        id: row.id,
        at: rfc3339(row.entry.at),
        actor: row.entry.actor,
        participant_id: row.entry.participant_id.map(|id| id.to_string()),
        role: row.entry.role,
        action: row.entry.action,
        target: row.entry.target,
        purpose_id: row.entry.purpose_id.map(|id| id.to_string()),
        detail: row.entry.detail,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_with_whole_milliseconds() {
        let at = time::macros::datetime!(2026-11-24 12:00:00.123456789 +8);
        assert_eq!(rfc3339(at), "2026-11-24T04:00:00.123Z");
    }
}
