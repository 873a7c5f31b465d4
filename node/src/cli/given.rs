//! Arguments given explicitly for this call.
//!
//! An argument that has no effect is refused if it was given explicitly; a setting of the
//! configuration file is ignored silently. When a command checks its arguments, both are plain
//! values, so it asks here.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use clap::ArgMatches;
use clap::parser::ValueSource;

/// Arguments of this process that kept their default. Global, like the process's arguments.
static NOT_GIVEN: OnceLock<BTreeSet<String>> = OnceLock::new();

/// Remembers which arguments the command was given.
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
