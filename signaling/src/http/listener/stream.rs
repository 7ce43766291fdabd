//! A socket that gives up on a peer who stops reading, and that keeps its descriptor's permit until it closes.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

use super::shares::Descriptor;

/// The longest that the peer may take nothing of what waits for it.
pub(super) const STALL_TIME_MAX: Duration = Duration::from_secs(30);

/// See the module.
pub(super) struct Stream<S> {
    inner: S,
    stall: Pin<Box<Sleep>>,
    stalled: bool,
    _descriptor: Option<Descriptor>,
}

impl<S> Stream<S> {
    pub(super) fn new(inner: S, descriptor: Option<Descriptor>) -> Self {
        let stall = Box::pin(tokio::time::sleep(STALL_TIME_MAX));
        Self { inner, stall, stalled: false, _descriptor: descriptor }
    }

    /// What a write came to; an error when nothing moved for too long.
    fn watch<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = false;
            return written;
        }
        if !self.stalled {
            self.stalled = true;
            self.stall.as_mut().reset(Instant::now() + STALL_TIME_MAX);
        }
        self.stall.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Stream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        self.watch(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.watch(cx, shut)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_stops_reading_is_given_up_and_who_reads_slowly_is_not() {
        let (mut reader, writer) = tokio::io::duplex(16);
        let mut writer = Stream::new(writer, None);
        let started = Instant::now();
        let reading = tokio::spawn(async move {
            for _ in 0..8 {
                tokio::time::sleep(STALL_TIME_MAX - Duration::from_secs(1)).await;
                reader.read_exact(&mut [0; 16]).await.expect("more comes");
            }
            reader
        });
        let error = writer.write_all(&[0; 1_000]).await.expect_err("nobody reads all of it");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let _reader = reading.await.expect("no panic");
        assert_eq!(started.elapsed().as_secs(), (STALL_TIME_MAX * 9).as_secs() - 8);
    }
}
