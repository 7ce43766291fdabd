//! One robot: knocks, waits, speaks, leaves.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use hewei_api::ws::{EndReason, Participant};
use hewei_client::{Call, CallEvent, Entry, Shape, http};
use hewei_model::{Role, RoomId};
use tokio::{
    sync::watch,
    time::{sleep, sleep_until},
};

use super::{
    Status,
    tape::{Player, TRACKS, Tape},
};
use crate::{rest::cases::make_invitation, state::App};

/// After a fault. A server that stops is gone before the next try.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// After a session that was ended: longer than it takes to see that everybody has gone, so that a robot does not knock
/// at an empty room.
const REST: Duration = Duration::from_secs(6);
/// Without anybody else who is connected.
const ALONE_MAX: Duration = Duration::from_secs(45);

/// A robot and what it needs for all its sittings.
pub(super) struct Robot {
    pub(super) app: App,
    pub(super) room: RoomId,
    pub(super) server: SocketAddr,
    pub(super) name: &'static str,
    pub(super) tape: Arc<Tape>,
    /// Since when the tapes run.
    pub(super) began: Instant,
    /// Whether anybody but robots is there.
    pub(super) company: watch::Receiver<bool>,
    pub(super) status: Arc<Status>,
}

/// How a sitting ended.
enum End {
    /// The mediator ended the session.
    Session,
    /// The robot left, or was sent out: it comes with the next visitor.
    Left,
    /// Something else: it comes back.
    Broken,
}

impl Robot {
    /// Never ends by itself.
    pub(super) async fn live(mut self) {
        let mut token = None;
        // An error means that the demo is over.
        while self.company.wait_for(|somebody| *somebody).await.is_ok() {
            match self.sitting(&mut token).await {
                Ok(End::Session) => sleep(REST).await,
                Ok(End::Left) => {
                    if self.company.wait_for(|somebody| !*somebody).await.is_err() {
                        return;
                    }
                }
                Ok(End::Broken) => sleep(TRY_AGAIN_AFTER).await,
                Err(error) => {
                    tracing::info!(robot = self.name, error = format!("{error:#}"), "a robot tries again");
                    // Perhaps it was the token: a new invitation next time.
                    token = None;
                    sleep(TRY_AGAIN_AFTER).await;
                }
            }
        }
    }

    /// Its token, kept from sitting to sitting, so that one invitation will do.
    async fn token(&self, kept: &mut Option<String>) -> anyhow::Result<String> {
        if let Some(token) = kept {
            return Ok(token.clone());
        }
        let (_, path) = make_invitation(&self.app, self.room, Role::Party, self.name.to_owned())
            .await
            .map_err(|problem| anyhow::anyhow!(problem.into_body().detail))?;
        let code = path.split_once('#').context("an invitation has a code")?.1;
        Ok(kept.insert(http::join(self.server, code, None).await?.token).clone())
    }

    async fn sitting(&mut self, kept: &mut Option<String>) -> anyhow::Result<End> {
        let entry = Entry {
            token: self.token(kept).await?,
            room_id: self.room.to_string(),
            record: true,
            shape: Shape::publishing(TRACKS),
            grows: false,
            comes_back: false,
        };
        let mut call = Call::enter(self.server, entry).await?;
        let mut seat = Seat { status: Arc::clone(&self.status), participant: None };
        let mut player: Option<Player> = None;
        // Since when nobody else is connected, once the robot is in and is told.
        let mut alone = None;
        loop {
            let due = player.as_ref().map(Player::due);
            let leaves_at = alone.map(|since| since + ALONE_MAX);
            tokio::select! {
                event = call.next() => match event? {
                    CallEvent::Welcome { participant_id, .. } => seat.take(participant_id),
                    CallEvent::Connected(_) => {
                        player = Some(Player::new(Arc::clone(&self.tape), self.began, Instant::now()));
                    }
                    CallEvent::Participants(people) if player.is_some() => {
                        let company = self.has_company(&people);
                        alone = if company { None } else { alone.or(Some(Instant::now())) };
                    }
                    CallEvent::Refused(problem) => anyhow::bail!("{}", problem.detail),
                    CallEvent::Ended { reason, .. } => {
                        tracing::debug!(robot = self.name, ?reason, "over");
                        return Ok(match reason {
                            EndReason::SessionEnded => End::Session,
                            EndReason::Replaced | EndReason::TokenExpired | EndReason::ServerStopping => End::Broken,
                            // Somebody wanted it so.
                            _ => End::Left,
                        });
                    }
                    _ => {}
                },
                () = until(due) => {
                    let now = Instant::now();
                    while let Some((track, outgoing)) = player.as_mut().and_then(|player| player.next(now)) {
                        call.send(track, outgoing)?;
                    }
                }
                // Also when the demo is over.
                () = async { drop(self.company.wait_for(|somebody| !*somebody).await) } => return leave(call).await,
                () = until(leaves_at) => return leave(call).await,
            }
        }
    }

    fn has_company(&self, people: &[Participant]) -> bool {
        people.iter().any(|person| (person.connected || person.lobby) && !self.status.is_robot(&person.id))
    }
}

async fn leave(call: Call) -> anyhow::Result<End> {
    call.leave().await?;
    Ok(End::Left)
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// The robot's place among the people of the room, given up however the sitting ends.
struct Seat {
    status: Arc<Status>,
    participant: Option<String>,
}

impl Seat {
    fn take(&mut self, participant: String) {
        self.status.came(&participant);
        self.participant = Some(participant);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(participant) = &self.participant {
            self.status.went(participant);
        }
    }
}
