#![no_main]

#[path = "../properties/tokenizer.rs"]
mod tokenizer;

libfuzzer_sys::fuzz_target!(|input: &[u8]| tokenizer::check(input));
