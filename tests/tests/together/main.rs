//! Paired devices that run one model together: real processes on this machine's loopback, and on an
//! emulated Wi-Fi. Whatever happens between them, an answer has the tokens that one device alone
//! gives.
//!
//! Nothing here asserts that this machine is fast. What an answer lost in time is printed; see it
//! with `--nocapture`.
#![cfg(unix)]

mod again;
#[cfg(target_os = "linux")]
mod announced;
mod caveats;
mod failures;
mod follows;
mod heads;
#[cfg(target_os = "linux")]
mod hops;
#[cfg(target_os = "linux")]
mod hostile;
#[cfg(target_os = "linux")]
mod link_local;
mod log;
#[cfg(target_os = "linux")]
mod measured;
mod membership;
mod named;
mod nodes;
mod places;
mod restarts;
mod rings;
mod same_tokens;
#[cfg(target_os = "linux")]
mod shared;
mod strangers;
mod waiting;
#[cfg(target_os = "linux")]
mod wifi;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use potluck_tests::Device;
use potluck_tests::circle::{Answer, Circle, Node};

/// A model of random weights that every node has.
pub struct Model {
    /// Its file.
    pub path: PathBuf,
    /// How many layers it has.
    pub layers: u32,
}

impl Model {
    /// One that answers at once.
    pub fn quick() -> &'static Self {
        static MODEL: OnceLock<Model> = OnceLock::new();
        MODEL.get_or_init(|| Self::write("quick", 12, &[]))
    }

    /// One that takes some seconds to answer with [`STEADY_TOKENS`]. A layer has 1.9 MB of weights.
    pub fn steady() -> &'static Self {
        static MODEL: OnceLock<Model> = OnceLock::new();
        let shape: Vec<_> = STEADY_SHAPE.split(' ').collect();
        MODEL.get_or_init(|| Self::write("steady", 16, &shape))
    }

    /// One of which ten layers of twelve see 16 positions, and keep 640.
    pub fn windowed() -> &'static Self {
        static MODEL: OnceLock<Model> = OnceLock::new();
        let shape = ["--preset", "tiny-gemma3"];
        MODEL.get_or_init(|| Self::write("windowed", 12, &shape))
    }

    /// The same, which takes as long to answer as [`Model::steady`].
    pub fn steady_and_windowed() -> &'static Self {
        static MODEL: OnceLock<Model> = OnceLock::new();
        let shape = format!("--preset tiny-gemma3 {STEADY_SHAPE}");
        let shape: Vec<_> = shape.split(' ').collect();
        MODEL.get_or_init(|| Self::write("steady-windowed", 12, &shape))
    }

    fn write(name: &str, layers: u32, shape: &[&str]) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("together-{name}.gguf"));
        let count = layers.to_string();
        let file = path.to_str().expect("a path of text");
        let args = ["synth", file, "--force", "--quiet", "--layers", &count];
        let _ = Device::new().potluck([&args, shape].concat()).success();
        Self { path, layers }
    }

    /// What is said to `run` to have this many tokens of it.
    pub fn question(&self, tokens: u32, how: &[&str]) -> Vec<String> {
        question(&self.path, tokens, how)
    }
}

const STEADY_SHAPE: &str = "--d-model 512 --heads 8 --kv-heads 2 --head-dim 64 --d-ff 1536";
/// How many tokens of [`Model::steady`] give a failure time to come.
pub const STEADY_TOKENS: u32 = 500;
/// Always the most likely token.
pub const GREEDY: [&str; 1] = ["--greedy"];
/// Chosen by chance, always the same: the least change of a logit changes what follows.
pub const SAMPLED: [&str; 2] = ["--seed", "7"];

/// What is said to `run` to have this many tokens of a model.
pub fn question(model: &Path, tokens: u32, how: &[&str]) -> Vec<String> {
    question_of("Tell me of a journey.", model, tokens, how)
}

/// What is said to `run` to have this many tokens of a model about something.
pub fn question_of(prompt: &str, model: &Path, tokens: u32, how: &[&str]) -> Vec<String> {
    let model = model.to_str().expect("a path of text");
    let tokens = tokens.to_string();
    let all = ["--model", model, "-n", &tokens, prompt];
    all.iter().chain(how).map(ToString::to_string).collect()
}

/// What one device alone answers.
pub fn alone(question: &[String]) -> Answer {
    Node::new("alone").answer(&asked(question, &["--alone"]))
}

/// A question and where its layers are.
pub fn asked<'a>(question: &'a [String], who: &[&'a str]) -> Vec<&'a str> {
    let question = question.iter().map(String::as_str);
    question.chain(who.iter().copied()).collect()
}

/// Nodes of these names that all have a model.
pub fn nodes(names: &[&str], model: &Path) -> Vec<Node<'static>> {
    let nodes = names.iter().map(|name| Node::new(name).with_model(model));
    nodes.collect()
}

/// A circle of nodes of these names that all have a model.
pub fn circle(names: &[&str], model: &Path) -> Circle<'static> {
    Circle::start(nodes(names, model))
}
