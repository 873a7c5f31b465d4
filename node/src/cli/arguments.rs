//! Parses a command from arguments, environment and configuration file.

use std::env;
use std::ffi::OsString;

use clap::{CommandFactory as _, FromArgMatches as _};
use potluck::config::{CONFIG_VARIABLE, ConfigError, ConfigFile, ConfigPath};

use super::settings::{self, Defaults};
use super::{Cli, given, output};

/// Why there is no command to run.
#[derive(Debug)]
pub(super) enum NoCommand {
    /// Invalid arguments, or a request for help.
    Usage(clap::Error),
    /// An error in the configuration file.
    Config(ConfigError),
}

impl From<clap::Error> for NoCommand {
    fn from(error: clap::Error) -> Self {
        Self::Usage(error)
    }
}

/// The path of the configuration file for this process's environment.
pub(super) fn config_path() -> Option<ConfigPath> {
    ConfigPath::locate(env::var_os(CONFIG_VARIABLE))
}

/// Reads the defaults from the configuration file.
///
/// # Errors
/// [`ConfigError`].
pub(super) fn defaults() -> Result<Defaults, ConfigError> {
    let file = config_path().map_or(Ok(None), |path| ConfigFile::read(&path))?;
    match file {
        Some(file) => Defaults::new(&Cli::command(), file),
        None => Ok(Defaults::default()),
    }
}

/// Parses these arguments.
///
/// # Errors
/// [`NoCommand`].
pub(super) fn parse(arguments: &[OsString]) -> Result<Cli, NoCommand> {
    let plain = Cli::command().try_get_matches_from(arguments);
    let matches = match plain {
        Ok(plain) if settings::has_settings(&settings::called(&plain).0) => {
            let whole = defaults().and_then(|defaults| defaults.applied(Cli::command(), &plain));
            whole
                .map_err(NoCommand::Config)?
                .try_get_matches_from(arguments)?
        }
        Ok(plain) => plain,
        Err(error) if error.use_stderr() => return Err(error.into()),
        // Help shows the file's defaults.
        Err(error) => match defaults() {
            Ok(defaults) => defaults
                .shown(Cli::command())
                .try_get_matches_from(arguments)?,
            Err(unusable) => {
                output::note(&format!(
                    "note: the configuration file is not used: {unusable}"
                ));
                return Err(error.into());
            }
        },
    };
    given::remember(settings::called(&matches).1);
    let cli = Cli::from_arg_matches(&matches);
    Ok(cli.map_err(|error| error.format(&mut Cli::command()))?)
}
