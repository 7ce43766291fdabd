//! The cameras of the demo: one small RTSP server each, as a process of its own. One that is killed comes back,
//! as a camera does whose power returns.

use std::{
    net::{Ipv4Addr, TcpListener},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, bail};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use hewei_model::CameraId;
use hewei_store::Credentials;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, Command},
    task::JoinSet,
};

use super::{PYTHON, is_there};
use crate::{secrets, state::App};

const SCRIPT: &str = include_str!("../../demo/cameras.py");
const PASSWORD_VARIABLE: &str = "HEWEI_DEMO_CAMERA_PASSWORD";
const USER: &str = "demo";
/// Ports the demo likes, so that the addresses of its cameras stay the same.
const FIRST_PORT: u16 = 18_554;
const START_TIME_MAX: Duration = Duration::from_secs(20);
/// Long enough to see that a camera is gone.
const COMES_BACK_AFTER: Duration = Duration::from_secs(10);

/// Running cameras. They end when this is dropped.
pub(super) struct DemoCameras {
    // Aborting the tasks drops the processes, which kills them.
    _keepers: JoinSet<()>,
}

/// Starts a camera for each, and tells the server where they are.
pub(super) async fn start(app: &App, cameras: &[CameraId]) -> anyhow::Result<DemoCameras> {
    if !is_there(PYTHON) {
        bail!("{PYTHON} is missing; scripts/install.sh run installs it");
    }
    let script = app.config.storage.folder.join("demo-cameras.py");
    secrets::write_private(&script, SCRIPT.as_bytes()).with_context(|| format!("{}", script.display()))?;
    let mut password = [0; 18];
    SystemRandom::new().fill(&mut password).map_err(|_| anyhow::anyhow!("no randomness"))?;
    let password = BASE64.encode(password);
    let plan = |index: usize| Plan {
        script: script.clone(),
        index,
        port: free_port(FIRST_PORT + index as u16),
        password: password.clone(),
    };
    // All at once: each loads GStreamer for a second.
    let mut starting = JoinSet::new();
    for index in 0..cameras.len() {
        let plan = plan(index);
        starting.spawn(async move {
            let process = plan.start().await?;
            anyhow::Ok((plan, process))
        });
    }
    let mut keepers = JoinSet::new();
    while let Some(started) = starting.join_next().await {
        let (plan, process) = started??;
        let Some(id) = cameras.get(plan.index).copied() else { continue };
        let credentials = Credentials { username: USER.to_owned(), password: plan.password.clone() };
        app.store.move_camera(id, &format!("rtsp://127.0.0.1:{}/cam", plan.port), Some(&credentials)).await?;
        if let Some(camera) = app.store.camera(id).await? {
            let added = app.live.camera_added(&camera).await;
            added.map_err(|problem| anyhow::anyhow!(problem.into_body().detail))?;
        }
        keepers.spawn(keep(plan, process));
    }
    Ok(DemoCameras { _keepers: keepers })
}

#[derive(Clone)]
struct Plan {
    script: std::path::PathBuf,
    index: usize,
    port: u16,
    password: String,
}

impl Plan {
    /// Starts the process and waits until it listens.
    async fn start(&self) -> anyhow::Result<Child> {
        let mut process = Command::new(PYTHON)
            .arg(&self.script)
            .args(["--port", &self.port.to_string(), "--index", &self.index.to_string()])
            .args(["--user", USER, "--password-from-env", PASSWORD_VARIABLE])
            .env(PASSWORD_VARIABLE, &self.password)
            // The clock in the picture agrees with the one on the wall.
            .env("TZ", "CST-8")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A Ctrl+C at the terminal is for the server, which ends them after itself.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let out = process.stdout.take().context("its output")?;
        let mut errors = process.stderr.take().context("its errors")?;
        // Read to its end all the time, so that it never blocks; the last bit is kept.
        let complaint = tokio::spawn(async move {
            let mut last = Vec::new();
            let mut buffer = [0; 1_024];
            while let Ok(length @ 1..) = errors.read(&mut buffer).await {
                last.extend_from_slice(&buffer[..length]);
                let surplus = last.len().saturating_sub(4_096);
                last.drain(..surplus);
            }
            String::from_utf8_lossy(&last).trim().lines().last().unwrap_or_default().to_owned()
        });
        let ready = async {
            let mut lines = BufReader::new(out).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if line == "ready" {
                    return true;
                }
            }
            false
        };
        match tokio::time::timeout(START_TIME_MAX, ready).await {
            Ok(true) => Ok(process),
            Ok(false) => {
                let complaint = complaint.await.unwrap_or_default();
                bail!("gst-rtsp-server does not run ({complaint}); scripts/install.sh run installs it")
            }
            Err(_) => bail!("gst-rtsp-server did not start in {START_TIME_MAX:?}"),
        }
    }
}

/// Starts the camera again whenever it has ended.
async fn keep(plan: Plan, mut process: Child) {
    loop {
        // An error here means as much: it is not running.
        let ended = process.wait().await;
        tracing::info!(camera = plan.index + 1, ?ended, "a demo camera ended; it comes back in a while");
        tokio::time::sleep(COMES_BACK_AFTER).await;
        match plan.start().await {
            Ok(again) => process = again,
            Err(error) => tracing::warn!(camera = plan.index + 1, %error, "a demo camera does not start"),
        }
    }
}

/// `wanted`, or any port when that is taken.
fn free_port(wanted: u16) -> u16 {
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).and_then(|socket| socket.local_addr());
    bind(wanted).or_else(|_| bind(0)).map_or(wanted, |address| address.port())
}
