//! Counts protobuf fields before anything is parsed.

/// The fields of an envelope and those of its messages, repeated ones each; `None` if the bytes are
/// no message whose fields are messages. What is deeper has a fixed number of fields.
pub(super) fn count_fields(envelope: &[u8]) -> Option<usize> {
    let mut count = 0;
    for field in Fields(envelope) {
        count += 1;
        if let Some(message) = field? {
            for field in Fields(message) {
                field?;
                count += 1;
            }
        }
    }
    Some(count)
}

/// Walks the fields of a message.
struct Fields<'a>(&'a [u8]);

/// The wire types of protobuf that are in use; groups are long deprecated.
const VARINT: u64 = 0;
const FIXED_64: u64 = 1;
const DELIMITED: u64 = 2;
const FIXED_32: u64 = 5;

impl<'a> Iterator for Fields<'a> {
    /// `None` where bytes are no field; else the field's bytes, `None` of a number.
    type Item = Option<Option<&'a [u8]>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<Option<&'a [u8]>> {
        match self.varint()? & 7 {
            VARINT => self.varint().map(|_| None),
            FIXED_64 => self.take(8).map(|_| None),
            DELIMITED => {
                let length = usize::try_from(self.varint()?).ok()?;
                self.take(length).map(Some)
            }
            FIXED_32 => self.take(4).map(|_| None),
            _ => None,
        }
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn varint(&mut self) -> Option<u64> {
        prost::encoding::decode_varint(&mut self.0).ok()
    }
}
