//! `potluck chat`.

mod command;
mod program;

use std::fs;
use std::io::{self, Write as _};
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, bail};
use potluck::Cancel;
use potluck::answer::{Answer, AnswerError};
use potluck::conversation::{Conversation, ConversationError, Reply};
use potluck::engine::{Engine, GenerateOptions, OpenOptions, Sequence};
use potluck::home::Home;
use potluck::prompt;
use potluck::step_times::{StepTimes, TimedSequence};
use potluck::words;
use serde::Serialize;

use super::lines::{Line, Lines};
use super::options::{
    EngineArgs, ModelOptions, PackArgs, PromptArgs, SamplingArgs, at_least_one, next_seed,
};
use super::run::Printer;
use super::together::{self, Requester, TogetherArgs};
use super::{Outcome, format, input, interrupt, nodes, obtain, output, room};
use command::{ChatLine, HELP};

/// Chat with a model in the terminal
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Instructions for the whole conversation
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Maximum number of tokens in an answer [default: as many as the context has room for]
    #[arg(long, short = 'n', value_name = "N", value_parser = at_least_one)]
    max_tokens: Option<NonZeroUsize>,
    #[command(flatten)]
    model: ModelOptions,
    #[command(flatten)]
    engine: EngineArgs,
    #[command(flatten)]
    pack: PackArgs,
    /// Read and print JSON: one object for each line {"user": TEXT}, {"system": TEXT}, "retry" or
    /// "clear" on stdin
    #[arg(long)]
    json: bool,
    /// Print only answers and errors
    #[arg(long, short, conflicts_with = "stats")]
    quiet: bool,
    /// Print timings to stderr after each answer
    #[arg(long, conflicts_with = "json")]
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
  potluck chat
  potluck chat --with-peers --model big.gguf
  potluck chat --model big.gguf --drafter small.gguf
  potluck chat --system \"You are a patient teacher.\" --context 8192
  printf 'Hello!\\nWhat did I just say?\\n' | potluck chat
  echo '{\"user\": \"Hello!\"}' | potluck chat --json

Type /help for commands. When the context is full, the model no longer sees the oldest turns; a
quarter of the context is freed at a time, and the system message always stays. The model reads the
remaining turns again while you type. The conversation is kept in memory only. Other devices compute
only with --with-peers or --placement, or if POTLUCK_WITH_PEERS=1 is set.";

pub(super) fn run(mut args: Args) -> anyhow::Result<Outcome> {
    args.together.node.quiet = args.quiet;
    args.together.check_effects()?;
    args.sampling.check_effects()?;
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
    let home = Home::from_environment()?;
    args.together.node.packed = args.pack.store(&home, args.quiet);
    let requester = if args.together.wants_peers() {
        Requester::open(&home, &args.together, &opened, &options, &cancel)?
    } else {
        None
    };
    if let Some(requester) = requester {
        let (outcome, _devices) = requester.converse(&cancel, args.quiet, |sequence| {
            hold(&args, engine, sequence, &cancel, None)
        })?;
        return Ok(outcome);
    }
    room::check(&opened, args.together.memory())?;
    together::tell_alone(&home, args.quiet);
    let _packing = opened.pack(args.together.node.packed.as_ref());
    let times = StepTimes::of(opened.shape.as_ref().ok().cloned());
    let sequence = args.together.alone(engine)?;
    let mut sequence = TimedSequence::new(sequence, &times);
    let outcome = hold(&args, engine, &mut sequence, &cancel, Some(&home))?;
    times.keep(&home, engine.threads(), engine.isa());
    Ok(outcome)
}

/// Runs the conversation in this sequence; `computes_in` is the home if this process computes it.
fn hold<S: Sequence>(
    args: &Args,
    engine: &Engine,
    sequence: &mut S,
    cancel: &Cancel,
    computes_in: Option<&Home>,
) -> anyhow::Result<Outcome>
where
    AnswerError: From<S::Error>,
{
    let system = args.system.as_deref().map(input::plain);
    let conversation = Conversation::new(engine, sequence, system, args.written.options())?;
    let mut lines = Lines::open(!args.json)?;
    let is_typed = lines.is_terminal();
    if is_typed && !args.quiet {
        output::note(&format!(
            "{} · /help lists the commands, Ctrl-D leaves",
            args.model.model
        ));
    }
    let options = GenerateOptions {
        sampling: args.sampling.settings(),
        max_tokens: args.max_tokens.map_or(usize::MAX, NonZeroUsize::get),
        ..GenerateOptions::default()
    };
    let mut chat = Chat {
        engine,
        conversation,
        options,
        cancel: cancel.clone(),
        last: None,
        quiet: args.quiet,
        stats: args.stats,
        computes_in,
        is_typed,
        remarked: false,
    };
    chat.tell_remark()?;
    if args.json {
        return program::serve(chat, &mut lines);
    }
    chat.run(&mut lines)
}

struct Chat<'a, S> {
    engine: &'a Engine,
    conversation: Conversation<&'a mut S>,
    options: GenerateOptions,
    cancel: Cancel,
    last: Option<Answer>,
    quiet: bool,
    stats: bool,
    computes_in: Option<&'a Home>,
    /// Whether a person types the lines.
    is_typed: bool,
    remarked: bool,
}

impl<S: Sequence> Chat<'_, S>
where
    AnswerError: From<S::Error>,
{
    fn run(mut self, lines: &mut Lines) -> anyhow::Result<Outcome> {
        while !interrupt::is_terminated() {
            lines.ask("> ");
            self.catch_up(lines);
            let line = match lines.take()? {
                Line::Text(line) => line,
                Line::Interrupted => {
                    output::note("Ctrl-D or /exit leaves");
                    continue;
                }
                Line::Unusable(words) => {
                    output::note(&format!("error: {words}"));
                    continue;
                }
                Line::End => return Ok(Outcome::Done),
                Line::Terminated => return Ok(Outcome::Interrupted),
            };
            // A Ctrl-C between answers must not stop the next one.
            self.cancel.take();
            if interrupt::is_terminated() {
                break;
            }
            match ChatLine::parse(&line) {
                ChatLine::Exit => return Ok(Outcome::Done),
                line => self.follow(line)?,
            }
        }
        Ok(Outcome::Interrupted)
    }

    /// Prefills what the next answer needs anyway, until a line is typed. Lines from a pipe are there
    /// at once, and would have to wait for the same prefill.
    fn catch_up(&mut self, lines: &mut Lines) {
        let (is_typed, cancel) = (self.is_typed, self.cancel.clone());
        let mut go_on = || {
            let wanted = match lines.peek() {
                None => true,
                Some(Ok(Line::Text(text))) => {
                    !is_typed && matches!(ChatLine::parse(text), ChatLine::Say(_))
                }
                Some(_) => false,
            };
            wanted && !cancel.is_cancelled() && !interrupt::is_terminated()
        };
        let started = Instant::now();
        // The next answer would fail in the same way, and reports it.
        let read = self.conversation.catch_up(self.engine, &mut go_on);
        // On a terminal this would appear in the line that is being typed.
        if let (Ok(read @ 1..), true, false) = (read, self.stats, is_typed) {
            let tokens = format::count(read, "token");
            let took = started.elapsed().as_secs_f64();
            output::note(&format!("{tokens} read ahead in {took:.2} s"));
        }
    }

    fn follow(&mut self, line: ChatLine) -> anyhow::Result<()> {
        match line {
            ChatLine::Empty | ChatLine::Exit => {}
            ChatLine::Say(text) => self.say(&text)?,
            ChatLine::Retry => self.retry()?,
            ChatLine::Help => output::note(HELP),
            ChatLine::Wrong(message) => output::note(&message),
            ChatLine::Stats => self.show_stats(),
            ChatLine::Clear => {
                self.conversation.clear();
                self.tell("forgotten");
            }
            ChatLine::System(system) => {
                let message = if system.is_some() { "set" } else { "removed" };
                self.conversation.set_system(system);
                self.tell(&format!("system message {message}"));
                self.tell_remark()?;
            }
            ChatLine::Save(path) => match self.save(&path) {
                Ok(()) => self.tell(&format!("saved to {}", path.display())),
                Err(error) => output::note(&format!("error: {}", words::of(error.as_ref()))),
            },
        }
        Ok(())
    }

    fn say(&mut self, text: &str) -> anyhow::Result<()> {
        let _goes_first = self.computes_in.and_then(nodes::compute_here);
        let mut printer = Printer::new(&self.cancel, self.quiet);
        let reply = self.conversation.say(
            self.engine,
            text,
            &self.options,
            &self.cancel,
            &mut |event| printer.show(event),
        );
        printer.finish(reply.as_ref().ok().map(|reply| &reply.answer))?;
        self.finish(reply)
    }

    fn retry(&mut self) -> anyhow::Result<()> {
        let _goes_first = self.computes_in.and_then(nodes::compute_here);
        // The same seed would give the same answer.
        let seed = self.options.sampling.seed;
        self.options.sampling.seed = next_seed(seed);
        let mut printer = Printer::new(&self.cancel, self.quiet);
        let reply =
            self.conversation
                .retry(self.engine, &self.options, &self.cancel, &mut |event| {
                    printer.show(event);
                });
        if reply.is_err() {
            self.options.sampling.seed = seed;
        }
        printer.finish(reply.as_ref().ok().map(|reply| &reply.answer))?;
        self.finish(reply)
    }

    /// Prints the notes and statistics of an answer. A failed turn ends the chat only if all further
    /// turns would fail as well.
    fn finish(&mut self, reply: Result<Reply, ConversationError>) -> anyhow::Result<()> {
        self.cancel.take();
        let Reply { answer, left_out } = match reply {
            Ok(reply) => reply,
            Err(ConversationError::Answer(error)) if error.is_file_changed() => {
                return Err(error.into());
            }
            Err(error) => {
                output::note(&format!("error: {}", words::of(&error)));
                return Ok(());
            }
        };
        if left_out > 0 {
            let turns = format::count(left_out, "oldest turn");
            self.tell(&format!(
                "the context is full: the model no longer sees the {turns}"
            ));
        }
        let words = format::cut(&answer, "/clear makes room");
        if let Some(words) = words.filter(|_| !self.quiet) {
            output::note(&words);
        }
        if answer.says_nothing() {
            self.tell("the model ended its turn without any text");
        }
        if self.stats {
            output::note(&format::answer_stats(&answer));
        }
        self.last = Some(answer);
        Ok(())
    }

    fn show_stats(&self) {
        match &self.last {
            Some(answer) => output::note(&format::answer_stats(answer)),
            None => output::note("there is no answer yet"),
        }
        let (used, capacity) = self.conversation.fill();
        output::note(&format!(
            "{used} of {capacity} positions of the context used"
        ));
    }

    /// Says once how the model treats a system message.
    fn tell_remark(&mut self) -> anyhow::Result<()> {
        let has_system = self.conversation.system().is_some();
        if has_system && !self.remarked {
            self.remarked = true;
            if let Some(remark) = prompt::remark(self.engine, has_system)? {
                self.tell(remark);
            }
        }
        Ok(())
    }

    fn tell(&self, message: &str) {
        if !self.quiet {
            output::note(&format!("[{message}]"));
        }
    }

    /// Writes the conversation to a file that must not exist yet.
    fn save(&self, path: &Path) -> anyhow::Result<()> {
        #[derive(Serialize)]
        struct Saved<'a> {
            role: &'a str,
            content: &'a str,
        }
        let system = self.conversation.system().map(|content| Saved {
            role: "system",
            content,
        });
        let turns = self.conversation.turns().iter().flat_map(|turn| {
            [
                Saved {
                    role: "user",
                    content: &turn.user,
                },
                Saved {
                    role: "assistant",
                    content: &turn.assistant,
                },
            ]
        });
        let messages: Vec<_> = system.into_iter().chain(turns).collect();
        let json = serde_json::to_string_pretty(&messages)?;
        let written: io::Result<()> = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(path)
            .and_then(|mut file| writeln!(file, "{json}"));
        if let Err(error) = &written
            && error.kind() == io::ErrorKind::AlreadyExists
        {
            bail!("{} exists already: choose another name", path.display());
        }
        written.with_context(|| format!("cannot save to {}", path.display()))
    }
}
