//! libFuzzer's program for `deltaworks_fuzz::pipeline`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| deltaworks_fuzz::pipeline::run(data));
