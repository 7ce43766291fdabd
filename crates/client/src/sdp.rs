//! Offers written and answers read: as much of SDP as this client needs.

use std::{fmt::Write as _, net::SocketAddr};

use hewei_model::{Codec, MediaKind};

use crate::{
    connection::Error,
    track::{LAYERS_MAX, Track},
};

/// What a client offers.
#[derive(Debug, Clone)]
pub struct Shape {
    /// What it publishes, an m-line each, ahead of the slots.
    pub tracks: Vec<Track>,
    /// Slots for sound.
    pub audio_slots: usize,
    /// Slots for pictures.
    pub video_slots: usize,
    /// Offers AES-GCM besides AES-CM, second as Chromium lists it.
    pub gcm: bool,
}

impl Shape {
    /// Publishes these and receives nothing.
    pub fn publishing(codecs: impl IntoIterator<Item = Codec>) -> Shape {
        let tracks = codecs.into_iter().map(Track::new).collect();
        Shape { tracks, audio_slots: 0, video_slots: 0, gcm: true }
    }

    /// Publishes nothing and receives in these many slots.
    pub fn receiving(audio_slots: usize, video_slots: usize) -> Shape {
        Shape { tracks: Vec::new(), audio_slots, video_slots, gcm: true }
    }
}

/// A `recvonly` m-line, as the server answered it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// `a=mid`, by which the server's plan names it.
    pub mid: String,
    /// Sound or picture.
    pub kind: MediaKind,
    /// SSRC of what plays in it; `None` while the server answers it `inactive`.
    pub ssrc: Option<u32>,
    /// SSRC of its retransmissions (RFC 4588).
    pub rtx_ssrc: Option<u32>,
}

/// Payload types, by codec: itself, and of its retransmissions.
pub(crate) const fn payload_types(codec: Codec) -> (u8, Option<u8>) {
    match codec {
        Codec::Vp8 => (96, Some(97)),
        Codec::H264 => (102, Some(103)),
        Codec::Opus => (111, None),
        Codec::Pcmu => (0, None),
        Codec::Pcma => (8, None),
    }
}

/// The codec of a payload type, and whether it is its retransmission.
pub(crate) fn codec_of(payload_type: u8) -> Option<(Codec, bool)> {
    [Codec::H264, Codec::Vp8, Codec::Opus, Codec::Pcmu, Codec::Pcma].into_iter().find_map(|codec| {
        let (own, rtx) = payload_types(codec);
        (own == payload_type || rtx == Some(payload_type)).then_some((codec, rtx == Some(payload_type)))
    })
}

/// The codecs that a slot takes.
const fn slot_codecs(kind: MediaKind) -> &'static [Codec] {
    match kind {
        MediaKind::Audio => &[Codec::Opus, Codec::Pcmu, Codec::Pcma],
        MediaKind::Video => &[Codec::H264, Codec::Vp8],
    }
}

/// Identifiers of the header extensions of a picture in several sizes (RFC 9143 §15.2, RFC 8852 §3.1).
const MID_EXTENSION: u8 = 4;
const RID_EXTENSION: u8 = 10;
/// Names of the sizes, the smallest first.
const RIDS: [u8; LAYERS_MAX] = *b"qhf";

/// Says of a packet which m-line and size it is of, as a header extension of one-byte elements (RFC 8285 §4.2).
pub(crate) fn layer_extension(mid: &str, layer: usize) -> Vec<u8> {
    let mut elements = vec![(MID_EXTENSION << 4) | (mid.len() as u8).saturating_sub(1)];
    elements.extend_from_slice(mid.as_bytes());
    elements.extend([RID_EXTENSION << 4, RIDS[layer]]);
    elements.resize(elements.len().next_multiple_of(4), 0);
    let words = (elements.len() / 4) as u16;
    [&[0xbe, 0xde], &words.to_be_bytes()[..], &elements].concat()
}

fn write_layers(sdp: &mut String, layers: usize) {
    let rids: Vec<char> = RIDS[..layers].iter().copied().map(char::from).collect();
    let _ = write!(
        sdp,
        "a=extmap:{MID_EXTENSION} urn:ietf:params:rtp-hdrext:sdes:mid\r\n\
         a=extmap:{RID_EXTENSION} urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\n"
    );
    for rid in &rids {
        let _ = write!(sdp, "a=rid:{rid} send\r\n");
    }
    let names: Vec<String> = rids.iter().map(char::to_string).collect();
    let _ = write!(sdp, "a=simulcast:send {}\r\n", names.join(";"));
}

/// Our side of the transport.
pub(crate) struct Local<'a> {
    pub(crate) version: u32,
    pub(crate) ufrag: &'a str,
    pub(crate) pwd: &'a str,
    pub(crate) fingerprint: &'a str,
}

/// An offer: first the tracks, then the slots in the order they were asked for.
pub(crate) fn write_offer(tracks: &[Track], slots: &[Slot], local: &Local<'_>) -> String {
    let count = tracks.len() + slots.len();
    let mids = (0..count).map(|mid| mid.to_string()).collect::<Vec<_>>().join(" ");
    let mut sdp = format!(
        "v=0\r\no=- 1 {} IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {mids}\r\na=extmap-allow-mixed\r\n",
        local.version
    );
    for (mid, track) in tracks.iter().enumerate() {
        let (payload_type, rtx) = payload_types(track.codec);
        write_section(&mut sdp, local, &mid.to_string(), "sendonly", &[track.codec]);
        let _ = write!(sdp, "a=msid:- track{mid}\r\n");
        if track.is_simulcast() {
            write_layers(&mut sdp, track.layers);
            continue;
        }
        if rtx.is_some() {
            let _ = write!(sdp, "a=ssrc-group:FID {} {}\r\n", track.ssrc, track.rtx_ssrc);
        }
        for ssrc in std::iter::once(track.ssrc).chain(rtx.map(|_| track.rtx_ssrc)) {
            let _ = write!(sdp, "a=ssrc:{ssrc} cname:client\r\n");
        }
        debug_assert!(payload_type < 128);
    }
    for slot in slots {
        write_section(&mut sdp, local, &slot.mid, "recvonly", slot_codecs(slot.kind));
    }
    sdp
}

fn write_section(sdp: &mut String, local: &Local<'_>, mid: &str, direction: &str, codecs: &[Codec]) {
    let kind = codecs.first().map_or("audio", |codec| codec.kind().as_str());
    let mut formats = String::new();
    for (payload_type, rtx) in codecs.iter().map(|codec| payload_types(*codec)) {
        let _ = write!(formats, " {payload_type}");
        if let Some(rtx) = rtx {
            let _ = write!(formats, " {rtx}");
        }
    }
    let Local { ufrag, pwd, fingerprint, .. } = local;
    let _ = write!(
        sdp,
        "m={kind} 9 UDP/TLS/RTP/SAVPF{formats}\r\nc=IN IP4 0.0.0.0\r\na=mid:{mid}\r\na=ice-ufrag:{ufrag}\r\n\
         a=ice-pwd:{pwd}\r\na=fingerprint:sha-256 {fingerprint}\r\na=setup:actpass\r\na={direction}\r\n\
         a=rtcp-mux\r\na=rtcp-rsize\r\n"
    );
    for codec in codecs {
        let (payload_type, rtx) = payload_types(*codec);
        let channels = if *codec == Codec::Opus { "/2" } else { "" };
        let (name, rate) = (codec.rtpmap_name(), codec.clock_rate_hz());
        let _ = write!(sdp, "a=rtpmap:{payload_type} {name}/{rate}{channels}\r\n");
        match codec {
            Codec::H264 => {
                let _ = write!(
                    sdp,
                    "a=fmtp:{payload_type} level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n"
                );
            }
            Codec::Opus => {
                let _ = write!(sdp, "a=fmtp:{payload_type} minptime=10;useinbandfec=1\r\n");
            }
            _ => {}
        }
        if let Some(rtx) = rtx {
            let _ = write!(
                sdp,
                "a=rtcp-fb:{payload_type} nack\r\na=rtcp-fb:{payload_type} nack pli\r\n\
                 a=rtpmap:{rtx} rtx/90000\r\na=fmtp:{rtx} apt={payload_type}\r\n"
            );
        }
    }
}

/// What an answer says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Answer {
    pub(crate) ufrag: String,
    pub(crate) pwd: String,
    pub(crate) fingerprint: String,
    pub(crate) candidates: Vec<SocketAddr>,
    /// Those that wait for a connection (`tcptype passive`, RFC 6544 §4.5).
    pub(crate) tcp_candidates: Vec<SocketAddr>,
    pub(crate) sections: Vec<Section>,
}

/// One m-line of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Section {
    /// Not refused (port 0).
    pub(crate) taken: bool,
    pub(crate) direction: String,
    pub(crate) formats: Vec<u8>,
    pub(crate) ssrc: Option<u32>,
    pub(crate) rtx_ssrc: Option<u32>,
}

/// What a restart of ICE says of our side, at the first m-line (RFC 8840 §9).
pub(crate) fn write_fragment(kind: MediaKind, local: &Local<'_>) -> String {
    let media = match kind {
        MediaKind::Audio => "audio",
        MediaKind::Video => "video",
    };
    format!(
        "m={media} 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\na=ice-ufrag:{}\r\na=ice-pwd:{}\r\n",
        local.ufrag, local.pwd
    )
}

impl Answer {
    pub(crate) fn parse(sdp: &str) -> Result<Answer, Error> {
        let answer = Self::parse_fragment(sdp)?;
        if answer.fingerprint.is_empty() {
            return Err(Error::Answer("no a=fingerprint:sha-256".to_owned()));
        }
        Ok(answer)
    }

    /// The same of a fragment, which has ICE alone.
    pub(crate) fn parse_fragment(sdp: &str) -> Result<Answer, Error> {
        let mut answer = Answer::default();
        for line in sdp.lines() {
            if let Some(media) = line.strip_prefix("m=") {
                let mut words = media.split(' ').skip(1);
                answer.sections.push(Section {
                    taken: words.next().is_some_and(|port| port != "0"),
                    formats: words.skip(1).filter_map(|format| format.parse().ok()).collect(),
                    ..Section::default()
                });
                continue;
            }
            let Some(attribute) = line.strip_prefix("a=") else { continue };
            let (key, value) = attribute.split_once(':').unwrap_or((attribute, ""));
            match key {
                "ice-ufrag" if answer.ufrag.is_empty() => answer.ufrag = value.to_owned(),
                "ice-pwd" if answer.pwd.is_empty() => answer.pwd = value.to_owned(),
                "fingerprint" => {
                    if let Some(hash) =
                        value.strip_prefix("sha-256 ").filter(|_| answer.fingerprint.is_empty())
                    {
                        answer.fingerprint = hash.to_ascii_uppercase();
                    }
                }
                "candidate" => {
                    let words: Vec<&str> = value.split(' ').collect();
                    if let [_, "1", transport, _, ip, port, ref rest @ ..] = words[..]
                        && let (Ok(ip), Ok(port)) = (ip.parse(), port.parse())
                    {
                        let passive = rest.windows(2).any(|pair| pair == ["tcptype", "passive"]);
                        let known = match transport.to_ascii_lowercase().as_str() {
                            "udp" => &mut answer.candidates,
                            "tcp" if passive => &mut answer.tcp_candidates,
                            _ => continue,
                        };
                        let candidate = SocketAddr::new(ip, port);
                        if !known.contains(&candidate) {
                            known.push(candidate);
                        }
                    }
                }
                _ => {}
            }
            let Some(section) = answer.sections.last_mut() else { continue };
            match key {
                "sendonly" | "recvonly" | "sendrecv" | "inactive" => section.direction = key.to_owned(),
                "ssrc-group" => {
                    if let Some((ssrc, rtx)) =
                        value.strip_prefix("FID ").and_then(|pair| pair.split_once(' '))
                    {
                        (section.ssrc, section.rtx_ssrc) = (ssrc.parse().ok(), rtx.parse().ok());
                    }
                }
                "ssrc" if section.ssrc.is_none() => {
                    section.ssrc = value.split(' ').next().and_then(|ssrc| ssrc.parse().ok());
                }
                _ => {}
            }
        }
        for (what, there) in [
            ("a=ice-ufrag", !answer.ufrag.is_empty()),
            ("a=ice-pwd", !answer.pwd.is_empty()),
            ("a=candidate", !answer.candidates.is_empty()),
        ] {
            if !there {
                return Err(Error::Answer(format!("no {what}")));
            }
        }
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read() {
        let sdp = "v=0\r\na=ice-lite\r\nm=video 9 UDP/TLS/RTP/SAVPF 102 103\r\na=mid:0\r\na=ice-ufrag:uf\r\n\
                   a=ice-pwd:pw\r\na=fingerprint:sha-256 ab:CD\r\na=recvonly\r\n\
                   a=candidate:0 1 udp 2130706431 192.0.2.1 3478 typ host\r\n\
                   a=candidate:1 1 tcp 2130706431 192.0.2.1 9 typ host\r\n\
                   a=candidate:2 1 tcp 1518280447 192.0.2.1 443 typ host tcptype passive\r\n\
                   m=audio 0 UDP/TLS/RTP/SAVPF 111\r\n\
                   m=video 9 UDP/TLS/RTP/SAVPF 102 103\r\na=sendonly\r\na=ssrc-group:FID 5 6\r\na=ssrc:5 cname:x\r\n";
        let answer = Answer::parse(sdp).expect("an answer");
        assert_eq!(
            (answer.ufrag.as_str(), answer.pwd.as_str(), answer.fingerprint.as_str()),
            ("uf", "pw", "AB:CD")
        );
        assert_eq!(answer.candidates, [SocketAddr::from(([192, 0, 2, 1], 3478))]);
        assert_eq!(answer.tcp_candidates, [SocketAddr::from(([192, 0, 2, 1], 443))]);
        let sections: Vec<_> =
            answer.sections.iter().map(|section| (section.taken, section.ssrc, section.rtx_ssrc)).collect();
        assert_eq!(sections, [(true, None, None), (false, None, None), (true, Some(5), Some(6))]);
        assert_eq!(
            (answer.sections[0].direction.as_str(), &answer.sections[0].formats[..]),
            ("recvonly", &[102, 103][..])
        );
    }

    #[test]
    fn an_answer_without_a_candidate_is_refused() {
        let sdp = "m=video 9 X 1\r\na=ice-ufrag:uf\r\na=ice-pwd:pw\r\na=fingerprint:sha-256 AB\r\n";
        assert_eq!(Answer::parse(sdp), Err(Error::Answer("no a=candidate".to_owned())));
    }
}
