//! `potluck bench`.

mod profile;

use std::num::NonZeroUsize;

use potluck::ModelRef;
use potluck::bench::{BenchError, BenchOptions, BenchReport, GuessingReport, bench};
use potluck::engine::OpenOptions;
use potluck::home::Home;

use super::obtain::Paths;
use super::options::{EngineArgs, ModelOptions, PackArgs, at_least_one};
use super::{Outcome, format, interrupt, obtain, output};

/// Measure how fast the model reads and writes on this device
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Measure this device instead, as it tells its peers: rates by format, memory, battery, heat
    #[arg(long, conflicts_with_all = ["prefill", "decode", "repetitions", "model", "context", "no_pack", "packed", "drafter"])]
    profile: bool,
    /// Tokens of the prompt
    #[arg(long, value_name = "N", default_value = "512", value_parser = at_least_one)]
    prefill: NonZeroUsize,
    /// Tokens decoded one by one; as many, up to 64, also from positions 1000 and 4000 on
    #[arg(long, value_name = "N", default_value = "128", value_parser = at_least_one)]
    decode: NonZeroUsize,
    /// How often to measure; medians are shown
    #[arg(long, value_name = "N", default_value = "5", value_parser = at_least_one)]
    repetitions: NonZeroUsize,
    #[command(flatten)]
    model: ModelOptions,
    #[command(flatten)]
    engine: EngineArgs,
    /// Measure also what guesses of this smaller model of the same family give, in answers to a few
    /// questions: a name from `potluck models`, or a GGUF file
    #[arg(long, value_name = "MODEL")]
    drafter: Option<ModelRef>,
    #[command(flatten)]
    pack: PackArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Print nothing but the report and errors
    #[arg(long, short)]
    quiet: bool,
}

const EXAMPLES: &str = "\
Examples:
  potluck bench
  potluck bench --threads 1 --repetitions 9 --json
  POTLUCK_ISA=avx2 potluck bench --model gemma3:270m
  potluck bench --model big.gguf --drafter small.gguf
  potluck bench --profile";

pub(super) fn run(args: Args) -> anyhow::Result<Outcome> {
    let cancel = interrupt::on_ctrl_c()?;
    if args.profile {
        return profile::run(&args, &cancel);
    }
    let paths = obtain::paths(&args.model, args.drafter.as_ref(), &cancel, args.quiet)?;
    let Some(Paths { model, drafter }) = paths else {
        return Ok(Outcome::Interrupted);
    };
    let opening = OpenOptions {
        drafter,
        ..args.engine.options()
    };
    let opened = obtain::open_file(&model, &opening, args.quiet)?;
    let packed = args.pack.store(&Home::from_environment()?, args.quiet);
    let packings = opened.pack(packed.as_ref());
    // Rates are to be those of the weights that longer answers are computed from.
    let packed = packings.iter().map(|packing| packing.wait(&cancel));
    // The first is the model's.
    let packed = packed.collect::<Vec<_>>().into_iter().next();
    let Args {
        prefill,
        decode,
        repetitions,
        ..
    } = args;
    let options = BenchOptions {
        prefill: prefill.get(),
        decode: decode.get(),
        repetitions: repetitions.get(),
        context: opening.context.map_or(usize::MAX, NonZeroUsize::get),
    };
    let bar = output::count_bar(options.repetitions as u64, !args.quiet).with_message("measuring");
    let outcome = bench(&opened.engine, options, &cancel, &mut |done| {
        bar.set_position(done as u64)
    });
    bar.finish_and_clear();
    let report = match outcome {
        Err(BenchError::Cancelled) => return Ok(Outcome::Interrupted),
        outcome => BenchReport { packed, ..outcome? },
    };
    if args.json {
        output::json(&report)?
    } else {
        print(&args.model, &report)?
    }
    Ok(Outcome::Done)
}

fn print(model: &ModelOptions, report: &BenchReport) -> anyhow::Result<()> {
    let memory = report
        .peak_rss_bytes
        .map_or_else(|| "not known".to_owned(), format::bytes);
    let threads = format::count(report.threads, "thread");
    let times = format::count(report.repetitions, "repetition");
    let further = report.decode_at.iter().filter(|at| at.position > 0);
    let further = further.map(|at| {
        let rate = format::rate(at.tokens_per_s);
        let share = at.tokens_per_s / report.decode_tokens_per_s * 100.0;
        let position = at.position;
        (
            "",
            format!("{rate} from position {position} on ({share:.0} %)"),
        )
    });
    let mut lines = vec![
        (
            "model",
            format!("{}, {threads}, {}", model.model, report.isa),
        ),
        (
            "prefill",
            format!(
                "{} ({} tokens)",
                format::rate(report.prefill_tokens_per_s),
                report.prefill_tokens
            ),
        ),
        (
            "decode",
            format!(
                "{} ({} tokens)",
                format::rate(report.decode_tokens_per_s),
                report.decode_tokens
            ),
        ),
    ];
    lines.extend(further);
    lines.extend(
        report
            .drafter
            .as_ref()
            .map(|drafter| ("with drafter", guessing(drafter))),
    );
    lines.extend([
        ("packed weights", packed(report)),
        (
            "weights read",
            format!("{} a token", format::bytes(report.bytes_per_token)),
        ),
        (
            "bandwidth",
            format!(
                "{:.0} % of {} used by decode",
                report.bandwidth_share * 100.0,
                format::bandwidth(report.read_bandwidth_bytes_per_s)
            ),
        ),
        ("peak memory", format!("{memory} resident")),
        ("medians of", times),
    ]);
    for (name, value) in lines {
        output::line(&format!("{name:<16}{value}"))?;
    }
    Ok(())
}

fn guessing(report: &GuessingReport) -> String {
    let rate = format::rate(report.tokens_per_s);
    let plain = format::rate(report.plain_tokens_per_s);
    let tokens = format::count(report.tokens, "token");
    let GuessingReport {
        gain,
        guesses,
        right,
        ..
    } = report;
    format!(
        "{rate}, {gain:.2} times {plain} without ({tokens}; {right} of {guesses} guesses right)"
    )
}

fn packed(report: &BenchReport) -> String {
    let Some(packed) = &report.packed else {
        return "not used".to_owned();
    };
    let (ready, parts) = (packed.ready, format::count(packed.parts, "part"));
    let bytes = format::bytes(packed.bytes);
    let (made, seconds) = (packed.made, packed.seconds);
    format!("{ready} of {parts}, {bytes}; {made} made, in {seconds:.2} s")
}
