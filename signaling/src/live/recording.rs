//! The recording of one session: its row in the database, and the way to the thread that writes it.
//!
//! A plain thread a recording ([`feed`]) reads the engine's tap and does all the file work. The room tells it what
//! happens over a bounded queue; the row in the database follows its life: recording, sealing, sealed or failed.

mod feed;

use std::{
    path::PathBuf,
    sync::{Arc, mpsc as std_mpsc},
};

use hewei_evidence::journal::Continues;
use hewei_model::{Audience, MediaKind, MonoNs, ParticipantId, Publisher, RecordingId, Role, SessionId};
use hewei_store::RecordingState;
use time::OffsetDateTime;
use tokio::sync::{mpsc, oneshot};

use super::{room, shared::Shared};
use crate::health::too_little_space;

/// Lines that may wait for the recorder's thread. A change of 64 people's audiences are 128; the thread looks every
/// tenth of a second at the latest, unless a disk hangs for as long as this lasts.
const ENTRIES_MAX: usize = 8_192;

/// What recording needs.
#[derive(Debug, Clone)]
pub(super) struct Setup {
    /// The folder of packages.
    pub(super) root: PathBuf,
    /// No recording starts with less free space than this, in bytes; one under way ends at half of it.
    pub(super) reserve_bytes: u64,
    /// Key and certificate.
    pub(super) identity: Arc<hewei_recorder::Identity>,
}

/// What happens in the room, for the journal.
#[derive(Debug, Clone)]
pub(super) enum Entry {
    /// Somebody takes part from now on. `record` is what they said about being recorded; a viewer is not asked.
    Joined { participant: ParticipantId, name: String, role: Role, record: Option<bool> },
    /// Somebody does no longer.
    Left { participant: ParticipantId },
    /// Who may receive a source, as the engine enforces it.
    Audience { publisher: Publisher, kind: MediaKind, audience: Audience },
    /// A microphone or camera was switched off or on.
    Muted { participant: ParticipantId, kind: MediaKind, muted: bool },
    /// Consent to being recorded was given or withdrawn.
    Consent { participant: ParticipantId, record: bool },
}

/// An entry and when it happened.
pub(super) type Stamped = (MonoNs, Entry);

/// A sealed package.
#[derive(Debug)]
struct Sealed {
    package: PathBuf,
    head_hash: String,
    /// What stopped the recording before its session ended.
    fault: Option<String>,
}

/// How a recording ended.
type Outcome = Result<Sealed, String>;

/// The journal's queue is full, or its thread has ended.
#[derive(Debug)]
pub(super) struct NotTaken;

/// A recording under way. Dropping it ends it without a word in the database; see [`Recording::finish`].
pub(super) struct Recording {
    row: hewei_store::Recording,
    entries: std_mpsc::SyncSender<Stamped>,
    outcome: oneshot::Receiver<Outcome>,
}

/// Starts to record a session, or goes on with one that an earlier run of the server recorded. Faults that come later reach the room as a command.
pub(super) async fn start(
    shared: &Shared,
    setup: Setup,
    info: &room::Info,
    session: SessionId,
    room: mpsc::WeakSender<room::Command>,
) -> Result<Recording, String> {
    let id = RecordingId::generate();
    let started_at = OffsetDateTime::now_utc();
    let started_mono = hewei_engine::mono_now();
    if let Some(fault) = too_little_space(&setup.root, setup.reserve_bytes) {
        return Err(fault);
    }
    let row = hewei_store::Recording {
        id,
        session_id: session,
        room_id: info.id,
        case_id: info.case_id,
        state: RecordingState::Recording,
        started_at,
        ended_at: None,
        package: None,
        head_hash: None,
        detail: None,
    };
    let database = |error| format!("the database: {error}");
    // What a package that was cut off is sealed with is not known yet when people are back within a second.
    let before = shared.store.last_recording_of(session).await.map_err(database)?;
    let continues = before.map(|before| Continues {
        recording: before.id,
        head_hash: before.head_hash.and_then(|hash| hash.parse().ok()),
    });
    shared.store.add_recording(&row).await.map_err(database)?;
    let tap = shared.engine.open_tap(info.id).ok_or("the media engine has closed the room")?;
    let meta = hewei_recorder::RecordingMeta {
        recording: id,
        session,
        case_id: info.case_id,
        case_number: info.case_number.clone(),
        case_title: info.case_title.clone(),
        room: info.id,
        room_name: info.name.clone(),
        started_at,
        started_mono,
        continues,
    };
    let (entries, to_write) = std_mpsc::sync_channel(ENTRIES_MAX);
    let (ended, outcome) = oneshot::channel();
    let feed =
        feed::Feed { id, room_id: info.id, engine: shared.engine.clone(), room, tap, entries: to_write };
    let span = tracing::info_span!("recording", recording = %id, room = %info.id);
    let thread = std::thread::Builder::new().name("recorder".to_owned()).spawn(move || {
        let _in_span = span.enter();
        // When nobody waits for the outcome the server has ended.
        let _ = ended.send(feed.run(setup, meta));
    });
    if let Err(error) = thread {
        let fault = format!("no thread for the recorder: {error}");
        settle_row(shared, failed(row, &fault)).await;
        return Err(fault);
    }
    Ok(Recording { row, entries, outcome })
}

#[cfg(test)]
impl Recording {
    /// One without a thread: the lines come out at the other end, and `entries_max` of them may wait.
    pub(super) fn detached(info: &room::Info, entries_max: usize) -> (Self, std_mpsc::Receiver<Stamped>) {
        let row = hewei_store::Recording {
            id: RecordingId::generate(),
            session_id: SessionId::generate(),
            room_id: info.id,
            case_id: info.case_id,
            state: RecordingState::Recording,
            started_at: OffsetDateTime::now_utc(),
            ended_at: None,
            package: None,
            head_hash: None,
            detail: None,
        };
        let (entries, to_write) = std_mpsc::sync_channel(entries_max);
        let (_, outcome) = oneshot::channel();
        (Self { row, entries, outcome }, to_write)
    }
}

impl Recording {
    pub(super) fn id(&self) -> RecordingId {
        self.row.id
    }

    pub(super) fn started_at(&self) -> OffsetDateTime {
        self.row.started_at
    }

    /// Hands a line to the recorder, stamped now. Never waits.
    pub(super) fn journal(&self, entry: Entry) -> Result<(), NotTaken> {
        self.entries.try_send((hewei_engine::mono_now(), entry)).map_err(|_| NotTaken)
    }

    /// Ends the recording: what the tap still holds is written, then the package is sealed, in the background. Its
    /// row says so when this returns. From the first moment on the recording needs nobody who waits for this.
    pub(super) async fn finish(self, shared: &Arc<Shared>) {
        let Recording { row, entries, outcome } = self;
        // The thread takes it as the end.
        drop(entries);
        let row = hewei_store::Recording {
            state: RecordingState::Sealing,
            ended_at: Some(OffsetDateTime::now_utc()),
            ..row
        };
        let (told, said) = oneshot::channel();
        shared.sealing.spawn(sealing(Arc::clone(shared), row, outcome, told));
        // It does not end without a word.
        let _ = said.await;
    }
}

/// What the row says while the package is sealed, and after.
async fn sealing(
    shared: Arc<Shared>,
    row: hewei_store::Recording,
    outcome: oneshot::Receiver<Outcome>,
    told: oneshot::Sender<()>,
) {
    settle_row(&shared, row.clone()).await;
    // Nobody waits any more when the server has ended the room.
    let _ = told.send(());
    let row = match outcome.await {
        Ok(Ok(sealed)) => {
            tracing::info!(recording = %row.id, fault = sealed.fault, "recording sealed");
            hewei_store::Recording {
                state: RecordingState::Sealed,
                package: Some(sealed.package.to_string_lossy().into_owned()),
                head_hash: Some(sealed.head_hash),
                detail: sealed.fault,
                ..row
            }
        }
        Ok(Err(fault)) => failed(row, &fault),
        Err(_) => failed(row, "the recorder's thread has ended"),
    };
    settle_row(&shared, row).await;
}

fn failed(row: hewei_store::Recording, fault: &str) -> hewei_store::Recording {
    tracing::error!(recording = %row.id, %fault, "recording failed");
    let ended_at = row.ended_at.or_else(|| Some(OffsetDateTime::now_utc()));
    hewei_store::Recording { state: RecordingState::Failed, ended_at, detail: Some(fault.to_owned()), ..row }
}

async fn settle_row(shared: &Shared, row: hewei_store::Recording) {
    if let Err(error) = shared.store.update_recording(&row).await {
        // The package on disk is the evidence; the row is found out of date at the next start.
        tracing::error!(%error, recording = %row.id, "the state of a recording could not be written");
    }
}
