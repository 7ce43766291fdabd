//! A server that is killed or stopped in mid-session, as a process of its own, and started again on the same folder.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use hewei_model::Role;
use hewei_store::{SealingKey, Store};
use serde_json::{Value, json};

use crate::{client::Client, server::TestServer};

/// People with tokens for one room of a folder in which a server ran before.
struct Scene {
    folder: PathBuf,
    room: String,
    mediator: String,
    /// The other tokens and the seats they are for.
    party: (String, String),
    waiting: (String, String),
    lawyer: (String, String),
    _temporary: tempfile::TempDir,
}

impl Scene {
    async fn set() -> Self {
        let prepared = TestServer::start().await;
        let token_of = |role, name| {
            let claims = prepared.claims(role, name);
            (prepared.issue(&claims), claims.participant.to_string())
        };
        let (mediator, _) = token_of(Role::Mediator, "王调解员");
        let party = token_of(Role::Party, "赵大山");
        let waiting = token_of(Role::Party, "钱有福");
        let lawyer = token_of(Role::Lawyer, "李律师");
        let folder = prepared.server.app().config.storage.folder.clone();
        let room = prepared.room.to_string();
        let _temporary = prepared.stop().await;
        Self { folder, room, mediator, party, waiting, lawyer, _temporary }
    }

    /// What the database holds. No server may be running.
    async fn store(&self) -> Store {
        Store::open(&self.folder.join("hewei.sqlite"), SealingKey::new(&[0; 32])).await.unwrap()
    }

    async fn enter(&self, server: &Process, token: &str, record: bool) -> (Client, Value) {
        let mut client = Client::connect(server.address).await;
        let open = json!({ "kind": "room", "room_id": self.room, "record": record });
        client.say(json!({ "type": "hello", "token": token, "open": open })).await;
        let welcome = client.hear("welcome_room").await;
        (client, welcome)
    }

    /// A mediator, a party that was let in and does not want to be recorded, another that waits, and a lawyer who was
    /// sent out. Each client has heard what it was told.
    async fn play(&self, server: &Process) -> Vec<Client> {
        let (mut mediator, welcome) = self.enter(server, &self.mediator, true).await;
        assert_eq!(welcome["lobby"], false);
        let (mut party, welcome) = self.enter(server, &self.party.0, true).await;
        assert_eq!(welcome["lobby"], true);
        let (mut lawyer, welcome) = self.enter(server, &self.lawyer.0, true).await;
        assert_eq!(welcome["lobby"], false);
        let (waiting, _) = self.enter(server, &self.waiting.0, true).await;
        mediator.say(json!({ "type": "admit", "participant_id": self.party.1 })).await;
        party.hear("admitted").await;
        mediator.say(json!({ "type": "remove", "participant_id": self.lawyer.1 })).await;
        assert_eq!(lawyer.hear("ended").await["reason"], "removed");
        party.say(json!({ "type": "set_consent", "record": false })).await;
        mediator.hear_people(|people| people.iter().any(|one| one["record"] == false)).await;
        vec![mediator, party, waiting]
    }

    /// Everybody finds the seat as it was.
    async fn assert_goes_on(&self, server: &Process) {
        // The party first: it needs nobody to let it in again.
        let (mut party, welcome) = self.enter(server, &self.party.0, false).await;
        assert_eq!((&welcome["lobby"], &welcome["participant_id"]), (&json!(false), &json!(self.party.1)));
        assert_eq!(party.hear("recording_changed").await["recording"], true);
        let (_waiting, welcome) = self.enter(server, &self.waiting.0, true).await;
        assert_eq!(welcome["lobby"], true);
        let (_lawyer, welcome) = self.enter(server, &self.lawyer.0, true).await;
        assert_eq!(welcome["lobby"], true, "who was sent out stays out");
        let people = party.hear_people(|people| people.len() == 2).await;
        let mediator = people.iter().find(|one| one["role"] == "mediator").unwrap();
        assert_eq!((&mediator["connected"], &mediator["lobby"]), (&json!(false), &json!(false)));
        let (mut mediator, welcome) = self.enter(server, &self.mediator, true).await;
        assert_eq!(welcome["lobby"], false);
        let people = mediator.hear_people(|people| people.len() == 4).await;
        let by_name = |name: &str| people.iter().find(|one| one["name"] == name).unwrap();
        assert_eq!(by_name("赵大山")["record"], false);
        assert_eq!((&by_name("钱有福")["lobby"], &by_name("李律师")["lobby"]), (&json!(true), &json!(true)));
    }
}

/// `hewei serve` on a folder.
struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    fn start(folder: &Path) -> Self {
        let mut serve = Command::new(env!("CARGO_BIN_EXE_hewei"));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("HEWEI_"))
        {
            serve.env_remove(name);
        }
        let mut child = serve
            .arg("serve")
            .current_dir(folder)
            .env("HEWEI_STORAGE_FOLDER", folder)
            .env("HEWEI_HTTP_LISTEN", "127.0.0.1:0")
            .env("HEWEI_MEDIA_PORT", "0")
            .env("HEWEI_MEDIA_BIND", "127.0.0.1")
            .env("HEWEI_LOG_FORMAT", "json")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = log
            .find_map(|line| {
                let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
                (line["fields"]["message"] == "listening")
                    .then(|| line["fields"]["address"].as_str().unwrap().parse().unwrap())
            })
            .expect("it listens");
        // Read on, so that it never waits for its log.
        std::thread::spawn(move || log.for_each(drop));
        Self { child, address }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    async fn terminate(mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let status = tokio::task::spawn_blocking(move || self.child.wait().unwrap());
        let status = tokio::time::timeout(Duration::from_secs(20), status).await.expect("it ends").unwrap();
        assert!(status.success(), "{status}");
    }
}

#[tokio::test]
async fn a_killed_server_goes_on_where_it_was() {
    let scene = Scene::set().await;
    let server = Process::start(&scene.folder);
    let clients = scene.play(&server).await;
    server.kill();
    drop(clients);
    let before = scene.store().await;
    let [session] = before.live_sessions().await.unwrap().try_into().unwrap();
    let recording = before.last_recording_of(session.id).await.unwrap().unwrap();
    before.close().await;

    let server = Process::start(&scene.folder);
    scene.assert_goes_on(&server).await;
    server.kill();
    let after = scene.store().await;
    let [same] = after.live_sessions().await.unwrap().try_into().unwrap();
    assert_eq!((same.id, same.began_at), (session.id, session.began_at));
    // The recording goes on in a package of its own, which names the one before.
    let next = after.last_recording_of(session.id).await.unwrap().unwrap();
    after.close().await;
    assert_ne!(next.id, recording.id);
    let journal = scene.folder.join(format!("recordings/{}/data/journal/journal.jsonl", next.id));
    let journal = std::fs::read_to_string(journal).unwrap();
    let open: Value = serde_json::from_str(journal.lines().next().unwrap()).unwrap();
    assert_eq!(open["t"], "open");
    assert_eq!(open["session"], session.id.to_string());
    assert_eq!(open["continues"]["recording"], recording.id.to_string());
}

#[tokio::test]
async fn a_stopped_server_says_so_and_the_next_one_goes_on() {
    let scene = Scene::set().await;
    let server = Process::start(&scene.folder);
    let mut clients = scene.play(&server).await;
    server.terminate().await;
    for client in &mut clients {
        assert_eq!(client.hear("ended").await["reason"], "server_stopping");
    }
    let server = Process::start(&scene.folder);
    scene.assert_goes_on(&server).await;
    server.kill();
}

#[tokio::test]
async fn an_ended_session_is_over_for_good() {
    let scene = Scene::set().await;
    let server = Process::start(&scene.folder);
    let mut clients = scene.play(&server).await;
    clients[0].say(json!({ "type": "end_session" })).await;
    assert_eq!(clients[1].hear("ended").await["reason"], "session_ended");
    server.kill();
    let store = scene.store().await;
    assert_eq!(store.live_sessions().await.unwrap(), []);
    store.close().await;
    let server = Process::start(&scene.folder);
    let (_party, welcome) = scene.enter(&server, &scene.party.0, false).await;
    assert_eq!(welcome["lobby"], true, "another session, and nobody was let into it");
    let (_lawyer, welcome) = scene.enter(&server, &scene.lawyer.0, false).await;
    assert_eq!(welcome["lobby"], false, "sent out of a session that is over");
    server.kill();
}

#[tokio::test]
async fn a_seat_is_for_its_own_room_alone_after_a_restart_too() {
    let scene = Scene::set().await;
    let server = Process::start(&scene.folder);
    let clients = scene.play(&server).await;
    server.kill();
    drop(clients);
    let server = Process::start(&scene.folder);
    let mut party = Client::connect(server.address).await;
    party.hello_room(&scene.party.0, &hewei_model::RoomId::generate().to_string()).await;
    assert_eq!(party.hear_problem().await, "room_forbidden");
    let mut forged = Client::connect(server.address).await;
    forged.hello_room(&format!("{}x", scene.party.0), &scene.room).await;
    assert_eq!(forged.hear_problem().await, "token_invalid");
    server.kill();
}
