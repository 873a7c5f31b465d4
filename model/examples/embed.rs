//! Reads JSON strings, one a line, and prints the vector of each as a JSON array: the mean of the
//! final norm of its tokens' hidden states, of length 1.
//!
//! `embed MODEL.gguf`. For comparisons with other programs.

use std::error::Error;
use std::io::{BufRead, Write, stdin, stdout};
use std::path::Path;

use potluck_model::tokenizer::SpecialTokens;
use potluck_model::{Engine, EngineOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1);
    let path = path.ok_or("give the path of a .gguf file")?;
    let engine = Engine::open(Path::new(&path), &EngineOptions::default())?;
    let mut out = stdout().lock();
    for line in stdin().lock().lines() {
        let text: String = serde_json::from_str(&line?)?;
        let tokens = (engine.tokenizer()).encode_prompt(&text, SpecialTokens::AsText);
        writeln!(out, "{:?}", engine.embed(&tokens)?)?;
    }
    Ok(())
}
