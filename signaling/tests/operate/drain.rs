//! SIGTERM: people are told, recordings are sealed, and the process ends well and soon.

use std::{path::Path, time::Instant};

use futures_util::SinkExt;
use hewei::{config::Config, serve::Server};
use hewei_client::http;
use serde_json::json;
use tokio::{net::TcpStream, task::JoinHandle};
use tokio_tungstenite::tungstenite::Message;

use crate::serve::{Served, Speaker, text, verify};

/// Stops the server in the middle of calls and looks at what it leaves.
async fn stop_and_verify(mut served: Served, speaking: Vec<JoinHandle<()>>, what: &str) {
    let count = speaking.len();
    let started = Instant::now();
    served.signal("-TERM");
    let status = served.ended().await;
    // The promise is ten seconds; a machine that does much else at once only gets to be told the number.
    println!("{what}: ended {:.2} s after SIGTERM", started.elapsed().as_secs_f64());
    assert!(status.success(), "{status}: {:?}", served.log.lock().unwrap().last());
    for speaking in speaking {
        speaking.await.unwrap();
    }
    let packages = served.packages();
    assert_eq!(packages.len(), count);
    for package in packages {
        verify(&served.folder, &package, 1);
    }
    ids_are_in(&served);
}

/// What lives long is named in each line about it.
fn ids_are_in(served: &Served) {
    let log = served.log.lock().unwrap();
    for (message, field) in
        [("session started", "session"), ("session ended", "session"), ("recording sealed", "recording")]
    {
        let lines: Vec<_> = log.iter().filter(|line| line["fields"]["message"] == message).collect();
        assert!(!lines.is_empty(), "no line {message}");
        for line in lines {
            let spans = line["spans"].as_array().into_iter().flatten();
            let mut places = spans.chain([&line["fields"]]);
            assert!(places.any(|place| place[field].is_string()), "{field} in {line}");
            assert!(line["timestamp"].is_string() && line["level"].is_string(), "{line}");
        }
    }
    let room = |line: &serde_json::Value| line["span"]["room"].is_string();
    assert!(log.iter().filter(|line| line["fields"]["message"] == "session ended").all(room));
}

/// Somebody comes in and is heard, and then speaks until the call ends.
async fn speaks(served: &Served, token: &str, room: &str) -> JoinHandle<()> {
    let mut speaker = Speaker::enter(served, token, room).await;
    assert!(speaker.speak(100).await);
    tokio::spawn(async move { while speaker.speak(500).await {} })
}

#[tokio::test]
async fn a_call_is_sealed() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::start(folder.path()).await;
    let token = served.token("mediator");
    let room = served.room(&token, "2026-1").await;
    let speaking = speaks(&served, &token, &room).await;
    stop_and_verify(served, vec![speaking], "one call").await;
}

#[tokio::test]
async fn many_rooms_and_somebody_who_does_not_read() {
    const ROOMS: usize = 12;
    let folder = tempfile::tempdir().unwrap();
    let served = Served::start(folder.path()).await;
    let mut speaking = Vec::new();
    let mut stuck = Vec::new();
    for number in 0..ROOMS {
        // Of a seat of their own each.
        let token = served.token("mediator");
        let room = served.room(&token, &format!("2026-{number}")).await;
        speaking.push(speaks(&served, &token, &room).await);
        stuck.push(never_reads(&served, &served.token("leader"), &room).await);
    }
    stop_and_verify(served, speaking, "12 calls, each with somebody who does not read").await;
}

/// Says hello and then reads nothing, with as little room for the server's words as the system gives.
async fn never_reads(
    served: &Served,
    token: &str,
    room: &str,
) -> tokio_tungstenite::WebSocketStream<TcpStream> {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(1).unwrap();
    let stream: TcpStream = socket.connect(served.address).await.unwrap();
    let url = format!("ws://{}/ws", served.address);
    let (mut socket, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
    let open = json!({ "kind": "room", "room_id": room, "record": false });
    let hello = json!({ "type": "hello", "token": token, "open": open });
    socket.send(Message::text(hello.to_string())).await.unwrap();
    socket
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut served = Served::start(folder.path()).await;
    // Stopped while it gets both, so that it finds them together.
    served.signal("-STOP");
    served.signal("-TERM");
    served.signal("-INT");
    served.signal("-CONT");
    let status = served.ended().await;
    // Both are one end: an idle server may have ended in good order before it looked at the second.
    assert!(matches!(status.code(), Some(0 | 1)), "{status}");
}

#[tokio::test]
async fn while_it_stops_it_says_so_and_lets_nobody_in() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(config(folder.path())).await.unwrap();
    let address = server.listening()[0].address;
    let ready = async || http::request(address, "GET", "/readyz", None, None).await.unwrap();
    assert_eq!(ready().await.status, 200);
    // The first step of a stop; the listeners are there until it is done.
    server.app().live.shutdown().await;
    let answer = ready().await;
    assert_eq!((answer.status.as_u16(), answer.body.contains("stopping")), (503, true), "{}", answer.body);
    assert_eq!(http::request(address, "GET", "/livez", None, None).await.unwrap().status, 200);
    server.stop().await;
    assert!(http::request(address, "GET", "/livez", None, None).await.is_err());
}

pub fn config(folder: &Path) -> Config {
    let mut config = Config::default();
    config.http.listen = vec!["127.0.0.1:0".parse().unwrap()];
    config.media.port = 0;
    config.media.bind = "127.0.0.1".parse().unwrap();
    config.media.shards = 1;
    config.storage.folder = folder.join("data");
    config
}

#[tokio::test]
async fn a_container_can_ask_whether_it_is_ready() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::start(folder.path()).await;
    let url = format!("http://{}", served.address);
    let asked = crate::serve::succeeds(crate::serve::hewei(folder.path(), &["health", "--url", &url]));
    assert_eq!(text(&asked.stdout), "ok\n");
    drop(served);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (url, words) in
        [(format!("http://{free}"), "does not answer"), ("https://localhost".into(), "http://")]
    {
        let asked = crate::serve::hewei(folder.path(), &["health", "--url", &url]).output().unwrap();
        assert_eq!(asked.status.code(), Some(1));
        assert!(text(&asked.stderr).contains(words), "{}", text(&asked.stderr));
    }
}
