//! libFuzzer's entry to `targets::codec`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    targets::codec(data);
});
