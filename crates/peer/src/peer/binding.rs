//! Which publication a packet belongs to, and which of its streams.

use hewei_media::rtp;

use crate::media::{Media, MediaIndex, Publication, Use};

/// The m-line of a packet and the layer: by SSRC; else by the names that it carries, MID and for a layer RID (RFC 8852);
/// else, when it is no layer, the only publication with its payload type (RFC 9143 §9.2).
pub(super) fn find(media: &mut [Media], header: &rtp::Header, packet: &[u8]) -> Option<(MediaIndex, usize)> {
    let index = |at: usize| MediaIndex(at as u16);
    let by_ssrc = publications(media).find_map(|(at, publication)| {
        let mut streams = publication.streams.iter();
        let ssrc = Some(header.ssrc);
        streams.position(|stream| stream.ssrc == ssrc || stream.rtx_ssrc == ssrc).map(|layer| (at, layer))
    });
    if let Some((at, layer)) = by_ssrc {
        return Some((index(at), layer));
    }
    let is_media = |publication: &Publication| {
        header.payload_type == publication.payload_type
            || publication.red.as_ref().is_some_and(|(payload_type, _)| *payload_type == header.payload_type)
    };
    let takes = |publication: &Publication| {
        is_media(publication) || Some(header.payload_type) == publication.rtx_payload_type
    };
    let carries = |id: Option<u8>, name: &str| {
        id.and_then(|id| header.extension(packet, id)).is_some_and(|said| said == name.as_bytes())
    };
    let by_mid = publications(media)
        .find(|(at, publication)| takes(publication) && carries(publication.extensions.mid, &media[*at].mid));
    let (at, _) = by_mid.or_else(|| {
        let mut fitting = publications(media).filter(|(_, publication)| takes(publication));
        let only = fitting.next()?;
        fitting.next().is_none().then_some(only)
    })?;
    let Use::Publication(publication) = &mut media[at].used else { return None };
    let is_media = is_media(publication);
    let extensions = publication.extensions;
    let named = if is_media { extensions.rid } else { extensions.repaired_rid };
    let layer = publication
        .streams
        .iter()
        .position(|stream| stream.rid.as_ref().is_none_or(|rid| carries(named, rid)))?;
    let stream = &mut publication.streams[layer];
    let latched = if is_media { &mut stream.ssrc } else { &mut stream.rtx_ssrc };
    // A stream that was signalled or heard before is not replaced by another: that takes a new offer.
    (*latched.get_or_insert(header.ssrc) == header.ssrc).then(|| (index(at), layer))
}

fn publications(media: &[Media]) -> impl Iterator<Item = (usize, &Publication)> {
    media.iter().enumerate().filter_map(|(at, media)| match &media.used {
        Use::Publication(publication) => Some((at, &**publication)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use hewei_model::Codec;

    use super::*;
    use crate::{Credentials, Identity, Peer, Secrets, sdp::Offer};

    /// Ids of the header extensions in Chromium's offer, and of its VP8.
    const MID: u8 = 4;
    const RID: u8 = 10;
    const REPAIRED_RID: u8 = 11;
    const VP8: u8 = 96;
    const RTX: u8 = 97;

    fn media() -> Vec<Media> {
        media_of(&Offer::parse(include_str!("../../tests/offers/chromium-layers.sdp")).expect("an offer"))
    }

    fn media_of(offer: &Offer) -> Vec<Media> {
        let ice = Credentials { ufrag: "ours".into(), pwd: "our-password-of-some-length".into() };
        let identity = Identity::generate().expect("generates");
        let mut peer = Peer::new(Instant::now(), identity, Secrets { ice, first_ssrc: 1 }, offer);
        peer.answer(offer, &[Codec::Vp8, Codec::Opus], |_| 0, false, &[], None).expect("answers");
        peer.media
    }

    fn packet(payload_type: u8, ssrc: u32, names: &[(u8, &str)]) -> Vec<u8> {
        let mut packet = vec![0x90, payload_type, 0, 1, 0, 0, 0, 0];
        packet.extend(ssrc.to_be_bytes());
        let mut elements = Vec::new();
        for (id, name) in names {
            elements.push(id << 4 | (name.len() as u8 - 1));
            elements.extend(name.bytes());
        }
        elements.resize(elements.len().next_multiple_of(4), 0);
        packet.extend([0xbe, 0xde, 0, elements.len() as u8 / 4]);
        packet.extend(elements);
        packet.push(0x10);
        packet
    }

    fn layer(media: &mut [Media], packet: &[u8]) -> Option<usize> {
        let header = rtp::Header::parse(packet).expect("a packet");
        let (at, layer) = find(media, &header, packet)?;
        assert_eq!(at, MediaIndex(1));
        Some(layer)
    }

    #[test]
    fn layers_are_known_by_name_and_then_by_ssrc() {
        let mut media = media();
        assert_eq!(layer(&mut media, &packet(VP8, 70, &[])), None, "without a name it could be any");
        assert_eq!(layer(&mut media, &packet(VP8, 70, &[(MID, "1"), (RID, "f")])), Some(1));
        assert_eq!(layer(&mut media, &packet(VP8, 60, &[(RID, "h")])), Some(0), "there is one such m-line");
        assert_eq!(layer(&mut media, &packet(VP8, 70, &[])), Some(1));
        assert_eq!(layer(&mut media, &packet(VP8, 60, &[])), Some(0));
        assert_eq!(layer(&mut media, &packet(VP8, 80, &[(MID, "1"), (RID, "x")])), None, "not offered");
        assert_eq!(layer(&mut media, &packet(VP8, 80, &[(MID, "1"), (RID, "f")])), None, "taken");
    }

    #[test]
    fn sound_that_says_no_ssrc_is_known_whether_it_comes_alone_or_with_repeats() {
        const OPUS: u8 = 111;
        const RED: u8 = 63;
        for (first, then) in [(RED, OPUS), (OPUS, RED)] {
            let offer = include_str!("../../tests/offers/chromium-156.sdp");
            let mut offer = Offer::parse(offer).expect("an offer");
            offer.media[0].ssrc = None;
            let mut media = media_of(&offer);
            for payload_type in [first, then] {
                let packet = packet(payload_type, 50, &[(MID, &offer.media[0].mid)]);
                let header = rtp::Header::parse(&packet).expect("a packet");
                assert_eq!(find(&mut media, &header, &packet), Some((MediaIndex(0), 0)), "{payload_type}");
            }
            assert_eq!(media[0].streams()[0].ssrc, Some(50));
        }
    }

    #[test]
    fn retransmissions_are_known_by_the_name_of_what_they_repair() {
        let mut media = media();
        assert_eq!(layer(&mut media, &packet(RTX, 71, &[(MID, "1"), (RID, "f")])), None);
        assert_eq!(layer(&mut media, &packet(RTX, 71, &[(MID, "1"), (REPAIRED_RID, "f")])), Some(1));
        assert_eq!(layer(&mut media, &packet(RTX, 71, &[])), Some(1));
        assert_eq!(
            layer(&mut media, &packet(VP8, 70, &[(MID, "1"), (RID, "f")])),
            Some(1),
            "either may come first"
        );
        let streams = media[1].streams();
        assert_eq!((streams[1].ssrc, streams[1].rtx_ssrc), (Some(70), Some(71)));
        assert_eq!((streams[0].ssrc, streams[0].rtx_ssrc), (None, None));
    }
}
