//! Many faults in one file, each behind a switch.
//!
//! A function that a fault changes becomes a choice among whole bodies, its own the last:
//!
//! ```text
//! fn f() -> u8 { match SWITCH { 3 => { faulty } 7 => { faulty } _ => { as it was } } }
//! ```
//!
//! A body is checked and compiled as it would be alone, so nearly every fault can stand so: only
//! what changes more than one function's body, or a constant, must be planted alone.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::body::bodies;
use crate::mutant::Mutant;

/// The variable that names the fault that is on, by its number from 1.
pub(crate) const SWITCH: &str = "DELTAWORKS_FAULT";

/// Reads the variable once. Of `std`, so that models of threads do not see it.
const READ: &str = "{ static ON: ::std::sync::LazyLock<usize> = ::std::sync::LazyLock::new(|| \
                    ::std::env::var(\"DELTAWORKS_FAULT\").map_or(0, |it| it.parse().unwrap())); *ON }";

/// A file with faults behind switches.
#[derive(Debug)]
pub(crate) struct Guarded {
    /// Its text.
    pub(crate) text: String,
    /// The faults that stand in it.
    pub(crate) arms: Vec<Arm>,
}

/// A fault behind its switch.
#[derive(Debug)]
pub(crate) struct Arm {
    /// Its number.
    pub(crate) number: usize,
    /// Its lines, from 1.
    lines: Range<usize>,
    /// The lines of its function.
    function: Range<usize>,
}

impl Guarded {
    /// The text `whole` with each of the faults that can stand behind a switch of its number.
    ///
    /// # Errors
    /// If a text does not stand in it exactly once.
    pub(crate) fn new(whole: &str, faults: &[(usize, &Mutant)]) -> Result<Self, String> {
        let own = bodies(whole);
        let mut changed: BTreeMap<usize, Vec<(usize, String)>> = BTreeMap::new();
        for (number, fault) in faults {
            let faulty = fault.apply(whole)?;
            if let Some((place, body)) = changed_body(whole, &own, &faulty) {
                changed.entry(place).or_default().push((*number, body));
            }
        }
        let mut this = Self { text: String::new(), arms: Vec::new() };
        let mut end = 0;
        for (place, versions) in changed {
            this.text += &whole[end..own[place].start];
            this.choose(&whole[own[place].clone()], versions);
            end = own[place].end;
        }
        this.text += &whole[end..];
        Ok(this)
    }

    /// Writes the choice among the faulty `versions` of a body, and its `own`.
    fn choose(&mut self, own: &str, versions: Vec<(usize, String)>) {
        let (first, begin) = (self.arms.len(), self.line());
        self.text += &format!("{{ match {READ} {{\n");
        for (number, body) in versions {
            let from = self.line();
            self.text += &format!("{number} => {body}\n");
            self.arms.push(Arm { number, lines: from..self.line(), function: 0..0 });
        }
        self.text += &format!("_ => {own}\n}} }}");
        let function = begin..self.line() + 1;
        self.arms[first..].iter_mut().for_each(|arm| arm.function = function.clone());
    }

    /// The line that is written.
    fn line(&self) -> usize {
        1 + self.text.matches('\n').count()
    }

    /// The faults to which `line` belongs: the one whose body it is of, or all of its function.
    pub(crate) fn at(&self, line: usize) -> Vec<usize> {
        let numbers = |is_at: &dyn Fn(&&Arm) -> bool| -> Vec<usize> {
            self.arms.iter().filter(is_at).map(|arm| arm.number).collect()
        };
        let own = numbers(&|arm| arm.lines.contains(&line));
        if own.is_empty() { numbers(&|arm| arm.function.contains(&line)) } else { own }
    }
}

/// Which of the bodies `own` of `whole` is another in `faulty`, and what it is there: if nothing
/// else differs.
fn changed_body(whole: &str, own: &[Range<usize>], faulty: &str) -> Option<(usize, String)> {
    let same =
        |pairs: &mut dyn Iterator<Item = (u8, u8)>| pairs.take_while(|(a, b)| a == b).count();
    let before = same(&mut whole.bytes().zip(faulty.bytes()));
    let most = whole.len().min(faulty.len()) - before;
    let behind = same(&mut whole.bytes().rev().zip(faulty.bytes().rev())).min(most);
    let place =
        own.iter().position(|body| body.start < before && whole.len() - behind < body.end)?;
    // The change may have closed the body early, or opened what is not closed.
    let body = own[place].start..faulty.len() - (whole.len() - own[place].end);
    bodies(faulty).contains(&body).then(|| (place, faulty[body].to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "const A: u8 = 1;\nfn f() -> u8 {\n    A + 2\n}\nfn g() -> u8 { 3 }\n";

    fn row(text: &'static str, replacement: &'static str) -> Mutant {
        Mutant { fault: "wrong", file: "one.rs", text, replacement }
    }

    fn guarded(rows: &[Mutant]) -> Guarded {
        let faults: Vec<_> = rows.iter().enumerate().map(|(at, row)| (at + 1, row)).collect();
        Guarded::new(WHOLE, &faults).unwrap()
    }

    #[test]
    fn each_body_stands_whole_beside_its_own() {
        let guarded = guarded(&[row(" + 2", ""), row("A +", "A *"), row("3", "4")]);
        let without = guarded.text.replace(READ, "ON");
        assert_eq!(
            without,
            "const A: u8 = 1;\nfn f() -> u8 { match ON {\n1 => {\n    A\n}\n2 => {\n    A * 2\n}\n\
             _ => {\n    A + 2\n}\n} }\nfn g() -> u8 { match ON {\n3 => { 4 }\n_ => { 3 }\n} }\n"
        );
        assert!(READ.contains(SWITCH));
    }

    #[test]
    fn a_line_leads_to_its_faults() {
        let guarded = guarded(&[row(" + 2", ""), row("A +", "A *"), row("3", "4")]);
        let found: Vec<_> = (1..=16).map(|line| guarded.at(line)).collect();
        let both = vec![1, 2];
        let [one, two, three] = [vec![1], vec![2], vec![3]];
        assert_eq!(found[0], [0; 0]);
        assert_eq!(found[1], both, "the head");
        assert_eq!(found[2..8], [vec![one; 3], vec![two; 3]].concat());
        assert_eq!(found[8..12], vec![both; 4]);
        assert_eq!(found[12..16], vec![three; 4]);
    }

    #[test]
    fn what_is_no_body_stands_alone() {
        let rows = [
            row("A: u8 = 1", "A: u8 = 2"),
            row("-> u8 {\n    A + 2", "-> u16 {\n    7"),
            row("A + 2\n}", "A } fn more() { 2 }"),
            row("A + 2", "A + 2 {"),
            row("g() -> u8 { 3", "g() -> u8 { 4"),
        ];
        let guarded = guarded(&rows);
        assert_eq!(guarded.arms.iter().map(|arm| arm.number).collect::<Vec<_>>(), [5]);
        let none = row("5", "6");
        assert!(Guarded::new(WHOLE, &[(1, &none)]).unwrap_err().contains("0 times"));
    }
}
