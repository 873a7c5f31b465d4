#![no_main]

#[path = "../properties/circle_gossip.rs"]
mod circle_gossip;

libfuzzer_sys::fuzz_target!(|input: &[u8]| circle_gossip::check(input));
