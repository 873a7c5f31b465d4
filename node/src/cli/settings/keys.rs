//! The valid keys of a configuration file, derived from the command line's arguments.

use clap::{Arg, Command};

/// Commands without settings.
const WITHOUT: [&str; 5] = ["config", "completions", "man", "synth", "help"];

/// Keys that cannot be set, each with the reason.
const NOT_SET: [(&[&str], &str); 3] = [
    (
        &[
            "yes",
            "admit",
            "join",
            "with-admitted",
            "identity",
            "force",
            "verify",
            "name",
        ],
        "says something about one call only",
    ),
    (
        &["json", "follow", "profile", "tokens", "out"],
        "changes what one call is for",
    ),
    (&["help", "version"], "is not a setting"),
];

/// Whether a command can have settings.
pub(in crate::cli) fn has_settings(words: &[String]) -> bool {
    words
        .first()
        .is_some_and(|name| !WITHOUT.contains(&name.as_str()))
}

/// All commands that can have settings, except those with subcommands, by name.
pub(in crate::cli) fn commands(root: &Command) -> Vec<(Vec<String>, &Command)> {
    fn add<'a>(at: &'a Command, words: &[String], all: &mut Vec<(Vec<String>, &'a Command)>) {
        for sub in at.get_subcommands() {
            let words = [words, &[sub.get_name().to_owned()]].concat();
            match sub.has_subcommands() {
                true => add(sub, &words, all),
                false if has_settings(&words) => all.push((words, sub)),
                false => {}
            }
        }
    }
    let mut all = Vec::new();
    add(root, &[], &mut all);
    all
}

/// The key of an argument: its long name, or its id if it is positional and has a default. A hidden
/// argument takes its key from its environment variable, because that is where its default belongs.
fn key(arg: &Arg) -> Option<String> {
    if arg.is_hide_set() {
        let variable = arg.get_env()?.to_str()?;
        let name = variable.strip_prefix("POTLUCK_")?;
        return Some(name.to_ascii_lowercase().replace('_', "-"));
    }
    let has_default = !arg.get_default_values().is_empty();
    match arg.get_long() {
        None if arg.is_positional() && has_default => Some(arg.get_id().as_str().replace('_', "-")),
        long => long.map(str::to_owned),
    }
}

/// The arguments that a file can set for a command, each with its key. Those of `root` apply to all
/// commands.
pub(in crate::cli) fn settable<'a>(
    root: &'a Command,
    command: &'a Command,
) -> Vec<(String, &'a Arg)> {
    let args = command.get_arguments().chain(root.get_arguments());
    let keyed = args.filter_map(|arg| Some((key(arg)?, arg)));
    let mut all: Vec<(String, &Arg)> = keyed.filter(|(key, _)| why_not(key).is_none()).collect();
    let hidden: Vec<_> = all
        .iter()
        .filter(|(_, arg)| arg.is_hide_set())
        .cloned()
        .collect();
    all.retain(|(key, arg)| arg.is_hide_set() || !hidden.iter().any(|(other, _)| other == key));
    all
}

/// Why a key cannot be set.
pub(super) fn why_not(key: &str) -> Option<&'static str> {
    let of = |(keys, why): &(&[&str], &'static str)| keys.contains(&key).then_some(*why);
    NOT_SET.iter().find_map(of)
}

/// Whether two arguments have the same meaning.
pub(super) fn is_same(one: &Arg, other: &Arg) -> bool {
    let kind = |arg: &Arg| std::mem::discriminant(arg.get_action());
    let parsers = [one, other].map(|arg| arg.get_value_parser().type_id());
    kind(one) == kind(other) && parsers[0] == parsers[1]
}

/// The error for a table that names no command.
pub(super) fn unknown_command(commands: &[(Vec<String>, &Command)], command: &[String]) -> String {
    let written = command.join(".");
    if WITHOUT.contains(&written.as_str()) {
        return format!("`{written}` takes no settings");
    }
    let names: Vec<_> = commands.iter().map(|(words, _)| words.join(".")).collect();
    format!(
        "[{written}] is not a command with settings{}",
        meaning(&written, &names)
    )
}

/// A suggestion: the most similar of the names, or nothing.
pub(super) fn meaning(written: &str, names: &[String]) -> String {
    /// Minimum similarity of a suggestion, where 1 is equal.
    const NEAR: f64 = 0.7;
    let near = names
        .iter()
        .map(|name| (strsim::jaro_winkler(written, name), name));
    let nearest = near
        .filter(|(near, _)| *near > NEAR)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    nearest.map_or_else(String::new, |(_, name)| format!("; did you mean {name}?"))
}
