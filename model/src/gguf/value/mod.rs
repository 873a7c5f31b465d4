//! Metadata values: thirteen types.

mod array;

use std::fmt;
use std::fmt::Display;

use bytes::Bytes;

use super::GgufError;
use super::cursor::Cursor;

pub use array::{Array, Number, NumberArray, StringArray};

/// The type of a metadata value, with its GGUF number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum ValueType {
    U8 = 0,
    I8 = 1,
    U16 = 2,
    I16 = 3,
    U32 = 4,
    I32 = 5,
    F32 = 6,
    Bool = 7,
    String = 8,
    Array = 9,
    U64 = 10,
    I64 = 11,
    F64 = 12,
}

impl ValueType {
    /// Every value type, in the order of their numbers.
    pub const ALL: [Self; 13] = [
        Self::U8,
        Self::I8,
        Self::U16,
        Self::I16,
        Self::U32,
        Self::I32,
        Self::F32,
        Self::Bool,
        Self::String,
        Self::Array,
        Self::U64,
        Self::I64,
        Self::F64,
    ];

    /// The type with this GGUF number.
    pub fn from_gguf(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|t| *t as u32 == number)
    }

    /// Bytes of a value, or `None` where they vary.
    pub const fn fixed_bytes(self) -> Option<usize> {
        match self {
            Self::U8 | Self::I8 | Self::Bool => Some(1),
            Self::U16 | Self::I16 => Some(2),
            Self::U32 | Self::I32 | Self::F32 => Some(4),
            Self::U64 | Self::I64 | Self::F64 => Some(8),
            Self::String | Self::Array => None,
        }
    }

    /// The name, as messages write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::U8 => "u8",
            Self::I8 => "i8",
            Self::U16 => "u16",
            Self::I16 => "i16",
            Self::U32 => "u32",
            Self::I32 => "i32",
            Self::F32 => "f32",
            Self::Bool => "bool",
            Self::String => "string",
            Self::Array => "array",
            Self::U64 => "u64",
            Self::I64 => "i64",
            Self::F64 => "f64",
        }
    }

    pub(super) fn read(cursor: &mut Cursor<'_>, item: &dyn Display) -> Result<Self, GgufError> {
        let offset = cursor.offset() as u64;
        let number = cursor.u32(&format_args!("type of {item}"))?;
        Self::from_gguf(number).ok_or_else(|| GgufError::UnknownValueType {
            item: item.to_string(),
            offset,
            number,
        })
    }
}

impl Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A metadata value; texts and arrays share the file's memory.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    U64(u64),
    I64(i64),
    F32(f32),
    F64(f64),
    /// Any byte but 0 is true, as llama.cpp reads it.
    Bool(bool),
    /// A text, which should be UTF-8 but is checked only when it is read as one.
    String(Bytes),
    Array(Array),
}

impl Value {
    /// The value's type.
    pub const fn value_type(&self) -> ValueType {
        match self {
            Self::U8(_) => ValueType::U8,
            Self::I8(_) => ValueType::I8,
            Self::U16(_) => ValueType::U16,
            Self::I16(_) => ValueType::I16,
            Self::U32(_) => ValueType::U32,
            Self::I32(_) => ValueType::I32,
            Self::U64(_) => ValueType::U64,
            Self::I64(_) => ValueType::I64,
            Self::F32(_) => ValueType::F32,
            Self::F64(_) => ValueType::F64,
            Self::Bool(_) => ValueType::Bool,
            Self::String(_) => ValueType::String,
            Self::Array(_) => ValueType::Array,
        }
    }

    /// The value, if it is an integer of any width.
    pub fn as_integer(&self) -> Option<i128> {
        match *self {
            Self::U8(v) => Some(v.into()),
            Self::I8(v) => Some(v.into()),
            Self::U16(v) => Some(v.into()),
            Self::I16(v) => Some(v.into()),
            Self::U32(v) => Some(v.into()),
            Self::I32(v) => Some(v.into()),
            Self::U64(v) => Some(v.into()),
            Self::I64(v) => Some(v.into()),
            Self::F32(_) | Self::F64(_) | Self::Bool(_) | Self::String(_) | Self::Array(_) => None,
        }
    }

    /// A text value.
    pub fn string(text: impl AsRef<[u8]>) -> Self {
        Self::String(Bytes::copy_from_slice(text.as_ref()))
    }

    /// The type with its article, for messages; of an array, its length and element type.
    pub(super) fn description(&self) -> String {
        match (self, self.value_type()) {
            (Self::Array(array), _) => format!(
                "an array of {} {} values",
                array.len(),
                array.element_type()
            ),
            (_, value_type) => {
                // Letters that are spoken with a vowel first.
                let vowel = value_type.name().starts_with(['i', 'f']);
                format!("{} {value_type}", if vowel { "an" } else { "a" })
            }
        }
    }

    /// Reads a type number and the value after it.
    pub(super) fn read(cursor: &mut Cursor<'_>, item: &dyn Display) -> Result<Self, GgufError> {
        let value_type = ValueType::read(cursor, item)?;
        Self::read_typed(cursor, value_type, 1, item)
    }

    pub(super) fn read_typed(
        cursor: &mut Cursor<'_>,
        value_type: ValueType,
        depth: u32,
        item: &dyn Display,
    ) -> Result<Self, GgufError> {
        Ok(match value_type {
            ValueType::U8 => Self::U8(u8::from_le_bytes(cursor.array(item)?)),
            ValueType::I8 => Self::I8(i8::from_le_bytes(cursor.array(item)?)),
            ValueType::U16 => Self::U16(u16::from_le_bytes(cursor.array(item)?)),
            ValueType::I16 => Self::I16(i16::from_le_bytes(cursor.array(item)?)),
            ValueType::U32 => Self::U32(u32::from_le_bytes(cursor.array(item)?)),
            ValueType::I32 => Self::I32(i32::from_le_bytes(cursor.array(item)?)),
            ValueType::U64 => Self::U64(u64::from_le_bytes(cursor.array(item)?)),
            ValueType::I64 => Self::I64(i64::from_le_bytes(cursor.array(item)?)),
            ValueType::F32 => Self::F32(f32::from_le_bytes(cursor.array(item)?)),
            ValueType::F64 => Self::F64(f64::from_le_bytes(cursor.array(item)?)),
            ValueType::Bool => Self::Bool(cursor.array::<1>(item)? != [0]),
            ValueType::String => Self::String(cursor.string(item)?),
            ValueType::Array => Self::Array(Array::read(cursor, depth, item)?),
        })
    }

    /// Appends the value's bytes, without its type.
    pub(super) fn encode(&self, into: &mut Vec<u8>) {
        match self {
            Self::U8(v) => into.extend(v.to_le_bytes()),
            Self::I8(v) => into.extend(v.to_le_bytes()),
            Self::U16(v) => into.extend(v.to_le_bytes()),
            Self::I16(v) => into.extend(v.to_le_bytes()),
            Self::U32(v) => into.extend(v.to_le_bytes()),
            Self::I32(v) => into.extend(v.to_le_bytes()),
            Self::U64(v) => into.extend(v.to_le_bytes()),
            Self::I64(v) => into.extend(v.to_le_bytes()),
            Self::F32(v) => into.extend(v.to_le_bytes()),
            Self::F64(v) => into.extend(v.to_le_bytes()),
            Self::Bool(v) => into.push(u8::from(*v)),
            Self::String(text) => encode_string(text, into),
            Self::Array(array) => array.encode(into),
        }
    }
}

impl Display for Value {
    /// The value as Rust would write it; of an array, its first elements and its length.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::U8(v) => v.fmt(f),
            Self::I8(v) => v.fmt(f),
            Self::U16(v) => v.fmt(f),
            Self::I16(v) => v.fmt(f),
            Self::U32(v) => v.fmt(f),
            Self::I32(v) => v.fmt(f),
            Self::U64(v) => v.fmt(f),
            Self::I64(v) => v.fmt(f),
            Self::F32(v) => write!(f, "{v:?}"),
            Self::F64(v) => write!(f, "{v:?}"),
            Self::Bool(v) => v.fmt(f),
            Self::String(text) => write!(f, "{:?}", String::from_utf8_lossy(text)),
            Self::Array(array) => array.fmt(f),
        }
    }
}

pub(super) fn encode_string(text: &[u8], into: &mut Vec<u8>) {
    into.extend((text.len() as u64).to_le_bytes());
    into.extend_from_slice(text);
}
