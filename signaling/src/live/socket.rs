//! One WebSocket: `hello`, then messages to the room or wall it opened, and back.
//!
//! Holds the limits of a connection: time to say hello, size and rate of messages, idle time, the end of the token.
//! Knows nothing of what the messages mean.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    extract::{
        ConnectInfo, State, WebSocketUpgrade,
        ws::{CloseFrame, Message, WebSocket, close_code},
    },
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use hewei_api::ws::{ClientMessage, EndReason, IceServer, Open, ServerMessage};
use hewei_model::{PeerId, RoomId, WallId};
use time::OffsetDateTime;
use tracing::Instrument;

use super::{
    outbox::{self, Outbox},
    problems,
    rate::Rate,
    room,
    strangers::{Stranger, Strangers},
    wall,
};
use crate::{
    auth::Claims,
    http,
    permissions::Action,
    problem::Problem,
    refusals::{Refusal, Refusals},
    state::App,
    turn::Reached,
};

/// Bytes of a message. The largest is an offer of 64 m-lines.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Bytes of an offer's SDP.
pub(super) const SDP_BYTES_MAX: usize = 48 * 1024;
const HELLO_MAX: Duration = Duration::from_secs(5);
const PING_EVERY: Duration = Duration::from_secs(15);
/// Nothing heard for this long, pongs included: the line is dead.
const IDLE_MAX: Duration = Duration::from_secs(45);
/// A browser that takes no bytes for this long does not read.
const SEND_MAX: Duration = Duration::from_secs(10);
const MESSAGES_BURST: u32 = 30;
const MESSAGES_WINDOW: Duration = Duration::from_secs(5);
/// Characters of the name that a page gives itself.
const PAGE_ID_LENGTH: std::ops::RangeInclusive<usize> = 16..=64;
/// The code of a page's close frame by which it says that it comes back at once: it thinks the line is dead.
const COMES_BACK: u16 = 4001;
/// Connections that have not said hello yet.
static STRANGERS: Strangers = Strangers::new();

/// `GET /ws`.
pub(super) async fn upgrade(
    State(app): State<App>,
    ConnectInfo(address): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    reached: Reached,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Response {
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(rejection) => {
            let title = "A WebSocket is expected here.";
            return Problem::new(rejection.status(), "websocket_expected", title, rejection.body_text())
                .into_response();
        }
    };
    if !http::same_origin(&headers) {
        return Problem::cross_origin().into_response();
    }
    let Some(stranger) = STRANGERS.admit(address.ip()) else {
        return problems::busy("Too many connections are being opened").into_response();
    };
    upgrade
        // Room above the limit, so that a message somewhat too large can be answered.
        .max_message_size(2 * MESSAGE_BYTES_MAX)
        .max_frame_size(2 * MESSAGE_BYTES_MAX)
        .max_write_buffer_size(4 * MESSAGE_BYTES_MAX)
        .on_upgrade(move |socket| async move {
            let peer = PeerId::generate();
            let span = tracing::info_span!("socket", %peer, participant = tracing::field::Empty);
            run(app, socket, peer, reached, stranger).instrument(span).await;
        })
}

/// What the socket opened.
enum Opened {
    Room(room::Handle),
    Wall(wall::Handle),
}

impl Opened {
    /// False when it is closed.
    async fn said(&self, peer: PeerId, message: ClientMessage) -> bool {
        match self {
            Opened::Room(room) => room.send(room::Command::Said { socket: peer, message }).await,
            Opened::Wall(wall) => wall.send(wall::Command::Said { peer, message }).await,
        }
    }

    async fn closed(&self, peer: PeerId, broken: bool) {
        // When it is closed already there is nothing to tell.
        match self {
            Opened::Room(room) => room.send(room::Command::Closed { socket: peer, broken }).await,
            Opened::Wall(wall) => wall.send(wall::Command::Closed { peer }).await,
        };
    }
}

/// Why a socket is closed, as the close frame says it.
enum Close {
    /// The other side has gone: nothing more can be said.
    Gone,
    /// The line is dead, or the other side says so: it may come back.
    Broken,
    /// After `ended`, or when the room let go of the connection.
    Normal,
    /// It broke a rule; an `error` said which.
    Policy,
}

struct Connection {
    socket: WebSocket,
    rate: Rate,
    heard: Instant,
    refusals: Arc<Refusals>,
    /// For the welcome.
    ice_servers: Vec<IceServer>,
}

async fn run(app: App, socket: WebSocket, peer: PeerId, reached: Reached, stranger: Stranger<'static>) {
    let now = Instant::now();
    let rate = Rate::new(MESSAGES_BURST, MESSAGES_WINDOW, now);
    let refusals = Arc::clone(&app.refusals);
    let mut connection = Connection { socket, rate, heard: now, refusals, ice_servers: Vec::new() };
    let hello = tokio::time::timeout(HELLO_MAX, connection.hello(&app)).await;
    drop(stranger);
    let (claims, open) = match hello {
        Ok(Ok(hello)) => hello,
        Ok(Err(close)) => return connection.close(close).await,
        Err(_) => {
            connection.error(problems::hello_expected()).await;
            return connection.close(Close::Policy).await;
        }
    };
    tracing::Span::current().record("participant", tracing::field::display(claims.participant));
    let (out, mut messages) = Outbox::new();
    let open_until = claims.open_until;
    if let Some(turn) = &app.turn {
        connection.ice_servers = turn.ice_servers(&reached, &claims, OffsetDateTime::now_utc());
    }
    let opened = match open_it(&app, claims, open, peer, out).await {
        Ok(opened) => opened,
        Err(problem) => {
            connection.error(problem).await;
            return connection.close(Close::Normal).await;
        }
    };
    let close = connection.serve(&opened, peer, open_until, &mut messages).await;
    // First the place is given free, then the last words are said.
    opened.closed(peer, matches!(close, Close::Broken)).await;
    connection.close(close).await;
}

async fn open_it(
    app: &App,
    claims: Claims,
    open: Open,
    peer: PeerId,
    out: Outbox,
) -> Result<Opened, Problem> {
    if app.live.is_stopping() {
        return Err(problems::busy("The server is stopping"));
    }
    match open {
        Open::Room { room_id, record, page } => {
            let id: RoomId = room_id.parse().map_err(|_| Problem::not_found("room"))?;
            claims.may_in(Action::EnterRoom, id)?;
            if page.as_ref().is_some_and(|page| !PAGE_ID_LENGTH.contains(&page.id.chars().count())) {
                return Err(problems::malformed("The id of a page has 16 to 64 characters."));
            }
            let entry = room::Entry { claims, record, page, socket: peer, out };
            app.live.enter(id, entry).await.map(Opened::Room)
        }
        Open::Wall { wall_id, purpose_id } => {
            claims.may_everywhere(Action::WatchCameras)?;
            let id: WallId = wall_id.parse().map_err(|_| Problem::not_found("wall"))?;
            let purpose = app.live.purpose(&claims, &purpose_id).await?;
            let (wall, cameras) =
                app.store.wall_with_cameras(id).await?.ok_or_else(|| Problem::not_found("wall"))?;
            let opening = wall::Opening { claims, purpose, peer };
            app.live.wall.open(wall::WallEntry { opening, wall, cameras, out }).await?;
            Ok(Opened::Wall(app.live.wall.clone()))
        }
    }
}

impl Connection {
    /// Waits for `hello` with a good token. Other messages are answered by an error, and the wait goes on.
    async fn hello(&mut self, app: &App) -> Result<(Claims, Open), Close> {
        loop {
            let message = self.next().await?;
            match self.read(message).await? {
                Some(ClientMessage::Hello { token, open }) => {
                    match app.tokens.verify(&token, OffsetDateTime::now_utc()) {
                        Ok(claims) => return Ok((claims, open)),
                        Err(error) => {
                            self.error(error.into()).await;
                            return Err(Close::Policy);
                        }
                    }
                }
                Some(_) => self.error(problems::hello_expected()).await,
                None => {}
            }
        }
    }

    /// Carries messages both ways until one side ends it.
    async fn serve(
        &mut self,
        opened: &Opened,
        peer: PeerId,
        open_until: OffsetDateTime,
        messages: &mut outbox::Reader,
    ) -> Close {
        let token_left = Duration::try_from(open_until - OffsetDateTime::now_utc()).unwrap_or(Duration::ZERO);
        let token_ends = tokio::time::sleep(token_left);
        tokio::pin!(token_ends);
        let mut ping = tokio::time::interval(PING_EVERY);
        ping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = messages.next() => match message {
                    Some(mut message) => {
                        if let ServerMessage::WelcomeRoom { ice_servers, .. }
                        | ServerMessage::WelcomeWall { ice_servers, .. } = &mut message
                        {
                            ice_servers.clone_from(&self.ice_servers);
                        }
                        let ends = matches!(message, ServerMessage::Ended { .. });
                        if !self.send(&message).await {
                            return Close::Broken;
                        }
                        if ends {
                            return Close::Normal;
                        }
                    }
                    // The room let go: after `leave`, or since this browser does not read.
                    None => return Close::Normal,
                },
                message = self.next() => {
                    let said = match message {
                        Ok(message) => self.read(message).await,
                        Err(close) => return close,
                    };
                    match said {
                        Ok(Some(ClientMessage::Hello { .. })) => self.error(problems::hello_twice()).await,
                        Ok(Some(ClientMessage::Ping)) => {
                            if !self.send(&ServerMessage::Pong).await {
                                return Close::Broken;
                            }
                        }
                        Ok(Some(message)) => {
                            if !opened.said(peer, message).await {
                                // What the room said last is still to be sent.
                                return self.last_words(messages).await;
                            }
                        }
                        Ok(None) => {}
                        Err(close) => return close,
                    }
                }
                _ = ping.tick() => {
                    if self.heard.elapsed() > IDLE_MAX {
                        tracing::info!("nothing heard: connection closed");
                        return Close::Broken;
                    }
                    if !self.put(Message::Ping(Default::default())).await {
                        return Close::Broken;
                    }
                }
                () = &mut token_ends => {
                    let ended = ServerMessage::Ended { reason: EndReason::TokenExpired, recording_id: None };
                    opened.closed(peer, false).await;
                    self.send(&ended).await;
                    return Close::Normal;
                }
            }
        }
    }

    async fn last_words(&mut self, messages: &mut outbox::Reader) -> Close {
        while let Some(message) = messages.next_now() {
            if !self.send(&message).await {
                return Close::Gone;
            }
        }
        Close::Normal
    }

    /// The next text message. Cancelling loses nothing.
    async fn next(&mut self) -> Result<Message, Close> {
        match self.socket.recv().await {
            Some(Ok(message)) => {
                self.heard = Instant::now();
                Ok(message)
            }
            Some(Err(error)) => {
                tracing::debug!(%error, "connection broke");
                if breaks_the_protocol(&error) {
                    self.refusals.count(Refusal::Frame);
                    return Err(Close::Gone);
                }
                Err(Close::Broken)
            }
            None => Err(Close::Broken),
        }
    }

    /// What a message says; `None` when it says nothing that concerns the room. Breaking a limit closes.
    async fn read(&mut self, message: Message) -> Result<Option<ClientMessage>, Close> {
        let text = match message {
            Message::Text(text) => text,
            Message::Binary(_) => {
                self.pass_rate().await?;
                self.error(problems::malformed("Send JSON in text frames.")).await;
                return Ok(None);
            }
            Message::Ping(_) | Message::Pong(_) => return Ok(None),
            Message::Close(Some(frame)) if frame.code == COMES_BACK => return Err(Close::Broken),
            Message::Close(_) => return Err(Close::Gone),
        };
        self.pass_rate().await?;
        if text.len() > MESSAGE_BYTES_MAX {
            self.error(problems::too_large("message", MESSAGE_BYTES_MAX)).await;
            return Err(Close::Policy);
        }
        match serde_json::from_str(&text) {
            Ok(ClientMessage::Offer { sdp, .. }) if sdp.len() > SDP_BYTES_MAX => {
                self.error(problems::too_large("offer", SDP_BYTES_MAX)).await;
                Ok(None)
            }
            Ok(message) => Ok(Some(message)),
            Err(error) => {
                // Where, and not what: the text may hold a token.
                let detail = format!(
                    "It is not a message of this server's /ws, as /api/openapi.json describes them (line {}, column {}).",
                    error.line(),
                    error.column()
                );
                self.error(problems::malformed(&detail)).await;
                Ok(None)
            }
        }
    }

    async fn pass_rate(&mut self) -> Result<(), Close> {
        if self.rate.allow(Instant::now()) {
            return Ok(());
        }
        if self.refusals.may_log(Instant::now()) {
            tracing::warn!("too many messages: connection closed");
        }
        self.error(problems::rate_limited()).await;
        Err(Close::Policy)
    }

    async fn error(&mut self, problem: Problem) {
        // When it cannot be sent, the next receive tells that the connection is gone.
        self.send(&ServerMessage::Error { problem: problem.into_body() }).await;
    }

    async fn send(&mut self, message: &ServerMessage) -> bool {
        if let ServerMessage::Error { problem } = message {
            self.refusals.problem(&problem.kind);
        }
        match serde_json::to_string(message) {
            Ok(text) => self.put(Message::Text(text.into())).await,
            Err(error) => {
                tracing::error!(%error, "a message cannot be written");
                false
            }
        }
    }

    /// False when the browser is gone or does not read.
    async fn put(&mut self, message: Message) -> bool {
        match tokio::time::timeout(SEND_MAX, self.socket.send(message)).await {
            Ok(sent) => sent.is_ok(),
            Err(_) => {
                self.refusals.count(Refusal::Unread);
                false
            }
        }
    }

    async fn close(mut self, close: Close) {
        let code = match close {
            Close::Gone | Close::Broken => return,
            Close::Normal => close_code::NORMAL,
            Close::Policy => close_code::POLICY,
        };
        if !self.put(Message::Close(Some(CloseFrame { code, reason: "".into() }))).await {
            return;
        }
        // The browser's own close frame, so that what was sent is not lost in a reset.
        let answer = async { while self.socket.recv().await.is_some_and(|message| message.is_ok()) {} };
        let _ = tokio::time::timeout(Duration::from_secs(1), answer).await;
    }
}

/// Whether it is the other side's fault that the connection ends, and not its line's. One that ends without a word is
/// the line's.
fn breaks_the_protocol(error: &axum::Error) -> bool {
    use std::error::Error;

    use tokio_tungstenite::tungstenite::{self, error::ProtocolError};

    let cause = error.source().and_then(|source| source.downcast_ref::<tungstenite::Error>());
    match cause {
        Some(tungstenite::Error::Protocol(error)) => *error != ProtocolError::ResetWithoutClosingHandshake,
        Some(tungstenite::Error::Capacity(_) | tungstenite::Error::Utf8(_)) => true,
        _ => false,
    }
}
