//! A service with small random models.

mod answers;
mod bounds;
mod callers;
mod naming;
mod prefixes;

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use potluck_model::TensorType;
use potluck_model::gguf::synth::{SynthSpec, TypeMix};
use tempfile::TempDir;

use super::*;
use crate::ModelRef;
use crate::catalogue::ModelsFolder;
use crate::engine::{
    Engine, GenerateOptions, LocalSequence, LogitBias, OpenOptions, SamplerSettings, TokenId,
    generate, open,
};
use crate::home::Home;

/// Context of a session.
const CONTEXT: usize = 1024;
/// Context of a session whose answer does not end during a test.
const ENDLESS: usize = 200_000;
/// The longest wait of a test.
const PATIENCE: Duration = Duration::from_secs(120);

/// A home with the model `small`.
struct Kitchen {
    _folder: TempDir,
    models: ModelsFolder,
    engine: Engine,
    context: usize,
}

fn spec(seed: u64) -> SynthSpec {
    let mut spec = SynthSpec {
        layers: 2,
        d_model: 64,
        heads: 4,
        kv_heads: 2,
        head_dim: 16,
        d_ff: 96,
        context: ENDLESS as u32,
        types: TypeMix::uniform(TensorType::Q8_0),
        seed,
        ..SynthSpec::preset("tiny").expect("a preset")
    };
    spec.vocabulary = spec.minimum_vocabulary();
    spec
}

impl Kitchen {
    fn new() -> Self {
        Self::with_context(CONTEXT)
    }

    fn with_context(context: usize) -> Self {
        Self::with(&spec(1), context)
    }

    /// With a model of which five layers see 16 positions, and hold 640.
    fn with_windows(context: usize) -> Self {
        let windows = SynthSpec::preset("tiny-gemma3").expect("a preset");
        let mut spec = SynthSpec {
            architecture: windows.architecture,
            layers: windows.layers,
            sliding_window: windows.sliding_window,
            ..spec(1)
        };
        spec.vocabulary = spec.minimum_vocabulary();
        Self::with(&spec, context)
    }

    fn with(spec: &SynthSpec, context: usize) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let models = ModelsFolder::of(&Home::at(folder.path()));
        std::fs::create_dir_all(models.folder()).expect("writable");
        let path = models.folder().join("small.gguf");
        std::fs::write(&path, spec.to_bytes().expect("a small model")).expect("written");
        let engine = open(&path, &open_options(context)).expect("it runs").engine;
        Self {
            _folder: folder,
            models,
            engine,
            context,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.models.folder().join(name)
    }

    /// Adds a model with other weights.
    fn add(&self, name: &str, seed: u64) -> PathBuf {
        let path = self.path(name);
        let bytes = spec(seed).to_bytes().expect("a small model");
        std::fs::write(&path, bytes).expect("written");
        path
    }

    fn settings(&self) -> Settings {
        Settings {
            model: ModelRef::File(self.path("small.gguf")),
            open: open_options(self.context),
            ..Settings::new(self.models.clone())
        }
    }

    fn serve(&self, change: impl FnOnce(&mut Settings)) -> Service {
        let mut settings = self.settings();
        change(&mut settings);
        Service::start(settings).expect("it starts")
    }

    /// A request whose answer has exactly `tokens` tokens.
    fn request(&self, prompt: &[TokenId], seed: u64, tokens: usize) -> Request {
        Request {
            caller: Caller::Owner,
            model: String::new(),
            input: Input::Tokens(prompt.to_vec().into()),
            sampling: self.sampling(seed),
            max_tokens: Some(tokens),
            stop: Vec::new(),
            logprobs: Some(0),
            format: Format::Text,
        }
    }

    fn sampling(&self, seed: u64) -> SamplerSettings {
        let ends = self.engine.tokenizer().ends();
        SamplerSettings {
            seed,
            temperature: 1.0,
            logit_bias: LogitBias::new(ends.iter().map(|&end| (end, -100.0))).expect("in range"),
            ..SamplerSettings::default()
        }
    }

    /// The answer of a single request.
    fn alone(&self, prompt: &[TokenId], seed: u64, tokens: usize) -> Vec<TokenId> {
        let options = GenerateOptions {
            sampling: self.sampling(seed),
            max_tokens: tokens,
            ..GenerateOptions::default()
        };
        let session = self.engine.new_session().expect("memory");
        let mut sequence = LocalSequence::new(&self.engine, session);
        let on_event = &mut |_: crate::engine::Event<'_>| ControlFlow::Continue(());
        let tokenizer = self.engine.tokenizer();
        let generation = generate(&mut sequence, tokenizer, prompt, &options, on_event);
        generation.expect("it answers").token_ids
    }

    /// Bytes of a KV cache.
    fn kv(&self, positions: usize) -> u64 {
        prefix::kv_bytes(self.engine.config(), positions)
    }

    fn weights(&self) -> u64 {
        self.path("small.gguf").metadata().expect("there").len()
    }
}

fn open_options(context: usize) -> OpenOptions {
    OpenOptions {
        drafts: false,
        threads: NonZeroUsize::new(1),
        context: NonZeroUsize::new(context),
        template: None,
        drafter: None,
    }
}

/// Random tokens for a seed.
fn tokens(seed: u32, count: usize) -> Vec<TokenId> {
    let numbers = (0..count as u64).map(|at| at * 37 + u64::from(seed) * 101 + at * at * 7);
    numbers
        .map(|number| 3 + (number % 200) as TokenId)
        .collect()
}

/// An answer received to its end.
#[derive(Default)]
struct Heard {
    ids: Vec<TokenId>,
    text: String,
    cached: usize,
    /// The reported numbers of processed prompt tokens.
    reading: Vec<usize>,
    waiting: Vec<usize>,
    summary: Option<Summary>,
    error: Option<RequestError>,
}

impl Heard {
    fn take(&mut self, update: Update) {
        match update {
            Update::Waiting { before } => self.waiting.push(before),
            Update::Loading { .. } => {}
            Update::Started { cached_tokens, .. } => self.cached = cached_tokens,
            Update::Reading { done } => self.reading.push(done),
            Update::Content { text, tokens } => {
                self.text.push_str(&text);
                self.ids.extend(tokens.iter().map(|token| token.id));
            }
            Update::Done(summary) => self.summary = Some(summary),
            Update::Failed(error) => self.error = Some(error),
            Update::Reasoning(_) | Update::ToolCall { .. } | Update::ToolArguments(_) => {
                panic!("no request asked for that")
            }
        }
    }

    fn done(&self) -> &Summary {
        let error = self.error.as_ref().map(ToString::to_string);
        let summary = self.summary.as_ref();
        summary.unwrap_or_else(|| panic!("{}", error.unwrap_or_default()))
    }
}

fn hear(mut answering: Answering) -> Heard {
    let mut heard = Heard::default();
    while let Some(update) = answering.blocking_next() {
        heard.take(update);
    }
    heard
}

fn ask(service: &Service, request: Request) -> Heard {
    hear(service.submit(request).expect("it is taken"))
}

/// Reads updates until the answer starts.
fn until_content(answering: &mut Answering) {
    loop {
        match answering.blocking_next().expect("it answers") {
            Update::Content { .. } => return,
            Update::Failed(error) => panic!("{error}"),
            _ => {}
        }
    }
}

/// Waits until the condition holds.
fn until(holds: impl Fn() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < PATIENCE, "it never holds");
        std::thread::sleep(Duration::from_millis(2));
    }
}
