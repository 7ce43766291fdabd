//! What is known about a camera before it is pulled.

use std::fmt;

use hewei_model::CameraId;

use crate::Address;

/// A village camera.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Camera {
    /// Id.
    pub id: CameraId,
    /// Where it is.
    pub address: Address,
    /// What it asks for; `None` when it asks for nothing.
    pub credentials: Option<Credentials>,
}

/// A user name and password for RTSP's digest or basic authentication. `Debug` shows neither.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User name.
    pub user: String,
    /// Password.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_credentials() {
        let camera = Camera {
            id: CameraId::from_u128(1),
            address: "rtsp://10.1.2.3/cam?pw=hunter2".parse().unwrap(),
            credentials: Some(Credentials { user: "admin".into(), password: "hunter2".into() }),
        };
        let shown = format!("{camera:?} {camera:#?}");
        assert!(!shown.contains("admin") && !shown.contains("hunter2"), "{shown}");
    }
}
