//! An editing trace: what somebody typed, transaction by transaction, and the text that came of it.
//!
//! ```text
//! file ──read──▶ Trace { start, transactions, end } ──encode_delta──▶ delta ──decode_delta──▶ Text
//! generate ────▶        '---------- verify: start + all patches = end ----------'
//! ```
//!
//! Owned by the command line alone. Positions and lengths are Unicode code points; a transaction's
//! patches apply one after another. A file beyond [`Bounds`] is refused with the bound it broke.

pub mod command;
pub mod delta;
pub mod file;
pub mod generate;
pub mod text;

use std::fmt;

pub use delta::{Delta, DeltaError, PatchRef, decode_delta, encode_delta};
pub use file::{Bounds, FileError};
pub use generate::{Recipe, generate};
pub use text::{PatchFault, Text};

/// A trace, whole in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The text before the first transaction.
    pub start: String,
    /// The text that the last transaction must leave.
    pub end: String,
    /// The transactions in order; the patches of one apply one after another.
    pub transactions: Vec<Vec<Patch>>,
}

/// Replaces `deleted` code points at `position` by `inserted`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// Code points before the place of the change.
    pub position: u32,
    /// Code points taken away there.
    pub deleted: u32,
    /// What is put there instead.
    pub inserted: Box<str>,
}

impl Trace {
    /// How many patches all transactions have together.
    pub fn patches(&self) -> usize {
        self.transactions.iter().map(Vec::len).sum()
    }

    /// The text that the transactions make out of the start.
    ///
    /// # Errors
    /// The first patch that does not fit the text before it.
    pub fn rebuild(&self) -> Result<Text, TraceFault> {
        let mut text = Text::new(&self.start);
        for (transaction, patches) in self.transactions.iter().enumerate() {
            for (patch, Patch { position, deleted, inserted }) in patches.iter().enumerate() {
                text.apply(*position, *deleted, inserted).map_err(|fault| TraceFault::Patch {
                    transaction,
                    patch,
                    fault,
                })?;
            }
        }
        Ok(text)
    }

    /// Whether the transactions make the end out of the start.
    ///
    /// # Errors
    /// The first patch that does not fit, or the first code point that differs from the end.
    pub fn verify(&self) -> Result<(), TraceFault> {
        let text = self.rebuild()?;
        match text.first_difference(&self.end) {
            None => Ok(()),
            Some(position) => Err(TraceFault::EndDiffers {
                position,
                chars: text.chars(),
                end_chars: self.end.chars().count(),
            }),
        }
    }
}

/// Why a trace contradicts itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceFault {
    /// A patch does not fit the text before it.
    Patch {
        /// Index of the transaction, from 0.
        transaction: usize,
        /// Index of the patch in it, from 0.
        patch: usize,
        /// What does not fit.
        fault: PatchFault,
    },
    /// The transactions leave another text than the end.
    EndDiffers {
        /// Code points that agree.
        position: usize,
        /// Code points of the text that the transactions left.
        chars: usize,
        /// Code points of the end that the trace names.
        end_chars: usize,
    },
}

impl fmt::Display for TraceFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TraceFault::Patch { transaction, patch, fault } => {
                write!(f, "transaction {transaction}, patch {patch}: {fault}")
            }
            TraceFault::EndDiffers { position, chars, end_chars } => write!(
                f,
                "the text of {chars} code points differs from the end of {end_chars} at {position}"
            ),
        }
    }
}

impl std::error::Error for TraceFault {}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(end: &str) -> Trace {
        let patch = |position, deleted, inserted: &str| Patch {
            position,
            deleted,
            inserted: inserted.into(),
        };
        Trace {
            start: "a😀".to_owned(),
            end: end.to_owned(),
            transactions: vec![
                vec![patch(2, 0, "e\u{301}"), patch(3, 1, "")],
                vec![patch(1, 1, "b")],
            ],
        }
    }

    #[test]
    fn patches_of_a_transaction_apply_one_after_another() {
        assert_eq!(trace("abe").rebuild().expect("fits").to_string(), "abe");
        assert_eq!(trace("abe").verify(), Ok(()));
    }

    #[test]
    fn a_planted_wrong_end_is_told() {
        let fault = TraceFault::EndDiffers { position: 2, chars: 3, end_chars: 3 };
        assert_eq!(trace("abX").verify(), Err(fault));
        let fault = TraceFault::EndDiffers { position: 3, chars: 3, end_chars: 4 };
        assert_eq!(trace("abe!").verify(), Err(fault));
        let fault = TraceFault::EndDiffers { position: 2, chars: 3, end_chars: 2 };
        assert_eq!(trace("ab").verify(), Err(fault));
    }

    #[test]
    fn a_patch_beyond_the_text_is_told_with_its_place() {
        let mut wrong = trace("abe");
        wrong.transactions[1][0].position = 4;
        let fault = PatchFault::Position { position: 4, chars: 3 };
        assert_eq!(wrong.verify(), Err(TraceFault::Patch { transaction: 1, patch: 0, fault }));
    }
}
