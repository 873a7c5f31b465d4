//! One event, as plain data.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, PrimitiveDateTime};
use tracing_subscriber::filter::LevelFilter;

/// Prefix of the log targets of this workspace's crates.
pub(super) const OURS: &str = "potluck";

/// Most bytes of text in a record, so that text from other devices is truncated.
pub(super) const MOST_BYTES: usize = 2 << 10;
/// Most bytes of one text.
const MOST_AT_ONCE: usize = 400;

/// Severity of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// The node cannot continue.
    Error,
    /// A failure that a person may want to fix.
    Warn,
    /// Normal activity that interests people.
    Info,
    /// The details behind it.
    Debug,
    /// Each frame and message.
    Trace,
}

impl Level {
    /// From the most severe.
    pub const ALL: [Self; 5] = [
        Self::Error,
        Self::Warn,
        Self::Info,
        Self::Debug,
        Self::Trace,
    ];

    /// The level's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// A text that is not a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("give error, warn, info, debug or trace")]
pub struct NotALevel;

impl FromStr for Level {
    type Err = NotALevel;

    fn from_str(text: &str) -> Result<Self, NotALevel> {
        let named = Self::ALL.into_iter().find(|level| level.name() == text);
        named.ok_or(NotALevel)
    }
}

impl From<Level> for LevelFilter {
    fn from(level: Level) -> Self {
        match level {
            Level::Error => Self::ERROR,
            Level::Warn => Self::WARN,
            Level::Info => Self::INFO,
            Level::Debug => Self::DEBUG,
            Level::Trace => Self::TRACE,
        }
    }
}

impl From<&tracing::Level> for Level {
    fn from(level: &tracing::Level) -> Self {
        match *level {
            tracing::Level::ERROR => Self::Error,
            tracing::Level::WARN => Self::Warn,
            tracing::Level::INFO => Self::Info,
            tracing::Level::DEBUG => Self::Debug,
            tracing::Level::TRACE => Self::Trace,
        }
    }
}

/// Named values.
pub(super) type Fields = BTreeMap<String, String>;

/// A span that encloses an event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpanRecord {
    /// The kind: `peer`, `session`, …
    pub name: String,
    /// Values that identify it.
    pub fields: Fields,
}

/// One event. Its text has no control characters and no line ends, so a device's name cannot move
/// the cursor of a terminal that shows the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Sequence number of kept events, from 1; 0 for an event that is not kept.
    pub number: u64,
    /// Time of the event by the system's clock: `2026-11-30T08:40:10.123Z`.
    pub time: String,
    /// Severity.
    pub level: Level,
    /// The module that emitted it.
    pub target: String,
    /// Enclosing spans, the outermost first.
    pub spans: Vec<SpanRecord>,
    /// The text.
    pub message: String,
    /// Values of the event.
    pub fields: Fields,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {:5}",
            self.time,
            self.level.name().to_ascii_uppercase()
        )?;
        for span in &self.spans {
            write!(f, " {}{{", span.name)?;
            write_fields(f, &span.fields)?;
            f.write_str("}")?;
        }
        if !self.spans.is_empty() {
            f.write_str(":")?;
        }
        // This program's messages are clear by themselves, those of libraries need their target.
        if !self.target.starts_with(OURS) {
            write!(f, " {}:", self.target)?;
        }
        write!(f, " {}", self.message)?;
        if !self.fields.is_empty() {
            f.write_str("  ")?;
            write_fields(f, &self.fields)?;
        }
        Ok(())
    }
}

/// Writes `a=1 b="two words"`.
fn write_fields(f: &mut fmt::Formatter<'_>, fields: &Fields) -> fmt::Result {
    for (at, (name, value)) in fields.iter().enumerate() {
        let space = if at == 0 { "" } else { " " };
        if value.is_empty() || value.contains([' ', '"', '=']) {
            write!(f, "{space}{name}={value:?}")?;
        } else {
            write!(f, "{space}{name}={value}")?;
        }
    }
    Ok(())
}

/// Cleans text for a record: replaces characters that could move a cursor or change the writing
/// direction, and truncates to `left` bytes or [`MOST_AT_ONCE`]. Subtracts the length from `left`.
pub(super) fn words(text: &str, left: &mut usize) -> String {
    let most = (*left).min(MOST_AT_ONCE);
    let mut words = String::new();
    for char in text.chars() {
        let char = match char {
            '\n' | '\t' => ' ',
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                '\u{fffd}'
            }
            control if control.is_control() => '\u{fffd}',
            other => other,
        };
        if words.len() + char.len_utf8() > most {
            words.push('…');
            break;
        }
        words.push(char);
    }
    *left = left.saturating_sub(words.len());
    words
}

/// The current time by the system's clock.
pub(super) fn now() -> String {
    time_of(SystemTime::now())
}

/// Formats a time for an event: RFC 3339, in UTC. Times before 1970 or after 9999 are clamped to
/// the nearest representable one.
pub fn time_of(when: SystemTime) -> String {
    let since = when.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    let at = OffsetDateTime::from_unix_timestamp(seconds);
    let at = at.unwrap_or(PrimitiveDateTime::MAX.assume_utc());
    let (year, month, day) = at.to_calendar_date();
    let (hour, minute, second) = at.to_hms();
    format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z",
        month = u8::from(month),
        ms = since.subsec_millis(),
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(unix_ms: u64) -> String {
        time_of(UNIX_EPOCH + Duration::from_millis(unix_ms))
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for (unix_ms, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_796_028_010_123, "2026-11-30T08:40:10.123Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (u64::MAX, "9999-12-31T23:59:59.615Z"),
        ] {
            assert_eq!(at(unix_ms), expected);
        }
    }

    #[test]
    fn words_of_others_are_one_line_and_end() {
        let mut left = 1000;
        assert_eq!(
            words("a\nb\u{1b}[2J\u{202e}c", &mut left),
            "a b\u{fffd}[2J\u{fffd}c"
        );
        let long = words(&"é".repeat(10_000), &mut left);
        assert!(long.len() <= MOST_AT_ONCE + '…'.len_utf8() && long.ends_with('…'));
        let mut left = 3;
        assert_eq!(words("abcdef", &mut left), "abc…");
        assert_eq!((words("x", &mut left), left), ("…".to_owned(), 0));
    }

    #[test]
    fn a_record_is_a_line() {
        let fields = |pairs: &[(&str, &str)]| {
            let owned = pairs
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_string()));
            owned.collect::<Fields>()
        };
        let record = Record {
            number: 7,
            time: at(0),
            level: Level::Warn,
            target: "potluck::net::journal".to_owned(),
            spans: vec![SpanRecord {
                name: "peer".to_owned(),
                fields: fields(&[("name", "my tablet"), ("at", "3")]),
            }],
            message: "its connection broke".to_owned(),
            fields: fields(&[("reason", "")]),
        };
        assert_eq!(
            record.to_string(),
            "1970-01-01T00:00:00.000Z WARN  peer{at=3 name=\"my tablet\"}: its connection broke  \
             reason=\"\""
        );
    }
}
