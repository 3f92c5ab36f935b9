//! libFuzzer's program for `deltaworks_fuzz::image`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| deltaworks_fuzz::image::run(data));
