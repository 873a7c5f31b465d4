//! Comparisons as tables.

use super::{Comparison, Difference, Verdict};
use crate::report::{Align, Spread, Table, words};

/// Two kinds of runs: a row for each figure.
pub fn details(comparison: &Comparison) -> Table {
    let (first, second) = (comparison.first.as_str(), comparison.second.as_str());
    let headings = [
        ("figure", Align::Left),
        (first, Align::Right),
        (second, Align::Right),
        ("difference", Align::Right),
        ("of it", Align::Right),
        ("95 % within", Align::Right),
        ("so the second is", Align::Left),
    ];
    let mut table = Table::new(headings.map(|(text, align)| (text.to_owned(), align)));
    for row in &comparison.differences {
        let mean = |spread: Option<Spread>| words::or_none(spread, |s| words::figure(s.mean));
        let within = row.difference.and_then(|difference| difference.within());
        table.row([
            row.figure.name.to_owned(),
            mean(row.first),
            mean(row.second),
            words::or_none(row.difference, |difference| signed(difference.mean)),
            words::or_none(row.relative(), relative),
            words::or_none(within, |within| format!("± {}", words::figure(within))),
            in_words(row.verdict).to_owned(),
        ]);
    }
    table
}

/// Several kinds of runs, all against the first: a row for each figure, means with what they differ.
pub fn overview(comparisons: &[Comparison]) -> Table {
    let first = comparisons.first();
    let base = first.map_or("", |comparison| comparison.first.as_str());
    let names = comparisons
        .iter()
        .map(|comparison| comparison.second.as_str());
    let mut table = Table::with_words(
        &["figure"],
        &[&[base], &names.collect::<Vec<_>>()[..]].concat(),
    );
    let figures = comparisons
        .iter()
        .flat_map(|comparison| &comparison.differences);
    let mut told: Vec<&str> = Vec::new();
    for figure in figures.map(|difference| difference.figure) {
        if told.contains(&figure.name) {
            continue;
        }
        told.push(figure.name);
        let rows: Vec<_> = comparisons
            .iter()
            .map(|comparison| comparison.figure(figure.name))
            .collect();
        let base = rows
            .iter()
            .flatten()
            .find_map(|difference| difference.first);
        let base = words::or_none(base, |spread| words::figure(spread.mean));
        let cells = rows.iter().map(|row| words::or_none(*row, cell));
        table.row([figure.name.to_owned(), base].into_iter().chain(cells));
    }
    table
}

/// `5.21 (+12 %)`; with `≈` if it is no more than chance.
fn cell(difference: &Difference) -> String {
    let mean = words::or_none(difference.second, |spread| words::figure(spread.mean));
    let relative = difference.relative().map(relative);
    match (difference.verdict, relative) {
        (Verdict::Equal, _) => format!("{mean} (=)"),
        (Verdict::Alike, _) => format!("{mean} (≈)"),
        (Verdict::Better | Verdict::Worse, Some(relative)) => format!("{mean} ({relative})"),
        (Verdict::Better | Verdict::Worse | Verdict::Incomparable, _) => mean,
    }
}

fn signed(value: f64) -> String {
    match value > 0.0 {
        true => format!("+{}", words::figure(value)),
        false => words::figure(value).replace('-', "−"),
    }
}

fn relative(share: f64) -> String {
    match share > 0.0 {
        true => format!("+{}", words::percent(share)),
        false => words::percent(share).replace('-', "−"),
    }
}

fn in_words(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Equal => "equal",
        Verdict::Alike => "alike",
        Verdict::Better => "better",
        Verdict::Worse => "worse",
        Verdict::Incomparable => "–",
    }
}
