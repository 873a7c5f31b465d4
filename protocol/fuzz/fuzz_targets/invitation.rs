#![no_main]

#[path = "../properties/invitation.rs"]
mod invitation;

libfuzzer_sys::fuzz_target!(|input: &[u8]| invitation::check(input));
