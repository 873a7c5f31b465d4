#![no_main]

#[path = "../properties/gguf_parse.rs"]
mod gguf_parse;

libfuzzer_sys::fuzz_target!(|input: &[u8]| gguf_parse::check(input));
