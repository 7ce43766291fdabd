//! Bodies read from disk bit by bit, as fast as the client takes them.

use std::{io, path::PathBuf};

use axum::body::Body;
use bytes::Bytes;
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncSeekExt},
    sync::mpsc,
};
use tokio_stream::wrappers::ReceiverStream;

const CHUNK_BYTES: u64 = 64 * 1024;
/// One chunk on the way to the client while the next is read.
const CHUNKS_AHEAD: usize = 2;

/// The way of bytes into a body. An error cuts the body short, so that the client sees that it is not whole.
pub(super) type Sender = mpsc::Sender<io::Result<Bytes>>;

/// A body that `write` fills. It is dropped at its next chunk when the client is gone.
pub(super) fn body<F>(write: impl FnOnce(Sender) -> F) -> Body
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let (sender, chunks) = mpsc::channel(CHUNKS_AHEAD);
    let writing = write(sender.clone());
    tokio::spawn(async move {
        if let Err(error) = writing.await {
            if error.kind() != io::ErrorKind::BrokenPipe {
                tracing::error!(%error, "a download was cut short");
            }
            let _ = sender.send(Err(error)).await;
        }
    });
    Body::from_stream(ReceiverStream::new(chunks))
}

/// `length` bytes from `first` on of files laid end to end.
pub(super) fn files(files: Vec<(PathBuf, u64)>, first: u64, length: u64) -> Body {
    body(move |sender| async move {
        let (mut skip, mut left) = (first, length);
        for (path, bytes) in files {
            if skip >= bytes {
                skip -= bytes;
                continue;
            }
            let part = (bytes - skip).min(left);
            if part == 0 {
                break;
            }
            copy(&path, skip, part, &sender).await?;
            skip = 0;
            left -= part;
        }
        match left {
            0 => Ok(()),
            _ => Err(io::Error::other("the files are shorter than their list says")),
        }
    })
}

/// `length` bytes from `first` on of one file.
pub(super) async fn copy(path: &std::path::Path, first: u64, length: u64, sender: &Sender) -> io::Result<()> {
    let mut file = File::open(path).await?;
    if first > 0 {
        file.seek(io::SeekFrom::Start(first)).await?;
    }
    let mut left = length;
    while left > 0 {
        let mut chunk = vec![0; left.min(CHUNK_BYTES) as usize];
        file.read_exact(&mut chunk).await?;
        left -= chunk.len() as u64;
        send(sender, chunk.into()).await?;
    }
    Ok(())
}

/// Hands a chunk to the client; an error when it is gone.
pub(super) async fn send(sender: &Sender, chunk: Bytes) -> io::Result<()> {
    sender.send(Ok(chunk)).await.map_err(|_| io::ErrorKind::BrokenPipe.into())
}
