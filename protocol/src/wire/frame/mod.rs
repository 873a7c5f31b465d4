//! Data frames: hidden states between neighbours, behind a fixed header.

mod error;
mod header;
mod reader;
mod shape;

pub use error::FrameError;
pub use header::{Answer, FrameHeader, HEADER_BYTES, Kind};
pub use reader::{Arrived, Frame, FrameReader};
pub use shape::{Dtype, HiddenShape};
