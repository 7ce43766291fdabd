//! Broken offers and broken JSON: over WebSockets, WHIP and the API, on as many connections as the rates ask for, so
//! that what is broken reaches the parsers.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Instant, SystemTime},
};

use hewei_client::{Connection, Shape};
use hewei_model::{CaseId, Codec, Role, RoomId};
use http_body_util::{BodyExt, Full};
use hyper::{Request, body::Bytes, client::conn::http1::SendRequest, header};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::net::TcpStream;

use crate::{client::Client, noise::Noise, server::TestServer};

/// Messages of one WebSocket, hello and leave apart: its burst is thirty.
const A_SOCKET: usize = 24;
/// Requests of one token, by WHIP and by the API: a fraction of its burst.
const A_TOKEN: usize = 8;
const AT_ONCE: usize = 8;
/// So many are changed for a hundred that are broken: a change may leave a text good, and a rate may refuse it unread.
const CHANGED_PERCENT: usize = 120;
/// How a parser refuses. With any other problem the bytes never came so far; with an answer they were good.
const PARSERS_TELL: [&str; 4] = ["invalid_offer", "malformed_message", "invalid", "too_large"];

/// How often each answer came.
#[derive(Clone, Default)]
struct Answers(Arc<Mutex<BTreeMap<String, u64>>>);

impl Answers {
    fn count(&self, way: &str, answer: &str) {
        *self.0.lock().unwrap().entry(format!("  {way}: {answer}")).or_default() += 1;
    }
}

/// Sends offers and texts of JSON until well over `count` of each were refused by their parsers, half of each over
/// WebSockets. Tells what each way answered, and that the server counted what it told.
pub async fn storm(server: &TestServer, count: usize, seed: u64) -> Vec<(String, u64)> {
    let changed = count * CHANGED_PERCENT / 100;
    let told = || server.server.app().refusals.problems().into_iter().collect::<BTreeMap<_, _>>();
    let before = told();
    let room = room(server).await;
    let answers = Answers::default();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..AT_ONCE {
        let share = changed / 2 / AT_ONCE;
        let (address, answers) = (server.address(), answers.clone());
        let pair = |_| (server.token(Role::Mediator), server.token(Role::Administrator));
        let pairs: Vec<_> = (0..share.div_ceil(A_TOKEN)).map(pair).collect();
        let sockets = (2 * share).div_ceil(A_SOCKET);
        let tokens: Vec<String> = (0..sockets).map(|_| server.token(Role::Mediator)).collect();
        let mut noise = Noise::new(seed * 1_000 + task as u64);
        tasks.spawn(async move {
            let offers = offers();
            for token in tokens {
                socket(address, &token, room, &offers, &mut noise, &answers).await;
            }
            let mut web = Web::new(address);
            for round in 0..share {
                let (mediator, administrator) = &pairs[round / A_TOKEN];
                let sdp = {
                    let good = noise.pick(&offers).clone();
                    noise.broken(&good)
                };
                let path = format!("/whip/{room}");
                let (answer, location) = web.post(&path, mediator, "application/sdp", sdp).await;
                answers.count("offer by WHIP", &answer);
                if let Some(location) = location {
                    web.delete(&location, mediator).await;
                }
                let (path, good) = noise.pick(&bodies()).clone();
                let body = noise.broken(&good);
                let (answer, _) = web.post(path, administrator, "application/json", body).await;
                answers.count("JSON by HTTP", &answer);
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let answers = answers.0.lock().unwrap().clone();
    let broken = |way: &str| -> u64 {
        let told = PARSERS_TELL.iter().filter_map(|told| answers.get(&format!("  {way}: {told}")));
        told.sum()
    };
    let mut table = Vec::new();
    for (what, ways) in [
        ("broken offers", ["offer by WebSocket", "offer by WHIP"]),
        ("broken JSON", ["JSON by WebSocket", "JSON by HTTP"]),
    ] {
        let sum: u64 = ways.iter().map(|way| broken(way)).sum();
        table.push((what.to_owned(), sum));
        assert!(sum >= count as u64, "too few were broken: {sum} {what}: {answers:#?}");
    }
    table.extend(answers.clone());
    // What clients were told is what the server has counted.
    for kind in PARSERS_TELL {
        let heard: u64 = answers
            .iter()
            .filter(|(way, _)| way.ends_with(&format!(": {kind}")))
            .map(|(_, count)| count)
            .sum();
        let counted = told().get(kind).unwrap_or(&0) - before.get(kind).unwrap_or(&0);
        assert!(counted >= heard, "{kind}: told {heard} times and counted {counted}");
    }
    table
}

/// A room of its own for the broken, which is no concern of the call.
async fn room(server: &TestServer) -> RoomId {
    let now = OffsetDateTime::now_utc();
    let case = hewei_store::Case {
        id: CaseId::generate(),
        number: RoomId::generate().to_string(),
        title: "坏消息".into(),
        region_id: None,
        created_at: now,
    };
    let room = hewei_store::Room {
        id: RoomId::generate(),
        case_id: case.id,
        name: "坏消息".into(),
        created_at: now,
    };
    let store = &server.server.app().store;
    store.add_case(&case).await.unwrap();
    store.add_room(&room).await.unwrap();
    room.id
}

/// Good offers: a foreign client's, and what browsers sent.
fn offers() -> Vec<String> {
    let shape = |audio_slots, video_slots| Shape {
        audio_slots,
        video_slots,
        ..Shape::publishing([Codec::Opus, Codec::H264])
    };
    let mut offers: Vec<String> = [(0, 0), (3, 3), (12, 12)]
        .into_iter()
        .map(|(audio, video)| {
            let shape = shape(audio, video);
            Connection::new(shape, Instant::now(), SystemTime::now()).unwrap().offer()
        })
        .collect();
    for recorded in [
        include_str!("../../../crates/peer/tests/offers/chromium-156.sdp"),
        include_str!("../../../crates/peer/tests/offers/chromium-layers.sdp"),
        include_str!("../../../crates/peer/tests/offers/aiortc-1.16.sdp"),
    ] {
        offers.push(recorded.to_owned());
    }
    offers
}

/// Good bodies, and where they go.
fn bodies() -> Vec<(&'static str, String)> {
    let id = RoomId::generate().to_string();
    [
        ("/api/v1/cases", json!({ "number": id, "title": "t", "region_id": id })),
        ("/api/v1/rooms", json!({ "case_id": id, "name": "n" })),
        ("/api/v1/regions", json!({ "name": "n", "parent_id": id })),
        ("/api/v1/cameras", json!({ "number": 1, "name": "n", "url": "rtsp://192.0.2.1/", "region_id": id })),
        ("/api/v1/walls", json!({ "name": "n", "camera_ids": [id, id] })),
    ]
    .into_iter()
    .map(|(path, body)| (path, serde_json::to_string_pretty(&body).unwrap()))
    .collect()
}

/// One WebSocket: offers and other messages in turn, each answered before the next.
async fn socket(
    address: SocketAddr,
    token: &str,
    room: RoomId,
    offers: &[String],
    noise: &mut Noise,
    answers: &Answers,
) {
    let mut client = Client::connect(address).await;
    client.hello_room(token, &room.to_string()).await;
    client.hear("welcome_room").await;
    for message in 0..A_SOCKET {
        let way = ["offer by WebSocket", "JSON by WebSocket"][message % 2];
        if message % 2 == 0 {
            let sdp = {
                let good = noise.pick(offers).clone();
                noise.broken(&good)
            };
            client.say(json!({ "type": "offer", "offer_id": message, "sdp": sdp })).await;
        } else {
            let good = [
                json!({ "type": "set_consent", "record": true }),
                json!({ "type": "set_muted", "kind": "audio", "muted": true }),
                json!({ "type": "view", "tiles": [{ "participant_id": RoomId::generate(), "height": 180 }] }),
                json!({ "type": "offer", "offer_id": 1, "sdp": "v=0" }),
                json!({ "type": "admit", "participant_id": RoomId::generate().to_string() }),
            ];
            let good = serde_json::to_string_pretty(noise.pick(&good)).unwrap();
            // A bracket too many at the end, so that none of them is good by chance and stays unanswered.
            client.say_text(noise.broken(&good) + "]").await;
        }
        loop {
            let heard = client.next().await.unwrap_or_else(|| panic!("closed after {way}"));
            match heard["type"].as_str().unwrap() {
                "answer" => break answers.count(way, "answer"),
                "error" => break answers.count(way, heard["problem"]["type"].as_str().unwrap()),
                _ => {}
            }
        }
    }
    client.say(json!({ "type": "leave" })).await;
    client.hear_close().await;
}

/// A plain HTTP connection that is kept as long as the server keeps it.
struct Web {
    address: SocketAddr,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Web {
    fn new(address: SocketAddr) -> Self {
        Self { address, sender: None }
    }

    async fn sender(&mut self) -> &mut SendRequest<Full<Bytes>> {
        let gone = match &mut self.sender {
            Some(sender) => sender.ready().await.is_err(),
            None => true,
        };
        if gone {
            let stream = TcpStream::connect(self.address).await.unwrap();
            let (sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            self.sender = Some(sender);
        }
        self.sender.as_mut().unwrap()
    }

    async fn request(&mut self, request: Request<Full<Bytes>>) -> hyper::Response<hyper::body::Incoming> {
        for _ in 0..3 {
            // The server may close what it has kept just as it is used.
            if let Ok(response) = self.sender().await.send_request(request.clone()).await {
                return response;
            }
            self.sender = None;
        }
        panic!("three connections broke");
    }

    fn build(&self, method: &str, path: &str, token: &str) -> hyper::http::request::Builder {
        let host = self.address.to_string();
        let request = Request::builder().method(method).uri(path).header(header::HOST, host);
        request.header(header::AUTHORIZATION, format!("Bearer {token}"))
    }

    /// The problem's type, `answer`, or the status of anything else; and where a session is.
    async fn post(&mut self, path: &str, token: &str, kind: &str, body: String) -> (String, Option<String>) {
        let request = self.build("POST", path, token).header(header::CONTENT_TYPE, kind);
        let response = self.request(request.body(Full::new(Bytes::from(body))).unwrap()).await;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let location = parts.headers.get(header::LOCATION).map(|value| value.to_str().unwrap().to_owned());
        let answer = match parts.status.as_u16() {
            200..300 => "answer".to_owned(),
            500.. => panic!("{path}: {} {body:?}", parts.status),
            _ => {
                let problem: Value = serde_json::from_slice(&body).unwrap();
                problem["type"].as_str().unwrap().to_owned()
            }
        };
        (answer, location)
    }

    async fn delete(&mut self, path: &str, token: &str) {
        let request = self.build("DELETE", path, token).body(Full::default()).unwrap();
        let response = self.request(request).await;
        assert!(response.status().is_success(), "{path}: {}", response.status());
        response.into_body().collect().await.unwrap();
    }
}
