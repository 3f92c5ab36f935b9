//! One row a system: its samples as dots on one axis, the median as a tick and in figures.

use std::fmt::Write as _;

use super::scale::Scale;
use super::{WIDTH, colour_of, dot, frame, groups, panels, text};
use crate::figure::{Figure, Placed};
use crate::quantity::{quantity, rounded};
use crate::results::{Better, Role};
use crate::statistics::{median, span};

/// Pixels of a letter at most, on average, in the names of rows.
const LETTER: f64 = 8.6;
const RIGHT: f64 = 118.0;
const ROW: f64 = 25.0;
const HEAD: f64 = 34.0;
const FOOT: f64 = 36.0;

/// The picture.
pub fn draw(figure: &Figure, series: &[Placed<'_>], row: &str) -> String {
    let values: Vec<f64> = series.iter().flat_map(|(_, it)| figure.values(it)).collect();
    let scale = Scale::of(&values, figure.is_logarithmic);
    let names = groups(series, row);
    let longest = names.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let left = (longest as f64 * LETTER + 20.0).max(120.0);
    let x_of = |value: f64| left + (WIDTH - left - RIGHT) * scale.place(value);
    let mut content = String::new();
    let mut y = 0.0;
    for (name, series) in panels(figure, series) {
        let mut rows = groups(&series, row);
        if row.starts_with("system") {
            sort_by_median(figure, &mut rows);
        }
        let head = if name.is_empty() { 12.0 } else { HEAD };
        content += &text((0.0, y + 22.0), "panel", &name);
        let (top, bottom) = (y + head - 4.0, y + head + rows.len() as f64 * ROW);
        for mark in scale.marks_of(figure.unit) {
            let x = x_of(mark);
            let _ = writeln!(
                content,
                "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{top:.1}\" y2=\"{bottom:.1}\"/>"
            );
            content += &text((x, bottom + 16.0), "tick mid", &rounded(mark, figure.unit));
        }
        for (place, (name, series)) in rows.iter().enumerate() {
            let middle = top + 4.0 + (place as f64 + 0.5) * ROW;
            content += &strip(figure, series, name, (left, middle), &x_of);
        }
        y = bottom + FOOT;
    }
    frame(y, figure.title, &content)
}

/// The best first, whichever way is good.
fn sort_by_median(figure: &Figure, rows: &mut [(String, Vec<Placed<'_>>)]) {
    let of = |row: &(String, Vec<Placed<'_>>)| median(&figure.values(row.1[0].1));
    rows.sort_by(|one, other| {
        let order = of(one).total_cmp(&of(other));
        if is_lower_better(figure, one.1[0]) { order } else { order.reverse() }
    });
}

/// Further figures are costs; the figure of the series says itself what it is.
fn is_lower_better(figure: &Figure, placed: Placed<'_>) -> bool {
    figure.metric != placed.1.metric || placed.1.better == Better::Lower
}

fn strip(
    figure: &Figure,
    series: &[Placed<'_>],
    name: &str,
    (left, y): (f64, f64),
    x_of: &dyn Fn(f64) -> f64,
) -> String {
    let first = series[0].1;
    let class = colour_of(&first.system, first.role);
    let weight = if first.role == Role::Ours { "row own" } else { "row" };
    let mut out = text((left - 14.0, y + 4.5), &format!("{weight} end"), name);
    let all: Vec<f64> = series.iter().flat_map(|(_, it)| figure.values(it)).collect();
    let (least, most) = span(&all);
    let (from, to) = (x_of(least), x_of(most));
    let _ = writeln!(
        out,
        "<line class=\"span {class}\" x1=\"{from:.1}\" x2=\"{to:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>"
    );
    for placed in series {
        for sample in 0..placed.1.samples.len() {
            let Some(value) = figure.value(placed.1, sample) else { continue };
            let told = format!("{name}: {}", quantity(value, figure.unit));
            out += &dot((x_of(value), y), class, *placed, sample, &told);
        }
    }
    let middle = median(&all);
    let x = x_of(middle);
    let _ = writeln!(
        out,
        "<line class=\"median {class}\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/>",
        y - 8.0,
        y + 8.0
    );
    out + &text((WIDTH - RIGHT + 14.0, y + 4.5), weight, &quantity(middle, figure.unit))
}
