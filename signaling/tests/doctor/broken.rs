//! What is broken is found, and its line says what to do.

use std::{
    io::{BufRead, BufReader},
    net::{TcpListener, UdpSocket},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
};

use hewei_model::{CameraId, Role};
use hewei_store::{AuditEntry, Camera, Credentials};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use time::{Duration, OffsetDateTime};

use crate::installation::{Installation, Report};

#[test]
fn a_taken_port_is_told_with_who_has_it() {
    let installation = Installation::new();
    let _tcp = TcpListener::bind(("0.0.0.0", installation.https)).unwrap();
    let _udp = UdpSocket::bind(("0.0.0.0", installation.media)).unwrap();
    let report = installation.doctor(&["ports", "addresses", "call"]);
    let wrong = report.wrong("ports");
    let [(tcp, tcp_remedy), (udp, udp_remedy)] = wrong[..] else { panic!("{}", report.text) };
    let pid = std::process::id();
    assert!(tcp.contains(&format!("TCP 0.0.0.0:{} is taken by", installation.https)), "{tcp}");
    assert!(
        tcp.contains(&format!("(process {pid})")) && tcp_remedy.contains(&format!("kill {pid}")),
        "{tcp}"
    );
    assert!(tcp_remedy.contains("http.listen"), "{tcp_remedy}");
    assert!(udp.contains(&format!("UDP 0.0.0.0:{} is taken by", installation.media)), "{udp}");
    assert!(udp_remedy.contains("media.port"), "{udp_remedy}");
    // All else is looked at all the same.
    assert!(report.passing("call")[0].contains("the media port being taken"), "{}", report.text);
}

#[test]
fn another_server_on_the_port_is_another_server() {
    let (first, second) = (Installation::new(), Installation::new());
    let mut child = first.hewei(&["serve"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let address = format!("127.0.0.1:{}", first.http);
    assert!(
        lines.by_ref().map(Result::unwrap).any(|line| line.contains("listening") && line.contains(&address))
    );
    let child = Killed(child);
    let text = std::fs::read_to_string(second.settings()).unwrap();
    let same_port = text.replace(&second.http.to_string(), &first.http.to_string());
    std::fs::write(second.settings(), same_port).unwrap();
    let report = second.doctor(&["ports"]);
    let (said, remedy) = report.only_wrong("ports");
    assert!(said.contains(&format!("is taken by hewei (process {})", child.0.id())), "{said}");
    assert!(remedy.contains("http.listen"), "{remedy}");
}

#[test]
fn a_full_disk_is_told() {
    let may_mount = Command::new("unshare").args(["--mount", "true"]).status();
    if !may_mount.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: a small disk can be mounted by root alone");
        return;
    }
    let installation = Installation::new();
    std::fs::create_dir(installation.storage()).unwrap();
    // In a mount namespace of its own: nobody else sees the disk, and it goes away with the process.
    let script = "mount -t tmpfs -o size=6m none \"$1\" && shift && exec \"$@\"";
    let doctor = installation.hewei(&["doctor", "--json", "--only", "disk", "--only", "call"]);
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec", script, "sh"]).arg(installation.storage());
    command.arg(doctor.get_program()).args(doctor.get_args());
    let report = Report::of(&command.output().unwrap());
    let (said, remedy) = report.only_wrong("disk");
    assert!(said.starts_with("The disk is full:") && said.contains("6 MB free"), "{said}");
    assert!(remedy.contains("storage.folder") && remedy.contains("larger disk"), "{remedy}");
    let (said, remedy) = report.only_wrong("call");
    assert!(said.contains("was not recorded") && remedy.contains("See disk"), "{said}");
}

#[tokio::test]
async fn a_clock_that_was_set_back_is_told_by_the_audit_log() {
    let installation = Installation::new();
    let store = installation.store().await;
    let in_a_year = OffsetDateTime::now_utc() + Duration::days(365);
    let entry = AuditEntry {
        at: in_a_year,
        actor: "周审计".into(),
        participant_id: None,
        role: Role::Auditor,
        action: "audit.read".into(),
        target: "audit".into(),
        purpose_id: None,
        detail: String::new(),
    };
    store.audit(&entry).await.unwrap();
    store.close().await;
    let report = installation.doctor(&["clock", "database"]);
    let (said, remedy) = report.only_wrong("clock");
    assert!(said.contains("The clock is off") && said.contains(&in_a_year.date().to_string()), "{said}");
    assert!(remedy.contains("timedatectl set-ntp true") && remedy.contains("hold no session"), "{remedy}");
}

/// A certificate for a name that ran out `ago`, in files.
fn certificate(folder: &Path, name: &str, ago: Duration) {
    let now = OffsetDateTime::now_utc();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.not_before = now - Duration::days(400);
    params.not_after = now - ago;
    // As openssl makes them.
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    std::fs::write(folder.join("chain.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    write_key(folder, &key);
}

fn write_key(folder: &Path, key: &KeyPair) {
    std::fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
    std::fs::set_permissions(folder.join("key.pem"), std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn a_wrong_certificate_is_told() {
    let installation = Installation::with("certificate = \"chain.pem\"\nkey = \"key.pem\"");
    let folder = installation.folder.path();
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_lowercase();
    let good_for = -Duration::days(90);
    let check = || installation.doctor(&["certificate"]);

    certificate(folder, &hostname, good_for);
    check().assert_healthy();

    write_key(folder, &KeyPair::generate().unwrap());
    let report = check();
    let (said, remedy) = report.only_wrong("certificate");
    assert!(said.contains("key.pem does not belong to the certificate chain.pem"), "{said}");
    assert!(remedy.contains("http.key"), "{remedy}");

    certificate(folder, &hostname, Duration::days(2));
    let report = check();
    let (said, remedy) = report.only_wrong("certificate");
    assert!(said.contains("ran out on"), "{said}");
    assert!(remedy.contains("Put a good one in its place"), "{remedy}");

    certificate(folder, "elsewhere.invalid", good_for);
    let report = check();
    let (said, remedy) = report.only_wrong("certificate");
    assert!(said.contains("No name of the certificate (elsewhere.invalid) leads to this machine"), "{said}");
    assert!(remedy.contains("for the name or address that people type"), "{remedy}");

    certificate(folder, &hostname, good_for);
    std::fs::set_permissions(folder.join("key.pem"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let report = check();
    assert!(report.only_wrong("certificate").1.contains("chmod 600 key.pem"));

    std::fs::write(folder.join("chain.pem"), "not a certificate").unwrap();
    let report = check();
    assert!(report.only_wrong("certificate").1.contains("PEM"), "{}", report.text);
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const PASSWORD: &str = "the-right-one";
const WRONG_PASSWORD: &str = "the-wr0ng-one";
const USER: &str = "village";

/// A real RTSP server with digest authentication, and its port.
fn camera() -> (Killed, u16) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/cameras.py");
    let child = Command::new("/usr/bin/python3")
        .arg(script)
        .args(["--port", "0", "--user", USER, "--password-from-env"])
        .env("HEWEI_DEMO_CAMERA_PASSWORD", PASSWORD)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 with gst-rtsp-server is needed; see scripts/install.sh");
    let mut child = Killed(child);
    let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let port = lines.next().expect("it listens").strip_prefix("port ").unwrap().parse().unwrap();
    assert_eq!(lines.next().as_deref(), Some("ready"));
    (child, port)
}

#[tokio::test]
async fn a_wrong_password_of_a_camera_is_told_first_and_never_shown() {
    let (_camera, port) = camera();
    let nowhere = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let installation = Installation::new();
    let store = installation.store().await;
    for (number, port, password) in [(1, port, PASSWORD), (2, port, WRONG_PASSWORD), (3, nowhere, PASSWORD)] {
        let camera = Camera {
            id: CameraId::generate(),
            number,
            name: format!("{number} 号村口"),
            region_id: None,
            gb28181_id: None,
            url: format!("rtsp://127.0.0.1:{port}/cam"),
        };
        let credentials = Credentials { username: USER.into(), password: password.into() };
        store.add_camera(&camera, Some(&credentials)).await.unwrap();
    }
    store.close().await;

    let report = installation.doctor(&["cameras"]);
    let numbers: Vec<&str> = report.findings.iter().map(|one| &one["en"].as_str().unwrap()[..5]).collect();
    assert_eq!(numbers, ["No. 2", "No. 3", "No. 1"], "broken ones first: {}", report.text);
    let wrong = report.wrong("cameras");
    assert!(wrong[0].0.contains("it refuses the user name or password (RTSP 401"), "{:?}", wrong[0]);
    assert!(wrong[0].1.contains("register the camera anew"), "{:?}", wrong[0]);
    assert!(wrong[1].0.contains("it cannot be reached") && wrong[1].1.contains("ping"), "{:?}", wrong[1]);
    let plays = report.passing("cameras");
    assert!(
        plays[0].starts_with("No. 1") && plays[0].contains("H264 plays, first picture after"),
        "{plays:?}"
    );
    let words = installation.words(&["cameras"]);
    for secret in [PASSWORD, WRONG_PASSWORD, USER] {
        assert!(!report.text.contains(secret) && !words.contains(secret), "{words}");
    }
    assert!(words.contains("不对 WRONG") && words.contains("→ 在摄像头自己的网页上核对"), "{words}");

    // Another key than the passwords were stored with.
    std::fs::write(installation.storage().join("keys/camera.key"), [9; 32]).unwrap();
    let report = installation.doctor(&["cameras"]);
    assert!(report.wrong("cameras")[0].1.contains("keys/camera.key"), "{}", report.text);
}

#[tokio::test]
async fn open_keys_a_damaged_database_and_wrong_settings_are_told() {
    let installation = Installation::new();
    installation.store().await.close().await;
    let key = installation.storage().join("keys/camera.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let report = installation.doctor(&["settings"]);
    assert!(report.only_wrong("settings").1.contains(&format!("chmod 600 {}", key.display())));

    std::fs::write(installation.storage().join("hewei.sqlite"), "no database, just words ".repeat(200))
        .unwrap();
    let report = installation.doctor(&["database"]);
    assert!(report.only_wrong("database").1.contains("restore it from a backup"), "{}", report.text);

    installation.configure("lisen = 1");
    let report = installation.doctor(&[]);
    let (said, remedy) = report.only_wrong("settings");
    assert!(said.contains("http.lisen is no setting"), "{said}");
    assert!(remedy.contains("hewei check-config"), "{remedy}");
}

#[test]
fn a_doctor_that_cannot_look_says_so_with_2() {
    let installation = Installation::new();
    let output = installation.hewei(&["doctor", "--only", "nothing"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("give one of settings, machine"), "a list");
}
