//! Every memory ordering says why it is enough: whom it pairs with, or why it needs nobody.
//!
//! The comment stands above the ordering in the same function, with no blank line between; one
//! comment may serve a run of lines. It calls the ordering by its name (a SeqCst fence a fence), and
//! unless that is `Relaxed`, says `pairs with` and names the partner in backquotes: names that the
//! sources have, one of them a function with an ordering that can be the other side. An ordering is
//! not renamed. Where a file has nothing but figures, its module docs may say `Relaxed: …` for all.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{Token, shipping_tokens};

/// The orderings that need a partner, and the one that needs a reason.
const PAIRED: [&str; 4] = ["Acquire", "Release", "AcqRel", "SeqCst"];
const RELAXED: &str = "Relaxed";

/// The orderings of `sources` that lack their words.
pub fn faults(sources: &[(&str, &str)]) -> Vec<String> {
    let names: BTreeSet<&str> = sources
        .iter()
        .flat_map(|(_, text)| shipping_tokens(text))
        .filter(Token::is_name)
        .map(|token| token.text)
        .collect();
    let mut sides = Sides::new();
    for (_, text) in sources {
        note_sides(&shipping_tokens(text), &mut sides);
    }
    let known = Known { names, sides };
    sources.iter().flat_map(|(path, text)| faults_of(path, text, &known)).collect()
}

/// Orderings by the function that they stand in, whatever its type.
type Sides<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

/// What the sources have.
struct Known<'a> {
    names: BTreeSet<&'a str>,
    sides: Sides<'a>,
}

impl Known<'_> {
    /// Whether a function `name` has an ordering that can be the other side of `ordering`.
    fn is_other_side(&self, name: &str, ordering: &str) -> bool {
        let others: &[&str] = match ordering {
            "Acquire" => &["Release", "AcqRel", "SeqCst"],
            "Release" => &["Acquire", "AcqRel", "SeqCst"],
            "AcqRel" => &["Acquire", "Release", "AcqRel", "SeqCst"],
            _ => &["SeqCst"],
        };
        self.sides.get(name).is_some_and(|sides| others.iter().any(|other| sides.contains(other)))
    }
}

fn note_sides<'a>(tokens: &[Token<'a>], sides: &mut Sides<'a>) {
    let mut function = "";
    let mut orderings = orderings(tokens).into_iter().peekable();
    for pair in tokens.windows(2) {
        if pair[0].text == "fn" && pair[1].is_name() {
            function = pair[1].text;
        }
        if orderings.next_if(|it| std::ptr::eq(it.text, pair[1].text)).is_some() {
            sides.entry(function).or_default().insert(pair[1].text);
        }
    }
}

fn faults_of(path: &str, text: &str, known: &Known<'_>) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut docs = lines.iter().take_while(|line| line.starts_with("//!"));
    let is_all_relaxed = docs.any(|line| line.contains("Relaxed:"));
    let mut faults = Vec::new();
    let tokens = shipping_tokens(text);
    for triple in tokens.windows(3).filter(|triple| triple[1].text == "as") {
        if triple[0].text == RELAXED || PAIRED.contains(&triple[0].text) {
            faults.push(format!("{path}:{}: {} is renamed", triple[0].line, triple[0].text));
        }
    }
    for token in orderings(&tokens) {
        if token.text == RELAXED && is_all_relaxed {
            continue;
        }
        let comment = comment_above(&lines, token.line);
        if let Some(fault) = fault(token.text, &comment, known) {
            faults.push(format!("{path}:{}: {fault}", token.line));
        }
    }
    faults.dedup();
    faults
}

/// The orderings among `tokens`, those of imports left out.
fn orderings<'a>(tokens: &[Token<'a>]) -> Vec<Token<'a>> {
    let mut is_import = false;
    let mut found = Vec::new();
    for token in tokens {
        match token.text {
            "use" => is_import = true,
            ";" => is_import = false,
            name if !is_import && (name == RELAXED || PAIRED.contains(&name)) => found.push(*token),
            _ => {}
        }
    }
    found
}

/// The comments above line number `line`, up to a blank line or the function's head.
fn comment_above(lines: &[&str], line: usize) -> String {
    let above = lines[..line - 1].iter().rev().map(|line| line.trim());
    let within = above.take_while(|line| !line.is_empty() && !is_head(line));
    let mut comments: Vec<&str> = within.filter_map(|line| line.strip_prefix("//")).collect();
    comments.reverse();
    comments.join("")
}

/// Whether a function begins in `line`.
fn is_head(line: &str) -> bool {
    !line.starts_with("//") && line.split([' ', '(']).any(|word| word == "fn")
}

fn fault(ordering: &str, comment: &str, known: &Known<'_>) -> Option<String> {
    let is_named = comment.contains(ordering) || ordering == "SeqCst" && comment.contains("fence");
    if !is_named {
        return Some(format!("{ordering} without a comment that calls it so"));
    }
    if ordering == RELAXED {
        return None;
    }
    let Some((_, partners)) = comment.split_once("airs with") else {
        return Some(format!("{ordering} pairs with nobody"));
    };
    let last = |partner: &str| {
        let name = partner.rsplit("::").next().unwrap_or(partner);
        name.split(|char: char| !char.is_alphanumeric() && char != '_').next().map(str::to_owned)
    };
    let partners: Vec<String> = partners.split('`').skip(1).step_by(2).filter_map(last).collect();
    if partners.is_empty() {
        return Some(format!("{ordering} names no partner in backquotes"));
    }
    if let Some(unknown) = partners.iter().find(|name| !known.names.contains(name.as_str())) {
        return Some(format!("{ordering} pairs with `{unknown}`, which is not there"));
    }
    (!partners.iter().any(|name| known.is_other_side(name, ordering)))
        .then(|| format!("{ordering} pairs with {partners:?}, where its other side is not"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(body: &str) -> Vec<String> {
        let publish = "fn publish() {\n// Release: pairs with `acquire`.\na.store(1, Release);\n\
                       // Pairs with `publish`, as fences do.\nfence(SeqCst);\n}";
        let acquire = "fn acquire() {\n// Acquire: pairs with `publish`.\na.load(Acquire);\n}";
        let text = format!("{publish}\n{acquire}\nfn idle() {{}}\nfn take() {{\n{body}\n}}");
        faults(&[("a.rs", &text)])
    }

    #[test]
    fn a_partner_or_a_reason_is_right() {
        let right = |body| assert_eq!(found(body), Vec::<String>::new());
        right("// Acquire: pairs with the Release in `publish`.\na.load(Ordering::Acquire);");
        right(
            "// Pairs with `S::publish`, as SeqCst\n// fences do.\nlet x = 1;\nfence(Ordering::SeqCst);",
        );
        right("// Relaxed: a figure.\na.load(Relaxed);\nb.load(Relaxed);");
        right("// Release: pairs with `acquire`; Relaxed if it fails.\nx(Release, Relaxed);");
        right("use std::sync::atomic::Ordering::Relaxed;");
        right("#[cfg(test)] mod tests { fn f() { a.load(Ordering::SeqCst) } }");
    }

    #[test]
    fn a_file_of_figures_says_it_once() {
        let with =
            |docs: &str| faults(&[("a.rs", &format!("{docs}\nfn f() {{ a.load(Relaxed) }}"))]);
        assert_eq!(with("//! Figures. All are Relaxed: nobody\n//! waits for one."), [""; 0]);
        assert_eq!(with("//! Figures.").len(), 1);
        assert_eq!(with("//! Figures. Relaxed: all.\nfn g() { a.load(Acquire) }").len(), 1);
    }

    #[test]
    fn each_planted_fault_is_caught() {
        let caught = |body: &str, told: &str| {
            let faults = found(body);
            assert_eq!(faults.len(), 1, "{body}: {faults:?}");
            assert!(faults[0].contains(told), "{faults:?}");
        };
        caught("a.load(Ordering::Relaxed);", "without a comment");
        caught("/// Relaxed: of another.\nfn f() {\na.load(Relaxed); }", "without a comment");
        caught("// Relaxed: far away.\n\na.load(Relaxed);", "without a comment");
        caught("// Relaxed: weakened.\na.load(Acquire);", "without a comment");
        caught("// Acquire: because.\na.load(Acquire);", "pairs with nobody");
        caught("// Acquire: pairs with the other.\na.load(Acquire);", "names no partner");
        caught("// Acquire: pairs with `idle`.\na.load(Acquire);", "where its other side is not");
        caught("// SeqCst: pairs with `acquire`.\na.load(SeqCst);", "where its other side is not");
        caught("use std::sync::atomic::Ordering::Acquire as A;", "Acquire is renamed");
        caught("// Acquire: pairs with `gone`.\na.load(Acquire);", "`gone`, which is not there");
    }
}
