//! `deltaworks plan --capacity`: what the planned machine would do with a workload.
//!
//! Reads two files, asks the forecast, prints. It measures nothing: costs come from `throughput calibrate`.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use deltaworks_capacity::costs::Costs;
use deltaworks_capacity::forecast::{Question, forecast};
use deltaworks_capacity::layout::{Layout, Penalty};
use deltaworks_capacity::report;
use deltaworks_capacity::simulation::Spread;
use deltaworks_capacity::workload::Workload;
use deltaworks_runtime::plan::Plan;

/// What is asked of the forecast.
#[derive(Debug, Args)]
pub struct CapacityArguments {
    /// Foretells rate, latency and memory of the plan, and the stage that is full first
    #[arg(long, requires = "workload", requires = "costs")]
    capacity: bool,
    /// What is asked of the machine (TOML: documents, batch, subscribers, rate and more)
    #[arg(long, value_name = "FILE", requires = "capacity")]
    workload: Option<PathBuf>,
    /// What stages cost, as `throughput calibrate -o FILE` has measured it
    #[arg(long, value_name = "FILE", requires = "capacity")]
    costs: Option<PathBuf>,
    /// What crossing to another memory node costs, in times of what was measured
    #[arg(long, value_name = "TIMES", default_value_t = Penalty::default().other_node)]
    #[arg(value_parser = times, requires = "capacity")]
    remote_penalty: f64,
    /// The same to another L3 group of one node
    #[arg(long, value_name = "TIMES", default_value_t = Penalty::default().other_l3)]
    #[arg(value_parser = times, requires = "capacity")]
    l3_penalty: f64,
    /// Whether parts of a turn take their mean time each, or a random one around it: a bad case
    #[arg(long, value_enum, default_value_t = Service::Steady, requires = "capacity")]
    service: Service,
    /// Throws these dice in place of the workload's
    #[arg(long, value_name = "NUMBER", requires = "capacity")]
    seed: Option<u64>,
}

/// How long parts of a turn take.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Service {
    /// Their mean
    Steady,
    /// A random time around it
    Exponential,
}

fn times(text: &str) -> Result<f64, String> {
    let times: f64 = text.parse().map_err(|error| format!("{error}"))?;
    if (0.1..=100.0).contains(&times) { Ok(times) } else { Err("0.1 to 100".to_owned()) }
}

impl CapacityArguments {
    /// The forecast as text or a line of JSON; nothing if none was asked for.
    ///
    /// # Errors
    /// If a file cannot be read, or makes no sense.
    pub fn answer(&self, plan: &Plan, json: bool) -> Option<Result<String, String>> {
        let (workload, costs) = (self.workload.as_deref()?, self.costs.as_deref()?);
        self.capacity.then(|| self.forecast(plan, workload, costs, json))
    }

    fn forecast(
        &self,
        plan: &Plan,
        workload: &Path,
        costs: &Path,
        json: bool,
    ) -> Result<String, String> {
        let mut workload = read(workload, Workload::parse)?;
        workload.seed = self.seed.unwrap_or(workload.seed);
        let costs = read(costs, Costs::parse)?;
        let penalty = Penalty { other_l3: self.l3_penalty, other_node: self.remote_penalty };
        let spread = match self.service {
            Service::Steady => Spread::Steady,
            Service::Exponential => Spread::Exponential,
        };
        let question = Question { spread, ..Question::default() };
        let forecast = forecast(&Layout::of(plan, penalty), &workload, &costs, question)?;
        if json {
            return serde_json::to_string(&forecast).map_err(|error| error.to_string());
        }
        Ok(report::describe(&forecast))
    }
}

fn read<T>(path: &Path, parse: impl Fn(&str) -> Result<T, String>) -> Result<T, String> {
    let told = |error: String| format!("{}: {error}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| told(error.to_string()))?;
    parse(&text).map_err(told)
}
