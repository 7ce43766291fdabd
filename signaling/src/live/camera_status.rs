//! A camera's status as it goes over the wire.

use std::time::SystemTime;

use hewei_api::http::{CameraState, CameraStatus};
use hewei_cameras::{State, Status};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

pub(super) fn to_api(status: &Status) -> CameraStatus {
    CameraStatus {
        state: match status.state {
            State::Idle => CameraState::Idle,
            State::Connecting => CameraState::Connecting,
            State::Live => CameraState::Live,
            State::Unreachable => CameraState::Unreachable,
            State::AuthFailed => CameraState::AuthFailed,
            State::NoMedia => CameraState::NoMedia,
        },
        since: rfc3339(status.since),
        next_try_at: status.next_try.map(rfc3339),
        detail: status.detail.clone(),
    }
}

/// For a camera that was never registered, since its address or credentials cannot be used.
pub(super) fn unusable() -> CameraStatus {
    CameraStatus {
        state: CameraState::Unreachable,
        since: rfc3339(SystemTime::now()),
        next_try_at: None,
        detail: Some("the stored address or credentials cannot be used".to_owned()),
    }
}

fn rfc3339(at: SystemTime) -> String {
    let at = OffsetDateTime::from(at);
    at.replace_nanosecond(at.nanosecond() / 1_000_000 * 1_000_000)
        .unwrap_or(at)
        .format(&Rfc3339)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_rfc_3339_in_utc() {
        let status = Status {
            state: State::Unreachable,
            since: SystemTime::UNIX_EPOCH + Duration::from_millis(1_500),
            next_try: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(60)),
            detail: None,
        };
        let shown = to_api(&status);
        assert_eq!(shown.since, "1970-01-01T00:00:01.5Z");
        assert_eq!(shown.next_try_at.as_deref(), Some("1970-01-01T00:01:00Z"));
    }
}
