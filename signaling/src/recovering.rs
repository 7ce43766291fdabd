//! Recordings that an earlier run of the server left unsealed: killed, or its disk was full. Each is recovered and
//! sealed in the background, and its row says how that went.
//!
//! A row stays `failed` when it cannot be done; it is tried again at every start, since a full disk or a missing folder
//! can be mended, and trying costs little.

use std::sync::Arc;

use hewei_model::Role;
use hewei_recorder::{Expected, Interruption, RecorderError, Recovered};
use hewei_store::{AuditEntry, Recording, RecordingState, Store};
use time::OffsetDateTime;
use tokio::task::JoinHandle;

use crate::state::App;

/// The unsealed recordings, oldest first. To be called at the start, before anything records.
pub async fn find(store: &Store) -> hewei_store::Result<Vec<Recording>> {
    let unsealed = store.take_unsealed_recordings().await?;
    if !unsealed.is_empty() {
        tracing::warn!(recordings = unsealed.len(), "an earlier run left recordings unsealed");
    }
    Ok(unsealed)
}

/// Recovers them one after another, so that what is live has the disk.
pub fn spawn(app: App, unsealed: Vec<Recording>) -> JoinHandle<()> {
    tokio::spawn(async move {
        for row in unsealed {
            let id = row.id;
            if let Err(error) = recover(&app, row).await {
                // It is found unsealed, or failed, at the next start.
                tracing::error!(recording = %id, %error, "what became of an interrupted recording is not written");
            }
        }
    })
}

async fn recover(app: &App, row: Recording) -> hewei_store::Result<()> {
    let package = app.config.recordings_folder().join(row.id.to_string());
    let identity = Arc::clone(&app.identity);
    // Whoever can write there must not have another recording signed as this one, or played by this room's people.
    let expected =
        Expected { recording: row.id, session: row.session_id, room: row.room_id, case_id: row.case_id };
    let done = tokio::task::spawn_blocking(move || {
        hewei_recorder::recover(&package, &expected, &identity, OffsetDateTime::now_utc())
    });
    let result = match done.await {
        Ok(result) => result.map_err(|error| in_words(&error)),
        Err(error) => Err(error.to_string()),
    };
    let (action, after) = match result {
        Ok(recovered) => ("recording.recovered", sealed(&row, &recovered)),
        Err(reason) => {
            let reason = format!("中断的录制未能恢复。Interrupted, and cannot be recovered: {reason}");
            let ended_at = row.ended_at.or_else(|| Some(OffsetDateTime::now_utc()));
            let state = RecordingState::Failed;
            ("recording.unrecoverable", Recording { state, ended_at, detail: Some(reason), ..row.clone() })
        }
    };
    let detail = after.detail.clone().unwrap_or_default();
    if after == row {
        tracing::info!(recording = %row.id, detail, "an interrupted recording still cannot be recovered");
        return Ok(());
    }
    tracing::warn!(recording = %row.id, state = after.state.as_str(), detail, "an interrupted recording");
    let entry = AuditEntry {
        at: OffsetDateTime::now_utc(),
        actor: "server".to_owned(),
        participant_id: None,
        role: Role::Administrator,
        action: action.to_owned(),
        target: row.id.to_string(),
        purpose_id: None,
        detail,
    };
    app.store.audit(&entry).await?;
    app.store.update_recording(&after).await
}

fn sealed(row: &Recording, recovered: &Recovered) -> Recording {
    let ended_at = recovered.interruption.map(|interruption| interruption.last_written);
    let now = OffsetDateTime::now_utc();
    Recording {
        state: RecordingState::Sealed,
        ended_at: ended_at.or(row.ended_at).or(Some(now)),
        package: Some(recovered.sealed.package.to_string_lossy().into_owned()),
        head_hash: Some(recovered.sealed.head_hash.clone()),
        detail: recovered.interruption.as_ref().map(cost_in_words),
        ..row.clone()
    }
}

fn cost_in_words(interruption: &Interruption) -> String {
    let at = hewei_evidence::journal::format_utc(interruption.last_written);
    let mut text = format!("录制于 {at} 中断，已恢复并封存。Interrupted at {at}, recovered and sealed.");
    if interruption.lost_bytes > 0 {
        let lost = interruption.lost_bytes;
        text.push_str(&format!(" 磁盘丢失了 {lost} 字节。The disk had lost {lost} bytes."));
    }
    text
}

/// Why it failed, and what to do.
fn in_words(error: &RecorderError) -> String {
    use std::io::ErrorKind;
    match error {
        RecorderError::File { source, .. } => {
            let remedy = match source.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                    "磁盘已满：请腾出空间后重启。The disk is full: free some space and start again."
                }
                ErrorKind::NotFound => {
                    "文件缺失：若已移走，请放回后重启。Files are missing: put them back and start again."
                }
                _ => "请排除故障后重启。Mend it and start again.",
            };
            format!("{error}. {remedy}")
        }
        error => error.to_string(),
    }
}
