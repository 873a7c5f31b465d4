//! `potluck log`.

use std::time::Duration;

use potluck::home::Home;
use potluck::log::Level;

use super::failure::{self, Code};
use super::{Outcome, interrupt, nodes, output};

/// Show what the node of this home did last: who connected or was refused, and what failed
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Show events of this level and above: error, warn, info or debug
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = level)]
    level: Level,
    /// Go on with what happens next, until Ctrl-C
    #[arg(long, short)]
    follow: bool,
    /// Print one JSON object for each event
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  potluck log
  potluck log --level debug
  potluck log --follow
  potluck log --json --level warn

`potluck up` and `potluck serve` keep their last 1000 events, of level debug and above, in memory. They
have names, ids and addresses of devices and paths of models: look at what you show to others. No event
has words of prompts or answers. What each frame does is not kept: `potluck up -vvv` tells it on stderr.";

/// How often what happens next is looked for.
const PATIENCE: Duration = Duration::from_millis(200);

/// What is kept at all.
fn level(text: &str) -> Result<Level, String> {
    let level = text.parse().ok().filter(|level| *level != Level::Trace);
    level.ok_or_else(|| "give error, warn, info or debug".to_owned())
}

pub(super) fn run(args: Args) -> anyhow::Result<Outcome> {
    let home = Home::from_environment()?;
    let cancel = interrupt::on_ctrl_c()?;
    let Some(mut client) = nodes::running(&home)? else {
        let words = "no node of this home runs, and what one did is gone with it: start one with `potluck \
                     up`";
        return Err(failure::refusal(Code::Node, words));
    };
    let mut after = 0;
    while !cancel.is_cancelled() {
        let page = client.log(after, args.level)?;
        if page.lost > 0 && !args.json {
            output::note(&format!("… {} events are not kept any more", page.lost));
        }
        for record in &page.records {
            match args.json {
                true => output::json(record)?,
                false => output::line(&record.to_string())?,
            }
        }
        after = page.last;
        if !page.more {
            if !args.follow {
                return Ok(Outcome::Done);
            }
            std::thread::sleep(PATIENCE);
        }
    }
    Ok(Outcome::Interrupted)
}
