//! How the cost of a run grows with its devices.

use serde::{Deserialize, Serialize};

use super::page::{document, figures, heading, opening, paragraphs, standalone};
use super::plot::{Plot, PlotError, growth};
use super::{Table, words};

/// What a run of so many devices cost the machine that ran it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Devices.
    pub phones: u64,
    /// Virtual time, in seconds.
    pub duration_s: f64,
    /// Questions that were asked.
    pub sessions: u64,
    /// Tokens that were generated.
    pub tokens: u64,
    /// What checkers found.
    pub violations: u64,
    /// Everything that happened.
    pub events: u64,
    /// How long the run took, in seconds.
    pub wall_s: f64,
    /// Processor time, in seconds; `None` where the system does not tell.
    pub cpu_s: Option<f64>,
    /// Peak memory, in bytes; `None` where the system does not tell.
    pub peak_bytes: Option<u64>,
}

impl Cost {
    /// What it takes of a core, however busy the machine is with other things.
    fn core_s(&self) -> f64 {
        self.cpu_s.unwrap_or(self.wall_s)
    }

    fn bytes_a_phone(&self) -> Option<f64> {
        let bytes = self.peak_bytes? as f64;
        (self.phones > 0).then(|| bytes / self.phones as f64)
    }
}

/// A row for each run.
pub fn table(costs: &[Cost]) -> Table {
    let numbers = [
        "virtual time",
        "questions",
        "tokens",
        "events",
        "wall time",
        "of a core",
        "million events/s",
        "memory",
        "memory a phone",
        "violations",
    ];
    let mut table = Table::with_words(&[], &[&["phones"], &numbers[..]].concat());
    for cost in costs {
        let rate = cost.events as f64 / cost.core_s().max(1e-9) / 1e6;
        table.row([
            cost.phones.to_string(),
            words::time_ms(cost.duration_s * 1e3),
            cost.sessions.to_string(),
            cost.tokens.to_string(),
            cost.events.to_string(),
            words::time_ms(cost.wall_s * 1e3),
            words::or_none(cost.cpu_s, |seconds| words::time_ms(seconds * 1e3)),
            words::figure(rate),
            words::or_none(cost.peak_bytes, words::bytes),
            words::or_none(cost.bytes_a_phone(), |bytes| words::bytes(bytes as u64)),
            cost.violations.to_string(),
        ]);
    }
    table
}

fn plots(costs: &[Cost]) -> Result<Vec<Plot>, PlotError> {
    let points = |of: fn(&Cost) -> Option<f64>| -> Vec<(f64, f64)> {
        let points = costs.iter();
        points
            .filter_map(|cost| Some((cost.phones as f64, of(cost)?)))
            .collect()
    };
    let plots = [
        growth(
            "Events of a run",
            "phones",
            "million events",
            &points(|cost| Some(cost.events as f64 / 1e6)),
            |millions| format!("{} M", words::figure(millions)),
        )?,
        growth(
            "Time of one core",
            "phones",
            "s",
            &points(|cost| Some(cost.core_s())),
            |seconds| words::time_ms(seconds * 1e3),
        )?,
        growth(
            "Memory for each phone, the program's own included",
            "phones",
            "kB",
            &points(|cost| Some(cost.bytes_a_phone()? / 1e3)),
            |kilobytes| words::bytes((kilobytes * 1e3) as u64),
        )?,
    ];
    Ok(plots.into_iter().flatten().collect())
}

/// The plots as one picture, for documents.
///
/// # Errors
/// [`PlotError`] if a plot cannot be drawn.
pub fn picture(costs: &[Cost]) -> Result<String, PlotError> {
    Ok(standalone(&plots(costs)?))
}

/// A page of it.
///
/// # Errors
/// [`PlotError`] if a plot cannot be drawn.
pub fn page(costs: &[Cost]) -> Result<String, PlotError> {
    let headline = match costs.iter().max_by_key(|cost| cost.phones) {
        Some(most) => format!(
            "{} phones for {}: {} of one core, {} of memory.",
            most.phones,
            words::time_ms(most.duration_s * 1e3),
            words::time_ms(most.core_s() * 1e3),
            words::or_none(most.peak_bytes, words::bytes)
        ),
        None => "No runs.".to_owned(),
    };
    let mut body = opening("how cost grows", &headline);
    body.push_str(&paragraphs(
        "Circles of five phones, ten questions a minute of all together. Each run had a process of \
         its own.",
    ));
    body.push_str(&figures(&plots(costs)?));
    body.push_str(&heading("Runs"));
    body.push_str(&table(costs).to_html());
    Ok(document("how cost grows", &body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_as_table_and_picture() {
        let cost = |phones, wall_s| Cost {
            phones,
            duration_s: 3_600.0,
            sessions: 600,
            tokens: 38_400,
            violations: 0,
            events: phones * 1_000,
            wall_s,
            cpu_s: None,
            peak_bytes: Some(phones * 50_000 + 5_000_000),
        };
        let costs = [cost(10, 0.1), cost(1_000, 20.0)];
        let text = table(&costs).to_text();
        assert!(text.contains("1.00 h") && text.contains("20.0 s"), "{text}");
        let svg = picture(&costs).expect("drawn");
        assert!(
            svg.starts_with("<svg xmlns=") && svg.ends_with("</svg>\n"),
            "{svg}"
        );
        assert_eq!(svg.matches("<svg").count(), svg.matches("</svg>").count());
        assert!(
            page(&costs)
                .expect("drawn")
                .contains("1000 phones for 1.00 h")
        );
        assert!(page(&[]).expect("drawn").contains("No runs."));
    }
}
