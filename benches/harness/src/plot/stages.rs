//! Bars of nanoseconds by stage: what of a delta's time is whose.

use std::fmt::Write as _;

use super::scale::Scale;
use super::{WIDTH, escaped, frame, groups, text};
use crate::figure::Placed;
use crate::quantity::{digits, quantity, rounded};
use crate::statistics::median;

/// What a run tells by stage, in the order of a delta's way, and whether it is the load's.
pub const STAGES: [(&str, &str); 6] = [
    ("generator_ns", "generator"),
    ("reception_ns", "reception"),
    ("validation_ns", "validation"),
    ("propagation_ns", "propagation"),
    ("subscriber_ns", "subscriber"),
    ("rest_ns", "rest"),
];

const LEFT: f64 = 250.0;
const RIGHT: f64 = 90.0;
const ROW: f64 = 30.0;

/// The picture.
pub fn draw(series: &[Placed<'_>], row: &str) -> String {
    let of = |placed: &Placed<'_>| STAGES.map(|(name, _)| median(&placed.1.more(name)).max(0.0));
    let sums: Vec<f64> = series.iter().map(|placed| of(placed).iter().sum()).collect();
    let scale = Scale::of(&sums, false);
    let x_of = |value: f64| LEFT + (WIDTH - LEFT - RIGHT) * scale.place(value);
    let mut content = legend();
    let mut y = 34.0;
    for (name, series) in groups(series, "cores") {
        let rows = groups(&series, row);
        let bottom = y + 26.0 + rows.len() as f64 * ROW;
        content += &text((0.0, y + 4.0), "panel", &name);
        for mark in scale.marks() {
            let x = x_of(mark);
            let top = y + 14.0;
            let _ = writeln!(
                content,
                "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{top:.1}\" y2=\"{bottom:.1}\"/>"
            );
            content += &text((x, bottom + 16.0), "tick mid", &rounded(mark, "ns"));
        }
        for (place, (name, series)) in rows.iter().enumerate() {
            let top = y + 22.0 + place as f64 * ROW;
            content += &text((LEFT - 14.0, top + 14.0), "row end", name);
            let mut sum = 0.0;
            for (stage, ns) in of(&series[0]).into_iter().enumerate() {
                let (from, to) = (x_of(sum), x_of(sum + ns));
                sum += ns;
                let _ = writeln!(
                    content,
                    "<rect class=\"g{stage}\" x=\"{from:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"19\"><title>{}: {} ns</title></rect>",
                    (to - from - 1.0).max(0.3),
                    escaped(STAGES[stage].1),
                    digits(ns)
                );
                if to - from > 34.0 {
                    content += &text(
                        (f64::midpoint(from, to), top + 14.0),
                        if [2, 3].contains(&stage) { "inside mid" } else { "pale mid" },
                        &digits(ns),
                    );
                }
            }
            content += &text((x_of(sum) + 8.0, top + 14.0), "row own", &quantity(sum, "ns"));
        }
        y = bottom + 46.0;
    }
    frame(y - 16.0, "Nanoseconds by stage", &content)
}

fn legend() -> String {
    let mut out = String::new();
    let mut x = LEFT;
    for (stage, (_, name)) in STAGES.iter().enumerate() {
        let _ = writeln!(
            out,
            "<rect class=\"g{stage}\" x=\"{x:.1}\" y=\"2\" width=\"12\" height=\"12\"/>"
        );
        out += &text((x + 17.0, 12.5), "tick", name);
        x += 34.0 + 7.0 * name.len() as f64;
    }
    out
}
