//! `potluck man`.

use std::fs;
use std::io;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Command, CommandFactory as _};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};
use serde::Serialize;

use super::failure::{self, Code};
use super::shown::shown;
use super::{Cli, Outcome, output};

/// Write the manual pages, one for each command
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The command whose page to print, such as `run` or `circle new`; without it, the page of
    /// potluck itself
    #[arg(value_name = "COMMAND", conflicts_with = "out")]
    command: Vec<String>,
    /// Write all pages into this folder instead, as potluck.1, potluck-run.1 and so on
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Print one JSON object: the page, or the files that were written
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  potluck man run | man -l -
  potluck man --out ~/.local/share/man/man1";

/// The output of `--json`.
#[derive(Serialize)]
#[serde(untagged)]
enum Report {
    Page { name: String, page: String },
    Files { files: Vec<PathBuf> },
}

/// A manual page.
#[derive(Debug)]
struct Page {
    /// The command's name, without `potluck`.
    command: Vec<String>,
    /// The file name, such as `potluck-circle-new.1`.
    name: String,
    text: String,
}

pub(super) fn run(args: Args) -> anyhow::Result<Outcome> {
    let pages = pages().context("cannot write a manual page")?;
    let Some(folder) = &args.out else {
        let page = pages.into_iter().find(|page| page.command == args.command);
        let Some(Page { name, text, .. }) = page else {
            let words = format!("potluck has no command \"{}\"", args.command.join(" "));
            return Err(failure::refusal(Code::Usage, words));
        };
        match args.json {
            true => output::json(&Report::Page { name, page: text })?,
            false => output::write(&text)?,
        }
        return Ok(Outcome::Done);
    };
    let mut files = Vec::new();
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for page in pages {
        let file = folder.join(&page.name);
        fs::write(&file, page.text).with_context(|| format!("cannot write {}", file.display()))?;
        files.push(file);
    }
    match args.json {
        true => output::json(&Report::Files { files })?,
        false => files
            .iter()
            .try_for_each(|file| output::line(&file.display().to_string()))?,
    }
    Ok(Outcome::Done)
}

/// The pages of all commands.
fn pages() -> io::Result<Vec<Page>> {
    fn add(command: &Command, words: &[String], pages: &mut Vec<Page>) -> io::Result<()> {
        pages.push(page(command, words)?);
        for sub in command.get_subcommands() {
            add(sub, &[words, &[sub.get_name().to_owned()]].concat(), pages)?;
        }
        Ok(())
    }
    let mut command = shown(&Cli::command()).disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    add(&command, &[], &mut pages)?;
    Ok(pages)
}

fn page(command: &Command, words: &[String]) -> io::Result<Page> {
    let man = Man::new(command.clone())
        .source(concat!("potluck ", env!("CARGO_PKG_VERSION")))
        .manual("Potluck");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut text)?;
    }
    if let Some(notes) = command.get_after_help() {
        after(&notes.to_string()).to_writer(&mut text)?;
    }
    Ok(Page {
        command: words.to_vec(),
        name: man.get_filename(),
        text: ascii(&String::from_utf8_lossy(&text)),
    })
}

/// Escapes non-ASCII characters for roff, so that a page is correct in every locale.
fn ascii(page: &str) -> String {
    page.chars().fold(String::new(), |mut page, c| {
        match c.is_ascii() {
            true => page.push(c),
            false => page.push_str(&format!("\\[u{:04X}]", u32::from(c))),
        }
        page
    })
}

/// The sections below the options: examples, line by line, and paragraphs.
fn after(notes: &str) -> Roff {
    let mut roff = Roff::new();
    let mut has_notes = false;
    for paragraph in notes.split("\n\n") {
        if let Some(examples) = paragraph.strip_prefix("Examples:\n") {
            roff.control("SH", ["EXAMPLES"]).control("nf", []);
            for line in examples.lines() {
                roff.text([roman(line)]);
            }
            roff.control("fi", []);
            continue;
        }
        if !std::mem::replace(&mut has_notes, true) {
            roff.control("SH", ["NOTES"]);
        }
        roff.control("PP", []);
        for line in paragraph.lines() {
            roff.text([roman(line)]);
        }
    }
    roff
}

#[cfg(test)]
mod tests {
    use super::super::shown::tests::all;
    use super::*;

    #[test]
    fn every_command_has_a_page_with_its_flags() {
        let pages = pages().expect("written to memory");
        let all = all();
        assert_eq!(pages.len(), all.len() + 1);
        for (words, command) in all {
            let page = pages.iter().find(|page| page.command == words);
            let page = page.unwrap_or_else(|| panic!("{words:?} has no page"));
            assert_eq!(page.name, format!("potluck-{}.1", words.join("-")));
            assert!(page.text.contains(".SH NAME"), "{}", page.text);
            assert!(page.text.is_ascii(), "{words:?}");
            assert!(!page.text.contains("POTLUCK_WITH_PEERS\\fR"), "{words:?}");
            for long in command.get_arguments().filter_map(clap::Arg::get_long) {
                let flag = format!("--{long}").replace('-', "\\-");
                assert!(page.text.contains(&flag), "{words:?} {flag}");
            }
        }
        let whole = pages.iter().find(|page| page.command.is_empty());
        let whole = whole.expect("its page");
        assert_eq!(whole.name, "potluck.1");
        for name in ["run", "serve", "circle", "completions"] {
            assert!(
                whole.text.contains(&format!("potluck\\-{name}(1)")),
                "{name}"
            );
        }
    }

    #[test]
    fn examples_keep_their_lines() {
        let text = after("Examples:\n  potluck run\n  potluck chat\n\nMore\nwords.").to_roff();
        let examples = ".SH EXAMPLES\n.nf\n  potluck run\n  potluck chat\n.fi\n";
        assert!(text.contains(examples), "{text}");
        assert!(text.contains(".SH NOTES\n.PP\nMore\nwords."), "{text}");
    }
}
