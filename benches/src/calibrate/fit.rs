//! Least squares with costs that cannot be negative.
//!
//! A row says that some counts, each times its cost, make a measured time; a cost that would go below
//! nothing is nothing. What disturbs a measurement makes it longer, seldom shorter: so a row that is longer
//! than the costs say counts less than one that is shorter, and the costs come to lie below the middle.

/// Rounds over all costs at most.
const ROUNDS: usize = 5_000;
/// Change of a cost, relative to the largest, below which it stands.
const STILL: f64 = 1e-12;

/// What a row counts that is longer than the costs say, beside one that is shorter.
const WEIGHT_OF_LONGER: f64 = 0.5;
/// How often rows are weighed anew.
const WEIGHINGS: usize = 8;

/// Rows of counts, and what each came to.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    rows: Vec<(Vec<f64>, f64)>,
}

impl Rows {
    /// Adds a row, whose error counts as a share of `scale`.
    ///
    /// # Panics
    /// If the row is not as wide as those before, or `scale` is not above 0.
    pub fn add(&mut self, counts: &[f64], came_to: f64, scale: f64) {
        assert!(scale > 0.0 && self.rows.first().is_none_or(|(row, _)| row.len() == counts.len()));
        self.rows.push((counts.iter().map(|it| it / scale).collect(), came_to / scale));
    }

    /// The costs that come nearest, none of them below 0, where longer rows count less; empty without rows.
    pub fn costs(&self) -> Vec<f64> {
        let mut costs = self.nearest();
        for _ in 0..WEIGHINGS {
            let weighed = self.rows.iter().map(|(row, came_to)| {
                let foretold: f64 = row.iter().zip(&costs).map(|(count, cost)| count * cost).sum();
                // Squares are added up, so a weight goes in by its root.
                let weight = if *came_to > foretold { WEIGHT_OF_LONGER.sqrt() } else { 1.0 };
                (row.iter().map(|count| count * weight).collect(), came_to * weight)
            });
            costs = Self { rows: weighed.collect() }.nearest_from(&costs);
        }
        costs
    }

    /// The same with all rows alike.
    pub fn nearest(&self) -> Vec<f64> {
        self.nearest_from(&[])
    }

    /// The same, found sooner if `begin` is near; costs that it does not have begin at 0.
    ///
    /// One cost at a time is set to its best beside the others, until none moves.
    fn nearest_from(&self, begin: &[f64]) -> Vec<f64> {
        let width = self.rows.first().map_or(0, |(row, _)| row.len());
        // Columns are brought to one length, or a byte's cost would move slowly beside a batch's.
        let length = |column: usize| -> f64 {
            self.rows.iter().map(|(row, _)| row[column] * row[column]).sum::<f64>().sqrt()
        };
        let lengths: Vec<f64> = (0..width).map(length).collect();
        let product = |one: usize, other: usize| -> f64 {
            let sum: f64 = self.rows.iter().map(|(row, _)| row[one] * row[other]).sum();
            sum / (lengths[one] * lengths[other])
        };
        let used: Vec<usize> = (0..width).filter(|column| lengths[*column] > 0.0).collect();
        let products: Vec<Vec<f64>> = used
            .iter()
            .map(|one| used.iter().map(|other| product(*one, *other)).collect())
            .collect();
        let aims: Vec<f64> = used
            .iter()
            .map(|column| {
                let sum: f64 = self.rows.iter().map(|(row, came_to)| row[*column] * came_to).sum();
                sum / lengths[*column]
            })
            .collect();
        let of_begin = |column: &usize| begin.get(*column).map_or(0.0, |it| it * lengths[*column]);
        let mut found: Vec<f64> = used.iter().map(of_begin).collect();
        // What each aim lacks beside what all costs say now.
        let mut lacks = aims;
        for (lack, products) in lacks.iter_mut().zip(&products) {
            *lack -= products.iter().zip(&found).map(|(product, it)| product * it).sum::<f64>();
        }
        for _ in 0..ROUNDS {
            let mut moved = 0.0_f64;
            for at in 0..used.len() {
                // A column's product with itself is 1.
                let best = (found[at] + lacks[at]).max(0.0);
                let by = best - found[at];
                if by == 0.0 {
                    continue;
                }
                moved = moved.max(by.abs());
                found[at] = best;
                for (lack, product) in lacks.iter_mut().zip(&products[at]) {
                    *lack -= product * by;
                }
            }
            let most = found.iter().copied().fold(0.0, f64::max);
            if moved <= most * STILL {
                break;
            }
        }
        let mut costs = vec![0.0; width];
        for (at, column) in used.into_iter().enumerate() {
            costs[column] = found[at] / lengths[column];
        }
        costs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::Random;

    fn near(is: &[f64], must: &[f64]) -> bool {
        is.iter().zip(must).all(|(is, must)| (is - must).abs() <= must.abs() * 1e-3 + 1e-6)
    }

    fn rows(costs: &[f64], spoil: f64) -> Rows {
        let mut random = Random(3);
        let mut rows = Rows::default();
        for row in 0..40 {
            let counts: Vec<f64> = costs.iter().map(|_| random.below(1000) as f64).collect();
            let sum: f64 = counts.iter().zip(costs).map(|(count, cost)| count * cost).sum();
            let came_to = if row == 7 { sum * spoil } else { sum };
            rows.add(&counts, came_to, came_to.max(1.0));
        }
        rows
    }

    #[test]
    fn costs_that_were_put_in_come_out() {
        let costs = [30.0, 4.0, 0.0, 0.2];
        assert!(near(&rows(&costs, 1.0).costs(), &costs));
        // The comparison sees a row that is wrong.
        assert!(!near(&rows(&costs, 1.5).costs(), &costs));
    }

    #[test]
    fn nothing_costs_less_than_nothing() {
        let mut rows = Rows::default();
        for count in 1..10 {
            let count = f64::from(count);
            rows.add(&[1.0, count], 10.0 - 0.5 * count, 1.0);
        }
        let costs = rows.costs();
        assert!(costs[0] > 0.0 && costs[1] == 0.0, "{costs:?}");
    }

    /// Some rows that were disturbed hardly pull at the costs.
    #[test]
    fn what_is_longer_counts_less() {
        let mut rows = Rows::default();
        for row in 0..40 {
            let count = f64::from(row + 1);
            let disturbed = if row % 4 == 0 { 1.5 } else { 1.0 };
            rows.add(&[count], 10.0 * count * disturbed, count);
        }
        let cost = |costs: Vec<f64>| costs[0];
        let (weighed, plain) = (cost(rows.costs()), cost(rows.nearest()));
        assert!(weighed < 10.8 && plain > 11.0, "{weighed}, {plain}");
    }

    #[test]
    fn what_never_occurs_costs_nothing() {
        let mut rows = Rows::default();
        rows.add(&[1.0, 0.0], 5.0, 1.0);
        assert!(near(&rows.costs(), &[5.0, 0.0]));
        assert!(Rows::default().costs().is_empty());
    }
}
