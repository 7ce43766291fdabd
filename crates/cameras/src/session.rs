//! One RTSP connection to one camera, from the connect to its end.

use std::time::Duration;

use futures_util::StreamExt;
use hewei_model::Codec;
use retina::{
    client::{
        InitialSequenceNumberPolicy, InitialTimestampPolicy, PacketItem, PlayOptions, Playing,
        SessionIdPolicy, SessionOptions, SetupOptions, Stream, Transport,
    },
    codec::{ParametersRef, VideoParametersCodec},
};
use tokio::time::{Instant, Sleep, timeout};

use crate::{Camera, State};

/// Why a connection failed or ended: the state this puts the camera into, and a line for operators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) state: State,
    pub(crate) detail: String,
}

/// One of a camera's streams that is passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Track {
    pub(crate) codec: Codec,
    stream: usize,
}

/// What came from the camera.
pub(crate) enum Received {
    Packet { codec: Codec, packet: retina::rtp::ReceivedPacket },
    SenderReport { codec: Codec, ntp: u64, rtp_timestamp: u32 },
}

/// A connection on which the camera plays.
pub(crate) struct Session {
    camera: Camera,
    session: retina::client::Session<Playing>,
    tracks: Vec<Track>,
    parameter_sets: Option<(Vec<u8>, Vec<u8>)>,
    /// The track without which there is nothing to see: the picture, if there is one.
    watched: Codec,
    media_timeout: Duration,
    last_media: Instant,
    watchdog: std::pin::Pin<Box<Sleep>>,
}

impl Session {
    /// Connects and lets the camera play. `step` is how long the camera may take to describe itself, and again
    /// to start playing; `media_timeout` how long it may then stay silent.
    pub(crate) async fn open(
        camera: &Camera,
        step: Duration,
        media_timeout: Duration,
    ) -> Result<Self, Failure> {
        let options = SessionOptions::default()
            .creds(camera.credentials.as_ref().map(|credentials| retina::client::Credentials {
                username: credentials.user.clone(),
                password: credentials.password.clone(),
            }))
            .session_id(SessionIdPolicy::UseFirst)
            .user_agent(concat!("hewei/", env!("CARGO_PKG_VERSION")).into());
        let describe = retina::client::Session::describe(camera.address.as_url().clone(), options);
        let mut session = timeout(step, describe)
            .await
            .map_err(|_| no_answer(camera, step))?
            .map_err(|error| failure(camera, &error))?;
        let tracks = choose(session.streams())?;
        let parameter_sets = tracks
            .iter()
            .find(|track| track.codec == Codec::H264)
            .and_then(|track| parameter_sets(&session.streams()[track.stream]));
        let watched = tracks.iter().map(|t| t.codec).find(|c| *c == Codec::H264).unwrap_or(tracks[0].codec);

        let play = async {
            for track in &tracks {
                let options = SetupOptions::default().transport(Transport::Tcp(Default::default()));
                session.setup(track.stream, options).await?;
            }
            let options = PlayOptions::default()
                .initial_timestamp(InitialTimestampPolicy::Permissive)
                // Nothing is gained from the announced number, and some cameras announce a wrong one.
                .initial_seq(InitialSequenceNumberPolicy::Ignore);
            session.play(options).await
        };
        let session = timeout(step, play)
            .await
            .map_err(|_| no_answer(camera, step))?
            .map_err(|error| failure(camera, &error))?;
        Ok(Self {
            camera: camera.clone(),
            session,
            tracks,
            parameter_sets,
            watched,
            media_timeout,
            last_media: Instant::now(),
            watchdog: Box::pin(tokio::time::sleep(media_timeout)),
        })
    }

    /// The tracks that are passed on; at least one.
    pub(crate) fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    /// SPS and PPS of the SDP.
    pub(crate) fn parameter_sets(&self) -> Option<(&[u8], &[u8])> {
        self.parameter_sets.as_ref().map(|(sps, pps)| (sps.as_slice(), pps.as_slice()))
    }

    /// Whether this codec's packets are what makes the camera live.
    pub(crate) fn watches(&self, codec: Codec) -> bool {
        self.watched == codec
    }

    /// The next packet or report; an error once the camera is silent or gone. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<Received, Failure> {
        loop {
            let item = tokio::select! {
                // Media first: a watchdog that fires while packets wait would blame the camera for our delay.
                biased;
                item = self.session.next() => item,
                () = &mut self.watchdog => {
                    let silent_until = self.last_media + self.media_timeout;
                    if silent_until <= Instant::now() {
                        return Err(Failure {
                            state: State::NoMedia,
                            detail: format!("no {} for {} s", self.watched, self.media_timeout.as_secs_f32()),
                        });
                    }
                    self.watchdog.as_mut().reset(silent_until);
                    continue;
                }
            };
            let item = match item {
                None => {
                    return Err(Failure {
                        state: State::Unreachable,
                        detail: "the camera closed the connection".into(),
                    });
                }
                Some(Err(error)) => return Err(failure(&self.camera, &error)),
                Some(Ok(item)) => item,
            };
            let codec_of =
                |stream| self.tracks.iter().find(|track| track.stream == stream).map(|track| track.codec);
            match item {
                PacketItem::Rtp(packet) => {
                    let Some(codec) = codec_of(packet.stream_id()) else { continue };
                    if codec == self.watched {
                        self.last_media = Instant::now();
                    }
                    return Ok(Received::Packet { codec, packet });
                }
                PacketItem::Rtcp(compound) => {
                    let Some(codec) = codec_of(compound.stream_id()) else { continue };
                    let report = compound.pkts().find_map(|packet| packet.as_sender_report().ok().flatten());
                    if let Some(report) = report {
                        return Ok(Received::SenderReport {
                            codec,
                            ntp: report.ntp_timestamp().0,
                            rtp_timestamp: report.rtp_timestamp(),
                        });
                    }
                }
                _ => {}
            }
        }
    }
}

/// The first H.264 picture and the first G.711 sound.
fn choose(streams: &[Stream]) -> Result<Vec<Track>, Failure> {
    let find = |fits: fn(&Stream) -> Option<Codec>| {
        streams.iter().enumerate().find_map(|(stream, s)| fits(s).map(|codec| Track { codec, stream }))
    };
    let video = find(|s| (s.media() == "video" && s.encoding_name() == "h264").then_some(Codec::H264));
    let audio = find(|s| {
        let mono = s.channels().is_none_or(|channels| channels.get() == 1);
        match s.encoding_name() {
            "pcma" if mono && s.clock_rate_hz() == 8_000 => Some(Codec::Pcma),
            "pcmu" if mono && s.clock_rate_hz() == 8_000 => Some(Codec::Pcmu),
            _ => None,
        }
    });
    let tracks: Vec<Track> = [video, audio].into_iter().flatten().collect();
    if tracks.is_empty() {
        let offered: Vec<String> = streams
            .iter()
            .take(8)
            .map(|s| format!("{}/{}", plain(s.media(), 16), plain(s.encoding_name(), 24)))
            .collect();
        let offered = if offered.is_empty() { "nothing".into() } else { offered.join(", ") };
        let detail = format!("the camera offers {offered}, but neither H.264 nor G.711");
        return Err(Failure { state: State::NoMedia, detail });
    }
    Ok(tracks)
}

fn parameter_sets(stream: &Stream) -> Option<(Vec<u8>, Vec<u8>)> {
    match stream.parameters()? {
        ParametersRef::Video(parameters) => match parameters.codec_params() {
            VideoParametersCodec::H264 { sps, pps } => Some((sps.to_vec(), pps.to_vec())),
            _ => None,
        },
        _ => None,
    }
}

fn no_answer(camera: &Camera, step: Duration) -> Failure {
    let detail = format!("{} did not answer within {} s", camera.address.host_and_port(), step.as_secs_f32());
    Failure { state: State::Unreachable, detail }
}

fn failure(camera: &Camera, error: &retina::Error) -> Failure {
    match error.status_code() {
        Some(401) => Failure {
            state: State::AuthFailed,
            detail: match camera.credentials {
                Some(_) => "RTSP 401: the camera refuses this user name and password",
                None => "RTSP 401: the camera asks for a user name and password, and none are set",
            }
            .into(),
        },
        Some(403) => Failure {
            state: State::AuthFailed,
            detail: "RTSP 403: the camera forbids this user to watch".into(),
        },
        Some(404) => {
            Failure { state: State::NoMedia, detail: "RTSP 404: no stream at the path of the address".into() }
        }
        Some(status) => Failure { state: State::NoMedia, detail: format!("RTSP {status} from the camera") },
        None => Failure { state: State::Unreachable, detail: technical_line(camera, &error.to_string()) },
    }
}

/// Retina's message without its context lines, and without anything the camera may have sent back to us of what
/// we sent to it: a peer that echoes gets its line dropped whole.
fn technical_line(camera: &Camera, message: &str) -> String {
    let line = plain(message.lines().next().unwrap_or_default(), 200);
    let url = camera.address.as_url();
    let echoes = |secret: &str| secret.len() > 1 && line.contains(secret);
    let leaks = echoes(url.path())
        || url.query().is_some_and(echoes)
        || ["Basic", "Digest", "uthorization"].iter().any(|word| line.contains(word))
        || camera.credentials.as_ref().is_some_and(|c| line.contains(&c.user) || line.contains(&c.password));
    if leaks || line.is_empty() {
        format!("what answers at {} does not speak RTSP as it should", camera.address.host_and_port())
    } else {
        line
    }
}

/// Foreign text made fit for one line: printable, at most `characters` long.
fn plain(text: &str, characters: usize) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(characters).collect()
}

#[cfg(test)]
mod tests {
    use hewei_model::CameraId;

    use super::*;
    use crate::Credentials;

    #[test]
    fn the_technical_line_holds_no_secret() {
        let camera = Camera {
            id: CameraId::from_u128(1),
            address: "rtsp://127.0.0.1/user=x_pw=hunter3?token=t0ps3cret".parse().unwrap(),
            credentials: Some(Credentials { user: "warden".into(), password: "hunter2".into() }),
        };
        for message in [
            "Expected response, got hunter2 response with CSeq 4",
            "got warden response",
            "Bad URL rtsp://127.0.0.1/user=x_pw=hunter3",
            "token=t0ps3cret in message",
            "got Basic d2FyZGVuOmh1bnRlcjI= response with CSeq 4",
        ] {
            let line = technical_line(&camera, message);
            assert_eq!(line, "what answers at 127.0.0.1:554 does not speak RTSP as it should");
        }
        let line = technical_line(&camera, "Unable to connect to RTSP server: Connection refused\n\nconn: …");
        assert_eq!(line, "Unable to connect to RTSP server: Connection refused");
    }
}
