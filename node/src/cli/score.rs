//! `potluck score`.

use indicatif::ProgressBar;
use potluck::engine::{Engine, TokenId};
use potluck::home::Home;
use potluck::prompt;
use potluck::score::{ScoreInput, ScoreReport, score};

use super::options::{EngineArgs, ModelOptions, PackArgs};
use super::{Outcome, input, interrupt, obtain, output};

/// Print how likely the model finds each token of a text
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The text; without it, or with `-`, read from stdin, every byte of it
    text: Option<String>,
    /// Score these token ids instead, adding nothing
    #[arg(
        long,
        value_name = "ID,ID,…",
        value_delimiter = ',',
        value_parser = token_id,
        conflicts_with = "text"
    )]
    tokens: Option<Vec<TokenId>>,
    /// Also list the K most likely tokens at each position
    #[arg(long, value_name = "K", default_value_t = 0, hide_default_value = true)]
    top: usize,
    #[command(flatten)]
    model: ModelOptions,
    #[command(flatten)]
    engine: EngineArgs,
    #[command(flatten)]
    pack: PackArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Print nothing but the scores and errors
    #[arg(long, short)]
    quiet: bool,
}

fn token_id(text: &str) -> Result<TokenId, String> {
    let id = text.trim().parse();
    id.map_err(|_| "a token id is a number, such as 504: write a text without --tokens".to_owned())
}

const EXAMPLES: &str = "\
Examples:
  potluck score \"The capital of France is Paris.\"
  potluck score --top 5 --json < chapter.txt
  potluck score --tokens 504,3575,282,4649,314 --model gemma3:270m";

pub(super) fn run(args: Args) -> anyhow::Result<Outcome> {
    let input = match args.tokens {
        Some(ids) => ScoreInput::Tokens(ids),
        None => ScoreInput::Text(input::text(args.text, "text")?),
    };
    if let ScoreInput::Text(text) = &input {
        // Before a model is fetched for nothing.
        prompt::check_not_empty(text)?;
    }
    let cancel = interrupt::on_ctrl_c()?;
    let opened = obtain::open(&args.model, &args.engine.options(), &cancel, args.quiet)?;
    let Some(opened) = opened else {
        return Ok(Outcome::Interrupted);
    };
    let packed = args.pack.store(&Home::from_environment()?, args.quiet);
    let _packing = opened.pack(packed.as_ref());
    interrupt::leave_at_once();
    let mut bar = ProgressBar::hidden();
    let outcome = score(&opened.engine, input, args.top, &mut |done, total| {
        if bar.length().is_none() {
            bar = output::count_bar(total as u64, !args.quiet).with_message("scoring");
        }
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    let report = outcome?;
    if args.json {
        output::json(&report)?
    } else {
        print(&opened.engine, &report)?
    }
    Ok(Outcome::Done)
}

/// A line for each token: its log-probability, and the most likely ones if asked for.
fn print(engine: &Engine, report: &ScoreReport) -> anyhow::Result<()> {
    let text = |id| format!("{:?}", engine.tokenizer().token_text(id));
    output::line(&format!("{:>8}  {:>9}  TOKEN", "ID", "LOGPROB"))?;
    for (position, &id) in report.token_ids.iter().enumerate() {
        let logprob = match position.checked_sub(1) {
            Some(before) => format!("{:.4}", report.logprobs[before]),
            None => "-".to_owned(),
        };
        output::line(&format!("{id:>8}  {logprob:>9}  {}", text(id)))?;
        let next = report.top.as_ref().and_then(|top| top.get(position));
        for &(id, logprob) in next.into_iter().flatten() {
            output::line(&format!(
                "{:>8}  {:>9}  next: {logprob:.4} {}",
                "",
                "",
                text(id)
            ))?;
        }
    }
    let perplexity = report.mean_nll.exp();
    output::line(&format!(
        "mean {:.4} nats a token, perplexity {perplexity:.2}",
        report.mean_nll
    ))?;
    Ok(())
}
