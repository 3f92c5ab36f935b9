//! A hop: messages through our ring, whose doorbell is rung behind each batch, and through rtrb alone.
//!
//! Question: what does the doorbell add? The two take turns within a sample, in short slices that
//! change places, and each pair of slices gives a ratio: who pushes and who takes get into one of
//! several gaits (close behind each other, so that every message waits for its line; or a ring apart,
//! so that none does) and stay in it for a while, so that single figures say more of the gait than of
//! the ring. Not measured: a consumer that sleeps.

use std::time::Duration;

use serde_json::json;

use crate::Options;
use crate::in_process::{Message, Rival, ring_rivals};
use crate::sample::{Metric, Sample, Teller};
use crate::system::Cpus;

/// Pairs of slices in a sample.
const PAIRS: usize = 16;
/// The shortest slice.
const SLICE_MIN: Duration = Duration::from_millis(5);

/// Takes the samples of both rings, batch by batch.
pub fn run(options: &Options, cpus: Cpus, teller: &mut Teller) {
    let [raw, own] = ring_rivals();
    let is_asked =
        |name: &str| options.peers.is_empty() || options.peers.iter().any(|it| it == name);
    if !is_asked(raw.0) && !is_asked(own.0) {
        return;
    }
    for number in 0..options.samples {
        for batch in raw.2 {
            for sample in both(options, cpus, *batch, [raw, own]) {
                let seconds = sample.seconds;
                teller.tell(&sample.numbered(number, seconds));
            }
        }
    }
}

/// A sample of each: the median of its slices; and beside ours the median of the pairs' ratios.
fn both(options: &Options, cpus: Cpus, batch: u64, rivals: [Rival; 2]) -> [Sample; 2] {
    let slice = Duration::from_secs_f64(options.seconds / PAIRS as f64).max(SLICE_MIN);
    let mut rates = [Vec::new(), Vec::new()];
    let mut seconds = [0.0; 2];
    let mut faults = [Vec::new(), Vec::new()];
    for pair in 0..PAIRS {
        let order = if pair.is_multiple_of(2) { [0, 1] } else { [1, 0] };
        for which in order {
            let passed = (rivals[which].3)(cpus, slice, batch);
            let (rate, took, wrong) = passed.unwrap_or_else(|fault| (0.0, 0.0, vec![fault]));
            rates[which].push(rate);
            seconds[which] += took;
            faults[which].extend(wrong);
        }
    }
    let ratios = rates[0].iter().zip(&rates[1]).map(|(raw, own)| raw / own.max(1.0)).collect();
    let ratio = Spread::of(ratios);
    let cell = json!({"payload_bytes": size_of::<Message>(), "batch": batch});
    let metric = Metric("messages", "1/s", "higher");
    let [raw_faults, own_faults] = faults;
    let told = |which: usize, faults: Vec<String>| {
        let (name, version, ..) = rivals[which];
        let rate = Spread::of(rates[which].clone());
        let sample = Sample::new("limits", name, version, &cell, metric, rate.median);
        let more = json!({
            "hop_ns": 1e9 / rate.median.max(1.0),
            "slowest_slice_per_second": rate.least,
            "fastest_slice_per_second": rate.most,
        });
        sample.numbered(0, seconds[which]).with(&more).judged(faults)
    };
    let own = told(1, own_faults).with(&json!({
        "hop_ratio": ratio.median,
        "hop_ratio_least": ratio.least,
        "hop_ratio_most": ratio.most,
    }));
    [told(0, raw_faults), own]
}

/// Figures by their order.
struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

impl Spread {
    fn of(mut figures: Vec<f64>) -> Self {
        figures.sort_by(f64::total_cmp);
        let at = |place: usize| figures.get(place).copied().unwrap_or_default();
        let middle = figures.len() / 2;
        let median = if figures.len().is_multiple_of(2) {
            (at(middle.saturating_sub(1)) + at(middle)) / 2.0
        } else {
            at(middle)
        };
        Self { least: at(0), median, most: at(figures.len().saturating_sub(1)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_between_the_two() {
        let Spread { least, median, most } = Spread::of(vec![3.0, 1.0, 2.0]);
        assert_eq!([least, median, most], [1.0, 2.0, 3.0]);
        assert_eq!(Spread::of(vec![4.0, 1.0, 2.0, 3.0]).median, 2.5);
    }
}
