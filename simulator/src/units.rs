//! Quantities as people write them: `"2.5 ms"`, `"100 Mbit/s"`, `"6 GB"`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Why a text is no quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// It does not begin with a number.
    #[error("{0:?} does not begin with a number: write one and a unit, such as {1:?}")]
    NoNumber(String, &'static str),
    /// Its unit is not known.
    #[error("{0:?} has no known unit: write one of {1}")]
    UnknownUnit(String, &'static str),
    /// It is negative, not finite, or too large.
    #[error("{0:?} is out of range: write a number from 0 to {1}")]
    OutOfRange(String, &'static str),
}

/// A number, and the text behind it.
fn split<'a>(text: &'a str, example: &'static str) -> Result<(f64, &'a str), UnitError> {
    let text = text.trim();
    let ends = |c: char| !(c.is_ascii_digit() || c == '.' || c == '_');
    let (number, unit) = text.split_at(text.find(ends).unwrap_or(text.len()));
    let number = number.replace('_', "");
    let number = number
        .parse()
        .map_err(|_| UnitError::NoNumber(text.to_owned(), example))?;
    Ok((number, unit.trim()))
}

/// The whole number of smallest units that a text of these units is.
fn whole(
    text: &str,
    units: &[(&str, f64)],
    names: &'static str,
    example: &'static str,
    most: (u64, &'static str),
) -> Result<u64, UnitError> {
    let (number, unit) = split(text, example)?;
    let known = units.iter().find(|(name, _)| *name == unit);
    let (_, scale) = known.ok_or_else(|| UnitError::UnknownUnit(text.to_owned(), names))?;
    let value = (number * scale).round();
    if !value.is_finite() || value > most.0 as f64 {
        return Err(UnitError::OutOfRange(text.to_owned(), most.1));
    }
    Ok(value as u64)
}

/// Derives how a quantity is read from and written to text.
macro_rules! as_text {
    ($name:ident) => {
        impl TryFrom<String> for $name {
            type Error = UnitError;

            fn try_from(text: String) -> Result<Self, UnitError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(of: $name) -> Self {
                of.to_string()
            }
        }
    };
}

/// A span of virtual time, in microseconds.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash, Serialize, Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct Span(pub u64);

const SPANS: [(&str, f64); 8] = [
    ("us", 1.0),
    ("µs", 1.0),
    ("ms", 1e3),
    ("s", 1e6),
    ("min", 60e6),
    ("h", 3_600e6),
    ("d", 86_400e6),
    ("days", 86_400e6),
];
/// A year in microseconds.
const MOST_SPAN: u64 = 365 * 86_400 * 1_000_000;

impl Span {
    /// So many seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(seconds * 1_000_000)
    }

    /// So many milliseconds.
    pub const fn millis(ms: u64) -> Self {
        Self(ms * 1_000)
    }

    /// As the protocol counts time.
    pub fn duration(self) -> Duration {
        Duration::from_micros(self.0)
    }
}

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let most = (MOST_SPAN, "a year");
        whole(text, &SPANS, "us, ms, s, min, h, d", "2.5 ms", most).map(Self)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("h", 3_600_000_000), ("min", 60_000_000), ("s", 1_000_000)];
        let whole = units
            .iter()
            .find(|(_, us)| self.0 > 0 && self.0.is_multiple_of(*us));
        match whole {
            Some((unit, us)) => write!(f, "{} {unit}", self.0 / us),
            None if self.0.is_multiple_of(1_000) => write!(f, "{} ms", self.0 / 1_000),
            None => write!(f, "{} us", self.0),
        }
    }
}

as_text!(Span);

/// A number of bytes.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash, Serialize, Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct ByteCount(pub u64);

const BYTES: [(&str, f64); 9] = [
    ("B", 1.0),
    ("kB", 1e3),
    ("MB", 1e6),
    ("GB", 1e9),
    ("TB", 1e12),
    ("KiB", 1024.0),
    ("MiB", 1_048_576.0),
    ("GiB", 1_073_741_824.0),
    ("TiB", 1_099_511_627_776.0),
];
/// As the protocol bounds memory: a pebibyte.
const MOST_BYTES: u64 = 1 << 50;

impl FromStr for ByteCount {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let names = "B, kB, MB, GB, TB, KiB, MiB, GiB, TiB";
        whole(text, &BYTES, names, "6 GB", (MOST_BYTES, "1024 TiB")).map(Self)
    }
}

impl fmt::Display for ByteCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [
            ("GiB", 1 << 30),
            ("GB", 1_000_000_000),
            ("MiB", 1 << 20),
            ("MB", 1_000_000),
            ("KiB", 1 << 10),
            ("kB", 1_000),
        ];
        let whole = units
            .iter()
            .find(|(_, bytes)| self.0 > 0 && self.0.is_multiple_of(*bytes));
        match whole {
            Some((unit, bytes)) => write!(f, "{} {unit}", self.0 / bytes),
            None => write!(f, "{} B", self.0),
        }
    }
}

as_text!(ByteCount);

/// Bits a second on a network, never none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BitRate(u64);

const BIT_RATES: [(&str, f64); 4] = [
    ("bit/s", 1.0),
    ("kbit/s", 1e3),
    ("Mbit/s", 1e6),
    ("Gbit/s", 1e9),
];

impl BitRate {
    /// So many bits a second; one, if none.
    pub const fn new(bits_per_s: u64) -> Self {
        Self(if bits_per_s == 0 { 1 } else { bits_per_s })
    }

    /// Bits a second.
    pub fn bits_per_s(self) -> u64 {
        self.0
    }

    /// How long so many bytes take, in microseconds, rounded up.
    pub fn micros_for(self, bytes: u64) -> u64 {
        let micros = (u128::from(bytes) * 8_000_000).div_ceil(u128::from(self.0));
        u64::try_from(micros).unwrap_or(u64::MAX)
    }
}

impl FromStr for BitRate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (names, most) = ("bit/s, kbit/s, Mbit/s, Gbit/s", (1 << 40, "1000 Gbit/s"));
        match whole(text, &BIT_RATES, names, "100 Mbit/s", most)? {
            0 => Err(UnitError::OutOfRange(
                text.to_owned(),
                "1000 Gbit/s, but not 0",
            )),
            rate => Ok(Self(rate)),
        }
    }
}

impl fmt::Display for BitRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [
            ("Gbit/s", 1_000_000_000),
            ("Mbit/s", 1_000_000),
            ("kbit/s", 1_000),
        ];
        match units.iter().find(|(_, bits)| self.0.is_multiple_of(*bits)) {
            Some((unit, bits)) => write!(f, "{} {unit}", self.0 / bits),
            None => write!(f, "{} bit/s", self.0),
        }
    }
}

as_text!(BitRate);

/// Bytes, or multiply-adds, a second, never none: `"20 GB/s"`, `"300 GOPS"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Speed(u64);

// An int8 operation in published figures is a multiplication or an addition: two make a
// multiply-add.
const SPEEDS: [(&str, f64); 5] = [
    ("MB/s", 1e6),
    ("GB/s", 1e9),
    ("B/s", 1.0),
    ("GOPS", 0.5e9),
    ("GMAC/s", 1e9),
];

impl Speed {
    /// So many a second; one, if none.
    pub const fn new(per_second: u64) -> Self {
        Self(if per_second == 0 { 1 } else { per_second })
    }

    /// Bytes or multiply-adds a second.
    pub fn per_second(self) -> u64 {
        self.0
    }
}

impl FromStr for Speed {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let names = "B/s, MB/s, GB/s, or GOPS, GMAC/s";
        match whole(text, &SPEEDS, names, "20 GB/s", (1 << 50, "10^15 a second"))? {
            0 => Err(UnitError::OutOfRange(
                text.to_owned(),
                "10^15 a second, but not 0",
            )),
            speed => Ok(Self(speed)),
        }
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} B/s", self.0)
    }
}

as_text!(Speed);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_people_write_them() {
        assert_eq!("2.5 ms".parse(), Ok(Span(2_500)));
        assert_eq!("10min".parse(), Ok(Span::seconds(600)));
        assert_eq!("1_000 us".parse(), Ok(Span(1_000)));
        assert_eq!("6 GB".parse(), Ok(ByteCount(6_000_000_000)));
        assert_eq!("1.5 GiB".parse(), Ok(ByteCount(3 << 29)));
        assert_eq!("100 Mbit/s".parse(), Ok(BitRate(100_000_000)));
        assert_eq!("300 GOPS".parse(), Ok(Speed(150_000_000_000)));
        assert_eq!(BitRate::new(100_000_000).micros_for(1_250), 100);
        assert_eq!(BitRate::new(3).micros_for(1), 2_666_667);
    }

    #[test]
    fn what_is_no_quantity_is_refused_in_words() {
        fn words<T: FromStr<Err = UnitError>>(text: &str) -> String {
            let read = text.parse::<T>().err();
            read.map_or_else(|| format!("{text} was read"), |error| error.to_string())
        }
        assert!(words::<Span>("soon").contains("2.5 ms"));
        assert!(words::<Span>("5").contains("min"));
        assert!(words::<Span>("5 parsecs").contains("parsecs"));
        assert!(words::<Span>("-5 s").contains("number"));
        assert!(words::<Span>("1000 d").contains("a year"));
        assert!(words::<Span>("9e9 s").contains("unit"));
        assert!("0 bit/s".parse::<BitRate>().is_err());
        assert!("1 Mbit".parse::<BitRate>().is_err());
    }

    #[test]
    fn what_is_written_is_read_back() {
        for us in [0, 1, 2_500, 1_000_000, 90_000_000, 3_600_000_000] {
            assert_eq!(Span(us).to_string().parse(), Ok(Span(us)));
        }
        for bytes in [0, 1, 1_000, 1 << 20, 3 << 29, 6_000_000_000] {
            assert_eq!(ByteCount(bytes).to_string().parse(), Ok(ByteCount(bytes)));
        }
        for rate in [1, 999, 54_000_000] {
            assert_eq!(BitRate(rate).to_string().parse(), Ok(BitRate(rate)));
            assert_eq!(Speed(rate).to_string().parse(), Ok(Speed(rate)));
        }
    }
}
