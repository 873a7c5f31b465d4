//! `chat --json`: a JSON line in, a JSON object out.

use potluck::answer::{Answer, AnswerError};
use potluck::conversation::{ConversationError, Reply};
use potluck::engine::Sequence;
use potluck::words;
use serde::{Deserialize, Serialize};

use super::Chat;
use crate::cli::failure::{self, Code};
use crate::cli::input;
use crate::cli::lines::{Line, Lines};
use crate::cli::options::next_seed;
use crate::cli::{Outcome, interrupt, nodes, output};

/// What a line asks for.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Ask {
    /// Something to say to the model.
    User(String),
    /// Set the system message, or remove it.
    System(Option<String>),
    /// Answer the last message again, with the next seed.
    Retry,
    /// Forget all turns.
    Clear,
}

/// An answer: what `run` prints, and more.
#[derive(Serialize)]
struct Turn<'a> {
    #[serde(flatten)]
    answer: &'a Answer,
    /// Turns dropped from the context to make room for this one.
    left_out: usize,
}

/// Reported for a line that gets no answer.
#[derive(Serialize)]
struct Done {
    done: &'static str,
}

/// Answers each line of input with one object. A line that cannot be answered gets an error object and
/// leaves the conversation unchanged; an error that every line would get ends the command.
pub(super) fn serve<S: Sequence>(
    mut chat: Chat<'_, S>,
    lines: &mut Lines,
) -> anyhow::Result<Outcome>
where
    AnswerError: From<S::Error>,
{
    loop {
        let line = match lines.next("")? {
            Line::Text(line) if line.trim().is_empty() => continue,
            Line::Text(line) => line,
            Line::Unusable(words) => {
                failure::print(Code::Input, &words)?;
                continue;
            }
            Line::Interrupted => continue,
            Line::End => return Ok(Outcome::Done),
            Line::Terminated => return Ok(Outcome::Interrupted),
        };
        // A Ctrl-C that arrived between answers must not stop the next one.
        chat.cancel.take();
        if interrupt::is_terminated() {
            return Ok(Outcome::Interrupted);
        }
        match serde_json::from_str(&line) {
            Ok(ask) => follow(&mut chat, ask)?,
            Err(error) => failure::print(Code::Input, &not_an_ask(&error))?,
        }
    }
}

/// The error for a line that makes no valid request.
fn not_an_ask(error: &serde_json::Error) -> String {
    format!(
        "a line is {{\"user\": TEXT}}, {{\"system\": TEXT}}, \"retry\" or \"clear\", as JSON; this one \
         is not: {error}"
    )
}

fn follow<S: Sequence>(chat: &mut Chat<'_, S>, ask: Ask) -> anyhow::Result<()>
where
    AnswerError: From<S::Error>,
{
    let reply = match ask {
        Ask::System(system) => {
            chat.conversation
                .set_system(system.as_deref().map(input::plain));
            return output::json(&Done { done: "system" });
        }
        Ask::Clear => {
            chat.conversation.clear();
            return output::json(&Done { done: "clear" });
        }
        Ask::User(text) => {
            let _goes_first = chat.computes_in.and_then(nodes::compute_here);
            let text = input::plain(&text);
            chat.conversation
                .say(chat.engine, &text, &chat.options, &chat.cancel, &mut |_| ())
        }
        Ask::Retry => {
            let _goes_first = chat.computes_in.and_then(nodes::compute_here);
            let seed = chat.options.sampling.seed;
            chat.options.sampling.seed = next_seed(seed);
            let reply =
                chat.conversation
                    .retry(chat.engine, &chat.options, &chat.cancel, &mut |_| ());
            if reply.is_err() {
                chat.options.sampling.seed = seed;
            }
            reply
        }
    };
    print(reply)
}

fn print(reply: Result<Reply, ConversationError>) -> anyhow::Result<()> {
    match reply {
        Ok(Reply { answer, left_out }) => output::json(&Turn {
            answer: &answer,
            left_out,
        }),
        // Reported as the error that ends the command.
        Err(ConversationError::Answer(error)) if error.is_file_changed() => Err(error.into()),
        Err(error) => failure::print(Code::of(&error), &words::of(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_are_told_apart() {
        let ask = |line: &str| serde_json::from_str::<Ask>(line).ok();
        assert_eq!(
            ask(r#"{"user": "Two\nlines"}"#),
            Some(Ask::User("Two\nlines".to_owned()))
        );
        assert_eq!(
            ask(r#"{"system": "Be brief."}"#),
            Some(Ask::System(Some("Be brief.".to_owned())))
        );
        assert_eq!(ask(r#"{"system": null}"#), Some(Ask::System(None)));
        assert_eq!(ask(r#""retry""#), Some(Ask::Retry));
        assert_eq!(ask(r#""clear""#), Some(Ask::Clear));
        for wrong in [
            "Hello",
            r#""Hello""#,
            "{}",
            r#"{"user": 3}"#,
            r#"{"user": "a", "system": "b"}"#,
            r#"{"usr": "a"}"#,
        ] {
            assert_eq!(ask(wrong), None, "{wrong}");
        }
    }
}
