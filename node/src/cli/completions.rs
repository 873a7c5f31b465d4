//! `potluck completions`.

use clap::{CommandFactory as _, ValueEnum as _};
use clap_complete::Shell;
use serde::Serialize;

use super::shown::shown;
use super::{Cli, Outcome, output};

/// Print a script that completes potluck's commands and options in a shell
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
    /// Print one JSON object with the script
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  potluck completions bash > ~/.local/share/bash-completion/completions/potluck
  potluck completions zsh > ~/.zfunc/_potluck      with that folder in fpath
  potluck completions fish > ~/.config/fish/completions/potluck.fish
  potluck completions powershell >> $PROFILE";

#[derive(Serialize)]
struct Report {
    shell: String,
    script: String,
}

pub(super) fn run(args: Args) -> anyhow::Result<Outcome> {
    let script = script(args.shell);
    if args.json {
        let shell = args.shell.to_possible_value();
        let shell = shell.map_or_else(String::new, |value| value.get_name().to_owned());
        output::json(&Report { shell, script })?;
    } else {
        output::write(&script)?;
    }
    Ok(Outcome::Done)
}

/// The script for a shell.
fn script(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut shown(&Cli::command()), "potluck", &mut script);
    // clap's texts are UTF-8, and so are the scripts generated from them.
    String::from_utf8_lossy(&script).into_owned()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::super::shown::tests::all;
    use super::*;

    #[test]
    fn every_shell_is_told_every_command_and_flag_that_help_shows() {
        for shell in Shell::value_variants() {
            let script = script(*shell);
            for variable in ["--POTLUCK_", "-l POTLUCK_"] {
                assert!(!script.contains(variable), "{shell} offers a variable");
            }
            for (words, command) in all() {
                // Matches the command names in a script, regardless of separators.
                let name = words.last().expect("a name");
                assert!(script.contains(name.as_str()), "{shell}: {words:?}");
                for long in command.get_arguments().filter_map(clap::Arg::get_long) {
                    // fish writes `-l threads`.
                    let told = script.contains(&format!("--{long}"))
                        || script.contains(&format!("-l {long}"));
                    assert!(told, "{shell}: {words:?} --{long}");
                }
            }
        }
    }

    /// Bash's completions of the last word; `None` if bash is not installed.
    fn offered(words: &[&str]) -> Option<String> {
        let quoted: Vec<_> = words.iter().map(|word| format!("'{word}'")).collect();
        let [.., before, word] = quoted.as_slice() else {
            panic!("a command and a word");
        };
        let asked = format!(
            "{}\ncompopt() {{ :; }}\nCOMP_WORDS=({})\nCOMP_CWORD={}\n_potluck potluck {word} {before}\n\
             echo \"${{COMPREPLY[@]}}\"",
            script(Shell::Bash),
            quoted.join(" "),
            words.len() - 1,
        );
        let output = Command::new("bash").args(["-c", &asked]).output().ok()?;
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{output:?}"
        );
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    #[test]
    fn bash_takes_its_script_and_offers_what_may_follow() {
        let Some(commands) = offered(&["potluck", ""]) else {
            println!("not tried: there is no bash");
            return;
        };
        for (words, command) in all() {
            let called: Vec<_> = words.iter().map(String::as_str).collect();
            let line = [&["potluck"], called.as_slice(), &["--"]].concat();
            let flags = offered(&line).expect("there is bash");
            for long in command.get_arguments().filter_map(clap::Arg::get_long) {
                let flag = format!("--{long}");
                let is_there = flags.split_whitespace().any(|word| word == flag);
                assert!(is_there, "{words:?} {flag}: {flags}");
            }
            if let [name] = called.as_slice() {
                let is_there = commands.split_whitespace().any(|word| word == *name);
                assert!(is_there, "{name}: {commands}");
            }
        }
        let flags = offered(&["potluck", "run", "--t"]).expect("there is bash");
        assert!(
            flags.contains("--threads") && flags.contains("--top-k"),
            "{flags}"
        );
        assert!(!flags.contains("--json"), "{flags}");
        let values = offered(&["potluck", "run", "--objective", ""]).expect("there is bash");
        assert!(
            values.contains("latency") && values.contains("energy"),
            "{values}"
        );
    }

    #[test]
    fn shells_that_are_here_read_their_scripts() {
        for (shell, program, check) in [
            (Shell::Bash, "bash", &["-n"][..]),
            (Shell::Zsh, "zsh", &["-n"]),
            (Shell::Fish, "fish", &["--no-execute"]),
        ] {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let file = folder.path().join("script");
            std::fs::write(&file, script(shell)).expect("writable");
            let mut checked = Command::new(program);
            checked.args(check).arg(&file).stdin(Stdio::null());
            match checked.output() {
                Ok(output) => assert!(output.status.success(), "{shell}: {output:?}"),
                Err(_) => println!("not tried: there is no {program}"),
            }
        }
    }
}
