//! The cost of computing to a device: time, heat and energy.

mod energy;
mod heat;
mod speed;

pub(crate) use energy::{Body, Setting};
pub(crate) use speed::{Rows, Speeds};
