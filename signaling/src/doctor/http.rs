//! A few bytes of HTTP, to ask a server that runs.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

const TIME_MAX: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: u64 = 256 * 1024;

/// What a server answered.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) text: String,
    /// Its certificate, over TLS.
    pub(super) certificate: Option<CertificateDer<'static>>,
}

/// `GET` on a connection of its own. Over TLS any certificate will do: the certificate's check judges it.
pub(super) async fn get(address: SocketAddr, tls: bool, path: &str) -> io::Result<Answer> {
    let asked = async {
        let stream = TcpStream::connect(address).await?;
        if !tls {
            return exchange(stream, address, path).await.map(|(status, text)| Answer {
                status,
                text,
                certificate: None,
            });
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Any(ring::default_provider())))
            .with_no_client_auth();
        let stream =
            TlsConnector::from(Arc::new(config)).connect(ServerName::from(address.ip()), stream).await?;
        let certificates = stream.get_ref().1.peer_certificates();
        let certificate = certificates.and_then(|all| all.first()).map(|first| first.clone().into_owned());
        let (status, text) = exchange(stream, address, path).await?;
        Ok(Answer { status, text, certificate })
    };
    tokio::time::timeout(TIME_MAX, asked).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    address: SocketAddr,
    path: &str,
) -> io::Result<(u16, String)> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    // A peer that goes without closing TLS has still answered.
    if let Err(error) = stream.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes).await
        && bytes.is_empty()
    {
        return Err(error);
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let status = text.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    let status = status.ok_or_else(|| io::Error::other("what answers there is no HTTP server"))?;
    Ok((status, text))
}

/// Whether a Hewei server answers there, this one or another.
pub(super) async fn is_hewei(address: SocketAddr, tls: bool) -> bool {
    let alive = get(address, tls, "/livez").await;
    if !alive.is_ok_and(|answer| answer.status == 200 && answer.text.ends_with("ok\n")) {
        return false;
    }
    let me = get(address, tls, "/api/v1/me").await;
    me.is_ok_and(|answer| answer.status == 401 && answer.text.contains("application/problem+json"))
}

/// Takes any certificate, of whoever can sign with its key.
#[derive(Debug)]
struct Any(CryptoProvider);

impl ServerCertVerifier for Any {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
