//! The only part of the crate with `unsafe`: memory mapping and the arithmetic of the formats.

pub mod mapping;
