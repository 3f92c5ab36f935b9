//! `deltaworks top`: what it takes, and in which of its three ways it shows.

use std::io::{IsTerminal, stdin, stdout};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use serde_json::json;

use super::sample::{Sample, Sorting};
use super::screen;
use super::view::View;
use crate::admin::{self, Admin, AdminArguments, AdminError};
use crate::documents::DocumentSort;
use crate::sessions::SessionSort;
use crate::{exit, output, table};

const EXAMPLES: &str = "\
Examples:
  deltaworks top
  deltaworks top --interval-ms 250 --sort subscribers
  deltaworks top --once --width 120 --height 40
  deltaworks top --json --count 10 | jq '.status.cores[].busy_ratio'

Keys: q quits, s and S sort documents and sessions, p pauses, ? explains.

Exit codes:
  0  it was quit, or the frames were printed
  1  the daemon's answer is none, or there is no terminal
  2  the command line is wrong
  6  no daemon answers on its admin socket";

/// Shows cores, stages, documents and sessions of a running daemon, refreshed
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct TopCommand {
    #[command(flatten)]
    admin: AdminArguments,
    /// Milliseconds between two looks
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 1_000,
          value_parser = clap::value_parser!(u64).range(100..=60_000))]
    interval_ms: u64,
    /// Which documents come first
    #[arg(long, value_enum, default_value_t = DocumentSort::Rate)]
    sort: DocumentSort,
    /// Which sessions come first
    #[arg(long, value_enum, default_value_t = SessionSort::Backlog)]
    sort_sessions: SessionSort,
    /// Prints one frame as text, after two looks, and ends
    #[arg(long)]
    once: bool,
    /// Columns of that frame
    #[arg(long, value_name = "COLUMNS", requires = "once",
          value_parser = clap::value_parser!(u16).range(20..=500))]
    width: Option<u16>,
    /// Lines of that frame
    #[arg(long, value_name = "LINES", requires = "once",
          value_parser = clap::value_parser!(u16).range(10..=500))]
    height: Option<u16>,
    /// Prints one line of JSON for each look instead: what the daemon told, and rates
    #[arg(long, conflicts_with = "once")]
    json: bool,
    /// Ends after so many lines of JSON
    #[arg(long, value_name = "COUNT", requires = "json",
          value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

impl TopCommand {
    /// Does it.
    pub fn run(self) -> ExitCode {
        admin::ask(&self.admin.clone(), async |admin| {
            let sorting = Sorting { documents: self.sort, sessions: self.sort_sessions };
            let interval = Duration::from_millis(self.interval_ms);
            let mut view = View { sorting, ..View::default() };
            if self.json {
                return self.print_json(&admin, view, interval).await;
            }
            if self.once {
                view.take(Sample::take(&admin, sorting, interval).await?);
                tokio::time::sleep(interval).await;
                view.take(Sample::take(&admin, sorting, interval).await?);
                output::print(self.frame(&view));
                return Ok(ExitCode::SUCCESS);
            }
            if !stdout().is_terminal() || !stdin().is_terminal() {
                output::complain("top needs a terminal; elsewhere, --once or --json");
                return Ok(exit::failed());
            }
            Ok(match screen::show(admin, interval, view).await {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    output::complain(format_args!("the terminal: {error}"));
                    exit::failed()
                }
            })
        })
    }

    async fn print_json(
        &self,
        admin: &Admin,
        mut view: View,
        interval: Duration,
    ) -> Result<ExitCode, AdminError> {
        let mut printed = 0;
        let mut tick = tokio::time::interval(interval);
        loop {
            tick.tick().await;
            view.take(Sample::take(admin, view.sorting, interval).await?);
            let Some(sample) = &view.sample else { continue };
            let [status, documents, sessions] = &sample.told;
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            output::print(json!({
                "unix_ms": now.as_millis() as u64,
                "status": status,
                "rates": view.rates,
                "documents": documents["documents"],
                "sessions": sessions["sessions"],
            }));
            printed += 1;
            if self.count == Some(printed) || !output::is_read() {
                return Ok(ExitCode::SUCCESS);
            }
        }
    }

    /// One frame as lines of text.
    fn frame(&self, view: &View) -> String {
        let width = self.width.or(table::terminal_width().map(|width| width as u16)).unwrap_or(80);
        frame(view, width, self.height.unwrap_or(24))
    }
}

/// The view as text, `width` columns wide and `height` lines high.
pub fn frame(view: &View, width: u16, height: u16) -> String {
    let mut terminal = match Terminal::new(TestBackend::new(width, height)) {
        Ok(terminal) => terminal,
        Err(never) => match never {},
    };
    match terminal.draw(|frame| view.draw(frame)) {
        Ok(drawn) => text(drawn.buffer),
        Err(never) => match never {},
    }
}

fn text(buffer: &Buffer) -> String {
    let area = buffer.area;
    let line = |y: u16| {
        // A wide character stands in its first cell; the cell behind it is not of its own.
        let mut skipped = 0;
        let mut line = String::new();
        for x in 0..area.width {
            if skipped > 0 {
                skipped -= 1;
                continue;
            }
            let symbol = buffer[(x, y)].symbol();
            skipped = unicode_width::UnicodeWidthStr::width(symbol).saturating_sub(1);
            line.push_str(symbol);
        }
        line.truncate(line.trim_end().len());
        line
    };
    (0..area.height).map(line).collect::<Vec<_>>().join("\n")
}
