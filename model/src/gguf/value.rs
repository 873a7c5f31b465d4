//! Metadata values: thirteen types, arrays as views of the file.

use std::fmt;
use std::fmt::Display;

use bytes::Bytes;

use super::GgufError;
use super::cursor::Cursor;

/// Arrays inside arrays that are accepted; no known file nests them at all.
const DEPTH_LIMIT: u32 = 4;

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

    fn read(cursor: &mut Cursor<'_>, item: &dyn Display) -> Result<Self, GgufError> {
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

    /// The type and what kind of value it is, with an article, for messages.
    pub(super) fn description(&self) -> String {
        let type_name = match self {
            Self::Array(array) => {
                return format!("an array of {} {}", array.len, array.element);
            }
            other => other.value_type(),
        };
        let article = match type_name {
            ValueType::U8 | ValueType::I8 | ValueType::I16 | ValueType::I32 | ValueType::I64 => {
                "an"
            }
            ValueType::F32 | ValueType::F64 => "an",
            _ => "a",
        };
        format!("{article} {type_name}")
    }

    /// Reads a type number and the value after it.
    pub(super) fn read(cursor: &mut Cursor<'_>, item: &dyn Display) -> Result<Self, GgufError> {
        let value_type = ValueType::read(cursor, item)?;
        Self::read_typed(cursor, value_type, 1, item)
    }

    fn read_typed(
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
            ValueType::Bool => Self::Bool(read_bools(cursor, 1, item)?[0] == 1),
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

/// An array of values of one type, as a view of the file; its bytes were checked when it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    element: ValueType,
    len: usize,
    // INVARIANT: exactly `len` encoded values of type `element`.
    data: Bytes,
}

impl Array {
    /// An array of texts.
    pub fn strings<T: AsRef<[u8]>>(texts: impl IntoIterator<Item = T>) -> Self {
        let mut data = Vec::new();
        let mut len = 0;
        for text in texts {
            encode_string(text.as_ref(), &mut data);
            len += 1;
        }
        Self {
            element: ValueType::String,
            len,
            data: data.into(),
        }
    }

    /// An array of numbers.
    pub fn numbers<T: Number>(numbers: impl IntoIterator<Item = T>) -> Self {
        let mut data = Vec::new();
        let mut len = 0;
        for number in numbers {
            number.into_value().encode(&mut data);
            len += 1;
        }
        Self {
            element: T::TYPE,
            len,
            data: data.into(),
        }
    }

    /// An array of arrays.
    pub fn arrays(arrays: &[Self]) -> Self {
        let mut data = Vec::new();
        for array in arrays {
            array.encode(&mut data);
        }
        Self {
            element: ValueType::Array,
            len: arrays.len(),
            data: data.into(),
        }
    }

    /// The type of every element.
    pub fn element_type(&self) -> ValueType {
        self.element
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The elements in order; texts and inner arrays share the file's memory.
    pub fn values(&self) -> impl Iterator<Item = Value> {
        let mut cursor = Cursor::new(&self.data);
        // Depth 1 again: an inner array was read at a greater depth than this one restarts from.
        (0..self.len)
            .map_while(move |_| Value::read_typed(&mut cursor, self.element, 1, &"element").ok())
    }

    /// The array as texts, if it is one.
    pub(super) fn to_strings(&self, key: &str) -> Option<StringArray> {
        (self.element == ValueType::String).then(|| StringArray {
            key: key.to_owned(),
            len: self.len,
            data: self.data.clone(),
        })
    }

    /// The array as numbers of type `T`: the first element that does not fit, if one does not.
    pub(super) fn to_numbers<T: Number>(&self) -> Option<Result<NumberArray<T>, Value>> {
        if !T::converts(self.element) {
            return None;
        }
        let numbers = NumberArray {
            element: self.element,
            data: self.data.clone(),
            convert: T::from_value,
        };
        // An array of `T` itself, the usual case, needs no look at its elements.
        if self.element != T::TYPE
            && let Some(misfit) = self.values().find(|v| T::from_value(v).is_none())
        {
            return Some(Err(misfit));
        }
        Some(Ok(numbers))
    }

    fn read(cursor: &mut Cursor<'_>, depth: u32, item: &dyn Display) -> Result<Self, GgufError> {
        if depth > DEPTH_LIMIT {
            return Err(GgufError::TooDeep {
                item: item.to_string(),
                offset: cursor.offset() as u64,
                limit: DEPTH_LIMIT,
            });
        }
        let element = ValueType::read(cursor, &format_args!("the elements of {item}"))?;
        let count = cursor.u64(&format_args!("element count of {item}"))?;
        // An empty text is its length, an empty array its type and length.
        let least_bytes = match element {
            ValueType::String => 8,
            ValueType::Array => 12,
            fixed => fixed.fixed_bytes().unwrap_or(1) as u64,
        };
        let len = cursor.bounded(count, least_bytes, item)?;
        let start = cursor.offset();
        match element {
            ValueType::String => {
                for _ in 0..len {
                    let length = cursor.u64(item)?;
                    cursor.take(length, item)?;
                }
            }
            ValueType::Array => {
                for _ in 0..len {
                    Self::read(cursor, depth + 1, item)?;
                }
            }
            ValueType::Bool => {
                read_bools(cursor, count, item)?;
            }
            _ => {
                cursor.take(count * least_bytes, item)?;
            }
        }
        Ok(Self {
            element,
            len,
            data: cursor.since(start),
        })
    }

    fn encode(&self, into: &mut Vec<u8>) {
        into.extend((self.element as u32).to_le_bytes());
        into.extend((self.len as u64).to_le_bytes());
        into.extend_from_slice(&self.data);
    }
}

impl Display for Array {
    /// The first elements and the length.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 8;
        f.write_str("[")?;
        for (index, value) in self.values().take(SHOWN).enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            value.fmt(f)?;
        }
        if self.len > SHOWN {
            write!(f, ", … {} {} in all", self.len, self.element)?;
        }
        f.write_str("]")
    }
}

/// An array of texts, as a view of the file.
#[derive(Debug, Clone)]
pub struct StringArray {
    key: String,
    len: usize,
    // INVARIANT: exactly `len` length-prefixed strings.
    data: Bytes,
}

impl StringArray {
    /// The number of texts.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no texts.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The texts in order, as the file has them.
    pub fn iter_bytes(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        let mut rest = &self.data[..];
        (0..self.len).map(move |_| {
            let (length, after) = rest
                .split_first_chunk()
                .expect("as many length prefixes as texts, checked when the array was read");
            // In range, as the length was checked against the file's, itself a `usize`.
            let (text, after) = after.split_at(u64::from_le_bytes(*length) as usize);
            rest = after;
            text
        })
    }

    /// The texts in order.
    ///
    /// # Errors
    /// Each item that is not UTF-8 is [`GgufError::InvalidElement`], which names key and index.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Result<&str, GgufError>> {
        self.iter_bytes().enumerate().map(|(index, text)| {
            str::from_utf8(text).map_err(|_| GgufError::InvalidElement {
                key: self.key.clone(),
                index,
            })
        })
    }
}

/// An array of numbers, as a view of the file (whose numbers may stand at any address).
#[derive(Clone)]
pub struct NumberArray<T> {
    element: ValueType,
    // INVARIANT: values of type `element`, each of which `convert` accepts.
    data: Bytes,
    convert: fn(&Value) -> Option<T>,
}

impl<T: Number> NumberArray<T> {
    /// The number of numbers.
    pub fn len(&self) -> usize {
        self.data.len() / self.element_bytes()
    }

    /// Whether there are no numbers.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// The numbers in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = T> {
        self.data.chunks_exact(self.element_bytes()).map(|bytes| {
            decode_number(self.element, bytes)
                .as_ref()
                .and_then(self.convert)
                .expect("every element was checked when the array was asked for")
        })
    }

    fn element_bytes(&self) -> usize {
        self.element.fixed_bytes().unwrap_or(1)
    }
}

impl<T> fmt::Debug for NumberArray<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NumberArray")
            .field("element", &self.element)
            .field("bytes", &self.data.len())
            .finish()
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for i32 {}
    impl Sealed for u32 {}
}

/// A number that metadata arrays can be written from and read as.
///
/// Integers are read from integers of any width that fit; `f32` from `f32` and, rounded to
/// nearest, `f64`.
pub trait Number: Copy + sealed::Sealed {
    /// The type it is written as.
    const TYPE: ValueType;
    /// What messages call an array of it, with its article.
    const ARRAY_NAME: &'static str;

    /// Whether arrays of this element type can be read as this number.
    fn converts(element: ValueType) -> bool;

    /// The number, if the value is one that fits.
    fn from_value(value: &Value) -> Option<Self>;

    /// The number as a value.
    fn into_value(self) -> Value;
}

impl Number for f32 {
    const TYPE: ValueType = ValueType::F32;
    const ARRAY_NAME: &'static str = "an array of floating-point numbers";

    fn converts(element: ValueType) -> bool {
        matches!(element, ValueType::F32 | ValueType::F64)
    }

    fn from_value(value: &Value) -> Option<Self> {
        match *value {
            Value::F32(v) => Some(v),
            Value::F64(v) => Some(v as Self),
            _ => None,
        }
    }

    fn into_value(self) -> Value {
        Value::F32(self)
    }
}

/// Whether values of this type are integers.
fn is_integer(element: ValueType) -> bool {
    matches!(
        element,
        ValueType::U8
            | ValueType::I8
            | ValueType::U16
            | ValueType::I16
            | ValueType::U32
            | ValueType::I32
            | ValueType::U64
            | ValueType::I64
    )
}

impl Number for i32 {
    const TYPE: ValueType = ValueType::I32;
    const ARRAY_NAME: &'static str = "an array of 32-bit integers";

    fn converts(element: ValueType) -> bool {
        is_integer(element)
    }

    fn from_value(value: &Value) -> Option<Self> {
        value.as_integer()?.try_into().ok()
    }

    fn into_value(self) -> Value {
        Value::I32(self)
    }
}

impl Number for u32 {
    const TYPE: ValueType = ValueType::U32;
    const ARRAY_NAME: &'static str = "an array of unsigned 32-bit integers";

    fn converts(element: ValueType) -> bool {
        is_integer(element)
    }

    fn from_value(value: &Value) -> Option<Self> {
        value.as_integer()?.try_into().ok()
    }

    fn into_value(self) -> Value {
        Value::U32(self)
    }
}

/// A number of `element` type from exactly its bytes.
fn decode_number(element: ValueType, bytes: &[u8]) -> Option<Value> {
    Some(match element {
        ValueType::U8 => Value::U8(u8::from_le_bytes(bytes.try_into().ok()?)),
        ValueType::I8 => Value::I8(i8::from_le_bytes(bytes.try_into().ok()?)),
        ValueType::U16 => Value::U16(u16::from_le_bytes(bytes.try_into().ok()?)),
        ValueType::I16 => Value::I16(i16::from_le_bytes(bytes.try_into().ok()?)),
        ValueType::U32 => Value::U32(u32::from_le_bytes(bytes.try_into().ok()?)),
        ValueType::I32 => Value::I32(i32::from_le_bytes(bytes.try_into().ok()?)),
        ValueType::U64 => Value::U64(u64::from_le_bytes(bytes.try_into().ok()?)),
        ValueType::I64 => Value::I64(i64::from_le_bytes(bytes.try_into().ok()?)),
        ValueType::F32 => Value::F32(f32::from_le_bytes(bytes.try_into().ok()?)),
        ValueType::F64 => Value::F64(f64::from_le_bytes(bytes.try_into().ok()?)),
        ValueType::Bool | ValueType::String | ValueType::Array => return None,
    })
}

/// The next `count` booleans, each checked to be 0 or 1.
fn read_bools<'a>(
    cursor: &mut Cursor<'a>,
    count: u64,
    item: &dyn Display,
) -> Result<&'a [u8], GgufError> {
    let offset = cursor.offset();
    let bytes = cursor.take(count, item)?;
    match bytes.iter().position(|&byte| byte > 1) {
        None => Ok(bytes),
        Some(index) => Err(GgufError::InvalidBool {
            item: item.to_string(),
            offset: (offset + index) as u64,
            byte: bytes[index],
        }),
    }
}

fn encode_string(text: &[u8], into: &mut Vec<u8>) {
    into.extend((text.len() as u64).to_le_bytes());
    into.extend_from_slice(text);
}
