//! libFuzzer's program for `deltaworks_fuzz::schema`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| deltaworks_fuzz::schema::run(data));
