//! Locating a model, or downloading it with progress on stderr.

use std::env;
use std::error::Error;
use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use potluck::catalogue::{Entry, FetchError, FetchEvent, FetchOptions, ModelsFolder};
use potluck::draft_heads::HeadError;
use potluck::drafter::OpenedDrafter;
use potluck::engine::{self, ModelConfig, OpenError, OpenOptions, Opened};
use potluck::home::Home;
use potluck::{Cancel, ModelRef, words};

use super::options::{ModelOptions, NetworkOptions};
use super::{format, output};

/// The models folder of this process's home.
pub(super) fn store() -> anyhow::Result<ModelsFolder> {
    Ok(ModelsFolder::of(&Home::from_environment()?))
}

/// How to download, by the arguments and the environment.
pub(super) fn fetch_options(network: &NetworkOptions) -> FetchOptions {
    // The hub's own tools use this variable for mirrors.
    let hub_endpoint = env::var("HF_ENDPOINT")
        .ok()
        .filter(|endpoint| !endpoint.is_empty());
    FetchOptions {
        offline: network.offline,
        hub_endpoint,
        ..FetchOptions::default()
    }
}

/// Opens the model that a command names, downloaded first if necessary. `None` if the user stopped the
/// download.
pub(super) fn open(
    model: &ModelOptions,
    options: &OpenOptions,
    cancel: &Cancel,
    quiet: bool,
) -> anyhow::Result<Option<Opened>> {
    let Some(path) = path(&model.model, &fetch_options(&model.network), cancel, quiet)? else {
        return Ok(None);
    };
    open_file(&path, options, quiet).map(Some)
}

/// Opens a model file, and prints which of its settings are not used.
pub(super) fn open_file(path: &Path, options: &OpenOptions, quiet: bool) -> anyhow::Result<Opened> {
    let opened = engine::open(path, options).map_err(|error| match error {
        OpenError::Model(error) => naming(path, error),
        // These name the template's file.
        error => error.into(),
    })?;
    if !quiet {
        tell_unused(opened.engine.config());
        tell_head(opened.head_problem.as_ref());
        if let Some(words) = opened.drafter.as_ref().and_then(OpenedDrafter::warning) {
            output::note(&format!("warning: {words}"));
        }
    }
    Ok(opened)
}

/// Prints why the draft head beside a model file is not used.
pub(super) fn tell_head(problem: Option<&HeadError>) {
    if let Some(problem) = problem {
        let problem = words::of(problem);
        output::note(&format!(
            "warning: {problem}; answers come without it, perhaps slower"
        ));
    }
}

/// Prints the settings of a model file that this build does not use.
pub(super) fn tell_unused(config: &ModelConfig) {
    for setting in &config.unused_settings {
        output::note(&format!("warning: {setting}"));
    }
}

/// The error, with the file's name unless it already has it.
pub(super) fn naming(path: &Path, error: impl Error + Send + Sync + 'static) -> anyhow::Error {
    let path = path.display().to_string();
    let said = error.to_string().contains(&path);
    let error = anyhow::Error::from(error);
    if said {
        error
    } else {
        error.context(format!("cannot use {path}"))
    }
}

/// The file of a model, downloaded if necessary. `None` if the user stopped the download.
pub(super) fn path(
    model: &ModelRef,
    options: &FetchOptions,
    cancel: &Cancel,
    quiet: bool,
) -> anyhow::Result<Option<PathBuf>> {
    let mut display = match model {
        ModelRef::Named(entry) => Some(FetchDisplay::new(entry, quiet)),
        ModelRef::File(_) => None,
    };
    let outcome = model.locate(&store()?, options, cancel, &mut |event| {
        if let Some(display) = &mut display {
            display.show(event);
        }
    });
    if let Some(display) = display {
        display.bar.finish_and_clear();
    }
    match outcome {
        Err(FetchError::Cancelled { .. }) => {
            if !quiet {
                output::note("stopped; the next fetch continues from here");
            }
            Ok(None)
        }
        outcome => Ok(Some(outcome?)),
    }
}

/// The files of a model and of its drafter.
pub(super) struct Paths {
    pub(super) model: PathBuf,
    pub(super) drafter: Option<PathBuf>,
}

/// The files of a model and its drafter, as [`path`] gives them.
pub(super) fn paths(
    model: &ModelOptions,
    drafter: Option<&ModelRef>,
    cancel: &Cancel,
    quiet: bool,
) -> anyhow::Result<Option<Paths>> {
    let options = fetch_options(&model.network);
    let obtain = |model| path(model, &options, cancel, quiet);
    let Some(model) = obtain(&model.model)? else {
        return Ok(None);
    };
    let drafter = match drafter.map(obtain).transpose()? {
        Some(None) => return Ok(None),
        given => given.flatten(),
    };
    Ok(Some(Paths { model, drafter }))
}

/// Shows a download on stderr: a bar on a terminal, the important lines everywhere.
struct FetchDisplay {
    entry: &'static Entry,
    bar: ProgressBar,
    stage: &'static str,
    quiet: bool,
    announced: bool,
}

impl FetchDisplay {
    fn new(entry: &'static Entry, quiet: bool) -> Self {
        Self {
            entry,
            bar: ProgressBar::hidden(),
            stage: "",
            quiet,
            announced: false,
        }
    }

    fn show(&mut self, event: FetchEvent<'_>) {
        match event {
            FetchEvent::Waiting => {
                self.line(&format!(
                    "waiting: another process is fetching {}",
                    self.entry.name
                ));
            }
            FetchEvent::Damaged => self.line(&format!(
                "the file of {} on this device is damaged or has changed",
                self.entry.name
            )),
            FetchEvent::Trying(source) => {
                self.announce();
                self.progress("fetching", None);
                self.line(&format!("trying {source}"));
            }
            FetchEvent::Fetched(bytes) => self.progress("fetching", Some(bytes)),
            FetchEvent::Checked(bytes) => self.progress("checking", Some(bytes)),
            FetchEvent::TryingAgain { error, pause } => self.line(&format!(
                "{error}; trying again in {} s",
                pause.as_secs().max(1)
            )),
            FetchEvent::Failed(failure) => self.line(&format!("{failure}")),
        }
    }

    /// Says once what will be downloaded, and its licence.
    fn announce(&mut self) {
        if !self.announced {
            self.announced = true;
            let Entry {
                name,
                bytes,
                licence,
                licence_url,
                ..
            } = self.entry;
            let size = format::bytes(*bytes);
            self.line(&format!(
                "fetching {name} ({size}, once); licence: {licence}, {licence_url}"
            ));
        }
    }

    fn progress(&mut self, what: &'static str, bytes: Option<u64>) {
        if self.stage != what {
            self.stage = what;
            self.bar.finish_and_clear();
            self.bar = output::byte_bar(self.entry.bytes, !self.quiet).with_message(what);
        }
        if let Some(bytes) = bytes {
            self.bar.set_position(bytes);
        }
    }

    fn line(&self, line: &str) {
        if !self.quiet {
            output::note(line);
        }
    }
}
