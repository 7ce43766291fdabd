//! Offers taken in and answered: what each m-line becomes.

use hewei_model::{Codec, MediaKind};

use super::{CNAME, Peer};
use crate::{
    bandwidth::Bandwidth,
    ice::Credentials,
    media::{Media, Publication, Slot, Use},
    path::Candidate,
    sdp::{
        AnswerTransport, AnsweredMedia, Direction, Offer, OfferedCodec, OfferedMedia, SdpError, write_answer,
    },
    sdpfrag,
};

/// Streams a peer may begin in its life; each new offer with a new SSRC begins one.
const PUBLICATIONS_MAX: u32 = 64;

impl Peer {
    /// Whether the peer restarts ICE when it calls itself so in an offer or a fragment (RFC 8839 §4.4.1.1.1).
    pub fn is_restart(&self, remote: &Credentials) -> bool {
        self.ice.is_restart(remote)
    }

    /// Restarts ICE without an offer (RFC 9725 §4.3.3): gives what the peer has to know of our new side. Media, keys
    /// and counters stay what they are.
    pub fn restart_ice(
        &mut self,
        local: Credentials,
        remote: Credentials,
        candidates: &[Candidate],
    ) -> String {
        self.ice.restart(local, remote);
        // The m-line that stands for the bundle is the first that was not refused.
        let tagged = self.media.iter().find(|media| !media.stopped && media.kind.is_some());
        let tagged = tagged.map_or((MediaKind::Audio, "0"), |media| {
            (media.kind.unwrap_or(MediaKind::Audio), media.mid.as_str())
        });
        sdpfrag::write(tagged, self.ice.local(), candidates)
    }

    /// Takes an offer in and answers it. `publish` is the codec preference for what the peer sends; empty
    /// refuses publications. With `one_stream` all slots are of one stream, whose sound and picture the browser
    /// plays in step: right only when they come from one publisher. A peer publishes one sound and one picture;
    /// further ones are answered `inactive`. `open_slots` limits how many of the `recvonly` m-lines of each kind
    /// become slots. An offer for which [`Peer::is_restart`] holds comes with new credentials in `restart`; media,
    /// keys and counters stay what they are.
    ///
    /// # Errors
    /// [`SdpError::Changed`] when an m-line of the offer before is gone or of another kind; nothing has changed
    /// then.
    pub fn answer(
        &mut self,
        offer: &Offer,
        publish: &[Codec],
        open_slots: impl Fn(MediaKind) -> usize,
        one_stream: bool,
        candidates: &[Candidate],
        restart: Option<Credentials>,
    ) -> Result<String, SdpError> {
        for (at, known) in self.media.iter().enumerate() {
            // An m-line may come back as another after it was stopped (RFC 8829 §5.2.2); its mid tells.
            let same =
                offer.media.get(at).is_some_and(|media| media.kind == known.kind || media.mid != known.mid);
            if !same {
                return Err(SdpError::Changed(at));
            }
        }
        if offer.fingerprint != self.remote_fingerprint {
            return Err(SdpError::Missing("unchanged a=fingerprint"));
        }
        if let Some(local) = restart {
            self.ice.restart(local, offer.ice.clone());
        }
        let mut slots_left = [
            (MediaKind::Audio, open_slots(MediaKind::Audio)),
            (MediaKind::Video, open_slots(MediaKind::Video)),
        ];
        let mut published = [false; 2];
        for (at, offered) in offer.media.iter().enumerate() {
            let known = self
                .media
                .get_mut(at)
                .filter(|media| media.mid == offered.mid)
                .map(|media| std::mem::replace(&mut media.used, Use::Unused));
            let used = match offered.direction {
                Direction::Sends => {
                    let taken = &mut published[usize::from(offered.kind == Some(MediaKind::Video))];
                    let left = PUBLICATIONS_MAX - self.publications;
                    let used = if *taken { Use::Unused } else { publication(known, offered, publish, left) };
                    if let Use::Publication(publication) = &used {
                        *taken = true;
                        self.publications += u32::from(publication.is_new);
                    }
                    used
                }
                Direction::Receives if !offered.codecs.is_empty() => {
                    let left = slots_left.iter_mut().find(|(kind, _)| Some(*kind) == offered.kind);
                    match left {
                        Some((_, left)) if *left > 0 => {
                            *left -= 1;
                            self.open_slot(known, offered)
                        }
                        _ => Use::Unused,
                    }
                }
                _ => Use::Unused,
            };
            let media =
                Media { mid: offered.mid.clone(), kind: offered.kind, stopped: offered.stopped, used };
            if at == self.media.len() {
                self.media.push(media);
            } else {
                self.media[at] = media;
            }
        }
        self.answers += 1;
        Ok(self.write_answer(offer, one_stream, candidates))
    }

    fn open_slot(&mut self, known: Option<Use>, offered: &OfferedMedia) -> Use {
        let tells = |codec: &OfferedCodec| codec.feedback.iter().any(|kind| kind == "transport-cc");
        let transport_cc = offered.extensions.transport_cc.filter(|_| offered.codecs.iter().any(tells));
        if transport_cc.is_some() {
            self.bandwidth.get_or_insert_with(|| Box::new(Bandwidth::new()));
        }
        let codecs = offered.codecs.clone();
        let red = codecs.iter().find_map(|codec| codec.red_payload_type);
        if let Some(Use::Slot(mut slot)) = known {
            (slot.codecs, slot.transport_cc) = (codecs, transport_cc);
            slot.repeats = red.map(|_| slot.repeats.take().unwrap_or_default());
            return Use::Slot(slot);
        }
        let ssrc = self.next_ssrc;
        self.next_ssrc = self.next_ssrc.wrapping_add(2);
        Use::Slot(Box::new(Slot {
            codecs,
            transport_cc,
            ssrc,
            rtx_ssrc: ssrc.wrapping_add(1),
            rtx_seq: 0,
            repeats: red.map(|_| Box::default()),
            packets: 0,
            octets: 0,
        }))
    }

    fn write_answer(&self, offer: &Offer, one_stream: bool, candidates: &[Candidate]) -> String {
        let answered: Vec<AnsweredMedia<'_>> = offer
            .media
            .iter()
            .zip(&self.media)
            .map(|(offered, media)| match &media.used {
                Use::Publication(publication) => {
                    let layers = publication.streams.iter().filter_map(|stream| stream.rid.as_deref());
                    let mut codecs = offered.codecs.iter();
                    let codec = codecs.find(|codec| codec.codec == publication.codec);
                    codec.map_or(AnsweredMedia::Refused, |codec| {
                        AnsweredMedia::Receive(codec, layers.collect())
                    })
                }
                Use::Slot(slot) => AnsweredMedia::Send {
                    codecs: &offered.codecs,
                    ssrc: slot.ssrc,
                    rtx_ssrc: slot.rtx_ssrc,
                    stream: if one_stream { CNAME } else { &media.mid },
                },
                Use::Unused if media.stopped || offered.codecs.is_empty() => AnsweredMedia::Refused,
                Use::Unused => AnsweredMedia::Inactive(&offered.codecs),
            })
            .collect();
        write_answer(
            offer,
            &answered,
            &AnswerTransport {
                version: self.answers,
                ice: self.ice.local(),
                fingerprint: self.identity.fingerprint(),
                candidates,
                cname: CNAME,
            },
        )
    }
}

/// The use of a m-line that the peer sends on. `left` is how many new streams it may still begin.
fn publication(known: Option<Use>, offered: &OfferedMedia, publish: &[Codec], left: u32) -> Use {
    let mut preference = publish.iter().filter(|codec| Some(codec.kind()) == offered.kind);
    let Some(codec) =
        preference.find_map(|codec| offered.codecs.iter().find(|offered| offered.codec == *codec))
    else {
        return Use::Unused;
    };
    let rids = offered.layers_of(codec);
    match known {
        // A running publication keeps its counters, unless it became another stream.
        Some(Use::Publication(mut running))
            if running.payload_type == codec.payload_type
                && running.is_of(&rids)
                && (!rids.is_empty()
                    || offered.ssrc.is_none()
                    || running.streams[0].ssrc == offered.ssrc) =>
        {
            running.extensions = offered.extensions;
            let given = running.red.take().map(|(_, given)| given).unwrap_or_default();
            running.red = codec.red_payload_type.map(|payload_type| (payload_type, given));
            running.is_new = false;
            Use::Publication(running)
        }
        _ if left == 0 => Use::Unused,
        _ => Use::Publication(Box::new(Publication::new(
            codec,
            offered.ssrc,
            offered.rtx_ssrc,
            rids,
            offered.extensions,
        ))),
    }
}
