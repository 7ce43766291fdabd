//! `hewei health`: asks a running server whether it is ready. For containers and timers, which have no curl.

use std::{
    io::{Read, Write},
    net::{TcpStream, ToSocketAddrs},
    time::Duration,
};

use anyhow::{Context, bail};
use url::Url;

use crate::config::Config;

const PATIENCE: Duration = Duration::from_secs(5);
/// An answer of the server's to this question is a line.
const ANSWER_BYTES_MAX: u64 = 4_096;

/// Where a server with these settings can be asked: its first plain HTTP address.
pub(crate) fn address(config: &Config) -> anyhow::Result<Url> {
    let plain = config.http.listen.iter().find(|address| address.ip().is_loopback());
    let plain = plain.context(
        "http.listen has no address of the loopback to ask at; add 127.0.0.1:8080, or say where with --url",
    )?;
    Ok(Url::parse(&format!("http://{plain}/readyz"))?)
}

/// Asks over plain HTTP; gives the server's word, or an error when it is not 200.
pub(crate) fn ask(url: &Url) -> anyhow::Result<String> {
    if url.scheme() != "http" {
        bail!("{url}: give an address that begins with http://, such as http://127.0.0.1:8080/readyz");
    }
    let what = || format!("{url} does not answer");
    let host = url.host_str().context("the address has no host")?;
    let port = url.port_or_known_default().unwrap_or(80);
    let host = host.trim_matches(['[', ']']);
    let address = (host, port).to_socket_addrs().with_context(what)?.next().with_context(what)?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).with_context(what)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let path = if url.path() == "/" { "/readyz" } else { url.path() };
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")
        .with_context(what)?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).with_context(what)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").with_context(what)?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    // An answer that comes in pieces has their lengths between them; a word for people need not be exact.
    let word = body.lines().next().unwrap_or_default();
    match status {
        "200" => Ok(format!("{word}\n")),
        _ => bail!("{url} answers {status}: {word}"),
    }
}
