//! `hewei_turn`: what comes before anybody is trusted, over a connection and as a datagram.

use std::time::Instant;

use hewei_turn::{Outcome, Secret, Server, Session, stream};

/// A connection's bytes, cut into messages, to a client with nothing: none opens a relay or is relayed.
pub fn turn(data: &[u8]) {
    let server = Server {
        realm: "hewei".to_owned(),
        secret: Secret::derive(&[7; 32]),
        peer: ([192, 0, 2, 1], 8443).into(),
    };
    let mut session = Session::new(([198, 51, 100, 7], 40_000).into());
    let (mut rest, now, mut out) = (data, Instant::now(), Vec::new());
    while let Ok(Some(len)) = stream::next_len(rest) {
        assert!(len <= rest.len() && (4..=stream::MESSAGE_LEN_MAX).contains(&len));
        let (message, after) = rest.split_at(len);
        rest = after;
        match session.receive(&server, now, 1_800_000_000, message) {
            Outcome::Relay(_) | Outcome::Allocate(_) | Outcome::Ended(_) => panic!("without credentials"),
            Outcome::Reply(reply) | Outcome::Refused(_, reply) => {
                assert_eq!(stream::next_len(&reply), Ok(Some(reply.len())), "what is sent can be read");
            }
            Outcome::Malformed | Outcome::Nothing | Outcome::Dropped => {}
        }
        assert!(!session.to_client(&server, now, message, &mut out));
    }
    datagram(&server, now, data);
}

/// The same bytes as one datagram of somebody who may lie about where it is: requests alone are answered, by little more
/// than what came.
fn datagram(server: &Server, now: Instant, data: &[u8]) {
    let mut session = Session::new(([198, 51, 100, 7], 40_000).into());
    match session.receive(server, now, 1_800_000_000, data) {
        Outcome::Relay(_) | Outcome::Allocate(_) | Outcome::Ended(_) => panic!("without credentials"),
        Outcome::Reply(reply) | Outcome::Refused(_, reply) => {
            assert!(hewei_turn::is_request(data), "nothing else is answered");
            assert!(reply.len() <= data.len() + hewei_turn::CHALLENGE_LEN_MAX, "no amplifier");
        }
        Outcome::Malformed | Outcome::Nothing | Outcome::Dropped => {}
    }
}
