//! Set-ups: who computes what, over which network, for which question.

use std::path::PathBuf;
use std::time::Duration;

use crate::Device;
use crate::wifi::Profile;

/// The devices. The first one's user asks.
pub const NAMES: [&str; 3] = ["laptop", "kitchen", "tablet"];

/// A network, but for what is the same everywhere.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Network {
    /// From device to device, beside the airtime.
    pub delay: Duration,
    /// Of the whole air.
    pub megabits_per_s: u64,
}

impl Network {
    /// One of so many microseconds of delay.
    pub const fn new(delay_us: u64, megabits_per_s: u64) -> Self {
        Self {
            delay: Duration::from_micros(delay_us),
            megabits_per_s,
        }
    }

    /// As the emulated Wi-Fi has it.
    pub fn profile(&self) -> Profile {
        Profile {
            delay: self.delay,
            rate_bits_per_s: self.megabits_per_s * 1_000_000,
            ..Profile::default()
        }
    }
}

/// A model, as a file and in the simulator's words.
#[derive(Debug, Clone)]
pub struct Model {
    /// Its file.
    pub path: PathBuf,
    /// `model = { … }` of a scenario.
    pub scenario: &'static str,
}

impl Model {
    /// SmolLM2 with 135 million parameters, the default model of `potluck`.
    pub fn smollm2() -> Self {
        Self {
            path: crate::model_path("smollm2:135m"),
            scenario: r#"{ name = "smollm2:135m" }"#,
        }
    }

    /// One whose layers take next to no time: what is left are the costs of the way.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn light() -> Self {
        let folder = crate::binary::profile_folder();
        let path = folder.join("fidelity-light.gguf");
        let file = path.to_str().expect("a path of text");
        let shape = "--layers 6 --d-model 64 --heads 4 --kv-heads 2 --head-dim 16 --d-ff 128 \
                     --types Q4_1,embedding=Q8_0";
        let shape: Vec<_> = shape.split_whitespace().collect();
        let args = [&["synth", file, "--force", "--quiet"], &*shape].concat();
        let _ = Device::new().potluck(args).success();
        Self {
            path,
            scenario: r#"{ name = "light", layers = 6, d_model = 64, heads = 4, kv_heads = 2,
                head_dim = 16, d_ff = 128, vocabulary = 1000, quantisation = "Q4_1", embedding = "Q8_0" }"#,
        }
    }
}

/// A device that is killed in mid-answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kill {
    /// Whose node.
    pub whom: &'static str,
    /// After so many tokens.
    pub after: u32,
}

/// A question over a placement.
#[derive(Debug, Clone)]
pub struct Setup {
    /// What it is called.
    pub name: &'static str,
    /// Over which network.
    pub network: Network,
    /// Who has which layers.
    pub placement: &'static str,
    /// About how many tokens the prompt has.
    pub prompt: usize,
    /// Tokens of the answer.
    pub tokens: u32,
    /// What happens in the middle of it.
    pub kill: Option<Kill>,
}

impl Setup {
    /// Without a failure.
    pub const fn new(
        name: &'static str,
        network: Network,
        placement: &'static str,
        (prompt, tokens): (usize, u32),
    ) -> Self {
        Self {
            name,
            network,
            placement,
            prompt,
            tokens,
            kill: None,
        }
    }

    /// With one.
    #[must_use]
    pub const fn killing(mut self, whom: &'static str, after: u32) -> Self {
        self.kill = Some(Kill { whom, after });
        self
    }

    /// Positions to reserve, on both sides.
    pub fn context(&self) -> usize {
        (self.prompt + 64 + self.tokens as usize).next_multiple_of(256)
    }

    /// A text of about as many tokens as it says.
    pub fn text(&self) -> String {
        const WORDS: [&str; 8] = ["The", " old", " road", " went", " on", " and", " on", "."];
        let words = WORDS.iter().cycle().take(self.prompt);
        words.copied().collect()
    }
}
