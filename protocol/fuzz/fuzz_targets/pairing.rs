#![no_main]

#[path = "../properties/pairing.rs"]
mod pairing;

libfuzzer_sys::fuzz_target!(|input: &[u8]| pairing::check(input));
