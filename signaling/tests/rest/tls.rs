//! HTTPS with a certificate of one's own, and with files that change.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use hyper::{StatusCode, header};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{client::get, server::TestServer};

async fn connect(address: SocketAddr, ca: &[u8], name: &str) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let address = SocketAddr::from(([127, 0, 0, 1], address.port()));
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, TcpStream::connect(address).await?).await
}

fn everywhere(config: &mut hewei::config::Config) {
    config.http.listen = vec!["0.0.0.0:0".parse().unwrap(), "127.0.0.1:0".parse().unwrap()];
}

#[tokio::test]
async fn who_trusts_the_ca_is_let_in_by_every_address_of_this_machine() {
    let server = TestServer::start_with(everywhere).await;
    let [outside, inside] = server.server.listening() else { panic!("two listeners") };
    assert!(outside.tls && !inside.tls);
    let ca = std::fs::read(server.folder.path().join("data/keys/https/ca.pem")).unwrap();
    let machine = hewei::addresses::of_this_machine();
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()].into_iter();
    for name in names.chain(machine.iter().map(ToString::to_string)) {
        let stream =
            connect(outside.address, &ca, &name).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(get("/livez").over(stream).await.status, StatusCode::OK, "{name}");
    }
    assert!(connect(outside.address, &ca, "elsewhere.example").await.is_err());

    // Somebody left out the "s".
    let stream = TcpStream::connect(("127.0.0.1", outside.address.port())).await.unwrap();
    let answer = get("/join?x=1").over(stream).await;
    assert_eq!(answer.status, StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(answer.header(header::LOCATION), "https://localhost/join?x=1");
    server.server.stop().await;
}

#[tokio::test]
async fn certificate_files_are_read_again_when_they_change() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
    let write = || {
        let made = rcgen::generate_simple_self_signed(["hewei.example".to_owned()]).unwrap();
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        made.cert.pem()
    };
    let first = write();
    let server = TestServer::start_with(|config| {
        everywhere(config);
        config.http.certificate = Some(certificate.clone());
        config.http.key = Some(key.clone());
    })
    .await;
    let address = server.address();
    connect(address, first.as_bytes(), "hewei.example").await.unwrap();

    // Garbage in between changes nothing.
    std::fs::write(&certificate, "not a certificate").unwrap();
    tokio::time::sleep(Duration::from_secs(6)).await;
    connect(address, first.as_bytes(), "hewei.example").await.unwrap();
    let second = write();
    let renewed = async {
        while connect(address, second.as_bytes(), "hewei.example").await.is_err() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), renewed).await.expect("renewed");
    server.server.stop().await;
}
