//! libFuzzer's program for `deltaworks_fuzz::frames`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| deltaworks_fuzz::frames::run(data));
