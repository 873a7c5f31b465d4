//! Arguments that several commands share.

use std::hash::{BuildHasher as _, RandomState};
use std::num::NonZeroUsize;

use clap::Args;
use clap::builder::BoolishValueParser;
use potluck::ModelRef;
use potluck::engine::{GivenTemplate, OpenOptions, SamplerSettings};
use potluck::prompt::PromptOptions;

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
pub(super) struct EngineArgs {
    /// Processor threads to compute with [default: all usable]
    #[arg(long, short, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Positions to reserve memory for, prompt and answer together [default: 2048, or the
    /// model's own limit if lower]
    #[arg(long, short, value_name = "N")]
    context: Option<NonZeroUsize>,
}

impl EngineArgs {
    pub(super) fn options(&self) -> OpenOptions {
        OpenOptions {
            threads: self.threads,
            context: self.context,
            template: None,
        }
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

/// How the next token is chosen.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Sampling")]
pub(super) struct SamplingArgs {
    /// Always take the most likely token
    #[arg(long, conflicts_with_all = ["temperature", "top_k", "top_p", "min_p"])]
    greedy: bool,
    /// Spread of the choice; 0 is --greedy
    #[arg(long, value_name = "X", value_parser = non_negative)]
    temperature: Option<f32>,
    /// Choose among the K most likely tokens only; 0 for all
    #[arg(long, value_name = "K")]
    top_k: Option<usize>,
    /// Choose among the most likely tokens that together have this probability
    #[arg(long, value_name = "P", value_parser = fraction)]
    top_p: Option<f32>,
    /// Choose among tokens at least this likely, relative to the most likely one
    #[arg(long, value_name = "P", value_parser = fraction)]
    min_p: Option<f32>,
    /// Make recent tokens less likely; 1 is off
    #[arg(long, value_name = "X", value_parser = at_least_one)]
    repetition_penalty: Option<f32>,
    /// How many recent tokens the penalty covers
    #[arg(long, value_name = "N")]
    repetition_window: Option<usize>,
    /// The same seed and settings give the same answer [default: random]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

impl SamplingArgs {
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
            seed: self.seed.unwrap_or_else(|| RandomState::new().hash_one(0)),
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

fn number(text: &str) -> Result<f32, String> {
    let number: f32 = text.parse().map_err(|_| "not a number".to_owned())?;
    if number.is_finite() {
        Ok(number)
    } else {
        Err("not a finite number".to_owned())
    }
}

fn non_negative(text: &str) -> Result<f32, String> {
    let number = number(text)?;
    if number >= 0.0 {
        Ok(number)
    } else {
        Err("must be 0 or more".to_owned())
    }
}

fn at_least_one(text: &str) -> Result<f32, String> {
    let number = number(text)?;
    if number >= 1.0 {
        Ok(number)
    } else {
        Err("must be 1 or more".to_owned())
    }
}

fn fraction(text: &str) -> Result<f32, String> {
    let number = number(text)?;
    if (0.0..=1.0).contains(&number) {
        Ok(number)
    } else {
        Err("must be between 0 and 1".to_owned())
    }
}
