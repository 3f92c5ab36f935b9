//! Rounds over all cells: in which order they are sampled, and which of them tell how fast the machine was
//! while another was.
//!
//! A host moves the CPUs of a virtual machine, and its neighbours take caches and memory, for seconds to minutes. Cells
//! that are sampled minutes apart see different machines. So cells of about as many documents and as long
//! batches are sampled right behind each other, those that are fitted and those that are checked alike, in
//! some rounds; and those fitted ones that stood beside a checked one tell its machine's speed.
//!
//! ```text
//!  round 0   … fitted  fitted  CHECKED  fitted  fitted  CHECKED …
//!  round 1   … fitted  fitted  CHECKED  fitted  fitted  CHECKED …
//!                 └───────┴── how fast ──┴───────┘
//! ```

use deltaworks_capacity::costs::Costs;

use super::cell::{Cell, Sample, fastest, of_both_places};
use super::check::DOCUMENTS;
use super::model;

/// So many cells that were fitted tell the speed beside one that is checked.
pub const REFERENCES: usize = 4;

/// The places of `cells` in the order in which a round samples them.
pub fn order(cells: &[Cell]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..cells.len()).collect();
    order.sort_by_key(|place| key(&cells[*place]));
    order
}

/// By cores, by which of the checked documents are nearest, then by batch, then by documents.
fn key(cell: &Cell) -> (usize, usize, u32, u32, Cell) {
    (cell.cores, band(cell), cell.batch, cell.documents, *cell)
}

/// The place of those [`DOCUMENTS`] that are nearest, by ratio.
fn band(cell: &Cell) -> usize {
    let ratio = |documents: u32| (f64::from(documents) / f64::from(cell.documents.max(1))).ln();
    let far = |place: &usize| ratio(DOCUMENTS[*place]).abs();
    let nearest = (0..DOCUMENTS.len()).min_by(|one, other| far(one).total_cmp(&far(other)));
    nearest.unwrap_or_default()
}

/// The cells of `fitted` that are sampled next to `cell` in a round and are of its kind: about as many documents,
/// deltas and reads of the same length, as many cores, and something crosses in all or in none.
pub fn references(cell: &Cell, fitted: &[Cell]) -> Vec<Cell> {
    let is_alike = |it: &&Cell| {
        (it.cores, it.delta_bytes, it.read_bytes, it.crosses(), band(it))
            == (cell.cores, cell.delta_bytes, cell.read_bytes, cell.crosses(), band(cell))
    };
    let mut alike: Vec<Cell> = fitted.iter().filter(is_alike).copied().collect();
    alike.sort_by_key(key);
    let place = alike.partition_point(|it| key(it) < key(cell)) as f64 - 0.5;
    let mut near: Vec<(f64, Cell)> =
        alike.iter().enumerate().map(|(at, it)| ((at as f64 - place).abs(), *it)).collect();
    near.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    near.into_iter().take(REFERENCES).map(|(_, cell)| cell).collect()
}

/// How fast the machine was in `round` beside how fast it was when its costs were measured: the median over
/// `references`, each with all of its samples; `None` if fewer than half of them were sampled in it.
///
/// Each tells it by what it took over what the costs say, then and now: so neither what was in its batches
/// nor how far its cores were from each other is taken for the machine's speed, nor is it by how much the costs are off.
pub fn speed(costs: &Costs, references: &[&[Sample]], round: u32) -> Option<f64> {
    let of_one = |samples: &&[Sample]| -> Option<f64> {
        let now = usable(samples).find(|it| it.round == Some(round))?;
        let far = |it: &Sample| (it.distance_ns.max(1.0) / now.distance_ns.max(1.0)).ln().abs();
        let then = of_both_places(samples);
        let then = then.into_iter().min_by(|one, other| far(one).total_cmp(&far(other)))?;
        let speed = (1.0 + model::error(costs, now)) / (1.0 + model::error(costs, then));
        speed.is_finite().then_some(speed)
    };
    let mut all: Vec<f64> = references.iter().filter_map(of_one).collect();
    all.sort_by(f64::total_cmp);
    let is_told = !all.is_empty() && all.len() * 2 >= references.len();
    is_told.then(|| f64::midpoint(all[(all.len() - 1) / 2], all[all.len() / 2]))
}

/// Those samples that tell as much as the fastest: where it was left alone, those that were.
fn usable(samples: &[Sample]) -> impl Iterator<Item = &Sample> {
    let best = fastest(samples);
    samples.iter().filter(move |it| {
        best.is_some_and(|best| {
            (it.windows > 0 || best.windows == 0) && (!it.has_moved() || best.has_moved())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::super::{cells, check};
    use super::*;

    fn grid() -> Vec<Cell> {
        let of = |cores: usize| {
            let of = move |documents: u32| {
                check::BATCHES.map(|batch| Cell::new(cores, documents.max(cores as u32), batch))
            };
            DOCUMENTS.into_iter().flat_map(of)
        };
        [1, 2].into_iter().flat_map(of).collect()
    }

    /// Every cell of the grid has references, none of which is checked, and all are sampled around it.
    #[test]
    fn what_is_checked_is_sampled_among_its_references() {
        let (fitted, grid) = (cells(), grid());
        let all: Vec<Cell> = fitted.iter().chain(&grid).copied().collect();
        let order: Vec<Cell> = order(&all).into_iter().map(|place| all[place]).collect();
        assert_eq!(order.len(), all.len());
        let place = |cell: &Cell| order.iter().position(|it| it == cell).expect("it is sampled");
        for cell in &grid {
            let references = references(cell, &fitted);
            assert!(references.len() >= 3, "{cell:?}: {references:?}");
            for it in &references {
                assert!(!grid.contains(it) && it.crosses() == cell.crosses());
                let apart = place(it).abs_diff(place(cell));
                assert!(apart <= 8, "{cell:?} and {it:?} are {apart} samples apart");
            }
        }
    }

    #[test]
    fn samples_that_tell_less_are_not_used() {
        let of = |round, rate, windows, has_moved| Sample {
            round: Some(round),
            deltas_per_second: rate,
            windows,
            has_moved,
            crossing: 0.5,
            ..Sample::nothing(Cell::new(2, 100, 8))
        };
        let samples = [of(0, 9.0, 0, false), of(1, 8.0, 100, true), of(2, 7.0, 100, false)];
        let rounds = |samples: &[Sample]| -> Vec<Option<u32>> {
            usable(samples).map(|it| it.round).collect()
        };
        assert_eq!(rounds(&samples), [Some(2)]);
        assert_eq!(rounds(&samples[..1]), [Some(0)]);
        assert_eq!(rounds(&samples[1..2]), [Some(1)]);
        assert_eq!(rounds(&[]), []);
    }
}
