//! A page of a list that the daemon keeps: which part of it, once or again and again.

use std::io::{IsTerminal, Write, stdout};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::admin::AdminError;
use crate::{output, quantity};

/// Which part of a list, and how it is shown.
#[derive(Clone, Debug, Args)]
pub struct Paging {
    /// Leaves out so many from the start
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub offset: u64,
    /// Shows so many at most
    #[arg(long, value_name = "COUNT", default_value_t = 100,
          value_parser = clap::value_parser!(u64).range(1..=1_000))]
    pub limit: u64,
    /// Shows the page again every so many seconds, until it is interrupted
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3_600))]
    watch: Option<u64>,
    /// Prints what the daemon tells as one line of JSON
    #[arg(long)]
    json: bool,
}

impl Paging {
    /// Fetches and prints the page, again and again if that is asked for.
    ///
    /// # Errors
    /// What `fetch` says; while watching, too.
    pub async fn show<T: DeserializeOwned>(
        &self,
        fetch: impl AsyncFn() -> Result<Value, AdminError>,
        text: impl Fn(T) -> Vec<String>,
    ) -> Result<ExitCode, AdminError> {
        loop {
            let page = fetch().await?;
            let lines = match self.json {
                true => vec![page.to_string()],
                false => text(serde_json::from_value(page).map_err(|error| {
                    AdminError::Answer("the page".to_owned(), error.to_string())
                })?),
            };
            self.print(&lines);
            let Some(seconds) = self.watch.filter(|_| output::is_read()) else {
                return Ok(ExitCode::SUCCESS);
            };
            tokio::time::sleep(Duration::from_secs(seconds)).await;
        }
    }

    /// The line below the table, and an empty one above it.
    pub fn footer(&self, what: &str, shown: usize, total: u64, sort: &str) -> [String; 2] {
        let (from, to) = (self.offset + 1, self.offset + shown as u64);
        let total_told = quantity::count(total);
        let line = match shown {
            0 if total == 0 => format!("no {what}"),
            0 => format!("none of {total_told} {what} behind --offset {}", self.offset),
            _ if to < total => {
                format!("{from} to {to} of {total_told} {what} by {sort}; --offset {to} goes on")
            }
            _ => format!("{from} to {to} of {total_told} {what} by {sort}"),
        };
        [String::new(), line]
    }

    fn print(&self, lines: &[String]) {
        if self.watch.is_some() && !self.json && stdout().is_terminal() {
            // The screen and the place of the cursor: ECMA-48, ED and CUP.
            let _ = write!(stdout().lock(), "\u{1b}[2J\u{1b}[H");
        }
        lines.iter().for_each(output::print);
    }
}
