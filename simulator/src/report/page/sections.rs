//! Sections of a page.

use std::fmt::Write as _;

use super::super::markup::escaped;
use super::super::plot::Plot;
use super::super::summary::Summary;
use super::super::table::Table;
use super::super::text::Told;
use super::super::words;
use crate::record::Record;

const STYLE: &str = include_str!("style.css");

/// A whole page around its body.
pub(crate) fn document(title: &str, body: &str) -> String {
    let title = escaped(title);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <title>{title} · potluck-sim</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         {body}</body>\n</html>\n"
    )
}

pub(crate) fn opening(name: &str, headline: &str) -> String {
    let (name, headline) = (escaped(name), escaped(headline));
    format!("<h1>potluck-sim · {name}</h1>\n<p class=\"headline\">{headline}</p>\n")
}

pub(crate) fn heading(text: &str) -> String {
    format!("<h2>{}</h2>\n", escaped(text))
}

pub(crate) fn paragraphs(text: &str) -> String {
    let paragraphs = text.split("\n\n").map(str::trim).filter(|p| !p.is_empty());
    paragraphs
        .map(|p| format!("<p>{}</p>\n", escaped(p)))
        .collect()
}

/// The figures that a glance is for.
pub(super) fn cards(summary: &Summary) -> String {
    let stall = summary.stall_ms.map(|times| times.most);
    let first = summary.time_to_first_token_ms;
    let gap = summary.time_per_output_token_ms;
    let asked = summary.answerable();
    let recoveries = (summary.failures + summary.moves).to_string();
    let cards = [
        (
            "tokens a second in an answer",
            words::or_none(summary.tokens_per_s, words::figure),
        ),
        (
            "tokens a second together",
            words::figure(summary.tokens_per_s_together),
        ),
        (
            "to the first token, p50",
            words::or_none(first, |t| words::time_ms(t.p50)),
        ),
        (
            "for a token, p50",
            words::or_none(gap, |t| words::time_ms(t.p50)),
        ),
        (
            "for a token, p99",
            words::or_none(gap, |t| words::time_ms(t.p99)),
        ),
        ("answers whole", format!("{} of {asked}", summary.complete)),
        ("recoveries", recoveries),
        ("the longest stall", words::or_none(stall, words::time_ms)),
        (
            "energy a token",
            words::or_none(summary.joules_per_token, words::joules),
        ),
        ("of the air occupied", words::percent(summary.airtime)),
    ];
    let mut html = "<div class=\"cards\">\n".to_owned();
    for (name, value) in cards {
        let (name, value) = (escaped(name), escaped(&value));
        let _ = writeln!(
            html,
            "<div class=\"card\"><b>{value}</b><span>{name}</span></div>"
        );
    }
    html.push_str("</div>\n");
    html
}

pub(super) fn violations(summary: &Summary) -> String {
    if summary.violations.is_empty() {
        return String::new();
    }
    let mut html = "<div class=\"bad\"><b>What checkers found</b><ul>\n".to_owned();
    for violation in summary.violations.iter().take(50) {
        let at = words::time_us(violation.at_us);
        let text = format!("{}, at {at}: {}", violation.checker, violation.words);
        let _ = writeln!(html, "<li>{}</li>", escaped(&text));
    }
    html.push_str("</ul></div>\n");
    html
}

/// A table below its heading, if it has rows.
pub(super) fn told(title: &str, (table, left_out): Told) -> String {
    if table.is_empty() {
        return String::new();
    }
    let left_out = left_out.map(|words| format!("<p class=\"note\">{}</p>\n", escaped(&words)));
    heading(title) + &table.to_html() + &left_out.unwrap_or_default()
}

/// Why sessions went elsewhere, each cause with how often and how long.
pub(super) fn recoveries(record: &Record) -> String {
    const ROWS: usize = 20;
    let mut table = Table::with_words(&["who failed or left", "why"], &["at", "stood still"]);
    let recoveries = record
        .sessions
        .iter()
        .flat_map(|session| &session.recoveries);
    let all = recoveries.clone().count();
    for recovery in recoveries.take(ROWS) {
        let device = record.devices.get(recovery.device);
        table.row([
            device.map_or_else(String::new, |device| device.name.clone()),
            recovery.cause.clone(),
            words::time_us(recovery.noticed_at_us),
            words::or_none(recovery.stall_us, words::time_us),
        ]);
    }
    let more = (all > ROWS).then(|| format!("… and {} more", all - ROWS));
    told("Recoveries", (table, more))
}

/// Plots side by side, as many as there is room for.
pub(crate) fn figures(plots: &[Plot]) -> String {
    let mut html = "<div class=\"plots\">\n".to_owned();
    for plot in plots {
        let title = escaped(&plot.title);
        let _ = write!(
            html,
            "<figure><figcaption>{title}</figcaption>\n{}",
            plot.svg
        );
        if !plot.legend.is_empty() {
            html.push_str("<ul class=\"legend\">");
            for (name, colour) in &plot.legend {
                let name = escaped(name);
                let _ = write!(html, "<li><i style=\"background:{colour}\"></i>{name}</li>");
            }
            html.push_str("</ul>\n");
        }
        if let Some(note) = &plot.note {
            let _ = writeln!(html, "<p class=\"note\">{}</p>", escaped(note));
        }
        html.push_str("</figure>\n");
    }
    html.push_str("</div>\n");
    html
}

/// How to have the same again.
pub(super) fn ending(record: &Record, command: &str) -> String {
    let command = match command {
        "" => String::new(),
        command => format!("<br/>Made by <code>{}</code>.", escaped(command)),
    };
    format!(
        "<footer>Simulated, not measured: {} of virtual time in {}, seed {}, trace {}. The same \
         scenario and seed give the same on every machine.{command}</footer>\n",
        words::time_us(record.duration_us),
        words::count(record.events, "event"),
        record.seed,
        escaped(&record.trace_hash),
    )
}

/// Plots below each other as one picture, in the page's colours.
pub(crate) fn standalone(plots: &[Plot]) -> String {
    const WIDTH: u32 = 640;
    const TITLE: u32 = 24;
    let mut inside = String::new();
    let mut top = 0;
    for plot in plots {
        let title = escaped(&plot.title);
        let baseline = top + TITLE - 6;
        let _ = writeln!(
            inside,
            "<text x=\"8\" y=\"{baseline}\" font-size=\"15\" fill=\"var(--ink)\">{title}</text>"
        );
        let height = plot.svg.split_once("viewBox=\"0 0 640 ");
        let height = height.and_then(|(_, rest)| rest.split_once('"')?.0.parse().ok());
        let height: u32 = height.unwrap_or(260);
        let place = format!(
            "<svg y=\"{}\" height=\"{height}\" width=\"{WIDTH}\" ",
            top + TITLE
        );
        inside.push_str(&plot.svg.replacen("<svg ", &place, 1));
        top += TITLE + height;
    }
    let style: String = STYLE.split("\n*").take(1).collect();
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {top}\" width=\"{WIDTH}\" \
         font-family=\"sans-serif\">\n<style>{style}</style>\n<rect width=\"100%\" height=\"100%\" \
         fill=\"var(--paper)\"/>\n{inside}</svg>\n"
    )
}
