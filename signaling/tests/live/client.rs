//! A WebSocket client, and a plain HTTP one for WHIP and WHEP.

use std::{net::SocketAddr, time::Duration};

use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Full};
use hyper::{Request, body::Bytes, header};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, client::IntoClientRequest, protocol::frame::coding::CloseCode},
};

/// More than any answer takes, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Client {
    socket: WebSocketStream<TcpStream>,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        Self::connect_from(address, None).await.expect("the server takes the connection")
    }

    /// As a page of `origin`. The error is the HTTP status.
    pub async fn connect_from(address: SocketAddr, origin: Option<&str>) -> Result<Self, u16> {
        let mut request = format!("ws://{address}/ws").into_client_request().unwrap();
        if let Some(origin) = origin {
            request.headers_mut().insert(header::ORIGIN, origin.parse().unwrap());
        }
        let stream = TcpStream::connect(address).await.unwrap();
        match tokio_tungstenite::client_async(request, stream).await {
            Ok((socket, _)) => Ok(Self { socket }),
            Err(tokio_tungstenite::tungstenite::Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    pub async fn say(&mut self, message: Value) {
        self.say_text(message.to_string()).await;
    }

    pub async fn say_text(&mut self, text: String) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    /// Sends without caring whether the server still listens.
    pub async fn try_say(&mut self, message: Value) {
        let _ = self.socket.send(Message::text(message.to_string())).await;
    }

    pub async fn say_bytes(&mut self, bytes: Vec<u8>) {
        self.socket.send(Message::binary(bytes)).await.unwrap();
    }

    pub async fn hello_room(&mut self, token: &str, room: &str) {
        let open = json!({ "kind": "room", "room_id": room, "record": true });
        self.say(json!({ "type": "hello", "token": token, "open": open })).await;
    }

    /// As a page that names itself.
    pub async fn hello_room_as(&mut self, token: &str, room: &str, page: Value) {
        let open = json!({ "kind": "room", "room_id": room, "record": true, "page": page });
        self.say(json!({ "type": "hello", "token": token, "open": open })).await;
    }

    pub async fn hello_wall(&mut self, token: &str, wall: &str, purpose: &str) {
        let open = json!({ "kind": "wall", "wall_id": wall, "purpose_id": purpose });
        self.say(json!({ "type": "hello", "token": token, "open": open })).await;
    }

    /// The next message; `None` when the server closed.
    pub async fn next(&mut self) -> Option<Value> {
        // The server's pings are messages too, and must not lengthen the wait.
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            let message =
                tokio::time::timeout_at(until, self.socket.next()).await.expect("a message in time")?;
            match message {
                Ok(Message::Text(text)) => return Some(serde_json::from_str(&text).unwrap()),
                Ok(Message::Close(_)) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// The next message of this type; what comes before it is passed over.
    pub async fn hear(&mut self, kind: &str) -> Value {
        loop {
            let message = self.next().await.unwrap_or_else(|| panic!("closed before {kind}"));
            if message["type"] == kind {
                return message;
            }
        }
    }

    /// The next error's problem type.
    pub async fn hear_problem(&mut self) -> String {
        self.hear("error").await["problem"]["type"].as_str().unwrap().to_owned()
    }

    /// The next list of people of which `wanted` holds.
    pub async fn hear_people(&mut self, wanted: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        loop {
            let message = self.hear("participants").await;
            let people = message["participants"].as_array().unwrap().clone();
            if wanted(&people) {
                return people;
            }
        }
    }

    /// Waits for the close frame and gives its code; messages before it are passed over.
    pub async fn hear_close(&mut self) -> Option<CloseCode> {
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            let message =
                tokio::time::timeout_at(until, self.socket.next()).await.expect("a close in time")?;
            match message {
                Ok(Message::Close(frame)) => return frame.map(|frame| frame.code),
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }

    /// Whether nothing but lists of people comes for a while.
    pub async fn hears_nothing_of(&mut self, kinds: &[&str], time: Duration) -> bool {
        let until = tokio::time::Instant::now() + time;
        loop {
            match tokio::time::timeout_at(until, self.socket.next()).await {
                Err(_) => return true,
                Ok(Some(Ok(Message::Text(text)))) => {
                    let message: Value = serde_json::from_str(&text).unwrap();
                    if kinds.iter().any(|kind| message["type"] == *kind) {
                        return false;
                    }
                }
                Ok(Some(Ok(_))) => {}
                Ok(None | Some(Err(_))) => return false,
            }
        }
    }
}

pub struct Answer {
    pub status: u16,
    pub headers: hyper::HeaderMap,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json", "{}", self.body);
        let problem: Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!(problem["status"], self.status);
        problem["type"].as_str().unwrap().to_owned()
    }
}

/// One HTTP request on a connection of its own.
pub async fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    token: Option<&str>,
    content_type: Option<&str>,
    body: String,
) -> Answer {
    let headers: Vec<_> = content_type.map(|value| ("content-type", value)).into_iter().collect();
    request_with(address, method, path, token, &headers, body).await
}

/// The same with headers of one's own.
pub async fn request_with(
    address: SocketAddr,
    method: &str,
    path: &str,
    token: Option<&str>,
    headers: &[(&str, &str)],
    body: String,
) -> Answer {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let driver = tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path).header(header::HOST, address.to_string());
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = sender.send_request(request.body(Full::new(Bytes::from(body))).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    drop(sender);
    driver.abort();
    Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body: String::from_utf8(body.into()).unwrap(),
    }
}
