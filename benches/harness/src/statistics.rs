//! Medians and what surrounds them; what pairs of runs say, without a guess at how noise is spread.
//!
//! The estimate of a shift is that of Hodges and Lehmann (the median of all means of two), its bounds
//! come from the exact distribution of Wilcoxon's signed ranks: Hollander, Wolfe and Chicken,
//! *Nonparametric Statistical Methods*, 3rd edition, sections 3.1 to 3.3. One run in ten that went
//! badly moves neither much, and no normal distribution is supposed, which run times have not.

/// The middle of the values, or between the two in the middle; not a number if there are none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => sorted[count / 2],
        count => f64::midpoint(sorted[count / 2 - 1], sorted[count / 2]),
    }
}

/// The least and the greatest.
pub fn span(values: &[f64]) -> (f64, f64) {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    (least, values.iter().copied().fold(f64::NEG_INFINITY, f64::max))
}

/// Half of the distance from the least to the greatest, as a share of the median.
pub fn spread(values: &[f64]) -> f64 {
    let (least, most) = span(values);
    (most - least) / 2.0 / median(values).abs().max(f64::MIN_POSITIVE)
}

/// Where the centre of paired differences lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shift {
    /// The estimate.
    pub estimate: f64,
    /// With the asked confidence it is not below this.
    pub low: f64,
    /// With the asked confidence it is not above this.
    pub high: f64,
}

/// The shift of `differences`, each bound with `confidence` on its own side. Bounds are infinite where
/// there are too few to say anything with that confidence.
pub fn shift(differences: &[f64], confidence: f64) -> Shift {
    let mut means = Vec::new();
    for (place, one) in differences.iter().enumerate() {
        means.extend(differences[place..].iter().map(|other| f64::midpoint(*one, *other)));
    }
    means.sort_by(f64::total_cmp);
    let left_out = ranks_below(differences.len(), 1.0 - confidence);
    let bound = |place: Option<usize>| place.and_then(|it| means.get(it).copied());
    let low = left_out.checked_sub(1);
    Shift {
        estimate: median(&means),
        low: bound(low).unwrap_or(f64::NEG_INFINITY),
        high: bound(low.and_then(|it| means.len().checked_sub(1 + it))).unwrap_or(f64::INFINITY),
    }
}

/// How many of the lowest sums of signed ranks of `count` pairs have together at most `chance`, if
/// nothing differs.
fn ranks_below(count: usize, chance: f64) -> usize {
    let sums = count * (count + 1) / 2 + 1;
    let mut chances = vec![0.0_f64; sums];
    chances[0] = 1.0;
    for rank in 1..=count {
        for sum in (0..sums).rev() {
            let with = if sum >= rank { chances[sum - rank] } else { 0.0 };
            chances[sum] = f64::midpoint(chances[sum], with);
        }
    }
    let mut all = 0.0;
    chances
        .iter()
        .take_while(|it| {
            all += **it;
            all <= chance
        })
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_and_the_ends() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
        assert_eq!(span(&[2.0, 1.0, 4.0]), (1.0, 4.0));
        assert_eq!(spread(&[9.0, 10.0, 11.0]), 0.1);
    }

    #[test]
    fn bounds_are_those_of_the_signed_ranks() {
        // Tables: P(T <= 8) = 0.0488 for 9 pairs, P(T <= 0) = 1/32 for 5.
        assert_eq!(ranks_below(9, 0.05), 9);
        assert_eq!(ranks_below(9, 0.0487), 8);
        assert_eq!((ranks_below(5, 0.032), ranks_below(5, 0.03)), (1, 0));
        let few = shift(&[1.0, 2.0, 3.0], 0.99);
        assert_eq!((few.estimate, few.low, few.high), (2.0, f64::NEG_INFINITY, f64::INFINITY));
        let five = shift(&[1.0, 2.0, 3.0, 4.0, 5.0], 0.95);
        assert_eq!((five.estimate, five.low, five.high), (3.0, 1.0, 5.0));
    }

    /// Noise of many shapes: the bounds hold as often as they promise.
    #[test]
    fn bounds_hold_as_often_as_they_promise() {
        let mut state = 9_u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
        };
        let mut missed = 0;
        for _ in 0..4000 {
            // Mostly little noise, sometimes much: symmetrical, as differences of two equals are.
            let one = |it: f64, far: f64| if far > 0.4 { it * 20.0 } else { it };
            let differences: Vec<f64> = (0..12).map(|_| one(random(), random()) + 0.3).collect();
            missed += u32::from(shift(&differences, 0.99).low > 0.3);
        }
        assert!(missed <= 60, "{missed} of 4000, promised are 40");
    }
}
