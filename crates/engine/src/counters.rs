//! What a shard counts. Dropping is counted, not logged.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident $text:literal,)*) => {
        /// One counter.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Counter { $($(#[$doc])* $name,)* }

        const NAMES: &[&str] = &[$($text,)*];
    };
}

counters! {
    /// Datagrams received.
    DatagramsReceived "media_datagrams_received_total",
    /// Datagrams sent.
    DatagramsSent "media_datagrams_sent_total",
    /// Bytes sent.
    BytesSent "media_bytes_sent_total",
    /// System calls to send.
    SendCalls "media_send_calls_total",
    /// Runs sent; datagrams sent by it is the mean length of a run.
    SendRuns "media_send_runs_total",
    /// Datagrams the socket or network refused.
    SendDropped "media_send_dropped_total",
    /// Datagrams that the system dropped since the socket's buffer was full.
    ReceiveOverflow "media_receive_overflow_total",
    /// Bytes that the system lets wait in the sockets, bookkeeping included.
    ReceiveBuffer "media_receive_buffer_bytes",
    /// Datagrams of nobody we know, and what is nothing at all.
    StrangersDropped "media_strangers_dropped_total",
    /// Checks answered.
    StunAnswered "media_stun_answered_total",
    /// Checks that name a peer of ours and are not of its other side.
    StunRefused "media_stun_refused_total",
    /// Checks from unknown addresses beyond what is looked at.
    StunLimited "media_stun_limited_total",
    /// Handshake datagrams beyond the handshakes that go on at a time.
    DtlsDeferred "media_dtls_deferred_total",
    /// Datagrams of DTLS after the handshake that led to nothing.
    DtlsIgnored "media_dtls_ignored_total",
    /// Connections over TCP whose first frame was a good check.
    StreamsTaken "media_tcp_taken_total",
    /// Connections over TCP that were closed since their first frame was none.
    StreamsRefused "media_tcp_refused_total",
    /// Connections over TCP that ended, from whichever side.
    StreamsEnded "media_tcp_ended_total",
    /// Frames received over TCP.
    FramesReceived "media_tcp_frames_received_total",
    /// Frames sent over TCP.
    FramesSent "media_tcp_frames_sent_total",
    /// Frames that were not sent over TCP, since the other side does not read so fast.
    FramesDropped "media_tcp_frames_dropped_total",
    /// Datagrams that came to another shard than their peer's.
    StraysForwarded "media_strays_forwarded_total",
    /// Strays for which the ring was full.
    StraysDropped "media_strays_dropped_total",
    /// Packets before the keys, and packets that belong to no publication.
    RtpRefused "media_rtp_refused_total",
    /// Packets and compounds that do not authenticate.
    Unauthentic "media_unauthentic_total",
    /// Packets and compounds that came before.
    Replayed "media_replayed_total",
    /// Packets and compounds beyond what a peer may send.
    PeerLimited "media_peer_limited_total",
    /// Packets taken in.
    RtpReceived "media_rtp_received_total",
    /// Of them those that a room did not take: they came twice, or too many at once.
    RtpDropped "media_rtp_dropped_total",
    /// Packets asked for again, by us.
    NacksSent "media_nacks_sent_total",
    /// Keyframes asked for, by us.
    KeyframeRequestsSent "media_keyframe_requests_sent_total",
    /// Packets sent again.
    Retransmissions "media_retransmissions_total",
    /// Packets of padding sent, to try how much goes through.
    PaddingSent "media_padding_sent_total",
    /// Records that a tap lost.
    TapLost "media_tap_lost_total",
    /// Packets of cameras for which the ring was full.
    SourceLost "media_source_lost_total",
    /// Peers that connected.
    PeersConnected "media_peers_connected_total",
    /// Peers that went.
    PeersClosed "media_peers_closed_total",
}

/// The counters of one shard, which alone adds to them.
#[derive(Debug)]
pub(crate) struct Counters([AtomicU64; NAMES.len()]);

impl Default for Counters {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Counters {
    pub(crate) fn add(&self, counter: Counter, count: u64) {
        // One writer: a load and a store, not a locked addition.
        let cell = &self.0[counter as usize];
        cell.store(cell.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(crate) fn get(&self, counter: Counter) -> u64 {
        self.0[counter as usize].load(Ordering::Relaxed)
    }

    /// The sums over all shards, with their names.
    pub(crate) fn sum<'a>(all: impl Iterator<Item = &'a Counters>) -> Vec<(&'static str, u64)> {
        let mut sums = vec![0; NAMES.len()];
        for counters in all {
            for (sum, counter) in sums.iter_mut().zip(&counters.0) {
                *sum += counter.load(Ordering::Relaxed);
            }
        }
        NAMES.iter().copied().zip(sums).collect()
    }
}
