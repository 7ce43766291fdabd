//! A server of the real binary, and people in its rooms.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Output, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use hewei_api::ws::ClientMessage;
use hewei_client::{Call, CallError, CallEvent, Entry, Outgoing, Shape, http};
use hewei_model::Codec;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Child,
};

/// More than anything takes, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// `hewei` in `folder`, with its storage in `data` there and nothing of this process's settings.
pub fn hewei(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hewei"));
    settings(&mut command, folder);
    command.args(arguments);
    command
}

fn settings(command: &mut Command, folder: &Path) {
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("HEWEI_")) {
        command.env_remove(name);
    }
    command
        .current_dir(folder)
        .env("HEWEI_STORAGE_FOLDER", folder.join("data"))
        .env("HEWEI_HTTP_LISTEN", "127.0.0.1:0")
        .env("HEWEI_MEDIA_PORT", "0")
        .env("HEWEI_MEDIA_BIND", "127.0.0.1")
        .env("HEWEI_MEDIA_ADDRESSES", "127.0.0.1")
        .env("HEWEI_MEDIA_SHARDS", "1")
        .env("HEWEI_LOG_FORMAT", "json");
}

pub fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Runs a command to its end; it must succeed.
pub fn succeeds(mut command: Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {} {}", text(&output.stdout), text(&output.stderr));
    output
}

pub struct Served {
    pub folder: PathBuf,
    pub address: SocketAddr,
    pub log: Arc<Mutex<Vec<Value>>>,
    child: Child,
}

impl Served {
    pub async fn start(folder: &Path) -> Served {
        Served::start_with(folder, |_| {}).await
    }

    /// Settings by environment variables.
    pub async fn start_with(folder: &Path, change: impl FnOnce(&mut Command)) -> Served {
        let mut command = hewei(folder, &["serve"]);
        change(&mut command);
        Served::spawn(folder, command).await
    }

    /// `shell` runs the server with `exec "$HEWEI" serve`, in whatever surroundings it makes first.
    pub async fn start_in(folder: &Path, program: &[&str], change: impl FnOnce(&mut Command)) -> Served {
        let mut command = Command::new(program[0]);
        settings(&mut command, folder);
        command.args(&program[1..]).env("PROGRAM", env!("CARGO_BIN_EXE_hewei"));
        change(&mut command);
        Served::spawn(folder, command).await
    }

    async fn spawn(folder: &Path, mut command: Command) -> Served {
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = tokio::process::Command::from(command).kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (found, listening) = tokio::sync::oneshot::channel();
        let kept = log.clone();
        tokio::spawn(async move {
            let mut found = Some(found);
            while let Some(line) = lines.next_line().await.unwrap() {
                // Each line is one object, whatever happens.
                let line: Value =
                    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
                if line["fields"]["message"] == "listening"
                    && let Some(found) = found.take()
                {
                    found.send(line["fields"]["address"].as_str().unwrap().parse().unwrap()).unwrap();
                }
                kept.lock().unwrap().push(line);
            }
        });
        let address = tokio::time::timeout(PATIENCE, listening).await.expect("it starts in time");
        let address = address.unwrap_or_else(|_| panic!("it ended: {:?}", log.lock().unwrap()));
        Served { folder: folder.to_owned(), address, log, child }
    }

    pub fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    pub fn token(&self, role: &str) -> String {
        let output = succeeds(hewei(&self.folder, &["token", "--room", "*", "--role", role, "--ttl", "1h"]));
        text(&output.stdout).trim().to_owned()
    }

    pub async fn get(&self, path: &str, token: &str) -> Value {
        let answer = http::request(self.address, "GET", path, Some(token), None).await.unwrap();
        assert!(answer.status.is_success(), "{path}: {} {}", answer.status, answer.body);
        serde_json::from_str(&answer.body).unwrap()
    }

    pub async fn post(&self, path: &str, token: &str, body: Value) -> Value {
        let body = Some(("application/json", body.to_string()));
        let answer = http::request(self.address, "POST", path, Some(token), body).await.unwrap();
        assert!(answer.status.is_success(), "{path}: {} {}", answer.status, answer.body);
        serde_json::from_str(&answer.body).unwrap()
    }

    /// A room of a new case, by id.
    pub async fn room(&self, mediator: &str, number: &str) -> String {
        let case =
            self.post("/api/v1/cases", mediator, json!({ "number": number, "title": "青苗补偿" })).await;
        let room = json!({ "case_id": case["id"], "name": "一号调解室" });
        let room = self.post("/api/v1/rooms", mediator, room).await;
        room["id"].as_str().unwrap().to_owned()
    }

    pub fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// Waits for the end.
    pub async fn ended(&mut self) -> ExitStatus {
        tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("it ends").unwrap()
    }

    /// The packages there are, of the default folder.
    pub fn packages(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.folder.join("data/recordings"));
        entries.into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
    }
}

/// Somebody in a room whose microphone is on.
pub struct Speaker {
    call: Call,
    sent: u32,
}

impl Speaker {
    /// Comes in and waits until media may flow. A mediator: nobody has to let them in.
    pub async fn enter(server: &Served, token: &str, room: &str) -> Speaker {
        let entry = Entry {
            token: token.to_owned(),
            room_id: room.to_owned(),
            record: true,
            shape: Shape::publishing([Codec::Opus]),
            grows: false,
            comes_back: false,
        };
        let mut call = Call::enter(server.address, entry).await.unwrap();
        let connected = async { while !matches!(call.next().await.unwrap(), CallEvent::Connected(_)) {} };
        tokio::time::timeout(PATIENCE, connected).await.expect("it connects");
        Speaker { call, sent: 0 }
    }

    /// Sound of so many frames of 20 ms, in their time; what the server says meanwhile is passed over. False when the
    /// call ended meanwhile.
    pub async fn speak(&mut self, frames: u32) -> bool {
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        for _ in 0..frames {
            loop {
                tokio::select! {
                    _ = tick.tick() => break,
                    event = self.call.next() => match event {
                        Ok(CallEvent::Ended { .. }) | Err(_) => return false,
                        Ok(_) => {}
                    },
                }
            }
            self.sent += 1;
            let outgoing = Outgoing { timestamp: self.sent * 960, marker: false, payload: &[0x78, 1, 2, 3] };
            if self.call.send(0, outgoing).is_err() {
                return false;
            }
        }
        true
    }

    pub fn say(&mut self, message: &ClientMessage) {
        self.call.say(message).unwrap();
    }

    /// The next event that is wanted.
    pub async fn hear<T>(&mut self, wanted: impl Fn(CallEvent) -> Option<T>) -> T {
        let heard = async {
            loop {
                match self.call.next().await {
                    Ok(event) => {
                        if let Some(wanted) = wanted(event) {
                            return wanted;
                        }
                    }
                    // At the end the media connection may close before the server's last word is heard.
                    Err(CallError::Media(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
                    Err(error) => panic!("{error}"),
                }
            }
        };
        tokio::time::timeout(PATIENCE, heard).await.expect("in time")
    }

    /// Ends the session; gives the recording.
    pub async fn end_session(mut self) -> String {
        self.say(&ClientMessage::EndSession);
        let recording = self.hear(|event| match event {
            CallEvent::Ended { recording_id, .. } => Some(recording_id),
            _ => None,
        });
        recording.await.expect("it was recorded")
    }
}

/// Asks until it is so.
pub async fn until<F: Future<Output = bool>>(what: &str, mut ask: impl FnMut() -> F) {
    let until = tokio::time::Instant::now() + PATIENCE;
    while !ask().await {
        assert!(tokio::time::Instant::now() < until, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Holds that `hewei verify` finds a package intact and that it has so many tracks.
pub fn verify(folder: &Path, package: &Path, tracks: usize) {
    let package = package.to_str().unwrap();
    let output = hewei(folder, &["verify", package, "--json"]).output().unwrap();
    assert!(output.status.success(), "{package}: {}{}", text(&output.stdout), text(&output.stderr));
    let journal = std::fs::read_to_string(Path::new(package).join("data/journal/journal.jsonl")).unwrap();
    let found = journal.lines().filter(|line| line.contains("\"t\":\"track\"")).count();
    assert_eq!(found, tracks, "tracks of {package}");
}
