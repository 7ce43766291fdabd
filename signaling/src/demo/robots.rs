//! Two robot parties, so that someone alone sees a call. They are people like any other to the server: each has an
//! invitation, knocks, waits in the lobby, sends over WebSocket and WebRTC, and may be sent out.
//!
//! They knock when somebody enters the room, and leave when nobody but robots is there any more.

mod robot;
mod tape;

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use hewei_api::demo::{DemoRobotState, DemoRobots};
use hewei_model::RoomId;
use ring::digest::{SHA256, digest};
use tokio::{process::Command, sync::watch, task::JoinSet};

use self::{robot::Robot, tape::Tape};
use super::{PYTHON, is_there};
use crate::{secrets, state::App};

const SCRIPT: &str = include_str!("../../demo/robots.py");
/// As they sit in the room.
pub(super) const NAMES: [&str; 2] = ["机器人甲(赵大山)", "机器人乙(钱有福)"];
/// Drawing takes ten seconds of one core.
const DRAWING_MAX: Duration = Duration::from_secs(300);
/// A package that is missing shows within this time.
const FAILS_WITHIN: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Looks that must agree. Somebody who reloads the page has not left.
const LOOKS_TO_COME: u32 = 2;
const LOOKS_TO_GO: u32 = 8;

/// Robots under way. They leave when this is dropped.
pub(super) struct Robots {
    status: Arc<Status>,
    _tasks: JoinSet<()>,
}

/// What the robots do, for all of them and for the demo's page.
#[derive(Debug)]
pub(super) struct Status {
    state: Mutex<(DemoRobotState, Option<String>)>,
    /// The participants that they are.
    seats: Mutex<BTreeSet<String>>,
}

impl Status {
    fn new(state: DemoRobotState) -> Arc<Status> {
        Arc::new(Status { state: Mutex::new((state, None)), seats: Mutex::default() })
    }

    fn set(&self, state: DemoRobotState, problem: Option<String>) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = (state, problem);
    }

    /// For the demo's page.
    pub(super) fn told(&self) -> DemoRobots {
        let (mut state, problem) = self.state.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if state == DemoRobotState::Waiting && self.count() > 0 {
            state = DemoRobotState::Here;
        }
        let names = if state == DemoRobotState::Absent { &[][..] } else { &NAMES[..] };
        DemoRobots { state, names: names.iter().map(|name| (*name).to_owned()).collect(), problem }
    }

    fn count(&self) -> u32 {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner).len() as u32
    }

    fn is_robot(&self, participant: &str) -> bool {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner).contains(participant)
    }

    fn came(&self, participant: &str) {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner).insert(participant.to_owned());
    }

    fn went(&self, participant: &str) {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner).remove(participant);
    }
}

impl Robots {
    /// Draws the robots if that was not done before, and lets them wait for somebody. `server` is a plain listener on
    /// loopback. Returns at once, or when it is clear that there will be none.
    pub(super) async fn start(app: &App, room: RoomId, server: Option<SocketAddr>) -> Robots {
        let status = Status::new(DemoRobotState::Preparing);
        let mut tasks = JoinSet::new();
        let (told, mut done) = watch::channel(false);
        let (app, own) = (app.clone(), Arc::clone(&status));
        tasks.spawn(async move {
            let tapes = prepare(&app.config.storage.folder, server).await;
            match tapes {
                Ok((server, tapes)) => {
                    own.set(DemoRobotState::Waiting, None);
                    told.send_replace(true);
                    sit(app, room, server, tapes, own).await;
                }
                Err(error) => {
                    tracing::warn!(error = format!("{error:#}"), "the demo has no robots");
                    own.set(DemoRobotState::Absent, Some(format!("{error:#}")));
                    told.send_replace(true);
                }
            }
        });
        // An error means that the task ended, which is told too.
        let _ = tokio::time::timeout(FAILS_WITHIN, done.wait_for(|done| *done)).await;
        Robots { status, _tasks: tasks }
    }

    pub(super) fn status(&self) -> Arc<Status> {
        Arc::clone(&self.status)
    }
}

/// The tapes, from an earlier start or drawn now.
async fn prepare(folder: &Path, server: Option<SocketAddr>) -> anyhow::Result<(SocketAddr, Vec<Arc<Tape>>)> {
    let server =
        server.context("http.listen has no address on this machine alone, such as 127.0.0.1:8080")?;
    let folder = folder.join("demo-robots");
    // Another script or another name is another tape.
    let hash = digest(&SHA256, [SCRIPT, NAMES[0], NAMES[1]].join("\0").as_bytes());
    let version: String = hash.as_ref().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    let paths: Vec<PathBuf> =
        (0..NAMES.len()).map(|index| folder.join(format!("{version}-{index}.tape"))).collect();
    if !paths.iter().all(|path| path.exists()) {
        tokio::fs::create_dir_all(&folder).await.with_context(|| format!("{}", folder.display()))?;
        draw(&folder, &paths).await?;
    }
    let mut tapes = Vec::new();
    for path in paths {
        let bytes = tokio::fs::read(&path).await.with_context(|| format!("{}", path.display()))?;
        tapes.push(Arc::new(Tape::read(bytes).with_context(|| format!("{}", path.display()))?));
    }
    Ok((server, tapes))
}

async fn draw(folder: &Path, paths: &[PathBuf]) -> anyhow::Result<()> {
    if !is_there(PYTHON) {
        bail!("{PYTHON} is missing; scripts/install.sh run installs it");
    }
    let script = folder.join("robots.py");
    secrets::write_private(&script, SCRIPT.as_bytes()).with_context(|| format!("{}", script.display()))?;
    let mut process = Command::new(PYTHON);
    process.arg(&script);
    for name in NAMES {
        process.args(["--name", name]);
    }
    let process = process
        .args(paths)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(DRAWING_MAX, process)
        .await
        .map_err(|_| anyhow::anyhow!("drawing the robots took more than {DRAWING_MAX:?}"))??;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        let complaint = complaint.trim().lines().last().unwrap_or_default();
        bail!("the robots cannot be drawn ({complaint}); scripts/install.sh run installs what it takes");
    }
    Ok(())
}

/// Runs the robots for as long as the demo.
async fn sit(app: App, room: RoomId, server: SocketAddr, tapes: Vec<Arc<Tape>>, status: Arc<Status>) {
    let (told, company) = watch::channel(false);
    let mut robots = JoinSet::new();
    let began = Instant::now();
    for (name, tape) in NAMES.into_iter().zip(tapes) {
        let robot = Robot {
            app: app.clone(),
            room,
            server,
            name,
            tape,
            began,
            company: company.clone(),
            status: Arc::clone(&status),
        };
        robots.spawn(robot.live());
    }
    let mut looks = 0;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let somebody = app.live.people(room) > status.count();
        if somebody == *told.borrow() {
            looks = 0;
            continue;
        }
        looks += 1;
        if looks >= if somebody { LOOKS_TO_COME } else { LOOKS_TO_GO } {
            told.send_replace(somebody);
            looks = 0;
        }
    }
}
