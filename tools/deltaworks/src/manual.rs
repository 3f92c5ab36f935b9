//! `deltaworks man`: manual pages out of the same description as the help.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Command, CommandFactory};
use clap_mangen::Man;

use crate::arguments::Arguments;
use crate::{exit, output};

const EXAMPLES: &str = "\
Examples:
  deltaworks man | man -l -
  deltaworks man --out /usr/local/share/man/man1

Without --out the page of deltaworks itself is printed; with it, one file is written for each command.

Exit codes:
  0  the pages were written
  1  they cannot be written
  2  the command line is wrong";

/// Prints the manual page, or writes those of all commands
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ManualCommand {
    /// Folder for a page of each command; made if it is not there
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Prints the names of the files that were written as one line of JSON
    #[arg(long, requires = "out")]
    json: bool,
}

impl ManualCommand {
    /// Does it.
    pub fn run(self) -> ExitCode {
        match self.write() {
            Ok(text) => {
                output::print(text.trim_end());
                ExitCode::SUCCESS
            }
            Err(error) => {
                output::complain(error);
                exit::failed()
            }
        }
    }

    fn write(self) -> Result<String, String> {
        let pages = pages().map_err(|error| error.to_string())?;
        let Some(folder) = self.out else {
            return Ok(pages.into_iter().next().map(|(_, page)| page).unwrap_or_default());
        };
        let failed = |path: &Path, error: io::Error| format!("{}: {error}", path.display());
        fs::create_dir_all(&folder).map_err(|error| failed(&folder, error))?;
        let mut files = Vec::new();
        for (name, page) in pages {
            let path = folder.join(format!("{name}.1"));
            fs::write(&path, page).map_err(|error| failed(&path, error))?;
            files.push(path.display().to_string());
        }
        Ok(match self.json {
            true => serde_json::json!({ "files": files }).to_string(),
            false => files.join("\n"),
        })
    }
}

/// Every page with its name, the program's own first.
///
/// # Errors
/// None that a buffer in memory has.
pub fn pages() -> io::Result<Vec<(String, String)>> {
    let mut pages = Vec::new();
    let mut command = Arguments::command().disable_help_subcommand(true);
    command.build();
    let mut waiting = vec![command.name("deltaworks")];
    while let Some(command) = waiting.pop() {
        let name = command.get_display_name().unwrap_or(command.get_name()).replace(' ', "-");
        let mut page = Vec::new();
        Man::new(command.clone()).render(&mut page)?;
        pages.push((name, with_sections(&String::from_utf8_lossy(&page))));
        let mut below: Vec<Command> =
            command.get_subcommands().filter(|below| !below.is_hide_set()).cloned().collect();
        below.reverse();
        waiting.append(&mut below);
    }
    Ok(pages)
}

/// The page with examples and exit codes under headings of their own, line by line as in the help.
fn with_sections(page: &str) -> String {
    let Some((before, rest)) = page.split_once(".SH EXTRA\n") else { return page.to_owned() };
    let (extra, after) = match rest.split_once("\n.SH ") {
        Some((extra, after)) => (extra, format!(".SH {after}")),
        None => (rest.trim_end(), String::new()),
    };
    let extra = extra.replacen("Examples:\n", ".SH EXAMPLES\n.nf\n", 1).replacen(
        "\nExit codes:\n",
        "\n.fi\n.SH EXIT STATUS\n.nf\n",
        1,
    );
    format!("{before}{extra}\n.fi\n{after}")
}
