use super::*;

const A_SPS: &[u8] = &[0x67, 0x42, 0xC0, 0x1E, 1];
const A_PPS: &[u8] = &[0x68, 0xCE, 2];

type Sent = Vec<(Vec<u8>, bool)>;

fn push(rewriter: &mut Rewriter, payload: &[u8], marker: bool, timestamp: u32) -> Sent {
    let (mut sent, mut stamps) = (Sent::new(), Vec::new());
    rewriter.push(payload, marker, timestamp, &mut |p: &[u8], m, t| {
        sent.push((p.to_vec(), m));
        stamps.push(t);
    });
    assert!(stamps.iter().all(|t| *t == timestamp) || sent[0].0[0] & 0x1F == FU_A);
    for (payload, _) in &sent {
        assert!(payload.len() <= PAYLOAD_BYTES_MAX && !payload.is_empty());
    }
    sent
}

fn nal(header: u8, bytes: usize) -> Vec<u8> {
    std::iter::once(header).chain((1..bytes).map(|i| (i * 7) as u8)).collect()
}

/// As a sender with packets of `bytes` would send it.
fn fragments(nal: &[u8], bytes: usize) -> Vec<Vec<u8>> {
    let pieces: Vec<&[u8]> = nal[1..].chunks(bytes - 2).collect();
    let last = pieces.len() - 1;
    let piece = |(i, data): (usize, &&[u8])| {
        let bits = if i == 0 { START } else { 0 } | if i == last { END } else { 0 };
        [&[nal[0] & !0x1F | FU_A, bits | nal[0] & 0x1F], *data].concat()
    };
    pieces.iter().enumerate().map(piece).collect()
}

fn stap(nals: &[&[u8]]) -> Vec<u8> {
    let mut payload = vec![NRI | STAP_A];
    for nal in nals {
        payload.extend_from_slice(&(nal.len() as u16).to_be_bytes());
        payload.extend_from_slice(nal);
    }
    payload
}

/// The NAL units a receiver makes of it; panics on pieces in a wrong order.
fn reassemble(sent: &Sent) -> Vec<Vec<u8>> {
    let mut nals: Vec<Vec<u8>> = Vec::new();
    let mut open = false;
    for (payload, _) in sent {
        match payload[0] & 0x1F {
            STAP_A => nals.extend(aggregated(payload).map(|nal| nal.unwrap().to_vec())),
            FU_A => {
                let start = payload[1] & START != 0;
                assert_ne!(start, open);
                if start {
                    nals.push(vec![payload[0] & !0x1F | payload[1] & 0x1F]);
                }
                nals.last_mut().unwrap().extend_from_slice(&payload[2..]);
                open = payload[1] & END == 0;
            }
            _ => nals.push(payload.clone()),
        }
    }
    assert!(!open);
    nals
}

#[test]
fn small_packets_pass_as_they_are() {
    let mut rewriter = Rewriter::new(None);
    for payload in [nal(0x41, 700), nal(0x41, 1_200), stap(&[&[0x06, 1], &[0x41, 2]])] {
        assert_eq!(push(&mut rewriter, &payload, true, 1), [(payload, true)]);
    }
}

#[test]
fn large_nal_units_are_cut() {
    for bytes in [1_201, 1_202, 2_397, 2_398, 5_000, 65_000] {
        let whole = nal(0x41, bytes);
        let sent = push(&mut Rewriter::new(None), &whole, true, 1);
        assert_eq!(reassemble(&sent), [whole]);
        let markers: Vec<bool> = sent.iter().map(|(_, marker)| *marker).collect();
        assert_eq!(markers.iter().filter(|m| **m).count(), 1);
        assert!(markers.last().unwrap());
    }
}

#[test]
fn large_fragments_are_cut_anew_without_stubs() {
    for bytes in [1_201, 1_388, 1_460, 8_000] {
        let whole = nal(0x41, 20_000);
        let mut rewriter = Rewriter::new(None);
        let pieces = fragments(&whole, bytes);
        let mut sent = Sent::new();
        for (i, piece) in pieces.iter().enumerate() {
            sent.extend(push(&mut rewriter, piece, i + 1 == pieces.len(), 1));
        }
        assert_eq!(reassemble(&sent), [whole]);
        assert_eq!(sent.len(), 19_999_usize.div_ceil(FU_DATA_BYTES_MAX), "{bytes}");
        assert_eq!(sent.iter().filter(|(_, marker)| *marker).count(), 1);
        assert!(sent.last().unwrap().1);
    }
}

#[test]
fn parameter_sets_come_ahead_of_each_idr() {
    let sets = stap(&[A_SPS, A_PPS]);
    for idr in
        [vec![nal(0x65, 900)], fragments(&nal(0x65, 5_000), 1_388), vec![stap(&[&[0x06, 1], &nal(0x65, 50)])]]
    {
        let mut rewriter = Rewriter::new(Some((A_SPS, A_PPS)));
        for timestamp in [1, 2] {
            let sent: Sent =
                idr.iter().flat_map(|piece| push(&mut rewriter, piece, false, timestamp)).collect();
            assert_eq!(sent[0], (sets.clone(), false));
            assert_eq!(sent.iter().filter(|(payload, _)| *payload == sets).count(), 1);
        }
    }
}

#[test]
fn a_picture_of_several_slices_gets_them_once() {
    let mut rewriter = Rewriter::new(Some((A_SPS, A_PPS)));
    assert_eq!(push(&mut rewriter, &nal(0x65, 100), false, 1).len(), 2);
    assert_eq!(push(&mut rewriter, &nal(0x65, 100), true, 1).len(), 1);
}

#[test]
fn parameter_sets_that_are_there_are_not_doubled() {
    let mut rewriter = Rewriter::new(Some((A_SPS, A_PPS)));
    for sets in [vec![A_SPS.to_vec(), A_PPS.to_vec()], vec![stap(&[A_SPS, A_PPS])]] {
        for set in &sets {
            assert_eq!(push(&mut rewriter, set, false, 1).len(), 1);
        }
        assert_eq!(push(&mut rewriter, &nal(0x65, 100), true, 1).len(), 1);
    }
}

#[test]
fn in_band_parameter_sets_replace_those_of_the_sdp() {
    let mut rewriter = Rewriter::new(Some((A_SPS, A_PPS)));
    let newer = [0x67, 0x64, 0, 0x28, 9];
    push(&mut rewriter, &newer, false, 1);
    push(&mut rewriter, A_PPS, false, 1);
    push(&mut rewriter, &nal(0x65, 100), true, 1);
    let sent = push(&mut rewriter, &nal(0x65, 100), true, 2);
    assert_eq!(sent[0].0, stap(&[&newer, A_PPS]));
}

#[test]
fn a_marker_on_a_parameter_set_is_taken_off() {
    let mut rewriter = Rewriter::new(None);
    for payload in [A_SPS.to_vec(), A_PPS.to_vec(), vec![0x06, 1], stap(&[A_SPS, A_PPS])] {
        assert_eq!(push(&mut rewriter, &payload, true, 1), [(payload, false)]);
    }
    let sent = push(&mut rewriter, &nal(0x65, 10), true, 1);
    assert_eq!(sent, [(nal(0x65, 10), true)]);
}

#[test]
fn a_lost_end_leaves_an_open_piece_and_no_mixture() {
    let pieces = fragments(&nal(0x41, 5_000), 1_388);
    let mut rewriter = Rewriter::new(None);
    push(&mut rewriter, &pieces[0], false, 1);
    let mut flushed = Sent::new();
    rewriter.lost(&mut |p: &[u8], m, _| flushed.push((p.to_vec(), m)));
    assert_eq!(flushed.len(), 1);
    assert_eq!(flushed[0].0[1] & (START | END), 0);
    // The middle of another NAL unit, cut on its own, claims no start.
    let sent = push(&mut rewriter, &pieces[2], false, 1);
    assert!(sent.iter().all(|(payload, _)| payload[1] & START == 0));
    // A new NAL unit is not glued onto what waits.
    let sent = push(&mut rewriter, &nal(0x41, 100), true, 2);
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[1], (nal(0x41, 100), true));
}

#[test]
fn nonsense_is_left_out_and_counted() {
    let mut rewriter = Rewriter::new(Some((A_SPS, A_PPS)));
    let nonsense: [&[u8]; 8] =
        [&[], &[0], &[FU_A], &[FU_A, 0x85], &[STAP_A], &[STAP_A, 0], &[STAP_A, 0, 9, 1], &[0x1F, 1, 2]];
    for payload in nonsense {
        assert_eq!(push(&mut rewriter, payload, true, 1), [], "{payload:?}");
    }
    assert_eq!(rewriter.malformed(), nonsense.len() as u64);
}

#[test]
fn any_bytes_at_all_are_survived() {
    let mut rewriter = Rewriter::new(None);
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    for round in 0..20_000_u32 {
        state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
        let length = (state >> 50) as usize % if round % 50 == 0 { 9_000 } else { 40 };
        let payload: Vec<u8> = (0..length).map(|i| (state >> (i % 57)) as u8 ^ i as u8).collect();
        push(&mut rewriter, &payload, state & 1 == 0, round / 3);
        assert!(rewriter.rest.len() <= FU_DATA_BYTES_MAX);
    }
}
