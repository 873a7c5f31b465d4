#![no_main]

#[path = "../properties/draft_head.rs"]
mod draft_head;

libfuzzer_sys::fuzz_target!(|input: &[u8]| draft_head::check(input));
