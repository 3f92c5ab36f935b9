//! Lines along a value of the cell, in panels side by side that share their axis.

use std::fmt::Write as _;

use super::scale::Scale;
use super::{WIDTH, colour_of, dot, escaped, frame, groups, panels, text};
use crate::figure::{Figure, Placed};
use crate::quantity::{count, quantity, rounded};
use crate::statistics::median;

const TOP: f64 = 34.0;
const HEIGHT: f64 = 270.0;
const BOTTOM: f64 = 46.0;
const LEFT: f64 = 74.0;
/// Pixels of a letter at most, on average, in the names at the lines' ends.
const LETTER: f64 = 8.4;
/// Between names that stand below each other.
const LABEL_STEP: f64 = 14.5;
/// Panels beside each other, and if their names are longer than so many letters.
const ACROSS: usize = 3;
const ACROSS_LONG: usize = 2;
const LONG: usize = 14;

struct Panel<'a> {
    figure: &'a Figure,
    scale: &'a Scale,
    ticks: &'a [f64],
    at: (f64, f64),
    width: f64,
    x: &'a str,
    line: &'a str,
    /// The names of all lines of all panels, so that each has one colour.
    names: &'a [String],
}

/// The picture.
pub fn draw(figure: &Figure, series: &[Placed<'_>], x: &str, line: &str) -> String {
    let panels = panels(figure, series);
    let values: Vec<f64> = series.iter().flat_map(|(_, it)| figure.values(it)).collect();
    let scale = Scale::of(&values, figure.is_logarithmic);
    let mut ticks: Vec<f64> =
        series.iter().filter_map(|(_, series)| series.number_of_cell(x)).collect();
    ticks.sort_by(f64::total_cmp);
    ticks.dedup();
    let of_systems: Vec<Placed<'_>> =
        series.iter().copied().filter(|(_, it)| !it.is_bound).collect();
    let names: Vec<String> = groups(&of_systems, line).into_iter().map(|(name, _)| name).collect();
    let bounds = series.iter().filter(|(_, it)| it.is_bound).map(|(_, it)| &it.system);
    let longest = names.iter().chain(bounds).map(|it| it.chars().count()).max().unwrap_or(0);
    let most = if longest > LONG { ACROSS_LONG } else { ACROSS };
    let across = panels.len().clamp(1, most);
    let labels = longest as f64 * LETTER + 12.0;
    let width = WIDTH / across as f64;
    let row_height = TOP + HEIGHT + BOTTOM;
    let mut content = String::new();
    for (place, (name, series)) in panels.iter().enumerate() {
        let at =
            ((place % across) as f64 * width + LEFT, (place / across) as f64 * row_height + TOP);
        let width = width - LEFT - labels;
        let panel =
            Panel { figure, scale: &scale, ticks: &ticks, at, width, x, line, names: &names };
        content += &panel.grid(name);
        content += &panel.curves(series);
    }
    let rows = panels.len().div_ceil(across) as f64;
    frame(rows * row_height, figure.title, &content)
}

impl Panel<'_> {
    fn x_of(&self, value: f64) -> f64 {
        let place = self.ticks.iter().position(|it| *it == value).unwrap_or(0);
        let steps = (self.ticks.len().max(2) - 1) as f64;
        self.at.0 + 10.0 + (self.width - 20.0) * place as f64 / steps
    }

    fn y_of(&self, value: f64) -> f64 {
        self.at.1 + HEIGHT * (1.0 - self.scale.place(value))
    }

    fn grid(&self, name: &str) -> String {
        let (left, right) = (self.at.0, self.at.0 + self.width);
        let mut out = text((left - 8.0, self.at.1 - 16.0), "panel", name);
        for mark in self.scale.marks_of(self.figure.unit) {
            let y = self.y_of(mark);
            let _ = writeln!(
                out,
                "<line class=\"grid\" x1=\"{left:.1}\" x2=\"{right:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>"
            );
            out += &text((left - 8.0, y + 4.0), "tick end", &rounded(mark, self.figure.unit));
        }
        for tick in self.ticks {
            out += &text((self.x_of(*tick), self.at.1 + HEIGHT + 18.0), "tick mid", &count(*tick));
        }
        let axis = match self.x {
            "batch" => "deltas in a batch",
            other => other,
        };
        out + &text((f64::midpoint(left, right), self.at.1 + HEIGHT + 36.0), "axis mid", axis)
    }

    fn curves(&self, series: &[Placed<'_>]) -> String {
        let mut out = String::new();
        let mut labels: Vec<(f64, String, String)> = Vec::new();
        let groups = groups(series, self.line);
        for (name, series) in &groups {
            let place = self.names.iter().position(|it| it == name).unwrap_or(0);
            let class = match self.line {
                _ if series[0].1.is_bound => "limit".to_owned(),
                "system" => colour_of(&series[0].1.system, series[0].1.role).to_owned(),
                _ => format!("s{}", place.min(4)),
            };
            let mut points: Vec<(f64, f64)> = Vec::new();
            for placed in series {
                let Some(x) = placed.1.number_of_cell(self.x) else { continue };
                let values = self.figure.values(placed.1);
                points.push((self.x_of(x), self.y_of(median(&values))));
                out += &self.dots(*placed, x, &class);
            }
            points.sort_by(|one, other| one.0.total_cmp(&other.0));
            let way: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            let _ = writeln!(out, "<polyline class=\"l {class}\" points=\"{}\"/>", way.join(" "));
            if let Some((_, y)) = points.last() {
                labels.push((*y, name.clone(), class));
            }
        }
        out + &self.labels(labels)
    }

    fn dots(&self, placed: Placed<'_>, x: f64, class: &str) -> String {
        let series = placed.1;
        let of = |sample: usize| {
            let value = self.figure.value(series, sample)?;
            let aside = (sample as f64 - (series.samples.len() as f64 - 1.0) / 2.0) * 2.4;
            let told = format!("{}: {}", series.system, quantity(value, self.figure.unit));
            Some(dot((self.x_of(x) + aside, self.y_of(value)), class, placed, sample, &told))
        };
        (0..series.samples.len()).filter_map(of).collect()
    }

    /// Names at the ends of lines, pushed apart where they would lie on each other.
    fn labels(&self, mut labels: Vec<(f64, String, String)>) -> String {
        labels.sort_by(|one, other| one.0.total_cmp(&other.0));
        let floor = self.at.1 + HEIGHT + 4.0;
        let mut y = f64::NEG_INFINITY;
        for label in &mut labels {
            label.0 = label.0.max(y + LABEL_STEP);
            y = label.0;
        }
        let mut y = floor + LABEL_STEP;
        for label in labels.iter_mut().rev() {
            label.0 = label.0.min(y - LABEL_STEP);
            y = label.0;
        }
        let x = self.at.0 + self.width;
        let of = |(y, name, class): &(f64, String, String)| {
            format!(
                "<text class=\"name {class}\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\n",
                x + 2.0,
                y + 4.0,
                escaped(name)
            )
        };
        labels.iter().map(of).collect()
    }
}
