//! Selects the events to show.

use tracing_subscriber::filter::{LevelFilter, Targets};

use super::record::{Level, OURS};

/// Selects the events to show: a level per target.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter(pub(super) Targets);

/// The text is not a valid filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no filter of the log: write a level (error, warn, info, debug, trace or off), or \
     targets with levels, such as info,libp2p=debug"
)]
pub struct FilterError {
    text: String,
}

impl From<Filter> for Targets {
    fn from(filter: Filter) -> Self {
        filter.0
    }
}

impl Filter {
    /// This program's events at `level`, and libraries' at warn at most; `None` shows nothing.
    pub fn level(level: Option<Level>) -> Self {
        Self(targets(level.map_or(LevelFilter::OFF, LevelFilter::from)))
    }

    /// Parses a filter: `text` is a level for this program, or targets with levels, or both,
    /// separated by commas (`info,libp2p=debug`). A target matches all targets with this prefix.
    /// `level`, if set, overrides the level in the text.
    ///
    /// # Errors
    /// The text is none of these.
    pub fn parse(level: Option<Level>, text: &str) -> Result<Self, FilterError> {
        let wrong = || FilterError {
            text: text.to_owned(),
        };
        let mut parts = text.split(',').map(str::trim);
        let mut ours = LevelFilter::OFF;
        let mut named = Vec::new();
        for part in parts.by_ref().filter(|part| !part.is_empty()) {
            match part.split_once('=') {
                None => ours = part.parse().map_err(|_| wrong())?,
                Some((target, level)) => {
                    let level: LevelFilter = level.trim().parse().map_err(|_| wrong())?;
                    let target = target.trim();
                    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
                    if target.is_empty() || !target.chars().all(is_name) {
                        return Err(wrong());
                    }
                    named.push((target.to_owned(), level));
                }
            }
        }
        let ours = level.map_or(ours, LevelFilter::from);
        Ok(Self(targets(ours).with_targets(named)))
    }

    /// The events that are kept.
    pub(super) fn kept() -> Self {
        Self(targets(LevelFilter::DEBUG))
    }
}

/// This program's events at this level, libraries' at warn at most.
fn targets(ours: LevelFilter) -> Targets {
    Targets::new()
        .with_default(ours.min(LevelFilter::WARN))
        .with_target(OURS, ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shows(filter: &Filter, target: &str, level: tracing::Level) -> bool {
        filter.0.would_enable(target, &level)
    }

    #[test]
    fn libraries_are_shown_below_warnings_only_by_name() {
        use tracing::Level as At;

        let by_level = Filter::level(Some(Level::Trace));
        let by_text = Filter::parse(None, "trace").expect("a level");
        for filter in [&by_level, &by_text] {
            assert!(shows(filter, "potluck::net::journal", At::TRACE));
            assert!(shows(filter, "libp2p_swarm", At::WARN));
            assert!(!shows(filter, "libp2p_swarm", At::INFO));
        }
        let named =
            Filter::parse(None, " info, libp2p=debug ,potluck::net=trace").expect("a filter");
        assert!(shows(&named, "libp2p_swarm", At::DEBUG));
        assert!(!shows(&named, "libp2p_swarm", At::TRACE));
        assert!(!shows(&named, "hickory_proto", At::INFO));
        assert!(shows(&named, "potluck::net::journal", At::TRACE));
        assert!(!shows(&named, "potluck::shard_store", At::DEBUG));
        // A level given for this command overrides the one in the text.
        let both = Filter::parse(Some(Level::Debug), "warn,libp2p=info").expect("a filter");
        assert!(shows(&both, "potluck::shard_store", At::DEBUG));
        assert!(shows(&both, "libp2p_tcp", At::INFO));
        let off = Filter::level(None);
        assert!(!shows(&off, "potluck", At::ERROR) && !shows(&off, "libp2p_tcp", At::ERROR));
    }

    #[test]
    fn what_is_no_filter_is_refused_with_what_is_one() {
        for text in [
            "loud",
            "potluck=loud",
            "=info",
            "info,pot luck=info",
            "potluck[a]=info",
        ] {
            let error = Filter::parse(None, text).expect_err(text);
            assert!(error.to_string().contains("info,libp2p=debug"), "{error}");
        }
        assert_eq!(Filter::parse(None, ""), Ok(Filter::level(None)));
    }
}
