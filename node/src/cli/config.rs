//! `potluck config`.

use std::env;
use std::path::PathBuf;

use clap::{Arg, ArgAction, CommandFactory as _};
use potluck::config::{ConfigFile, ConfigPath};
use serde::Serialize;
use serde_json::{Value, json};

use super::settings::{Defaults, commands, settable};
use super::{Cli, Outcome, arguments, output};

/// Show the settings in force, and whether each is a default, from the configuration file or from the
/// environment
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Show also the settings that have only their default
    #[arg(long, conflicts_with = "json")]
    all: bool,
    /// Print one JSON object, with all settings
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Path(PathArgs),
}

/// Print where the configuration file is, or would be
#[derive(Debug, clap::Args)]
#[command(after_help = PATH_EXAMPLES)]
struct PathArgs {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  potluck config
  potluck config --all
  POTLUCK_CONFIG=other.toml potluck config
  POTLUCK_CONFIG=/dev/null potluck run \"Hi\"      uses no file

The file is TOML. A key is the long name of a flag, at the top for all commands that have it, in a
command's table for that command:

  model = \"gemma3:270m\"
  threads = 4
  with-peers = true

  [serve]
  http = \"127.0.0.1:8080\"
  origin = [\"http://localhost:3000\"]

A flag that is on or off is true or false. A flag wins against an environment variable, that against the
command's table, that against the top of the file, that against the default. A setting that conflicts
with a flag gives way. Paths are as on the command line. The file has no secrets: there are no settings
for any.";

const PATH_EXAMPLES: &str = "\
Examples:
  potluck config path
  mkdir -p \"$(dirname \"$(potluck config path)\")\"
  ${EDITOR:-vi} \"$(potluck config path)\"

$POTLUCK_CONFIG names another file.";

/// The most characters of a column. Longer texts move what follows to the right.
const WIDEST: usize = 40;

/// The origin of a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "origin")]
enum Origin {
    Default,
    File { line: usize },
    Environment { variable: String },
}

/// A setting, with the commands that share its value and origin.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct InForce {
    key: String,
    commands: Vec<String>,
    value: Value,
    #[serde(flatten)]
    origin: Origin,
}

#[derive(Serialize)]
struct Report {
    file: Option<PathBuf>,
    settings: Vec<InForce>,
}

pub(super) fn run(args: Args) -> anyhow::Result<Outcome> {
    let place = arguments::config_path();
    if let Some(Command::Path(args)) = args.command {
        return path(place.as_ref(), args.json);
    }
    let is_there = place.as_ref().map_or(Ok(None), ConfigFile::read)?.is_some();
    let defaults = arguments::defaults()?;
    let all = in_force(&defaults)?;
    let file = place.map(|place| place.path().to_owned());
    if args.json {
        let file = file.filter(|_| is_there);
        output::json(&Report {
            file,
            settings: all,
        })?;
        return Ok(Outcome::Done);
    }
    let file = file.map_or_else(|| "no file".to_owned(), |file| file.display().to_string());
    let shown: Vec<_> = all
        .iter()
        .filter(|one| args.all || one.origin != Origin::Default)
        .collect();
    let widest = |text: fn(&InForce) -> String| {
        let widths = shown.iter().map(|one| text(one).chars().count());
        widths.max().unwrap_or_default().min(WIDEST)
    };
    let widths = (widest(|one| one.key.clone()), widest(in_words));
    for one in &shown {
        output::line(&line(one, &all, &file, widths))?;
    }
    if shown.is_empty() {
        output::note("all settings have their defaults: `potluck config --all` shows them");
    }
    if !is_there {
        output::note(&format!(
            "there is no configuration file; it would be {file}"
        ));
    }
    Ok(Outcome::Done)
}

fn path(place: Option<&ConfigPath>, json: bool) -> anyhow::Result<Outcome> {
    let path = place.map(ConfigPath::path);
    match (json, path) {
        (true, path) => output::json(&json!({"file": path}))?,
        (false, Some(path)) => output::line(&path.display().to_string())?,
        (false, None) => {
            output::note("this account has no folder for settings: POTLUCK_CONFIG can name a file")
        }
    }
    Ok(Outcome::Done)
}

/// The value, for people.
fn in_words(one: &InForce) -> String {
    match &one.value {
        Value::Null => "not set".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(values) => {
            let words: Vec<_> = values.iter().filter_map(Value::as_str).collect();
            words.join(", ")
        }
        other => other.to_string(),
    }
}

/// A setting's line. The widths are those of the columns of keys and values.
fn line(one: &InForce, all: &[InForce], file: &str, (key, value): (usize, usize)) -> String {
    let origin = match &one.origin {
        Origin::Default => "default".to_owned(),
        Origin::File { line } => format!("{file}:{line}"),
        Origin::Environment { variable } => format!("environment: {variable}"),
    };
    let is_one_of_several = all.iter().any(|other| other.key == one.key && other != one);
    let of = match is_one_of_several {
        true => format!("  for {}", one.commands.join(", ")),
        false => String::new(),
    };
    format!("{:<key$}  {:<value$}  {origin}{of}", one.key, in_words(one))
}

/// All settings of all commands, with equal ones merged.
fn in_force(defaults: &Defaults) -> anyhow::Result<Vec<InForce>> {
    let root = Cli::command();
    let mut all: Vec<InForce> = Vec::new();
    for (words, command) in commands(&root) {
        let of_file = defaults.of(&words);
        for default in &of_file {
            defaults.check(&root, command, default)?;
        }
        for (key, arg) in settable(&root, command) {
            let set = of_file.iter().find(|default| default.key == key);
            let (value, origin) = match (environment(arg), set) {
                (Some((variable, text)), _) => {
                    (Value::String(text), Origin::Environment { variable })
                }
                (None, Some(set)) => {
                    let values = set.values.iter().map(|value| (*value).to_owned()).collect();
                    (value(arg, values), Origin::File { line: set.line })
                }
                (None, None) => (built_in(arg), Origin::Default),
            };
            let same =
                |one: &&mut InForce| one.key == key && one.value == value && one.origin == origin;
            let name = words.join(" ");
            match all.iter_mut().find(same) {
                Some(one) => one.commands.push(name),
                None => all.push(InForce {
                    key,
                    commands: vec![name],
                    value,
                    origin,
                }),
            }
        }
    }
    all.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(all)
}

/// An argument's environment variable and its value, if it is set.
fn environment(arg: &Arg) -> Option<(String, String)> {
    let variable = arg.get_env()?;
    let value = env::var_os(variable)?;
    Some((
        variable.to_string_lossy().into_owned(),
        value.to_string_lossy().into_owned(),
    ))
}

/// The built-in default of an argument.
fn built_in(arg: &Arg) -> Value {
    if matches!(arg.get_action(), ArgAction::SetTrue) {
        return Value::Bool(false);
    }
    let values = arg.get_default_values().iter();
    let values: Vec<_> = values
        .map(|value| value.to_string_lossy().into_owned())
        .collect();
    if !values.is_empty() {
        return value(arg, values);
    }
    // Some defaults are described only in the help text.
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let told = help.split("[default: ").nth(1);
    let told = told.and_then(|rest| rest.strip_suffix(']'));
    told.map_or(Value::Null, |told| Value::String(told.replace('\n', " ")))
}

fn value(arg: &Arg, mut values: Vec<String>) -> Value {
    match (arg.get_action(), values.len()) {
        (ArgAction::SetTrue, _) => Value::Bool(values.iter().any(|value| value == "true")),
        (ArgAction::Append, _) => values.into(),
        (_, 1) => Value::String(values.remove(0)),
        _ => values.into(),
    }
}
