//! A small program with faults of all kinds behind switches: each that is on is seen, none is seen
//! that is off, and what cannot stand so is told.

use std::fs;
use std::path::PathBuf;

use deltaworks_mutants::cargo;
use deltaworks_mutants::mutant::Mutant;
use deltaworks_mutants::switchboard::Switchboard;
use deltaworks_mutants::workshop::{Bench, Workshop};

const MANIFEST: &str = "[package]\nname = \"shop\"\nedition = \"2024\"\n[workspace]\n";

const LOCK: &str = "version = 4\n\n[[package]]\nname = \"shop\"\nversion = \"0.0.0\"\n";

const SHOP: &str = r#"
const PRICE: u32 = 7;

mod till;

fn main() {
    let mut bill = Vec::new();
    till::add(&mut bill, PRICE);
    till::add(&mut bill, 2);
    println!("{} {}", till::sum(&bill), till::half(8));
}
"#;

const TILL: &str = "
pub fn add(bill: &mut Vec<u32>, price: u32) {
    bill.push(price);
}

pub fn sum(bill: &[u32]) -> u32 {
    bill.iter().copied().map(|it| it + 1).sum()
}

pub const fn half(price: u32) -> u32 {
    price / 2
}
";

const fn row(file: &'static str, text: &'static str, replacement: &'static str) -> Mutant {
    Mutant { fault: "wrong", file, text, replacement }
}

/// What is wrong, and what the program says then; `None` where it must be planted alone.
const ROWS: [(Mutant, Option<&str>); 7] = [
    (row("src/till.rs", " + 1", ""), Some("9 4")),
    (row("src/till.rs", "bill.push(price);", ""), Some("0 4")),
    (row("src/till.rs", ".sum()", ".max().unwrap_or_default()"), Some("8 4")),
    (row("src/main.rs", "&bill", "&bill[1..]"), Some("3 4")),
    // A constant, a function that can read no switch, and what does not compile.
    (row("src/main.rs", "= 7", "= 8"), None),
    (row("src/till.rs", "/ 2", "/ 4"), None),
    (row("src/till.rs", ".copied()", ".chopped()"), None),
];

struct Shop {
    top: PathBuf,
    workshop: Workshop,
}

impl Shop {
    fn new(name: &str) -> Self {
        let top = std::env::temp_dir().join(format!("mutants-{name}-{}", std::process::id()));
        let source = top.join("from");
        fs::create_dir_all(source.join("src")).unwrap();
        let files = [
            ("Cargo.toml", MANIFEST),
            ("Cargo.lock", LOCK),
            ("src/main.rs", SHOP),
            ("src/till.rs", TILL),
        ];
        files.iter().for_each(|(file, text)| fs::write(source.join(file), text).unwrap());
        let workshop = Workshop::new(&source, &top.join("benches"), 1).unwrap();
        Self { top, workshop }
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.top);
    }
}

fn build(bench: &Bench) -> Result<PathBuf, String> {
    cargo::build(bench.copy.top(), &bench.build, "", &["build", "--offline"])
}

fn said(board: &Switchboard, place: Option<usize>) -> String {
    let output = board.command(place).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn each_fault_is_seen_when_it_is_on_and_only_then() {
    let shop = Shop::new("switchboard");
    let rows: Vec<&Mutant> = ROWS.iter().map(|(row, _)| row).collect();
    let board = shop.workshop.switchboard(&rows, build).unwrap();
    for (place, (row, says)) in ROWS.iter().enumerate() {
        assert_eq!(board.holds(place), says.is_some(), "{row:?}");
        if let Some(says) = says {
            assert_eq!(said(&board, Some(place)), *says, "{row:?}");
        }
    }
    // With none on, it is the program that it was: a row whose switch is not turned lives.
    assert_eq!(said(&board, None), "11 4");
    let source = shop.top.join("benches/0/source/src/till.rs");
    assert_eq!(fs::read_to_string(source).unwrap(), TILL, "whole again");
}

#[test]
fn what_no_fault_is_to_blame_for_is_told() {
    let shop = Shop::new("blame");
    let rows = [&ROWS[0].0];
    let told = shop.workshop.switchboard(&rows, |_| Err("error: no disk\n".to_owned()));
    assert!(told.unwrap_err().contains("no disk"));
    let rows = [&row("src/till.rs", "no such text", "")];
    assert!(shop.workshop.switchboard(&rows, build).unwrap_err().contains("0 times"));
}
