//! `hewei demo` as a person starts it. Needs what `scripts/install.sh run` installs.

use std::{net::SocketAddr, path::Path, process::Stdio, time::Duration};

use hyper::StatusCode;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use crate::{
    client::{get, post},
    commands::hewei,
};

const ROLES: [&str; 6] = ["Mediator", "Lawyer", "Leader", "Operator", "Auditor", "Administrator"];

#[tokio::test]
async fn the_demo_prints_links_that_work_and_takes_its_cameras_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = hewei(folder.path(), &["demo"]);
    demo.env("HEWEI_HTTP_LISTEN", "127.0.0.1:0")
        .env("HEWEI_MEDIA_PORT", "0")
        .env("HEWEI_MEDIA_BIND", "127.0.0.1")
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut demo = tokio::process::Command::from(demo).kill_on_drop(true).spawn().unwrap();
    let pid = demo.id().unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let mut text = Vec::new();
    let printed = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            let last = line.contains("Ctrl+C ends the demo");
            text.push(line);
            if last {
                return;
            }
        }
        panic!("it ended: {text:?}");
    };
    tokio::time::timeout(Duration::from_secs(60), printed).await.unwrap();
    let line = |word: &str| {
        text.iter().find(|line| line.contains(word)).unwrap_or_else(|| panic!("{word} in {text:#?}")).clone()
    };
    let link = |word: &str| line(word).split_whitespace().last().unwrap().to_owned();
    assert!(line("Cameras").contains("4 "), "{}", line("Cameras"));
    // A moment or a minute until they are there, as the machine has it; never "none".
    assert!(line("Robots").contains("knock when somebody enters"), "{}", line("Robots"));
    let base = link("Address");
    assert_eq!(link("Start here"), format!("{base}/demo"));
    let address: SocketAddr = base.strip_prefix("http://").unwrap().parse().unwrap();

    let mut tokens = Vec::new();
    for role in ROLES {
        let token = link(&format!(" {role} ")).strip_prefix(&format!("{base}/enter#")).unwrap().to_owned();
        let me = get("/api/v1/me").token(&token).to(address).await.json();
        assert_eq!(me["role"], role.to_lowercase());
        tokens.push(token);
    }
    let page = get("/api/v1/demo").to(address).await;
    assert_eq!(page.header("cache-control"), "no-store");
    let page = page.json();
    let paths = |page: &Value| -> Vec<String> {
        let links = page["links"].as_array().unwrap().iter();
        links.map(|link| format!("{base}{}", link["path"].as_str().unwrap())).collect()
    };
    let printed: Vec<String> = ROLES.iter().map(|role| link(&format!(" {role} "))).collect();
    let printed = [printed, vec![link("Party A"), link("Party B")]].concat();
    assert_eq!(paths(&page), printed);
    assert_eq!((&page["local"], &page["cameras"]), (&json!(true), &json!(4)));
    assert_eq!(page["robots"]["names"].as_array().unwrap().len(), 2);
    // Nothing for another site's name that leads here, nor for a proxy.
    let foreign = raw_get(address, "demo.example", "/api/v1/demo").await;
    assert!(foreign.contains("\"local\":false") && foreign.contains("\"links\":[]"), "{foreign}");
    assert!(!foreign.contains("enter#") && !foreign.contains("join#"), "{foreign}");
    for (told_by, value) in
        [("x-real-ip", "203.0.113.1"), ("via", "1.1 proxy"), ("x-forwarded-proto", "https")]
    {
        let proxied = get("/api/v1/demo").header(told_by, value).to(address).await.json();
        assert_eq!((&proxied["local"], &proxied["links"]), (&json!(false), &json!([])), "{told_by}");
    }

    for party in ["Party A", "Party B"] {
        let link = link(party);
        let code = link.strip_prefix(&format!("{base}/join#")).unwrap().split('&').next().unwrap().to_owned();
        let joined = post("/api/v1/join", &json!({"code": code})).to(address).await;
        assert_eq!(joined.status, StatusCode::OK);
        assert_eq!(joined.json()["room_name"], "一号调解室");
    }
    let after = paths(&get("/api/v1/demo").to(address).await.json());
    assert_eq!(after[..6], printed[..6]);
    assert!(after[6] != printed[6] && after[7] != printed[7], "a redeemed invitation is another one");
    let read = async |path: &str, token: &str| get(path).token(token).to(address).await.json();
    let regions = read("/api/v1/regions", &tokens[5]).await;
    assert_eq!(depths(&regions), [0, 1, 1, 2, 2, 2, 2]);
    let cameras = read("/api/v1/cameras", &tokens[5]).await;
    let urls: Vec<_> =
        cameras.as_array().unwrap().iter().map(|camera| camera["url"].as_str().unwrap()).collect();
    assert!(urls.iter().all(|url| url.starts_with("rtsp://127.0.0.1:") && !url.contains('@')), "{urls:?}");
    assert_eq!(read("/api/v1/walls", &tokens[3]).await[0]["camera_ids"].as_array().unwrap().len(), 4);

    // The robots may still be drawn, by one more.
    let children = children(pid);
    let read = |child: &str, file: &str| {
        std::fs::read_to_string(format!("/proc/{child}/{file}")).unwrap_or_default()
    };
    let is_camera = |child: &&String| read(child, "cmdline").contains("demo-cameras.py");
    let cameras: Vec<&String> = children.iter().filter(is_camera).collect();
    assert_eq!(cameras.len(), 4);
    // Nothing secret on a command line, which everybody on the machine can read.
    for child in cameras {
        let read = |file: &str| read(child, file);
        let environment = read("environ");
        let mut variables = environment.split('\0');
        let password = variables.find_map(|line| line.strip_prefix("HEWEI_DEMO_CAMERA_PASSWORD=")).unwrap();
        assert!(password.len() >= 20 && !read("cmdline").contains(password));
    }
    let killed = std::process::Command::new("kill").args(["-TERM", &pid.to_string()]).status().unwrap();
    assert!(killed.success());
    let status = tokio::time::timeout(Duration::from_secs(10), demo.wait()).await.unwrap().unwrap();
    assert!(status.success(), "{status}");
    let gone = async {
        while children.iter().any(is_running) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), gone).await.expect("cameras end with the demo");
}

#[tokio::test]
async fn a_normal_server_has_no_demo() {
    let server = crate::server::TestServer::start().await;
    let answer = get("/api/v1/demo").to(server.address()).await;
    assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::NOT_FOUND, "not_found"));
}

/// The whole answer to a GET with this `Host`.
async fn raw_get(address: SocketAddr, host: &str, path: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// How deep each region lies, in the order of the list.
fn depths(regions: &Value) -> Vec<usize> {
    let regions = regions.as_array().unwrap();
    let parent = |region: &Value| regions.iter().find(|other| other["id"] == region["parent_id"]).cloned();
    let mut depths: Vec<_> = regions
        .iter()
        .map(|region| std::iter::successors(parent(region), |above| parent(above)).count())
        .collect();
    depths.sort_unstable();
    depths
}

fn children(pid: u32) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let of_task =
        |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
    tasks
        .flat_map(|task| of_task(task.unwrap()).split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

fn is_running(pid: &String) -> bool {
    Path::new("/proc").join(pid).exists()
}
