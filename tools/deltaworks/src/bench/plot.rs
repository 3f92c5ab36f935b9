//! A histogram of latencies as lines of text: one bar for each step of 1, 2, 5, 10 and so on.

use hdrhistogram::Histogram;

use crate::quantity::micros;

/// Eighths of a column, so that bars are told apart that differ by less.
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/// The lines; `columns` for the longest bar. None for an empty histogram.
pub fn lines(histogram: &Histogram<u64>, columns: usize) -> Vec<String> {
    let steps = steps(histogram);
    let most = steps.iter().map(|(_, count)| *count).max().unwrap_or(0).max(1);
    steps
        .into_iter()
        .map(|(up_to_ns, count)| {
            let eighths = (count as u128 * columns as u128 * 8 / u128::from(most)) as usize;
            let bar = format!("{}{}", "█".repeat(eighths / 8), EIGHTHS[eighths % 8]);
            // What is there is seen, however little it is.
            let bar = if bar.is_empty() && count > 0 { "▏" } else { &bar };
            let share = count as f64 * 100.0 / histogram.len() as f64;
            format!("  ≤ {:>7} │{bar:<columns$} {share:>6.2} %", micros(up_to_ns as f64 / 1e3))
        })
        .collect()
}

/// Steps of 1, 2, 5 from the least to the most, with how many lie in each; empty ones between, too.
fn steps(histogram: &Histogram<u64>) -> Vec<(u64, u64)> {
    if histogram.is_empty() {
        return Vec::new();
    }
    let mut steps = Vec::new();
    let (mut below, mut decade) = (0, 100_u64);
    loop {
        for factor in [1, 2, 5] {
            let up_to = decade * factor;
            let count = histogram.count_between(below, up_to);
            if count > 0 || !steps.is_empty() {
                steps.push((up_to, count));
            }
            below = histogram.highest_equivalent(up_to) + 1;
            if histogram.max() < below {
                return steps;
            }
        }
        decade *= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::histograms::empty;

    #[test]
    fn every_value_is_in_one_bar_and_empty_steps_are_shown() {
        let mut histogram = empty();
        for value in [150, 180, 900, 40_000, 3_000_000] {
            histogram.saturating_record(value);
        }
        let steps = steps(&histogram);
        assert_eq!(steps.iter().map(|(_, count)| count).sum::<u64>(), 5, "{steps:?}");
        assert_eq!((steps[0], steps.last()), ((200, 2), Some(&(5_000_000, 1))));
        assert_eq!(steps.len(), 14, "{steps:?}");
        let lines = lines(&histogram, 10);
        assert_eq!(lines[0], "  ≤ 0.20 µs │██████████  40.00 %");
        assert_eq!(lines[2], "  ≤ 1.00 µs │█████       20.00 %");
        assert_eq!(lines[3], "  ≤ 2.00 µs │             0.00 %");
        assert!(super::lines(&empty(), 10).is_empty());
    }

    #[test]
    fn the_longest_latency_ends_the_plot() {
        let mut histogram = empty();
        histogram.saturating_record(u64::MAX);
        assert_eq!(lines(&histogram, 10).len(), 1);
    }
}
