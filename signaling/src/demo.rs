//! `hewei demo`: a server with a small district in it, cameras that draw their own pictures, two robot parties, and a
//! link for each role.

mod cameras;
pub mod page;
mod robots;
mod seed;

use std::{fmt::Write, path::Path};

use anyhow::Context;
use hewei_api::demo::DemoRobotState;
use hewei_model::Role;
use time::{Duration, OffsetDateTime};

use self::{
    cameras::DemoCameras,
    page::{PartyLink, StaffLinks},
    robots::Robots,
};
use crate::{access, addresses, auth::Claims, config::Config, serve::Server, state::App};

const PYTHON: &str = "/usr/bin/python3";

const LINK_LIFETIME: Duration = Duration::hours(12);

/// Staff in the order of the links: role, name, and what the role is called.
const STAFF: [(Role, &str, &str); 6] = [
    (Role::Mediator, "王调解员", "调解员 Mediator"),
    (Role::Lawyer, "李律师", "值班律师 Lawyer"),
    (Role::Leader, "张主任", "值班领导 Leader"),
    (Role::Operator, "陈值班员", "调度员 Operator"),
    (Role::Auditor, "周审计", "审计员 Auditor"),
    (Role::Administrator, "管理员", "管理员 Administrator"),
];

const PARTIES: [(&str, &str); 2] = [("赵大山", "甲方 Party A"), ("钱有福", "乙方 Party B")];

/// A running demo. Its cameras and robots end when it is dropped.
pub struct Demo {
    text: String,
    _cameras: Option<DemoCameras>,
    _robots: Robots,
}

/// The settings of a demo: as given, but with a folder of its own when the folder was not set.
pub fn config(mut config: Config) -> Config {
    if config.storage == Config::default().storage {
        config.storage.folder = config.storage.folder.join("demo");
    }
    config
}

/// Fills an empty server, starts the cameras, and makes fresh links.
pub async fn start(server: &Server) -> anyhow::Result<Demo> {
    let app = server.app();
    let seeded = seed::seed(&app.store).await.context("cannot fill the demo's database")?;
    let (cameras, cameras_line) = match cameras::start(app, &seeded.cameras).await {
        Ok(cameras) => (Some(cameras), format!("{} 路演示画面 test pictures", seeded.cameras.len())),
        Err(error) => (None, format!("没有画面 none: {error:#}")),
    };

    let plain = server.listening().iter().find(|listening| !listening.tls);
    let robots = Robots::start(app, seeded.room, plain.map(|listening| listening.address)).await;
    let robots_line = robots_line(&robots);

    let base = plain
        .or(server.listening().first())
        .map(|listening| base_address(listening.address, listening.tls))
        .context("the server listens nowhere")?;
    let mut text =
        format!("\n和为 Hewei · 演示 demo\n\n  {}{base}/demo\n\n", column("从这里开始 Start here"));
    let _ = writeln!(text, "  {}{base}", column("地址 Address"));
    for listening in server.listening().iter().filter(|listening| listening.tls) {
        for address in addresses::of_this_machine().into_iter().filter(std::net::IpAddr::is_ipv4) {
            let https = base_address((address, listening.address.port()).into(), true);
            let _ = writeln!(text, "  {}{https}", column("其他设备 Other devices"));
        }
        let ca = app.config.storage.folder.join("keys/https/ca.pem");
        let _ = writeln!(text, "  {}{}", column("其证书 Its CA"), ca.display());
    }
    let _ = writeln!(text, "  {}{cameras_line}", column("摄像头 Cameras"));
    let _ = writeln!(text, "  {}{robots_line}", column("机器人 Robots"));

    text.push_str("\n  各角色的链接,12 小时有效。 A link for each role, good for 12 hours.\n\n");
    let staff = StaffLinks::new(app).await.context("cannot keep the links of the demo")?;
    for ((_, _, title), path) in STAFF.iter().zip(&staff.paths) {
        let _ = writeln!(text, "  {}{base}{path}", column(title));
    }
    text.push_str("\n  当事人的链接,只能打开一次。 The parties' links; each opens once.\n\n");
    let mut parties = Vec::new();
    for (name, title) in PARTIES {
        let party = PartyLink::new(app, seeded.room, name)
            .await
            .map_err(|problem| anyhow::anyhow!(problem.into_body().detail))?;
        let _ = writeln!(text, "  {}{base}{}", column(title), party.path);
        parties.push(party);
    }
    text.push_str(
        "\n  各角色请用不同的浏览器窗口(如无痕窗口)打开。按 Ctrl+C 结束。\n  \
         Open each role in a browser window of its own (a private one, say). Ctrl+C ends the demo.\n\n",
    );
    app.demo.open(page::Contents {
        room: seeded.room,
        case: seeded.case,
        cameras: cameras.as_ref().map_or(0, |_| seeded.cameras.len() as u32),
        robots: robots.status(),
        links: page::Links { staff, parties }.into(),
    });
    Ok(Demo { text, _cameras: cameras, _robots: robots })
}

fn robots_line(robots: &Robots) -> String {
    let told = robots.status().told();
    match told.state {
        DemoRobotState::Absent => format!("没有机器人 none: {}", told.problem.unwrap_or_default()),
        DemoRobotState::Preparing => {
            "正在准备,不到一分钟 getting ready, less than a minute; 有人进入调解室时来敲门 they knock when somebody enters".to_owned()
        }
        _ => "2 位,有人进入调解室时来敲门 two, who knock when somebody enters the room".to_owned(),
    }
}

/// The path of a fresh link for somebody of the staff. It is listed, so that it can be ended.
async fn staff_link(app: &App, role: Role, name: &str) -> hewei_store::Result<String> {
    let now = OffsetDateTime::now_utc();
    let claims = Claims::of_link(name.to_owned(), role, None, now + LINK_LIFETIME);
    access::keep_link(&app.store, &claims, now).await?;
    Ok(format!("/enter#{}", app.tokens.issue(&claims)))
}

impl Demo {
    /// What to tell the one who started it.
    pub fn text(&self) -> &str {
        &self.text
    }
}

fn base_address(address: std::net::SocketAddr, tls: bool) -> String {
    let address = match address.ip().is_unspecified() {
        true => std::net::SocketAddr::from(([127, 0, 0, 1], address.port())),
        false => address,
    };
    format!("{}://{address}", if tls { "https" } else { "http" })
}

/// Text padded to a column. A Chinese character is as wide as two letters.
fn column(text: &str) -> String {
    const WIDTH: usize = 24;
    let width: usize = text.chars().map(|character| if character.is_ascii() { 1 } else { 2 }).sum();
    format!("{text}{}", " ".repeat(WIDTH.saturating_sub(width).max(1)))
}

/// Whether something can be run at all.
fn is_there(program: &str) -> bool {
    Path::new(program).exists()
}
