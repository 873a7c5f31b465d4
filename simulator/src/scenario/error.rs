//! Errors in a scenario.

/// What is wrong with a scenario.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScenarioError {
    /// It is not TOML, or a field is unknown or of the wrong kind; the words name line and field.
    #[error("not a scenario: {0}")]
    Unreadable(String),
    /// A field has a value that makes no sense.
    #[error("{}{place}: {words}", line.map(|line| format!("line {line}: ")).unwrap_or_default())]
    Senseless {
        /// The section's name and number from 1, and the field.
        place: String,
        /// The section.
        section: &'static str,
        /// Its number from 0.
        index: usize,
        /// The field.
        field: &'static str,
        /// In the file, from 1, if it is known.
        line: Option<usize>,
        /// What is wrong, and what to write.
        words: String,
    },
    /// It cannot be written as a file.
    #[error("this scenario cannot be written: {0}")]
    Unwritable(String),
}

impl From<toml::de::Error> for ScenarioError {
    fn from(error: toml::de::Error) -> Self {
        Self::Unreadable(error.to_string())
    }
}

impl ScenarioError {
    pub(crate) fn senseless(
        section: &'static str,
        index: usize,
        field: &'static str,
        words: String,
    ) -> Self {
        let place = match section {
            "" => field.to_owned(),
            "model" | "mobility" | "faults" | "checks" => format!("{section}.{field}"),
            _ => format!("{section} {}, {field}", index + 1),
        };
        Self::Senseless {
            place,
            section,
            index,
            field,
            line: None,
            words,
        }
    }

    /// With the line at which the field is in this file; its section's, if it is not written there.
    pub(crate) fn in_lines_of(mut self, text: &str) -> Self {
        if let Self::Senseless {
            section,
            index,
            field,
            line,
            ..
        } = &mut self
        {
            *line = line_of(text, section, *index, field);
        }
        self
    }
}

/// Where the field of a section is written, from 1.
fn line_of(text: &str, section: &str, index: usize, field: &str) -> Option<usize> {
    let many = format!("[[{section}]]");
    let one = format!("[{section}]");
    let mut lines = text.lines().map(str::trim).zip(1..).skip_while({
        let mut left = index + 1;
        let here = section.is_empty();
        move |(line, _)| {
            if line.starts_with(&many) || line.starts_with(&one) {
                left -= 1;
            }
            !here && left > 0
        }
    });
    let (header, at) = lines.next()?;
    let names = |line: &str| {
        let rest = line.strip_prefix(field);
        rest.is_some_and(|rest| rest.trim_start().starts_with('='))
    };
    if names(header) {
        return Some(at);
    }
    let mut section = lines.take_while(|(line, _)| !line.starts_with('['));
    let field = section.find(|(line, _)| names(line));
    Some(field.map_or(at, |(_, at)| at))
}
