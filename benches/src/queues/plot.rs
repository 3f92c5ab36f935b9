//! The grid of queues as a picture, readable on light and on dark paper: above what each queue lets
//! through, below how long an answer takes; from left to right messages of more rows.

use std::fmt::Write;

use super::{BoundedBy, Cell};

/// Pixels of a panel, and around it.
const PANEL: (f64, f64) = (250.0, 170.0);
const LEFT: f64 = 62.0;
const TOP: f64 = 62.0;
const GAP: (f64, f64) = (46.0, 76.0);

/// A colour for each number of documents, on light paper; the style has those for dark paper.
const COLOURS: usize = 4;

const STYLE: &str = "<style>
svg{background:#ffffff;font:12px system-ui,sans-serif}
text{fill:#1b1f24}.grid{stroke:#d0d7de}
.c0,.c1,.c2,.c3{fill:none;stroke-width:1.8}circle.budget{fill:#ffffff}
.c0{stroke:#0969da}circle.c0.full{fill:#0969da}text.c0{fill:#0969da}.c1{stroke:#bc4c00}circle.c1.full{fill:#bc4c00}text.c1{fill:#bc4c00}
.c2{stroke:#1a7f37}circle.c2.full{fill:#1a7f37}text.c2{fill:#1a7f37}.c3{stroke:#8250df}circle.c3.full{fill:#8250df}text.c3{fill:#8250df}
text.c0,text.c1,text.c2,text.c3{stroke:none}
@media (prefers-color-scheme:dark){svg{background:#0d1117}text{fill:#e6edf3}.grid{stroke:#30363d}
circle.budget{fill:#0d1117}
.c0{stroke:#58a6ff}circle.c0.full{fill:#58a6ff}text.c0{fill:#58a6ff}.c1{stroke:#f0883e}circle.c1.full{fill:#f0883e}text.c1{fill:#f0883e}
.c2{stroke:#3fb950}circle.c2.full{fill:#3fb950}text.c2{fill:#3fb950}.c3{stroke:#bc8cff}circle.c3.full{fill:#bc8cff}text.c3{fill:#bc8cff}}
</style>
";

/// What a row of panels shows.
struct Figure {
    title: &'static str,
    of: fn(&Cell) -> f64,
    is_logarithmic: bool,
}

const FIGURES: [Figure; 2] = [
    Figure {
        title: "million rows/s",
        of: |cell| cell.rows_per_second / 1e6,
        is_logarithmic: false,
    },
    Figure {
        title: "answer p99, ms",
        of: |cell| (cell.answer.p99_us / 1e3).max(1e-3),
        is_logarithmic: true,
    },
];

/// The picture.
pub fn draw(cells: &[Cell]) -> String {
    let sorted = |of: fn(&Cell) -> u32| {
        let mut all: Vec<u32> = cells.iter().map(of).collect();
        all.sort_unstable();
        all.dedup();
        all
    };
    let capacities = sorted(|cell| cell.capacity);
    let rows = sorted(|cell| cell.rows);
    let documents = sorted(|cell| cell.documents);
    let width = LEFT + rows.len() as f64 * (PANEL.0 + GAP.0);
    let height = TOP + 2.0 * (PANEL.1 + GAP.1);
    let mut text = String::new();
    let _ = writeln!(
        text,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         width=\"{width}\" height=\"{height}\">\n<title>A worker's queue by capacity, message and \
         documents</title>\n{STYLE}"
    );
    let _ = writeln!(
        text,
        "<text x=\"{LEFT}\" y=\"20\">A worker's queue: capacity in messages below each panel; \
         hollow where the budget bounds it</text>"
    );
    for (place, count) in documents.iter().enumerate() {
        let (x, colour) = (LEFT + 110.0 * place as f64, place % COLOURS);
        let noun = if *count == 1 { "document" } else { "documents" };
        let _ =
            writeln!(text, "<text class=\"c{colour}\" x=\"{x}\" y=\"38\">{count} {noun}</text>");
    }
    for (line, figure) in FIGURES.iter().enumerate() {
        let values = cells.iter().map(figure.of);
        let most = values.clone().fold(1e-3, f64::max);
        let scale = Scale::new(values.fold(most, f64::min), most, figure.is_logarithmic);
        for (column, rows) in rows.iter().enumerate() {
            let at =
                (LEFT + column as f64 * (PANEL.0 + GAP.0), TOP + line as f64 * (PANEL.1 + GAP.1));
            frame(&mut text, at, &scale, &capacities);
            let _ = writeln!(
                text,
                "<text x=\"{}\" y=\"{}\">{} — {rows} rows</text>",
                at.0,
                at.1 - 6.0,
                figure.title
            );
            for (place, documents) in documents.iter().enumerate() {
                let of_line = |cell: &&Cell| cell.rows == *rows && cell.documents == *documents;
                let line: Vec<&Cell> = cells.iter().filter(of_line).collect();
                curve(&mut text, at, &scale, &capacities, &line, figure.of, place % COLOURS);
            }
        }
    }
    text + "</svg>\n"
}

/// Where a value stands between the bottom (0) and the top (1).
struct Scale {
    from: f64,
    to: f64,
    is_logarithmic: bool,
}

impl Scale {
    fn new(least: f64, most: f64, is_logarithmic: bool) -> Self {
        match is_logarithmic {
            true => Self { from: least.log10().floor(), to: most.log10().ceil(), is_logarithmic },
            false => Self { from: 0.0, to: most * 1.08, is_logarithmic },
        }
    }

    fn place(&self, value: f64) -> f64 {
        let value = if self.is_logarithmic { value.log10() } else { value };
        (value - self.from) / (self.to - self.from).max(1e-9)
    }

    /// Values that get a line, and how they are written.
    fn marks(&self) -> Vec<(f64, String)> {
        if self.is_logarithmic {
            let powers = self.from as i32..=self.to as i32;
            return powers.map(|power| (10_f64.powi(power), number(10_f64.powi(power)))).collect();
        }
        let step = 10_f64.powf(self.to.log10().floor());
        let step = if self.to / step < 2.0 { step / 4.0 } else { step };
        let step = if self.to / step > 6.0 { step * 2.0 } else { step };
        (0..)
            .map(|it| f64::from(it) * step)
            .take_while(|it| *it <= self.to)
            .map(|it| (it, number(it)))
            .collect()
    }
}

fn number(value: f64) -> String {
    if value >= 1.0 || value == 0.0 { format!("{value:.0}") } else { format!("{value}") }
}

fn x_of(at: (f64, f64), place: usize, count: usize) -> f64 {
    at.0 + 12.0 + (PANEL.0 - 24.0) * place as f64 / (count.max(2) - 1) as f64
}

fn frame(text: &mut String, at: (f64, f64), scale: &Scale, capacities: &[u32]) {
    let (bottom, right) = (at.1 + PANEL.1, at.0 + PANEL.0);
    for (value, label) in scale.marks() {
        let y = bottom - PANEL.1 * scale.place(value);
        let _ = writeln!(
            text,
            "<line class=\"grid\" x1=\"{:.1}\" x2=\"{right:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
            at.0,
            at.0 - 5.0,
            y + 4.0
        );
    }
    for (place, capacity) in capacities.iter().enumerate() {
        let label = match capacity {
            1000.. => format!("{}k", f64::from(*capacity) / 1000.0),
            _ => capacity.to_string(),
        };
        let x = x_of(at, place, capacities.len());
        let y = bottom + 16.0;
        let _ =
            writeln!(text, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{label}</text>");
    }
}

fn curve(
    text: &mut String,
    at: (f64, f64),
    scale: &Scale,
    capacities: &[u32],
    cells: &[&Cell],
    of: fn(&Cell) -> f64,
    colour: usize,
) {
    let mut points = Vec::new();
    for cell in cells {
        let Some(place) = capacities.iter().position(|it| *it == cell.capacity) else { continue };
        let y = at.1 + PANEL.1 * (1.0 - scale.place(of(cell)));
        points.push((x_of(at, place, capacities.len()), y, cell.bounded_by));
    }
    points.sort_by(|one, other| one.0.total_cmp(&other.0));
    let line: Vec<String> = points.iter().map(|(x, y, _)| format!("{x:.1},{y:.1}")).collect();
    let _ = writeln!(text, "<polyline class=\"c{colour}\" points=\"{}\"/>", line.join(" "));
    for (x, y, bounded_by) in points {
        let fill = if bounded_by == BoundedBy::Budget { "budget" } else { "full" };
        let _ = writeln!(
            text,
            "<circle class=\"c{colour} {fill}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>"
        );
    }
}
