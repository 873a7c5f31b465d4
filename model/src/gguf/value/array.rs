//! Metadata arrays, as views of the file.

use std::fmt;
use std::fmt::Display;

use bytes::Bytes;

use super::{Value, ValueType, encode_string};
use crate::gguf::GgufError;
use crate::gguf::cursor::Cursor;

/// Arrays inside arrays that are accepted; no known file nests them at all.
const DEPTH_LIMIT: u32 = 4;

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
    pub(in crate::gguf) fn to_strings(&self, key: &str) -> Option<StringArray> {
        (self.element == ValueType::String).then(|| StringArray {
            key: key.to_owned(),
            len: self.len,
            data: self.data.clone(),
        })
    }

    /// The array as numbers of type `T`: the first element that does not fit, if one does not.
    pub(in crate::gguf) fn to_numbers<T: Number>(&self) -> Option<Result<NumberArray<T>, Value>> {
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

    pub(super) fn read(
        cursor: &mut Cursor<'_>,
        depth: u32,
        item: &dyn Display,
    ) -> Result<Self, GgufError> {
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

    pub(super) fn encode(&self, into: &mut Vec<u8>) {
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

    /// The texts as they are stored, each behind its length in eight little-endian bytes.
    pub(crate) fn encoded(&self) -> &Bytes {
        &self.data
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
