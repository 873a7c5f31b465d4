//! Settings of the configuration file as defaults of the arguments that they name.
//!
//! A key is the long name of a flag, or the name of an argument that has a default. At the top
//! level of the file it applies to that argument of all commands that give it the same meaning: `up
//! --model`, a list of files, differs from `run --model`. In a command's table it applies to that
//! command and takes precedence.
//!
//! | source | precedence |
//! |---|---|
//! | a flag | always wins; conflicting settings are ignored silently |
//! | an environment variable | over the file |
//! | a setting of the command's table | over the top level of the file |
//! | the top level of the file | over the built-in default |
//!
//! Every command checks the keys of the whole file; values are checked only by the commands that
//! use them.

mod keys;
mod onto;
#[cfg(test)]
mod tests;
mod values;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, Id};
use potluck::config::{ConfigError, ConfigFile, Setting};

pub(super) use keys::{commands, has_settings, settable};
use keys::{is_same, meaning, unknown_command, why_not};
use onto::with;
use values::{refused, values};

/// A setting as the default of one command's argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileDefault {
    /// The command's name.
    pub(super) command: Vec<String>,
    /// The argument.
    id: Id,
    /// Its key in the file.
    pub(super) key: String,
    /// The values for clap to parse.
    pub(super) values: Vec<&'static str>,
    /// The line, from 1.
    pub(super) line: usize,
    /// Whether it is in the command's own table.
    is_own: bool,
}

/// The defaults that a file sets.
#[derive(Debug, Clone, Default)]
pub(super) struct Defaults {
    file: ConfigFile,
    all: Vec<FileDefault>,
}

impl Defaults {
    /// The defaults from a file for the commands below `root`.
    ///
    /// # Errors
    /// An invalid key, command or type of value.
    pub(super) fn new(root: &Command, file: ConfigFile) -> Result<Self, ConfigError> {
        let mut defaults = Self {
            all: Vec::new(),
            file,
        };
        let commands = commands(root);
        for setting in &defaults.file.settings {
            let all = &mut defaults.all;
            let added = add(root, &commands, setting, all);
            added.map_err(|words| ConfigError {
                path: defaults.file.path.clone(),
                line: Some(setting.line),
                words,
            })?;
        }
        defaults.check_pairs(&commands)?;
        Ok(defaults)
    }

    /// The defaults of a command, one for each argument.
    pub(super) fn of(&self, command: &[String]) -> Vec<&FileDefault> {
        let ours = || self.all.iter().filter(|default| default.command == command);
        let wins = |default: &&FileDefault| {
            let hides = |other: &FileDefault| other.id == default.id && other.is_own;
            default.is_own || !ours().any(hides)
        };
        ours().filter(wins).collect()
    }

    /// Refuses two settings of one table that exclude each other.
    fn check_pairs(&self, commands: &[(Vec<String>, &Command)]) -> Result<(), ConfigError> {
        for (words, command) in commands {
            let ours = self.of(words);
            for default in ours.iter().filter(|default| default.is_on()) {
                let other = ours.iter().find(|other| {
                    let same_table = other.is_own == default.is_own && other.is_on();
                    same_table && conflict(command, &default.id, &other.id)
                });
                if let Some(other) = other {
                    let words = format!(
                        "{} cannot be set together with {} in line {}",
                        default.key, other.key, other.line
                    );
                    return Err(self.error(default.line, words));
                }
            }
        }
        Ok(())
    }

    /// The command line with these defaults for the called command, without those that conflict
    /// with given arguments.
    ///
    /// # Errors
    /// The command does not accept a value.
    pub(super) fn applied(
        &self,
        root: Command,
        matches: &ArgMatches,
    ) -> Result<Command, ConfigError> {
        let (words, given) = called(matches);
        let mut fitting = Vec::new();
        if let Some(command) = find(&root, &words) {
            for default in self.fitting(command, &words, given) {
                self.check(&root, command, default)?;
                fitting.push(default);
            }
        }
        Ok(with(root, &words, &|_| fitting.clone(), &self.file))
    }

    /// The command line with the defaults of all commands, for its help.
    pub(super) fn shown(&self, root: Command) -> Command {
        with(root, &[], &|words| self.of(words), &self.file)
    }

    /// The defaults that conflict neither with given arguments nor with the command's own table.
    fn fitting(
        &self,
        command: &Command,
        words: &[String],
        given: &ArgMatches,
    ) -> Vec<&FileDefault> {
        let is_given = |arg: &Arg| {
            let source = given.value_source(arg.get_id().as_str());
            source.is_some_and(|source| source != ValueSource::DefaultValue)
        };
        let all = self.of(words);
        let own = all
            .iter()
            .filter(|default| default.is_own && default.is_on());
        let own: Vec<_> = own.map(|default| &default.id).collect();
        let fits = |default: &&FileDefault| {
            let mut given = command.get_arguments().filter(|arg| is_given(arg));
            let is_excluded = |other: &Id| conflict(command, &default.id, other);
            !given.any(|arg| is_excluded(arg.get_id()))
                && (default.is_own || !own.iter().any(|id| is_excluded(id)))
        };
        all.iter().copied().filter(fits).collect()
    }

    /// Checks that the command accepts a value.
    pub(super) fn check(
        &self,
        root: &Command,
        command: &Command,
        default: &FileDefault,
    ) -> Result<(), ConfigError> {
        let owner = [command, root];
        let mut args = owner.iter().flat_map(|owner| owner.get_arguments());
        let Some(arg) = args.find(|arg| *arg.get_id() == default.id) else {
            return Ok(());
        };
        for value in &default.values {
            if let Some(why) = refused(arg, value) {
                let key = &default.key;
                return Err(self.error(default.line, format!("{key} cannot be \"{value}\": {why}")));
            }
        }
        Ok(())
    }

    fn error(&self, line: usize, words: String) -> ConfigError {
        ConfigError {
            path: self.file.path.clone(),
            line: Some(line),
            words,
        }
    }
}

impl FileDefault {
    /// Whether it does more than leave a flag off.
    fn is_on(&self) -> bool {
        self.values != ["false"]
    }
}

/// The called command's name and its arguments.
pub(super) fn called(matches: &ArgMatches) -> (Vec<String>, &ArgMatches) {
    let (mut words, mut at) = (Vec::new(), matches);
    while let Some((name, below)) = at.subcommand() {
        words.push(name.to_owned());
        at = below;
    }
    (words, at)
}

fn find<'a>(root: &'a Command, words: &[String]) -> Option<&'a Command> {
    words
        .iter()
        .try_fold(root, |at, name| at.find_subcommand(name))
}

/// Adds a setting's default for each command that it applies to.
fn add(
    root: &Command,
    commands: &[(Vec<String>, &Command)],
    setting: &Setting,
    all: &mut Vec<FileDefault>,
) -> Result<(), String> {
    let Setting { key, line, .. } = setting;
    if let Some(why) = why_not(key) {
        return Err(format!("{key} cannot be set in this file: it {why}"));
    }
    let is_own = !setting.command.is_empty();
    let meant: Vec<_> = commands
        .iter()
        .filter(|(words, _)| !is_own || *words == setting.command)
        .collect();
    if meant.is_empty() {
        return Err(unknown_command(commands, &setting.command));
    }
    let mut first = None;
    for (words, command) in &meant {
        let Some((_, arg)) = settable(root, command).into_iter().find(|(k, _)| k == key) else {
            continue;
        };
        if !is_same(arg, first.get_or_insert(arg)) {
            continue;
        }
        let id = arg.get_id().clone();
        let again = |other: &FileDefault| other.command == *words && other.id == id;
        if all
            .iter()
            .any(|other| again(other) && other.is_own == is_own)
        {
            return Err(format!("{key} is set twice"));
        }
        all.push(FileDefault {
            command: words.clone(),
            values: values(arg, key, &setting.value)?,
            key: key.clone(),
            line: *line,
            id,
            is_own,
        });
    }
    match first {
        Some(_) => Ok(()),
        None => {
            let keys = meant
                .iter()
                .flat_map(|(_, command)| settable(root, command));
            let keys: Vec<_> = keys.map(|(key, _)| key).collect();
            let of = setting.command.join(" ");
            let of = if is_own {
                format!(" of `{of}`")
            } else {
                String::new()
            };
            Err(format!("{key} is not a setting{of}{}", meaning(key, &keys)))
        }
    }
}

/// Whether two arguments of a command exclude each other; either may declare it.
fn conflict(command: &Command, one: &Id, other: &Id) -> bool {
    let excludes = |one: &Id, other: &Id| {
        let arg = command.get_arguments().find(|arg| arg.get_id() == one);
        let excluded = arg.map(|arg| command.get_arg_conflicts_with(arg));
        excluded.is_some_and(|args| args.iter().any(|arg| arg.get_id() == other))
    };
    one != other && (excludes(one, other) || excludes(other, one))
}
