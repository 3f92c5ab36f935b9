//! libFuzzer's program for `deltaworks_fuzz::config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| deltaworks_fuzz::config::run(data));
