//! A server on free ports.

use std::net::SocketAddr;

use hewei::{auth::Claims, config::Config, serve::Server};
use hewei_model::{CaseId, ParticipantId, Role, RoomId};
use time::OffsetDateTime;

pub struct TestServer {
    pub server: Server,
    pub folder: tempfile::TempDir,
}

/// Settings for free ports on loopback, and a folder of its own.
pub fn config(folder: &std::path::Path) -> Config {
    let mut config = Config::default();
    config.http.listen = vec!["127.0.0.1:0".parse().unwrap()];
    config.media.port = 0;
    config.media.bind = "127.0.0.1".parse().unwrap();
    config.media.shards = 1;
    config.storage.folder = folder.join("data");
    config
}

impl TestServer {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(folder.path());
        change(&mut config);
        Self { server: Server::start(config).await.unwrap(), folder }
    }

    pub fn address(&self) -> SocketAddr {
        self.server.listening()[0].address
    }

    /// A token for everything the role may do.
    pub fn token(&self, role: Role) -> String {
        self.token_for(role, None)
    }

    pub fn token_for(&self, role: Role, room: Option<RoomId>) -> String {
        self.issue(role, room, ParticipantId::generate())
    }

    /// A token for everything the role may do, and whose it is.
    pub fn token_and_participant(&self, role: Role) -> (String, ParticipantId) {
        let participant = ParticipantId::generate();
        (self.issue(role, None, participant), participant)
    }

    fn issue(&self, role: Role, room: Option<RoomId>, participant: ParticipantId) -> String {
        let expires_at = OffsetDateTime::now_utc() + time::Duration::hours(1);
        let claims = Claims::of_link(format!("测试 {role}"), role, room, expires_at);
        self.server.app().tokens.issue(&Claims { participant, ..claims })
    }

    /// A case with a room.
    pub async fn case_with_room(&self, number: &str) -> (CaseId, RoomId) {
        let now = OffsetDateTime::now_utc();
        let case = hewei_store::Case {
            id: CaseId::generate(),
            number: number.into(),
            title: "青苗补偿".into(),
            region_id: None,
            created_at: now,
        };
        let room = hewei_store::Room {
            id: RoomId::generate(),
            case_id: case.id,
            name: "一号".into(),
            created_at: now,
        };
        let store = &self.server.app().store;
        store.add_case(&case).await.unwrap();
        store.add_room(&room).await.unwrap();
        (case.id, room.id)
    }

    /// The actions in the audit log, the newest first.
    pub async fn audited(&self) -> Vec<String> {
        let rows = self.server.app().store.audit_rows(None, 500).await.unwrap();
        rows.into_iter().map(|row| row.entry.action).collect()
    }
}
