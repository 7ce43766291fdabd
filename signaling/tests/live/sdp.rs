//! Offers as a browser writes them, as far as a server reads them.

/// An offer with these m-lines: kind and direction.
pub fn offer(lines: &[(&str, &str)]) -> String {
    let mids: Vec<String> = (0..lines.len()).map(|mid| mid.to_string()).collect();
    let mut sdp = format!(
        "v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {}\r\n\
         a=extmap-allow-mixed\r\na=msid-semantic: WMS\r\n",
        mids.join(" ")
    );
    for (mid, (kind, direction)) in lines.iter().enumerate() {
        let codecs = match *kind {
            "audio" => "m=audio 9 UDP/TLS/RTP/SAVPF 111 0 8\r\n",
            _ => "m=video 9 UDP/TLS/RTP/SAVPF 96 97 102 103\r\n",
        };
        sdp.push_str(codecs);
        sdp.push_str("c=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\n");
        sdp.push_str("a=ice-ufrag:F7gI\r\na=ice-pwd:x9cml/YzichV2+XlhiMu8gaZ\r\na=ice-options:trickle\r\n");
        sdp.push_str(
            "a=fingerprint:sha-256 19:E2:1C:3B:4B:9F:81:E6:B8:5C:F4:A5:A8:D8:73:04:BB:05:2F:70:9F:04:A9:0E:05:E9:\
             26:33:E8:70:88:A2\r\na=setup:actpass\r\n",
        );
        sdp.push_str(&format!("a=mid:{mid}\r\na={direction}\r\na=rtcp-mux\r\na=rtcp-rsize\r\n"));
        sdp.push_str(match *kind {
            "audio" => {
                "a=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n\
                 a=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n"
            }
            _ => {
                "a=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\n\
                 a=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n\
                 a=rtpmap:102 H264/90000\r\na=rtcp-fb:102 nack\r\na=rtcp-fb:102 nack pli\r\n\
                 a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f\r\n\
                 a=rtpmap:103 rtx/90000\r\na=fmtp:103 apt=102\r\n"
            }
        });
        if *direction == "sendonly" {
            let ssrc = 1_000 + mid;
            sdp.push_str(&format!("a=msid:- track{mid}\r\na=ssrc:{ssrc} cname:test\r\n"));
        }
    }
    sdp
}
