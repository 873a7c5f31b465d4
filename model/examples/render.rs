//! Renders conversations with a chat template, for comparisons with other programs.
//!
//! `render FILE`: the template of a model file, or a template by itself, for which `bos_token` is
//! `<s>` and `eos_token` is `</s>`. Reads JSON objects, one a line, and prints `{"text": …}` or
//! `{"error": …}` for each. An object has `messages`, `add_generation_prompt`, `date` (null, or
//! any text for 6 July 2024), and may have `thinking` (true or false) and `tools`. A message has
//! `role` and `content` (a text, or a list of texts for parts), and may have `reasoning`, `name`,
//! `tool_call_id` and `tool_calls` (of `id`, `name`, `arguments`). Tools and arguments are texts
//! with JSON, so that the order of their keys is kept.

use std::error::Error;
use std::io::{BufRead, Write, stdin, stdout};
use std::path::{Path, PathBuf};

use potluck_model::gguf::Gguf;
use potluck_model::template::{
    ChatTemplate, Content, Date, Json, Message, RenderOptions, Role, ToolCall,
};
use potluck_model::tokenizer::Tokenizer;
use serde_json::{Value, json};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let path: PathBuf = std::env::args().nth(1).ok_or("give a file")?.into();
    let mut out = stdout().lock();
    for line in stdin().lock().lines() {
        let case: Value = serde_json::from_str(&line?)?;
        let result = match render(&path, &case) {
            Ok(text) => json!({"text": text}),
            Err(error) => json!({"error": error.to_string()}),
        };
        writeln!(out, "{result}")?;
    }
    Ok(())
}

fn render(path: &Path, case: &Value) -> Outcome<String> {
    let mut template = load(path)?;
    if !case["date"].is_null() {
        template = template.with_date(Date::new(2024, 7, 6).ok_or("a date")?);
    }
    let messages: Outcome<Vec<_>> = list(&case["messages"]).iter().map(message).collect();
    let tools: Outcome<Vec<_>> = list(&case["tools"]).iter().map(parsed).collect();
    let options = RenderOptions {
        add_generation_prompt: case["add_generation_prompt"] == true,
        tools: &tools?,
        thinking: case["thinking"].as_bool(),
    };
    Ok(template.render(&messages?, &options)?)
}

fn load(path: &Path) -> Outcome<ChatTemplate> {
    let is_model = |path: &Path| {
        path.extension()
            .is_some_and(|extension| extension == "gguf")
    };
    if is_model(path) {
        let gguf = Gguf::open(path)?;
        let tokenizer = Tokenizer::from_metadata(gguf.metadata())?;
        let template = ChatTemplate::from_metadata(gguf.metadata(), &tokenizer)?;
        return Ok(template.ok_or("the file has no chat template")?);
    }
    let source = std::fs::read_to_string(path)?;
    Ok(ChatTemplate::new(&source, "<s>", "</s>")?)
}

fn message(message: &Value) -> Outcome<Message> {
    let roles = [Role::System, Role::User, Role::Assistant, Role::Tool];
    let role = roles
        .into_iter()
        .find(|role| message["role"] == role.name());
    let content = match &message["content"] {
        Value::Array(parts) => Content::Parts(parts.iter().map(text).collect::<Outcome<_>>()?),
        content => Content::Text(text(content)?),
    };
    let optional = |key: &str| message[key].as_str().map(str::to_owned);
    let calls: Outcome<Vec<_>> = list(&message["tool_calls"]).iter().map(call).collect();
    Ok(Message {
        role: role.ok_or("one of the roles")?,
        content,
        reasoning: optional("reasoning"),
        tool_calls: calls?,
        name: optional("name"),
        tool_call_id: optional("tool_call_id"),
    })
}

fn call(call: &Value) -> Outcome<ToolCall> {
    Ok(ToolCall {
        id: call["id"].as_str().map(str::to_owned),
        name: text(&call["name"])?,
        arguments: parsed(&call["arguments"])?,
    })
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> Outcome<String> {
    Ok(value.as_str().ok_or("a text")?.to_owned())
}

fn parsed(value: &Value) -> Outcome<Json> {
    Ok(Json::parse(&text(value)?)?)
}
