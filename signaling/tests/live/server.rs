//! A server on free ports with a case, a room and tokens at hand.

use std::time::Duration;

use hewei::{auth::Claims, config::Config, serve::Server};
use hewei_model::{CaseId, Role, RoomId};
use time::OffsetDateTime;

use crate::client::Client;

pub struct TestServer {
    pub server: Server,
    pub room: RoomId,
    pub case: CaseId,
    _folder: tempfile::TempDir,
}

impl TestServer {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.http.listen = vec!["127.0.0.1:0".parse().unwrap()];
        config.media.port = 0;
        config.media.bind = "127.0.0.1".parse().unwrap();
        config.media.addresses = vec!["127.0.0.1".parse().unwrap()];
        config.media.shards = 1;
        config.storage.folder = folder.path().join("data");
        change(&mut config);
        let server = Server::start(config).await.unwrap();
        let now = OffsetDateTime::now_utc();
        let case = hewei_store::Case {
            id: CaseId::generate(),
            number: "2026-0001".into(),
            title: "作物赔偿".into(),
            region_id: None,
            created_at: now,
        };
        let room = hewei_store::Room {
            id: RoomId::generate(),
            case_id: case.id,
            name: "调解室".into(),
            created_at: now,
        };
        server.app().store.add_case(&case).await.unwrap();
        server.app().store.add_room(&room).await.unwrap();
        Self { server, room: room.id, case: case.id, _folder: folder }
    }

    /// Ends it. Gives the folder, in which it stays what it was.
    pub async fn stop(self) -> tempfile::TempDir {
        self.server.stop().await;
        self._folder
    }

    pub fn address(&self) -> std::net::SocketAddr {
        self.server.listening()[0].address
    }

    pub fn claims(&self, role: Role, name: &str) -> Claims {
        let room = (role == Role::Party).then_some(self.room);
        Claims::of_link(name.into(), role, room, OffsetDateTime::now_utc() + time::Duration::hours(1))
    }

    pub fn issue(&self, claims: &Claims) -> String {
        self.server.app().tokens.issue(claims)
    }

    /// A token of its own seat.
    pub fn token(&self, role: Role) -> String {
        self.issue(&self.claims(role, role.as_str()))
    }

    /// Somebody new at a browser who said hello to the room and consents to be recorded.
    pub async fn enter(&self, role: Role) -> Client {
        self.enter_with(&self.token(role)).await
    }

    pub async fn enter_with(&self, token: &str) -> Client {
        let mut client = Client::connect(self.address()).await;
        client.hello_room(token, &self.room.to_string()).await;
        client
    }
}

/// Asks until it is so, ten seconds at most.
pub async fn until<F: Future<Output = bool>>(what: &str, mut ask: impl FnMut() -> F) {
    for _ in 0..200 {
        if ask().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("not within ten seconds: {what}");
}
