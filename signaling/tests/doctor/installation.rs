//! An installation in a folder of its own, on free ports, and the doctor's word on it.

use std::{
    net::{TcpListener, UdpSocket},
    path::PathBuf,
    process::{Command, Output},
};

use hewei_store::{SealingKey, Store};
use serde_json::Value;

pub struct Installation {
    pub folder: tempfile::TempDir,
    pub http: u16,
    pub https: u16,
    pub media: u16,
}

impl Installation {
    pub fn new() -> Self {
        Self::with("")
    }

    /// With more lines in its settings.
    pub fn with(more: &str) -> Self {
        let installation = Self {
            folder: tempfile::tempdir().unwrap(),
            http: tcp_port(),
            https: tcp_port(),
            media: udp_port(),
        };
        installation.configure(more);
        installation
    }

    pub fn configure(&self, more: &str) {
        let text = format!(
            "[http]\nlisten = [\"127.0.0.1:{}\", \"0.0.0.0:{}\"]\n{more}\n[media]\nport = {}\n\
             [storage]\nfolder = \"{}\"\n",
            self.http,
            self.https,
            self.media,
            self.storage().display()
        );
        std::fs::write(self.settings(), text).unwrap();
    }

    pub fn storage(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub fn settings(&self) -> PathBuf {
        self.folder.path().join("hewei.toml")
    }

    /// The database, filled without a server.
    pub async fn store(&self) -> Store {
        let folder = hewei::secrets::Folder::open(&self.storage()).unwrap();
        let key = SealingKey::new(&folder.camera_key().unwrap());
        Store::open(&folder.database().unwrap(), key).await.unwrap()
    }

    pub fn hewei(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hewei"));
        // Nothing of this process's own environment that would be a setting.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("HEWEI_"))
        {
            command.env_remove(name);
        }
        command.args(arguments).arg("--config").arg(self.settings()).current_dir(self.folder.path());
        command
    }

    /// The doctor's report on some checks, or on all.
    pub fn doctor(&self, only: &[&str]) -> Report {
        let mut command = self.hewei(&["doctor", "--json"]);
        for check in only {
            command.args(["--only", check]);
        }
        Report::of(&command.output().unwrap())
    }

    /// The doctor's words on some checks, as people read them.
    pub fn words(&self, only: &[&str]) -> String {
        let mut command = self.hewei(&["doctor"]);
        for check in only {
            command.args(["--only", check]);
        }
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    }
}

pub struct Report {
    pub code: Option<i32>,
    pub result: String,
    pub findings: Vec<Value>,
    /// All that was printed.
    pub text: String,
}

impl Report {
    pub fn of(output: &Output) -> Self {
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        let document: Value =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}\n{errors}"));
        Self {
            code: output.status.code(),
            result: document["result"].as_str().unwrap().to_owned(),
            findings: document["findings"].as_array().unwrap().clone(),
            text: format!("{text}{errors}"),
        }
    }

    /// Nothing is wrong.
    #[track_caller]
    pub fn assert_healthy(&self) {
        assert_eq!((self.code, self.result.as_str()), (Some(0), "pass"), "{}", self.text);
    }

    /// The findings that pass, in English, of one check.
    pub fn passing(&self, check: &str) -> Vec<&str> {
        let of = self.findings.iter().filter(|one| one["check"] == check && one["verdict"] == "pass");
        of.map(|one| one["en"].as_str().unwrap()).collect()
    }

    /// The findings that are wrong, in English, each with its remedy; in both languages there is something.
    #[track_caller]
    pub fn wrong(&self, check: &str) -> Vec<(&str, &str)> {
        assert_eq!((self.code, self.result.as_str()), (Some(1), "wrong"), "{}", self.text);
        let of = self.findings.iter().filter(|one| one["check"] == check && one["verdict"] == "wrong");
        of.map(|one| {
            let word = |value: &Value| !value.as_str().unwrap().is_empty();
            assert!(word(&one["zh"]) && word(&one["remedy"]["zh"]), "{one}");
            (one["en"].as_str().unwrap(), one["remedy"]["en"].as_str().unwrap())
        })
        .collect()
    }

    /// The only one that is wrong.
    #[track_caller]
    pub fn only_wrong(&self, check: &str) -> (&str, &str) {
        let wrong = self.wrong(check);
        assert_eq!(wrong.len(), 1, "{}", self.text);
        wrong[0]
    }
}

/// A port that nobody has just now.
fn tcp_port() -> u16 {
    TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port()
}

fn udp_port() -> u16 {
    UdpSocket::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port()
}
