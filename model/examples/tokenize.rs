//! Reads JSON strings, one a line, and prints the token ids of each as a JSON array.
//!
//! `tokenize MODEL.gguf [--special]`; with `--special`, control tokens written out in the text
//! become those tokens. For comparisons with other programs.

use std::error::Error;
use std::io::{BufRead, Write, stdin, stdout};
use std::path::Path;

use potluck_model::gguf::Gguf;
use potluck_model::tokenizer::{SpecialTokens, Tokenizer};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("give the path of a .gguf file")?;
    let special = match arguments.next().as_deref() {
        None => SpecialTokens::AsText,
        Some("--special") => SpecialTokens::Parse,
        Some(other) => return Err(format!("unknown option {other}: --special is the one").into()),
    };
    let tokenizer = Tokenizer::from_metadata(Gguf::open(Path::new(&path))?.metadata())?;
    let mut out = stdout().lock();
    for line in stdin().lock().lines() {
        let text: String = serde_json::from_str(&line?)?;
        writeln!(out, "{:?}", tokenizer.encode(&text, special))?;
    }
    Ok(())
}
