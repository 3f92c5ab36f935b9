//! What threads share, held against ARCHITECTURE.md: every word has its row, every row its word.
//!
//! A *word* is what a source names an atomic, an `UnsafeCell`, a lock or a once-cell: a field, a
//! static, a type around it, a local; and the type of an `unsafe impl Send` or `Sync`. Signatures
//! only borrow words that are named elsewhere. Channels of libraries guard themselves. The facade
//! that gives atomics their names has none of its own. A `static mut`, and a name that an import gives
//! to such a type, are words that no row should tell.

use std::collections::BTreeSet;

use crate::source::{Token, shipping_tokens};

/// The section of ARCHITECTURE.md, and the header of its table.
const SECTION: &str = "## What is shared between threads";
const HEADER: &str = "| word | where | written by | read by | ordering, and why | model |";

/// Makes of [`HEADER`]: columns.
const COLUMNS: usize = 6;

/// Where the names of atomics come from.
const FACADE: &str = "runtime/src/sync.rs";

/// Whether a name is that of a type that threads share by mutation.
fn is_shared_type(name: &str) -> bool {
    let types = ["Condvar", "Once", "OnceCell", "Barrier", "ArcSwap", "ArcSwapOption"];
    let ends = ["UnsafeCell", "Mutex", "Lock"];
    types.contains(&name)
        || ends.iter().any(|end| name.ends_with(end))
        || (name.starts_with("Atomic") && name != "Atomic")
}

/// A word of a source.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Word {
    file: String,
    name: String,
}

/// The words of one source.
fn words(file: &str, text: &str) -> BTreeSet<Word> {
    let tokens = shipping_tokens(text);
    let mut names = BTreeSet::new();
    let mut name = "";
    let mut at = 0;
    while at < tokens.len() {
        let token = tokens[at];
        let text = |further: usize| tokens.get(at + further).map_or("", |token| token.text);
        match token.text {
            "use" => {
                let end = skip_to(&tokens, at, &[";"]);
                names.extend(renamed(&tokens[at..end]));
                at = end;
            }
            // A pointer to a function, whose signature borrows as any other.
            "fn" if text(1) == "(" => at = skip_to(&tokens, at + 2, &[")"]),
            "fn" => {
                name = text(1);
                at = skip_to(&tokens, at, &["{", ";"]);
            }
            "impl" => {
                let end = skip_to(&tokens, at, &["{", ";"]);
                names.extend(promised(&tokens[at.saturating_sub(1)..end]));
                at = end;
            }
            "static" if text(1) == "mut" => {
                names.insert(text(2).to_owned());
            }
            "struct" | "enum" | "union" | "type" | "static" => name = text(1),
            "let" => {
                let binding =
                    tokens[at + 1..].iter().find(|token| token.is_name() && token.text != "mut");
                name = binding.map_or("", |token| token.text);
            }
            _ if is_field(&tokens, at) => name = token.text,
            // What `Self(…)` is made of, its type has named.
            _ if is_shared_type(token.text) && !is_own_part(&tokens[..at]) => {
                names.insert(name.to_owned());
            }
            _ => {}
        }
        at += 1;
    }
    names.into_iter().map(|name| Word { file: file.to_owned(), name }).collect()
}

/// Whether `before` ends in `Self(`.
fn is_own_part(before: &[Token<'_>]) -> bool {
    matches!(before, [.., own, opened] if own.text == "Self" && opened.text == "(")
}

/// The names that an import gives to types that threads share.
fn renamed(import: &[Token<'_>]) -> Vec<String> {
    let renamings = import.windows(3).filter(|it| it[1].text == "as" && it[2].text != "_");
    renamings.filter(|it| is_shared_type(it[0].text)).map(|it| it[2].text.to_owned()).collect()
}

/// Whether a name and a colon stand at `at`: a field, a static or a typed local.
fn is_field(tokens: &[Token<'_>], at: usize) -> bool {
    let is = |at: Option<usize>, text: &str| {
        at.and_then(|at| tokens.get(at)).is_some_and(|token| token.text == text)
    };
    tokens[at].is_name()
        && is(Some(at + 1), ":")
        && !is(Some(at + 2), ":")
        && !is(at.checked_sub(1), ":")
}

/// The type of an `unsafe impl … Send for …`, if `tokens` are one, up to its brace.
fn promised(tokens: &[Token<'_>]) -> Option<String> {
    let place = tokens.iter().rposition(|token| token.text == "for")?;
    let is_promise =
        tokens[0].text == "unsafe" && ["Send", "Sync"].contains(&tokens[place - 1].text);
    let is_type = |token: &&Token<'_>| token.is_name() && token.text != "dyn";
    is_promise
        .then(|| tokens[place + 1..].iter().find(is_type).map(|token| token.text.to_owned()))?
}

fn skip_to(tokens: &[Token<'_>], at: usize, ends: &[&str]) -> usize {
    let mut depth = 0;
    for (place, token) in tokens.iter().enumerate().skip(at) {
        match token.text {
            text if depth == 0 && ends.contains(&text) => return place,
            "(" | "[" => depth += 1,
            ")" | "]" => depth -= 1,
            _ => {}
        }
    }
    tokens.len()
}

/// What stands in backquotes in a cell.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// The rows of the table, as trimmed cells.
fn rows(document: &str) -> Vec<Vec<&str>> {
    let section = document.split_once(SECTION).map_or("", |(_, rest)| rest);
    let section = section.split("\n## ").next().unwrap_or("");
    let lines = section.lines().skip_while(|line| *line != HEADER).skip(2);
    let lines = lines.take_while(|line| line.starts_with('|'));
    lines.map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

/// What is wrong between the table of `document`, the `sources` that ship, and the `models` that
/// there are, by the names that a cell gives them.
pub fn faults(document: &str, sources: &[(&str, &str)], models: &BTreeSet<String>) -> Vec<String> {
    let rows = rows(document);
    let mut faults = Vec::new();
    if rows.is_empty() {
        faults.push(format!("no table {HEADER:?} in the section {SECTION:?}"));
    }
    for row in &rows {
        faults.extend(row_faults(row, sources, models));
    }
    let mut missing: BTreeSet<Word> = sources
        .iter()
        .filter(|(file, _)| *file != FACADE)
        .flat_map(|(file, text)| words(file, text))
        .collect();
    missing.retain(|word| {
        !rows.iter().any(|row| {
            row.len() == COLUMNS
                && quoted(row[0]).any(|name| name == word.name)
                && quoted(row[1]).any(|file| file == word.file)
        })
    });
    faults.extend(missing.iter().map(|word| format!("{}: `{}` has no row", word.file, word.name)));
    faults
}

/// What is wrong with one row.
fn row_faults(row: &[&str], sources: &[(&str, &str)], models: &BTreeSet<String>) -> Vec<String> {
    let tell = |fault: String| format!("row {:?}: {fault}", row.first().unwrap_or(&""));
    if row.len() != COLUMNS || row.iter().any(|cell| cell.is_empty()) {
        return vec![tell(format!("{COLUMNS} cells, none empty"))];
    }
    let mut faults = Vec::new();
    let has = |file: &str, name: &str| {
        let text = sources.iter().find(|(path, _)| *path == file).map(|(_, text)| *text);
        text.is_some_and(|text| shipping_tokens(text).iter().any(|token| token.text == name))
    };
    let (names, files): (Vec<&str>, Vec<&str>) =
        (quoted(row[0]).collect(), quoted(row[1]).collect());
    if names.is_empty() || files.is_empty() {
        faults.push(tell("names no word, or no file".to_owned()));
    }
    for name in &names {
        if !files.iter().any(|file| has(file, name)) {
            faults.push(tell(format!("`{name}` stands in none of its files")));
        }
    }
    for file in &files {
        if !names.iter().any(|name| has(file, name)) {
            faults.push(tell(format!("`{file}` is not there, or holds none of its words")));
        }
    }
    let named: Vec<&str> = quoted(row[5]).collect();
    if named.is_empty() && !row[5].starts_with("none: ") {
        faults.push(tell("neither a model nor `none: ` with the reason".to_owned()));
    }
    let unknown = named.iter().filter(|name| !models.contains(**name));
    faults.extend(unknown.map(|name| tell(format!("there is no model `{name}`"))));
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: &str = "| `tail` | `a.rs` | x | y | Release | `ring::a_story` |";

    fn found(row: &str, source: &str) -> Vec<String> {
        let document =
            format!("# T\n{SECTION}\n{HEADER}\n|---|\n{row}\n\n## Next\n{HEADER}\n|-|\n| odd |\n");
        faults(&document, &[("a.rs", source)], &["ring::a_story".to_owned()].into())
    }

    fn names(source: &str) -> Vec<String> {
        words("a.rs", source).into_iter().map(|word| word.name).collect()
    }

    #[test]
    fn a_word_with_its_row_is_right() {
        assert_eq!(found(ROW, "struct S { tail: AtomicU64 }"), Vec::<String>::new());
    }

    #[test]
    fn each_planted_fault_is_caught() {
        let caught = |row: &str, source: &str, told: &str| {
            let faults = found(row, source);
            assert_eq!(faults.len(), 1, "{faults:?}");
            assert!(faults[0].contains(told), "{faults:?}");
        };
        let tail = "struct S { tail: AtomicU64 }";
        caught(ROW, &format!("{tail} struct T {{ head: AtomicU64 }}"), "`head` has no row");
        caught(
            ROW,
            &format!("{tail} unsafe impl<T: Send> Send for Odd<T> {{}}"),
            "`Odd` has no row",
        );
        caught(&ROW.replace("`tail`", "`tail`, `gone`"), tail, "`gone` stands in none");
        caught(&ROW.replace("`a.rs`", "`a.rs`, `b.rs`"), tail, "`b.rs` is not there");
        caught(&ROW.replace("a_story", "no_story"), tail, "no model `ring::no_story`");
        caught(&ROW.replace("`ring::a_story`", "later"), tail, "neither a model");
        caught(&ROW.replace("| y ", "| "), "", "none empty");
        caught("", "", "no table");
    }

    #[test]
    fn a_word_is_named_by_what_holds_it() {
        assert_eq!(names("struct S { a: Arc<Padded<[AtomicU8; N]>>, b: u8 }"), ["a"]);
        assert_eq!(
            names("pub struct Count(AtomicU64); type Shared<T> = Arc<Mutex<T>>;"),
            ["Count", "Shared"]
        );
        assert_eq!(names("static GONE: AtomicBool = AtomicBool::new(false);"), ["GONE"]);
        assert_eq!(names("fn f() { let stop = Arc::new(AtomicBool::new(false)); }"), ["stop"]);
        assert_eq!(names("fn f() { let mut x: u8 = 0; Self { all: Mutex::new(x) } }"), ["all"]);
        assert_eq!(names("unsafe impl Sync for Memory {}"), ["Memory"]);
        assert_eq!(names("unsafe impl Zeroable for Block {} impl Send for X {}"), [""; 0]);
    }

    #[test]
    fn a_word_in_an_odd_form_is_one() {
        assert_eq!(names("use std::sync::atomic as a; static N: a::AtomicU8 = x;"), ["N"]);
        assert_eq!(names("use std::sync::atomic::{AtomicU8 as Count, Ordering};"), ["Count"]);
        assert_eq!(names("struct S { n: core::sync::atomic::AtomicU8 }"), ["n"]);
        assert_eq!(names("type Count = AtomicU8; struct S { n: Count }"), ["Count"]);
        let leaked =
            "struct S { n: u8 } fn f() -> &'static A { Box::leak(Box::new(AtomicU8::new(0))) }";
        assert_eq!(names(leaked), ["f"]);
        assert_eq!(names("fn new() -> Self { Self(AtomicU8::new(0)) }"), [""; 0]);
        assert_eq!(names("static mut N: u8 = 0;"), ["N"]);
        assert_eq!(names("struct S { call: fn(&Mutex<u8>) -> u8, n: AtomicU8 }"), ["n"]);
        assert_eq!(names("struct S { r#type: u8, n: AtomicU8 }"), ["n"]);
        assert_eq!(names("#[cfg(any(test, unix))] static N: AtomicU8 = x;"), ["N"]);
        assert_eq!(names("macro_rules! m { ($n:ident) => { static $n: AtomicU8 = x; } }"), ["n"]);
        assert_eq!(names("thread_local! { static N: OnceCell<u8> = x; }"), ["N"]);
        for kind in ["parking_lot::RwLock", "crossbeam::AtomicCell", "ShardedLock", "SeqLock"] {
            assert_eq!(names(&format!("struct S {{ n: {kind}<u8> }}")), ["n"]);
        }
    }

    #[test]
    fn a_signature_only_borrows() {
        assert_eq!(names("use std::sync::{Mutex, atomic::AtomicU8};"), [""; 0]);
        assert_eq!(names("fn f(counts: &[AtomicU64; 2]) -> &Mutex<u8> { g() }"), [""; 0]);
        assert_eq!(names("impl Drop for Guard<Mutex<u8>> {}"), [""; 0]);
        assert_eq!(names("#[cfg(test)] mod tests { static N: AtomicU8 = x; }"), [""; 0]);
    }
}
