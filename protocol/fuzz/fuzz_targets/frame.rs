//! libFuzzer's entry to `targets::frame`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::frame(data));
