//! The key-value part of a GGUF file.

use std::collections::HashMap;

use super::cursor::Cursor;
use super::{Array, GgufError, Number, NumberArray, StringArray, Value};

/// The longest key accepted, as the format defines it.
const KEY_LIMIT: u64 = 65_535;

/// A file's metadata: keys and values, in the file's order.
///
/// Getters convert between integer widths, as writers differ in the one they choose, and refuse
/// everything else: an absent key is `Ok(None)`, a value of another type or out of range an error
/// that names the key, what was expected and what the file has. Some have `require_*` twins that make
/// absence an error, too.
#[derive(Debug, Clone, Default)]
pub struct Metadata {
    entries: Vec<(String, Value)>,
    index: HashMap<String, usize>,
}

impl Metadata {
    /// The number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Keys and values, in the file's order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.entries.iter().map(|(key, value)| (&**key, value))
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.index.get(key).map(|&at| &self.entries[at].1)
    }

    /// A text.
    ///
    /// # Errors
    /// [`GgufError::WrongType`]; [`GgufError::InvalidText`] if it is not UTF-8.
    pub fn str(&self, key: &str) -> Result<Option<&str>, GgufError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => match str::from_utf8(text) {
                Ok(text) => Ok(Some(text)),
                Err(_) => Err(GgufError::InvalidText { key: key.into() }),
            },
            Some(other) => Err(wrong_type(key, "a string", other)),
        }
    }

    /// A text for people, in which what is not UTF-8 is replaced; `None` if there is none, or another
    /// type. For names and the like, of which no answer depends.
    pub fn text(&self, key: &str) -> Option<String> {
        match self.get(key)? {
            Value::String(text) => Some(String::from_utf8_lossy(text).into_owned()),
            _ => None,
        }
    }

    /// A boolean.
    ///
    /// # Errors
    /// [`GgufError::WrongType`].
    pub fn bool(&self, key: &str) -> Result<Option<bool>, GgufError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(other) => Err(wrong_type(key, "a bool", other)),
        }
    }

    /// An integer from 0 to 2³² − 1, stored in any integer type.
    ///
    /// # Errors
    /// [`GgufError::WrongType`], [`GgufError::OutOfRange`].
    pub fn u32(&self, key: &str) -> Result<Option<u32>, GgufError> {
        self.integer(key, "an unsigned 32-bit integer")
    }

    /// An integer from 0 to 2⁶⁴ − 1, stored in any integer type.
    ///
    /// # Errors
    /// [`GgufError::WrongType`], [`GgufError::OutOfRange`].
    pub fn u64(&self, key: &str) -> Result<Option<u64>, GgufError> {
        self.integer(key, "an unsigned 64-bit integer")
    }

    /// A floating-point number, stored as `f32` or (rounded to nearest) `f64`.
    ///
    /// # Errors
    /// [`GgufError::WrongType`].
    pub fn f32(&self, key: &str) -> Result<Option<f32>, GgufError> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => match f32::from_value(value) {
                Some(number) => Ok(Some(number)),
                None => Err(wrong_type(key, "a floating-point number", value)),
            },
        }
    }

    /// An array of any type.
    ///
    /// # Errors
    /// [`GgufError::WrongType`].
    pub fn array(&self, key: &str) -> Result<Option<&Array>, GgufError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(array)) => Ok(Some(array)),
            Some(other) => Err(wrong_type(key, "an array", other)),
        }
    }

    /// An array of texts, as a view of the file.
    ///
    /// # Errors
    /// [`GgufError::WrongType`].
    pub fn strings(&self, key: &str) -> Result<Option<StringArray>, GgufError> {
        const EXPECTED: &str = "an array of strings";
        match self.get(key) {
            None => Ok(None),
            Some(value) => match value {
                Value::Array(array) => array.to_strings(key),
                _ => None,
            }
            .map(Some)
            .ok_or_else(|| wrong_type(key, EXPECTED, value)),
        }
    }

    /// An array of floating-point numbers, as a view of the file.
    ///
    /// # Errors
    /// [`GgufError::WrongType`].
    pub fn f32s(&self, key: &str) -> Result<Option<NumberArray<f32>>, GgufError> {
        self.numbers(key)
    }

    /// An array of integers of any type that fit an `i32`, as a view of the file.
    ///
    /// # Errors
    /// [`GgufError::WrongType`], [`GgufError::OutOfRange`].
    pub fn i32s(&self, key: &str) -> Result<Option<NumberArray<i32>>, GgufError> {
        self.numbers(key)
    }

    /// An array of integers of any type that fit a `u32`, as a view of the file.
    ///
    /// # Errors
    /// [`GgufError::WrongType`], [`GgufError::OutOfRange`].
    pub fn u32s(&self, key: &str) -> Result<Option<NumberArray<u32>>, GgufError> {
        self.numbers(key)
    }

    /// [`Self::str`], where absence is [`GgufError::MissingKey`].
    ///
    /// # Errors
    /// Those of [`Self::str`], and absence.
    pub fn require_str(&self, key: &str) -> Result<&str, GgufError> {
        required(key, self.str(key)?)
    }

    /// [`Self::u32`], where absence is [`GgufError::MissingKey`].
    ///
    /// # Errors
    /// Those of [`Self::u32`], and absence.
    pub fn require_u32(&self, key: &str) -> Result<u32, GgufError> {
        required(key, self.u32(key)?)
    }

    /// [`Self::f32`], where absence is [`GgufError::MissingKey`].
    ///
    /// # Errors
    /// Those of [`Self::f32`], and absence.
    pub fn require_f32(&self, key: &str) -> Result<f32, GgufError> {
        required(key, self.f32(key)?)
    }

    /// [`Self::strings`], where absence is [`GgufError::MissingKey`].
    ///
    /// # Errors
    /// Those of [`Self::strings`], and absence.
    pub fn require_strings(&self, key: &str) -> Result<StringArray, GgufError> {
        required(key, self.strings(key)?)
    }

    /// [`Self::u32s`], where absence is [`GgufError::MissingKey`].
    ///
    /// # Errors
    /// Those of [`Self::u32s`], and absence.
    pub fn require_u32s(&self, key: &str) -> Result<NumberArray<u32>, GgufError> {
        required(key, self.u32s(key)?)
    }

    /// Reads `count` entries, a count that was checked against the bytes left.
    pub(super) fn read(cursor: &mut Cursor<'_>, count: usize) -> Result<Self, GgufError> {
        let mut metadata = Self {
            entries: Vec::with_capacity(count),
            index: HashMap::with_capacity(count),
        };
        for at in 0..count {
            let key = cursor.name(KEY_LIMIT, &format_args!("key of metadata entry {at}"))?;
            let value = Value::read(cursor, &format_args!("value of metadata key `{key}`"))?;
            if metadata.index.insert(key.clone(), at).is_some() {
                return Err(GgufError::DuplicateKey { key });
            }
            metadata.entries.push((key, value));
        }
        Ok(metadata)
    }

    fn integer<T: TryFrom<i128>>(
        &self,
        key: &str,
        expected: &'static str,
    ) -> Result<Option<T>, GgufError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let Some(number) = value.as_integer() else {
            return Err(wrong_type(key, expected, value));
        };
        match number.try_into() {
            Ok(fitting) => Ok(Some(fitting)),
            Err(_) => Err(GgufError::OutOfRange {
                key: key.into(),
                expected,
                value: number,
            }),
        }
    }

    fn numbers<T: Number>(&self, key: &str) -> Result<Option<NumberArray<T>>, GgufError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let converted = match value {
            Value::Array(array) => array.to_numbers(),
            _ => None,
        };
        match converted {
            Some(Ok(numbers)) => Ok(Some(numbers)),
            Some(Err(misfit)) => Err(GgufError::OutOfRange {
                key: key.into(),
                expected: T::ARRAY_NAME,
                value: misfit.as_integer().unwrap_or_default(),
            }),
            None => Err(wrong_type(key, T::ARRAY_NAME, value)),
        }
    }
}

fn required<T>(key: &str, value: Option<T>) -> Result<T, GgufError> {
    value.ok_or_else(|| GgufError::MissingKey { key: key.into() })
}

fn wrong_type(key: &str, expected: &'static str, found: &Value) -> GgufError {
    GgufError::WrongType {
        key: key.into(),
        expected,
        found: found.description(),
    }
}
