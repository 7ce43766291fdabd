//! The WebSocket of a room or a wall.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{Sink, Stream};
use hewei_api::ws::{ClientMessage, ServerMessage};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{Instant, Sleep, sleep_until},
};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite};
use tungstenite::Message;

/// What it asks for when nothing else was said.
const PING_EVERY: Duration = Duration::from_secs(15);
/// Messages that wait for the socket. A person says some a minute.
const WAITING_MAX: usize = 64;

/// A stream to the server: TCP, or TLS over it.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Io for S {}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum SignallingError {
    /// No connection.
    #[error("cannot connect to {0}: {1}")]
    Connect(SocketAddr, std::io::Error),
    /// The server does not take the WebSocket.
    #[error("WebSocket: {0}")]
    WebSocket(#[from] Box<tungstenite::Error>),
    /// The server said something that is no message.
    #[error("not a message of the server: {0}")]
    Message(#[from] serde_json::Error),
    /// The server closed the socket.
    #[error("the server closed the WebSocket")]
    Closed,
    /// The server does not read.
    #[error("the server does not read what is said")]
    Stuck,
}

/// An open WebSocket that speaks the server's messages.
pub struct Signalling {
    socket: WebSocketStream<Box<dyn Io>>,
    waiting: VecDeque<Message>,
    ping: Pin<Box<Sleep>>,
}

impl Signalling {
    /// Connects in plain, which servers allow from their own machine.
    ///
    /// # Errors
    /// [`SignallingError::Connect`], [`SignallingError::WebSocket`].
    pub async fn connect(server: SocketAddr) -> Result<Signalling, SignallingError> {
        let stream =
            TcpStream::connect(server).await.map_err(|error| SignallingError::Connect(server, error))?;
        Self::over(Box::new(stream), &server.to_string()).await
    }

    /// Over a connection that is there already. `host` is for the `Host` header.
    ///
    /// # Errors
    /// [`SignallingError::WebSocket`].
    pub async fn over(stream: Box<dyn Io>, host: &str) -> Result<Signalling, SignallingError> {
        let (socket, _) = client_async(format!("ws://{host}/ws"), stream).await.map_err(Box::new)?;
        Ok(Signalling {
            socket,
            waiting: VecDeque::new(),
            ping: Box::pin(sleep_until(Instant::now() + PING_EVERY)),
        })
    }

    /// Says something; it goes out while [`Self::next`] runs.
    ///
    /// # Errors
    /// [`SignallingError::Stuck`].
    pub fn say(&mut self, message: &ClientMessage) -> Result<(), SignallingError> {
        if self.waiting.len() >= WAITING_MAX {
            return Err(SignallingError::Stuck);
        }
        self.waiting.push_back(Message::text(serde_json::to_string(message)?));
        self.ping.as_mut().reset(Instant::now() + PING_EVERY);
        Ok(())
    }

    /// The next message of the server. Cancelling it loses nothing.
    ///
    /// # Errors
    /// See [`SignallingError`]; after one it is over.
    pub async fn next(&mut self) -> Result<ServerMessage, SignallingError> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    /// Waits until all that was said has gone out.
    ///
    /// # Errors
    /// [`SignallingError::WebSocket`].
    pub async fn flush(&mut self) -> Result<(), SignallingError> {
        std::future::poll_fn(|context| self.poll_say(context)).await
    }

    fn poll_say(&mut self, context: &mut Context<'_>) -> Poll<Result<(), SignallingError>> {
        while !self.waiting.is_empty() {
            match Pin::new(&mut self.socket).poll_ready(context) {
                Poll::Ready(ready) => ready.map_err(Box::new)?,
                Poll::Pending => return Poll::Pending,
            }
            if let Some(message) = self.waiting.pop_front() {
                Pin::new(&mut self.socket).start_send(message).map_err(Box::new)?;
            }
        }
        Pin::new(&mut self.socket).poll_flush(context).map_err(|error| Box::new(error).into())
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<ServerMessage, SignallingError>> {
        if self.ping.as_mut().poll(context).is_ready() {
            self.say(&ClientMessage::Ping)?;
            // Registers the next one.
            let _ = self.ping.as_mut().poll(context);
        }
        if let Poll::Ready(Err(error)) = self.poll_say(context) {
            return Poll::Ready(Err(error));
        }
        loop {
            let message = match Pin::new(&mut self.socket).poll_next(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(Err(SignallingError::Closed)),
                Poll::Ready(Some(message)) => message.map_err(Box::new)?,
            };
            match message {
                Message::Text(text) => return Poll::Ready(Ok(serde_json::from_str(&text)?)),
                Message::Close(_) => return Poll::Ready(Err(SignallingError::Closed)),
                // A ping's answer waits in the socket until it is flushed.
                _ => _ = self.poll_say(context)?,
            }
        }
    }
}
