//! `RESULTS.md`: the tables of one run, with the machine and the commands, so that every figure in other
//! documents has a place to be quoted from.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::bound::with_bounds;
use crate::figure::FIGURES;
use crate::goal::goals;
use crate::page::{ahead, bytes, cell, system};
use crate::quantity::quantity;
use crate::readme::samples;
use crate::results::{Results, Role, Series};
use crate::statistics::{median, span};

/// The tables.
pub fn tables(results: &Results) -> String {
    let results = &with_bounds(results);
    let mut out = String::from("# Results\n\n");
    out += "Made by `throughput results` from one run's `results.json`; not written by hand. Medians of the verified samples, \
        the least and the greatest beside them. `report.html` of the same run shows each sample, each figure's question, and \
        what it does not measure.\n\n";
    out += &machine(results);
    out += &goal_table(results);
    out += &ahead_table(results);
    let mut shown = BTreeSet::new();
    for figure in &FIGURES {
        let series = figure.series(results);
        if series.is_empty() || figure.metric == "stages" {
            continue;
        }
        shown.extend(series.iter().map(|(place, _)| *place));
        let _ = writeln!(
            out,
            "## {}\n\n{} Not measured: {}\n",
            figure.title, figure.question, figure.not_measured
        );
        out += TABLE_HEAD;
        for (_, series) in &series {
            out += &row(series, "", &figure.values(series), figure.unit);
        }
        out += &commands(series.iter().map(|(_, series)| *series));
    }
    let rest: Vec<&Series> = results
        .series
        .iter()
        .enumerate()
        .filter(|(place, it)| !shown.contains(place) && !it.samples.is_empty() && !it.is_bound)
        .map(|(_, series)| series)
        .collect();
    if !rest.is_empty() {
        out += "## All other figures\n\n";
        out += TABLE_HEAD;
        for series in &rest {
            let what = format!("{}, {}: ", series.scenario, series.metric);
            out += &row(series, &what, &series.values(), &series.unit);
        }
        out += &commands(rest.into_iter());
    }
    out += &missing(results);
    out.trim_end().to_owned() + "\n"
}

const TABLE_HEAD: &str =
    "| system | cell | median | least to most | samples |\n|---|---|---:|---:|---:|\n";

fn machine(results: &Results) -> String {
    let machine = &results.machine;
    let mut out = String::from("| | |\n|---|---|\n");
    let rows: [(&str, String); 15] = [
        ("date", machine.date.clone()),
        ("samples of each figure", samples(results)),
        ("CPU", format!("{} × {}; {}", machine.cpus, machine.cpu, machine.caches)),
        ("memory", format!("{} MiB", machine.memory_mib)),
        ("kernel", format!("Linux {}", machine.kernel)),
        ("hypervisor", machine.hypervisor.clone()),
        ("frequency governor", machine.governor.clone()),
        ("transparent huge pages", machine.huge_pages.clone()),
        ("locked memory at most", bytes(&machine.memlock)),
        (
            "commit",
            format!("{}{}", machine.commit, if machine.is_changed { ", with changes" } else { "" }),
        ),
        ("compiler", machine.rustc.clone()),
        ("built as", machine.flags.clone()),
        (
            "threads that wanted to run",
            format!("{:.1} before, {:.1} after", machine.load_began, machine.load_ended),
        ),
        ("taken by the host", format!("{:.1} % of all CPU time", machine.stolen_share * 100.0)),
        ("command", format!("`{}`", results.command)),
    ];
    for (name, value) in rows {
        let _ = writeln!(out, "| {name} | {} |", plain(&value));
    }
    out + "\n"
}

fn goal_table(results: &Results) -> String {
    let mut out = String::from(
        "## Goals\n\n| what | goal | measured | | by how much | the nearest limit of this run |\n|---|---|---|---|---|---|\n",
    );
    for goal in goals(results) {
        let measured = goal.measured.clone().unwrap_or_else(|| "–".to_owned());
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} |",
            goal.what,
            goal.wanted,
            plain(&measured),
            goal.verdict(),
            goal.by_how_much(),
            plain(goal.roofline.as_deref().unwrap_or("–"))
        );
    }
    out + "\n"
}

fn ahead_table(results: &Results) -> String {
    let rows = ahead(results);
    let mut out = String::from("## Where a peer is ahead\n\n");
    if rows.is_empty() {
        let has_peers =
            results.series.iter().any(|it| it.role == Role::Peer && !it.values().is_empty());
        let told =
            if has_peers { "Nowhere in this run." } else { "No peer was measured in this run." };
        return out + told + "\n\n";
    }
    out += "| what | ours | the peer | times better |\n|---|---:|---:|---:|\n";
    for row in rows {
        let _ = writeln!(
            out,
            "| {} | {} | {} | {:.2} |",
            plain(&row.what),
            row.ours,
            plain(&row.peer),
            row.times
        );
    }
    out + "\n"
}

fn row(series: &Series, what: &str, values: &[f64], unit: &str) -> String {
    let (least, most) = span(values);
    let (middle, count) = (median(values), values.len());
    format!(
        "| {} | {} | {} | {} to {} | {count} |\n",
        plain(&system(series)),
        plain(&format!("{what}{}", cell(series))),
        quantity(middle, unit),
        quantity(least, unit),
        quantity(most, unit)
    )
}

/// The commands of some series, each once, and one of each kind in full.
fn commands<'a>(series: impl Iterator<Item = &'a Series>) -> String {
    let all: BTreeSet<&str> = series.map(|it| it.command.as_str()).collect();
    let count = all.len();
    let Some(first) = all.first() else { return "\n".to_owned() };
    match count {
        1 => format!("\nCommand: `{first}`\n\n"),
        _ => format!(
            "\nCommand of the first, the others with the values of their cells: `{first}`\n\n"
        ),
    }
}

fn missing(results: &Results) -> String {
    let mut rows = String::new();
    for (scenarios, system, why) in results.absent() {
        let _ = writeln!(rows, "| {scenarios}: {system} | absent | {} |", plain(why));
    }
    for failure in &results.failures {
        let verdict = if failure.is_absent { "absent" } else { "failed" };
        let round = failure.round + 1;
        let _ = writeln!(
            rows,
            "| {}, round {round} | {verdict} | {} |",
            failure.entry,
            plain(&failure.reason)
        );
    }
    match rows.as_str() {
        "" => String::new(),
        rows => format!("## What is missing\n\n| what | | why |\n|---|---|---|\n{rows}"),
    }
}

/// Text that breaks no table.
fn plain(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
