//! Where a value stands on an axis, and which values are written beside it.

/// Lines at most.
const MARKS_MAX: usize = 8;

/// An axis.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    from: f64,
    to: f64,
    is_logarithmic: bool,
}

impl Scale {
    /// An axis that holds all `values`: from zero, or if it is logarithmic from the decade's part below
    /// the least.
    pub fn of(values: &[f64], is_logarithmic: bool) -> Self {
        let sound = values.iter().copied().filter(|it| it.is_finite() && *it > 0.0);
        let (least, most) =
            sound.fold((f64::INFINITY, 0.0_f64), |(least, most), it| (least.min(it), most.max(it)));
        if most <= 0.0 {
            return Self { from: 0.0, to: 1.0, is_logarithmic: false };
        }
        if is_logarithmic {
            let (from, to) = (least.log10() - 0.08, most.log10() + 0.08);
            return Self { from, to: to.max(from + 0.5), is_logarithmic };
        }
        Self { from: 0.0, to: most * 1.06, is_logarithmic }
    }

    /// From 0 at the beginning to 1 at the end.
    pub fn place(&self, value: f64) -> f64 {
        let value = if self.is_logarithmic { value.max(1e-300).log10() } else { value };
        ((value - self.from) / (self.to - self.from)).clamp(0.0, 1.0)
    }

    /// The same for values of `unit`: bytes are round where they are powers of two.
    pub fn marks_of(&self, unit: &str) -> Vec<f64> {
        if !unit.starts_with("bytes") {
            return self.marks();
        }
        if self.is_logarithmic {
            let of = |log10: f64| log10 * std::f64::consts::LOG2_10;
            let powers = of(self.from).ceil() as i32..=of(self.to).floor() as i32;
            let step = powers.clone().count().div_ceil(MARKS_MAX).max(1);
            return powers.step_by(step).map(|power| 2_f64.powi(power)).collect();
        }
        let prefix = (0..4).map(|power| 1024_f64.powi(power)).rfind(|it| *it <= self.to);
        let prefix = prefix.unwrap_or(1.0);
        let marks = Self { to: self.to / prefix, ..*self }.marks();
        marks.into_iter().map(|mark| mark * prefix).collect()
    }

    /// Values that get a line: round ones, three to eight of them.
    pub fn marks(&self) -> Vec<f64> {
        if !self.is_logarithmic {
            let rough = self.to / 4.0;
            let power = 10_f64.powf(rough.log10().floor());
            let step =
                [1.0, 2.0, 2.5, 5.0, 10.0].iter().map(|it| it * power).find(|it| *it >= rough);
            let step = step.unwrap_or(power);
            return (0..).map(|it| f64::from(it) * step).take_while(|it| *it <= self.to).collect();
        }
        let of = |digits: &[f64]| -> Vec<f64> {
            let powers = self.from.floor() as i32..=self.to.ceil() as i32;
            let all = powers.flat_map(|power| digits.iter().map(move |it| it * 10_f64.powi(power)));
            all.filter(|it| (self.from..=self.to).contains(&it.log10())).collect()
        };
        let choices: [&[f64]; 4] =
            [&[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0], &[1.0, 2.0, 5.0], &[1.0, 3.0], &[1.0]];
        let found = choices.iter().map(|digits| of(digits)).find(|marks| marks.len() <= MARKS_MAX);
        found.unwrap_or_else(|| {
            let all = of(&[1.0]);
            let step = all.len().div_ceil(MARKS_MAX);
            all.into_iter().step_by(step).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stand_in_order_and_marks_are_few() {
        for is_logarithmic in [false, true] {
            for values in [&[1.0, 50.0, 1e6][..], &[3.0, 3.1], &[1e-3, 2e-3], &[5.0]] {
                let scale = Scale::of(values, is_logarithmic);
                let places: Vec<f64> = values.iter().map(|it| scale.place(*it)).collect();
                assert!(places.is_sorted() && places.iter().all(|it| (0.0..=1.0).contains(it)));
                let marks = scale.marks();
                assert!((1..=9).contains(&marks.len()), "{values:?}: {marks:?}");
            }
        }
        assert_eq!(Scale::of(&[], true).place(0.5), 0.5);
        let mib = 1_048_576.0;
        for is_logarithmic in [false, true] {
            let scale = Scale::of(&[mib, 40.0 * mib], is_logarithmic);
            let marks = scale.marks_of("bytes");
            let round = if is_logarithmic { 16.0 } else { 20.0 };
            assert!(marks.contains(&(round * mib)) && marks.len() <= 9, "{marks:?}");
            assert_eq!(scale.marks_of("1/s"), scale.marks());
        }
    }
}
