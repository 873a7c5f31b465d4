//! The visible command line, from which files are generated.

use clap::builder::ValueHint;
use clap::{Arg, Command};

/// The command and its subcommands without hidden arguments, which exist only for environment
/// variables. `clap_complete` would offer them.
pub(super) fn shown(command: &Command) -> Command {
    let args = command.get_arguments().filter(|arg| !arg.is_hide_set());
    let below = command.get_subcommands().filter(|sub| !sub.is_hide_set());
    let mut shown = Command::new(lasting(command.get_name()))
        .subcommand_required(command.is_subcommand_required_set())
        .args(args.map(hinted))
        .subcommands(below.map(shown));
    if let Some(about) = command.get_about() {
        shown = shown.about(about.clone());
    }
    if let Some(notes) = command.get_after_help() {
        shown = shown.after_help(notes.clone());
    }
    if let Some(version) = command.get_version() {
        shown = shown.version(lasting(version));
    }
    shown
}

/// Adds a hint whether the argument takes files, so that shells offer files only where they fit.
fn hinted(arg: &Arg) -> Arg {
    let names = arg.get_value_names().unwrap_or_default();
    let hint = match names.first().map(clap::builder::Str::as_str) {
        Some("FILE" | "MODEL") => ValueHint::FilePath,
        Some("FOLDER") => ValueHint::DirPath,
        // Shells offer the possible values.
        _ if !arg.get_possible_values().is_empty() => ValueHint::Unknown,
        _ => ValueHint::Other,
    };
    arg.clone().value_hint(hint)
}

/// Leaks a text: clap requires `'static` strings unless one of its features is on. A command has
/// few of these, of bounded length, and ends soon.
pub(super) fn lasting(text: &str) -> &'static str {
    Box::leak(Box::from(text))
}

#[cfg(test)]
pub(super) mod tests {
    use clap::CommandFactory as _;

    use super::*;

    /// All visible commands with their names.
    pub(in crate::cli) fn all() -> Vec<(Vec<String>, Command)> {
        fn below(command: &Command, words: &[String], all: &mut Vec<(Vec<String>, Command)>) {
            for sub in command.get_subcommands() {
                let words = [words, &[sub.get_name().to_owned()]].concat();
                all.push((words.clone(), sub.clone()));
                below(sub, &words, all);
            }
        }
        let mut all = Vec::new();
        below(&shown(&crate::cli::Cli::command()), &[], &mut all);
        all
    }

    #[test]
    fn what_is_hidden_is_not_shown_and_everything_else_is() {
        let all = all();
        assert!(all.len() > 18, "{}", all.len());
        let whole = crate::cli::Cli::command();
        for (words, command) in all {
            let source = words
                .iter()
                .try_fold(&whole, |at, name| at.find_subcommand(name));
            let source = source.expect("it is there");
            let ids = |command: &Command| -> Vec<_> {
                let shown = command.get_arguments().filter(|arg| !arg.is_hide_set());
                shown.map(|arg| arg.get_id().to_string()).collect()
            };
            assert_eq!(ids(&command), ids(source), "{words:?}");
            assert!(command.get_arguments().all(|arg| !arg.is_hide_set()));
            assert_eq!(
                command.get_about().map(ToString::to_string),
                source.get_about().map(ToString::to_string)
            );
        }
    }
}
