//! The dtype and size of a session's frames.

use crate::wire::check::Problem;
use crate::wire::limits::{MAX_D_MODEL, MAX_PAYLOAD_BYTES, MAX_ROWS};

/// How the values of hidden states travel.
///
/// The numbers 2 (f16) and 3 (int8 in blocks of 32 with a scale) are set aside and refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dtype {
    /// 32-bit floats, little-endian: exact.
    F32,
}

impl Dtype {
    pub(super) fn number(self) -> u8 {
        match self {
            Self::F32 => 1,
        }
    }

    pub(super) fn from_number(number: u8) -> Option<Self> {
        (number == 1).then_some(Self::F32)
    }

    /// Bytes of a row of so many values.
    fn row_bytes(self, d_model: u32) -> u64 {
        match self {
            Self::F32 => 4 * u64::from(d_model),
        }
    }

    /// Appends values as they travel; the bits of a NaN, too.
    pub fn encode(self, values: &[f32], out: &mut Vec<u8>) {
        match self {
            Self::F32 => {
                out.reserve(4 * values.len());
                out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            }
        }
    }

    /// The values of a payload. Bytes at the end that are no whole value are left out; the payload
    /// of a [`Frame`](super::Frame) has none.
    pub fn decode(self, payload: &[u8]) -> impl Iterator<Item = f32> {
        match self {
            Self::F32 => {
                let (values, _) = payload.as_chunks::<4>();
                values.iter().map(|&value| f32::from_le_bytes(value))
            }
        }
    }
}

/// What a session's frames may carry, agreed when its stages open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HiddenShape {
    d_model: u32,
    dtype: Dtype,
    max_rows: u32,
}

impl HiddenShape {
    /// Frames of at most so many rows of `d_model` values each.
    ///
    /// # Errors
    /// [`Problem`] if there are none, or a full frame would be beyond the limits.
    pub fn new(d_model: u32, dtype: Dtype, max_rows: u32) -> Result<Self, Problem> {
        let shape = Self {
            d_model,
            dtype,
            max_rows,
        };
        let within = |value: u32, most: u32| {
            let problem = Problem::OutOfRange {
                value: value.into(),
                least: 1,
                most: most.into(),
            };
            (1..=most).contains(&value).then_some(()).ok_or(problem)
        };
        within(d_model, MAX_D_MODEL)?;
        within(max_rows, MAX_ROWS)?;
        // At most MAX_ROWS · 4 · MAX_D_MODEL, far from overflow.
        let bytes = u64::from(max_rows) * dtype.row_bytes(d_model);
        if bytes > u64::from(MAX_PAYLOAD_BYTES) {
            return Err(Problem::OutOfRange {
                value: bytes,
                least: 1,
                most: MAX_PAYLOAD_BYTES.into(),
            });
        }
        Ok(shape)
    }

    /// Values of a row.
    pub fn d_model(self) -> u32 {
        self.d_model
    }

    /// How they travel.
    pub fn dtype(self) -> Dtype {
        self.dtype
    }

    /// Whether all values of a payload are finite numbers.
    pub fn are_numbers(self, payload: &[u8]) -> bool {
        match self.dtype {
            Dtype::F32 => {
                let (values, _) = payload.as_chunks::<4>();
                let finite = |value: &[u8; 4]| f32::from_le_bytes(*value).is_finite();
                // Without an early end, so that it is one pass over vectors.
                values.iter().fold(true, |all, value| all & finite(value))
            }
        }
    }

    /// The most rows of a frame.
    pub fn max_rows(self) -> u32 {
        self.max_rows
    }

    /// Bytes of a payload of so many rows; `None` if those are none or too many.
    pub fn payload_bytes(self, rows: u32) -> Option<u32> {
        let fits = (1..=self.max_rows).contains(&rows);
        let bytes = u64::from(rows) * self.dtype.row_bytes(self.d_model);
        fits.then(|| u32::try_from(bytes).expect("within MAX_PAYLOAD_BYTES up to max_rows"))
    }
}
