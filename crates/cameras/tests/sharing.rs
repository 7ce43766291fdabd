//! One connection however many watch, none when nobody does.

#![allow(clippy::unwrap_used, reason = "a test may stop at what it did not expect")]

mod support;

use std::time::Duration;

use hewei_cameras::{Settings, State, UnknownCamera};
use support::*;

#[tokio::test]
async fn demands_share_one_connection_until_the_linger_is_over() {
    let source = Source::start(&["--index", "2"]);
    let (cameras, collector) =
        cameras(source.camera(), Settings { linger: Duration::from_secs(2), ..settings() });
    assert_eq!(cameras.status(CAMERA).unwrap().state, State::Idle);
    assert_eq!(source.connections(), 0);

    let first = cameras.demand(CAMERA).unwrap();
    let second = cameras.demand(CAMERA).unwrap();
    until_state(&cameras, State::Live).await;
    assert_eq!(source.connections(), 1);
    assert_eq!(collector.got().pulls, 1);

    // Longer than the linger: the second demand alone keeps the pull.
    drop(first);
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(cameras.status(CAMERA).unwrap().state, State::Live);
    assert_eq!(source.connections(), 1);

    // Back within the linger: the same pull goes on.
    drop(second);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(cameras.status(CAMERA).unwrap().state, State::Live);
    let third = cameras.demand(CAMERA).unwrap();
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(collector.pulls(), (1, 0));
    assert_eq!(source.connections(), 1);

    drop(third);
    until_state(&cameras, State::Idle).await;
    assert_eq!(collector.pulls(), (1, 1));
    until("the connection is closed", || source.connections() == 0).await;

    // A new demand is a new pull.
    let _fourth = cameras.demand(CAMERA).unwrap();
    until_state(&cameras, State::Live).await;
    assert_eq!(collector.got().pulls, 2);
}

#[tokio::test]
async fn shutdown_and_removal_end_pulls() {
    let source = Source::start(&["--index", "3"]);
    let (cameras, collector) = cameras(source.camera(), settings());
    let mut changes = cameras.subscribe();

    let demand = cameras.demand(CAMERA).unwrap();
    until_state(&cameras, State::Live).await;
    cameras.remove(CAMERA).unwrap();
    until("the sink is ended", || collector.got().ended == 1).await;
    until("the connection is closed", || source.connections() == 0).await;
    assert_eq!(cameras.status(CAMERA), None);
    assert_eq!(cameras.demand(CAMERA).unwrap_err(), UnknownCamera(CAMERA));
    assert_eq!(cameras.remove(CAMERA), Err(UnknownCamera(CAMERA)));
    assert_eq!(cameras.update(source.camera()), Err(UnknownCamera(CAMERA)));
    drop(demand);
    let mut states = Vec::new();
    while let Ok((id, status)) = changes.try_recv() {
        assert_eq!(id, CAMERA);
        states.push(status.state);
    }
    assert_eq!(states, [State::Connecting, State::Live, State::Idle]);

    cameras.register(source.camera());
    let _demand = cameras.demand(CAMERA).unwrap();
    until_state(&cameras, State::Live).await;
    cameras.shutdown().await;
    assert_eq!(collector.got().ended, 2);
    until("the connection is closed", || source.connections() == 0).await;
}
