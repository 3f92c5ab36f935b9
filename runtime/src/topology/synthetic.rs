//! The description of a machine that is not there: `package:2 numa:4 l3:2 core:8 pu:2`.
//!
//! It is hwloc's notation, without attributes. Everything that hwloc would allocate for is
//! bounded here, before hwloc sees the text.

use std::error::Error;
use std::fmt;

use super::{CPUS_MAX, Topology};

/// Bytes that a description may have at most.
const DESCRIPTION_BYTES_MAX: usize = 256;

/// Names of levels that are understood, from the outside to the inside. Two names with one rank
/// mean the same level.
const LEVELS: [(&str, u8); 12] = [
    ("package", 0),
    ("pack", 0),
    ("socket", 0),
    ("die", 1),
    ("numa", 2),
    ("node", 2),
    ("l3", 3),
    ("l2", 4),
    ("l1", 5),
    ("l1d", 5),
    ("core", 6),
    ("pu", 7),
];

/// Rank of a memory node, which may stand inside an L3 too: a cache may span several nodes.
const NODE_RANK: u8 = 2;

impl Topology {
    /// The number of CPUs that a description makes, at most [`CPUS_MAX`], without asking hwloc.
    ///
    /// # Errors
    /// [`SyntheticError`] if it is not understood or makes too many.
    pub fn described_cpus(description: &str) -> Result<usize, SyntheticError> {
        let bytes = description.len();
        if description.trim().is_empty() || bytes > DESCRIPTION_BYTES_MAX {
            return Err(SyntheticError::Length { bytes });
        }
        let mut cpus: usize = 1;
        let mut ranks: Vec<u8> = Vec::new();
        for (level, word) in description.split_ascii_whitespace().enumerate() {
            let (name, count) = word.split_once(':').ok_or(SyntheticError::Word { level })?;
            let rank = LEVELS
                .iter()
                .find(|(known, _)| known.eq_ignore_ascii_case(name))
                .map(|(_, rank)| *rank)
                .ok_or(SyntheticError::Word { level })?;
            if count.is_empty() || !count.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(SyntheticError::Word { level });
            }
            // hwloc takes a leading zero for octal; nobody means that here.
            let plain = count == "0" || !count.starts_with('0');
            let count: usize = count.parse().map_err(|_| SyntheticError::Count { level })?;
            cpus = cpus.checked_mul(count).ok_or(SyntheticError::Count { level })?;
            if !plain || count == 0 || cpus > CPUS_MAX {
                return Err(SyntheticError::Count { level });
            }
            if !may_follow(&ranks, rank) {
                return Err(SyntheticError::Order { level });
            }
            ranks.push(rank);
        }
        match ranks.last() {
            Some(7) => Ok(cpus),
            _ => Err(SyntheticError::NoPu),
        }
    }
}

/// Why a description of a machine is refused. `level` counts the words from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SyntheticError {
    /// No text, or more than 256 bytes of it.
    Length {
        /// How many bytes there are.
        bytes: usize,
    },
    /// A word that is not `level:count` with a level that is known.
    Word {
        /// Which word.
        level: usize,
    },
    /// A count of 0, or one that makes more than [`CPUS_MAX`] CPUs.
    Count {
        /// Which word.
        level: usize,
    },
    /// A level that stands twice or outside of one that contains it.
    Order {
        /// Which word.
        level: usize,
    },
    /// The last word is not `pu:count`.
    NoPu,
    /// hwloc itself refused the text.
    Refused,
}

impl fmt::Display for SyntheticError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { bytes } => {
                write!(
                    f,
                    "the description has {bytes} bytes; 1 to {DESCRIPTION_BYTES_MAX} are read"
                )
            }
            Self::Word { level } => write!(
                f,
                "word {} is not level:count with a level of package, die, numa, l3, l2, l1, core, pu",
                level + 1
            ),
            Self::Count { level } => {
                write!(f, "word {} makes no CPU, or more than {CPUS_MAX} of them", level + 1)
            }
            Self::Order { level } => write!(
                f,
                "word {} stands in the wrong place: package, die, numa, l3, l2, l1, core, pu",
                level + 1
            ),
            Self::NoPu => write!(f, "the last word must be pu:count, like pu:1"),
            Self::Refused => write!(f, "hwloc does not understand the description"),
        }
    }
}

impl Error for SyntheticError {}

/// Levels come from the outside to the inside and once each; a node may stand below an L3.
fn may_follow(ranks: &[u8], rank: u8) -> bool {
    if ranks.contains(&rank) {
        return false;
    }
    let below_l3 = rank == NODE_RANK && ranks.last() == Some(&3);
    below_l3 || ranks.iter().all(|before| *before < rank)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_are_counted() {
        assert_eq!(Topology::described_cpus("package:2 numa:4 l3:2 core:8 pu:2"), Ok(256));
        assert_eq!(Topology::described_cpus("pu:1"), Ok(1));
        assert_eq!(Topology::described_cpus("l3:1 numa:2 core:2 pu:1"), Ok(4));
        assert_eq!(Topology::described_cpus("package:64 core:64 pu:2"), Ok(CPUS_MAX));
    }

    #[test]
    fn what_would_grow_or_confuse_is_refused_before_hwloc_sees_it() {
        for (text, error) in [
            ("  ", SyntheticError::Length { bytes: 2 }),
            ("core", SyntheticError::Word { level: 0 }),
            ("core:2 thread:2", SyntheticError::Word { level: 1 }),
            ("core:0x10 pu:1", SyntheticError::Word { level: 0 }),
            ("core:-1 pu:1", SyntheticError::Word { level: 0 }),
            ("core:4(memory=1GB) pu:1", SyntheticError::Word { level: 0 }),
            ("core:0 pu:1", SyntheticError::Count { level: 0 }),
            ("core:010 pu:1", SyntheticError::Count { level: 0 }),
            ("core:4000000000 pu:1", SyntheticError::Count { level: 0 }),
            ("core:99999999999999999999999 pu:1", SyntheticError::Count { level: 0 }),
            ("package:4096 core:4096 pu:1", SyntheticError::Count { level: 1 }),
            ("core:2 package:2 pu:1", SyntheticError::Order { level: 1 }),
            ("core:2 core:2 pu:1", SyntheticError::Order { level: 1 }),
            ("package:2 core:2", SyntheticError::NoPu),
        ] {
            assert_eq!(Topology::described_cpus(text), Err(error), "{text:?}");
        }
        let long = "core:1 ".repeat(100);
        assert_eq!(
            Topology::described_cpus(&long),
            Err(SyntheticError::Length { bytes: long.len() })
        );
    }
}
