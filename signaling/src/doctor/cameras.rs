//! Every registered camera: does it answer, take the password, send a picture that browsers can show, and how soon?

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use hewei_cameras::{Address, Camera, Cameras, Credentials, Settings, Sink, State};
use hewei_model::{CameraId, Codec, MediaKind};
use hewei_store::{LIST_LIMIT_MAX, Store};
use tokio::{sync::Semaphore, task::JoinSet};

use super::{
    context::Context,
    database,
    report::{Check, Finding, Verdict, Words, words},
};

/// Looked at side by side.
const AT_ONCE_MAX: usize = 16;
/// Connecting, describing and playing may take five seconds each; then a picture must come.
const TIME_MAX: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// After this many the rest is left out: a run must end.
const CAMERAS_MAX: usize = 5_000;

/// What is known of the cameras.
#[derive(Debug)]
pub(super) struct Facts {
    /// Broken ones first. An error: the list cannot be read.
    cameras: Result<Vec<Probed>, String>,
    left_out: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Probed {
    number: u32,
    name: String,
    outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    /// A whole first picture came (or sound, of a camera without picture).
    Plays {
        codec: Codec,
        first: Duration,
    },
    Failed {
        state: State,
        detail: String,
    },
    /// It connects and no picture comes.
    NoPicture,
    /// What the database says of it cannot be used.
    Unusable(String),
    /// Its credentials are not of this installation's key.
    Unsealable,
}

struct Known {
    number: u32,
    name: String,
    camera: Result<Camera, Outcome>,
}

pub(super) async fn gather(context: &Context) -> Facts {
    let known = match database::open(context).await {
        None => Ok(Vec::new()),
        Some(Err(error)) => Err(error),
        Some(Ok(store)) => {
            let known = list(&store).await.map_err(|error| error.to_string());
            store.close().await;
            known
        }
    };
    let mut known = match known {
        Ok(known) => known,
        Err(error) => return Facts { cameras: Err(error), left_out: 0 },
    };
    let left_out = known.len().saturating_sub(CAMERAS_MAX);
    known.truncate(CAMERAS_MAX);
    let mut cameras = probe_all(known, context.config.cameras.connects_per_second).await;
    cameras.sort_by_key(|probed| (matches!(probed.outcome, Outcome::Plays { .. }), probed.number));
    Facts { cameras: Ok(cameras), left_out }
}

async fn list(store: &Store) -> hewei_store::Result<Vec<Known>> {
    let mut known: Vec<Known> = Vec::new();
    loop {
        let after = known.last().map(|last| last.number);
        let page = store.cameras(after, LIST_LIMIT_MAX).await?;
        if page.is_empty() {
            return Ok(known);
        }
        for row in page {
            let camera = match (row.url.parse::<Address>(), store.camera_credentials(row.id).await) {
                (Err(error), _) => Err(Outcome::Unusable(error.to_string())),
                (_, Err(hewei_store::Error::Unsealable(_))) => Err(Outcome::Unsealable),
                (_, Err(error)) => return Err(error),
                (Ok(address), Ok(credentials)) => {
                    let credentials = credentials
                        .map(|found| Credentials { user: found.username, password: found.password });
                    Ok(Camera { id: row.id, address, credentials })
                }
            };
            known.push(Known { number: row.number, name: row.name, camera });
        }
    }
}

/// When a camera's first picture was whole, and in which codec.
type Firsts = Arc<Mutex<HashMap<CameraId, (Codec, Instant)>>>;

struct FirstPicture {
    id: CameraId,
    video: Option<Codec>,
    audio: Option<Codec>,
    firsts: Firsts,
}

impl Sink for FirstPicture {
    fn track(&mut self, kind: MediaKind, codec: Codec) {
        match kind {
            MediaKind::Video => self.video = Some(codec),
            MediaKind::Audio => self.audio = Some(codec),
        }
    }

    fn packet(&mut self, kind: MediaKind, arrival: Instant, rtp: &[u8]) {
        const MARKER: u8 = 0x80;
        // Each connection's picture begins with a keyframe; its last packet has the marker.
        let codec = match kind {
            MediaKind::Video if rtp.get(1).is_some_and(|byte| byte & MARKER != 0) => self.video,
            MediaKind::Audio if self.video.is_none() => self.audio,
            _ => None,
        };
        if let Some(codec) = codec {
            let mut firsts = self.firsts.lock().unwrap_or_else(PoisonError::into_inner);
            firsts.entry(self.id).or_insert((codec, arrival));
        }
    }

    fn sender_report(&mut self, _kind: MediaKind, _ntp: u64, _rtp_timestamp: u32) {}

    fn end(&mut self) {}
}

async fn probe_all(known: Vec<Known>, connects_per_second: u32) -> Vec<Probed> {
    let firsts = Firsts::default();
    let settings = Settings { connects_per_second, linger: Duration::ZERO, ..Settings::default() };
    let sinks = {
        let firsts = Arc::clone(&firsts);
        move |id| -> Box<dyn Sink> {
            Box::new(FirstPicture { id, video: None, audio: None, firsts: Arc::clone(&firsts) })
        }
    };
    let cameras = Cameras::new(settings, sinks);
    let turns = Arc::new(Semaphore::new(AT_ONCE_MAX));
    let mut probes = JoinSet::new();
    let mut done = Vec::with_capacity(known.len());
    for Known { number, name, camera } in known {
        match camera {
            Err(outcome) => done.push(Probed { number, name, outcome }),
            Ok(camera) => {
                let (cameras, firsts, turns) = (cameras.clone(), Arc::clone(&firsts), Arc::clone(&turns));
                probes.spawn(async move {
                    let _turn = turns.acquire_owned().await;
                    Probed { number, name, outcome: probe(&cameras, &firsts, camera).await }
                });
            }
        }
    }
    while let Some(probed) = probes.join_next().await {
        done.extend(probed);
    }
    cameras.shutdown().await;
    done
}

async fn probe(cameras: &Cameras, firsts: &Firsts, camera: Camera) -> Outcome {
    let id = camera.id;
    cameras.register(camera);
    let Ok(_demand) = cameras.demand(id) else { return Outcome::NoPicture };
    let began = Instant::now();
    loop {
        let first = firsts.lock().unwrap_or_else(PoisonError::into_inner).get(&id).copied();
        if let Some((codec, at)) = first {
            return Outcome::Plays { codec, first: at.saturating_duration_since(began) };
        }
        match cameras.status(id) {
            Some(status)
                if matches!(status.state, State::Unreachable | State::AuthFailed | State::NoMedia) =>
            {
                return Outcome::Failed { state: status.state, detail: status.detail.unwrap_or_default() };
            }
            _ if began.elapsed() > TIME_MAX => return Outcome::NoPicture,
            _ => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let check = Check::Cameras;
    let cameras = match &facts.cameras {
        Ok(cameras) => cameras,
        Err(error) => {
            return vec![Finding::skipped(
                check,
                words(
                    format!("没有查:摄像头的列表读不了({error})。"),
                    format!("Not looked at: the list of cameras cannot be read ({error})."),
                ),
            )];
        }
    };
    if cameras.is_empty() {
        return vec![Finding::pass(check, words("还没有登记摄像头。", "No camera is registered yet."))];
    }
    let mut findings: Vec<Finding> = cameras.iter().map(one).collect();
    if facts.left_out > 0 {
        findings.push(Finding::skipped(
            check,
            words(
                format!("另有 {} 路没有查。", facts.left_out),
                format!("{} more were not looked at.", facts.left_out),
            ),
        ));
    }
    findings
}

fn one(probed: &Probed) -> Finding {
    let Probed { number, name, outcome } = probed;
    let who = words(format!("{number} 号 {name}"), format!("No. {number} {name}"));
    let (said, verdict): (Words, Verdict) = match outcome {
        Outcome::Plays { codec, first } => (
            words(
                format!("{} 能播放,首帧 {} ms。", codec.rtpmap_name(), first.as_millis()),
                format!("{} plays, first picture after {} ms.", codec.rtpmap_name(), first.as_millis()),
            ),
            Verdict::Pass,
        ),
        Outcome::Failed { state: State::AuthFailed, detail } => (
            words(
                format!("摄像头不认用户名或密码({detail})。"),
                format!("it refuses the user name or password ({detail})."),
            ),
            Verdict::Wrong(words(
                "在摄像头自己的网页上核对用户名和密码:登记错了就重新登记这路摄像头,或把摄像头的改成登记的。试错多次会被它锁定一段时间。",
                "See the user name and password on the camera's own page: register the camera anew if the registered ones are wrong, or give the camera those. Too many tries lock it for a while.",
            )),
        ),
        Outcome::Failed { state: State::Unreachable, detail } => (
            words(format!("连不上({detail})。"), format!("it cannot be reached ({detail}).")),
            Verdict::Wrong(words(
                "看它有没有电、网线和地址对不对;在本机 ping 它,并确认 RTSP 端口(一般是 554)没有被防火墙挡住。",
                "See to its power, cable and address; ping it from here, and see that no firewall closes its RTSP port (mostly 554).",
            )),
        ),
        Outcome::Failed { detail, .. } => (
            words(
                format!("连得上,但没有能显示的画面({detail})。"),
                format!("it answers, and sends nothing that can be shown ({detail})."),
            ),
            Verdict::Wrong(words(
                "在摄像头自己的网页上把码流的编码设为 H.264(音频 G.711),并核对地址里的路径。",
                "On the camera's own page set the stream to H.264 (sound G.711), and see to the path in its address.",
            )),
        ),
        Outcome::NoPicture => (
            words(
                format!("{} 秒内没有收到一帧画面。", TIME_MAX.as_secs()),
                format!("no picture came within {} s.", TIME_MAX.as_secs()),
            ),
            Verdict::Wrong(words(
                "看它和本机之间的网络(带宽、丢包);在摄像头上把关键帧间隔设为 1–2 秒。",
                "See to the network between it and this machine (bandwidth, loss); set its keyframe interval to 1–2 s.",
            )),
        ),
        Outcome::Unusable(error) => (
            words(
                format!("登记的地址用不了:{error}。"),
                format!("its registered address cannot be used: {error}."),
            ),
            Verdict::Wrong(words("重新登记它的地址。", "Register its address anew.")),
        ),
        Outcome::Unsealable => (
            words(
                "它的密码用这里的密钥解不开。",
                "its password cannot be opened with the key of this installation.",
            ),
            Verdict::Wrong(words(
                "keys/camera.key 不是存密码时的那个:从备份恢复它,或重新登记这路摄像头。",
                "keys/camera.key is another than when the password was stored: restore it from a backup, or register the camera anew.",
            )),
        ),
    };
    Finding {
        check: Check::Cameras,
        verdict,
        said: words(format!("{}:{}", who.zh, said.zh), format!("{}: {}", who.en, said.en)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probed(number: u32, outcome: Outcome) -> Probed {
        Probed { number, name: "村口".into(), outcome }
    }

    #[test]
    fn each_fault_has_its_own_remedy() {
        let failed = |state| Outcome::Failed { state, detail: "RTSP 401".into() };
        let remedies: std::collections::BTreeSet<String> = [
            failed(State::AuthFailed),
            failed(State::Unreachable),
            failed(State::NoMedia),
            Outcome::NoPicture,
            Outcome::Unusable("no host".into()),
            Outcome::Unsealable,
        ]
        .into_iter()
        .map(|outcome| match one(&probed(1, outcome)).verdict {
            Verdict::Wrong(remedy) => remedy.en,
            other => panic!("{other:?}"),
        })
        .collect();
        assert_eq!(remedies.len(), 6);
        let plays = Outcome::Plays { codec: Codec::H264, first: Duration::from_millis(420) };
        let plays = one(&probed(7, plays));
        assert_eq!(
            (plays.verdict, plays.said.en.as_str()),
            (Verdict::Pass, "No. 7 村口: H264 plays, first picture after 420 ms.")
        );
    }

    #[test]
    fn a_list_that_cannot_be_read_is_no_list_without_cameras() {
        let none = Facts { cameras: Ok(Vec::new()), left_out: 0 };
        assert_eq!(judge(&none)[0].verdict, Verdict::Pass);
        let unread = Facts { cameras: Err("no".into()), left_out: 0 };
        assert_eq!(judge(&unread)[0].verdict, Verdict::Skipped);
        let many = Facts { cameras: Ok(vec![probed(1, Outcome::NoPicture)]), left_out: 3 };
        assert_eq!(judge(&many)[1].verdict, Verdict::Skipped);
    }
}
