//! Latency over quantiles as SVG, readable on light and on dark paper.
//!
//! The horizontal axis counts nines: each step is a tenth of the part that was left, so that the tail,
//! which is what a user meets, has as much room as the rest.

use hdrhistogram::Histogram;
use plotters::coord::ranged1d::ValueFormatter;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use super::report::Measured;
use crate::quantity::{micros, rate, things};

/// Pixels, where one is asked for them; the picture scales.
const SIZE: (u32, u32) = (860, 480);
/// Nines that are drawn at most.
const NINES_MAX: f64 = 6.0;
/// Points of a curve.
const POINTS: usize = 240;

const INK: RGBColor = RGBColor(0x1b, 0x1f, 0x24);
const GRID: RGBColor = RGBColor(0xd0, 0xd7, 0xde);
const DELIVERED: RGBColor = RGBColor(0x09, 0x69, 0xda);
const ACCEPTED: RGBColor = RGBColor(0xbc, 0x4c, 0x00);

/// What each colour becomes on dark paper; attributes give way to rules.
const STYLE: &str = r##"<style>
svg{background:#ffffff;font-family:system-ui,sans-serif}
@media (prefers-color-scheme:dark){
svg{background:#0d1117}
[fill="#1B1F24"]{fill:#e6edf3}[stroke="#1B1F24"]{stroke:#e6edf3}
[fill="#D0D7DE"]{fill:#30363d}[stroke="#D0D7DE"]{stroke:#30363d}
[fill="#0969DA"]{fill:#58a6ff}[stroke="#0969DA"]{stroke:#58a6ff}
[fill="#BC4C00"]{fill:#f0883e}[stroke="#BC4C00"]{stroke:#f0883e}
}
</style>
"##;

/// An axis that counts nines and is labelled with quantiles.
struct Nines(RangedCoordf64);

impl Ranged for Nines {
    type FormatOption = plotters::coord::ranged1d::NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        self.0.map(value, limit)
    }

    fn key_points<Hint: plotters::coord::ranged1d::KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        let most = self.range().end;
        (0..=NINES_MAX as u32).map(f64::from).filter(|nines| *nines <= most).collect()
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.0.range()
    }
}

impl ValueFormatter<f64> for Nines {
    fn format_ext(&self, nines: &f64) -> String {
        let decimals = (*nines as usize).saturating_sub(2);
        format!("{:.decimals$} %", 100.0 * quantile(*nines))
    }
}

/// The picture.
///
/// # Errors
/// What the library says.
pub fn svg(measured: &Measured) -> Result<String, String> {
    let mut picture = String::new();
    draw(measured, &mut picture).map_err(|error| error.to_string())?;
    // Behind the opening tag, so that the rules stand for all that follows.
    let opened = picture.find("<svg").and_then(|at| Some(at + picture[at..].find('>')? + 1));
    match opened {
        Some(at) => picture.insert_str(at, &format!("\n{STYLE}")),
        None => return Err("no picture was drawn".to_owned()),
    }
    Ok(picture)
}

fn draw(
    measured: &Measured,
    picture: &mut String,
) -> Result<(), DrawingAreaErrorKind<std::io::Error>> {
    let Measured { report, deliveries, answers } = measured;
    let most = deliveries.len().max(answers.len()).max(10) as f64;
    let nines_max = most.log10().clamp(1.0, NINES_MAX);
    let curves = [
        ("delivered", DELIVERED, curve(deliveries, nines_max)),
        ("accepted", ACCEPTED, curve(answers, nines_max)),
    ];
    let values = || curves.iter().flat_map(|(.., points)| points).map(|(_, micros)| *micros);
    let least = values().fold(f64::INFINITY, f64::min).min(1e9);
    let highest = values().fold(0.0, f64::max).max(least);
    // Whole decades, so that the labels are round.
    let floor = 10_f64.powf(least.max(0.1).log10().floor());
    let ceiling = 10_f64.powf(highest.max(0.2).log10().ceil()).max(floor * 10.0);

    let area = SVGBackend::with_string(picture, SIZE).into_drawing_area();
    let text = |size: i32| ("sans-serif", size).into_font().color(&INK);
    let title = format!(
        "Latency at {} deltas/s: {}, {}, {}",
        rate(report.deltas_per_second),
        things(report.publishers as u64, "publisher"),
        things(report.subscribers as u64, "subscriber"),
        things(report.documents as u64, "document")
    );
    let mut chart = ChartBuilder::on(&area)
        .caption(title, text(18))
        .margin(16)
        .margin_right(44)
        .x_label_area_size(44)
        .y_label_area_size(74)
        .build_cartesian_2d(Nines((0.0..nines_max).into()), (floor..ceiling).log_scale())?;
    chart
        .configure_mesh()
        .axis_style(INK)
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .label_style(text(13))
        .x_desc("quantile")
        .y_desc("since a batch was due")
        .y_label_formatter(&|value| micros(*value))
        .draw()?;
    for (name, colour, points) in curves {
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .label_font(text(14))
        .draw()?;
    area.present()
}

/// Points of nines and microseconds.
fn curve(histogram: &Histogram<u64>, nines_max: f64) -> Vec<(f64, f64)> {
    if histogram.is_empty() {
        return Vec::new();
    }
    (0..=POINTS)
        .map(|point| {
            let nines = nines_max * point as f64 / POINTS as f64;
            let value = histogram.value_at_quantile(quantile(nines));
            (nines, (value as f64 / 1e3).max(0.1))
        })
        .collect()
}

fn quantile(nines: f64) -> f64 {
    1.0 - 10_f64.powf(-nines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::histograms::empty;
    use crate::bench::report::Report;

    #[test]
    fn both_curves_are_drawn_and_colours_change_with_the_paper() {
        let (mut deliveries, mut answers) = (empty(), empty());
        for value in 1..10_000 {
            deliveries.saturating_record(value * 1_000);
            answers.saturating_record(value * 500);
        }
        let picture = |deliveries, answers| {
            svg(&Measured { report: Report::default(), deliveries, answers }).expect("drawn")
        };
        let drawn = picture(deliveries, answers);
        for part in
            ["prefers-color-scheme:dark", "99.9 %", "delivered", "accepted", "#0969DA", "#BC4C00"]
        {
            assert!(drawn.contains(part), "{part} is not in it");
        }
        let colours = ["#1B1F24", "#D0D7DE", "#0969DA", "#BC4C00", "none", "#FFFFFF"];
        for colour in drawn.split("stroke=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(colours.contains(&colour), "{colour} stays as it is on dark paper");
        }
        assert!(drawn.trim_end().ends_with("</svg>"));
        assert!(picture(empty(), empty()).contains("</svg>"), "nothing measured, nothing broken");
    }
}
