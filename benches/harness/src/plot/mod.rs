//! Pictures as text: SVG that takes its colours from the page, so that it is legible on light and on
//! dark paper. Every sample is a dot, the median a mark, and names stand beside what they name.

pub mod lines;
pub mod scale;
pub mod stages;
pub mod strips;

use crate::figure::{Figure, Placed, Shape, name_by};
use crate::results::Role;

/// Width of a picture.
pub const WIDTH: f64 = 1040.0;

/// Draws `figure` with `series`, of which there is one at least.
pub fn draw(figure: &Figure, series: &[Placed<'_>]) -> String {
    match figure.shape {
        Shape::Lines { x, line } => lines::draw(figure, series, x, line),
        Shape::Strips { row } => strips::draw(figure, series, row),
        Shape::Stages { row } => stages::draw(series, row),
    }
}

/// Series by panel, in the order of the values that name panels.
pub fn panels<'a>(figure: &Figure, series: &[Placed<'a>]) -> Vec<(String, Vec<Placed<'a>>)> {
    groups(series, figure.panel)
}

/// Series by `key`, ordered by the numbers in it.
pub fn groups<'a>(series: &[Placed<'a>], key: &str) -> Vec<(String, Vec<Placed<'a>>)> {
    let mut groups: Vec<(String, Vec<Placed<'a>>)> = Vec::new();
    for placed in series {
        let name = name_by(placed.1, key);
        match groups.iter_mut().find(|(other, _)| *other == name) {
            Some((_, group)) => group.push(*placed),
            None => groups.push((name, vec![*placed])),
        }
    }
    let order = |placed: &Placed<'_>| -> Vec<f64> {
        key.split(" × ").map(|key| placed.1.number_of_cell(key).unwrap_or(0.0)).collect()
    };
    groups.sort_by(|(_, one), (_, other)| {
        order(&one[0]).partial_cmp(&order(&other[0])).unwrap_or(std::cmp::Ordering::Equal)
    });
    groups
}

/// The class that gives a system its colour: always the same, wherever it stands.
pub fn colour_of(system: &str, role: Role) -> &'static str {
    match (role, system) {
        (Role::Ours, "deltaworks-ring" | "deltaworksd-single") => "ours2",
        (Role::Ours, _) => "ours",
        (Role::Limit, _) => "limit",
        (Role::Peer, it) if it.starts_with("nats-d") || it.starts_with("crossbeam") => "p1",
        (Role::Peer, it) if it.starts_with("nats") || it.starts_with("flume") => "p2",
        (Role::Peer, it) if it.starts_with("redis") || it.starts_with("disruptor") => "p3",
        (Role::Peer, it) if it.starts_with("mosquitto") || it.starts_with("tokio") => "p4",
        (Role::Peer, it) if it.starts_with("aeron") => "p5",
        (Role::Peer, _) => "p6",
    }
}

/// Text that may stand in a page.
pub fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('"', "&quot;")
}

/// A dot for one sample, with what it stands for.
pub fn dot(at: (f64, f64), class: &str, placed: Placed<'_>, sample: usize, told: &str) -> String {
    format!(
        "<circle class=\"d {class}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.2\" data-k=\"{}.{sample}\"><title>{}</title></circle>\n",
        at.0,
        at.1,
        placed.0,
        escaped(told)
    )
}

/// Text at a place, with a class.
pub fn text(at: (f64, f64), class: &str, content: &str) -> String {
    format!(
        "<text class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\n",
        at.0,
        at.1,
        escaped(content)
    )
}

/// The frame of a picture.
pub fn frame(height: f64, title: &str, content: &str) -> String {
    format!(
        "<svg viewBox=\"0 0 {WIDTH:.0} {height:.0}\" role=\"img\" aria-label=\"{0}\">\n{content}</svg>\n",
        escaped(title)
    )
}
