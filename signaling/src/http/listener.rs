//! Listening: plain HTTP on loopback, HTTPS elsewhere, and media beside either ([`media`]). One task a connection,
//! HTTP/1.1.
//!
//! Nobody holds a connection for nothing: [`shares`] says how many there may be, a request must begin soon, and who
//! stops reading is let go ([`stream`]).

mod media;
mod rewound;
mod shares;
mod stream;

use std::{
    net::SocketAddr,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    http::{HeaderValue, Request, Response, StatusCode, header},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::sys::socket::{setsockopt, sockopt::TcpUserTimeout};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, oneshot, watch},
    task::JoinSet,
    time::Instant,
};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use crate::{
    refusals::{Refusal, Refusals},
    turn::Turn,
};

pub use self::{media::Media, shares::Shares};
use self::{
    rewound::Rewound,
    shares::{Descriptor, Place},
    stream::Stream,
};

/// For the TLS handshake and the head of the first request together; again for the head of each further one.
const HEAD_TIME_MAX: Duration = Duration::from_secs(15);
const HEAD_BYTES_MAX: usize = 32 * 1024;
const HEADERS_MAX: usize = 64;
/// Read within TLS to see what it is; a request's first lines fit.
const BEGIN_LEN: usize = 1_024;

/// What is to be had at an address.
#[derive(Clone)]
pub struct Served {
    /// Requests and their answers; `None` where nothing but media is taken.
    pub http: Option<Http>,
    /// Who takes connections that bring media.
    pub media: Media,
}

/// Requests and their answers.
#[derive(Clone)]
pub struct Http {
    /// HTTPS; `None` for plain HTTP.
    pub tls: Option<TlsAcceptor>,
    /// What is answered.
    pub router: Router,
}

/// Serves until `stop` says so, then lets answers that are under way finish for `grace`.
pub async fn serve(
    listener: TcpListener,
    served: Served,
    shares: Arc<Shares>,
    mut stop: watch::Receiver<bool>,
    grace: Duration,
) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stopped(&mut stop) => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &shares) => accepted,
        };
        let (stream, peer, descriptor, stranger) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, most likely: give the running ones time to end.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
        };
        let Some(place) = shares.place(peer.ip(), stranger) else {
            tracing::debug!(%peer, "too many connections from one address");
            continue;
        };
        let refusals = Arc::clone(shares.refusals());
        let deadline = Instant::now() + HEAD_TIME_MAX;
        let tls = served.http.as_ref().is_some_and(|http| http.tls.is_some());
        let client = Client { peer, tls, place, deadline, refusals };
        connections.spawn(connection(stream, descriptor, client, served.clone(), stop.clone()));
    }
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(grace, all).await.is_err() {
        tracing::debug!("connections were cut at the end");
    }
}

/// Returns when the server stops.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that nobody is left to say stop, which is as good.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn accept(
    listener: &TcpListener,
    shares: &Arc<Shares>,
) -> std::io::Result<(TcpStream, SocketAddr, Descriptor, OwnedSemaphorePermit)> {
    let (descriptor, stranger) = shares.next().await?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, descriptor, stranger))
}

/// Whether a request came over TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OverTls(pub bool);

/// Who is at the other end.
struct Client {
    peer: SocketAddr,
    tls: bool,
    place: Place,
    /// When the first request must have begun.
    deadline: Instant,
    refusals: Arc<Refusals>,
}

async fn connection(
    stream: TcpStream,
    descriptor: Descriptor,
    client: Client,
    served: Served,
    stop: watch::Receiver<bool>,
) {
    // Small messages both ways: do not wait to fill a segment.
    let _ = stream.set_nodelay(true);
    // A peer that is gone without a word; the stream itself notices one that is there and does not read.
    let _ = setsockopt(&stream, TcpUserTimeout, &(stream::STALL_TIME_MAX.as_millis() as u32));
    let mut first = [0];
    match tokio::time::timeout_at(client.deadline, stream.peek(&mut first)).await {
        Ok(Ok(1)) => {}
        Err(_) => return client.refusals.count(Refusal::Silent),
        // Gone again.
        _ => return,
    }
    if served.media.takes(first[0]) {
        return served.media.take(stream, descriptor, client, stop).await;
    }
    let Some(Http { tls, router }) = served.http else { return client.refusals.count(Refusal::Media) };
    let stream = Stream::new(stream, Some(descriptor));
    match tls {
        None => requests(stream, client, Answer::App(router), stop).await,
        // A TLS record begins with 22, a plain request with the letters of its method: somebody left out the "s" of
        // https.
        Some(_) if first[0].is_ascii_uppercase() => {
            requests(stream, client, Answer::RedirectToHttps, stop).await;
        }
        Some(tls) => secured(stream, client, tls, router, served.media.turn, stop).await,
    }
}

async fn secured(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    client: Client,
    tls: TlsAcceptor,
    router: Router,
    turn: Option<Arc<Turn>>,
    stop: watch::Receiver<bool>,
) {
    let (peer, refusals) = (client.peer, Arc::clone(&client.refusals));
    match tokio::time::timeout_at(client.deadline, tls.accept(stream)).await {
        Ok(Ok(mut stream)) => {
            let mut begins = vec![0; BEGIN_LEN];
            let count = match tokio::time::timeout_at(client.deadline, stream.read(&mut begins)).await {
                Ok(Ok(count @ 1..)) => count,
                Err(_) => return refusals.count(Refusal::Slow),
                // Gone again.
                _ => return,
            };
            begins.truncate(count);
            match turn.filter(|_| media::is_turn(begins[0])) {
                Some(turn) => media::relay(&turn, stream, begins, client, stop).await,
                None => requests(Rewound::new(stream, begins), client, Answer::App(router), stop).await,
            }
        }
        Ok(Err(error)) => {
            refusals.count(Refusal::Tls);
            tracing::debug!(%peer, %error, "TLS handshake failed");
        }
        Err(_) => {
            refusals.count(Refusal::Tls);
            tracing::debug!(%peer, "TLS handshake took too long");
        }
    }
}

#[derive(Clone)]
enum Answer {
    App(Router),
    RedirectToHttps,
}

async fn requests(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    client: Client,
    answer: Answer,
    mut stop: watch::Receiver<bool>,
) {
    let Client { peer, tls, place, deadline, refusals } = client;
    let (begin, begun) = oneshot::channel::<()>();
    // Dropped with the connection, or when it becomes a WebSocket.
    let stranger = Mutex::new((place, Some(begin)));
    let service = service_fn(move |mut request: Request<Incoming>| {
        let (place, begin) = &mut *stranger.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(begin) = begin.take() {
            place.known();
            let _ = begin.send(());
        }
        let answer = answer.clone();
        async move {
            match answer {
                Answer::App(router) => {
                    request.extensions_mut().insert(ConnectInfo(peer));
                    request.extensions_mut().insert(OverTls(tls));
                    router.oneshot(request.map(Body::new)).await
                }
                Answer::RedirectToHttps => Ok(redirect_to_https(&request)),
            }
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let in_time = async {
        match tokio::time::timeout_at(deadline, begun).await {
            Ok(_) => std::future::pending().await,
            Err(_) => {
                refusals.count(Refusal::Slow);
                tracing::debug!(%peer, "no request in time");
            }
        }
    };
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = in_time => return,
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        if error.is_timeout() {
            refusals.count(Refusal::Slow);
        } else if error.is_parse() {
            refusals.count(Refusal::Http);
        }
        tracing::debug!(%peer, %error, "connection ended");
    }
}

fn redirect_to_https(request: &Request<Incoming>) -> Response<Body> {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let mut response = Response::new(Body::empty());
    match HeaderValue::try_from(format!("https://{host}{path}")) {
        Ok(location) if !host.is_empty() => {
            *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
            response.headers_mut().insert(header::LOCATION, location);
        }
        _ => *response.status_mut() = StatusCode::BAD_REQUEST,
    }
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use rustls::{
        ClientConfig, RootCertStore, ServerConfig,
        crypto::ring,
        pki_types::{PrivateKeyDer, ServerName},
    };
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio_rustls::TlsConnector;

    use super::*;

    /// The client's end of a connection that is served, and how to secure it.
    async fn connected() -> (DuplexStream, TlsConnector, tokio::task::JoinHandle<()>) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        let server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("fits");
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).expect("a root");
        let client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();

        let shares = Shares::new(1_024, 0, Arc::default());
        let (_, stranger) = shares.next().await.expect("a permit");
        let peer = SocketAddr::from(([192, 0, 2, 1], 5_000));
        let place = shares.place(peer.ip(), stranger).expect("a place");
        let (near, far) = tokio::io::duplex(64 * 1024);
        let router = Router::new().route("/", get(|| async { "here" }));
        let serving = tokio::spawn(async move {
            let (_stop, stopped) = watch::channel(false);
            let deadline = Instant::now() + HEAD_TIME_MAX;
            let client = Client { peer, tls: false, place, deadline, refusals: Arc::default() };
            let tls = TlsAcceptor::from(Arc::new(server));
            secured(Stream::new(far, None), client, tls, router, None, stopped).await;
        });
        (near, TlsConnector::from(Arc::new(client)), serving)
    }

    fn localhost() -> ServerName<'static> {
        ServerName::try_from("localhost").expect("a name")
    }

    #[tokio::test(start_paused = true)]
    async fn handshake_and_head_share_one_deadline() {
        let started = Instant::now();
        let (near, tls, serving) = connected().await;
        tokio::time::sleep(HEAD_TIME_MAX - Duration::from_secs(1)).await;
        let mut stream = tls.connect(localhost(), near).await.expect("in time");
        stream.write_all(b"GET / HTTP/1.1\r\n").await.expect("writes");
        serving.await.expect("no panic");
        assert_eq!(started.elapsed().as_secs(), HEAD_TIME_MAX.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn who_asked_once_may_wait_before_asking_again() {
        let (near, tls, _serving) = connected().await;
        let mut stream = tls.connect(localhost(), near).await.expect("connects");
        for _ in 0..4 {
            stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.expect("writes");
            let mut answer = [0; 4_096];
            let length = stream.read(&mut answer).await.expect("reads");
            assert!(answer[..length].starts_with(b"HTTP/1.1 200"));
            tokio::time::sleep(HEAD_TIME_MAX - Duration::from_secs(1)).await;
        }
    }
}
