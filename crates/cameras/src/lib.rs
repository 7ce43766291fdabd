//! RTSP village cameras, pulled on demand.
