//! A real call: two people of foreign WebRTC parts through this program's own routing, with sound and picture,
//! recorded; and whether the recording verifies and its tracks can be read.
//!
//! The call is in a server of its own, in this process, with a storage folder of its own on the same disks; on the
//! media port of the settings when that is free, on any other when not.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow, bail};
use hewei_api::ws::ClientMessage;
use hewei_client::{Call, CallError, CallEvent, Entry, Outgoing, Reception, Shape, Track, http};
use hewei_evidence::verify::{Options, Verdict as Judgement, Verification};
use hewei_model::{CaseId, Codec, MediaKind, RecordingId, Role, RoomId};
use hewei_recorder::{TrackSummary, package};
use hewei_store::RecordingState;
use time::OffsetDateTime;
use tokio::time::{Interval, interval, timeout};

use super::{
    context::{Context, test_folder},
    ports,
    report::{Check, Finding, words},
};
use crate::{config::Config, rest::cases::make_invitation, serve::Server, state::App};

/// How long the two see and hear each other.
const TALK: Duration = Duration::from_secs(4);
/// Until both are connected and hear each other, on a busy machine.
const CONNECT_MAX: Duration = Duration::from_secs(30);
const SEAL_MAX: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(50);
const SOUND_EVERY: Duration = Duration::from_millis(20);
const PICTURE_EVERY: Duration = Duration::from_millis(67);
/// Twenty milliseconds of silence in Opus (RFC 6716 §3.1: CELT, full band, mono, one frame).
const SILENCE: [u8; 3] = [0xf8, 0xff, 0xfe];
/// Two pictures of 160×120, each an IDR with its parameter sets (Annex B). Made by `ffmpeg -f lavfi -i
/// testsrc=s=160x120:r=15 -frames:v 2 -c:v libx264 -profile:v baseline -pix_fmt yuv420p -x264-params
/// keyint=1:crf=40:info=0:repeat-headers=1 -bsf:v filter_units=remove_types=6 -f h264 pictures.h264`.
const PICTURES: &[u8] = include_bytes!("pictures.h264");
/// The shortest that a track of the call may be: all of it but a beginning and an end.
const TRACK_MS_MIN: u64 = 2_000;
/// Loopback loses nothing but what a machine is too busy for.
const LOST_PER_CENT_MAX: u64 = 2;

/// How it went.
#[derive(Debug)]
struct Facts {
    /// The media port of the settings.
    on_own_port: bool,
    port: u16,
    /// Beside a server that runs.
    beside: bool,
    /// `None` when the recording failed before they had talked.
    call: Option<Result<Heard, String>>,
    recording: Option<Result<Recorded, String>>,
}

/// What the two received of each other.
#[derive(Debug, Clone)]
struct Heard {
    profile: String,
    connected_after: Duration,
    /// Of each: sound, picture.
    received: [[Reception; 2]; 2],
}

/// What went wrong with the recording while they talked.
#[derive(Debug, thiserror::Error)]
#[error("recording: {0}")]
struct RecordingFault(String);

/// The package.
#[derive(Debug)]
struct Recorded {
    verification: Verification,
    tracks: Vec<TrackSummary>,
    /// Files of tracks that are not as the journal says.
    unreadable: Vec<String>,
}

pub(super) async fn check(context: &Context) -> Vec<Finding> {
    match gather(context).await {
        Ok(facts) => judge(&facts),
        Err(error) => vec![Finding::wrong(
            Check::Call,
            words(
                format!("试通话的服务器没有启动:{error:#}。"),
                format!("The server for a test call did not start: {error:#}."),
            ),
            words(
                "先照上面各项说的做(多半是磁盘或设置),再查一次。",
                "First do what the lines above say (mostly the disk or the settings), then look again.",
            ),
        )],
    }
}

async fn gather(context: &Context) -> anyhow::Result<Facts> {
    let storage = test_folder(&context.config.storage.folder)?;
    let recordings = test_folder(&context.config.recordings_folder())?;
    let on_own_port = context.server.is_none() && ports::media_is_free(context);
    let config = config(&context.config, on_own_port, storage.path(), recordings.path());
    let server = Server::start(config).await?;
    let port = server.app().engine.port();
    let (call, recording) = match talk(&server).await {
        Ok((heard, recording)) => {
            let recorded = recorded(server.app(), recording).await;
            (Some(Ok(heard)), Some(recorded.map_err(|error| format!("{error:#}"))))
        }
        Err(error) => match error.downcast::<RecordingFault>() {
            Ok(RecordingFault(fault)) => (None, Some(Err(fault))),
            Err(error) => (Some(Err(format!("{error:#}"))), None),
        },
    };
    server.stop().await;
    Ok(Facts { on_own_port, port, beside: context.server.is_some(), call, recording })
}

/// As the settings say, but for the folders, the pages (on loopback alone) and, when it is taken, the media port.
fn config(given: &Config, on_own_port: bool, storage: &Path, recordings: &Path) -> Config {
    let mut config = given.clone();
    config.storage.folder = storage.to_owned();
    config.recording.enabled = true;
    config.recording.folder = Some(recordings.to_owned());
    config.http.listen = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))];
    config.http.certificate = None;
    config.http.key = None;
    // The call is over UDP; whoever holds the number for TCP is for the check of ports to tell.
    config.media.tcp = false;
    if !on_own_port {
        config.media.port = 0;
        config.media.bind = Ipv4Addr::LOCALHOST.into();
    }
    // One address: which of them hear, the check of addresses has asked.
    config.media.addresses = vec![match config.media.bind {
        IpAddr::V4(bind) if bind.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(bind) if bind.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        bind => bind,
    }];
    config
}

/// Somebody in the call.
struct Person {
    call: Call,
    id: String,
    profile: Option<String>,
    sound_at: u32,
    picture_at: u32,
    recording: Option<String>,
}

impl Person {
    /// Comes in by an invitation, as people do.
    async fn enter(server: &Server, address: SocketAddr, room: RoomId, role: Role) -> anyhow::Result<Person> {
        let name = if role == Role::Party { "体检乙" } else { "体检甲" };
        let (_, path) = make_invitation(server.app(), room, role, name.to_owned())
            .await
            .map_err(|problem| anyhow!(problem.into_body().detail))?;
        let code = path.split_once('#').map_or("", |(_, code)| code);
        let grant = http::join(address, code, None).await?;
        let tracks = vec![Track::new(Codec::Opus), Track::new(Codec::H264)];
        let shape = Shape { tracks, audio_slots: 1, video_slots: 1, gcm: true };
        let entry = Entry {
            token: grant.token,
            room_id: room.to_string(),
            record: true,
            shape,
            grows: false,
            comes_back: false,
        };
        let mut call = Call::enter(address, entry).await?;
        let id = loop {
            match call.next().await? {
                CallEvent::Welcome { participant_id, .. } => break participant_id,
                CallEvent::Refused(problem) => bail!(problem.detail),
                _ => {}
            }
        };
        Ok(Person { call, id, profile: None, sound_at: 0, picture_at: 0, recording: None })
    }

    /// Takes in what happens. `true`: the session has ended.
    fn took(&mut self, event: CallEvent) -> anyhow::Result<bool> {
        match event {
            CallEvent::Connected(profile) => self.profile = Some(format!("{profile:?}").to_uppercase()),
            CallEvent::Recording { fault: Some(fault), .. } => return Err(RecordingFault(fault).into()),
            CallEvent::Refused(problem) => bail!(problem.detail),
            CallEvent::Ended { recording_id, .. } => {
                self.recording = recording_id;
                return Ok(true);
            }
            _ => {}
        }
        Ok(false)
    }

    fn send_sound(&mut self) -> anyhow::Result<()> {
        if self.profile.is_some() {
            self.call.send(0, Outgoing { timestamp: self.sound_at, marker: false, payload: &SILENCE })?;
        }
        self.sound_at = self.sound_at.wrapping_add(960);
        Ok(())
    }

    fn send_picture(&mut self, pictures: &[Vec<&[u8]>]) -> anyhow::Result<()> {
        let picture = &pictures[self.picture_at as usize % pictures.len()];
        let timestamp = self.picture_at.wrapping_mul(6_000);
        self.picture_at += 1;
        if self.profile.is_some() {
            for (at, payload) in picture.iter().enumerate() {
                let marker = at + 1 == picture.len();
                self.call.send(1, Outgoing { timestamp, marker, payload })?;
            }
        }
        Ok(())
    }

    fn received(&self) -> [Reception; 2] {
        let of = |kind| {
            self.call.connection().map_or_else(Reception::default, |connection| {
                let slot = connection.slots().iter().position(|slot| slot.kind == kind);
                slot.map_or_else(Reception::default, |slot| connection.received(slot))
            })
        };
        [of(MediaKind::Audio), of(MediaKind::Video)]
    }

    fn hears(&self) -> bool {
        self.received().iter().all(|reception| reception.packets > 0)
    }
}

/// The pictures, each as its NAL units: one packet each (RFC 6184 §5.6).
fn pictures() -> Vec<Vec<&'static [u8]>> {
    const START: &[u8] = &[0, 0, 1];
    const SPS: u8 = 7;
    let mut pictures: Vec<Vec<&[u8]>> = Vec::new();
    let mut starts: Vec<usize> = PICTURES
        .windows(START.len())
        .enumerate()
        .filter(|(_, bytes)| *bytes == START)
        .map(|(at, _)| at)
        .collect();
    starts.push(PICTURES.len());
    for pair in starts.windows(2) {
        let unit = &PICTURES[pair[0] + START.len()..pair[1]];
        // The zero of a four-byte start code belongs to the next unit.
        let unit = unit.strip_suffix(&[0]).unwrap_or(unit);
        if unit.first().is_some_and(|byte| byte & 0x1f == SPS) || pictures.is_empty() {
            pictures.push(Vec::new());
        }
        if let Some(picture) = pictures.last_mut() {
            picture.push(unit);
        }
    }
    pictures
}

/// Two people in a room: the party is let in, both talk, the mediator ends the session.
async fn talk(server: &Server) -> anyhow::Result<(Heard, RecordingId)> {
    let address = server.listening().first().context("the server listens nowhere")?.address;
    let room = room(server.app()).await?;
    let began = Instant::now();
    let enter = |role| timeout(CONNECT_MAX, Person::enter(server, address, room, role));
    let mut mediator = enter(Role::Mediator).await.context("nobody answers")??;
    let mut party = enter(Role::Party).await.context("nobody answers")??;
    mediator.call.say(&ClientMessage::Admit { participant_id: party.id.clone() })?;

    let pictures = pictures();
    let (mut sound, mut picture): (Interval, Interval) = (interval(SOUND_EVERY), interval(PICTURE_EVERY));
    let (mut connected_after, mut ended) = (None, [false; 2]);
    while ended != [true; 2] {
        tokio::select! {
            event = mediator.call.next(), if !ended[0] => ended[0] = mediator.took(event?)?,
            event = party.call.next(), if !ended[1] => ended[1] = party.took(event?)?,
            _ = sound.tick() => {
                mediator.send_sound()?;
                party.send_sound()?;
            }
            _ = picture.tick() => {
                mediator.send_picture(&pictures)?;
                party.send_picture(&pictures)?;
                match connected_after {
                    None if mediator.hears() && party.hears() => connected_after = Some(began.elapsed()),
                    None if began.elapsed() > CONNECT_MAX => {
                        let heard = [mediator.received(), party.received()].concat();
                        let packets: Vec<u64> = heard.iter().map(|reception| reception.packets).collect();
                        bail!("after {CONNECT_MAX:?} not everything was received: {packets:?} packets");
                    }
                    None => {}
                    Some(after) if began.elapsed() > after + TALK => break,
                    Some(_) => {}
                }
            }
        }
    }
    let heard = Heard {
        profile: mediator.profile.clone().unwrap_or_default(),
        connected_after: connected_after.context("the session ended by itself")?,
        received: [mediator.received(), party.received()],
    };
    mediator.call.say(&ClientMessage::EndSession)?;
    let end = async {
        while !ended[0] {
            match mediator.call.next().await {
                Ok(event) => ended[0] = mediator.took(event)?,
                // Media may say goodbye before the session's end is told.
                Err(CallError::Media(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        anyhow::Ok(())
    };
    timeout(CONNECT_MAX, end).await.context("the session does not end")??;
    let recording = mediator.recording.context("the session was not recorded")?;
    Ok((heard, recording.parse().map_err(|_| anyhow!("the recording has no id"))?))
}

async fn room(app: &App) -> anyhow::Result<RoomId> {
    let now = OffsetDateTime::now_utc();
    let case = hewei_store::Case {
        id: CaseId::generate(),
        number: "体检 doctor".to_owned(),
        title: "试通话 test call".to_owned(),
        region_id: None,
        created_at: now,
    };
    app.store.add_case(&case).await?;
    let id = RoomId::generate();
    let name = "试通话 test call".to_owned();
    app.store.add_room(&hewei_store::Room { id, case_id: case.id, name, created_at: now }).await?;
    Ok(id)
}

/// Waits for the seal, then verifies and reads the tracks.
async fn recorded(app: &App, id: RecordingId) -> anyhow::Result<Recorded> {
    let until = Instant::now() + SEAL_MAX;
    let row = loop {
        let row = app.store.recording(id).await?.context("the recording has no row")?;
        match row.state {
            RecordingState::Sealed => break row,
            RecordingState::Failed => bail!(row.detail.unwrap_or_else(|| "it failed".to_owned())),
            _ if Instant::now() > until => bail!("it was not sealed within {SEAL_MAX:?}"),
            _ => tokio::time::sleep(LOOK_EVERY).await,
        }
    };
    let folder = PathBuf::from(row.package.context("the recording has no package")?);
    let (ca_pem, receipt) = (app.identity.ca_pem().to_owned(), row.head_hash);
    tokio::task::spawn_blocking(move || {
        let options = Options { ca_pem: Some(&ca_pem), receipt: receipt.as_deref() };
        let verification = package::verify(&folder, &options)?;
        let tracks = package::tracks(&folder)?;
        let unreadable = tracks.iter().flat_map(|track| unreadable(&folder, track)).collect();
        Ok(Recorded { verification, tracks, unreadable })
    })
    .await?
}

/// Files of a track that cannot be read, or the track's first file when they are not as long as the journal says.
fn unreadable(folder: &Path, track: &TrackSummary) -> Vec<String> {
    let mut bytes = 0;
    let mut wrong = Vec::new();
    for path in track.files.iter().flat_map(|run| run.paths()) {
        match std::fs::read(folder.join(&path)) {
            Ok(read) => bytes += read.len() as u64,
            Err(error) => wrong.push(format!("{path}: {error}")),
        }
    }
    if wrong.is_empty() && bytes != track.bytes {
        let first = track.files.first().map_or("", |run| run.first.as_str());
        wrong.push(format!("{first}: {bytes} bytes in all and not {}", track.bytes));
    }
    wrong
}

fn judge(facts: &Facts) -> Vec<Finding> {
    let port = facts.port;
    let place = match (facts.on_own_port, facts.beside) {
        (true, _) => words(format!("在 UDP {port} 上"), format!("on UDP {port}")),
        (false, true) => words(
            format!("在运行的服务器旁边、UDP {port} 上"),
            format!("beside the running server, on UDP {port}"),
        ),
        (false, false) => words(
            format!("媒体端口被占,改在 UDP {port} 上"),
            format!("the media port being taken, on UDP {port}"),
        ),
    };
    let heard = match &facts.call {
        None => return facts.recording.iter().map(judge_recording).collect(),
        Some(Ok(heard)) => heard,
        Some(Err(error)) => {
            return vec![Finding::wrong(
                Check::Call,
                words(
                    format!("试通话没有成({}):{error}。", place.zh),
                    format!("A test call did not come about ({}): {error}.", place.en),
                ),
                words(
                    format!(
                        "放行本机到 UDP {port} 的包(防火墙、容器的网络);看上面\u{201c}地址\u{201d}和\u{201c}端口\u{201d}两项。"
                    ),
                    format!(
                        "Let datagrams of this machine reach UDP {port} (firewall, network of the container); see addresses and ports above."
                    ),
                ),
            )];
        }
    };
    let mut findings = vec![called(heard, &place.zh, &place.en)];
    if let Some(recording) = &facts.recording {
        findings.push(judge_recording(recording));
    }
    findings
}

fn called(heard: &Heard, place_zh: &str, place_en: &str) -> Finding {
    let all = heard.received.iter().flatten();
    let (packets, lost) = all.fold((0, 0), |(packets, lost), one| (packets + one.packets, lost + one.lost));
    let ms = heard.connected_after.as_millis();
    let profile = &heard.profile;
    let said = words(
        format!(
            "试通话({place_zh}):两人 {ms} ms 后互相听见看见,{profile},收到 {packets} 个包,丢 {lost} 个。"
        ),
        format!(
            "Test call ({place_en}): two people heard and saw each other after {ms} ms, {profile}, {packets} packets received, {lost} lost."
        ),
    );
    match lost * 100 > packets * LOST_PER_CENT_MAX {
        true => Finding::note(
            Check::Call,
            said,
            words(
                "本机自己通话不该丢包:机器太忙,或 UDP 缓冲太小(见上面\u{201c}机器\u{201d})。",
                "On one machine nothing should be lost: it is too busy, or its UDP buffers are too small (see machine above).",
            ),
        ),
        false => Finding::pass(Check::Call, said),
    }
}

fn judge_recording(recording: &Result<Recorded, String>) -> Finding {
    let remedy = || {
        words(
            "看上面\u{201c}磁盘\u{201d}和\u{201c}时钟\u{201d}两项;都通过时,请把这份输出(--json)交给开发者。",
            "See disk and clock above; when both pass, give this output (--json) to the developers.",
        )
    };
    let wrong = |zh: String, en: String| Finding::wrong(Check::Call, words(zh, en), remedy());
    let recorded = match recording {
        Ok(recorded) => recorded,
        Err(error) => {
            return wrong(
                format!("试通话没有录成:{error}。"),
                format!("The test call was not recorded: {error}."),
            );
        }
    };
    let verification = &recorded.verification;
    if verification.verdict != Judgement::Intact || !verification.signer_checked {
        let first = verification.findings.first();
        let first =
            first.map_or_else(String::new, |finding| format!("{}: {}", finding.file, finding.problem));
        return wrong(
            format!("试通话的案件包验证不通过:{first}。"),
            format!("The package of the test call does not verify: {first}."),
        );
    }
    if let Some(first) = recorded.unreadable.first() {
        return wrong(format!("轨道读不出:{first}。"), format!("A track cannot be read: {first}."));
    }
    let long = recorded.tracks.iter().filter(|track| track.duration_ms >= TRACK_MS_MIN);
    let whole: BTreeSet<_> = long.map(|track| (track.participant, track.kind == MediaKind::Video)).collect();
    if whole.len() < 4 {
        let lengths: Vec<u64> = recorded.tracks.iter().map(|track| track.duration_ms).collect();
        return wrong(
            format!("应有两人的声音和画面共 4 条轨道,实有 {} 条({lengths:?} ms)。", recorded.tracks.len()),
            format!(
                "There should be sound and picture of two people, 4 tracks; there are {} ({lengths:?} ms).",
                recorded.tracks.len()
            ),
        );
    }
    let tracks = recorded.tracks.len();
    let shortest =
        recorded.tracks.iter().map(|track| track.duration_ms).min().unwrap_or_default() as f64 / 1e3;
    let Verification { files, journal_lines, seals, .. } = verification;
    Finding::pass(
        Check::Call,
        words(
            format!(
                "录制验证完好:{files} 个文件,{journal_lines} 行日志,{seals} 个签名;{tracks} 条轨道都读得出,最短 {shortest:.1} 秒。"
            ),
            format!(
                "The recording verifies: {files} files, {journal_lines} journal lines, {seals} signatures; its {tracks} tracks read, the shortest {shortest:.1} s."
            ),
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::{super::report::Verdict, *};

    fn heard(lost: u64) -> Heard {
        let one = Reception { packets: 200, lost, ..Reception::default() };
        Heard {
            profile: "SRTP_AEAD_AES_128_GCM".into(),
            connected_after: Duration::from_millis(300),
            received: [[one; 2]; 2],
        }
    }

    fn facts(call: Result<Heard, String>, recording: Option<Result<Recorded, String>>) -> Facts {
        Facts { on_own_port: true, port: 8_443, beside: false, call: Some(call), recording }
    }

    fn recorded_call(verdict: Judgement, tracks: usize) -> Recorded {
        let verification = Verification {
            verdict,
            findings: Vec::new(),
            files: 20,
            journal_lines: 40,
            seals: 2,
            head_hash: None,
            signed_by: None,
            signed_at: None,
            interruptions: Vec::new(),
            signer_checked: true,
        };
        let track = |at: usize| TrackSummary {
            track: hewei_model::TrackId::generate(),
            participant: hewei_model::ParticipantId::from_u128(1 + at as u128 / 2),
            name: "甲".into(),
            role: Role::Party,
            kind: if at.is_multiple_of(2) { MediaKind::Audio } else { MediaKind::Video },
            codec: Codec::Opus,
            content_type: "audio/mp4".into(),
            starts_ms: 0,
            duration_ms: 3_900,
            bytes: 0,
            files: Vec::new(),
        };
        Recorded { verification, tracks: (0..tracks).map(track).collect(), unreadable: Vec::new() }
    }

    fn verdicts(facts: &Facts) -> Vec<Verdict> {
        judge(facts).into_iter().map(|finding| finding.verdict).collect()
    }

    #[test]
    fn a_call_that_is_whole_passes() {
        let good = facts(Ok(heard(0)), Some(Ok(recorded_call(Judgement::Intact, 4))));
        assert_eq!(verdicts(&good), [Verdict::Pass, Verdict::Pass]);
    }

    #[test]
    fn what_is_missing_is_told() {
        assert!(matches!(verdicts(&facts(Err("no answer".into()), None))[..], [Verdict::Wrong(_)]));
        assert!(matches!(verdicts(&facts(Ok(heard(9)), None))[..], [Verdict::Note(_)]));
        let full = Facts { call: None, ..facts(Ok(heard(0)), Some(Err("the disk is full".into()))) };
        assert!(matches!(&verdicts(&full)[..], [Verdict::Wrong(remedy)] if remedy.en.contains("See disk")));
        for recording in [
            Err("the disk is full".to_owned()),
            Ok(recorded_call(Judgement::Altered, 4)),
            Ok(recorded_call(Judgement::Intact, 3)),
            Ok(Recorded { unreadable: vec!["a: gone".into()], ..recorded_call(Judgement::Intact, 4) }),
        ] {
            let facts = facts(Ok(heard(0)), Some(recording));
            assert!(matches!(verdicts(&facts)[..], [Verdict::Pass, Verdict::Wrong(_)]));
        }
    }

    #[test]
    fn the_pictures_are_two_with_their_parameter_sets() {
        let kinds: Vec<Vec<u8>> =
            pictures().iter().map(|picture| picture.iter().map(|unit| unit[0] & 0x1f).collect()).collect();
        assert_eq!(kinds, [[7, 8, 5], [7, 8, 5]]);
        assert!(pictures().iter().flatten().all(|unit| unit.len() <= 1_200), "one packet each");
    }

    /// By a decoder that is not ours, to which every error is one.
    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_recorded_plays_elsewhere() {
        let folder = tempfile::tempdir().expect("a folder");
        let (storage, recordings) = (folder.path().join("data"), folder.path().join("recordings"));
        let server =
            Server::start(config(&Config::default(), false, &storage, &recordings)).await.expect("starts");
        let (heard, id) = talk(&server).await.expect("they talk");
        assert!(heard.received.iter().flatten().all(|reception| reception.packets > 0), "{heard:?}");
        let recorded = recorded(server.app(), id).await.expect("recorded");
        server.stop().await;
        assert_eq!(recorded.tracks.len(), 4);
        let package =
            std::fs::read_dir(&recordings).expect("packages").next().expect("one").expect("read").path();
        for track in recorded.tracks {
            let parts = track.files.iter().flat_map(|run| run.paths());
            let bytes: Vec<u8> =
                parts.flat_map(|part| std::fs::read(package.join(part)).expect("reads")).collect();
            let file = folder.path().join("track.mp4");
            std::fs::write(&file, bytes).expect("written");
            let output = tokio::process::Command::new("ffmpeg")
                .args(["-v", "error", "-xerror", "-i"])
                .arg(&file)
                .args(["-f", "null", "-"])
                .output()
                .await
                .expect("ffmpeg is needed; see scripts/install.sh");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && said.is_empty(), "{} {:?}: {said}", track.name, track.kind);
        }
    }
}
