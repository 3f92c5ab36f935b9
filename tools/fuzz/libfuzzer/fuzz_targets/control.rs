//! libFuzzer's program for `deltaworks_fuzz::control`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| deltaworks_fuzz::control::run(data));
