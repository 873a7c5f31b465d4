//! Arguments given explicitly for this call.
//!
//! An argument that has no effect is refused if it was given explicitly; a setting of the
//! configuration file is ignored silently. When a command checks its arguments, both are plain
//! values, so it asks here.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use clap::ArgMatches;
use clap::parser::ValueSource;

/// Arguments that this process was given. Global, like the process's arguments.
static GIVEN: OnceLock<BTreeSet<String>> = OnceLock::new();

/// Remembers which arguments the command was given.
pub(super) fn remember(called: &ArgMatches) {
    let _ = GIVEN.set(given(called));
}

/// Whether the argument with this id was given, as a flag or by its environment variable. False for
/// arguments that the command does not have.
pub(super) fn has(id: &str) -> bool {
    GIVEN.get().is_none_or(|given| given.contains(id))
}

fn given(called: &ArgMatches) -> BTreeSet<String> {
    let ids = called.ids().map(clap::Id::as_str);
    let is_given = |id: &&str| {
        let source = called.value_source(id);
        source.is_some_and(|source| source != ValueSource::DefaultValue)
    };
    ids.filter(is_given).map(str::to_owned).collect()
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
        let given = given(matches.subcommand().expect("run").1);
        assert!(
            given.contains("seed") && given.contains("prompt"),
            "{given:?}"
        );
        let others = ["max_tokens", "greedy", "no_pack", "not_of_this_command"];
        assert!(!others.iter().any(|id| given.contains(*id)), "{given:?}");
    }
}
