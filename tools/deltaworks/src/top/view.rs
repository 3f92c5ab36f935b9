//! What is on the screen: everything that is shown, and how it is laid out.
//!
//! Sections stand below one another: the daemon, its cores, its stages, the first documents, the first
//! sessions, the keys. Each has the rows that it needs, as long as all fit; a section that has more says
//! how many are left out. Nothing here knows a terminal or a clock.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Clear, Paragraph, Row, Table};

use super::rates::{CoreRates, Rates};
use super::sample::{Sample, Sorting};
use crate::documents::now_unix_us;
use crate::quantity::{bytes, count, micros, rate, seconds, things};
use crate::status::{Core, Moves, Times};
use crate::table::{escaped, shortened};

/// The least rows of a section: its headings and one line.
const SECTION_ROWS_MIN: u16 = 2;
/// Rows of the daemon itself.
const HEAD_ROWS: u16 = 3;
/// Columns of the bar of live bytes.
const BAR_COLUMNS: usize = 12;
/// The part of the budget beyond which the bar warns.
const BUDGET_HIGH: f64 = 0.8;

/// Everything that is shown.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The latest sample.
    pub sample: Option<Sample>,
    /// What happened before it.
    pub rates: Rates,
    /// By what the next sample is sorted.
    pub sorting: Sorting,
    /// No new sample is taken.
    pub is_paused: bool,
    /// The keys are explained.
    pub shows_help: bool,
    /// Why the latest sample is old.
    pub trouble: Option<String>,
}

impl View {
    /// Takes a new sample.
    pub fn take(&mut self, sample: Sample) {
        self.rates = Rates::between(self.sample.as_ref(), &sample);
        self.sample = Some(sample);
        self.trouble = None;
    }

    /// Draws it.
    pub fn draw(&self, frame: &mut Frame<'_>) {
        let area = frame.area();
        let Some(sample) = &self.sample else {
            let told = self.trouble.as_deref().unwrap_or("waiting for the daemon's answer");
            frame.render_widget(Paragraph::new(told.to_owned()), area);
            return;
        };
        let wanted = [
            sample.status.cores.len(),
            sample.status.latency.len() + moves(sample).count(),
            sample.documents.documents.len(),
            sample.sessions.sessions.len(),
        ]
        .map(|rows| rows.max(1) as u16 + 1);
        let rows = share(wanted, area.height.saturating_sub(HEAD_ROWS + 1));
        let [head, cores, stages, documents, sessions, keys] = Layout::vertical([
            Constraint::Length(HEAD_ROWS),
            Constraint::Length(rows[0]),
            Constraint::Length(rows[1]),
            Constraint::Length(rows[2]),
            Constraint::Fill(1),
            Constraint::Length(1),
        ])
        .areas(area);
        self.draw_head(frame, head, sample);
        self.draw_cores(frame, cores, sample);
        self.draw_stages(frame, stages, sample);
        draw_documents(frame, documents, sample);
        draw_sessions(frame, sessions, sample);
        frame.render_widget(Paragraph::new(self.keys()), keys);
        if self.shows_help {
            draw_help(frame, area);
        }
    }

    fn draw_head(&self, frame: &mut Frame<'_>, area: Rect, sample: &Sample) {
        let status = &sample.status;
        let memory_only = if status.is_durable { "" } else { ", in memory only" };
        let missed = match status.cores.iter().map(Core::missed_deltas).sum() {
            0 => String::new(),
            deltas => format!("  {} missed", count(deltas)),
        };
        let first = format!(
            "deltaworksd {}  process {}  up {}  {}{memory_only}{missed}",
            status.version,
            status.pid,
            seconds(status.uptime_seconds),
            status.phase,
        );
        let cores = &self.rates.cores;
        let sum = |pick: fn(&CoreRates) -> f64| cores.iter().map(pick).sum::<f64>();
        let totals = format!(
            "{}, {}; {} deltas/s, {}/s in, {}/s out",
            things(status.documents, "document"),
            things(status.sessions, "session"),
            rate(sum(|core| core.accepted_deltas_per_second)),
            bytes(sum(|core| core.received_bytes_per_second) as u64),
            bytes(sum(|core| core.delivered_bytes_per_second) as u64),
        );
        let (live, budget) = (status.live_bytes.sum(), status.budget_bytes);
        let part = if budget > 0 { live as f64 / budget as f64 } else { 0.0 };
        let filled = ((part * BAR_COLUMNS as f64).round() as usize).min(BAR_COLUMNS);
        let colour = if part > BUDGET_HIGH { Color::Red } else { Color::Green };
        let mut kinds: Vec<(&str, u64)> =
            status.live_bytes.kinds().into_iter().filter(|(_, bytes)| *bytes > 0).collect();
        kinds.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        let kinds: Vec<String> =
            kinds.iter().take(3).map(|(kind, live)| format!("{kind} {}", bytes(*live))).collect();
        let memory = Line::from(vec![
            Span::raw("memory "),
            Span::styled("█".repeat(filled), Style::new().fg(colour)),
            Span::styled(
                "░".repeat(BAR_COLUMNS - filled),
                Style::new().add_modifier(Modifier::DIM),
            ),
            Span::raw(format!(
                " {:.0} %  {} of {}  {}",
                part * 100.0,
                bytes(live),
                bytes(budget),
                kinds.join(", ")
            )),
        ]);
        let first = Line::styled(first, Style::new().add_modifier(Modifier::BOLD));
        frame.render_widget(Paragraph::new(vec![first, Line::raw(totals), memory]), area);
    }

    fn draw_cores(&self, frame: &mut Frame<'_>, area: Rect, sample: &Sample) {
        let cores = &sample.status.cores;
        let names = ["CORE", "CPU", "ROLE", "BUSY", "TURNS/s", "PARKS/s", "RINGS", "SESS", "DOCS"];
        let names = names.into_iter().chain(["ACCEPT/s", "IN/s", "OUT/s"]);
        let rows = cores.iter().enumerate().map(|(place, core)| {
            let rates = self.rates.cores.get(place).copied().unwrap_or_default();
            let role = match (core.serves_sessions, core.owns_documents) {
                (true, true) => "both",
                (true, false) => "net",
                (false, true) => "docs",
                (false, false) => "-",
            };
            let rings =
                if core.ring_depth > 0 { Style::new().fg(Color::Yellow) } else { Style::new() };
            Row::new([
                Cell::from(core.core.to_string()),
                Cell::from(core.cpu.map_or_else(|| "-".to_owned(), |cpu| cpu.to_string())),
                Cell::from(role),
                Cell::from(format!("{:.0} %", core.busy_ratio * 100.0)),
                Cell::from(rate(rates.turns_per_second)),
                Cell::from(rate(rates.parks_per_second)),
                Cell::from(count(core.ring_depth)).style(rings),
                Cell::from(count(core.sessions)),
                Cell::from(count(core.documents)),
                Cell::from(rate(rates.accepted_deltas_per_second)),
                Cell::from(bytes(rates.received_bytes_per_second as u64)),
                Cell::from(bytes(rates.delivered_bytes_per_second as u64)),
            ])
        });
        let widths = [4, 3, 4, 5, 7, 7, 5, 5, 5, 8, 8, 8].map(Constraint::Length);
        section(frame, area, names, rows, &widths);
        left_out(frame, area, cores.len());
    }

    fn draw_stages(&self, frame: &mut Frame<'_>, area: Rect, sample: &Sample) {
        let names = ["STAGE", "COUNT/s", "MEAN", "P50", "P90", "P99", "P99.9", "MAX"];
        let rows = sample.status.latency.iter().enumerate().map(|(place, stage)| {
            let per_second = self.rates.stages_per_second.get(place).copied().unwrap_or_default();
            let cells = [stage.mean_us, stage.p50_us, stage.p90_us, stage.p99_us, stage.p999_us];
            let cells = cells.into_iter().chain([stage.max_us]).map(micros);
            Row::new([escaped(&stage.stage), rate(per_second)].into_iter().chain(cells))
        });
        let rows = rows.chain(moves(sample).map(|(name, times)| {
            let cells = [times.mean_us, times.p50_us, times.p90_us, times.p99_us, times.p999_us];
            let cells = cells.into_iter().chain([times.max_us]).map(micros);
            Row::new([name.to_owned(), "-".to_owned()].into_iter().chain(cells))
        }));
        let widths = [14, 8, 8, 8, 8, 8, 8, 8].map(Constraint::Length);
        section(frame, area, names, rows, &widths);
        left_out(frame, area, sample.status.latency.len() + moves(sample).count());
    }

    fn keys(&self) -> Line<'static> {
        if let Some(trouble) = &self.trouble {
            return Line::styled(escaped(trouble), Style::new().fg(Color::Red));
        }
        let Sorting { documents, sessions } = self.sorting;
        let paused = if self.is_paused { "PAUSED  " } else { "" };
        Line::styled(
            format!(
                "{paused}q quit  s documents by {}  S sessions by {}  p pause  ? help",
                documents.word(),
                sessions.word()
            ),
            Style::new().add_modifier(Modifier::DIM),
        )
    }
}

/// What moves of documents took, if there were any.
fn moves(sample: &Sample) -> impl Iterator<Item = (&'static str, &Times)> {
    let Moves { pause, hold, lane_pause, .. } = &sample.status.moves;
    let all = [("move pause", pause), ("move hold", hold), ("lane pause", lane_pause)];
    all.into_iter().filter(|(_, times)| times.count > 0)
}

fn draw_documents(frame: &mut Frame<'_>, area: Rect, sample: &Sample) {
    let page = &sample.documents;
    let name = part("DOCUMENT", area, page.total);
    let names = [&name, "OWNER", "RATE/s", "LAST", "WINDOW", "SUBS", "WRITERS", "MISSED"];
    let widths = [
        Constraint::Fill(1),
        Constraint::Length(8),
        Constraint::Length(7),
        Constraint::Length(7),
        Constraint::Length(8),
        Constraint::Length(7),
        Constraint::Length(7),
        Constraint::Length(7),
    ];
    let name_columns = usize::from(area.width.saturating_sub(8 + 7 + 7 + 8 + 7 + 7 + 7 + 7));
    let now = now_unix_us();
    let rows = page.documents.iter().map(|document| {
        Row::new([
            shortened(&escaped(&document.full_name()), name_columns),
            document.owner(),
            rate(document.rate_deltas_per_second),
            document.last(now),
            count(document.window_deltas),
            count(document.subscribers),
            count(document.writers),
            count(document.missed_deltas),
        ])
    });
    section(frame, area, names, rows, &widths);
}

fn draw_sessions(frame: &mut Frame<'_>, area: Rect, sample: &Sample) {
    let page = &sample.sessions;
    let peer = part("PEER", area, page.total);
    let names = ["SESSION", &peer, "NEEDS", "BEHIND", "MISSED", "GOT/s", "SENT/s", "DOCUMENTS"];
    let widths = [
        Constraint::Length(8),
        Constraint::Length(21),
        Constraint::Length(7),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Fill(1),
    ];
    let name_columns = usize::from(area.width.saturating_sub(8 + 21 + 7 + 8 + 8 + 8 + 8 + 7));
    let rows = page.sessions.iter().map(|session| {
        let style = if session.is_blocked { Style::new().fg(Color::Yellow) } else { Style::new() };
        let names: Vec<String> = session.documents.iter().map(|name| escaped(name)).collect();
        Row::new([
            session.id.clone(),
            shortened(&escaped(&session.full_peer()), 21),
            session.needs(),
            count(session.backlog_deltas),
            count(session.missed_deltas),
            bytes(session.delivered_bytes_per_second as u64),
            bytes(session.received_bytes_per_second as u64),
            shortened(&names.join(" "), name_columns),
        ])
        .style(style)
    });
    section(frame, area, names, rows, &widths);
}

fn section<'a, T: Into<Cell<'a>>>(
    frame: &mut Frame<'_>,
    area: Rect,
    names: impl IntoIterator<Item = T>,
    rows: impl Iterator<Item = Row<'a>>,
    widths: &[Constraint],
) {
    let headings = Row::new(names).style(Style::new().add_modifier(Modifier::REVERSED));
    let table = Table::new(rows, widths.to_vec()).header(headings).column_spacing(1);
    frame.render_widget(table, area);
}

/// The heading, and how many rows of how many are shown if that is not all.
fn part(heading: &str, area: Rect, total: u64) -> String {
    let shown = u64::from(area.height.saturating_sub(1));
    match total > shown {
        true => format!("{heading} ({shown} of {})", count(total)),
        false => heading.to_owned(),
    }
}

/// At the right of a section's headings, how many rows it does not show.
fn left_out(frame: &mut Frame<'_>, area: Rect, rows: usize) {
    let shown = usize::from(area.height.saturating_sub(1));
    if rows <= shown || area.height == 0 {
        return;
    }
    let told = format!(" +{} ", count((rows - shown) as u64));
    let width = told.chars().count() as u16;
    let place = Rect { x: area.right().saturating_sub(width), width, height: 1, ..area };
    let style = Style::new().add_modifier(Modifier::REVERSED | Modifier::BOLD);
    frame.render_widget(Paragraph::new(told).style(style), place.intersection(area));
}

/// Rows for each section: what it wants, or its part of what there is.
fn share(wanted: [u16; 4], all: u16) -> [u16; 4] {
    let mut rows = [SECTION_ROWS_MIN; 4];
    let mut left = all.saturating_sub(SECTION_ROWS_MIN * 4);
    // One row at a time to each that wants more, in turn: no section starves another.
    while left > 0 {
        let before = left;
        for (rows, wanted) in rows.iter_mut().zip(wanted) {
            if *rows < wanted && left > 0 {
                (*rows, left) = (*rows + 1, left - 1);
            }
        }
        if left == before {
            return rows;
        }
    }
    rows
}

fn draw_help(frame: &mut Frame<'_>, area: Rect) {
    let text = "\
q, Esc   quit
s        sort documents by the next column
S        sort sessions by the next column
p, Space pause, and go on
?        this help

BUSY is the part of the time in which a core worked.
RINGS is how many messages wait for the core; yellow
when there are any. STAGES are since the daemon's start,
in time from one end of the stage to the other; COUNT/s
is of this interval. A move's PAUSE is how long nobody
could append to its document. NEEDS is how long a session
takes for what waits for it. A yellow one takes nothing.";
    let (width, height) = (60.min(area.width), 15.min(area.height));
    let place = Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - height) / 2,
        width,
        height,
    };
    frame.render_widget(Clear, place);
    let block = Block::bordered().title(" deltaworks top ");
    frame.render_widget(Paragraph::new(text).block(block), place);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_get_what_they_want_or_their_part_and_none_starves() {
        assert_eq!(share([3, 3, 2, 2], 21), [3, 3, 2, 2]);
        assert_eq!(share([65, 3, 101, 101], 21), [6, 3, 6, 6]);
        assert_eq!(share([65, 3, 101, 101], 0), [2, 2, 2, 2]);
        assert_eq!(share([65, 3, 2, 2], 21), [14, 3, 2, 2]);
    }
}
