//! How the engine is set up.

use std::net::{IpAddr, SocketAddr};

use hewei_model::Codec;

/// Settings of the media path.
#[derive(Debug, Clone)]
pub struct Config {
    /// The one UDP port for all media; 0 for any free one.
    pub port: u16,
    /// Address to bind: `0.0.0.0` for all.
    pub bind: IpAddr,
    /// Addresses told to browsers as ICE candidates.
    pub candidates: Vec<IpAddr>,
    /// Addresses told to browsers as ICE candidates over TCP: where connections are taken that are then given to
    /// [`crate::Engine::adopt`]. Empty for none.
    pub tcp_candidates: Vec<SocketAddr>,
    /// Number of shards; 0 for one a core.
    pub shards: usize,
    /// Video codecs accepted from publishers, the preferred one first.
    pub video_codecs: Vec<Codec>,
}
