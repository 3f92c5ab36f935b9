//! A trace that nobody typed: the same seed gives the same trace, on every machine.
//!
//! It types like a person (runs of characters near one another, now and then a jump, a correction, a
//! paste, a transaction of several patches) and uses what breaks code that counts bytes or UTF-16 units:
//! combining marks, astral characters, joiners, right-to-left letters. The text stays below
//! [`Recipe::chars_max`]: a transaction that would exceed it deletes instead.

use super::{Patch, Text, Trace};

/// What to generate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// Same seed, same trace.
    pub seed: u64,
    /// Transactions in the trace.
    pub transactions: u32,
    /// Code points that the text never exceeds; at least 256 are taken.
    pub chars_max: u32,
}

impl Default for Recipe {
    fn default() -> Recipe {
        Recipe { seed: 1, transactions: 4_000, chars_max: 20_000 }
    }
}

/// What is typed by one press of a key, from one code point to a family of four.
const KEYS: [&str; 24] = [
    "e",
    "t",
    "a",
    "o",
    "n",
    " ",
    " ",
    "\n",
    "\"",
    "\\",
    "\t",
    "e\u{301}",
    "n\u{303}",
    "a\u{308}\u{323}",
    "\u{fc}",
    "\u{4e2d}",
    "\u{5d0}",
    "\u{627}\u{64e}",
    "\u{1f600}",
    "\u{1d518}",
    "\u{20bb7}",
    "\u{1f44d}\u{1f3fd}",
    "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}\u{200d}\u{1f466}",
    "\u{1f1eb}\u{1f1ee}",
];

/// The trace that `recipe` describes; it verifies.
pub fn generate(recipe: &Recipe) -> Trace {
    let start = "Nai\u{308}ve \u{1f680}: once upon a time\n".to_owned();
    let mut writer = Writer {
        random: recipe.seed,
        text: Text::new(&start),
        at: 0,
        chars_max: recipe.chars_max.max(256) as usize,
    };
    let transactions = (0..recipe.transactions).map(|_| writer.transaction()).collect();
    Trace { start, end: writer.text.to_string(), transactions }
}

struct Writer {
    random: u64,
    text: Text,
    /// Where the caret stands.
    at: usize,
    chars_max: usize,
}

impl Writer {
    fn transaction(&mut self) -> Vec<Patch> {
        if self.below(40) == 0 {
            self.at = self.below(self.text.chars() + 1);
        }
        let patches = if self.below(25) == 0 { 2 + self.below(6) } else { 1 };
        (0..patches)
            .map(|index| {
                if index > 0 {
                    self.at = self.below(self.text.chars() + 1);
                }
                self.patch()
            })
            .collect()
    }

    fn patch(&mut self) -> Patch {
        let chars = self.text.chars();
        let (deleted, inserted) = match self.below(100) {
            0..75 => (0, self.typed(1)),
            75..90 => (1, String::new()),
            90..97 => (1 + self.below(8), self.typed(4)),
            97..99 => (1 + self.below(40), String::new()),
            _ => (0, self.typed(60)),
        };
        let inserted_chars = inserted.chars().count();
        let (deleted, inserted) = if chars + inserted_chars > self.chars_max {
            (self.chars_max / 4, String::new())
        } else {
            (deleted, inserted)
        };
        // A deletion goes backwards from the caret, as with a backspace.
        let deleted = deleted.min(self.at);
        let position = self.at - deleted;
        self.at = position + inserted.chars().count();
        let (position, deleted) = (position as u32, deleted as u32);
        self.text.apply(position, deleted, &inserted).expect("generated within the text");
        Patch { position, deleted, inserted: inserted.into() }
    }

    fn typed(&mut self, keys: usize) -> String {
        (0..keys).map(|_| KEYS[self.below(KEYS.len())]).collect()
    }

    /// A number below `bound`, which is at least 1. SplitMix64 (Steele, Lea, Flood 2014).
    fn below(&mut self, bound: usize) -> usize {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        ((u128::from(mixed) * bound as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_trace_and_another_seed_another() {
        let recipe = Recipe::default();
        assert_eq!(generate(&recipe), generate(&recipe));
        assert_ne!(generate(&recipe), generate(&Recipe { seed: 2, ..recipe }));
    }

    #[test]
    fn every_generated_trace_verifies_and_stays_below_its_bound() {
        for seed in 0..50 {
            let recipe = Recipe { seed, transactions: 2_000, chars_max: 400 };
            let trace = generate(&recipe);
            assert_eq!(trace.transactions.len(), 2_000);
            assert_eq!(trace.verify(), Ok(()), "seed {seed}");
            let mut text = Text::new(&trace.start);
            for patch in trace.transactions.iter().flatten() {
                text.apply(patch.position, patch.deleted, &patch.inserted).expect("verified");
                assert!(text.chars() <= 400, "seed {seed}");
            }
        }
    }

    #[test]
    fn counting_bytes_or_utf_16_units_would_be_noticed() {
        let trace = generate(&Recipe::default());
        let inserted: String = trace.transactions.iter().flatten().map(|p| &*p.inserted).collect();
        assert!(inserted.chars().any(|char| char > '\u{ffff}'), "astral");
        assert!(
            inserted.contains('\u{301}') && inserted.contains('\u{200d}'),
            "combining, joiners"
        );
        assert!(trace.transactions.iter().any(|patches| patches.len() > 1));
        assert!(trace.end.chars().count() > 1_000);
        // The same trace read with positions in UTF-16 units does not give its end.
        let mut units: Vec<u16> = trace.start.encode_utf16().collect();
        for patch in trace.transactions.iter().flatten() {
            let from = (patch.position as usize).min(units.len());
            let to = (from + patch.deleted as usize).min(units.len());
            units.splice(from..to, patch.inserted.encode_utf16());
        }
        assert_ne!(String::from_utf16_lossy(&units), trace.end);
    }
}
