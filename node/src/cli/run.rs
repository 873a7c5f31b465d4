//! `potluck run`.

use std::io;
use std::num::NonZeroUsize;
use std::time::Instant;

use indicatif::ProgressBar;
use potluck::Cancel;
use potluck::answer::{Answer, AnswerError, Question, answer};
use potluck::engine::{Engine, Event, GenerateOptions, OpenOptions, Sequence};
use potluck::home::Home;
use potluck::prompt;
use potluck::step_times::{StepTimes, TimedSequence};
use serde::Serialize;

use super::options::{EngineArgs, ModelOptions, PackArgs, PromptArgs, SamplingArgs, at_least_one};
use super::together::{self, Devices, Requester, TogetherArgs};
use super::{Outcome, format, input, interrupt, nodes, obtain, output, room};

/// Answer one prompt and end
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The prompt; read from stdin if absent or `-` (one final line end is dropped)
    prompt: Option<String>,
    /// Instructions for the whole answer
    #[arg(long, value_name = "TEXT", conflicts_with = "raw")]
    system: Option<String>,
    /// Give the model the text as it is, without its chat template; special tokens written in it,
    /// such as <|im_end|>, become those tokens
    #[arg(long, conflicts_with_all = ["chat_template", "thinking"])]
    raw: bool,
    /// Maximum number of tokens to generate
    #[arg(long, short = 'n', value_name = "N", default_value = "512", value_parser = at_least_one)]
    max_tokens: NonZeroUsize,
    #[command(flatten)]
    model: ModelOptions,
    #[command(flatten)]
    engine: EngineArgs,
    #[command(flatten)]
    pack: PackArgs,
    /// Print one JSON object at the end instead of streaming the text
    #[arg(long)]
    json: bool,
    /// Print only the answer and errors
    #[arg(long, short, conflicts_with = "stats")]
    quiet: bool,
    /// Print timings to stderr even if it is not a terminal
    #[arg(long)]
    stats: bool,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    written: PromptArgs,
    #[command(flatten)]
    together: TogetherArgs,
}

const EXAMPLES: &str = "\
Examples:
  potluck run \"Why is the sky blue?\"
  cat letter.txt | potluck run --system \"Summarise the user's text in one sentence.\"
  potluck run --model gemma3:270m --raw --greedy \"The capital of France is\"
  potluck run --model base.gguf --chat-template chatml \"Why is the sky blue?\"
  potluck run --json --seed 7 \"Name three colours.\"
  potluck run --with-peers --model big.gguf \"Why is the sky blue?\"
  potluck run --model big.gguf --drafter small.gguf \"Why is the sky blue?\"

Other devices compute only with --with-peers or --placement, or if POTLUCK_WITH_PEERS=1 is set;
--alone overrides that. If there are paired devices, the first line says which of them compute.
Ctrl-C ends the answer and keeps the text so far; the exit code is then 130.";

pub(super) fn run(mut args: Args) -> anyhow::Result<Outcome> {
    args.together.node.quiet = args.quiet;
    args.together.check_effects()?;
    args.sampling.check_effects()?;
    let prompt = read_prompt(args.prompt.take(), args.raw)?;
    // Checked before a model is downloaded.
    prompt::check_not_empty(&prompt)?;
    let cancel = interrupt::on_ctrl_c()?;
    let drafter = args.together.who.drafter();
    let Some(paths) = obtain::paths(&args.model, drafter, &cancel, args.quiet)? else {
        return Ok(Outcome::Interrupted);
    };
    let options = OpenOptions {
        template: args.written.template(),
        drafts: args.together.who.drafts() && !args.together.wants_peers(),
        drafter: paths.drafter,
        ..args.engine.options()
    };
    let opened = obtain::open_file(&paths.model, &options, args.quiet)?;
    let engine = &opened.engine;
    let remark = match args.raw || args.quiet {
        true => None,
        false => prompt::remark(engine, args.system.is_some())?,
    };
    remark.into_iter().for_each(output::note);
    let question = question(&args, prompt);
    let show = Show {
        json: args.json,
        quiet: args.quiet,
    };
    let home = Home::from_environment()?;
    args.together.node.packed = args.pack.store(&home, args.quiet);
    let requester = if args.together.wants_peers() {
        Requester::open(&home, &args.together, &opened, &options, &cancel)?
    } else {
        None
    };
    let (answer, devices) = if let Some(requester) = requester {
        requester.converse(&cancel, args.quiet, |sequence| {
            answer_to(engine, sequence, &question, &cancel, show)
        })?
    } else {
        room::check(&opened, args.together.memory())?;
        together::tell_alone(&home, args.quiet || args.json);
        let _goes_first = nodes::compute_here(&home);
        let _packing = opened.pack(args.together.node.packed.as_ref());
        let times = StepTimes::of(opened.shape.as_ref().ok().cloned());
        let sequence = args.together.alone(engine)?;
        let mut sequence = TimedSequence::new(sequence, &times);
        let answer = answer_to(engine, &mut sequence, &question, &cancel, show)?;
        times.keep(&home, engine.threads(), engine.isa());
        (answer, Devices::only_this(&home, engine.config().layers))
    };
    tell(&answer, &devices, show, args.stats)
}

/// The prompt that is given, or read from stdin.
fn read_prompt(given: Option<String>, raw: bool) -> anyhow::Result<String> {
    let piped = given.as_deref().is_none_or(|prompt| prompt == "-");
    let mut prompt = input::text(given, "prompt")?;
    if !raw {
        prompt = input::plain(&prompt);
    }
    Ok(match piped {
        true => input::without_final_newline(prompt),
        false => prompt,
    })
}

/// What is asked, and how the answer is to be.
fn question(args: &Args, prompt: String) -> Question {
    Question {
        prompt: prompt.into(),
        system: args.system.as_deref().map(|text| input::plain(text).into()),
        raw: args.raw,
        written: args.written.options(),
        generate: GenerateOptions {
            sampling: args.sampling.settings(),
            max_tokens: args.max_tokens.get(),
            ..GenerateOptions::default()
        },
    }
}

/// Prints the JSON report, the statistics and the notes of a finished answer.
fn tell(answer: &Answer, devices: &Devices, show: Show, stats: bool) -> anyhow::Result<Outcome> {
    if show.json {
        output::json(&Report { answer, devices })?;
    }
    if answer.says_nothing() && !show.quiet {
        output::note("the model ended its turn without any text");
    }
    if stats || (output::stderr_is_terminal() && !show.quiet && !show.json) {
        output::note(&format::answer_stats(answer));
    }
    let words = format::cut(answer, "--context makes it larger");
    if let Some(words) = words.filter(|_| !show.quiet && !show.json) {
        output::note(&words);
    }
    Ok(if answer.is_cancelled() {
        Outcome::Interrupted
    } else {
        Outcome::Done
    })
}

/// The output of `--json`.
#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    answer: &'a Answer,
    #[serde(flatten)]
    devices: &'a Devices,
}

/// How to show an answer while it streams.
#[derive(Clone, Copy)]
struct Show {
    json: bool,
    quiet: bool,
}

fn answer_to<S: Sequence>(
    engine: &Engine,
    sequence: &mut S,
    question: &Question,
    cancel: &Cancel,
    show: Show,
) -> anyhow::Result<Answer>
where
    AnswerError: From<S::Error>,
{
    if show.json {
        Ok(answer(engine, sequence, question, cancel, &mut |_| ())?)
    } else {
        stream(engine, sequence, question, cancel, show.quiet)
    }
}

/// Answers, and prints each piece of text as it comes.
fn stream<S: Sequence>(
    engine: &Engine,
    sequence: &mut S,
    question: &Question,
    cancel: &Cancel,
    quiet: bool,
) -> anyhow::Result<Answer>
where
    AnswerError: From<S::Error>,
{
    let mut printer = Printer::new(cancel, quiet);
    let answer = answer(engine, sequence, question, cancel, &mut |event| {
        printer.show(event)
    });
    printer.finish(answer.as_ref().ok())?;
    Ok(answer?)
}

/// Prints tokens to stdout as they come, and the progress of a long prefill before them.
pub(super) struct Printer<'a> {
    cancel: &'a Cancel,
    started: Instant,
    bar: ProgressBar,
    show_bar: bool,
    printed: usize,
    failure: Option<io::Error>,
}

impl<'a> Printer<'a> {
    pub(super) fn new(cancel: &'a Cancel, quiet: bool) -> Self {
        Self {
            cancel,
            started: Instant::now(),
            bar: ProgressBar::hidden(),
            show_bar: !quiet,
            printed: 0,
            failure: None,
        }
    }

    pub(super) fn show(&mut self, event: Event<'_>) {
        match event {
            Event::Prefill { done, total } => self.prefill(done, total),
            Event::Token { text, .. } => {
                self.bar.finish_and_clear();
                self.print(text);
            }
        }
    }

    /// Shows a progress bar for prompts that take longer than a second.
    fn prefill(&mut self, done: usize, total: usize) {
        if self.bar.is_hidden() && self.show_bar && self.started.elapsed().as_secs() >= 1 {
            self.show_bar = false;
            self.bar = output::count_bar(total as u64, true).with_message("reading the prompt");
        }
        self.bar.set_position(done as u64);
    }

    fn print(&mut self, text: &str) {
        self.printed += text.len();
        if self.failure.is_none()
            && let Err(error) = output::write(text)
        {
            // The reader is gone, so the rest of the answer has no use.
            self.failure = Some(error);
            self.cancel.cancel();
        }
    }

    /// Ends the answer's line.
    pub(super) fn finish(mut self, answer: Option<&Answer>) -> io::Result<()> {
        self.bar.finish_and_clear();
        if let Some(answer) = answer {
            // An answer cut in the middle of a character ends with a replacement character, which
            // belongs to no token.
            let rest = answer.text.get(self.printed..).unwrap_or_default();
            self.print(&format!("{rest}\n"));
        }
        self.failure.map_or(Ok(()), Err)
    }
}
