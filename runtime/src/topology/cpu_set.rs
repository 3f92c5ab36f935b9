//! A set of CPUs, written as the kernel writes it: `0-3,8`.

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use super::CPUS_MAX;

/// CPU numbers, ascending, each below [`CPUS_MAX`] where the set was parsed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuSet(BTreeSet<u32>);

impl CpuSet {
    /// The empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// True if this CPU is in the set.
    pub fn contains(&self, cpu: u32) -> bool {
        self.0.contains(&cpu)
    }

    /// Puts a CPU in; true if it was not there.
    pub fn insert(&mut self, cpu: u32) -> bool {
        self.0.insert(cpu)
    }

    /// Takes a CPU out; true if it was there.
    pub fn remove(&mut self, cpu: u32) -> bool {
        self.0.remove(&cpu)
    }

    /// How many CPUs are in the set.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if no CPU is in the set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The CPUs, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().copied()
    }

    /// The runs of neighbouring CPUs, ascending, as (first, last).
    pub fn runs(&self) -> Vec<(u32, u32)> {
        let mut runs: Vec<(u32, u32)> = Vec::new();
        for cpu in self.iter() {
            match runs.last_mut() {
                Some((_, last)) if *last + 1 == cpu => *last = cpu,
                _ => runs.push((cpu, cpu)),
            }
        }
        runs
    }
}

impl FromIterator<u32> for CpuSet {
    fn from_iter<I: IntoIterator<Item = u32>>(cpus: I) -> Self {
        Self(cpus.into_iter().collect())
    }
}

/// Reads the kernel's list format (`Cpus_allowed_list` in proc(5)): numbers and ranges,
/// separated by commas, and `first-last:used/group` strides as in cpuset(7). Blanks around the
/// parts are ignored; the empty text is the empty set.
impl FromStr for CpuSet {
    type Err = CpuSetError;

    fn from_str(text: &str) -> Result<Self, CpuSetError> {
        let mut set = Self::new();
        let text = text.trim();
        if text.is_empty() {
            return Ok(set);
        }
        for (part, piece) in text.split(',').enumerate() {
            let (range, stride) = match piece.split_once(':') {
                Some((range, stride)) => (range, Some(stride)),
                None => (piece, None),
            };
            let (first, last) = match range.split_once('-') {
                Some((first, last)) => (number(first, part)?, number(last, part)?),
                None if stride.is_some() => return Err(CpuSetError::NotANumber { part }),
                None => (number(range, part)?, number(range, part)?),
            };
            let (used, group) = match stride.map(|stride| stride.split_once('/')) {
                Some(Some((used, group))) => (number(used, part)?, number(group, part)?),
                Some(None) => return Err(CpuSetError::NotANumber { part }),
                None => (1, 1),
            };
            if last < first || used == 0 || used > group {
                return Err(CpuSetError::Backwards { part });
            }
            set.0.extend((first..=last).filter(|cpu| (cpu - first) % group < used));
        }
        Ok(set)
    }
}

impl fmt::Display for CpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (first, last)) in self.runs().into_iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            match last - first {
                0 => write!(f, "{comma}{first}")?,
                _ => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

/// As text in the kernel's list format.
impl Serialize for CpuSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Why a text is not a CPU list. `part` counts the parts between commas from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CpuSetError {
    /// Something else than decimal digits where a number belongs.
    NotANumber {
        /// Which part.
        part: usize,
    },
    /// A CPU number of [`CPUS_MAX`] or above.
    TooHigh {
        /// Which part.
        part: usize,
    },
    /// A range whose end is before its start, or a stride that takes nothing.
    Backwards {
        /// Which part.
        part: usize,
    },
}

impl fmt::Display for CpuSetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (part, what) = match self {
            Self::NotANumber { part } => (part, "is not a CPU number or a range of them"),
            Self::TooHigh { part } => (part, "names a CPU above 8191"),
            Self::Backwards { part } => (part, "is a range that runs backwards or takes nothing"),
        };
        write!(f, "part {} of the CPU list {what}; write it like 0-3,8", part + 1)
    }
}

impl Error for CpuSetError {}

fn number(text: &str, part: usize) -> Result<u32, CpuSetError> {
    let text = text.trim();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(CpuSetError::NotANumber { part });
    }
    match text.parse::<u32>() {
        Ok(number) if (number as usize) < CPUS_MAX => Ok(number),
        _ => Err(CpuSetError::TooHigh { part }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_written_back_as_the_kernel_writes_them() {
        for (text, back) in [
            ("0-3,8", "0-3,8"),
            (" 5 , 4,0\n", "0,4-5"),
            ("", ""),
            ("0-7:2/4", "0-1,4-5"),
            ("8191", "8191"),
        ] {
            assert_eq!(text.parse::<CpuSet>().unwrap().to_string(), back, "{text:?}");
        }
    }

    #[test]
    fn texts_that_are_no_list_are_refused_with_their_place() {
        for (text, error) in [
            ("x", CpuSetError::NotANumber { part: 0 }),
            ("1,", CpuSetError::NotANumber { part: 1 }),
            ("1,-3", CpuSetError::NotANumber { part: 1 }),
            ("+1", CpuSetError::NotANumber { part: 0 }),
            ("0:1/2", CpuSetError::NotANumber { part: 0 }),
            ("0-9:1", CpuSetError::NotANumber { part: 0 }),
            ("0,8192", CpuSetError::TooHigh { part: 1 }),
            ("0-99999999999999999999", CpuSetError::TooHigh { part: 0 }),
            ("3-2", CpuSetError::Backwards { part: 0 }),
            ("0-9:0/2", CpuSetError::Backwards { part: 0 }),
            ("0-9:3/2", CpuSetError::Backwards { part: 0 }),
        ] {
            assert_eq!(text.parse::<CpuSet>(), Err(error), "{text:?}");
        }
    }
}
