//! libFuzzer's program for `deltaworks_fuzz::sessions`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| deltaworks_fuzz::sessions::run(data));
