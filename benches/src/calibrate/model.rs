//! From samples to costs: each stage's time is laid to turns, sends, batches, deltas, bytes, and to
//! documents that caches do not hold.
//!
//! First what one core takes alone; then what two cores take more, which is laid to what crosses.

use std::collections::BTreeSet;

use deltaworks_capacity::costs::{
    CROSSING_NEAR_BYTES, Cold, Costs, CrossingCost, Early, Late, Stage, StageCost,
};
use deltaworks_capacity::popularity::{cold_share, different, near_documents};
use deltaworks_capacity::workload::Law;

use super::cell::{ELSEWHERE, Sample};
use super::fit::Rows;

/// Bytes that caches may hold: the steps at which a batch may become dearer. The first is what it costs
/// when a batch is not of the document of the batch before it; the last two are those of page tables.
const NEAR_BYTES: [f64; 9] = [512.0, 8e3, 1e5, 1e6, 3e6, 8e6, 2e7, 8e7, 3.2e8];

/// So many deltas at a batch's beginning may cost more than those behind them.
const EARLY: [f64; 5] = [2.0, 4.0, 8.0, 16.0, 64.0];

/// Behind so many deltas of a batch the others may cost more.
const LATE: [f64; 2] = [16.0, 32.0];

/// Puts stage costs into `costs`; how far the fit is from a sample at most, as a share.
pub fn fit(samples: &[Sample], costs: &mut Costs) -> f64 {
    for stage in Stage::ALL {
        let mut rows = Rows::default();
        for sample in samples.iter().filter(|it| it.cell.cores == 1) {
            rows.add(
                &counts(costs, stage, sample),
                sample.stage_ns[stage as usize],
                sample.total_ns(),
            );
        }
        let found = rows.costs();
        let plain = std::array::from_fn(|at| found.get(at).copied().unwrap_or_default());
        let early = EARLY.iter().zip(found.iter().skip(StageCost::PLAIN));
        let early = early.map(|(deltas, ns)| Early { deltas: *deltas, delta_ns: *ns });
        let late = LATE.iter().zip(found.iter().skip(StageCost::PLAIN + EARLY.len()));
        let late = late.map(|(deltas, ns)| Late { deltas: *deltas, delta_ns: *ns });
        let cold = found.get(StageCost::PLAIN + EARLY.len() + LATE.len()..).unwrap_or_default();
        let cold: Vec<&[f64]> = cold.chunks(NEAR_BYTES.len()).collect();
        let of_kind = |kind: usize, at: usize| cold.get(kind).map_or(0.0, |all| all[at]);
        let cold = NEAR_BYTES.iter().enumerate().map(|(at, near_bytes)| Cold {
            near_bytes: *near_bytes,
            batch_ns: of_kind(0, at),
            long_ns: of_kind(1, at),
            byte_ns: of_kind(2, at),
        });
        let own = StageCost::of_plain(
            plain,
            early.filter(|it| it.delta_ns > 0.0).collect(),
            late.filter(|it| it.delta_ns > 0.0).collect(),
            cold.filter(|it| it.batch_ns + it.long_ns + it.byte_ns > 0.0).collect(),
        );
        costs.of_mut(stage).own = own;
    }
    costs.beside = beside(costs, samples);
    costs.distance_ns = distance_ns(samples);
    let has_distances = has_distances(samples);
    for stage in Stage::ALL {
        let mut rows = Rows::default();
        for sample in samples.iter().filter(|it| it.crossing > 0.0) {
            let own_ns = costs.beside * own_ns(costs, stage, sample);
            let more_ns = sample.stage_ns[stage as usize] - own_ns;
            let mut counts = crossings(costs, sample);
            if !has_distances && let Some(anyway) = counts.last_mut() {
                // At one distance nobody can tell it from what grows with it.
                *anyway = 0.0;
            }
            rows.add(&counts, more_ns, sample.total_ns());
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

/// How far cores were from each other where something crossed: the median.
fn distance_ns(samples: &[Sample]) -> f64 {
    let crossing = samples.iter().filter(|it| it.crossing > 0.0);
    let mut all: Vec<f64> = crossing.map(|it| it.distance_ns).collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or_default()
}

/// Cells that must have been measured at each distance: one that was disturbed is no distance.
const CELLS_OF_DISTANCE: usize = 3;

/// Whether what crossed was measured at distances that tell what grows with them, in several cells at each.
fn has_distances(samples: &[Sample]) -> bool {
    let crossing = || samples.iter().filter(|it| it.crossing > 0.0);
    let least = crossing().map(|it| it.distance_ns).fold(f64::INFINITY, f64::min);
    let is_far = |it: &&Sample| it.distance_ns > ELSEWHERE * least;
    let far: BTreeSet<_> = crossing().filter(is_far).map(|it| it.cell).collect();
    let near: BTreeSet<_> = crossing().filter(|it| !is_far(it)).map(|it| it.cell).collect();
    far.len() >= CELLS_OF_DISTANCE && near.len() >= CELLS_OF_DISTANCE
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
    crossings(costs, sample).iter().zip(it.all()).map(|(count, ns)| count * ns).sum()
}

/// What crosses: batches, those of cold documents, first ones, bytes.
fn crossings(costs: &Costs, sample: &Sample) -> [f64; CrossingCost::ALL] {
    let cold = cold(costs, sample, CROSSING_NEAR_BYTES);
    let far = costs.far(sample.distance_ns);
    let counts = CrossingCost::counts(&sample.cell.inside(), cold, sample.first_share, far);
    counts.map(|count| sample.crossing * count)
}

fn own_ns(costs: &Costs, stage: Stage, sample: &Sample) -> f64 {
    let own = &costs.of(stage).own;
    let counts = counts(costs, stage, sample);
    // What a batch has inside is told in one place for all who ask.
    let plain = [own.turn_ns, own.send_ns, own.visit_ns, own.batch_ns, own.first_ns];
    let plain_ns: f64 = counts.iter().zip(plain).map(|(count, ns)| count * ns).sum();
    let inside = sample.cell.inside();
    plain_ns
        + own.inside_ns(&inside)
        + own.cold_ns(&inside, |near_bytes| cold(costs, sample, near_bytes))
}

/// How often a batch's document was not touched within so many bytes.
fn cold(costs: &Costs, sample: &Sample, near_bytes: f64) -> f64 {
    let state_bytes = costs.memory.state_bytes();
    let pool_bytes = sample.chunks / sample.cell.cores as f64 * costs.memory.chunk_bytes;
    let near = near_documents(near_bytes, state_bytes, sample.cell.image_bytes(), pool_bytes);
    cold_share(Law::Uniform, documents(sample), near)
}

fn counts(costs: &Costs, stage: Stage, sample: &Sample) -> Vec<f64> {
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
    let first = sample.first_share;
    let it = cell.inside();
    let more = [it.rows(), it.long_delta_bytes(), it.long_image_bytes()];
    let mut counts = vec![sample.turns, sends, visits, 1.0, first, it.deltas, it.image_bytes];
    counts.extend(more);
    counts.extend(EARLY.map(|early| it.deltas.min(early)));
    counts.extend(LATE.map(|first| (it.deltas - first).max(0.0)));
    let cold = NEAR_BYTES.map(|near_bytes| cold(costs, sample, near_bytes));
    counts.extend(cold);
    counts.extend(cold.map(|share| share * it.long_share()));
    counts.extend(cold.map(|share| share * it.image_bytes));
    counts
}

fn documents(sample: &Sample) -> f64 {
    f64::from(sample.cell.documents) / sample.cell.cores as f64
}

#[cfg(test)]
mod tests {
    use super::super::cell::Cell;
    use super::*;

    fn sample(cell: Cell, costs: &Costs) -> Sample {
        let crossing = if cell.cores > 1 && cell.documents > 2 { 0.5 } else { 0.0 };
        let beside = if cell.cores > 1 { costs.beside } else { 1.0 };
        let mut sample = Sample {
            turns: cell.image_bytes() / cell.read_bytes as f64,
            sends: 0.1 + f64::from(cell.documents % 7) / 10.0,
            crossing,
            distance_ns: if cell.documents.is_multiple_of(3) { 100.0 } else { 300.0 },
            quiet_share: 1.0,
            windows: 100,
            batches: 1e6,
            seconds: 1.0,
            chunks: 8.0,
            sessions: 2.0,
            ..Sample::nothing(cell)
        };
        for stage in Stage::ALL {
            sample.stage_ns[stage as usize] =
                beside * own_ns(costs, stage, &sample) + crossing_ns(costs, stage, &sample);
        }
        sample
    }

    #[test]
    fn a_distance_is_one_if_several_cells_were_measured_at_it() {
        let of = |(documents, distance_ns)| Sample {
            crossing: 0.5,
            distance_ns,
            ..Sample::nothing(Cell::new(2, documents, 8))
        };
        let near = [(10, 90.0), (20, 95.0), (30, 110.0)].map(of);
        let far = [(10, 440.0), (20, 435.0), (30, 430.0)].map(of);
        let alone = Sample { crossing: 0.0, ..of((40, 440.0)) };
        assert!(has_distances(&[&near[..], &far].concat()));
        assert!(!has_distances(&[&near[..], &far[..2]].concat()), "two cells are too few");
        assert!(!has_distances(&[&near[..2], &far].concat()), "at either distance");
        assert!(!has_distances(&[&near[..], &far[..2], &far[..1]].concat()), "one cell twice");
        assert!(!has_distances(&[&near[..], &far[..2], &[alone]].concat()), "nothing crossed");
        assert!(!has_distances(&near) && !has_distances(&[]));
    }

    /// Samples that were made from costs give costs that make the same samples.
    #[test]
    fn a_fit_foretells_what_it_was_not_fitted_to() {
        let mut costs = Costs::nothing();
        (costs.beside, costs.distance_ns) = (1.2, 300.0);
        (costs.memory.document_bytes, costs.memory.chunk_bytes) = (500.0, 2e6);
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
                early: vec![Early { deltas: 2.0, delta_ns: 4.0 }],
                cold: vec![Cold { near_bytes: 2e7, batch_ns: 20.0 * place, ..Cold::default() }],
                ..StageCost::default()
            };
            let batch_ns = 7.0 * place;
            it.crossing = CrossingCost {
                batch_ns,
                cold_ns: 20.0,
                byte_ns: 0.1,
                anyway_ns: 5.0,
                ..CrossingCost::default()
            };
        }
        let samples: Vec<Sample> =
            super::super::cells().into_iter().map(|cell| sample(cell, &costs)).collect();
        let mut found = Costs { memory: costs.memory, ..Costs::nothing() };
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
