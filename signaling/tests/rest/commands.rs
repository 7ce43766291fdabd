//! The program as people run it.

use std::{
    net::SocketAddr,
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use tokio::io::{AsyncBufReadExt, BufReader};

use crate::client::get;

pub fn hewei(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hewei"));
    // Nothing of this process's own environment that would be a setting.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("HEWEI_")) {
        command.env_remove(name);
    }
    command.args(arguments).current_dir(folder).env("HEWEI_STORAGE_FOLDER", folder.join("data"));
    command
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn error_line(output: &Output) -> &str {
    let text = text(&output.stderr);
    assert_eq!(text.lines().count(), 1, "{text}");
    text.trim_end()
}

#[test]
fn check_config_says_good_or_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/hewei.toml");
    let good = hewei(folder.path(), &["check-config", shipped]).output().unwrap();
    assert!(good.status.success(), "{}", text(&good.stderr));
    std::fs::write(folder.path().join("bad.toml"), "[media]\nport = 99999\n").unwrap();
    let bad = hewei(folder.path(), &["check-config", "bad.toml"]).output().unwrap();
    assert_eq!(bad.status.code(), Some(2));
    assert_eq!(
        error_line(&bad),
        "hewei: bad.toml: media.port is 99999; it must be a whole number from 0 to 65535"
    );
    let missing = hewei(folder.path(), &["check-config", "missing.toml"]).output().unwrap();
    assert_eq!(missing.status.code(), Some(2));
    assert!(error_line(&missing).starts_with("hewei: cannot read missing.toml: "));
    let mut wrong = hewei(folder.path(), &["serve"]);
    let wrong = wrong.env("HEWEI_HTTP_LISTEN", "here").output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    assert!(
        error_line(&wrong)
            .starts_with("hewei: HEWEI_HTTP_LISTEN is \"here\"; it must be a list of addresses")
    );
}

#[tokio::test]
async fn the_first_set_up_link_is_in_nothing_that_a_service_manager_keeps() {
    let folder = tempfile::tempdir().unwrap();
    let mut serve = hewei(folder.path(), &["serve"]);
    serve
        .env("HEWEI_HTTP_LISTEN", "127.0.0.1:0")
        .env("HEWEI_MEDIA_PORT", "0")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut serve = tokio::process::Command::from(serve).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(serve.stderr.take().unwrap()).lines();
    let mut said = String::new();
    let told = async {
        while !said.contains("hewei setup-link") {
            said += &lines.next_line().await.unwrap().expect("it runs on");
        }
    };
    tokio::time::timeout(Duration::from_secs(30), told).await.unwrap();
    let link = std::fs::read_to_string(folder.path().join("data/setup-link")).unwrap();
    let (_, code) = link.trim().split_once('#').unwrap();
    serve.start_kill().unwrap();
    let output = serve.wait_with_output().await.unwrap();
    assert!(!said.contains(code) && !text(&output.stdout).contains(code));
    assert!(output.stdout.is_empty(), "{}", text(&output.stdout));
}

#[test]
fn the_openapi_document_in_the_tree_is_the_one_of_this_program() {
    let folder = tempfile::tempdir().unwrap();
    let output = hewei(folder.path(), &["openapi"]).output().unwrap();
    let committed =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../web/openapi.json")).unwrap();
    assert_eq!(text(&output.stdout), committed, "run `make generate` and commit");
}

/// A server as a process on free ports, and a token from the command line for it.
#[tokio::test]
async fn serve_takes_tokens_of_the_token_command_and_ends_at_sigterm() {
    let folder = tempfile::tempdir().unwrap();
    let mut serve = hewei(folder.path(), &["serve"]);
    serve
        .env("HEWEI_HTTP_LISTEN", "127.0.0.1:0")
        .env("HEWEI_MEDIA_PORT", "0")
        .env("HEWEI_MEDIA_BIND", "127.0.0.1")
        .env("HEWEI_LOG_FORMAT", "json")
        .stderr(Stdio::piped());
    let mut serve = tokio::process::Command::from(serve).kill_on_drop(true).spawn().unwrap();
    let mut log = BufReader::new(serve.stderr.take().unwrap()).lines();
    let listening = async {
        while let Some(line) = log.next_line().await.unwrap() {
            let line: serde_json::Value = serde_json::from_str(&line).unwrap();
            if line["fields"]["message"] == "listening" {
                return line["fields"]["address"].as_str().unwrap().parse::<SocketAddr>().unwrap();
            }
        }
        panic!("it ended");
    };
    let address = tokio::time::timeout(Duration::from_secs(30), listening).await.unwrap();

    let arguments = ["token", "--room", "*", "--role", "mediator", "--ttl", "10m", "--name", "王"];
    let token = hewei(folder.path(), &arguments).output().unwrap();
    assert!(token.status.success(), "{}", text(&token.stderr));
    let token = text(&token.stdout).strip_suffix('\n').unwrap();
    assert!(!token.contains(char::is_whitespace), "only the token");
    let me = get("/api/v1/me").token(token).to(address).await.json();
    assert_eq!((&me["role"], &me["name"], &me["room_id"]), (&"mediator".into(), &"王".into(), &().into()));
    for wrong in [["token", "--room", "x", "--role", "party"], ["token", "--room", "*", "--role", "king"]] {
        let output = hewei(folder.path(), &wrong).output().unwrap();
        assert!(!output.status.success() && output.stdout.is_empty());
    }

    let mut second = hewei(folder.path(), &["serve"]);
    let second =
        second.env("HEWEI_HTTP_LISTEN", "127.0.0.1:0").env("HEWEI_MEDIA_PORT", "0").output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let line = error_line(&second);
    assert!(
        line.starts_with("hewei: another Hewei server uses ") && line.contains("storage.folder"),
        "{line}"
    );
    let other = tempfile::tempdir().unwrap();
    let mut taken = hewei(other.path(), &["serve"]);
    let taken = taken.env("HEWEI_HTTP_LISTEN", address.to_string()).output().unwrap();
    assert_eq!(taken.status.code(), Some(1));
    assert!(text(&taken.stderr).contains(&format!("cannot listen on {address} (http.listen)")));

    let started = Instant::now();
    let pid = serve.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let mut rest = String::new();
    while let Some(line) = log.next_line().await.unwrap() {
        rest.push_str(&line);
    }
    let status = tokio::time::timeout(Duration::from_secs(10), serve.wait()).await.unwrap().unwrap();
    assert!(status.success(), "{status}");
    assert!(started.elapsed() < Duration::from_secs(10));
    assert!(rest.contains("/api/v1/me") && !rest.contains(token), "requests are logged, tokens are not");
}
