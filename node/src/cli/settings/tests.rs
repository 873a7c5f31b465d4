use std::path::Path;

use clap::CommandFactory as _;
use clap::error::ErrorKind;
use proptest::prelude::*;

use super::*;
use crate::cli::Cli;

fn read(text: &str) -> Result<Defaults, ConfigError> {
    let file = ConfigFile::parse(Path::new("c.toml"), text.as_bytes())?;
    Defaults::new(&Cli::command(), file)
}

/// The matches of a command line, with a file's settings applied.
fn parsed(text: &str, arguments: &[&str]) -> ArgMatches {
    let whole = [&["potluck"], arguments].concat();
    let plain = Cli::command().try_get_matches_from(&whole).expect("right");
    let defaults = read(text).expect("right");
    let command = defaults.applied(Cli::command(), &plain).expect("right");
    let matches = command.try_get_matches_from(&whole).expect("right");
    called(&matches).1.clone()
}

fn raw(matches: &ArgMatches, id: &str) -> Vec<String> {
    let values = matches.get_raw(id).into_iter().flatten();
    values
        .map(|value| value.to_string_lossy().into_owned())
        .collect()
}

#[test]
fn the_file_gives_defaults_and_flags_win() {
    let text = "threads = 3\n[run]\nmax-tokens = 9\n[serve]\nthreads = 2\norigin = [\"http://a\", \"http://b\"]";
    let run = parsed(text, &["run", "Hi"]);
    assert_eq!(raw(&run, "threads"), ["3"]);
    assert_eq!(raw(&run, "max_tokens"), ["9"]);
    assert_eq!(
        raw(&parsed(text, &["run", "-t", "1", "Hi"]), "threads"),
        ["1"]
    );
    let serve = parsed(text, &["serve"]);
    assert_eq!(raw(&serve, "threads"), ["2"], "the command's table wins");
    assert_eq!(raw(&serve, "origin"), ["http://a", "http://b"]);
    let serve = parsed(text, &["serve", "--origin", "http://c"]);
    assert_eq!(raw(&serve, "origin"), ["http://c"]);
    assert_eq!(raw(&parsed(text, &["up"]), "threads"), ["3"]);
}

#[test]
fn a_flag_that_is_on_in_the_file_is_on_and_a_table_can_turn_it_off() {
    let text = "quiet = true\noffline = true\n[chat]\nquiet = false";
    assert!(parsed(text, &["run", "Hi"]).get_flag("quiet"));
    assert!(!parsed(text, &["chat"]).get_flag("quiet"));
    assert!(parsed(text, &["chat"]).get_flag("offline"));
}

#[test]
fn settings_for_all_commands_are_for_those_that_mean_the_same() {
    let text = "model = \"big.gguf\"\ncontext = 100";
    for command in [&["run", "Hi"][..], &["serve"], &["plan"], &["inspect"]] {
        let matches = parsed(text, command);
        assert_eq!(raw(&matches, "model"), ["big.gguf"], "{command:?}");
        assert_eq!(raw(&matches, "context"), ["100"], "{command:?}");
    }
    // `up --model` takes a list of files.
    assert!(raw(&parsed(text, &["up"]), "model").is_empty());
    let own = "[up]\nmodel = [\"a.gguf\", \"b.gguf\"]";
    assert_eq!(raw(&parsed(own, &["up"]), "model"), ["a.gguf", "b.gguf"]);
}

#[test]
fn with_peers_is_what_its_variable_is() {
    let text = "with-peers = true";
    let run = parsed(text, &["run", "Hi"]);
    assert!(run.get_flag("peers_by_default") && !run.get_flag("with_peers"));
    let alone = parsed(text, &["run", "--alone", "Hi"]);
    assert!(alone.get_flag("alone"));
}

#[test]
fn settings_give_way_to_flags_that_exclude_them() {
    let text = "temperature = 0.5\nquiet = true\n[run]\nsystem = \"Be brief.\"";
    let run = parsed(text, &["run", "--greedy", "--raw", "--stats", "Hi"]);
    assert!(raw(&run, "temperature").is_empty());
    assert!(raw(&run, "system").is_empty());
    assert!(!run.get_flag("quiet"));
    // A command's own table overrides a conflicting setting at the top level.
    let text = "temperature = 0.5\n[run]\ngreedy = true";
    let run = parsed(text, &["run", "Hi"]);
    assert!(run.get_flag("greedy") && raw(&run, "temperature").is_empty());
    assert_eq!(raw(&parsed(text, &["chat"]), "temperature"), ["0.5"]);
    assert_eq!(
        raw(&parsed(text, &["run", "--top-k", "1", "Hi"]), "top_k"),
        ["1"]
    );
}

#[test]
fn what_makes_no_sense_is_refused_with_its_line_and_what_is_meant() {
    for (text, words) in [
        (
            "thread = 4",
            "c.toml:1: thread is not a setting; did you mean threads?",
        ),
        (
            "\n[serve]\nhtp = \"x\"",
            "c.toml:3: htp is not a setting of `serve`; did you mean http?",
        ),
        (
            "[server]\nopen = true",
            "c.toml:2: [server] is not a command with settings; did you mean serve?",
        ),
        (
            "[run]\nstreams = 4",
            "c.toml:2: streams is not a setting of `run`",
        ),
        ("[synth]\nseed = 4", "c.toml:2: `synth` takes no settings"),
        (
            "yes = true",
            "yes cannot be set in this file: it says something about one call only",
        ),
        (
            "json = true",
            "json cannot be set in this file: it changes what one call is for",
        ),
        ("threads = true", "threads is a number"),
        ("model = 4", "model is a text: write it in quotes"),
        (
            "offline = \"yes\"",
            "offline is on or off: write true or false",
        ),
        ("threads = [1, 2]", "threads is one value, not a list"),
        (
            "POTLUCK_WITH_PEERS = true",
            "POTLUCK_WITH_PEERS is not a setting",
        ),
        ("verbose = -1", "verbose is a small number"),
        (
            "greedy = true\ntemperature = 1",
            "c.toml:1: greedy cannot be set together with temperature in line 2",
        ),
        ("prompt = \"Hi\"", "prompt is not a setting"),
        ("xyzzy = 1", "c.toml:1: xyzzy is not a setting"),
    ] {
        let error = read(text).expect_err(text).to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn a_value_is_refused_by_the_commands_that_use_it() {
    let defaults = read("[run]\nthreads = 0\n[chat]\nobjective = \"luck\"\nlog-format = \"xml\"");
    let defaults = defaults.expect("its keys are right");
    let refused = |arguments: &[&str]| {
        let matches = Cli::command()
            .try_get_matches_from(arguments)
            .expect("right");
        let applied = defaults.applied(Cli::command(), &matches);
        applied.err().map(|error| error.to_string())
    };
    assert_eq!(refused(&["potluck", "serve"]), None);
    let told = refused(&["potluck", "run", "Hi"]).expect("refused");
    assert_eq!(
        told,
        "c.toml:2: threads cannot be \"0\": give a number from 1 to 1024"
    );
    // A flag does not excuse an invalid setting, unless they exclude each other.
    let told = refused(&["potluck", "chat"]).expect("refused");
    assert!(
        told.contains("write one of latency, throughput, energy"),
        "{told}"
    );
    let told = refused(&["potluck", "chat", "--placement", "self:0..1"]).expect("refused");
    assert!(told.contains("write one of text, json"), "{told}");
}

#[test]
fn help_tells_the_defaults_of_the_file_and_keeps_its_order() {
    let defaults =
        read("threads = 3\nopen = true\n[serve]\nhttp = \"127.0.0.1:1\"").expect("right");
    let help = |command: Command| {
        let error = command.try_get_matches_from(["potluck", "serve", "--help"]);
        let error = error.expect_err("help");
        assert_eq!(error.kind(), ErrorKind::DisplayHelp);
        error.to_string()
    };
    let told = help(defaults.shown(Cli::command()));
    let flat = told.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        flat.contains("Processor threads to compute with [default: 3, by c.toml:1]"),
        "{told}"
    );
    assert!(
        flat.contains("[default: 127.0.0.1:1, by c.toml:4]"),
        "{told}"
    );
    assert!(
        flat.contains("may use the API [default: true, by c.toml:2]"),
        "{told}"
    );
    assert!(!flat.contains("[default: 127.0.0.1:11435]"), "{told}");
    let flags = |help: &str| -> Vec<String> {
        let words = help
            .split_whitespace()
            .map(|word| word.trim_end_matches([',', '.', ';']));
        words
            .filter(|word| word.starts_with("--"))
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(flags(&told), flags(&help(Cli::command())));
}

#[test]
fn every_setting_can_be_named() {
    let root = Cli::command();
    let commands = commands(&root);
    assert!(commands.len() > 14, "{}", commands.len());
    for (words, command) in commands {
        let keys: Vec<_> = settable(&root, command)
            .into_iter()
            .map(|(key, _)| key)
            .collect();
        assert!(keys.iter().any(|key| key == "log-format"), "{words:?}");
        let mut once = keys.clone();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), keys.len(), "{words:?}: {keys:?}");
        assert!(keys.iter().all(|key| !key.contains('_')), "{keys:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_file_makes_it_panic(
        lines in prop::collection::vec(
            (
                prop::sample::select(vec![
                    "model", "threads", "with-peers", "listen", "origin", "greedy", "temperature",
                    "verbose", "memory", "[run]", "[serve]", "[circle.new]", "[circle]", "thinking",
                    "http", "x y",
                ]),
                prop::sample::select(vec![
                    "4", "true", "\"a\"", "[\"a\", 1]", "-1", "1e400", "nan", "\"\"", "[]",
                    "\"--x\"", "\"é\\u0000\"",
                ]),
            ),
            0..8,
        ),
    ) {
        let line = |(key, value): &(&str, &str)| match key.starts_with('[') {
            true => (*key).to_owned(),
            false => format!("{key} = {value}"),
        };
        let text = lines.iter().map(line).collect::<Vec<_>>().join("\n");
        if let Ok(defaults) = read(&text) {
            for arguments in [&["potluck", "run", "--alone", "Hi"][..], &["potluck", "serve"], &["potluck", "up"]] {
                let plain = Cli::command().try_get_matches_from(arguments).expect("right");
                if let Ok(command) = defaults.applied(Cli::command(), &plain) {
                    let _ = command.try_get_matches_from(arguments);
                }
            }
            let _ = defaults.shown(Cli::command()).try_get_matches_from(["potluck", "run", "-h"]);
        }
    }
}
