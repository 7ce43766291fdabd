//! WHIP as RFC 9725 has it, and WHEP as draft-ietf-wish-whep has it: `docs/whip.md` names the tests of this file.

use std::time::{Duration, Instant, SystemTime};

use hewei_client::{Connection, Error, Event, Media, Outgoing, Shape, http};
use hewei_model::{Codec, MediaKind, Role};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    client::{Answer, request, request_with},
    sdp,
    server::{TestServer, until},
};

const OFFER: &str = "application/sdp";
const FRAGMENT: &str = "application/trickle-ice-sdpfrag";
/// The credentials of [`sdp::offer`].
const KNOWN: &str = "a=ice-ufrag:F7gI\r\na=ice-pwd:x9cml/YzichV2+XlhiMu8gaZ\r\n";
const NEW: &str = "a=ice-ufrag:ysXw\r\na=ice-pwd:vw5LmwG4y/e6dPP/zAP9Gp5k\r\n";
const CANDIDATES: &str = "a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0\r\n\
    a=candidate:473322822 1 tcp 1518280447 192.0.2.1 9 typ host tcptype active\r\n\
    a=candidate:3 1 udp 1 4a0ae3b2-mdns.local 61765 typ host\r\na=end-of-candidates\r\n";
const PATIENCE: Duration = Duration::from_secs(30);

fn publishing() -> String {
    sdp::offer(&[("audio", "sendonly"), ("video", "sendonly")])
}

fn watching() -> String {
    sdp::offer(&[("audio", "recvonly"), ("video", "recvonly")])
}

/// One session, by a raw client.
struct Session {
    server: TestServer,
    token: String,
    answer: Answer,
    location: String,
}

impl Session {
    async fn open(path: &str, role: Role, offer: String) -> Session {
        let server = TestServer::start().await;
        let token = server.token(role);
        let path = format!("/{path}/{}", server.room);
        let answer = request(server.address(), "POST", &path, Some(&token), Some(OFFER), offer).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        let location = answer.header("location").to_owned();
        assert!(location.starts_with(&format!("{path}/")), "{location}");
        Session { server, token, answer, location }
    }

    async fn publish() -> Session {
        Self::open("whip", Role::Lawyer, publishing()).await
    }

    async fn watch() -> Session {
        Self::open("whep", Role::Leader, watching()).await
    }

    async fn ask(&self, method: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let address = self.server.address();
        request_with(address, method, &self.location, Some(&self.token), headers, body.to_owned()).await
    }

    async fn patch(&self, if_match: &str, body: &str) -> Answer {
        self.ask("PATCH", &[("content-type", FRAGMENT), ("if-match", if_match)], body).await
    }

    /// The session is there, and its ICE session the first or the one that is named.
    async fn holds(&self, tag: &str) {
        assert_eq!(self.ask("GET", &[], "").await.status, 204);
        let answer = self.patch(tag, &format!("{KNOWN}{CANDIDATES}")).await;
        assert_eq!(answer.status, 204, "{}", answer.body);
    }
}

/// The values of an attribute, in order.
fn values<'a>(sdp: &'a str, name: &str) -> Vec<&'a str> {
    let start = format!("a={name}");
    sdp.lines()
        .filter_map(|line| line.strip_prefix(&start))
        .filter_map(|rest| if rest.is_empty() { Some(rest) } else { rest.strip_prefix(':') })
        .collect()
}

#[tokio::test]
async fn an_offer_is_answered_with_a_location_a_tag_and_all_candidates() {
    let session = Session::publish().await;
    let answer = &session.answer;
    assert_eq!(answer.header("content-type"), OFFER);
    let tag = answer.header("etag");
    assert!(
        tag.starts_with('"') && tag.ends_with('"') && tag.len() > 20,
        "strong, and unlike any other: {tag}"
    );
    let sdp = &answer.body;
    // Two m-lines, both received, with one transport.
    assert_eq!(sdp.matches("\r\nm=").count(), 2, "{sdp}");
    assert_eq!(values(sdp, "recvonly").len(), 2, "{sdp}");
    assert_eq!(values(sdp, "group"), ["BUNDLE 0 1"]);
    for name in ["rtcp-mux", "rtcp-mux-only", "end-of-candidates"] {
        assert_eq!(values(sdp, name).len(), 2, "{name} in {sdp}");
    }
    assert_eq!(values(sdp, "setup"), ["passive"; 2]);
    assert_eq!((values(sdp, "ice-lite").len(), values(sdp, "ice-options")), (1, vec!["trickle ice2"]));
    assert!(values(sdp, "candidate")[0].contains(" 127.0.0.1 "), "{sdp}");
    // No extension is advertised.
    assert!(!answer.header("link").contains("urn:ietf:params:wh"));
}

#[tokio::test]
async fn the_answer_links_to_a_relay_with_credentials() {
    for session in [Session::publish().await, Session::watch().await] {
        let link = session.answer.header("link");
        let address = session.server.address();
        let rest =
            link.strip_prefix(&format!("<turn:{address}?transport=tcp>; rel=\"ice-server\"; ")).expect(link);
        let username = rest.strip_prefix("username=\"").and_then(|rest| rest.split_once('"')).expect(link).0;
        let until: i64 = username.split_once(':').expect(username).0.parse().expect(username);
        let left = until - time::OffsetDateTime::now_utc().unix_timestamp();
        assert!((3_000..=3_600).contains(&left), "as long as the token: {left}");
        assert!(rest.ends_with("credential-type=\"password\"") && rest.contains("credential=\""), "{link}");

        // It is there, beside HTTP, and asks for them: Allocate over UDP, without integrity.
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let allocate = [
            0, 3, 0, 8, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0, 0x19, 0, 4, 17, 0,
            0, 0,
        ];
        stream.write_all(&allocate).await.unwrap();
        let mut head = [0; 20];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!((&head[..2], &head[8..]), (&[1, 0x13][..], &allocate[8..20]), "an error response to it");
        let mut rest = vec![0; usize::from(u16::from_be_bytes([head[2], head[3]]))];
        stream.read_exact(&mut rest).await.unwrap();
        assert_eq!(rest[..8], [0, 9, 0, 4 + 15, 0, 0, 4, 1], "401");
    }
    let off = TestServer::start_with(|config| config.turn.enabled = false).await;
    let path = format!("/whip/{}", off.room);
    let token = off.token(Role::Lawyer);
    let answer = request(off.address(), "POST", &path, Some(&token), Some(OFFER), publishing()).await;
    assert_eq!((answer.status, answer.headers.contains_key("link")), (201, false));
}

#[tokio::test]
async fn get_is_answered_without_content() {
    for session in [Session::publish().await, Session::watch().await] {
        let endpoint = session.location.rsplit_once('/').unwrap().0;
        for path in [endpoint, &session.location] {
            for method in ["GET", "HEAD"] {
                let (address, token) = (session.server.address(), Some(session.token.as_str()));
                let answer = request(address, method, path, token, None, String::new()).await;
                assert_eq!((answer.status, answer.body.as_str()), (204, ""), "{method} {path}");
            }
        }
    }
}

#[tokio::test]
async fn options_says_what_is_taken_and_lets_no_other_site_in() {
    for session in [Session::publish().await, Session::watch().await] {
        let endpoint = session.location.rsplit_once('/').unwrap().0;
        let preflight = [
            ("origin", "https://elsewhere.example"),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "authorization, content-type"),
        ];
        for headers in [&[][..], &preflight] {
            let (address, nothing) = (session.server.address(), String::new());
            let answer = request_with(address, "OPTIONS", endpoint, None, headers, nothing.clone()).await;
            assert_eq!((answer.status, answer.header("accept-post")), (200, OFFER));
            assert_eq!(answer.header("allow"), "GET, HEAD, OPTIONS, POST");
            let of_session =
                request_with(address, "OPTIONS", &session.location, None, headers, nothing).await;
            assert_eq!((of_session.status, of_session.header("accept-patch")), (200, FRAGMENT));
            assert_eq!(of_session.header("allow"), "DELETE, GET, HEAD, OPTIONS, PATCH");
            for answer in [answer, of_session] {
                let cors = answer.headers.keys().find(|name| name.as_str().starts_with("access-control-"));
                assert_eq!(cors, None);
            }
        }
    }
}

#[tokio::test]
async fn other_methods_are_refused_with_those_that_are_possible() {
    let session = Session::publish().await;
    let endpoint = session.location.rsplit_once('/').unwrap().0.to_owned();
    let (address, token) = (session.server.address(), Some(session.token.as_str()));
    for (path, method, allow) in [
        (&endpoint, "PUT", "GET, HEAD, OPTIONS, POST"),
        (&endpoint, "PATCH", "GET, HEAD, OPTIONS, POST"),
        (&endpoint, "DELETE", "GET, HEAD, OPTIONS, POST"),
        (&session.location, "POST", "DELETE, GET, HEAD, OPTIONS, PATCH"),
        (&session.location, "PUT", "DELETE, GET, HEAD, OPTIONS, PATCH"),
    ] {
        let answer = request(address, method, path, token, Some(OFFER), publishing()).await;
        assert_eq!((answer.status, answer.header("allow")), (405, allow), "{method} {path}");
        assert_eq!(answer.problem(), "method_not_allowed");
    }
}

#[tokio::test]
async fn what_could_be_taken_in_part_only_is_refused_whole() {
    let server = TestServer::start().await;
    let (address, token) = (server.address(), server.token(Role::Lawyer));
    let path = format!("/whip/{}", server.room);
    let offered =
        async |offer: String| request(address, "POST", &path, Some(&token), Some(OFFER), offer).await;
    let other_codec = publishing().replace("VP8/90000", "VP9/90000").replace("H264/90000", "H265/90000");
    let data = publishing()
        + "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:2\r\na=sctp-port:5000\r\n";
    for (what, offer) in [
        ("two pictures", sdp::offer(&[("video", "sendonly"), ("video", "sendonly")])),
        ("two sounds", sdp::offer(&[("audio", "sendonly"), ("audio", "sendrecv")])),
        ("something to receive", sdp::offer(&[("video", "sendonly"), ("audio", "recvonly")])),
        ("something inactive", sdp::offer(&[("video", "sendonly"), ("audio", "inactive")])),
        ("another codec", other_codec),
        ("data", data),
    ] {
        let answer = offered(offer).await;
        assert_eq!((answer.status, answer.problem().as_str()), (422, "partial_offer"), "{what}");
    }
    for broken in ["", "v=0 nonsense", &publishing().replace("a=ice-pwd", "a=x-pwd")] {
        let answer = offered(broken.to_owned()).await;
        assert_eq!((answer.status, answer.problem().as_str()), (400, "invalid_offer"));
    }
    assert_eq!(server.server.app().live.people(server.room), 0, "nobody sits there for it");
    // How many streams the tracks are of does not matter, and a client may be active in DTLS only.
    for offer in [
        publishing().replacen("a=msid:- ", "a=msid:one ", 1),
        publishing().replace("a=setup:actpass", "a=setup:active"),
        sdp::offer(&[("audio", "sendrecv"), ("video", "sendrecv")]),
        sdp::offer(&[("video", "sendonly")]),
    ] {
        let answer = offered(offer).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        let lines = answer.body.matches("\r\nm=").count();
        assert_eq!(values(&answer.body, "recvonly").len(), lines);
        assert_eq!(values(&answer.body, "setup"), vec!["passive"; lines]);
    }
}

#[tokio::test]
async fn more_candidates_are_taken_without_a_word() {
    for session in [Session::publish().await, Session::watch().await] {
        let tag = session.answer.header("etag").to_owned();
        for (if_match, body) in [
            (tag.as_str(), format!("m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n{KNOWN}{CANDIDATES}")),
            ("*", format!("{KNOWN}{CANDIDATES}")),
            (&format!("\"another\", {tag}"), KNOWN.to_owned()),
        ] {
            let answer = session.patch(if_match, &body).await;
            assert_eq!((answer.status, answer.body.as_str()), (204, ""), "{if_match}");
            assert!(!answer.headers.contains_key("etag"));
        }
        session.holds(&tag).await;
    }
}

#[tokio::test]
async fn a_patch_says_which_ice_session_it_is_for() {
    for session in [Session::publish().await, Session::watch().await] {
        let tag = session.answer.header("etag").to_owned();
        for body in [KNOWN, NEW] {
            let without = session.ask("PATCH", &[("content-type", FRAGMENT)], body).await;
            assert_eq!((without.status, without.problem().as_str()), (428, "if_match_missing"));
            for other in ["\"another\"", &format!("W/{tag}"), tag.trim_matches('"')] {
                let answer = session.patch(other, body).await;
                assert_eq!((answer.status, answer.problem().as_str()), (412, "ice_session_over"), "{other}");
            }
        }
        session.holds(&tag).await;
    }
}

#[tokio::test]
async fn a_patch_that_is_no_fragment_is_refused_and_changes_nothing() {
    for session in [Session::publish().await, Session::watch().await] {
        let tag = session.answer.header("etag").to_owned();
        for content_type in [OFFER, "text/plain", "application/json"] {
            let answer =
                session.ask("PATCH", &[("content-type", content_type), ("if-match", "*")], NEW).await;
            assert_eq!((answer.status, answer.problem().as_str()), (415, "content_type"), "{content_type}");
        }
        let untyped = session.ask("PATCH", &[("if-match", "*")], NEW).await;
        assert_eq!(untyped.status, 415);
        let many = format!("{NEW}{}", "a=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n".repeat(200));
        for body in [
            "",
            "a=ice-ufrag:ysXw\r\n",
            "a=ice-pwd:vw5LmwG4y/e6dPP/zAP9Gp5k\r\n",
            "nonsense",
            &format!("{NEW}a=candidate:nonsense\r\n"),
            &format!("{NEW}a=ice-ufrag:another\r\n"),
            &many,
        ] {
            let answer = session.patch("*", body).await;
            assert_eq!((answer.status, answer.problem().as_str()), (400, "invalid_fragment"), "{body}");
        }
        let long = session.patch("*", &format!("{NEW}a=x:{}", "y".repeat(20_000))).await;
        assert_eq!((long.status, long.problem().as_str()), (413, "too_large"));
        session.holds(&tag).await;
    }
}

#[tokio::test]
async fn new_credentials_restart_ice() {
    for session in [Session::publish().await, Session::watch().await] {
        let first = session.answer.header("etag").to_owned();
        let sdp = &session.answer.body;
        let restarted = session.patch("*", &format!("{NEW}{CANDIDATES}")).await;
        assert_eq!((restarted.status, restarted.header("content-type")), (200, FRAGMENT));
        let second = restarted.header("etag").to_owned();
        assert!(second.starts_with('"') && second != first, "{second}");
        let fragment = &restarted.body;
        for name in ["ice-ufrag", "ice-pwd"] {
            assert_eq!(values(fragment, name).len(), 1, "{fragment}");
            assert_ne!(values(fragment, name)[0], values(sdp, name)[0], "{name} is new");
        }
        for name in ["ice-lite", "ice-options", "ice-pacing"] {
            assert_eq!(values(fragment, name), values(sdp, name), "{name} is the same");
        }
        let candidates = values(sdp, "candidate").len() / values(sdp, "end-of-candidates").len();
        assert_eq!(values(fragment, "candidate"), values(sdp, "candidate")[..candidates]);
        assert_eq!((values(fragment, "mid"), values(fragment, "end-of-candidates").len()), (vec!["0"], 1));

        // What was on its way for the session before comes too late.
        let late = session.patch(&first, &format!("{KNOWN}{CANDIDATES}")).await;
        assert_eq!(late.status, 412);
        let trickled = session.patch(&second, &format!("{NEW}{CANDIDATES}")).await;
        assert_eq!(trickled.status, 204);
        // Again, as the figure writes it, and with the tag of the session that it replaces.
        let third = session.patch("\"*\"", KNOWN).await;
        assert_eq!(third.status, 200);
        let tag = third.header("etag").to_owned();
        assert!(![&first, &second].contains(&&tag));
        let fourth = session.patch(&tag, NEW).await;
        assert_eq!((fourth.status, fourth.header("etag") == tag), (200, false));
        assert_ne!(values(&fourth.body, "ice-ufrag"), values(&third.body, "ice-ufrag"));
    }
}

#[tokio::test]
async fn delete_asks_for_no_tag_and_what_is_gone_is_not_found() {
    for session in [Session::publish().await, Session::watch().await] {
        let answer = session.ask("DELETE", &[("if-match", "\"nonsense\"")], "").await;
        assert_eq!(answer.status, 200);
        for (method, headers) in
            [("GET", &[][..]), ("DELETE", &[]), ("PATCH", &[("content-type", FRAGMENT), ("if-match", "*")])]
        {
            let answer = session.ask(method, headers, NEW).await;
            assert_eq!(answer.status, 404, "{method}");
        }
    }
}

#[tokio::test]
async fn a_session_is_for_the_token_it_was_made_with() {
    for session in [Session::publish().await, Session::watch().await] {
        let address = session.server.address();
        let endpoint = session.location.rsplit_once('/').unwrap().0;
        let other = session.server.token(Role::Mediator);
        let headers = [("content-type", FRAGMENT), ("if-match", "*")];
        for (method, path) in [
            ("GET", endpoint),
            ("POST", endpoint),
            ("GET", &session.location),
            ("PATCH", &session.location),
            ("DELETE", &session.location),
        ] {
            for token in [None, Some("nonsense")] {
                let answer = request_with(address, method, path, token, &headers, NEW.into()).await;
                assert_eq!((answer.status, answer.header("www-authenticate")), (401, "Bearer"), "{method}");
            }
            if path != endpoint {
                let answer = request_with(address, method, path, Some(&other), &headers, NEW.into()).await;
                assert_eq!(
                    (answer.status, answer.problem().as_str()),
                    (403, "session_forbidden"),
                    "{method}"
                );
            }
        }
        session.holds(session.answer.header("etag")).await;
    }
}

#[tokio::test]
async fn what_a_player_gets_is_sendonly() {
    let server = TestServer::start().await;
    let mut mediator = server.enter(Role::Mediator).await;
    let id = mediator.hear("welcome_room").await["participant_id"].as_str().unwrap().to_owned();
    let path = format!("/whep/{}?participant={id}", server.room);
    let token = server.token(Role::Leader);
    let answer = request(server.address(), "POST", &path, Some(&token), Some(OFFER), watching()).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    assert_eq!(values(&answer.body, "sendonly").len(), 2, "{}", answer.body);
    let streams: Vec<&str> =
        values(&answer.body, "msid").into_iter().filter_map(|msid| msid.split(' ').next()).collect();
    assert_eq!(streams.len(), 2);
    assert_eq!(streams[0], streams[1], "sound and picture of one person are one stream");
}

#[test]
fn every_test_that_the_table_names_is_there() {
    let table = include_str!("../../../docs/whip.md");
    let sources = [
        include_str!("whip.rs"),
        include_str!("sessions.rs"),
        include_str!("../../../crates/engine/tests/hostile.rs"),
        include_str!("../../../crates/peer/src/peer/restart_tests.rs"),
        include_str!("../../../crates/peer/tests/answers.rs"),
        include_str!("../../../crates/peer/src/sdpfrag.rs"),
    ];
    let quoted = table.split('`').skip(1).step_by(2);
    let named: Vec<&str> = quoted.filter(|word| word.matches('_').count() >= 3).collect();
    assert!(named.len() >= 40, "{named:?}");
    for name in named {
        let defined = format!("fn {name}(");
        assert!(
            sources.iter().any(|source| source.contains(&defined)),
            "docs/whip.md names {name}, which is no test"
        );
    }
}

/// A picture of one packet (RFC 7741 §4.2), a keyframe now and then.
fn picture(number: u32) -> Outgoing<'static> {
    let payload: &[u8] = match number % 25 {
        1 => &[0x10, 0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a, 64, 0, 64, 0],
        _ => &[0x10, 0x11, 0x02, 0x00, 7, 7, 7],
    };
    Outgoing { timestamp: 1_800 * number, marker: true, payload }
}

fn pictures(connection: &Connection) -> u64 {
    let slots = connection.slots().iter().enumerate();
    slots
        .filter(|(_, slot)| slot.kind == MediaKind::Video)
        .map(|(at, _)| connection.received(at).packets)
        .sum()
}

/// An encoder that publishes and a player that watches.
struct Line {
    encoder: http::Session,
    player: http::Session,
    sent: u32,
}

impl Line {
    async fn play(&mut self, packets: u64) {
        let wanted = pictures(self.player.media.connection()) + packets;
        let end = Instant::now() + PATIENCE;
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        while pictures(self.player.media.connection()) < wanted {
            assert!(Instant::now() < end, "the player sees the encoder's picture");
            tokio::select! {
                event = self.player.media.next() => assert!(!matches!(event, Event::Over(_)), "{event:?}"),
                event = self.encoder.media.next() => assert!(!matches!(event, Event::Over(_)), "{event:?}"),
                _ = ticks.tick() => {
                    self.sent += 1;
                    let connection = self.encoder.media.connection_mut();
                    connection.send(Instant::now(), 0, picture(self.sent)).unwrap();
                    self.encoder.media.flush();
                }
            }
        }
    }
}

#[tokio::test]
async fn encoder_and_player_go_on_from_other_addresses() {
    let server = TestServer::start().await;
    let address = server.address();
    let counted = |name: &str| {
        let counters = server.server.app().engine.counters();
        counters.iter().find(|(known, _)| *known == name).unwrap().1
    };
    let (lawyer, leader) = (server.token(Role::Lawyer), server.token(Role::Leader));
    let path = format!("/whip/{}", server.room);
    let mut encoder = http::offer(address, &path, &lawyer, Shape::publishing([Codec::Vp8])).await.unwrap();
    encoder.media.connected().await.unwrap();
    for number in 1..5 {
        encoder.media.connection_mut().send(Instant::now(), 0, picture(number)).unwrap();
    }
    encoder.media.flush();
    until("the first picture is there", || async { counted("media_rtp_received_total") >= 1 }).await;

    let path = format!("/whep/{}", server.room);
    let mut player = http::offer(address, &path, &leader, Shape::receiving(0, 1)).await.unwrap();
    player.media.connected().await.unwrap();
    let mut line = Line { encoder, player, sent: 5 };
    line.play(20).await;
    let (people, slots) =
        (server.server.app().live.people(server.room), line.player.media.connection().slots().to_vec());

    let mut tags = Vec::new();
    for _ in 0..2 {
        let before = line.encoder.media.local_address().unwrap();
        tags.push(line.encoder.change_network().await.unwrap());
        assert_ne!(line.encoder.media.local_address().unwrap(), before);
        line.play(20).await;
        tags.push(line.player.change_network().await.unwrap());
        line.play(20).await;
    }
    tags.sort();
    tags.dedup();
    assert_eq!(tags.len(), 4, "each ICE session has a tag of its own");
    assert_eq!(server.server.app().live.people(server.room), people, "the same seats");
    assert_eq!(line.player.media.connection().slots(), slots, "the same SSRCs");
    assert_eq!(counted("media_peers_connected_total"), 2, "nobody shook hands again");
    assert_eq!(counted("media_replayed_total") + counted("media_unauthentic_total"), 0);
    assert_eq!(line.player.media.connection().unopened(), 0);
}

#[tokio::test]
async fn what_was_deleted_is_told_so_and_answered_no_more() {
    let server = TestServer::start().await;
    let (address, token) = (server.address(), server.token(Role::Lawyer));
    let path = format!("/whip/{}", server.room);
    let mut connection =
        Connection::new(Shape::publishing([Codec::Vp8]), Instant::now(), SystemTime::now()).unwrap();
    let answer =
        http::request(address, "POST", &path, Some(&token), Some((OFFER, connection.offer()))).await.unwrap();
    connection.answer(Instant::now(), &answer.body).unwrap();
    let mut media = Media::open(connection).unwrap();
    media.connected().await.unwrap();
    let counted = |name: &str| {
        let counters = server.server.app().engine.counters();
        counters.iter().find(|(known, _)| *known == name).unwrap().1
    };
    media.connection_mut().check(Instant::now());
    let check = media.connection_mut().poll_transmit().expect("a check");

    let location = answer.location.unwrap();
    let gone = http::request(address, "DELETE", &location, Some(&token), None).await.unwrap();
    assert_eq!(gone.status.as_u16(), 200);
    let goodbye = async {
        loop {
            if let Event::Over(error) = media.next().await {
                return error;
            }
        }
    };
    assert_eq!(tokio::time::timeout(PATIENCE, goodbye).await.unwrap(), Error::Closed);
    let (answered, dropped) =
        (counted("media_stun_answered_total"), counted("media_strangers_dropped_total"));
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(&check.datagram, check.to).await.unwrap();
    until("the check is a stranger's", || async { counted("media_strangers_dropped_total") > dropped }).await;
    assert_eq!(counted("media_stun_answered_total"), answered);
}
