//! The script: which document comes next, with which payloads, and whether it is a proper batch.
//!
//! A function of its seed alone; the generator plays it, the account reads it again. It is
//! endless and allocates nothing after it was made.

/// How documents are drawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Law {
    /// Each as likely as any other.
    #[default]
    Uniform,
    /// The one of rank r with weight 1/r, ranks scattered over the tables.
    Zipf,
}

/// What a batch is meant to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wish {
    /// A new batch that passes.
    Fresh,
    /// A new batch whose last delta fails the schema in its last field.
    Failing,
    /// The document's previous batch once more; a fresh one if there was none.
    Resend,
}

/// One line of the script.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Line {
    /// The document's number at its generator.
    pub document: u32,
    /// The payload of the first delta; those of the next ones follow.
    pub payload: u32,
    /// What it is meant to be.
    pub wish: Wish,
}

/// One batch in so many fails, and one in so many is a resend.
pub const RARE: u64 = 1024;

/// Draws kept for the laws that are not drawn on the spot.
const DRAWS: usize = 1 << 20;

/// The lines, one after another.
#[derive(Clone, Debug)]
pub struct Script {
    random: Random,
    documents: u32,
    payloads: u32,
    draws: Vec<u32>,
    lines: u64,
    has_failing: bool,
    has_resends: bool,
}

impl Script {
    /// A script over `documents` documents and `payloads` payloads.
    ///
    /// Under the second law its draws repeat after about a million lines, the payloads do not.
    /// Even and odd documents are drawn alike.
    ///
    /// # Panics
    /// If `documents` is 0 or `payloads` is no power of two.
    pub fn new(seed: u64, law: Law, documents: u32, payloads: u32) -> Self {
        assert!(documents > 0 && payloads.is_power_of_two());
        let mut random = Random(seed);
        let draws = match law {
            Law::Uniform => Vec::new(),
            Law::Zipf => zipf(documents, &mut random),
        };
        Self { random, documents, payloads, draws, lines: 0, has_failing: true, has_resends: true }
    }

    /// The same with fresh batches only.
    #[must_use]
    pub fn without_rare(self) -> Self {
        Self { has_failing: false, has_resends: false, ..self }
    }

    /// The same for a collection that refuses nothing.
    #[must_use]
    pub fn without_failing(self) -> Self {
        Self { has_failing: false, ..self }
    }

    /// The next line.
    #[inline(always)]
    pub fn next_line(&mut self) -> Line {
        let random = self.random.next();
        let document = if self.draws.is_empty() {
            (((random >> 32) * u64::from(self.documents)) >> 32) as u32
        } else {
            self.draws[self.lines as usize % DRAWS]
        };
        self.lines += 1;
        let wish = if self.lines.is_multiple_of(RARE / 2) { self.rare_wish() } else { Wish::Fresh };
        Line { document, payload: random as u32 & (self.payloads - 1), wish }
    }

    /// What the line of number `lines`, a multiple of half of [`RARE`], is meant to be.
    #[cold]
    fn rare_wish(&self) -> Wish {
        match self.lines.is_multiple_of(RARE) {
            true if self.has_resends => Wish::Resend,
            false if self.has_failing => Wish::Failing,
            _ => Wish::Fresh,
        }
    }
}

/// Draws of documents with weight 1/rank: half of them even, half odd, each half with ranks of
/// its own (if there is more than one document).
fn zipf(documents: u32, random: &mut Random) -> Vec<u32> {
    let halves = documents.min(2);
    let scattered: Vec<Vec<u32>> = (0..halves)
        .map(|half| {
            let mut of_half: Vec<u32> = (half..documents).step_by(halves as usize).collect();
            for place in (1..of_half.len()).rev() {
                of_half.swap(place, random.below(place as u64 + 1) as usize);
            }
            of_half
        })
        .collect();
    let mut weights = Vec::with_capacity(scattered[0].len());
    let mut sum = 0.0;
    for rank in 1..=scattered[0].len() {
        sum += 1.0 / rank as f64;
        weights.push(sum);
    }
    let mut draw = |_| {
        let of_half = &scattered[random.below(u64::from(halves)) as usize];
        let point = random.next() as f64 / u64::MAX as f64 * sum;
        let rank = weights.partition_point(|weight| *weight < point);
        of_half[rank.min(of_half.len() - 1)]
    };
    (0..DRAWS).map(&mut draw).collect()
}

/// Numbers that look random: a counter, multiplied and folded.
#[derive(Clone, Debug)]
pub(crate) struct Random(pub u64);

impl Random {
    #[inline]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        crate::hash::fold(self.0, self.0 ^ 0xd6e8_feb8_6659_fd93)
    }

    #[inline]
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_its_seed() {
        for law in [Law::Uniform, Law::Zipf] {
            let mut one = Script::new(7, law, 100, 4096);
            let mut other = Script::new(7, law, 100, 4096);
            let mut third = Script::new(8, law, 100, 4096);
            let lines: Vec<Line> = (0..5000).map(|_| one.next_line()).collect();
            assert!(lines.iter().all(|line| *line == other.next_line()));
            assert!(lines.iter().any(|line| *line != third.next_line()));
        }
    }

    #[test]
    fn uniform_and_zipf_are_what_they_say() {
        let count = |law| {
            let mut script = Script::new(1, law, 1000, 4096);
            let mut counts = vec![0_u32; 1000];
            for _ in 0..200_000 {
                counts[script.next_line().document as usize] += 1;
            }
            let even: u32 = counts.iter().step_by(2).sum();
            assert!((95_000..105_000).contains(&even), "{law:?}: {even}");
            counts.sort_unstable();
            counts
        };
        let uniform = count(Law::Uniform);
        assert!(uniform[0] > 120 && uniform[999] < 290, "{} {}", uniform[0], uniform[999]);
        // Weight of rank 1 among 500: 1 / H(500) = 0.147, of half of the lines.
        let zipf = count(Law::Zipf);
        assert!((13_000..16_500).contains(&zipf[999]), "{}", zipf[999]);
        assert!((6_500..8_300).contains(&zipf[997]), "{}", zipf[997]);
    }

    #[test]
    fn one_line_in_so_many_fails_and_one_is_a_resend() {
        let mut script = Script::new(3, Law::Uniform, 10, 4096);
        let wishes: Vec<Wish> = (0..10 * RARE).map(|_| script.next_line().wish).collect();
        let count = |wish| wishes.iter().filter(|it| **it == wish).count();
        assert_eq!((count(Wish::Failing), count(Wish::Resend)), (10, 10));
    }
}
