//! `report.html`: one page that stands alone, with every sample in it.
//!
//! It takes nothing from anywhere: style and pictures are in it, no script, no font. It is well-formed
//! as XML, so that a test reads it strictly.

use std::fmt::Write as _;

use crate::bound::with_bounds;
use crate::figure::{FIGURES, Figure, Placed, name_by};
use crate::goal::{Goal, goals};
use crate::plot::{draw, escaped};
use crate::progress::duration;
use crate::quantity::quantity;
use crate::results::{Better, Results, Role, Series};
use crate::statistics::{median, span, spread};

const STYLE: &str = include_str!("page.css");

/// The page.
pub fn page(results: &Results) -> String {
    let measured = results;
    let results = &with_bounds(measured);
    let mut out =
        String::from("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n");
    out += "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n";
    let _ = writeln!(
        out,
        "<title>deltaworks, measured</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>"
    );
    out += &head(measured);
    let mut shown = vec![false; results.series.len()];
    let mut links = String::new();
    let mut body = String::new();
    for figure in &FIGURES {
        let series = figure.series(results);
        if series.is_empty() {
            continue;
        }
        series.iter().for_each(|(place, _)| shown[*place] = true);
        let _ = write!(links, "<a href=\"#{}\">{}</a> ", figure.id, escaped(figure.title));
        body += &section(figure, &series);
    }
    let _ = writeln!(
        out,
        "<nav><a href=\"#goals\">Goals</a> <a href=\"#ahead\">Where a peer is ahead</a> {links}<a href=\"#rest\">All \
         other figures</a> <a href=\"#missing\">What is missing</a></nav>"
    );
    out += &goal_section(&goals(results));
    out += &ahead_section(results);
    out += &body;
    out += &rest_section(results, &shown);
    out += &missing_section(results);
    out + "</main>\n</body>\n</html>\n"
}

fn head(results: &Results) -> String {
    let machine = &results.machine;
    let mut out = String::new();
    let _ = writeln!(
        out,
        "<h1>deltaworks, measured</h1>\n<p class=\"lead\">Every dot is one sample, every line goes through medians. \
         All of it was taken in one run of {} on one machine; samples of a series are spread over that time, so compare within \
         the page, not across pages.</p>",
        duration(results.seconds)
    );
    if let Some(warning) = doubts(results) {
        let _ = writeln!(out, "<p class=\"warn\">{}</p>", escaped(&warning));
    }
    let load = format!("{:.1} before, {:.1} after", machine.load_began, machine.load_ended);
    let stolen = format!("{:.1} % of all CPU time", machine.stolen_share * 100.0);
    let samples: usize = results.series.iter().map(|it| it.samples.len()).sum();
    let facts: [(&str, String); 16] = [
        ("Date", machine.date.clone()),
        ("CPU", format!("{} × {}", machine.cpus, machine.cpu)),
        ("Caches", machine.caches.clone()),
        ("Memory", format!("{} MiB", machine.memory_mib)),
        ("Kernel", format!("Linux {}", machine.kernel)),
        ("Hypervisor", machine.hypervisor.clone()),
        ("Frequency governor", machine.governor.clone()),
        ("Transparent huge pages", machine.huge_pages.clone()),
        ("Commit", machine.commit_short()),
        ("Compiler", machine.rustc.clone()),
        ("Built as", machine.flags.clone()),
        ("Threads that wanted to run", load),
        ("Taken by the host", stolen),
        ("Locked memory at most", bytes(&machine.memlock)),
        (
            "Extent",
            format!("{}, {} samples each, {samples} in all", results.extent, results.samples_each),
        ),
        ("Command", results.command.clone()),
    ];
    out += "<section>\n<h2>What it was measured on</h2>\n<dl class=\"facts\">\n";
    for (name, value) in facts {
        let class = if name == "Command" { " class=\"whole\"" } else { "" };
        let _ = writeln!(out, "<div{class}><dt>{name}</dt><dd>{}</dd></div>", escaped(&value));
    }
    out + "</dl>\n</section>\n"
}

/// A number of bytes as one reads it; other words stay.
pub fn bytes(text: &str) -> String {
    text.parse().map_or_else(|_| text.to_owned(), |bytes: f64| quantity(bytes, "bytes"))
}

/// What makes the figures doubtful, if anything does.
fn doubts(results: &Results) -> Option<String> {
    let machine = &results.machine;
    let mut doubts = Vec::new();
    if machine.load_began > machine.cpus as f64 * 0.5 {
        doubts.push(format!(
            "{:.1} threads wanted to run before the first sample was taken",
            machine.load_began
        ));
    }
    if machine.stolen_share > 0.02 {
        doubts.push("the host gave this machine's CPUs to others".to_owned());
    }
    if machine.flags.starts_with("dev") {
        doubts.push("the programs were not optimised".to_owned());
    }
    if !results.is_whole {
        doubts.push("the run was not finished".to_owned());
    }
    let told = doubts.join("; ");
    (!told.is_empty())
        .then(|| format!("Read these figures with care: {told}. Others share the time in them."))
}

fn section(figure: &Figure, series: &[Placed<'_>]) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "<section id=\"{}\">\n<h2>{}</h2>\n<p class=\"question\">{}</p>\n<div class=\"scroll\">\n{}</div>\n\
         <p class=\"not\"><b>Not measured:</b> {}</p>",
        figure.id,
        escaped(figure.title),
        escaped(figure.question),
        draw(figure, series),
        escaped(figure.not_measured)
    );
    out += "<details><summary>Figures and commands</summary>\n<div class=\"scroll\"><table>\n";
    out += "<tr><th>system</th><th>cell</th><th class=\"n\">median</th><th class=\"n\">least</th><th class=\"n\">most</th>\
        <th class=\"n\">samples</th><th>command</th></tr>\n";
    for (_, series) in series {
        out += &row(figure, series);
    }
    out + "</table></div></details>\n</section>\n"
}

fn row(figure: &Figure, series: &Series) -> String {
    let (values, unit) = match figure.metric {
        "stages" => (series.values(), series.unit.as_str()),
        _ => (figure.values(series), figure.unit),
    };
    let (least, most) = span(&values);
    format!(
        "<tr><td>{}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
         <td class=\"n\">{}</td><td><code>{}</code></td></tr>\n",
        escaped(&system(series)),
        escaped(&cell(series)),
        quantity(median(&values), unit),
        quantity(least, unit),
        quantity(most, unit),
        values.len(),
        escaped(&series.command)
    )
}

/// The system with its version.
pub fn system(series: &Series) -> String {
    match series.version.as_str() {
        "" => series.system.clone(),
        version => format!("{} {version}", series.system),
    }
}

/// The cell in words.
pub fn cell(series: &Series) -> String {
    let of = |key: &String| {
        let name = name_by(series, key);
        let is_bare =
            series.number_of_cell(key).is_some_and(|it| name == crate::quantity::count(it));
        if is_bare { format!("{} {name}", key.replace('_', " ")) } else { name }
    };
    series.cell.keys().map(of).collect::<Vec<_>>().join(", ")
}

fn goal_section(goals: &[Goal]) -> String {
    let count = |verdict: &str| goals.iter().filter(|goal| goal.verdict() == verdict).count();
    let mut out = String::from("<section id=\"goals\">\n<h2>The goals</h2>\n");
    let _ = writeln!(
        out,
        "<div class=\"tally\"><span class=\"chip reached\">{} reached</span><span class=\"chip missed\">{} not reached</span>\
         <span class=\"chip unknown\">{} not measured in this run</span></div>\n<div class=\"scroll\"><table>\n\
         <tr><th>what</th><th>goal</th><th>measured (medians)</th><th></th><th>by how much</th><th>the nearest limit of this run</th></tr>",
        count("reached"),
        count("not reached"),
        count("not measured")
    );
    for goal in goals {
        let class = match goal.verdict() {
            "reached" => "reached",
            "not reached" => "missed",
            _ => "unknown",
        };
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td class=\"w\">{}</td><td>{}</td><td><span class=\"chip {class}\">{}</span></td>\
             <td class=\"w\">{}</td><td>{}</td></tr>",
            escaped(&goal.what),
            escaped(&goal.wanted),
            escaped(goal.measured.as_deref().unwrap_or("–")),
            goal.verdict(),
            goal.by_how_much(),
            escaped(goal.roofline.as_deref().unwrap_or("–"))
        );
    }
    out + "</table></div>\n</section>\n"
}

/// A peer that is better than the best of ours in the same cell.
#[derive(Clone, Debug, PartialEq)]
pub struct Ahead {
    /// Scenario, cell and metric.
    pub what: String,
    /// Ours.
    pub ours: String,
    /// The peer and its figure.
    pub peer: String,
    /// How many times better.
    pub times: f64,
}

/// Every cell in which a peer is ahead of us.
pub fn ahead(results: &Results) -> Vec<Ahead> {
    let measured = |role: Role| {
        results.series.iter().filter(move |it| it.role == role && !it.values().is_empty())
    };
    let mut all = Vec::new();
    for peer in measured(Role::Peer) {
        let is_same = |it: &&Series| {
            it.scenario == peer.scenario && it.metric == peer.metric && it.cell == peer.cell
        };
        let better = |one: f64, other: f64| match peer.better {
            Better::Higher => one / other,
            Better::Lower => other / one,
        };
        let ours = measured(Role::Ours).filter(is_same).map(|it| median(&it.values()));
        let Some(ours) =
            ours.reduce(|one, other| if better(one, other) >= 1.0 { one } else { other })
        else {
            continue;
        };
        let theirs = median(&peer.values());
        if better(theirs, ours) > 1.0 {
            all.push(Ahead {
                what: match cell(peer).as_str() {
                    "" => format!("{}: {}", peer.scenario, peer.metric),
                    cell => format!("{}: {} ({cell})", peer.scenario, peer.metric),
                },
                ours: quantity(ours, &peer.unit),
                peer: format!("{} {}", system(peer), quantity(theirs, &peer.unit)),
                times: better(theirs, ours),
            });
        }
    }
    all.sort_by(|one, other| other.times.total_cmp(&one.times));
    all
}

fn ahead_section(results: &Results) -> String {
    let all = ahead(results);
    let mut out = String::from("<section id=\"ahead\">\n<h2>Where a peer is ahead</h2>\n");
    let has_peers =
        results.series.iter().any(|it| it.role == Role::Peer && !it.values().is_empty());
    if all.is_empty() {
        let told =
            if has_peers { "Nowhere in this run." } else { "No peer was measured in this run." };
        let _ = writeln!(out, "<p>{told}</p>");
        return out + "</section>\n";
    }
    let _ = writeln!(
        out,
        "<p>Every cell of this run in which somebody else's median is better than ours: {}, the furthest first.</p>",
        all.len()
    );
    let (first, rest) = all.split_at(all.len().min(AHEAD_SHOWN));
    out += &ahead_table(first);
    if !rest.is_empty() {
        let _ = writeln!(out, "<details><summary>{} more</summary>", rest.len());
        out += &ahead_table(rest);
        out += "</details>\n";
    }
    out + "</section>\n"
}

/// Rows that are seen without asking.
const AHEAD_SHOWN: usize = 12;

fn ahead_table(rows: &[Ahead]) -> String {
    let mut out = String::from(
        "<div class=\"scroll\"><table>\n<tr><th>what</th><th>ours</th><th>the peer</th><th></th></tr>\n",
    );
    for row in rows {
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td><span class=\"chip lost\">{:.2} × better</span></td></tr>",
            escaped(&row.what),
            escaped(&row.ours),
            escaped(&row.peer),
            row.times
        );
    }
    out + "</table></div>\n"
}

/// What no figure shows: in a table, with every sample.
fn rest_section(results: &Results, shown: &[bool]) -> String {
    let mut out = String::from(
        "<section id=\"rest\">\n<h2>All other figures</h2>\n<p>The machine's limits, and what has no picture of its own; \
         every sample.</p>\n<div class=\"scroll\"><table>\n<tr><th>scenario</th><th>what</th><th>cell</th>\
         <th class=\"n\">median</th><th class=\"n\">spread</th><th>samples</th></tr>\n",
    );
    let rest = results.series.iter().enumerate();
    let rest = rest.filter(|(place, series)| !shown[*place] && !series.is_bound);
    let mut count = 0;
    for (place, series) in rest.filter(|(_, series)| !series.samples.is_empty()) {
        count += 1;
        let values = series.values();
        let of = |(sample, it): (usize, &crate::results::Sample)| {
            let told = quantity(it.value, &series.unit);
            let doubt = if it.verified { "" } else { " (not verified)" };
            format!("<span data-k=\"{place}.{sample}\">{told}{doubt}</span>")
        };
        let samples: Vec<String> = series.samples.iter().enumerate().map(of).collect();
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td>{}: {}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">± {:.0} %</td><td>{}</td></tr>",
            escaped(&series.scenario),
            escaped(&system(series)),
            escaped(&series.metric),
            escaped(&cell(series)),
            quantity(median(&values), &series.unit),
            if values.is_empty() { 0.0 } else { spread(&values) * 100.0 },
            samples.join(" · ")
        );
    }
    if count == 0 {
        out += "<tr><td>none</td><td></td><td></td><td></td><td></td><td></td></tr>\n";
    }
    out + "</table></div>\n</section>\n"
}

fn missing_section(results: &Results) -> String {
    let mut out = String::from(
        "<section id=\"missing\">\n<h2>What is missing</h2>\n<p>Systems that could not be had here, and runs that went \
         wrong. Samples that were not verified are in no median.</p>\n<div class=\"scroll\"><table>\n\
         <tr><th>what</th><th></th><th>why</th></tr>\n",
    );
    let mut row = |what: &str, class: &str, verdict: &str, why: &str| {
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td><span class=\"chip {class}\">{verdict}</span></td><td>{}</td></tr>",
            escaped(what),
            escaped(why)
        );
    };
    let mut count = 0;
    for (scenarios, system, why) in results.absent() {
        row(&format!("{scenarios}: {system}"), "unknown", "absent", why);
        count += 1;
    }
    for figure in FIGURES.iter().filter(|figure| figure.series(results).is_empty()) {
        row(figure.title, "unknown", "not measured", "this run has no sample for this figure");
        count += 1;
    }
    for failure in &results.failures {
        let (class, verdict) =
            if failure.is_absent { ("unknown", "absent") } else { ("missed", "failed") };
        let what = format!("{}, round {}", failure.entry, failure.round + 1);
        row(&what, class, verdict, &failure.reason);
        count += 1;
    }
    if count == 0 {
        row("nothing", "reached", "whole", "everything ran, and was verified");
    }
    out + "</table></div>\n</section>\n"
}
