//! Formats of weights.

use std::fmt;
use std::str::FromStr;

use potluck_protocol::profile::Quantisation;
use serde::{Deserialize, Serialize};

/// A format of weights, as GGUF files have it.
#[expect(non_camel_case_types, reason = "the names that GGUF gives them")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Format {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// 16-bit floats with the exponent of 32-bit ones.
    BF16,
    /// 4 bits and a scale.
    Q4_0,
    /// 4 bits, a scale and a minimum.
    Q4_1,
    /// 5 bits and a scale.
    Q5_0,
    /// 5 bits, a scale and a minimum.
    Q5_1,
    /// 8 bits and a scale.
    Q8_0,
    /// 2 bits with scales of scales.
    Q2_K,
    /// 3 bits with scales of scales.
    Q3_K,
    /// 4 bits with scales of scales.
    Q4_K,
    /// 5 bits with scales of scales.
    Q5_K,
    /// 6 bits with scales of scales.
    Q6_K,
    /// 4 bits that number values of a table, and a scale.
    IQ4_NL,
    /// 4 bits that number values of a table, with scales of scales.
    IQ4_XS,
    /// Floats of 4 bits, and an exponent.
    MXFP4,
    /// About 3.4 bits: groups of a grid.
    IQ3_S,
    /// About 3.1 bits: groups of a grid.
    IQ3_XXS,
    /// About 2.6 bits: groups of a grid.
    IQ2_S,
    /// About 2.3 bits: groups of a grid.
    IQ2_XS,
    /// About 2.1 bits: groups of a grid.
    IQ2_XXS,
    /// Three values in 2 bits, and a scale.
    TQ2_0,
    /// Three values, five in a byte, and a scale.
    TQ1_0,
}

/// Name, number in GGUF, bytes of a block, elements of a block.
const FORMATS: [(Format, &str, u32, u64, u64); 23] = [
    (Format::F32, "F32", 0, 4, 1),
    (Format::F16, "F16", 1, 2, 1),
    (Format::BF16, "BF16", 30, 2, 1),
    (Format::Q4_0, "Q4_0", 2, 18, 32),
    (Format::Q4_1, "Q4_1", 3, 20, 32),
    (Format::Q5_0, "Q5_0", 6, 22, 32),
    (Format::Q5_1, "Q5_1", 7, 24, 32),
    (Format::Q8_0, "Q8_0", 8, 34, 32),
    (Format::Q2_K, "Q2_K", 10, 84, 256),
    (Format::Q3_K, "Q3_K", 11, 110, 256),
    (Format::Q4_K, "Q4_K", 12, 144, 256),
    (Format::Q5_K, "Q5_K", 13, 176, 256),
    (Format::Q6_K, "Q6_K", 14, 210, 256),
    (Format::IQ4_NL, "IQ4_NL", 20, 18, 32),
    (Format::IQ4_XS, "IQ4_XS", 23, 136, 256),
    (Format::MXFP4, "MXFP4", 39, 17, 32),
    (Format::IQ3_S, "IQ3_S", 21, 110, 256),
    (Format::IQ3_XXS, "IQ3_XXS", 18, 98, 256),
    (Format::IQ2_S, "IQ2_S", 22, 82, 256),
    (Format::IQ2_XS, "IQ2_XS", 17, 74, 256),
    (Format::IQ2_XXS, "IQ2_XXS", 16, 66, 256),
    (Format::TQ2_0, "TQ2_0", 35, 66, 256),
    (Format::TQ1_0, "TQ1_0", 34, 54, 256),
];

/// A name that no format has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no format is called {0:?}: write one of F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS, MXFP4, IQ3_S, IQ3_XXS, IQ2_S, IQ2_XS, IQ2_XXS, TQ2_0, TQ1_0"
)]
pub struct UnknownFormat(String);

impl Format {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        FORMATS.into_iter().map(|(format, ..)| format)
    }

    fn entry(self) -> (&'static str, u32, u64, u64) {
        let found = FORMATS.into_iter().find(|(format, ..)| *format == self);
        let (_, name, number, bytes, elements) = found.expect("every format is in the table");
        (name, number, bytes, elements)
    }

    /// The protocol's name of it.
    pub fn number(self) -> Quantisation {
        Quantisation(self.entry().1)
    }

    /// Bytes of so many elements, of whole blocks.
    pub fn bytes(self, elements: u64) -> u64 {
        let (_, _, bytes, of) = self.entry();
        elements.div_ceil(of) * bytes
    }

    /// Bits of an element, rounded down, as 4 of `Q4_K`.
    pub fn bits(self) -> u64 {
        let (_, _, bytes, of) = self.entry();
        bytes * 8 / of
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        let mut formats = FORMATS.into_iter();
        let named = formats.find(|(_, name, ..)| name.eq_ignore_ascii_case(text));
        let unknown = || UnknownFormat(text.to_owned());
        named.map(|(format, ..)| format).ok_or_else(unknown)
    }
}

impl TryFrom<String> for Format {
    type Error = UnknownFormat;

    fn try_from(text: String) -> Result<Self, UnknownFormat> {
        text.parse()
    }
}

impl From<Format> for String {
    fn from(format: Format) -> Self {
        format.to_string()
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.entry().0)
    }
}
