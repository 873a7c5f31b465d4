//! What a command tells of its work on stderr, and how.

use std::env;

use anyhow::Context as _;
use clap::{ArgAction, Args, ValueEnum};
use potluck::log::{self, Filter, Level, Record};

use super::failure::{self, Code};
use super::output;

/// The variable that says what is logged.
const VARIABLE: &str = "POTLUCK_LOG";

/// What is logged on stderr.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Log")]
pub(super) struct LogArgs {
    /// Tell on stderr what happens: -v what a person may want to know, -vv what led to it, -vvv each
    /// frame and message [default: what POTLUCK_LOG says]
    #[arg(long, short, global = true, action = ArgAction::Count)]
    verbose: u8,
    /// How that is written: as text, or as one JSON object a line
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        env = "POTLUCK_LOG_FORMAT",
        hide_env_values = true,
        default_value = "text"
    )]
    log_format: Format,
    /// Send the spans of requests to this collector of OpenTelemetry, such as http://127.0.0.1:4318:
    /// models, numbers, names and addresses, but no text
    #[cfg(feature = "otlp")]
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "OTEL_EXPORTER_OTLP_ENDPOINT",
        hide_env_values = true
    )]
    otlp: Option<String>,
}

/// What is to be finished when the command has ended.
#[derive(Debug, Default)]
pub(super) struct Logging {
    #[cfg(feature = "otlp")]
    otlp: Option<potluck::otlp::Otlp>,
}

impl Logging {
    /// Tells what was not told yet.
    pub(super) fn finish(self) {
        #[cfg(feature = "otlp")]
        if let Some(otlp) = self.otlp {
            otlp.finish();
        }
    }
}

/// How an event is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

impl LogArgs {
    /// Begins to log.
    ///
    /// # Errors
    /// `POTLUCK_LOG` asks for nothing that there is, or `--otlp` is no address.
    pub(super) fn start(&self) -> anyhow::Result<Logging> {
        let filter = filter(self.verbose, env::var_os(VARIABLE))?;
        let format = self.log_format;
        let logging = self.logging()?;
        #[cfg(feature = "otlp")]
        let beside = logging.otlp.as_ref().map(potluck::otlp::Otlp::layer);
        #[cfg(not(feature = "otlp"))]
        let beside = None;
        let show = move |record: &Record| output::log_line(line(record, format));
        log::start(filter, show, beside).context("cannot log")?;
        Ok(logging)
    }

    #[cfg(feature = "otlp")]
    fn logging(&self) -> anyhow::Result<Logging> {
        let address = self.otlp.as_deref().filter(|address| !address.is_empty());
        let otlp = address.map(potluck::otlp::Otlp::to).transpose();
        let otlp = otlp.map_err(|error| failure::refusal(Code::Usage, error.to_string()))?;
        Ok(Logging { otlp })
    }

    #[cfg(not(feature = "otlp"))]
    fn logging(&self) -> anyhow::Result<Logging> {
        Ok(Logging::default())
    }
}

fn filter(verbose: u8, text: Option<std::ffi::OsString>) -> anyhow::Result<Filter> {
    let level = match verbose {
        0 => None,
        1 => Some(Level::Info),
        2 => Some(Level::Debug),
        _ => Some(Level::Trace),
    };
    let text = text.unwrap_or_default();
    let parsed = Filter::parse(level, &text.to_string_lossy());
    parsed.map_err(|error| failure::refusal(Code::Usage, format!("{VARIABLE}: {error}")))
}

/// An event in one line.
fn line(record: &Record, format: Format) -> String {
    match format {
        Format::Text => record.to_string(),
        Format::Json => output::object(record).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_says_how_much_is_told_and_a_wrong_variable_is_refused() {
        let of = |verbose, text: &str| filter(verbose, Some(text.into()));
        assert_eq!(filter(0, None).expect("nothing"), Filter::level(None));
        let debug = Filter::level(Some(Level::Debug));
        assert_eq!(of(2, "").expect("a level"), debug);
        assert_eq!(of(2, "warn").expect("a level"), debug);
        assert_eq!(of(0, "debug").expect("a level"), debug);
        let trace = Filter::level(Some(Level::Trace));
        assert_eq!(of(9, "").expect("a level"), trace);
        let error = of(0, "loud").expect_err("no level").to_string();
        assert!(
            error.starts_with("POTLUCK_LOG: \"loud\" is no filter"),
            "{error}"
        );
    }
}
