//! `deltaworks plan`: which agent would run on which CPU, drawn for a person or as JSON.
//!
//! Owned by the command line. It reads this machine, or takes the description of another one, and asks
//! the planner that the daemon asks; it starts nothing. With `--capacity` it tells what that plan would do.

mod capacity;

use std::process::ExitCode;

use clap::Args;
use deltaworks_runtime::plan::{self, PlanConfig, drawing};
use deltaworks_runtime::topology::{Allowance, CpuSet, Topology};

use self::capacity::CapacityArguments;
use crate::{exit, output};

const EXAMPLES: &str = "\
Examples:
  deltaworks plan
  deltaworks plan --cpus 0-3,8 --json
  deltaworks plan --synthetic 'package:2 numa:4 l3:2 core:8 pu:2' --workers 8
  deltaworks plan --synthetic 'core:16 pu:1' --workers 2 --session-cores 4
  deltaworks plan --capacity --workload chat.toml --costs costs.json
  deltaworks plan --capacity --synthetic 'package:2 numa:1 l3:4 core:24 pu:1' \\
      --workload chat.toml --costs costs.json --remote-penalty 3 --json

Costs are measured by `throughput calibrate -o costs.json`. A workload, with some defaults:
  documents = 10000
  law = \"uniform\"     # or \"zipf\"
  batch = 32
  delta_bytes = 46
  publishers = 64     # connections that write
  subscribers = 8     # of each document
  # rate = 1e6        # deltas a second; without it, 10, 50 and 90 % of the limit

Exit codes:
  0  there is a plan
  1  there is none, or the machine or a file cannot be read; standard error says why
  2  the command line is wrong";

/// Draws which agent would run on which CPU
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct PlanCommand {
    /// Plans for the machine of this description of hwloc's, instead of this one
    #[arg(long, value_name = "DESCRIPTION")]
    synthetic: Option<String>,
    /// Plans with these CPUs only, such as 0-3,8 (all that this process may use)
    #[arg(long, value_name = "LIST")]
    cpus: Option<CpuSet>,
    /// Cores that serve sessions (chosen)
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..))]
    session_cores: Option<u16>,
    /// Cores that own documents (chosen)
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..))]
    workers: Option<u16>,
    /// Elastic workers, for hot documents: alone on cores that are left, or sharing those of workers
    #[arg(long, value_name = "COUNT", default_value_t = 24)]
    #[arg(value_parser = clap::value_parser!(u16).range(..=512))]
    elastic_workers: u16,
    #[command(flatten)]
    capacity: CapacityArguments,
    /// Prints the plan, or what is foretold of it, as one line of JSON
    #[arg(long)]
    json: bool,
}

impl PlanCommand {
    /// Does it.
    pub fn run(self) -> ExitCode {
        match self.plan() {
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

    fn plan(self) -> Result<String, String> {
        let mut config = PlanConfig {
            session_cores: self.session_cores,
            workers: self.workers,
            elastic_workers: self.elastic_workers,
            ..PlanConfig::default()
        };
        let (topology, mask) = match &self.synthetic {
            Some(description) => {
                let topology = Topology::synthetic(description).map_err(|e| e.to_string())?;
                let mask = topology.all_cpus();
                (topology, mask)
            }
            None => {
                let allowance = Allowance::of_this_process().map_err(|e| e.to_string())?;
                config.quota = allowance.quota;
                let topology = Topology::of_this_machine().map_err(|e| e.to_string())?;
                (topology, allowance.mask)
            }
        };
        let mask = self.cpus.unwrap_or(mask);
        let plan = plan::plan(&topology, &mask, &config).map_err(|error| error.to_string())?;
        if let Some(answer) = self.capacity.answer(&plan, self.json) {
            return answer;
        }
        if self.json {
            let json = serde_json::to_string(&plan).map_err(|error| error.to_string())?;
            return Ok(json);
        }
        Ok(drawing::draw(&plan, &topology))
    }
}
