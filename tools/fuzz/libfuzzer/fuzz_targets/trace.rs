//! libFuzzer's program for `deltaworks_fuzz::trace`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| deltaworks_fuzz::trace::run(data));
