//! A plan drawn as text, for a person: at most [`WIDTH_COLUMNS_MAX`] columns wide.
//!
//! ```text
//! package 0 · node 0 · L3 group 0     h.  S.  S.  W.
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::{AgentKind, Plan, PlannedCore, Reach};
use crate::topology::{Cpu, CpuSet, Topology};

/// Columns of the widest line.
pub const WIDTH_COLUMNS_MAX: usize = 80;

/// Cores up to which each gets a line of its own; above, the lines would hide the picture.
const CORES_LISTED_MAX: usize = 16;

/// The drawing: the machine with a letter a CPU, what runs where, rings by reach, memory,
/// housekeeping and notes. Every line ends with a line feed. Allocates.
pub fn draw(plan: &Plan, topology: &Topology) -> String {
    let mut page = Page::default();
    page.line(&format!(
        "{} on {}: {} and {}, {}",
        many(plan.cores.len(), "pinned thread"),
        many(topology.cpus().len(), "CPU"),
        many(usize::from(plan.session_cores), "session core"),
        many(usize::from(plan.workers), "worker"),
        many(plan.rings.len(), "ring"),
    ));
    draw_machine(&mut page, plan, topology);
    draw_cores(&mut page, plan);
    draw_elastic(&mut page, plan);
    draw_rings(&mut page, plan);
    draw_memory(&mut page, plan, topology);
    page.line("");
    page.item("housekeeping", &format!("unpinned, on {}", cpus(&plan.housekeeping)));
    for note in &plan.notes {
        page.item("note", &note.to_string());
    }
    page.0
}

/// One row of cells for each L3 group; a cell is a core, a letter in it a CPU.
fn draw_machine(page: &mut Page, plan: &Plan, topology: &Topology) {
    let mut groups: BTreeMap<(u32, u32, u32), BTreeMap<u32, Vec<&Cpu>>> = BTreeMap::new();
    for cpu in topology.cpus() {
        let group = groups.entry((cpu.package, cpu.node, cpu.l3_group)).or_default();
        group.entry(cpu.core).or_default().push(cpu);
    }
    page.line("");
    let mut seen = BTreeSet::new();
    for ((package, node, l3_group), mut cores) in groups {
        cores.values_mut().for_each(|core| core.sort_by_key(|cpu| cpu.smt_rank));
        let cells: Vec<String> =
            cores.values().map(|core| core.iter().map(|cpu| letter(plan, cpu)).collect()).collect();
        seen.extend(cells.iter().flat_map(|cell| cell.chars()));
        page.item(&format!("package {package} · node {node} · L3 {l3_group}"), &cells.join(" "));
    }
    let legend = [
        ('S', "reception + propagation"),
        ('W', "validation"),
        ('F', "all three agents"),
        ('E', "one hot document"),
        ('h', "housekeeping"),
        ('.', "unused"),
    ];
    let used = legend.iter().filter(|(letter, _)| seen.contains(letter));
    let words: Vec<String> = used.map(|(letter, what)| format!("{letter} {what}")).collect();
    page.line(&format!("  {}", words.join(", ")));
}

fn letter(plan: &Plan, cpu: &Cpu) -> char {
    let planned = plan.cores.iter().find(|core| core.cpu.os_index == cpu.os_index);
    if planned.is_some_and(|core| core.is_elastic) {
        return 'E';
    }
    match planned.map(|core| (core.serves_sessions(), core.owns_documents())) {
        Some((true, true)) => 'F',
        Some((true, false)) => 'S',
        Some((false, _)) => 'W',
        None if plan.housekeeping.contains(cpu.os_index) => 'h',
        None => '.',
    }
}

fn draw_cores(page: &mut Page, plan: &Plan) {
    page.line("");
    if plan.cores.len() <= CORES_LISTED_MAX {
        for (index, core) in plan.cores.iter().enumerate() {
            let agents: Vec<String> = core.agents.iter().map(ToString::to_string).collect();
            page.item(&format!("core {index} · CPU {}", core.cpu.os_index), &agents.join(", "));
        }
        return;
    }
    let roles: [(&str, AgentKind); 2] =
        [("session cores", AgentKind::Reception), ("workers", AgentKind::Validation)];
    for (name, kind) in roles {
        let with = plan.cores.iter().filter(|core| core.runs(kind));
        page.item(name, &cpus(&with.map(|core| core.cpu.os_index).collect()));
    }
}

fn draw_elastic(page: &mut Page, plan: &Plan) {
    let alone = plan.elastic.iter().filter(|elastic| !elastic.shares).count();
    let sharing: Vec<_> = plan.elastic.iter().filter(|elastic| elastic.shares).collect();
    let mut told = Vec::new();
    if alone > 0 {
        let cores = plan.cores.iter().filter(|core| core.is_elastic);
        let set = cpus(&cores.map(|core| core.cpu.os_index).collect());
        told.push(format!("{alone} alone, on {set}"));
    }
    if let Some(first) = sharing.first() {
        let weight = first.weight;
        told.push(format!(
            "{} share the cores of workers, by weight {weight} each, behind their other documents",
            sharing.len()
        ));
    }
    if !told.is_empty() {
        page.line("");
        page.item("elastic workers", &told.join("; "));
    }
}

fn draw_rings(page: &mut Page, plan: &Plan) {
    let mut by_reach: BTreeMap<Reach, usize> = BTreeMap::new();
    plan.rings.iter().for_each(|ring| *by_reach.entry(ring.reach).or_default() += 1);
    let told: Vec<String> = by_reach
        .into_iter()
        .map(|(reach, rings)| {
            let where_to = match reach {
                Reach::SameCpu => "from a core to itself",
                Reach::SameCore => "between siblings",
                Reach::SameL3 => "within an L3 group",
                Reach::SameNode => "within a memory node",
                Reach::SamePackage => "within a package",
                Reach::Machine => "across packages",
            };
            format!("{rings} {where_to}")
        })
        .collect();
    let each = many(plan.ring_messages as usize, "message");
    page.line("");
    page.item("rings", &format!("{}; {each} each", told.join(", ")));
}

fn draw_memory(page: &mut Page, plan: &Plan, topology: &Topology) {
    for node in topology.nodes() {
        let bound = plan.memory.iter().filter(|place| place.node == node.os_index);
        let cores: Vec<&PlannedCore> =
            bound.filter_map(|place| plan.cores.get(usize::from(place.core))).collect();
        if cores.is_empty() {
            continue;
        }
        let cores: CpuSet = cores.iter().map(|core| core.cpu.os_index).collect();
        page.item(
            &format!("memory node {}", node.os_index),
            &format!("chunks of {}", cpus(&cores)),
        );
    }
}

fn cpus(set: &CpuSet) -> String {
    let word = if set.len() == 1 { "CPU" } else { "CPUs" };
    let runs = set.to_string().replace(',', ", ");
    format!("{word} {runs}")
}

fn many(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// Lines that never get wider than [`WIDTH_COLUMNS_MAX`].
#[derive(Default)]
struct Page(String);

/// Columns before the text of an item.
const INDENT_COLUMNS: usize = 30;

impl Page {
    fn line(&mut self, text: &str) {
        self.wrap(text, 2);
    }

    /// A name and its text beside it, which goes on below itself.
    fn item(&mut self, name: &str, text: &str) {
        self.wrap(&format!("{:INDENT_COLUMNS$}{text}", format!("  {name}")), INDENT_COLUMNS);
    }

    /// Breaks between words, and within one only if it alone is wider than a line.
    fn wrap(&mut self, text: &str, indent_columns: usize) {
        let mut rest: Vec<char> = text.chars().collect();
        while rest.len() > WIDTH_COLUMNS_MAX {
            let words = indent_columns + 1..=WIDTH_COLUMNS_MAX;
            let at = words.rev().find(|at| rest[*at] == ' ').unwrap_or(WIDTH_COLUMNS_MAX);
            let line: String = rest[..at].iter().collect();
            self.push(&line);
            let next = rest[at..].iter().copied().skip_while(|letter| *letter == ' ');
            rest = std::iter::repeat_n(' ', indent_columns).chain(next).collect();
        }
        self.push(&rest.into_iter().collect::<String>());
    }

    fn push(&mut self, line: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{}", line.trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_go_on_below_themselves_and_lose_no_word() {
        let mut page = Page::default();
        let words: Vec<String> = (0..60).map(|word| format!("w{word}")).collect();
        page.item("name", &words.join(" "));
        assert!(page.0.lines().count() > 2);
        assert!(page.0.lines().all(|line| line.chars().count() <= WIDTH_COLUMNS_MAX));
        let below = page.0.lines().skip(1);
        assert!(below.clone().all(|line| line.starts_with(&" ".repeat(INDENT_COLUMNS))));
        let back: Vec<&str> = page.0.split_whitespace().skip(1).collect();
        assert_eq!(back, words);
    }

    #[test]
    fn a_word_wider_than_the_page_is_cut_and_ends() {
        let mut page = Page::default();
        page.item("name", &"x".repeat(300));
        assert!(page.0.lines().all(|line| line.chars().count() <= WIDTH_COLUMNS_MAX));
        assert_eq!(page.0.matches('x').count(), 300);
    }
}
