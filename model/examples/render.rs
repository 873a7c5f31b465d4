//! Renders conversations with a chat template, for comparisons with other programs.
//!
//! `render FILE`: the template of a model file, or a template by itself, for which `bos_token` is
//! `<s>` and `eos_token` is `</s>`. Reads JSON objects, one a line, with `messages` (of `role` and
//! `content`), `add_generation_prompt` and `date` (null, or any text for 6 July 2024), and prints
//! `{"text": …}` or `{"error": …}` for each.

use std::error::Error;
use std::io::{BufRead, Write, stdin, stdout};
use std::path::{Path, PathBuf};

use potluck_model::gguf::Gguf;
use potluck_model::template::{ChatTemplate, Date, Message, Role};
use potluck_model::tokenizer::Tokenizer;
use serde_json::{Value, json};

fn main() -> Result<(), Box<dyn Error>> {
    let path: PathBuf = std::env::args().nth(1).ok_or("give a file")?.into();
    let date = Date::new(2024, 7, 6).ok_or("a date")?;
    let mut out = stdout().lock();
    for line in stdin().lock().lines() {
        let case: Value = serde_json::from_str(&line?)?;
        let mut template = load(&path)?;
        if !case["date"].is_null() {
            template = template.with_date(date);
        }
        let messages = messages(&case["messages"]).ok_or("messages with role and content")?;
        let add_generation_prompt = case["add_generation_prompt"] == true;
        let result = match template.render(&messages, add_generation_prompt) {
            Ok(text) => json!({"text": text}),
            Err(error) => json!({"error": error.to_string()}),
        };
        writeln!(out, "{result}")?;
    }
    Ok(())
}

fn load(path: &Path) -> Result<ChatTemplate, Box<dyn Error>> {
    if path
        .extension()
        .is_some_and(|extension| extension == "gguf")
    {
        let gguf = Gguf::open(path)?;
        let tokenizer = Tokenizer::from_metadata(gguf.metadata())?;
        let template = ChatTemplate::from_metadata(gguf.metadata(), &tokenizer)?;
        return Ok(template.ok_or("the file has no chat template")?);
    }
    let source = std::fs::read_to_string(path)?;
    Ok(ChatTemplate::new(&source, "<s>", "</s>")?)
}

fn messages(list: &Value) -> Option<Vec<Message>> {
    let message = |message: &Value| {
        let role = match message["role"].as_str()? {
            "system" => Role::System,
            "user" => Role::User,
            "assistant" => Role::Assistant,
            _ => return None,
        };
        let content = message["content"].as_str()?.into();
        Some(Message { role, content })
    };
    list.as_array()?.iter().map(message).collect()
}
