//! Checks of single fields: from what a peer wrote to values that can be trusted.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::limits::{MAX_BYTES, MAX_DURATION, MAX_LAYERS, MAX_POSITIONS, MAX_WORDS_BYTES};
use crate::{Arithmetic, LayerRange, PeerId};

/// A field of a control message that breaks its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{field} {problem}")]
pub struct Malformed {
    /// The field as `proto/potluck.proto` names it, or its message.
    pub field: &'static str,
    /// What is wrong.
    pub problem: Problem,
}

/// How a field breaks its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// It is not there.
    #[error("is missing")]
    Missing,
    /// A number outside its range.
    #[error("is {value}, outside {least} to {most}")]
    OutOfRange {
        /// The number.
        value: u64,
        /// The least that is allowed.
        least: u64,
        /// The most that is allowed.
        most: u64,
    },
    /// Bytes, text or elements that are too many or too few.
    #[error("has a length of {length}, outside {least} to {most}")]
    Length {
        /// How many.
        length: usize,
        /// The fewest that are allowed.
        least: usize,
        /// The most that are allowed.
        most: usize,
    },
    /// A number that names nothing in this version.
    #[error("is {0}, which names nothing known here")]
    Unnamed(i32),
    /// A text with characters that it must not have.
    #[error("has characters that do not belong there")]
    Characters,
    /// Elements in the wrong order, or twice.
    #[error("is out of order or names something twice")]
    Order,
    /// What one field says contradicts another.
    #[error("contradicts another field")]
    Contradiction,
}

impl Problem {
    pub(super) fn of(self, field: &'static str) -> Malformed {
        Malformed {
            field,
            problem: self,
        }
    }
}

/// What a conversion of a field gives.
pub(super) type Checked<T> = Result<T, Malformed>;

pub(super) fn required<T>(field: &'static str, value: Option<T>) -> Checked<T> {
    value.ok_or(Problem::Missing.of(field))
}

pub(super) fn within<T: Copy + PartialOrd + Into<u64>>(
    field: &'static str,
    value: T,
    range: RangeInclusive<T>,
) -> Checked<T> {
    if range.contains(&value) {
        return Ok(value);
    }
    let problem = Problem::OutOfRange {
        value: value.into(),
        least: (*range.start()).into(),
        most: (*range.end()).into(),
    };
    Err(problem.of(field))
}

pub(super) fn length(
    field: &'static str,
    length: usize,
    range: RangeInclusive<usize>,
) -> Checked<()> {
    if range.contains(&length) {
        return Ok(());
    }
    let problem = Problem::Length {
        length,
        least: *range.start(),
        most: *range.end(),
    };
    Err(problem.of(field))
}

/// A program that names none is of a version that had only this one.
pub(super) fn arithmetic(field: &'static str, name: String) -> Checked<Arithmetic> {
    if name.is_empty() {
        return Ok(Arithmetic::CANONICAL_1);
    }
    length(field, name.len(), 1..=Arithmetic::MAX_BYTES)?;
    Arithmetic::new(name).ok_or(Problem::Characters.of(field))
}

pub(super) fn memory_bytes(field: &'static str, value: u64) -> Checked<u64> {
    within(field, value, 0..=MAX_BYTES)
}

/// A count of positions, none included.
pub(super) fn positions(field: &'static str, value: u32) -> Checked<u32> {
    within(field, value, 0..=MAX_POSITIONS)
}

pub(super) fn duration(field: &'static str, nanoseconds: u64) -> Checked<Duration> {
    let duration = Duration::from_nanos(nanoseconds);
    if duration <= MAX_DURATION {
        return Ok(duration);
    }
    within(field, nanoseconds, 0..=nanoseconds_of(MAX_DURATION)).map(Duration::from_nanos)
}

/// Of a duration within [`MAX_DURATION`] exactly; of a longer one what is refused.
pub(super) fn nanoseconds_of(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

pub(super) fn bytes_32(field: &'static str, bytes: &[u8]) -> Checked<[u8; 32]> {
    length(field, bytes.len(), 32..=32)?;
    Ok(bytes.try_into().expect("the length was checked"))
}

pub(super) fn peer(field: &'static str, bytes: &[u8]) -> Checked<PeerId> {
    bytes_32(field, bytes).map(PeerId::from_public_key)
}

pub(super) fn layers(field: &'static str, first: u32, end: u32) -> Checked<LayerRange> {
    within(field, end, 0..=MAX_LAYERS)?;
    LayerRange::new(first, end).ok_or(Problem::Order.of(field))
}

/// Text that can be shown as it is: no line breaks, no escape sequences.
pub(super) fn text(field: &'static str, text: String, most: usize) -> Checked<String> {
    length(field, text.len(), 0..=most)?;
    if text.chars().any(char::is_control) {
        return Err(Problem::Characters.of(field));
    }
    Ok(text)
}

pub(super) fn words(field: &'static str, words: String) -> Checked<String> {
    text(field, words, MAX_WORDS_BYTES)
}

/// Whether each `first..end` is not empty and ends before the next begins.
pub(super) fn apart<T: Ord>(
    field: &'static str,
    ranges: impl Iterator<Item = (T, T)>,
) -> Checked<()> {
    let mut before: Option<T> = None;
    for (first, end) in ranges {
        if first >= end || before.is_some_and(|before| before >= first) {
            return Err(Problem::Order.of(field));
        }
        before = Some(end);
    }
    Ok(())
}
