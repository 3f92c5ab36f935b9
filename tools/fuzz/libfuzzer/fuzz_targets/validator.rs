//! libFuzzer's program for `deltaworks_fuzz::validator`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| deltaworks_fuzz::validator::run(data));
