//! What a person gave for this one call, and not for every call.
//!
//! An argument that has no effect is refused if it was given; a setting of the configuration file gives
//! way without a word. By the time a command checks its arguments, both are values; so it asks here.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use clap::ArgMatches;
use clap::parser::ValueSource;

/// The arguments of this process whose values nobody gave. Like the arguments, they are the process's.
static NOT_GIVEN: OnceLock<BTreeSet<String>> = OnceLock::new();

/// Remembers what the command that was called was given.
pub(super) fn remember(called: &ArgMatches) {
    let _ = NOT_GIVEN.set(not_given(called));
}

/// Whether the argument with this id was given, as a flag or by its environment variable.
pub(super) fn has(id: &str) -> bool {
    NOT_GIVEN.get().is_none_or(|not| !not.contains(id))
}

fn not_given(called: &ArgMatches) -> BTreeSet<String> {
    let ids = called.ids().map(clap::Id::as_str);
    let is_default = |id: &&str| called.value_source(id) == Some(ValueSource::DefaultValue);
    ids.filter(is_default).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn defaults_are_not_given_and_flags_are() {
        let command = ["potluck", "run", "--seed", "7", "Hi"];
        let matches = Cli::command().try_get_matches_from(command).expect("right");
        let not = not_given(matches.subcommand().expect("run").1);
        assert!(
            not.contains("max_tokens") && not.contains("greedy"),
            "{not:?}"
        );
        assert!(!not.contains("seed") && !not.contains("prompt"), "{not:?}");
    }
}
