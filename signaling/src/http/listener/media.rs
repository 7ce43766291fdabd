//! Connections that bring media in place of requests: frames of RFC 4571, the first of them a check of ICE (RFC 6544),
//! or messages of TURN (RFC 8656).
//!
//! They come where HTTPS comes, so that one open port does for all, and are told apart by how they begin: a TLS record
//! with 22, a request with a letter, a frame with its length, which for a check is from 20 bytes to a kilobyte, and TURN
//! with the number of a method, which is below 20. Within TLS there are requests and TURN.

use std::sync::Arc;

use hewei_engine::Engine;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    net::TcpStream,
    sync::watch,
};

use super::{Client, Stream, shares::Descriptor, stopped};
use crate::{
    refusals::Refusal,
    turn::{self, Turn},
};

/// No check is as long: names of 2 × 256 bytes and some 100 bytes of attributes.
const FRAME_LEN_MAX: usize = 0x3ff;
/// The head of STUN; no check is shorter.
const FRAME_LEN_MIN: usize = 20;

/// Who takes connections that bring media.
#[derive(Clone)]
pub struct Media {
    /// Frames; `None` when they are not taken.
    pub engine: Option<Engine>,
    /// TURN; `None` when it is off.
    pub turn: Option<Arc<Turn>>,
}

impl Media {
    /// Whether a connection that begins so is for us.
    pub(super) fn takes(&self, first: u8) -> bool {
        (self.engine.is_some() || self.turn.is_some()) && usize::from(first) <= FRAME_LEN_MAX >> 8
    }

    /// Reads how the connection begins, and sees to the rest.
    pub(super) async fn take(
        self,
        mut stream: TcpStream,
        descriptor: Descriptor,
        client: Client,
        stop: watch::Receiver<bool>,
    ) {
        let begins = match tokio::time::timeout_at(client.deadline, stream.read_u16()).await {
            Ok(Ok(begins)) => begins,
            // Gone again.
            Ok(Err(_)) => return,
            Err(_) => return client.refusals.count(Refusal::Silent),
        };
        match (self.engine, self.turn) {
            (Some(engine), _) if usize::from(begins) >= FRAME_LEN_MIN => {
                hand_over(stream, usize::from(begins), descriptor, client, &engine).await;
            }
            (_, Some(turn)) if usize::from(begins) < FRAME_LEN_MIN => {
                let stream = Stream::new(stream, Some(descriptor));
                relay(&turn, stream, begins.to_be_bytes().to_vec(), client, stop).await;
            }
            _ => client.refusals.count(Refusal::Media),
        }
    }
}

/// Whether what begins so within TLS is TURN.
pub(super) fn is_turn(first: u8) -> bool {
    first == 0
}

/// Serves TURN until one side ends it.
pub(super) async fn relay(
    turn: &Arc<Turn>,
    stream: impl AsyncRead + AsyncWrite,
    said: Vec<u8>,
    client: Client,
    mut stop: watch::Receiver<bool>,
) {
    let Client { peer, mut place, deadline, .. } = client;
    let client = turn::Client { address: peer, said, deadline };
    tokio::select! {
        () = turn.serve(stream, client, || place.known()) => {}
        () = stopped(&mut stop) => {}
    }
}

/// Reads the first frame and gives the connection to the engine, with what it holds of our limits.
async fn hand_over(
    mut stream: TcpStream,
    len: usize,
    descriptor: Descriptor,
    client: Client,
    engine: &Engine,
) {
    let Client { peer, mut place, deadline, refusals, .. } = client;
    let mut frame = vec![0; len];
    match tokio::time::timeout_at(deadline, stream.read_exact(&mut frame)).await {
        Ok(Ok(_)) => {}
        Ok(Err(_)) => return,
        Err(_) => return refusals.count(Refusal::Silent),
    }
    place.known();
    let adopted = match stream.into_std() {
        Ok(stream) => engine.adopt(stream, frame, Box::new((descriptor, place))),
        Err(error) => Err(hewei_engine::Unwanted::Gone(error)),
    };
    if let Err(error) = adopted {
        refusals.count(Refusal::Media);
        tracing::debug!(%peer, %error, "a connection for media was not taken");
    }
}
