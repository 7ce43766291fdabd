//! One WebRTC peer without I/O: SDP, ICE-lite, DTLS, SRTP, RTX and NACK.
