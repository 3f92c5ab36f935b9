//! `deltaworks doctor`: what it takes, what it prints, how it ends.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::examine;
use super::finding::{Finding, Status};
use super::host::Host;
use crate::admin::{Admin, AdminArguments, AdminError};
use crate::quantity::things;
use crate::{exit, output, status};

const EXAMPLES: &str = "\
Examples:
  deltaworks doctor
  deltaworks doctor --all
  sudo -u deltaworks deltaworks doctor --json
  deltaworks doctor --strict && echo tuned

Nothing is changed. If a daemon answers on its admin socket, its limits, CPUs and budget are looked
at, and what the host did not grant it is told; else this shell's, which are those of a daemon that
is started from it. What cannot be read is told as unknown.

Exit codes:
  0  nothing keeps a daemon from running; there may be advice
  1  a problem keeps it from running
  2  the command line is wrong
  3  no problem, but advice, and --strict was given";

/// Looks at every host setting that matters, and says how to set it
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DoctorCommand {
    #[command(flatten)]
    admin: AdminArguments,
    /// Tells what is wanted, why and how for settings that are right, too
    #[arg(long)]
    all: bool,
    /// Ends with 3 if there is advice
    #[arg(long)]
    strict: bool,
    /// Prints one line of JSON
    #[arg(long)]
    json: bool,
    /// Looks at the files below this folder alone, as if it were /
    #[arg(long, value_name = "FOLDER", hide = true)]
    root: Option<PathBuf>,
}

/// What the doctor says, as JSON.
#[derive(Debug, Serialize)]
struct Report<'a> {
    /// The worst verdict.
    status: Status,
    /// The running daemon's process, if it was asked.
    daemon_pid: Option<u32>,
    /// Why no daemon was asked, if so.
    daemon_error: Option<String>,
    /// What the host did not grant the running daemon.
    downgrades: &'a [String],
    findings: &'a [Finding],
}

impl DoctorCommand {
    /// Does it.
    pub fn run(self) -> ExitCode {
        let asked = match &self.root {
            Some(_) => Err("the files of another root are looked at".to_owned()),
            None => self.ask(),
        };
        let (daemon, error) = match asked {
            Ok(status) => (Some(status), None),
            Err(error) => (None, Some(error)),
        };
        let host = match self.root {
            Some(root) => Host::below(root, None),
            None => Host::this(daemon),
        };
        let findings = examine(&host);
        // An unknown setting is no reason to stop a script: advice is the first that may be.
        let worst = findings.iter().map(|finding| finding.status).max().unwrap_or(Status::Ok);
        let downgrades = host.daemon().map_or(&[][..], |daemon| &daemon.downgrades);
        if self.json {
            let report = Report {
                status: worst,
                daemon_pid: host.daemon().map(|daemon| daemon.pid),
                daemon_error: error,
                downgrades,
                findings: &findings,
            };
            output::print(serde_json::to_string(&report).unwrap_or_default());
        } else {
            output::print(text(&host, error.as_deref(), &findings, self.all).trim_end());
        }
        match worst {
            Status::Problem => exit::failed(),
            Status::Advice if self.strict => exit::advised(),
            _ => ExitCode::SUCCESS,
        }
    }

    /// The status of a running daemon, or why there is none.
    fn ask(&self) -> Result<status::Status, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let asked = runtime.map_err(|error| error.to_string())?.block_on(async {
            let admin = Admin::find(&self.admin).await?;
            admin.get("/v1/status", Duration::ZERO).await
        });
        asked.map_err(|error: AdminError| error.to_string())
    }
}

fn text(host: &Host, error: Option<&str>, findings: &[Finding], all: bool) -> String {
    let mut text = String::new();
    // Writing into a text does not fail.
    let _ = match (host.daemon(), error) {
        (Some(daemon), _) => writeln!(
            text,
            "daemon    deltaworksd {}, process {}, {}",
            daemon.version,
            daemon.pid,
            things(daemon.cores.len() as u64, "core")
        ),
        (None, error) => writeln!(text, "daemon    not asked: {}", error.unwrap_or("")),
    };
    for downgrade in host.daemon().iter().flat_map(|daemon| &daemon.downgrades) {
        let _ = writeln!(text, "not granted to it: {downgrade}");
    }
    let _ = writeln!(text);
    for finding in findings {
        let _ = writeln!(text, "{:<8}  {:<26} {}", finding.status, finding.name, finding.value);
        if all || finding.status >= Status::Advice {
            for (label, told) in [
                ("wanted", finding.wanted),
                ("why", finding.why),
                ("without", finding.without),
                ("now", &finding.now),
                ("to stay", &finding.lasting),
            ] {
                if !told.is_empty() {
                    let _ = writeln!(text, "            {label:<8} {told}");
                }
            }
        }
    }
    let count = |status| findings.iter().filter(|finding| finding.status == status).count();
    let _ = writeln!(
        text,
        "\n{} ok, {} unknown, {} with advice, {} problems",
        count(Status::Ok),
        count(Status::Unknown),
        count(Status::Advice),
        count(Status::Problem)
    );
    text
}
