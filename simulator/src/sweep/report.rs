//! A sweep's results as tables and as a page.

use std::collections::{BTreeMap, BTreeSet};

use super::Line;
use super::grid::in_words;
use crate::report::page::{document, figures, heading, opening, paragraphs};
use crate::report::plot::{Bar, bars};
use crate::report::{Align, FIGURES, Figure, PlotError, Spread, Summary, Table, words};

/// Runs that differ in nothing but their seed.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// What was set in them.
    pub set: BTreeMap<String, String>,
    /// Their figures, seed by seed.
    pub summaries: Vec<Summary>,
}

/// Runs by what was set in them, in the order of the sweep. A run that several sweeps have counts
/// once.
pub fn groups(lines: &[Line]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut at = BTreeMap::new();
    let mut met = BTreeSet::new();
    for line in lines {
        if !met.insert(&line.fingerprint) {
            continue;
        }
        let index = *at.entry(&line.set).or_insert_with(|| {
            groups.push(Group {
                set: line.set.clone(),
                summaries: Vec::new(),
            });
            groups.len() - 1
        });
        groups[index].summaries.push(line.summary.clone());
    }
    groups
}

/// The spread of a figure over a group's seeds; `None` if no run has it.
fn spread(group: &Group, figure: &Figure) -> Option<Spread> {
    Spread::of(group.summaries.iter().filter_map(figure.of))
}

/// Fields that were varied in any group.
fn fields<'a>(sets: impl Iterator<Item = &'a BTreeMap<String, String>>) -> Vec<String> {
    let fields: BTreeSet<_> = sets.flat_map(BTreeMap::keys).cloned().collect();
    fields.into_iter().collect()
}

fn values(fields: &[String], set: &BTreeMap<String, String>) -> impl Iterator<Item = String> {
    let value = |field| set.get(field).cloned().unwrap_or_default();
    fields.iter().map(value).collect::<Vec<_>>().into_iter()
}

/// A row for each group: its mean figures, with the standard deviation over seeds.
pub fn table(groups: &[Group]) -> Table {
    let fields = fields(groups.iter().map(|group| &group.set));
    let told: Vec<_> = FIGURES
        .iter()
        .filter(|figure| groups.iter().any(|group| spread(group, figure).is_some()))
        .collect();
    let left = fields.iter().map(|field| (field.clone(), Align::Left));
    let names = told.iter().map(|figure| figure.name.to_owned());
    let right = ["runs".to_owned()].into_iter().chain(names);
    let mut table = Table::new(left.chain(right.map(|name| (name, Align::Right))));
    for group in groups {
        let cells = told.iter().map(|figure| {
            words::or_none(spread(group, figure), |spread| {
                match spread.deviation > spread.mean.abs() * 0.001 {
                    true => format!(
                        "{} ± {}",
                        words::figure(spread.mean),
                        words::figure(spread.deviation)
                    ),
                    false => words::figure(spread.mean),
                }
            })
        });
        let runs = [group.summaries.len().to_string()];
        table.row(values(&fields, &group.set).chain(runs).chain(cells));
    }
    table
}

/// A row for each run, with all figures as numbers; a figure that a run has not is empty.
pub fn csv(lines: &[Line]) -> String {
    let fields = fields(lines.iter().map(|line| &line.set));
    let own = ["seed", "trace_hash"].map(str::to_owned);
    let names = FIGURES.map(|figure| figure.name.replace(", ", "_").replace(' ', "_"));
    let headings = fields.iter().cloned().chain(own).chain(names);
    let mut table = Table::new(headings.map(|name| (name, Align::Left)));
    for line in lines {
        let summary = &line.summary;
        let own = [line.seed.to_string(), summary.trace_hash.clone()];
        let numbers = FIGURES.map(|figure| {
            let number = (figure.of)(summary);
            number.map_or_else(String::new, |number| number.to_string())
        });
        table.row(values(&fields, &line.set).chain(own).chain(numbers));
    }
    table.to_csv()
}

/// Groups that have a bar of their own.
const BARS: usize = 40;

/// A page of the sweep.
///
/// # Errors
/// [`PlotError`] if a plot cannot be drawn.
pub fn page(name: &str, groups: &[Group]) -> Result<String, PlotError> {
    let runs: usize = groups.iter().map(|group| group.summaries.len()).sum();
    let best = |figure: &Figure| {
        let means = groups
            .iter()
            .filter_map(|group| Some((group, spread(group, figure)?.mean)));
        means.max_by(|a, b| a.1.total_cmp(&b.1))
    };
    let speed = &FIGURES[0];
    let headline = match best(speed) {
        Some((group, mean)) if !group.set.is_empty() => format!(
            "{runs} runs; the fastest answers, {} {}, with {}.",
            words::figure(mean),
            speed.name,
            in_words(&group.set)
        ),
        _ => format!("{runs} runs."),
    };
    let mut plots = Vec::new();
    for figure in &FIGURES {
        let bars_of: Vec<_> = groups
            .iter()
            .take(BARS)
            .map(|group| bar(group, figure))
            .collect();
        let means = bars_of.iter().map(|bar| bar.value.map(|(mean, ..)| mean));
        // Not those that are all but the same.
        let differ = |mean: Option<f64>, other: Option<f64>| match (mean, other) {
            (Some(mean), Some(other)) => (mean - other).abs() > other.abs() * 0.01,
            (mean, other) => mean != other,
        };
        let first = bars_of.first().and_then(|bar| bar.value);
        let first = first.map(|(mean, ..)| mean);
        if means.clone().any(|mean| differ(mean, first)) {
            plots.push(bars(figure.name, figure.name, &bars_of)?);
        }
    }
    let mut body = opening(name, &headline);
    body.push_str(&heading("All together"));
    body.push_str(&paragraphs(
        "Means over the seeds, ± their standard deviation.",
    ));
    body.push_str(&table(groups).to_html());
    if groups.len() > BARS {
        let words = format!(
            "Plots show the first {BARS} of {} kinds of runs.",
            groups.len()
        );
        body.push_str(&paragraphs(&words));
    }
    body.push_str(&heading("Figure by figure"));
    body.push_str(&figures(&plots));
    Ok(document(name, &body))
}

fn bar(group: &Group, figure: &Figure) -> Bar {
    let value = spread(group, figure).map(|spread| (spread.mean, spread.least, spread.most));
    let name = match group.set.is_empty() {
        true => "as written".to_owned(),
        false => in_words(&group.set),
    };
    Bar { name, value }
}
