//! `GET /api/v1/health`.

use crate::serve::{Served, Speaker, until};

#[tokio::test]
async fn disk_clock_and_recordings() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::start(folder.path()).await;
    let token = served.token("mediator");
    let health = served.get("/api/v1/health", &token).await;
    let disk = &health["disk"];
    assert_eq!(disk["measured"], false, "{health}");
    assert_eq!(
        (&disk["reserve_bytes"], &disk["may_record"]),
        (&500_000_000.into(), &true.into()),
        "{health}"
    );
    let number = |name: &str| disk[name].as_f64().unwrap();
    assert!(number("total_bytes") >= number("free_bytes") && number("free_bytes") > 0.0, "{health}");
    let hours = (number("free_bytes") - number("reserve_bytes")) / number("bytes_per_hour");
    assert!((number("hours_left") - hours).abs() < 1e-6, "{health}");
    assert!(disk["lasts_until"].is_null(), "nothing was recorded: {health}");
    assert!(
        ["synchronised", "unsynchronised", "unknown"].contains(&health["clock"]["state"].as_str().unwrap())
    );
    assert_eq!(health["version"], env!("CARGO_PKG_VERSION"));

    let room = served.room(&token, "2026-1").await;
    let mut speaker = Speaker::enter(&served, &token, &room).await;
    assert!(speaker.speak(60).await);
    speaker.end_session().await;
    // Answers are some seconds old at most.
    until("the recording is counted", async || {
        let health = served.get("/api/v1/health", &token).await;
        let recordings = &health["recordings"];
        health["disk"]["hours_recorded"].as_f64().unwrap() > 0.0
            && (&recordings["sealed"], &recordings["impaired"], &recordings["failed"])
                == (&1.into(), &0.into(), &0.into())
    })
    .await;
}
