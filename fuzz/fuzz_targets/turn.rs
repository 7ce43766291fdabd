#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hewei_fuzz::turn(data));
