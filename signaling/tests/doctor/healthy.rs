//! What is healthy passes, with the server stopped and running.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Stdio},
};

use crate::installation::Installation;

/// A server as a process. Killed when dropped.
struct Serving(Child);

impl Serving {
    fn start(installation: &Installation) -> Self {
        let mut child = installation.hewei(&["serve"]).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let https = format!("0.0.0.0:{}", installation.https);
        let listening = lines
            .by_ref()
            .map(Result::unwrap)
            .any(|line| line.contains("listening") && line.contains(&https));
        assert!(listening, "it ended");
        // Read on, so that it never blocks.
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut Rest(lines), &mut std::io::sink());
        });
        Self(child)
    }
}

struct Rest<L>(L);

impl<L: Iterator<Item = std::io::Result<String>>> Read for Rest<L> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let Some(_) = self.0.next().transpose()? else { return Ok(0) };
        buffer[0] = 0;
        Ok(1)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_new_installation_is_healthy_and_stays_as_it_was() {
    let installation = Installation::new();
    let report = installation.doctor(&[]);
    report.assert_healthy();
    let checks: std::collections::BTreeSet<&str> =
        report.findings.iter().map(|finding| finding["check"].as_str().unwrap()).collect();
    let all = [
        "addresses",
        "call",
        "cameras",
        "certificate",
        "clock",
        "database",
        "disk",
        "machine",
        "ports",
        "settings",
    ];
    assert_eq!(checks.into_iter().collect::<Vec<_>>(), all);
    let ports = report.passing("ports");
    assert_eq!(ports.len(), 3);
    assert!(ports.iter().all(|port| port.ends_with("is free.")), "{ports:?}");
    let call = report.passing("call");
    assert!(
        call[0].contains("heard and saw each other") && call[0].contains(&installation.media.to_string())
    );
    assert!(call[1].contains("The recording verifies") && call[1].contains("its 4 tracks read"), "{call:?}");
    assert!(report.passing("addresses")[0].contains("127.0.0.1"), "loopback hears");
    let left: Vec<_> = std::fs::read_dir(installation.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["hewei.toml"], "nothing is made and nothing is left");
}

#[test]
fn a_running_server_is_asked_and_not_disturbed() {
    let installation = Installation::new();
    let serving = Serving::start(&installation);
    // Written once the server listens.
    while !installation.storage().join("setup-link").exists() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let before = listed(&installation);
    let report = installation.doctor(&[]);
    report.assert_healthy();
    let ports = report.passing("ports");
    assert!(ports[0].contains("is held by the server, which answers"), "{ports:?}");
    assert!(ports[1].contains("is held by the server, which answers"), "over TLS: {ports:?}");
    assert!(ports[2].starts_with("UDP") && ports[2].contains("is held by the server"), "{ports:?}");
    assert!(report.passing("addresses")[0].contains("127.0.0.1"), "what it counts shows that it hears");
    assert!(report.passing("certificate")[0].contains("The own certificate is good for"));
    assert!(report.passing("call")[0].contains("beside the running server"));
    assert!(report.passing("database")[0].contains("is sound"));
    assert_eq!(listed(&installation), before, "no test folder is left");
    drop(serving);
    // Its own certificate, database and keys are there now.
    let report = installation.doctor(&["settings", "certificate", "database", "ports"]);
    report.assert_healthy();
    assert!(report.passing("ports").iter().all(|port| port.ends_with("is free.")), "{}", report.text);
}

fn listed(installation: &Installation) -> Vec<String> {
    let entries = std::fs::read_dir(installation.storage()).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    // SQLite's own come and go.
    names.retain(|name| !name.starts_with("hewei.sqlite-"));
    names.sort();
    names
}
