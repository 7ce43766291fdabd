//! SDP offers read and answers written: the small part of JSEP (RFC 8829) that an answering server needs.
//!
//! The browser always offers. One fixed list of codecs, one transport for all (BUNDLE, RFC 9143), the server is
//! ICE-lite and passive in DTLS.

use std::{fmt::Write as _, io::Cursor};

use hewei_model::{Codec, MediaKind};
use rtc_sdp::description::{media::MediaDescription, session::SessionDescription};

use crate::{ice::Credentials, path::Candidate};

/// The longest offer taken in, in bytes.
pub const OFFER_LEN_MAX: usize = 128 * 1024;
/// The most m-lines of one offer.
pub const MEDIA_MAX: usize = 128;
/// The longest `a=ice-ufrag` and `a=ice-pwd` in bytes (RFC 8839 §5.4).
const ICE_LEN_MAX: usize = 256;

/// Layers of one m-line at the most; of more the first are taken.
pub const LAYERS_MAX: usize = 3;
/// The longest name of a layer (RFC 8852 §3.1: it goes into a one-byte header extension).
const RID_LEN_MAX: usize = 16;

/// The kinds of RTCP feedback that we give or take.
const FEEDBACK: [&str; 4] = ["nack", "nack pli", "ccm fir", "transport-cc"];

/// What our side of ICE is: the same in every answer, restarts included (RFC 9725 §4.3.3).
pub(crate) const ICE_LITE: &str = "a=ice-lite";
pub(crate) const ICE_OPTIONS: &str = "a=ice-options:trickle ice2";

const MID_URI: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
const RID_URI: &str = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id";
const REPAIRED_RID_URI: &str = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id";
const TRANSPORT_CC_URI: &str = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
const AUDIO_LEVEL_URI: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";

/// An offer that cannot be answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// Not SDP.
    #[error("not SDP: {0}")]
    Syntax(String),
    /// Longer than [`OFFER_LEN_MAX`], with more than [`MEDIA_MAX`] m-lines, or something in it longer than it may be.
    #[error("too large")]
    TooLarge,
    /// Something WebRTC requires is not there.
    #[error("no {0}")]
    Missing(&'static str),
    /// An m-line of the offer before is missing or another kind than it was.
    #[error("m-line {0} is not what it was in the offer before")]
    Changed(usize),
}

/// Which way media goes, as the offerer sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The offerer sends (`sendonly`, `sendrecv`): it publishes.
    Sends,
    /// The offerer receives: a slot.
    Receives,
    /// Neither, or the m-line was stopped (port 0).
    Neither,
}

/// What an answer needs of an offer.
#[derive(Debug, Clone)]
pub struct Offer {
    /// `a=ice-ufrag` and `a=ice-pwd`.
    pub ice: Credentials,
    /// `a=fingerprint:sha-256`.
    pub fingerprint: String,
    /// m-lines in order.
    pub media: Vec<OfferedMedia>,
}

/// One m-line of an offer.
#[derive(Debug, Clone)]
pub struct OfferedMedia {
    /// `a=mid`.
    pub mid: String,
    /// Sound or picture; `None` for data channels and what else there may be, which is refused.
    pub kind: Option<MediaKind>,
    /// The word after `m=`, for the answer.
    pub media_word: String,
    /// The protocol after the port, for the answer.
    pub protocol: String,
    /// The first format, for the answer of a refused m-line.
    pub first_format: String,
    /// Direction.
    pub direction: Direction,
    /// Taken out of use by the offerer (port 0, RFC 3264 §8.2); may come back as something else.
    pub stopped: bool,
    /// The codecs that pass through Hewei, in the offerer's order, one payload type each.
    pub codecs: Vec<OfferedCodec>,
    /// The SSRC that the offerer will send with.
    pub ssrc: Option<u32>,
    /// And the one it retransmits with.
    pub rtx_ssrc: Option<u32>,
    /// The layers that the offerer will send at once (RFC 8853), by name, in its order: none, or two at least.
    pub layers: Vec<OfferedLayer>,
    /// Header extension ids.
    pub extensions: Extensions,
}

/// A layer of a simulcast picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferedLayer {
    /// Its name (RFC 8851).
    pub rid: String,
    /// The payload types it is restricted to, if it is.
    pub payload_types: Option<Vec<u8>>,
}

impl OfferedLayer {
    fn takes(&self, payload_type: u8) -> bool {
        self.payload_types.as_ref().is_none_or(|known| known.contains(&payload_type))
    }
}

/// A codec with its payload types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferedCodec {
    /// Codec.
    pub codec: Codec,
    /// Payload type.
    pub payload_type: u8,
    /// Payload type of its retransmissions (RFC 4588).
    pub rtx_payload_type: Option<u8>,
    /// Payload type of packets that carry earlier frames once more (RFC 2198): of Opus alone.
    pub red_payload_type: Option<u8>,
    /// `a=fmtp`, repeated in the answer.
    pub format: Option<String>,
    /// `a=rtcp-fb` values.
    pub feedback: Vec<String>,
}

/// Ids of the header extensions in use (RFC 8285); `None` when not offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extensions {
    /// MID (RFC 9143).
    pub mid: Option<u8>,
    /// Name of a layer (RFC 8852).
    pub rid: Option<u8>,
    /// Name of the layer of which this is a retransmission.
    pub repaired_rid: Option<u8>,
    /// Transport-wide sequence number.
    pub transport_cc: Option<u8>,
    /// Client-to-mixer audio level (RFC 6464).
    pub audio_level: Option<u8>,
}

impl Offer {
    /// Reads an offer.
    ///
    /// # Errors
    /// See [`SdpError`].
    pub fn parse(text: &str) -> Result<Offer, SdpError> {
        if text.len() > OFFER_LEN_MAX {
            return Err(SdpError::TooLarge);
        }
        let sdp = SessionDescription::unmarshal(&mut Cursor::new(text.as_bytes()))
            .map_err(|error| SdpError::Syntax(error.to_string().chars().take(200).collect()))?;
        if sdp.media_descriptions.len() > MEDIA_MAX {
            return Err(SdpError::TooLarge);
        }
        // Transport attributes stand at the session or, the same for all of a bundle, at the first m-line.
        let transport = |key: &'static str| {
            let at_session = sdp.attributes.iter();
            let at_media = sdp.media_descriptions.iter().flat_map(|media| &media.attributes);
            at_session
                .chain(at_media)
                .filter(move |attribute| attribute.key == key)
                .filter_map(|found| found.value.as_deref())
        };
        let fingerprint = transport("fingerprint")
            .find_map(|value| value.split_once(' ').filter(|(hash, _)| hash.eq_ignore_ascii_case("sha-256")))
            .map(|(_, fingerprint)| fingerprint)
            .ok_or(SdpError::Missing("a=fingerprint:sha-256"))?;
        let media: Vec<_> =
            sdp.media_descriptions.iter().enumerate().map(|(at, media)| offered_media(at, media)).collect();
        if media.is_empty() {
            return Err(SdpError::Missing("m-line"));
        }
        Ok(Offer {
            ice: credentials(transport("ice-ufrag").next(), transport("ice-pwd").next())?,
            fingerprint: fingerprint.to_owned(),
            media,
        })
    }
}

impl Offer {
    /// Whether all of it can be taken from a peer that only publishes: one sound and one picture at most, in one of
    /// these codecs (RFC 9725 §4.2, §4.4.2, §4.4.3). The error names the m-line and says what is wrong with it.
    pub fn only_publishes(&self, publish: &[Codec]) -> Result<(), (usize, &'static str)> {
        let mut kinds = Vec::new();
        for (at, media) in self.media.iter().enumerate() {
            let Some(kind) = media.kind else { return Err((at, "is neither audio nor video")) };
            if media.direction != Direction::Sends {
                return Err((at, "is neither sendonly nor sendrecv"));
            }
            if kinds.contains(&kind) {
                return Err((at, "is a second one of its kind"));
            }
            if !media.codecs.iter().any(|codec| publish.contains(&codec.codec)) {
                return Err((at, "has no codec that this server takes"));
            }
            kinds.push(kind);
        }
        Ok(())
    }
}

/// Both of them, within the lengths that RFC 8839 §5.4 allows at most.
pub(crate) fn credentials(ufrag: Option<&str>, pwd: Option<&str>) -> Result<Credentials, SdpError> {
    let ufrag = ufrag.filter(|ufrag| !ufrag.is_empty()).ok_or(SdpError::Missing("a=ice-ufrag"))?;
    let pwd = pwd.filter(|pwd| !pwd.is_empty()).ok_or(SdpError::Missing("a=ice-pwd"))?;
    if ufrag.len() > ICE_LEN_MAX || pwd.len() > ICE_LEN_MAX {
        return Err(SdpError::TooLarge);
    }
    Ok(Credentials { ufrag: ufrag.to_owned(), pwd: pwd.to_owned() })
}

fn offered_media(at: usize, media: &MediaDescription) -> OfferedMedia {
    let value = |key: &str| media.attribute(key).flatten();
    let kind = match media.media_name.media.as_str() {
        "audio" => Some(MediaKind::Audio),
        "video" => Some(MediaKind::Video),
        _ => None,
    };
    let stopped = media.media_name.port.value == 0 && !media.has_attribute("bundle-only");
    let direction = if stopped || media.has_attribute("inactive") {
        Direction::Neither
    } else if media.has_attribute("recvonly") {
        Direction::Receives
    } else {
        Direction::Sends
    };
    let group = values(media, "ssrc-group").find_map(|group| {
        let mut words = group.split_whitespace();
        if words.next() != Some("FID") {
            return None;
        }
        Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
    });
    let extensions = extensions(media);
    // Without their names in the packets, layers cannot be told apart.
    let simulcast = kind == Some(MediaKind::Video) && extensions.rid.is_some();
    let first_ssrc = values(media, "ssrc").find_map(|ssrc| ssrc.split_whitespace().next()?.parse().ok());
    OfferedMedia {
        mid: value("mid").map_or_else(|| at.to_string(), |mid| mid.chars().take(32).collect()),
        kind,
        media_word: media.media_name.media.clone(),
        protocol: media.media_name.protos.join("/"),
        first_format: media.media_name.formats.first().cloned().unwrap_or_else(|| "0".to_owned()),
        direction,
        stopped,
        codecs: kind.map_or_else(Vec::new, |kind| offered_codecs(kind, media)),
        ssrc: group.map(|(ssrc, _)| ssrc).or(first_ssrc),
        rtx_ssrc: group.map(|(_, rtx)| rtx),
        layers: if simulcast { offered_layers(media) } else { Vec::new() },
        extensions,
    }
}

/// The layers of `a=simulcast:send` (RFC 8853 §5.1) that have an `a=rid` with that direction, of alternatives the first.
/// None when there is but one: that is a stream like any other.
fn offered_layers(media: &MediaDescription) -> Vec<OfferedLayer> {
    let mut words = values(media, "simulcast").next().unwrap_or_default().split_whitespace();
    let mut layers: Vec<OfferedLayer> = Vec::new();
    while let (Some(direction), Some(list)) = (words.next(), words.next()) {
        if direction != "send" {
            continue;
        }
        for choice in list.split(';').take(2 * LAYERS_MAX) {
            let rid = choice.split(',').next().unwrap_or_default().trim_start_matches('~');
            if layers.len() < LAYERS_MAX && is_rid(rid) && !layers.iter().any(|known| known.rid == rid) {
                layers.extend(described_layer(media, rid));
            }
        }
    }
    if layers.len() < 2 {
        layers.clear();
    }
    layers
}

fn is_rid(rid: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=RID_LEN_MAX).contains(&rid.len()) && rid.bytes().all(allowed)
}

/// `a=rid:h send pt=97,98;max-width=640`; of the restrictions only the payload types are ours to keep.
fn described_layer(media: &MediaDescription, rid: &str) -> Option<OfferedLayer> {
    values(media, "rid").find_map(|value| {
        let mut words = value.split_whitespace();
        let is_it = words.next() == Some(rid) && words.next() == Some("send");
        let restrictions = words.next().unwrap_or_default();
        let list = restrictions.split(';').find_map(|restriction| restriction.strip_prefix("pt="));
        let payload_types = list.map(|list| list.split(',').filter_map(|known| known.parse().ok()).collect());
        is_it.then(|| OfferedLayer { rid: rid.to_owned(), payload_types })
    })
}

impl OfferedMedia {
    /// The layers that come in this codec, by name: none, or two at least.
    pub(crate) fn layers_of(&self, codec: &OfferedCodec) -> Vec<String> {
        let layers = self.layers.iter().filter(|layer| layer.takes(codec.payload_type));
        let layers: Vec<String> = layers.map(|layer| layer.rid.clone()).collect();
        if layers.len() < 2 { Vec::new() } else { layers }
    }
}

fn values<'a>(media: &'a MediaDescription, key: &'a str) -> impl Iterator<Item = &'a str> {
    media
        .attributes
        .iter()
        .filter(move |attribute| attribute.key == key)
        .filter_map(|found| found.value.as_deref())
}

/// Values that begin with a payload type: `111 opus/48000/2`.
fn by_payload_type<'a>(media: &'a MediaDescription, key: &'a str) -> impl Iterator<Item = (u8, &'a str)> {
    values(media, key).filter_map(|value| {
        let (payload_type, rest) = value.split_once(' ')?;
        Some((payload_type.parse().ok().filter(|payload_type| *payload_type < 128)?, rest.trim()))
    })
}

/// One pass over the attributes, then look-ups: an offer is long when a stranger wants it to be.
fn offered_codecs(kind: MediaKind, media: &MediaDescription) -> Vec<OfferedCodec> {
    let table = |key| {
        let mut table = [None; 128];
        for (payload_type, value) in by_payload_type(media, key) {
            table[usize::from(payload_type)].get_or_insert(value);
        }
        table
    };
    let (names, formats) = (table("rtpmap"), table("fmtp"));
    let (mut rtx, mut red) = ([None; 128], [None; 128]);
    for (payload_type, (name, format)) in (0u8..).zip(names.iter().zip(&formats)) {
        let (Some(name), Some(format)) = (name, format) else { continue };
        let begins = |with: &str| name.get(..4).is_some_and(|name| name.eq_ignore_ascii_case(with));
        // The codec it is about, and what has to be told of it.
        let (about, of) = if begins("rtx/") {
            (format.strip_prefix("apt="), &mut rtx)
        } else if begins("red/") {
            // Each frame of a packet could be of another codec; only those of one are read.
            let mut words = format.split('/');
            let first = words.next();
            (first.filter(|first| words.all(|word| word == *first)), &mut red)
        } else {
            continue;
        };
        let about = about.and_then(|about| about.parse::<u8>().ok());
        if let Some(about) = about.filter(|about| *about < 128) {
            of[usize::from(about)] = Some(payload_type);
        }
    }
    let mut codecs: Vec<OfferedCodec> = Vec::new();
    let mut seen = [false; 128];
    for format in &media.media_name.formats {
        let Some(payload_type) = format.parse::<u8>().ok().filter(|payload_type| *payload_type < 128) else {
            continue;
        };
        let at = usize::from(payload_type);
        if std::mem::replace(&mut seen[at], true) {
            continue;
        }
        let Some(codec) = codec_of(payload_type, names[at]).filter(|codec| codec.kind() == kind) else {
            continue;
        };
        if codec == Codec::H264 && !formats[at].is_some_and(|format| format.contains("packetization-mode=1"))
        {
            continue;
        }
        let offered = OfferedCodec {
            codec,
            payload_type,
            rtx_payload_type: rtx[at],
            red_payload_type: red[at].filter(|_| codec == Codec::Opus),
            format: formats[at].map(str::to_owned),
            feedback: Vec::new(),
        };
        match codecs.iter_mut().find(|known| known.codec == codec) {
            None => codecs.push(offered),
            // Of several profiles take constrained baseline, which every browser encodes and decodes.
            Some(known) if baseline(&offered) && !baseline(known) => *known = offered,
            Some(_) => {}
        }
    }
    for feedback in values(media, "rtcp-fb") {
        let Some((id, feedback)) = feedback.split_once(' ') else { continue };
        for codec in &mut codecs {
            let for_it = id == "*" || id.parse() == Ok(codec.payload_type);
            if for_it && FEEDBACK.contains(&feedback) && !codec.feedback.iter().any(|known| known == feedback)
            {
                codec.feedback.push(feedback.to_owned());
            }
        }
    }
    codecs
}

fn baseline(codec: &OfferedCodec) -> bool {
    codec.format.as_ref().is_some_and(|format| format.to_ascii_lowercase().contains("profile-level-id=42e0"))
}

fn codec_of(payload_type: u8, rtpmap: Option<&str>) -> Option<Codec> {
    let Some(rtpmap) = rtpmap else {
        // Static payload types (RFC 3551 §6) need no rtpmap.
        return match payload_type {
            0 => Some(Codec::Pcmu),
            8 => Some(Codec::Pcma),
            _ => None,
        };
    };
    let mut parts = rtpmap.split('/');
    let (name, rate) = (parts.next()?, parts.next()?.parse::<u32>().ok()?);
    [Codec::H264, Codec::Vp8, Codec::Opus, Codec::Pcma, Codec::Pcmu]
        .into_iter()
        .find(|codec| codec.rtpmap_name().eq_ignore_ascii_case(name) && codec.clock_rate_hz() == rate)
}

fn extensions(media: &MediaDescription) -> Extensions {
    let id_of = |uri: &str| {
        values(media, "extmap").find_map(|extmap| {
            let (id, rest) = extmap.split_once(' ')?;
            let id = id.split('/').next()?.parse().ok().filter(|id| (1..=255).contains(id))?;
            (rest.split_whitespace().next() == Some(uri)).then_some(id)
        })
    };
    Extensions {
        mid: id_of(MID_URI),
        rid: id_of(RID_URI),
        repaired_rid: id_of(REPAIRED_RID_URI),
        transport_cc: id_of(TRANSPORT_CC_URI),
        audio_level: id_of(AUDIO_LEVEL_URI),
    }
}

/// What the answer says of one m-line.
pub enum AnsweredMedia<'a> {
    /// Refused: port 0.
    Refused,
    /// Neither side sends for now.
    Inactive(&'a [OfferedCodec]),
    /// We receive this one codec, in these layers if there are any.
    Receive(&'a OfferedCodec, Vec<&'a str>),
    /// We send any of these codecs.
    Send {
        /// Codecs.
        codecs: &'a [OfferedCodec],
        /// With this SSRC.
        ssrc: u32,
        /// And this one for retransmissions.
        rtx_ssrc: u32,
        /// The stream of the track. Browsers play the sound and picture of one stream in step.
        stream: &'a str,
    },
}

/// The parts of an answer that are the same for all m-lines.
pub struct AnswerTransport<'a> {
    /// `o=` version; goes up by one an answer.
    pub version: u64,
    /// Our fragment and password.
    pub ice: &'a Credentials,
    /// SHA-256 fingerprint of our certificate.
    pub fingerprint: &'a str,
    /// Where we can be reached.
    pub candidates: &'a [Candidate],
    /// CNAME of what we send.
    pub cname: &'a str,
}

/// Writes an answer; `answered` has one entry for each m-line of the offer.
pub fn write_answer(
    offer: &Offer,
    answered: &[AnsweredMedia<'_>],
    transport: &AnswerTransport<'_>,
) -> String {
    let mut out = String::with_capacity(4096);
    let bundle: Vec<&str> = offer
        .media
        .iter()
        .zip(answered)
        .filter(|(_, answer)| !matches!(answer, AnsweredMedia::Refused))
        .map(|(media, _)| media.mid.as_str())
        .collect();
    let line = |out: &mut String, text: std::fmt::Arguments<'_>| {
        // Writing to a string does not fail.
        let _ = out.write_fmt(text);
        out.push_str("\r\n");
    };
    line(&mut out, format_args!("v=0"));
    line(&mut out, format_args!("o=- 1 {} IN IP4 127.0.0.1", transport.version));
    line(&mut out, format_args!("s=-"));
    line(&mut out, format_args!("t=0 0"));
    line(&mut out, format_args!("a=group:BUNDLE {}", bundle.join(" ")));
    line(&mut out, format_args!("a=extmap-allow-mixed"));
    line(&mut out, format_args!("a=msid-semantic: WMS *"));
    line(&mut out, format_args!("{ICE_LITE}"));
    line(&mut out, format_args!("{ICE_OPTIONS}"));
    for (media, answer) in offer.media.iter().zip(answered) {
        let (codecs, direction) = match answer {
            AnsweredMedia::Refused => {
                line(
                    &mut out,
                    format_args!("m={} 0 {} {}", media.media_word, media.protocol, media.first_format),
                );
                line(&mut out, format_args!("c=IN IP4 0.0.0.0"));
                line(&mut out, format_args!("a=mid:{}", media.mid));
                continue;
            }
            AnsweredMedia::Inactive(codecs) => (*codecs, "inactive"),
            AnsweredMedia::Receive(codec, _) => (std::slice::from_ref(*codec), "recvonly"),
            AnsweredMedia::Send { codecs, .. } => (*codecs, "sendonly"),
        };
        let mut formats = String::new();
        for codec in codecs {
            // First, so that a browser uses it.
            if let Some(red) = codec.red_payload_type {
                let _ = write!(formats, " {red}");
            }
            let _ = write!(formats, " {}", codec.payload_type);
            if let Some(rtx) = codec.rtx_payload_type {
                let _ = write!(formats, " {rtx}");
            }
        }
        line(&mut out, format_args!("m={} 9 {}{formats}", media.media_word, media.protocol));
        line(&mut out, format_args!("c=IN IP4 0.0.0.0"));
        line(&mut out, format_args!("a=mid:{}", media.mid));
        line(&mut out, format_args!("a=ice-ufrag:{}", transport.ice.ufrag));
        line(&mut out, format_args!("a=ice-pwd:{}", transport.ice.pwd));
        line(&mut out, format_args!("a=fingerprint:sha-256 {}", transport.fingerprint));
        line(&mut out, format_args!("a=setup:passive"));
        line(&mut out, format_args!("a={direction}"));
        line(&mut out, format_args!("a=rtcp-mux"));
        // RFC 8858 §3; RFC 9725 §4.4.1 demands it of both sides.
        line(&mut out, format_args!("a=rtcp-mux-only"));
        line(&mut out, format_args!("a=rtcp-rsize"));
        let receives = matches!(answer, AnsweredMedia::Receive(..));
        let layers = if let AnsweredMedia::Receive(_, layers) = answer { &layers[..] } else { &[] };
        let sends = matches!(answer, AnsweredMedia::Send { .. });
        let extensions = &media.extensions;
        for (id, uri, wanted) in [
            (extensions.mid, MID_URI, receives),
            (extensions.rid, RID_URI, !layers.is_empty()),
            (extensions.repaired_rid, REPAIRED_RID_URI, !layers.is_empty()),
            (extensions.transport_cc, TRANSPORT_CC_URI, receives || sends),
            (extensions.audio_level, AUDIO_LEVEL_URI, receives && media.kind == Some(MediaKind::Audio)),
        ] {
            if let Some(id) = id.filter(|_| wanted) {
                line(&mut out, format_args!("a=extmap:{id} {uri}"));
            }
        }
        for codec in codecs {
            write_codec(&mut out, codec, receives || sends);
        }
        for rid in layers {
            line(&mut out, format_args!("a=rid:{rid} recv"));
        }
        if !layers.is_empty() {
            line(&mut out, format_args!("a=simulcast:recv {}", layers.join(";")));
        }
        if let AnsweredMedia::Send { ssrc, rtx_ssrc, stream, codecs } = answer {
            line(&mut out, format_args!("a=msid:{stream} {}", media.mid));
            let rtx = codecs.iter().any(|codec| codec.rtx_payload_type.is_some());
            if rtx {
                line(&mut out, format_args!("a=ssrc-group:FID {ssrc} {rtx_ssrc}"));
            }
            line(&mut out, format_args!("a=ssrc:{ssrc} cname:{}", transport.cname));
            if rtx {
                line(&mut out, format_args!("a=ssrc:{rtx_ssrc} cname:{}", transport.cname));
            }
        }
        write_candidates(&mut out, transport.candidates);
    }
    out
}

/// All there are, so that nothing comes after the answer. The earlier of a kind, the better.
pub(crate) fn write_candidates(out: &mut String, candidates: &[Candidate]) {
    for (at, candidate) in candidates.iter().enumerate() {
        let (transport, address, type_preference, local_preference, tcp_type) = match candidate {
            // RFC 8445 §5.1.2.1.
            Candidate::Udp(address) => ("udp", address, 126u32, 65_535 - at as u32, ""),
            // RFC 6544 §4.2: below all of UDP, and 4 is the direction preference of a passive host candidate.
            Candidate::Tcp(address) => {
                ("tcp", address, 90, (4 << 13) + 8_191 - at as u32, " tcptype passive")
            }
        };
        let priority = (type_preference << 24) | (local_preference << 8) | 255;
        let (ip, port) = (address.ip(), address.port());
        // Writing to a string does not fail.
        let _ = write!(out, "a=candidate:{at} 1 {transport} {priority} {ip} {port} typ host{tcp_type}\r\n");
    }
    out.push_str("a=end-of-candidates\r\n");
}

fn write_codec(out: &mut String, codec: &OfferedCodec, active: bool) {
    let payload_type = codec.payload_type;
    let channels = if codec.codec == Codec::Opus { "/2" } else { "" };
    let _ = write!(
        out,
        "a=rtpmap:{payload_type} {}/{}{channels}\r\n",
        codec.codec.rtpmap_name(),
        codec.codec.clock_rate_hz()
    );
    if let Some(format) = &codec.format {
        let _ = write!(out, "a=fmtp:{payload_type} {format}\r\n");
    }
    for feedback in &codec.feedback {
        let in_use = match feedback.as_str() {
            "nack" | "nack pli" | "ccm fir" => codec.codec.kind() == MediaKind::Video,
            "transport-cc" => active,
            _ => false,
        };
        if in_use {
            let _ = write!(out, "a=rtcp-fb:{payload_type} {feedback}\r\n");
        }
    }
    if let Some(red) = codec.red_payload_type {
        let _ = write!(out, "a=rtpmap:{red} red/48000/2\r\na=fmtp:{red} {payload_type}/{payload_type}\r\n");
    }
    if let Some(rtx) = codec.rtx_payload_type {
        let _ = write!(out, "a=rtpmap:{rtx} rtx/90000\r\na=fmtp:{rtx} apt={payload_type}\r\n");
    }
}
