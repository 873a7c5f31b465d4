//! What all plots share: axes, colours, SVG output.

use std::ops::Range;

use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use super::PlotError;

/// Of all plots, in the units of their view box.
pub(super) const WIDTH: u32 = 640;
/// Of most plots.
pub(super) const HEIGHT: u32 = 260;
/// What is left of the axes, for labels.
pub(super) const LEFT: u32 = 62;
/// What is below the axes, for labels.
pub(super) const BELOW: u32 = 42;
/// What is around all.
pub(super) const MARGIN: u32 = 8;

/// Text and axes.
pub(super) const INK: RGBColor = RGBColor(2, 0, 0);
/// Lines of the grid.
pub(super) const GRID: RGBColor = RGBColor(2, 0, 1);
/// What went wrong.
pub(super) const BAD: RGBColor = RGBColor(2, 0, 2);
/// What is there, but not looked at.
pub(super) const PALE: RGBColor = RGBColor(2, 0, 3);

/// Names in the page's style, by the blue of the colours above.
const NAMES: [&str; 4] = ["var(--ink)", "var(--grid)", "var(--bad)", "var(--pale)"];
/// Colours of lines.
pub(super) const COLOURS: usize = 10;

/// The colour of the line of this number.
pub(super) fn colour(line: usize) -> RGBColor {
    RGBColor(1, 0, (line % COLOURS) as u8)
}

/// The same in the page's style.
pub(super) fn style(line: usize) -> String {
    format!("var(--c{})", line % COLOURS)
}

/// What a colour is called in the page's style.
pub(super) fn name(colour: RGBColor) -> String {
    match colour {
        RGBColor(2, _, index) => NAMES[usize::from(index) % NAMES.len()].to_owned(),
        RGBColor(_, _, line) => style(usize::from(line)),
    }
}

/// Two axes and what they say.
pub(super) struct Axes<'a> {
    /// What the plot shows, for those who cannot see it.
    pub(super) title: &'a str,
    pub(super) height: u32,
    pub(super) x: Range<f64>,
    pub(super) y: Range<f64>,
    pub(super) x_name: &'a str,
    pub(super) y_name: &'a str,
    /// Numbers at the axes.
    pub(super) x_label: &'a dyn Fn(&f64) -> String,
    pub(super) y_label: &'a dyn Fn(&f64) -> String,
    /// Whether there are lines and labels for the vertical axis; if not, the plot's own.
    pub(super) y_grid: bool,
}

pub(super) type Area<'b> = DrawingArea<SVGBackend<'b>, Shift>;
pub(super) type Chart<'a, 'b> =
    ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;
pub(super) type Drawing = DrawingAreaErrorKind<std::io::Error>;

impl From<Drawing> for PlotError {
    fn from(error: Drawing) -> Self {
        Self(error.to_string())
    }
}

/// A text's style.
pub(super) fn font(size: u32, colour: &RGBColor) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(colour)
}

impl<'a> Axes<'a> {
    /// Of something that changes over the time of a run.
    pub(super) fn over_time(title: &'a str, clock: &Clock, y: Range<f64>, y_name: &'a str) -> Self {
        Self {
            title,
            height: HEIGHT,
            x: 0.0..clock.end,
            y,
            x_name: clock.name,
            y_name,
            x_label: &plain,
            y_label: &plain,
            y_grid: true,
        }
    }

    /// Of so many rows, each so high in the units of the view box, one below the other: row 0 goes
    /// from `rows - 1` to `rows` on the vertical axis.
    pub(super) fn rows(
        title: &'a str,
        (rows, row_height): (u32, u32),
        x: Range<f64>,
        x_name: &'a str,
    ) -> Self {
        Self {
            title,
            height: rows * row_height + BELOW + 2 * MARGIN,
            x,
            y: 0.0..f64::from(rows),
            x_name,
            y_name: "",
            x_label: &plain,
            y_label: &plain,
            y_grid: false,
        }
    }

    /// The axes with something in them.
    pub(super) fn draw(
        &self,
        contents: impl FnOnce(&Area<'_>, &mut Chart<'_, '_>) -> Result<(), Drawing>,
    ) -> Result<String, PlotError> {
        let mut svg = String::new();
        {
            let backend = SVGBackend::with_string(&mut svg, (WIDTH, self.height));
            let area = backend.into_drawing_area();
            let mut chart = ChartBuilder::on(&area)
                .margin(MARGIN)
                .x_label_area_size(BELOW)
                .y_label_area_size(LEFT)
                .build_cartesian_2d(widened(&self.x), widened(&self.y))?;
            let mut mesh = chart.configure_mesh();
            mesh.light_line_style(TRANSPARENT)
                .bold_line_style(GRID)
                .axis_style(GRID)
                .label_style(font(15, &INK))
                .axis_desc_style(font(15, &INK))
                .x_labels(8)
                .y_labels(6)
                .x_desc(self.x_name)
                .x_label_formatter(self.x_label)
                .y_label_formatter(self.y_label);
            if self.y_grid {
                mesh.y_desc(self.y_name);
            } else {
                mesh.disable_y_mesh().y_labels(0).disable_y_axis();
            }
            mesh.draw()?;
            contents(&area, &mut chart)?;
            area.present()?;
        }
        Ok(themed(&svg, self.title))
    }
}

/// Writes what a row is called beside it, cut to the room that there is.
pub(super) fn name_row(
    area: &Area<'_>,
    row: usize,
    row_height: u32,
    name: &str,
) -> Result<(), Drawing> {
    let name: String = name.chars().take(11).collect();
    let at = (2, (MARGIN + row_height * row as u32 + 5) as i32);
    area.draw(&Text::new(name, at, font(14, &INK)))
}

/// A range that is not empty.
fn widened(range: &Range<f64>) -> Range<f64> {
    if range.end > range.start {
        range.clone()
    } else {
        range.start..range.start + 1.0
    }
}

/// In the page's colours and letters, and without what an element inside a page does not need.
fn themed(svg: &str, title: &str) -> String {
    let inside = svg.split_once('>').map_or("", |(_, inside)| inside);
    let height = svg.split_once("height=\"").map_or("", |(_, rest)| rest);
    let height: String = height.chars().take_while(char::is_ascii_digit).collect();
    let mut themed = format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\">{inside}",
        super::super::markup::escaped(title)
    );
    for (blue, name) in (0..).zip(NAMES) {
        themed = themed.replace(&format!("\"#0200{blue:02X}\""), &format!("\"{name}\""));
    }
    for line in 0..COLOURS {
        let name = format!("\"{}\"", style(line));
        themed = themed.replace(&format!("\"#0100{line:02X}\""), &name);
    }
    for nothing in [
        " font-family=\"sans-serif\"",
        " opacity=\"1\"",
        " stroke=\"none\"",
        " stroke-width=\"1\"",
    ] {
        themed = themed.replace(nothing, "");
    }
    themed.replace(" \"/>", "\"/>")
}

/// Virtual time as an axis.
pub(super) struct Clock {
    pub(super) name: &'static str,
    us: f64,
    pub(super) end: f64,
}

impl Clock {
    /// In the unit in which a run of this length is read.
    pub(super) fn until(end_us: u64) -> Self {
        let (name, us) = match end_us / 1_000_000 {
            0..=180 => ("time, s", 1e6),
            181..=10_800 => ("time, min", 60e6),
            _ => ("time, h", 3_600e6),
        };
        let end = (end_us as f64 / us).max(f64::EPSILON);
        Self { name, us, end }
    }

    pub(super) fn at(&self, us: u64) -> f64 {
        us as f64 / self.us
    }
}

/// A number at an axis: as short as it can be.
pub(super) fn plain(value: &f64) -> String {
    let rounded = (value * 1e6).round() / 1e6;
    format!("{}", if rounded == 0.0 { 0.0 } else { rounded })
}
