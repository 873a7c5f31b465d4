#![no_main]

#[path = "../properties/circle_bytes.rs"]
mod circle_bytes;

libfuzzer_sys::fuzz_target!(|input: &[u8]| circle_bytes::check(input));
