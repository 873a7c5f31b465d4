//! Failures: what people read on stderr, what programs read on stdout, and exit codes.

use std::error::Error;
use std::ffi::OsString;
use std::{io, iter};

use potluck::answer::AnswerError;
use potluck::bench::BenchError;
use potluck::catalogue::{FetchError, ModelsFolderError};
use potluck::config::ConfigError;
use potluck::conversation::ConversationError;
use potluck::device::DeviceError;
use potluck::engine::{ModelError, OpenError};
use potluck::guests::GuestError;
use potluck::home::{HOME_VARIABLE, Home};
use potluck::http;
use potluck::inspect::InspectError;
use potluck::local::{ClientError, ServeError};
use potluck::net::NodeError;
use potluck::prompt::PromptError;
use potluck::score::ScoreError;
use potluck::serve;
use potluck::together::TogetherError;
use potluck::words;
use potluck_model::gguf::GgufError;
use potluck_protocol::pairing::InvitationError;
use serde::Serialize;

use super::interrupt::Stopped;
use super::{input, output};

/// The `code` of the `error` that `--json` prints. A code keeps its meaning; programs should treat
/// unknown ones, which later versions may add, as [`Code::Failed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Code {
    /// The arguments are wrong, or the configuration file; the exit code is 2.
    Usage,
    /// A signal such as Ctrl-C came before there was anything to print.
    Interrupted,
    /// An input cannot be used: a text that is empty, too long or not UTF-8, a name that no device has,
    /// an output file that exists.
    Input,
    /// The model is not on this device and could not be downloaded.
    Fetch,
    /// The model's file cannot be read or run.
    Model,
    /// A node could not be started or reached, or it refused; the message says why.
    Node,
    /// Anything else.
    Failed,
}

impl Code {
    /// The code of an error: that of the first known error in its chain of causes.
    pub(super) fn of(error: &(dyn Error + 'static)) -> Self {
        let mut causes = iter::successors(Some(error), |&error| error.source());
        causes.find_map(known).unwrap_or(Self::Failed)
    }
}

/// The code of this error alone. Transparent errors hide their cause, so it is matched here.
fn known(error: &(dyn Error + 'static)) -> Option<Code> {
    if let Some(refusal) = error.downcast_ref::<Refusal>() {
        return Some(refusal.code);
    }
    if error.is::<ConfigError>() {
        // Settings stand for flags.
        return Some(Code::Usage);
    }
    if let Some(ClientError::NotMeant(_)) = error.downcast_ref() {
        return Some(Code::Input);
    }
    match error.downcast_ref() {
        Some(ConversationError::NothingToRetry) => return Some(Code::Input),
        Some(ConversationError::Answer(error)) => return known(error),
        None => {}
    }
    match error.downcast_ref() {
        Some(AnswerError::Prompt(_)) => return Some(Code::Input),
        Some(AnswerError::Model(_)) => return Some(Code::Model),
        Some(AnswerError::Together(error)) => return known(error),
        None => {}
    }
    let is_input = error.is::<PromptError>()
        || error.is::<ScoreError>()
        || error.is::<BenchError>()
        // Errors of a template's file; those of a model's file have a cause with a code.
        || error.is::<OpenError>()
        || error.is::<InvitationError>()
        || error.is::<serve::StartError>()
        || is_input_of_guests(error)
        || error.is::<input::Unusable>();
    let is_fetch = error.is::<FetchError>() || error.is::<ModelsFolderError>();
    let is_model =
        error.is::<ModelError>() || error.is::<GgufError>() || error.is::<InspectError>();
    let is_node = error.is::<TogetherError>()
        || error.is::<DeviceError>()
        || error.is::<ClientError>()
        || error.is::<ServeError>()
        || error.is::<NodeError>()
        || error.is::<http::StartError>()
        || error.is::<http::TokenError>()
        || error.is::<http::ShareError>();
    [
        (is_input, Code::Input),
        (is_fetch, Code::Fetch),
        (is_model, Code::Model),
        (is_node, Code::Node),
    ]
    .into_iter()
    .find_map(|(is, code)| is.then_some(code))
}

/// Whether a guest was named that there is not, or cannot be.
fn is_input_of_guests(error: &(dyn Error + 'static)) -> bool {
    let error = error.downcast_ref::<GuestError>();
    error.is_some_and(|error| match error {
        GuestError::Name | GuestError::Taken { .. } | GuestError::Unknown { .. } => true,
        GuestError::File { .. }
        | GuestError::Damaged { .. }
        | GuestError::Full
        | GuestError::Random => false,
    })
}

/// A refusal with a message and a code.
#[derive(Debug, thiserror::Error)]
#[error("{words}")]
pub(super) struct Refusal {
    code: Code,
    words: String,
}

/// A refusal with this code.
pub(super) fn refusal(code: Code, words: impl Into<String>) -> anyhow::Error {
    let words = words.into();
    Refusal { code, words }.into()
}

/// The error, with this code unless it has one.
pub(super) fn of_kind(code: Code, error: anyhow::Error) -> anyhow::Error {
    let is_told = error.is::<Stopped>() || is_broken_pipe(&error);
    if is_told || Code::of(error.as_ref()) != Code::Failed {
        return error;
    }
    refusal(code, words::of(error.as_ref()))
}

/// The JSON object of a failure.
#[derive(Debug, Serialize)]
struct Failure<'a> {
    error: Report<'a>,
}

#[derive(Debug, Serialize)]
struct Report<'a> {
    code: Code,
    message: &'a str,
}

/// Whether the arguments have `--json`. This looks at them before they are parsed, so that parse errors
/// are reported as JSON as well. No option takes a value that begins with a hyphen.
pub(super) fn is_json<'a>(arguments: impl IntoIterator<Item = &'a OsString>) -> bool {
    let mut options = arguments
        .into_iter()
        .take_while(|argument| *argument != "--");
    options.any(|argument| argument == "--json")
}

/// Reports a failure on stderr and, with `json`, as an object on stdout.
pub(super) fn tell(code: Code, message: &str, json: bool) {
    output::note(&format!("error: {message}"));
    if json {
        // If stdout is closed, nobody reads it.
        let _ = print(code, message);
    }
}

/// Prints the JSON object of a failure.
pub(super) fn print(code: Code, message: &str) -> anyhow::Result<()> {
    let error = Report { code, message };
    output::json(&Failure { error })
}

/// Reports a parse error of clap, or prints the help it asks for. Returns the exit code.
pub(super) fn tell_usage(error: &clap::Error, json: bool) -> u8 {
    // A closed stdout or stderr does not change the exit code.
    let _ = error.print();
    if !error.use_stderr() {
        return 0;
    }
    if json {
        let whole = error.render().to_string();
        let message = whole.strip_prefix("error: ").unwrap_or(&whole);
        // The lines after an empty one are advice for people.
        let message = message.split("\n\n").next().unwrap_or(message).trim();
        let _ = print(Code::Usage, message);
    }
    2
}

/// Reports the error that ended a command. Returns the exit code.
pub(super) fn tell_error(error: &anyhow::Error, json: bool) -> u8 {
    let code = Code::of(error.as_ref());
    let mut words = words::of(error.as_ref());
    if let Some(remedy) = of_home(error, &words) {
        words.push_str(&remedy);
    }
    tell(code, &words, json);
    if code == Code::Usage { 2 } else { 1 }
}

/// What to do about a failure at a file of a data folder that cannot be used at all.
fn of_home(error: &anyhow::Error, words: &str) -> Option<String> {
    if !error.chain().any(|cause| cause.is::<io::Error>()) {
        return None;
    }
    let home = Home::from_environment().ok()?;
    let root = home.root().display().to_string();
    if !words.contains(&root) || home.check().is_ok() {
        return None;
    }
    Some(format!(
        ". Nothing can be written in the data folder {root}: set {HOME_VARIABLE} to another folder"
    ))
}

/// Whether the error is a closed pipe at our output.
pub(super) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(arguments: &[&str]) -> bool {
        let arguments: Vec<_> = arguments.iter().map(OsString::from).collect();
        is_json(&arguments)
    }

    #[test]
    fn json_is_asked_for_by_an_option_and_not_by_a_text() {
        assert!(asks(&["run", "--json", "Hi"]));
        assert!(asks(&["run", "Hi", "--json"]));
        assert!(!asks(&["run", "--", "--json"]));
        assert!(!asks(&["run", "--jsonl"]));
    }

    #[test]
    fn an_error_has_the_code_of_what_caused_it() {
        let code = |error: anyhow::Error| Code::of(error.as_ref());
        let empty = || AnswerError::from(PromptError::Empty);
        assert_eq!(code(empty().into()), Code::Input);
        assert_eq!(code(ConversationError::Answer(empty()).into()), Code::Input);
        let stopped = TogetherError::from(ClientError::Stopped);
        assert_eq!(code(AnswerError::from(stopped).into()), Code::Node);
        let wrapped = anyhow::Error::from(ModelError::EmptyPrompt).context("cannot use x.gguf");
        assert_eq!(code(wrapped), Code::Model);
        let offline = FetchError::Offline { name: "x" };
        assert_eq!(code(offline.into()), Code::Fetch);
        assert_eq!(code(anyhow::anyhow!("odd")), Code::Failed);
        assert_eq!(Code::of(&empty()), Code::Input);
        let nobody = || ClientError::NotMeant("no device is called \"x\"".to_owned());
        assert_eq!(code(nobody().into()), Code::Input);
        assert_eq!(code(refusal(Code::Usage, "say --yes")), Code::Usage);
        let refused = of_kind(Code::Node, anyhow::anyhow!("not paired"));
        assert_eq!(refused.to_string(), "not paired");
        assert_eq!(code(refused), Code::Node);
        assert_eq!(code(of_kind(Code::Node, nobody().into())), Code::Input);
        assert!(of_kind(Code::Node, Stopped.into()).is::<Stopped>());
    }
}
