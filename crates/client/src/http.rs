//! Requests in plain HTTP to a server on this machine: redeeming an invitation, WHIP and WHEP.

use std::{
    net::SocketAddr,
    time::{Duration, Instant, SystemTime},
};

use hewei_api::http::{Grant, RedeemInvitation};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, StatusCode, body::Bytes, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::{connection::Connection, media::Media, sdp::Shape};

const TIME_MAX: Duration = Duration::from_secs(20);
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No connection.
    #[error("cannot connect to {0}: {1}")]
    Connect(SocketAddr, std::io::Error),
    /// The answer did not come.
    #[error("no answer to {0}: {1}")]
    NoAnswer(String, String),
    /// The server refused.
    #[error("{0} was answered {1}: {2}")]
    Refused(String, u16, String),
    /// The media connection.
    #[error("media: {0}")]
    Media(#[from] crate::connection::Error),
    /// No UDP socket.
    #[error("cannot open a UDP socket: {0}")]
    Socket(#[from] std::io::Error),
}

/// An answer, whatever its status.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status.
    pub status: StatusCode,
    /// `Location`, if there was one.
    pub location: Option<String>,
    /// `ETag`, if there was one.
    pub tag: Option<String>,
    /// Body.
    pub body: String,
}

/// One request on a connection of its own. `body` is the content type and the text.
///
/// # Errors
/// [`HttpError::Connect`], [`HttpError::NoAnswer`].
pub async fn request(
    server: SocketAddr,
    method: &str,
    path: &str,
    token: Option<&str>,
    body: Option<(&str, String)>,
) -> Result<Answer, HttpError> {
    request_if(server, method, path, token, None, body).await
}

/// The same with an `If-Match`.
async fn request_if(
    server: SocketAddr,
    method: &str,
    path: &str,
    token: Option<&str>,
    tag: Option<&str>,
    body: Option<(&str, String)>,
) -> Result<Answer, HttpError> {
    let stream = TcpStream::connect(server).await.map_err(|error| HttpError::Connect(server, error))?;
    let what = format!("{method} {path}");
    let no_answer = |error: &dyn std::fmt::Display| HttpError::NoAnswer(what.clone(), error.to_string());
    let mut request = Request::builder().method(method).uri(path).header(header::HOST, server.to_string());
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    if let Some(tag) = tag {
        request = request.header(header::IF_MATCH, tag);
    }
    let text = match body {
        Some((content_type, text)) => {
            request = request.header(header::CONTENT_TYPE, content_type);
            text
        }
        None => String::new(),
    };
    let request = request.body(Full::new(Bytes::from(text))).map_err(|error| no_answer(&error))?;
    let exchange = async {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| no_answer(&error))?;
        let talk = async {
            let response = sender.send_request(request).await.map_err(|error| no_answer(&error))?;
            let (parts, body) = response.into_parts();
            let body =
                Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|error| no_answer(&error))?;
            let text =
                |name| parts.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
            Ok(Answer {
                status: parts.status,
                location: text(header::LOCATION),
                tag: text(header::ETAG),
                body: String::from_utf8_lossy(&body.to_bytes()).into_owned(),
            })
        };
        tokio::pin!(talk);
        tokio::select! {
            answer = &mut talk => answer,
            // The connection may end with the answer still to be read.
            _ = connection => talk.await,
        }
    };
    tokio::time::timeout(TIME_MAX, exchange).await.unwrap_or_else(|error| Err(no_answer(&error)))
}

/// Redeems an invitation's code for a token.
///
/// # Errors
/// [`HttpError::Refused`] with the problem when the server does not take the code.
pub async fn join(server: SocketAddr, code: &str, name: Option<&str>) -> Result<Grant, HttpError> {
    let redeem = RedeemInvitation { code: code.to_owned(), name: name.map(str::to_owned) };
    let body = serde_json::to_string(&redeem).map_err(|error| no_json("join", &error))?;
    let answer = request(server, "POST", "/api/v1/join", None, Some(("application/json", body))).await?;
    if answer.status != StatusCode::OK {
        return Err(HttpError::Refused("join".to_owned(), answer.status.as_u16(), answer.body));
    }
    serde_json::from_str(&answer.body).map_err(|error| no_json("join", &error))
}

fn no_json(what: &str, error: &serde_json::Error) -> HttpError {
    HttpError::NoAnswer(what.to_owned(), error.to_string())
}

/// A WHIP or WHEP session.
pub struct Session {
    /// The media connection, which may not be through yet: see [`Media::connected`].
    pub media: Media,
    server: SocketAddr,
    token: String,
    location: String,
}

/// Offers by WHIP (RFC 9725) or WHEP: a POST on `path`, which may hold a query.
///
/// # Errors
/// [`HttpError::Refused`] and what [`request`] and the answer give.
pub async fn offer(server: SocketAddr, path: &str, token: &str, shape: Shape) -> Result<Session, HttpError> {
    let mut connection = Connection::new(shape, Instant::now(), SystemTime::now())?;
    let body = Some(("application/sdp", connection.offer()));
    let answer = request(server, "POST", path, Some(token), body).await?;
    let refused = |answer: Answer| HttpError::Refused(path.to_owned(), answer.status.as_u16(), answer.body);
    if answer.status != StatusCode::CREATED {
        return Err(refused(answer));
    }
    let Some(location) = answer.location.clone() else { return Err(refused(answer)) };
    connection.answer(Instant::now(), &answer.body)?;
    let media = Media::open(connection)?;
    Ok(Session { media, server, token: token.to_owned(), location })
}

impl Session {
    /// Goes on from another address and restarts ICE: a PATCH on its location (RFC 9725 §4.3.3). Gives the new ETag.
    ///
    /// # Errors
    /// As [`offer`]; the session goes on as it was then, if it can.
    pub async fn change_network(&mut self) -> Result<String, HttpError> {
        self.media.change_address()?;
        let fragment = self.media.connection_mut().restart_fragment();
        let body = Some(("application/trickle-ice-sdpfrag", fragment));
        let answer =
            request_if(self.server, "PATCH", &self.location, Some(&self.token), Some("*"), body).await?;
        match answer.tag {
            Some(tag) if answer.status == StatusCode::OK => {
                self.media.connection_mut().restarted(Instant::now(), &answer.body)?;
                Ok(tag)
            }
            _ => Err(HttpError::Refused(self.location.clone(), answer.status.as_u16(), answer.body)),
        }
    }

    /// Ends the session: a DELETE on its location.
    ///
    /// # Errors
    /// As [`offer`].
    pub async fn end(mut self) -> Result<(), HttpError> {
        // First of all: a server that was said goodbye to has no session to delete.
        let answer = request(self.server, "DELETE", &self.location, Some(&self.token), None).await?;
        self.media.close();
        match answer.status {
            StatusCode::OK => Ok(()),
            status => Err(HttpError::Refused(self.location, status.as_u16(), answer.body)),
        }
    }
}
