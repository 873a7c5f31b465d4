//! The configuration file: settings for every call, in place of flags on each one.
//!
//! The format is TOML. Keys at the top level apply to all commands, keys in a table to the command
//! of that name:
//!
//! ```toml
//! model = "smollm2:135m"
//! threads = 4
//!
//! [serve]
//! http = "127.0.0.1:8080"
//! origin = ["http://localhost:3000"]
//! ```
//!
//! This module reads the file, within limits, and records the line of each setting. The command
//! line defines which keys exist and which values they accept.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy as _;
use toml::de::{DeTable, DeValue};

/// The environment variable that names a different file.
pub const CONFIG_VARIABLE: &str = "POTLUCK_CONFIG";

/// The largest file: 64 KiB.
const MOST_BYTES: usize = 64 << 10;
/// The most values of one list.
const MOST_VALUES: usize = 1000;

/// The location of the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigPath {
    path: PathBuf,
    /// Whether the path was given explicitly; such a file must exist.
    named: bool,
}

impl ConfigPath {
    /// `override_path` (the value of [`CONFIG_VARIABLE`]) when it is set and not empty, else
    /// `potluck/config.toml` in the platform's configuration folder; `None` if there is no such
    /// folder.
    pub fn locate(override_path: Option<OsString>) -> Option<Self> {
        if let Some(path) = override_path.filter(|path| !path.is_empty()) {
            let path = PathBuf::from(path);
            return Some(Self { path, named: true });
        }
        let folders = etcetera::base_strategy::choose_native_strategy().ok()?;
        Some(Self {
            path: folders.config_dir().join("potluck").join("config.toml"),
            named: false,
        })
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A value as written in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `true` or `false`.
    Flag(bool),
    /// A number, as text for the command line.
    Number(String),
    /// A quoted string.
    Text(String),
    /// Several strings or numbers.
    List(Vec<Self>),
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The command whose table contains the key, such as `circle`, `new`; empty at the top level.
    pub command: Vec<String>,
    /// The key.
    pub key: String,
    /// Its value.
    pub value: Value,
    /// The line of the key, from 1.
    pub line: usize,
}

/// A file's settings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConfigFile {
    /// The file.
    pub path: PathBuf,
    /// The settings in file order.
    pub settings: Vec<Setting>,
}

/// An error in a configuration file, with its position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{}: {words}", path.display(), line.map(|line| format!(":{line}")).unwrap_or_default())]
pub struct ConfigError {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1, if the error belongs to one.
    pub line: Option<usize>,
    /// The reason, and what to write instead.
    pub words: String,
}

impl ConfigFile {
    /// Reads a file; `None` if the default file does not exist.
    ///
    /// # Errors
    /// [`ConfigError`]: it is unreadable, too large, or not in the format on this module's page.
    pub fn read(from: &ConfigPath) -> Result<Option<Self>, ConfigError> {
        let path = from.path();
        let failed = |words: String| ConfigError {
            path: path.to_owned(),
            line: None,
            words,
        };
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !from.named => {
                return Ok(None);
            }
            opened => opened.map_err(|error| failed(format!("cannot read it: {error}")))?,
        };
        let mut bytes = Vec::new();
        let read = file.take(MOST_BYTES as u64 + 1).read_to_end(&mut bytes);
        read.map_err(|error| failed(format!("cannot read it: {error}")))?;
        Self::parse(path, &bytes).map(Some)
    }

    /// Parses the contents of a file.
    ///
    /// # Errors
    /// As [`ConfigFile::read`].
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, ConfigError> {
        let failed = |line, words: String| ConfigError {
            path: path.to_owned(),
            line,
            words,
        };
        if bytes.len() > MOST_BYTES {
            let words = format!("it is larger than {} KiB", MOST_BYTES >> 10);
            return Err(failed(None, words));
        }
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let line = line_of(bytes, error.valid_up_to());
            failed(Some(line), "it is not UTF-8 text".to_owned())
        })?;
        let table = DeTable::parse(text).map_err(|error| {
            let line = error.span().map(|span| line_of(bytes, span.start));
            failed(line, error.message().replace('\n', ", "))
        })?;
        let mut reader = Reader {
            path,
            bytes,
            settings: Vec::new(),
        };
        reader.table(table.get_ref(), &[])?;
        let mut settings = reader.settings;
        settings.sort_by_key(|setting| setting.line);
        Ok(Self {
            path: path.to_owned(),
            settings,
        })
    }
}

/// The line that contains a byte offset, from 1.
fn line_of(bytes: &[u8], at: usize) -> usize {
    let before = &bytes[..at.min(bytes.len())];
    1 + before.iter().filter(|byte| **byte == b'\n').count()
}

struct Reader<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    settings: Vec<Setting>,
}

impl Reader<'_> {
    /// Collects the settings of a table. The parser limits how deeply tables nest.
    fn table(&mut self, table: &DeTable<'_>, command: &[String]) -> Result<(), ConfigError> {
        for (key, value) in table {
            let line = line_of(self.bytes, key.span().start);
            let key = key.get_ref().clone().into_owned();
            if let DeValue::Table(below) = value.get_ref() {
                self.table(below, &[command, &[key]].concat())?;
                continue;
            }
            let value = self.value(value.get_ref(), &key, line)?;
            self.settings.push(Setting {
                command: command.to_vec(),
                key,
                value,
                line,
            });
        }
        Ok(())
    }

    fn value(&self, value: &DeValue<'_>, key: &str, line: usize) -> Result<Value, ConfigError> {
        let failed = |words: String| ConfigError {
            path: self.path.to_owned(),
            line: Some(line),
            words,
        };
        Ok(match value {
            DeValue::String(text) => Value::Text(text.clone().into_owned()),
            DeValue::Boolean(flag) => Value::Flag(*flag),
            DeValue::Integer(number) => {
                let parsed = i128::from_str_radix(number.as_str(), number.radix());
                let number = parsed.map_err(|_| failed(format!("{key} is too large a number")))?;
                Value::Number(number.to_string())
            }
            DeValue::Float(number) => Value::Number(number.as_str().to_owned()),
            DeValue::Array(values) if values.len() <= MOST_VALUES => {
                let values = values.iter().map(|value| match value.get_ref() {
                    DeValue::Array(_) | DeValue::Boolean(_) => Err(failed(format!(
                        "the list of {key} has something else than texts and numbers"
                    ))),
                    value => self.value(value, key, line),
                });
                Value::List(values.collect::<Result<_, _>>()?)
            }
            DeValue::Array(_) => {
                return Err(failed(format!("{key} has more than {MOST_VALUES} values")));
            }
            DeValue::Datetime(_) | DeValue::Table(_) => {
                let found = value.type_str();
                return Err(failed(format!(
                    "{key} is a {found}: write a text in quotes, a number, true, false or a list"
                )));
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<ConfigFile, ConfigError> {
        ConfigFile::parse(Path::new("c.toml"), text.as_bytes())
    }

    #[test]
    fn settings_are_read_with_their_commands_and_lines() {
        let text = "# every time\nthreads = 4\n\n[serve]\norigin = [\"a\", 2]\nopen = true\n\
                    [circle.new]\nx = 0x10\ny = 1_000.5\n";
        let file = parse(text).expect("right");
        let found: Vec<_> = file
            .settings
            .iter()
            .map(|s| (s.command.join(" "), s.key.as_str(), s.line))
            .collect();
        let at = |command: &str, key, line| (command.to_owned(), key, line);
        let all = [
            at("", "threads", 2),
            at("serve", "origin", 5),
            at("serve", "open", 6),
            at("circle new", "x", 8),
            at("circle new", "y", 9),
        ];
        assert_eq!(found, all);
        let values: Vec<_> = file.settings.into_iter().map(|s| s.value).collect();
        let number = |text: &str| Value::Number(text.to_owned());
        let list = Value::List(vec![Value::Text("a".to_owned()), number("2")]);
        let all = [
            number("4"),
            list,
            Value::Flag(true),
            number("16"),
            number("1000.5"),
        ];
        assert_eq!(values, all);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (text, line, words) in [
            ("a = 1\nb = ", Some(2), ""),
            ("a = 1\na = 2", Some(2), "duplicate"),
            ("\nsince = 2024-01-01", Some(2), "since is a datetime"),
            ("x = [[1]]", Some(1), "list of x"),
            ("x = [true]", Some(1), "list of x"),
            (
                "x = 99999999999999999999999999999999999999999999",
                Some(1),
                "too large",
            ),
        ] {
            let error = parse(text).expect_err(text);
            assert_eq!(error.line, line, "{error}");
            assert!(error.to_string().contains(words), "{error}");
            assert!(error.to_string().starts_with("c.toml:"), "{error}");
            assert!(!error.to_string().contains('\n'), "{error}");
        }
        let many = format!("x = [{}]", "1,".repeat(MOST_VALUES + 1));
        assert!(parse(&many).is_err());
        let large = "#".repeat(MOST_BYTES + 1);
        let error = parse(&large).expect_err("too large").to_string();
        assert_eq!(error, "c.toml: it is larger than 64 KiB");
        let error = ConfigFile::parse(Path::new("c.toml"), b"a = 1\nb = \"\xff\"");
        assert_eq!(error.expect_err("not text").line, Some(2));
    }

    #[test]
    fn a_file_that_was_named_has_to_be_there() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("c.toml");
        let named = ConfigPath::locate(Some(path.clone().into())).expect("it is named");
        assert_eq!(named.path(), path);
        assert!(ConfigFile::read(&named).is_err());
        let usual = ConfigPath {
            path: path.clone(),
            named: false,
        };
        assert_eq!(ConfigFile::read(&usual), Ok(None));
        std::fs::write(&path, "threads = 4").expect("writable");
        for place in [named, usual] {
            let file = ConfigFile::read(&place).expect("right").expect("there");
            assert_eq!(file.settings.len(), 1);
        }
        let usual = ConfigPath::locate(Some(OsString::new()));
        assert!(usual.is_none_or(|place| place.path().ends_with("potluck/config.toml")));
    }

    #[test]
    fn tables_of_any_depth_are_read_or_refused() {
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        assert!(parse(&format!("x = {deep}")).is_err());
        let dotted = vec!["a"; 10_000].join(".");
        let _ = parse(&format!("{dotted} = 1"));
        let inline = format!("x = {}1{}", "{ a = ".repeat(5_000), " }".repeat(5_000));
        let _ = parse(&inline);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = ConfigFile::parse(Path::new("c.toml"), &bytes);
        }

        #[test]
        fn no_text_like_toml_makes_it_panic(
            parts in prop::collection::vec(
                prop::sample::select(vec![
                    "[", "]", "[[", "]]", "=", "\"", "'''", "a", "threads", ".", "\n", " ", "{", "}",
                    ",", "1", "-", "0x", "e9", "true", "inf", "nan", "1979-05-27", "#", "\\u00e9", "é",
                ]),
                0..40,
            ),
        ) {
            let _ = ConfigFile::parse(Path::new("c.toml"), parts.concat().as_bytes());
        }
    }
}
