//! From samples to costs: each stage's time is laid to turns, sends, batches, deltas, bytes, and to
//! documents that caches do not hold.
//!
//! First what one core takes alone; then what two cores take more, which is laid to what crosses.

use deltaworks_capacity::costs::{CROSSING_NEAR, Cold, Costs, CrossingCost, Stage, StageCost};
use deltaworks_capacity::popularity::{cold_share, different, first_share};
use deltaworks_capacity::workload::Law;

use super::cell::Sample;
use super::fit::Rows;

/// Documents that caches may hold: the steps at which a batch may become dearer. Between the counts that
/// are measured, so that each has a measurement on both of its sides. That of one document is what it
/// costs when a batch is not of the document of the batch before it.
const STEPS: [f64; 7] = [1.0, 8.0, 128.0, 4096.0, 32_768.0, 131_072.0, 524_288.0];

/// Puts stage costs into `costs`; how far the fit is from a sample at most, as a share.
pub fn fit(samples: &[Sample], costs: &mut Costs) -> f64 {
    for stage in Stage::ALL {
        let mut rows = Rows::default();
        for sample in samples.iter().filter(|it| it.cell.cores == 1) {
            rows.add(&counts(stage, sample), sample.stage_ns[stage as usize], sample.total_ns());
        }
        let found = rows.costs();
        let plain = std::array::from_fn(|at| found.get(at).copied().unwrap_or_default());
        let cold = STEPS.iter().zip(found.iter().skip(StageCost::PLAIN));
        let cold = cold.filter(|(_, ns)| **ns > 0.0);
        let cold = cold.map(|(documents, ns)| Cold { documents: *documents, batch_ns: *ns });
        costs.of_mut(stage).own = StageCost::of_plain(plain, cold.collect());
    }
    costs.beside = beside(costs, samples);
    for stage in Stage::ALL {
        let mut rows = Rows::default();
        for sample in samples.iter().filter(|it| it.crossing > 0.0) {
            let own_ns = costs.beside * own_ns(costs, stage, sample);
            let more_ns = sample.stage_ns[stage as usize] - own_ns;
            rows.add(&crossings(sample), more_ns, sample.total_ns());
        }
        let found = rows.nearest();
        let all = std::array::from_fn(|at| found.get(at).copied().unwrap_or_default());
        costs.of_mut(stage).crossing = CrossingCost::of_all(all);
    }
    samples.iter().map(|it| error(costs, it).abs()).fold(0.0, f64::max)
}

/// How many times as long it takes what does not cross beside another core as alone: the median.
fn beside(costs: &Costs, samples: &[Sample]) -> f64 {
    let apart = samples.iter().filter(|it| it.cell.cores > 1 && it.crossing == 0.0);
    let times = |it: &Sample| {
        let alone_ns: f64 = Stage::ALL.iter().map(|stage| own_ns(costs, *stage, it)).sum();
        it.total_ns() / alone_ns
    };
    let mut all: Vec<f64> = apart.map(times).collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(1.0)
}

/// How far the fit is from a sample, as a share of it.
pub fn error(costs: &Costs, sample: &Sample) -> f64 {
    let beside = if sample.cell.cores > 1 { costs.beside } else { 1.0 };
    let fitted: f64 = Stage::ALL
        .iter()
        .map(|stage| beside * own_ns(costs, *stage, sample) + crossing_ns(costs, *stage, sample))
        .sum();
    fitted / sample.total_ns() - 1.0
}

fn crossing_ns(costs: &Costs, stage: Stage, sample: &Sample) -> f64 {
    let it = &costs.of(stage).crossing;
    crossings(sample).iter().zip(it.all()).map(|(count, ns)| count * ns).sum()
}

/// What crosses: batches, those of cold documents, first ones, bytes.
fn crossings(sample: &Sample) -> [f64; 4] {
    let cell = &sample.cell;
    let cold = cold_share(Law::Uniform, documents(sample), CROSSING_NEAR);
    let first = first_share(f64::from(cell.documents), sample.batches);
    [1.0, cold, first, cell.image_bytes()].map(|count| sample.crossing * count)
}

fn own_ns(costs: &Costs, stage: Stage, sample: &Sample) -> f64 {
    let own = &costs.of(stage).own;
    let counts = counts(stage, sample);
    let plain_ns: f64 = counts.iter().zip(own.plain()).map(|(count, ns)| count * ns).sum();
    let documents = documents(sample);
    let cold_ns = |it: &Cold| it.batch_ns * cold_share(Law::Uniform, documents, it.documents);
    plain_ns + own.cold.iter().map(cold_ns).sum::<f64>()
}

fn counts(stage: Stage, sample: &Sample) -> Vec<f64> {
    let cell = &sample.cell;
    let documents = documents(sample);
    let (sends, visits) = match stage {
        Stage::Propagation | Stage::Sink => {
            let of_session = documents.min(1024.0);
            (sample.sends, different(of_session, 1.0 / sample.sends) * sample.sends)
        }
        Stage::Validation => (0.0, different(documents, 1.0 / sample.turns) * sample.turns),
        _ => (0.0, 0.0),
    };
    let first = first_share(f64::from(cell.documents), sample.batches);
    let (deltas, bytes) = (f64::from(cell.batch), cell.image_bytes());
    let mut counts = vec![sample.turns, sends, visits, 1.0, first, deltas, bytes];
    counts.extend(STEPS.iter().map(|step| cold_share(Law::Uniform, documents, *step)));
    counts
}

fn documents(sample: &Sample) -> f64 {
    f64::from(sample.cell.documents) / sample.cell.cores as f64
}

#[cfg(test)]
mod tests {
    use super::super::cell::Cell;
    use super::*;
    use crate::pipeline::Live;

    fn sample(cell: Cell, costs: &Costs) -> Sample {
        let crossing = if cell.cores > 1 && cell.documents > 2 { 0.5 } else { 0.0 };
        let beside = if cell.cores > 1 { costs.beside } else { 1.0 };
        let mut sample = Sample {
            cell,
            deltas_per_second: 0.0,
            cpu_share: 1.0,
            stage_ns: [0.0; 6],
            turns: cell.image_bytes() / cell.read_bytes as f64,
            sends: 0.1 + f64::from(cell.documents % 7) / 10.0,
            crossing,
            batches: 1e6,
            seconds: 1.0,
            live: Live::default(),
            chunks: 8.0,
            sessions: 2.0,
        };
        for stage in Stage::ALL {
            sample.stage_ns[stage as usize] =
                beside * own_ns(costs, stage, &sample) + crossing_ns(costs, stage, &sample);
        }
        sample
    }

    /// Samples that were made from costs give costs that make the same samples.
    #[test]
    fn a_fit_foretells_what_it_was_not_fitted_to() {
        let mut costs = Costs::nothing();
        costs.beside = 1.2;
        for (place, stage) in (1..).zip(Stage::ALL) {
            let place = f64::from(place);
            let it = costs.of_mut(stage);
            it.own = StageCost {
                turn_ns: 50.0 * place,
                send_ns: if matches!(stage, Stage::Propagation | Stage::Sink) { 30.0 } else { 0.0 },
                visit_ns: 0.0,
                first_ns: 0.0,
                batch_ns: 10.0 * place,
                delta_ns: 3.0 / place,
                byte_ns: 0.05,
                cold: vec![Cold { documents: 4096.0, batch_ns: 20.0 * place }],
            };
            it.crossing =
                CrossingCost { batch_ns: 7.0 * place, cold_ns: 20.0, first_ns: 0.0, byte_ns: 0.1 };
        }
        let samples: Vec<Sample> =
            super::super::cells().into_iter().map(|cell| sample(cell, &costs)).collect();
        let mut found = Costs::nothing();
        assert!(fit(&samples, &mut found) < 0.01);
        for (cores, documents, batch) in [(1, 100_000, 100), (2, 100, 8), (1, 10_000, 1)] {
            let other = sample(Cell::new(cores, documents, batch), &costs);
            let error = error(&found, &other);
            assert!(error.abs() < 0.02, "{cores} {documents} {batch}: {error}");
        }
        // A sample that was spoilt is seen.
        let mut spoilt = samples.clone();
        spoilt[3].stage_ns[2] *= 3.0;
        assert!(fit(&spoilt, &mut found) > 0.05);
    }
}
