//! Tables, as text and as HTML.

use std::fmt::Write as _;

use super::markup::escaped;

/// Where a column's text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// As words do.
    Left,
    /// As numbers do.
    Right,
}

/// Rows of cells below headings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    headings: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// One without rows.
    pub fn new(headings: impl IntoIterator<Item = (String, Align)>) -> Self {
        Self {
            headings: headings.into_iter().collect(),
            rows: Vec::new(),
        }
    }

    /// One whose first columns are words, and all others numbers.
    pub fn with_words(words: &[&str], numbers: &[&str]) -> Self {
        let left = words.iter().map(|text| (*text, Align::Left));
        let right = numbers.iter().map(|text| (*text, Align::Right));
        Self::new(left.chain(right).map(|(text, at)| (text.to_owned(), at)))
    }

    /// Adds a row; cells that are missing are empty, those too many are left out.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let mut row: Vec<_> = cells.into_iter().collect();
        row.resize(self.headings.len(), String::new());
        self.rows.push(row);
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// For the terminal: columns two spaces apart, a line end after each row.
    pub fn to_text(&self) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].as_str());
            let cells = cells.chain([self.headings[column].0.as_str()]);
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..self.headings.len()).map(width).collect();
        let headings = self.headings.iter().map(|(text, _)| text.clone());
        let mut text = String::new();
        for row in [headings.collect()].iter().chain(&self.rows) {
            let mut line = String::new();
            for ((cell, (_, align)), width) in row.iter().zip(&self.headings).zip(&widths) {
                let _ = match align {
                    Align::Left => write!(line, "{cell:<width$}  "),
                    Align::Right => write!(line, "{cell:>width$}  "),
                };
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    /// Comma-separated values as RFC 4180 has them, headings first.
    pub fn to_csv(&self) -> String {
        let quoted = |cell: &str| {
            if cell.contains([',', '"', '\n', '\r']) {
                format!("\"{}\"", cell.replace('"', "\"\""))
            } else {
                cell.to_owned()
            }
        };
        let headings = self.headings.iter().map(|(text, _)| text.clone()).collect();
        let mut text = String::new();
        for row in [headings].iter().chain(&self.rows) {
            let cells: Vec<_> = row.iter().map(|cell| quoted(cell)).collect();
            let _ = writeln!(text, "{}", cells.join(","));
        }
        text
    }

    /// For documents in Markdown.
    pub fn to_markdown(&self) -> String {
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let cell = |text: &String| text.replace('|', "\\|");
        let headings = self.headings.iter().map(|(text, _)| cell(text)).collect();
        let mut text = line(headings);
        let rules = self.headings.iter().map(|(_, align)| match align {
            Align::Left => "---".to_owned(),
            Align::Right => "---:".to_owned(),
        });
        text.push_str(&line(rules.collect()));
        for row in &self.rows {
            text.push_str(&line(row.iter().map(cell).collect()));
        }
        text
    }

    /// For a page.
    pub(crate) fn to_html(&self) -> String {
        let class = |align: Align| match align {
            Align::Left => "",
            Align::Right => " class=\"n\"",
        };
        let mut html = "<div class=\"scroll\"><table>\n<thead><tr>".to_owned();
        for (text, align) in &self.headings {
            let _ = write!(html, "<th{}>{}</th>", class(*align), escaped(text));
        }
        html.push_str("</tr></thead>\n<tbody>\n");
        for row in &self.rows {
            html.push_str("<tr>");
            for (cell, (_, align)) in row.iter().zip(&self.headings) {
                let _ = write!(html, "<td{}>{}</td>", class(*align), escaped(cell));
            }
            html.push_str("</tr>\n");
        }
        html.push_str("</tbody></table></div>\n");
        html
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::with_words(&["device"], &["layers", "µs"]);
        table.row(["anna, \"the\" first".to_owned(), "6".to_owned()]);
        table.row(["<b|c>".to_owned(), "22".to_owned(), "1".to_owned()]);
        table
    }

    #[test]
    fn columns_line_up_in_the_terminal() {
        let text = "device             layers  µs\n\
                    anna, \"the\" first       6\n\
                    <b|c>                  22   1\n";
        assert_eq!(table().to_text(), text);
    }

    #[test]
    fn what_has_a_meaning_in_a_form_is_escaped_in_it() {
        let csv = "device,layers,µs\n\"anna, \"\"the\"\" first\",6,\n<b|c>,22,1\n";
        assert_eq!(table().to_csv(), csv);
        assert!(table().to_markdown().contains("| <b\\|c> | 22 | 1 |"));
        assert!(
            table()
                .to_html()
                .contains("<td>&lt;b|c&gt;</td><td class=\"n\">22</td>")
        );
    }
}
