//! What the service manager hears.

use std::{os::unix::net::UnixDatagram, time::Duration};

use crate::serve::{PATIENCE, Served};

#[tokio::test]
async fn ready_alive_and_stopping() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let (sender, mut heard) = tokio::sync::mpsc::channel(64);
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok(length) = manager.recv(&mut buffer) {
            if sender.blocking_send(String::from_utf8_lossy(&buffer[..length]).into_owned()).is_err() {
                return;
            }
        }
    });
    let mut served = Served::start_with(folder.path(), |command| {
        command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "3000000");
    })
    .await;
    let mut next =
        async || tokio::time::timeout(PATIENCE, heard.recv()).await.expect("told in time").unwrap();
    assert!(next().await.contains("READY=1"));
    for _ in 0..3 {
        assert_eq!(next().await, "WATCHDOG=1\n");
    }
    // A process that hangs says nothing; one that goes on says it again.
    served.signal("-STOP");
    tokio::time::sleep(Duration::from_secs(1)).await;
    served.signal("-CONT");
    assert_eq!(next().await, "WATCHDOG=1\n");
    served.signal("-TERM");
    while !next().await.contains("STOPPING=1") {}
    assert!(served.ended().await.success());
}
