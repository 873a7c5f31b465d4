//! Storage types that GGUF defines and this build does not compute with.

use std::fmt;

/// A storage type that this build does not compute with, by its GGUF number.
///
/// Most such numbers have a name and a layout in `ggml.h`, or had before they were removed from it;
/// of others nothing is known but the number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OtherType {
    number: u32,
}

/// Number, name, elements of a block, bytes of a block.
type Row = (u32, &'static str, u64, u64);

/// What is known of types that are not in [`TensorType`](crate::TensorType). A block of 0 elements
/// is one whose layout is not known any more.
const KNOWN: [Row; 20] = [
    (4, "Q4_2", 0, 0),
    (5, "Q4_3", 0, 0),
    (9, "Q8_1", 32, 36),
    (15, "Q8_K", 256, 292),
    (19, "IQ1_S", 256, 50),
    (24, "I8", 1, 1),
    (25, "I16", 1, 2),
    (26, "I32", 1, 4),
    (27, "I64", 1, 8),
    (28, "F64", 1, 8),
    (29, "IQ1_M", 256, 56),
    (31, "Q4_0_4_4", 32, 18),
    (32, "Q4_0_4_8", 32, 18),
    (33, "Q4_0_8_8", 32, 18),
    (36, "IQ4_NL_4_4", 32, 18),
    (37, "IQ4_NL_4_8", 32, 18),
    (38, "IQ4_NL_8_8", 32, 18),
    (40, "NVFP4", 64, 36),
    (41, "Q1_0", 128, 18),
    (42, "Q2_0", 64, 18),
];

impl OtherType {
    pub(super) const fn new(number: u32) -> Self {
        Self { number }
    }

    fn row(self) -> Option<&'static Row> {
        KNOWN.iter().find(|row| row.0 == self.number)
    }

    /// The GGUF number.
    pub const fn number(self) -> u32 {
        self.number
    }

    /// The name, if GGUF defines the number, or once did.
    pub fn name(self) -> Option<&'static str> {
        self.row().map(|row| row.1)
    }

    /// Elements and bytes of a block, if its layout is known.
    pub fn block(self) -> Option<(u64, u64)> {
        let (_, _, elements, bytes) = *self.row()?;
        (elements > 0).then_some((elements, bytes))
    }

    /// Bytes of a tensor of these dimensions, if they are known and rows are whole blocks.
    pub(super) fn data_bytes(self, dimensions: &[u64]) -> Option<u64> {
        let (elements, bytes) = self.block()?;
        let columns = *dimensions.first()?;
        if !columns.is_multiple_of(elements) {
            return None;
        }
        let row = (columns / elements).checked_mul(bytes)?;
        let rows = &dimensions[1..];
        rows.iter()
            .try_fold(row, |all, rows| all.checked_mul(*rows))
    }
}

impl fmt::Display for OtherType {
    /// `IQ1_S`, or `type number 99`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "type number {}", self.number),
        }
    }
}
