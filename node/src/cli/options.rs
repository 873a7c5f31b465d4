//! Arguments that several commands share.

use std::hash::{BuildHasher as _, RandomState};
use std::num::NonZeroUsize;

use clap::Args;
use clap::builder::BoolishValueParser;
use potluck::ModelRef;
use potluck::engine::{Compute, GivenTemplate, OpenOptions, SamplerError, SamplerSettings};
use potluck::home::Home;
use potluck::packed_store::PackedStore;
use potluck::prompt::PromptOptions;

use super::failure::{self, Code};
use super::{format, given, output};

/// Which model, and whether it may be fetched.
#[derive(Debug, Clone, Args)]
pub(super) struct ModelOptions {
    /// A name from `potluck models`, or a GGUF file
    #[arg(long, short, value_name = "MODEL", default_value_t)]
    pub(super) model: ModelRef,
    #[command(flatten)]
    pub(super) network: NetworkOptions,
}

/// Whether the network may be used.
#[derive(Debug, Clone, Args)]
pub(super) struct NetworkOptions {
    /// Use no network: fail if the model is not on this device
    #[arg(long, env = "POTLUCK_OFFLINE", hide_env_values = true, value_parser = BoolishValueParser::new())]
    pub(super) offline: bool,
}

/// How the engine runs.
#[derive(Debug, Clone, Args)]
// So that a number below 0 is refused by the option that it is given to.
#[command(allow_negative_numbers = true)]
pub(super) struct EngineArgs {
    /// Processor threads to compute with [default: the cores that help]
    #[arg(long, short, value_name = "N", value_parser = threads)]
    threads: Option<NonZeroUsize>,
    /// Positions to reserve memory for, prompt and answer together [default: 2048, or the
    /// model's own limit if lower]
    #[arg(long, short, value_name = "N", value_parser = at_least_one)]
    context: Option<NonZeroUsize>,
}

impl EngineArgs {
    pub(super) fn options(&self) -> OpenOptions {
        OpenOptions {
            threads: self.threads,
            context: self.context,
            template: None,
            drafts: false,
            drafter: None,
        }
    }
}

/// Whether weights are packed for the processor, and how much disk space that may take.
#[derive(Debug, Clone, Args)]
pub(super) struct PackArgs {
    /// Compute from the model file as it is: make no packed weights and use none
    #[arg(long, conflicts_with = "packed")]
    no_pack: bool,
    /// Disk space for the packed weights of all models, such as 5G [default: half of the free space,
    /// at most 20G]
    #[arg(long, value_name = "SIZE", value_parser = format::parse_bytes)]
    packed: Option<u64>,
}

impl PackArgs {
    /// Where weights are packed, if they are. A problem is printed unless `quiet`.
    pub(super) fn store(&self, home: &Home, quiet: bool) -> Option<PackedStore> {
        let warn = |words: &str| output::log_line(format!("warning: {words}"));
        let tell = if quiet { |_: &str| () } else { warn };
        let wanted = !self.no_pack && self.packed != Some(0);
        wanted.then(|| PackedStore::of(home, self.packed, tell))
    }
}

/// How a conversation is written for the model.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Prompt")]
pub(super) struct PromptArgs {
    /// Write the conversation with this Jinja template instead of the model's own; `chatml` for
    /// the usual one
    #[arg(long, value_name = "FILE")]
    chat_template: Option<String>,
    /// Whether the model thinks before it answers, if its chat template has a switch for that
    #[arg(long, value_name = "on|off", value_parser = on_or_off)]
    thinking: Option<bool>,
}

impl PromptArgs {
    pub(super) fn template(&self) -> Option<GivenTemplate> {
        self.chat_template.as_deref().map(GivenTemplate::from)
    }

    pub(super) fn options(&self) -> PromptOptions {
        PromptOptions {
            thinking: self.thinking,
        }
    }
}

/// How many threads.
///
/// # Errors
/// None, or more than there can be, in words.
pub(super) fn threads(text: &str) -> Result<NonZeroUsize, String> {
    let threads = text.parse().ok().and_then(NonZeroUsize::new);
    threads
        .filter(|threads| threads.get() <= Compute::MAX_THREADS)
        .ok_or_else(|| format!("give a number from 1 to {}", Compute::MAX_THREADS))
}

/// A count of what there has to be one of, at least.
///
/// # Errors
/// None, or no number, in words.
pub(super) fn at_least_one(text: &str) -> Result<NonZeroUsize, String> {
    let most = usize::MAX;
    let number = text.parse().ok().and_then(NonZeroUsize::new);
    number.ok_or_else(|| format!("give a number from 1 to {most}"))
}

/// The greatest seed: JSON's numbers are exact up to here in every language.
const MAX_SEED: u64 = 1 << 53;

/// The seed of another answer.
pub(super) fn next_seed(seed: u64) -> u64 {
    if seed < MAX_SEED { seed + 1 } else { 0 }
}

/// How the next token is chosen.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Sampling")]
pub(super) struct SamplingArgs {
    /// Always take the most likely token
    #[arg(long, conflicts_with_all = ["temperature", "top_k", "top_p", "min_p", "seed"])]
    greedy: bool,
    /// Spread of the choice; 0 is --greedy
    #[arg(long, value_name = "X", value_parser = temperature)]
    temperature: Option<f32>,
    /// Choose among the K most likely tokens only; 0 for all
    #[arg(long, value_name = "K")]
    top_k: Option<usize>,
    /// Choose among the most likely tokens that together have this probability
    #[arg(long, value_name = "P", value_parser = top_p)]
    top_p: Option<f32>,
    /// Choose among tokens at least this likely, relative to the most likely one
    #[arg(long, value_name = "P", value_parser = min_p)]
    min_p: Option<f32>,
    /// Make recent tokens less likely; 1 is off
    #[arg(long, value_name = "X", value_parser = repetition_penalty)]
    repetition_penalty: Option<f32>,
    /// How many recent tokens the penalty covers
    #[arg(long, value_name = "N", requires = "repetition_penalty")]
    repetition_window: Option<usize>,
    /// The same seed and settings give the same answer; at most 2^53 [default: random]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=MAX_SEED))]
    seed: Option<u64>,
}

impl SamplingArgs {
    /// Refuses what changes nothing because of another argument's value.
    pub(super) fn check_effects(&self) -> anyhow::Result<()> {
        let is_greedy = self
            .temperature
            .is_some_and(|temperature| temperature == 0.0);
        let penalises = self.repetition_penalty.is_none_or(|penalty| penalty != 1.0);
        let greedily = "--temperature 0, which always takes the most likely token";
        let settings = [
            (
                "--top-k",
                "top_k",
                self.top_k.is_some() && is_greedy,
                greedily,
            ),
            (
                "--top-p",
                "top_p",
                self.top_p.is_some() && is_greedy,
                greedily,
            ),
            (
                "--min-p",
                "min_p",
                self.min_p.is_some() && is_greedy,
                greedily,
            ),
            ("--seed", "seed", self.seed.is_some() && is_greedy, greedily),
            (
                "--repetition-window",
                "repetition_window",
                self.repetition_window.is_some() && !penalises,
                "--repetition-penalty 1, which is off",
            ),
        ];
        let in_vain = settings
            .iter()
            .find(|(_, id, is_vain, _)| *is_vain && given::has(id));
        match in_vain {
            Some((flag, .., because)) => Err(failure::refusal(
                Code::Usage,
                format!("{flag} has no effect with {because}: leave out one of the two"),
            )),
            None => Ok(()),
        }
    }

    pub(super) fn settings(&self) -> SamplerSettings {
        let base = if self.greedy {
            SamplerSettings::greedy()
        } else {
            SamplerSettings::default()
        };
        SamplerSettings {
            temperature: self.temperature.unwrap_or(base.temperature),
            top_k: self.top_k.unwrap_or(base.top_k),
            top_p: self.top_p.unwrap_or(base.top_p),
            min_p: self.min_p.unwrap_or(base.min_p),
            repetition_penalty: self.repetition_penalty.unwrap_or(base.repetition_penalty),
            repetition_window: self.repetition_window.unwrap_or(base.repetition_window),
            // The standard library's hash keys are random; nothing here needs secrecy.
            seed: self
                .seed
                .unwrap_or_else(|| RandomState::new().hash_one(0) % (MAX_SEED + 1)),
            ..base
        }
    }
}

fn on_or_off(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("must be on or off".to_owned()),
    }
}

/// A setting of the sampler, if the sampler takes it: its bounds are the only ones.
fn setting(text: &str, set: impl Fn(&mut SamplerSettings, f32)) -> Result<f32, String> {
    let number = text.parse().map_err(|_| "not a number".to_owned())?;
    let mut settings = SamplerSettings::default();
    set(&mut settings, number);
    match settings.validate() {
        Ok(()) => Ok(number),
        Err(SamplerError::Setting { range, .. }) => Err(format!("give a number {range}")),
        Err(error) => Err(error.to_string()),
    }
}

fn temperature(text: &str) -> Result<f32, String> {
    setting(text, |settings, number| settings.temperature = number)
}

fn top_p(text: &str) -> Result<f32, String> {
    setting(text, |settings, number| settings.top_p = number)
}

fn min_p(text: &str) -> Result<f32, String> {
    setting(text, |settings, number| settings.min_p = number)
}

fn repetition_penalty(text: &str) -> Result<f32, String> {
    setting(text, |settings, number| {
        settings.repetition_penalty = number
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_what_the_sampler_takes() {
        for (parse, taken, refused) in [
            (
                temperature as fn(&str) -> Result<f32, String>,
                &["0", "-0", "0.7", "1000"][..],
                &["-1", "1001", "1e39", "inf", "NaN", "hot", ""][..],
            ),
            (top_p, &["0.01", "1"], &["0", "-0.5", "1.01", "nan"]),
            (min_p, &["0", "1"], &["-0.1", "1.5", "nan"]),
            (
                repetition_penalty,
                &["0.01", "1", "100"],
                &["0", "-1", "101", "NaN", "inf"],
            ),
        ] {
            for text in taken {
                assert_eq!(parse(text), Ok(text.parse().expect("a number")), "{text}");
            }
            for text in refused {
                assert!(parse(text).is_err(), "{text}");
            }
        }
        assert_eq!(
            repetition_penalty("101"),
            Err("give a number from 0.01 to 100".to_owned())
        );
    }

    #[test]
    fn seeds_stay_exact_in_json() {
        assert_eq!(next_seed(7), 8);
        assert_eq!(next_seed(MAX_SEED), 0);
        assert_eq!(MAX_SEED as f64 as u64, MAX_SEED);
    }

    #[test]
    fn threads_are_bounded() {
        let most = Compute::MAX_THREADS;
        assert_eq!(threads("2").map(NonZeroUsize::get), Ok(2));
        assert_eq!(threads(&most.to_string()).map(NonZeroUsize::get), Ok(most));
        for text in ["0", "-1", "two", "4000000000", "99999999999999999999999"] {
            assert_eq!(
                threads(text),
                Err("give a number from 1 to 1024".to_owned())
            );
        }
    }
}
