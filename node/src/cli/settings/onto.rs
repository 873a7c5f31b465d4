//! Applies the file's defaults to clap's arguments.

use clap::{Arg, Command};
use potluck::config::ConfigFile;

use super::FileDefault;

/// The command line with defaults, for the command named by `words`, or for all commands if it is
/// empty.
pub(super) fn with<'a>(
    root: Command,
    words: &[String],
    of: &dyn Fn(&[String]) -> Vec<&'a FileDefault>,
    file: &ConfigFile,
) -> Command {
    fn below<'a>(
        at: Command,
        path: &[String],
        words: &[String],
        of: &dyn Fn(&[String]) -> Vec<&'a FileDefault>,
        file: &ConfigFile,
    ) -> Command {
        let at = at.mut_subcommands(|sub| {
            let path = [path, &[sub.get_name().to_owned()]].concat();
            let is_called = words.is_empty() || words.starts_with(&path);
            if is_called {
                below(sub, &path, words, of, file)
            } else {
                sub
            }
        });
        let is_meant = !path.is_empty() && (words.is_empty() || words == path);
        let defaults = if is_meant { of(path) } else { Vec::new() };
        defaulted(at, &defaults, file)
    }
    // Global arguments belong to the root command.
    let of_root = if words.is_empty() {
        Vec::new()
    } else {
        of(words)
    };
    let root = defaulted(root, &of_root, file);
    below(root, &[], words, of, file)
}

/// A command with those of the defaults that it has arguments for.
fn defaulted(command: Command, defaults: &[&FileDefault], file: &ConfigFile) -> Command {
    command.mut_args(|arg| {
        let default = defaults.iter().find(|default| default.id == *arg.get_id());
        match default {
            Some(default) => with_default(arg, default, file),
            None => arg,
        }
    })
}

/// An argument with a default; its help shows the value and its origin.
fn with_default(arg: Arg, default: &FileDefault, file: &ConfigFile) -> Arg {
    let name = file.path.file_name().unwrap_or(file.path.as_os_str());
    let origin = format!("{}:{}", name.display(), default.line);
    let told = format!("[default: {}, by {origin}]", default.values.join(", "));
    let help = arg.get_help().map(|help| {
        let help = help.to_string();
        // The default in the help text no longer applies.
        let own = help.find("[default: ").unwrap_or(help.len());
        format!("{} {told}", help[..own].trim_end())
    });
    let arg = arg
        .default_values(default.values.clone())
        .hide_default_value(true);
    match help {
        Some(help) => arg.help(help),
        None => arg,
    }
}
