//! What a line typed in a chat means.

use std::path::PathBuf;

/// A line of a chat.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ChatLine {
    /// Nothing typed.
    Empty,
    /// Something to say to the model.
    Say(String),
    Help,
    Clear,
    /// Set the system message, or remove it.
    System(Option<String>),
    Retry,
    Stats,
    Save(PathBuf),
    Exit,
    /// A command that does not exist or lacks its argument; what to tell the user.
    Wrong(String),
}

pub(super) const HELP: &str = "\
/help         this list
/clear        forget the conversation so far
/system TEXT  set the instructions for the whole conversation; without TEXT, remove them
/retry        answer the last message again, differently
/stats        times of the last answer, and how full the context is
/save FILE    write the conversation to a new JSON file
/exit         leave, as Ctrl-D does
//text        say a message that begins with a slash
Ctrl-C stops an answer and keeps the chat.";

impl ChatLine {
    pub(super) fn parse(line: &str) -> Self {
        let line = line.trim();
        if line.is_empty() {
            return Self::Empty;
        }
        let Some(command) = line.strip_prefix('/') else {
            return Self::Say(line.to_owned());
        };
        if command.starts_with('/') {
            return Self::Say(command.to_owned());
        }
        let (name, rest) = command
            .split_once(char::is_whitespace)
            .unwrap_or((command, ""));
        let rest = rest.trim();
        match name {
            "help" => Self::Help,
            "clear" => Self::Clear,
            "system" => Self::System((!rest.is_empty()).then(|| rest.to_owned())),
            "retry" => Self::Retry,
            "stats" => Self::Stats,
            "save" if rest.is_empty() => Self::Wrong("/save needs a file name".to_owned()),
            "save" => Self::Save(PathBuf::from(rest)),
            "exit" | "quit" => Self::Exit,
            unknown => Self::Wrong(format!("there is no /{unknown}; /help lists the commands")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_apart() {
        let parse = ChatLine::parse;
        assert_eq!(parse("  "), ChatLine::Empty);
        assert_eq!(parse(" hello there "), ChatLine::Say("hello there".into()));
        assert_eq!(parse("//etc/hosts"), ChatLine::Say("/etc/hosts".into()));
        assert_eq!(
            parse("/system  Be brief. "),
            ChatLine::System(Some("Be brief.".into()))
        );
        assert_eq!(parse("/system"), ChatLine::System(None));
        assert_eq!(
            parse("/save my chat.json"),
            ChatLine::Save("my chat.json".into())
        );
        assert!(matches!(parse("/save"), ChatLine::Wrong(_)));
        assert!(matches!(parse("/dance"), ChatLine::Wrong(_)));
        assert_eq!(parse("/exit"), ChatLine::Exit);
    }

    #[test]
    fn every_command_in_the_help_exists() {
        for line in HELP.lines().filter(|line| line.starts_with('/')) {
            let name = line.split_whitespace().next().unwrap_or_default();
            let with_argument = format!("{name} x");
            assert!(
                !matches!(ChatLine::parse(&with_argument), ChatLine::Wrong(_)),
                "{line}"
            );
        }
    }
}
