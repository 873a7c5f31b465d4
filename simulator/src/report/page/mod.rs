//! A report as a page: one file that needs nothing else, with or without a network.

mod sections;

use super::plot::{self, Plot, PlotError};
use super::summary::Summary;
use super::table::Table;
use super::text::{self, headline};
use crate::record::Record;

pub(crate) use sections::{document, figures, heading, opening, paragraphs, standalone};

/// Rows of the page's tables.
const ROWS: usize = 40;

/// What a page tells beside the run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    /// What the scenario is about; paragraphs are divided by empty lines.
    pub about: String,
    /// The run beside others, as [`comparison`](crate::compare) makes it: a heading, a text and a
    /// table each.
    pub beside: Vec<(String, String, Table)>,
    /// The command that makes this page.
    pub command: String,
}

/// The page of a run.
///
/// # Errors
/// [`PlotError`] if a plot cannot be drawn.
pub fn page(record: &Record, page: &Page) -> Result<String, PlotError> {
    let summary = Summary::of(record);
    let mut body = opening(&record.name, &headline(&summary));
    body.push_str(&paragraphs(&page.about));
    body.push_str(&sections::cards(&summary));
    body.push_str(&sections::violations(&summary));
    body.push_str(&sections::told(
        "What the plan chose",
        text::placements(record, 10),
    ));
    for (title, words, table) in &page.beside {
        body.push_str(&heading(title));
        body.push_str(&paragraphs(words));
        body.push_str(&table.to_html());
    }
    body.push_str(&heading("Over time"));
    body.push_str(&figures(&plots(record)?));
    body.push_str(&sections::told("Answers", text::sessions(record, ROWS)));
    body.push_str(&sections::told("Devices", text::devices(record, ROWS)));
    body.push_str(&sections::told("Networks", text::networks(record)));
    body.push_str(&sections::recoveries(record));
    body.push_str(&sections::ending(record, &page.command));
    Ok(document(&record.name, &body))
}

/// All plots that have something to show.
fn plots(record: &Record) -> Result<Vec<Plot>, PlotError> {
    let always = [plot::speed(record)?, plot::layers(record)?];
    let some = [
        plot::temperatures(record)?,
        plot::batteries(record)?,
        plot::tokens(record)?,
        plot::first_tokens(record)?,
        plot::recoveries(record)?,
        plot::airtime(record)?,
        plot::energy(record)?,
    ];
    Ok(always
        .into_iter()
        .chain(some.into_iter().flatten())
        .collect())
}
