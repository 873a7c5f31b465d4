//! Reports of a run: a [`Summary`] of figures, a text for the terminal, a page with plots.
//!
//! They are made from a [`Record`](crate::Record) alone, so the report of a seed is the same on every
//! machine.

mod figures;
mod markup;
pub mod page;
pub(crate) mod plot;
pub mod scale;
mod spread;
mod summary;
mod table;
#[cfg(test)]
pub(crate) mod tests;
mod text;
mod times;
pub mod words;

pub use figures::{Better, FIGURES, Figure};
pub use page::{Page, page};
pub use plot::PlotError;
pub use spread::Spread;
pub use summary::Summary;
pub use table::{Align, Table};
pub use text::{Detail, text};
pub use times::Times;
